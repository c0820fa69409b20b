"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction in percent, without the sign: 0.4567 is 45.7."""
    return f"{100 * fraction:.{digits}f}"


def whole(number: int) -> str:
    """With thousands separators: 12,345."""
    return f"{number:,}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: 1 seed, 3 seeds."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def figure(value: float) -> str:
    """Three digits that count, with thousands separators: 0.188, 16.4, 1,640."""
    if not value:
        return "0"
    # Rounded first, so that 0.9996 is 1.00.
    digits = 2 - math.floor(math.log10(abs(float(f"{value:.2e}"))))
    return f"{value:,.{min(max(digits, 0), 6)}f}"


def amount(number: float) -> str:
    """Three digits that count and a unit of thousands: 33.4 k, 57.0 M, 1.2 G."""
    for unit, step in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * step:
            return f"{figure(number / step)} {unit}"
    return figure(number)


def duration(seconds: float | None) -> str:
    """The two largest units that matter, such as `4 min 12 s`; `unknown` for None."""
    if seconds is None:
        return "unknown"
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    left = round(seconds)
    for size, unit, smaller, name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if left >= size:
            # Rounded in the smaller unit first, so that no `1 h 60 min` comes out.
            parts = round(left / smaller)
            big, rest = divmod(parts, size // smaller)
            return f"{big} {unit} {rest} {name}" if rest else f"{big} {unit}"
    return f"{left} s"


def size(count_bytes: int | None) -> str:
    """Bytes in decimal units, such as `537 MB`; `unknown` for None."""
    if count_bytes is None:
        return "unknown"
    value = float(count_bytes)
    for unit in _SIZES:
        if value < 999.5 or unit == _SIZES[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the largest unit takes any number")


def joined(words: list[str] | tuple[str, ...], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in few words: 0-2, 5."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)
