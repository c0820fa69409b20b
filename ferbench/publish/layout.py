"""Columns and wrapped lines of plain text, and the few styles that a terminal may show."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

GAP = "  "

Align = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Paint:
    """Styles as ANSI codes, or nothing where `colour` is False."""

    colour: bool = False

    def bold(self, text: str) -> str:
        return self._styled(text, "1")

    def dim(self, text: str) -> str:
        return self._styled(text, "2")

    def good(self, text: str) -> str:
        return self._styled(text, "32")

    def warning(self, text: str) -> str:
        return self._styled(text, "33")

    def bad(self, text: str) -> str:
        return self._styled(text, "31")

    def _styled(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text


PLAIN = Paint()


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def total_width(rows: Sequence[Sequence[str]]) -> int:
    """The width of the whole table."""
    columns = widths(rows)
    return sum(columns) + len(GAP) * (len(columns) - 1)


def aligned(rows: Sequence[Sequence[str]], alignment: Sequence[Align] = ()) -> list[str]:
    """Rows as lines of equal columns; columns without an alignment go to the left."""
    columns = widths(rows)
    sides = [*alignment, *["left"] * (len(columns) - len(alignment))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if side == "right" else cell.ljust(width)
            for cell, width, side in zip(row, columns, sides, strict=True)
        ]
        lines.append(GAP.join(cells).rstrip())
    return lines


def wrapped_facts(
    facts: Sequence[str], width: int, indent: str = "", hanging: str | None = None, between: str = " ·"
) -> list[str]:
    """Facts in a row, with line ends between them; one that is longer than a line is wrapped by itself."""
    rest = indent if hanging is None else hanging
    lines: list[str] = []
    for number, fact in enumerate(facts):
        text = fact + (between if number < len(facts) - 1 else "")
        if lines and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += f" {text}"
        else:
            lines += wrapped(text, width, rest if lines else indent, rest)
    return lines


def wrapped(text: str, width: int, indent: str = "", hanging: str | None = None) -> list[str]:
    """A paragraph's lines; words that are longer than a line are broken, nothing is left out."""
    return textwrap.wrap(
        text,
        max(width, len(indent) + 10),
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_on_hyphens=False,
    )
