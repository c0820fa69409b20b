"""The critical-difference diagram (Demšar 2006, JMLR 7): average ranks over boards, and what can't be told apart.

As text, and as SVG that reads on light and on dark ground.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from html import escape

from ferbench.comparison import AcrossBoards
from ferbench.publish.layout import wrapped
from ferbench.publish.verdicts import METRIC_WORDS

#: Columns of text that a scale needs to tell ranks apart.
_SHORTEST_SCALE = 40

#: Pixels: of the scale, between lines of names, between bars, around it all, and of a letter at most.
_SCALE, _LINE, _BAR, _AROUND, _LETTER = 440, 20, 9, 16, 7.6


def diagram_lines(across: AcrossBoards, width: int = 80) -> list[str]:
    """One line a competitor, best first, its average rank marked on a scale; below it bars over what is alike."""
    ranked = _ranked(across)
    room = width - 8 - _SHORTEST_SCALE
    beside = max((_columns(name) for name, _ in ranked if _columns(name) <= room), default=0)
    left = beside + 8
    scale = _TextScale(len(ranked), max(width - left, _SHORTEST_SCALE))
    lines: list[str] = []
    if across.critical_difference is not None:
        lines += _length_lines(across.critical_difference, len(ranked), scale, left, width)
    lines += [" " * left + scale.numbers(), " " * left + scale.ticks()]
    for name, rank in ranked:
        mark = f"{rank:6.2f}  {scale.mark(rank)}"
        if _columns(name) <= beside:
            lines.append(f"{name}{' ' * (beside - _columns(name))}{mark}")
        else:
            lines += [*wrapped(name, width), " " * beside + mark]
    groups = _groups(across)
    if groups:
        lines += wrapped("not told apart:", width)
        lines += [" " * left + scale.bar(low, high) for low, high in groups]
    return lines


def diagram_svg(across: AcrossBoards, *, within: str = "") -> str:
    """The diagram as an SVG file's text: the better half of the names on the left, the others on the right.

    within : begins the ids of a diagram that stands in a page, whose colours it then has
    """
    ranked = _ranked(across)
    half = (len(ranked) + 1) // 2
    better, worse = ranked[:half], ranked[half:][::-1]
    labels = [f"{name}  {rank:.2f}" for name, rank in ranked]
    sides = [
        max((_columns(text) for text in some), default=0) * _LETTER + 28 for some in (labels[:half], labels[half:])
    ]
    groups = _groups(across)
    left, axis = _AROUND + sides[0], 96.0
    first = axis + 22 + _BAR * len(groups)
    width = left + _SCALE + sides[1] + _AROUND
    height = first + _LINE * half + _AROUND
    picture = _Svg(across, width, height, left, axis, within)
    picture.scale(len(ranked))
    if across.critical_difference is not None:
        picture.length(across.critical_difference)
    for number, (low, high) in enumerate(groups):
        picture.bar(low, high, axis + 14 + _BAR * number)
    for number, (name, rank) in enumerate(better):
        picture.name(name, rank, first + _LINE * number, on_the_left=True)
    for number, (name, rank) in enumerate(worse):
        picture.name(name, rank, first + _LINE * number, on_the_left=False)
    return picture.text()


def _ranked(across: AcrossBoards) -> list[tuple[str, float]]:
    """Names and average ranks, best first."""
    pairs = zip(across.competitors, across.average_ranks, strict=True)
    return sorted(pairs, key=lambda pair: pair[1])


def _groups(across: AcrossBoards) -> list[tuple[float, float]]:
    """From the best rank to the worst of each set that can't be told apart, best first; sets of one have no bar."""
    rank = dict(zip(across.competitors, across.average_ranks, strict=True))
    found = [sorted(rank[name] for name in group) for group in across.groups if len(group) > 1]
    return [(ranks[0], ranks[-1]) for ranks in found]


def _columns(text: str) -> int:
    """Columns that a text takes: wide letters take two, accents that join a letter none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


class _TextScale:
    """Ranks from 1 to `count` on `width` characters."""

    def __init__(self, count: int, width: int) -> None:
        self._count, self._width = count, width

    def at(self, rank: float) -> int:
        return round((rank - 1) / (self._count - 1) * (self._width - 1))

    def mark(self, rank: float) -> str:
        return " " * self.at(rank) + "●"

    def bar(self, low: float, high: float) -> str:
        return " " * self.at(low) + "━" * (self.at(high) - self.at(low) + 1)

    def shown(self) -> list[int]:
        """Ranks that have room for their number: all, or every so many."""
        room = (self._width - 1) / (self._count - 1)
        every = next(step for step in range(1, self._count + 1) if step * room >= 4)
        return list(range(1, self._count + 1, every))

    def numbers(self) -> str:
        line = ""
        for rank in self.shown():
            # The last number ends with the scale.
            start = min(self.at(rank), self._width - len(str(rank)))
            line = line.ljust(start) + str(rank)
        return line

    def ticks(self) -> str:
        line = ["─"] * self._width
        for rank in self.shown():
            line[self.at(rank)] = "┼"
        line[0], line[-1] = "├", "┤"
        return "".join(line)


def _length_lines(critical: float, count: int, scale: _TextScale, left: int, width: int) -> list[str]:
    text = f"critical difference {critical:.2f} (Nemenyi, 5 %)"
    if critical > count - 1:
        return wrapped(f"{text}: longer than the scale", width)
    return [*wrapped(text, width), " " * left + "├" + "─" * max(0, scale.at(1 + critical) - 1) + "┤"]


class _Svg:
    """Shapes of one picture; every number that is written has one digit behind the point."""

    def __init__(
        self, across: AcrossBoards, width: float, height: float, left: float, axis: float, within: str
    ) -> None:
        self._within = within
        self._count = len(across.competitors)
        self._width, self._height, self._left, self._axis = width, height, left, axis
        self._shapes: list[str] = []
        over = f"{METRIC_WORDS[across.metric]}, {across.boards} boards"
        self._title = f"Average ranks over boards ({over})"
        self._description = "; ".join(f"{name}: {rank:.2f}" for name, rank in _ranked(across))

    def at(self, rank: float) -> float:
        return self._left + (rank - 1) / max(1, self._count - 1) * _SCALE

    def scale(self, count: int) -> None:
        self._line([(self.at(1), self._axis), (self.at(count), self._axis)])
        every = -(-count * 24 // _SCALE)
        for rank in range(1, count + 1):
            self._line([(self.at(rank), self._axis), (self.at(rank), self._axis - 6)])
            if (rank - 1) % every == 0:
                self._text(str(rank), self.at(rank), self._axis - 12, "middle")

    def length(self, critical: float) -> None:
        text = f"critical difference {critical:.2f}"
        end = self.at(1 + critical)
        if critical > self._count - 1:
            self._text(f"{text}, longer than the scale", self.at(1), self._axis - 48, "start")
            return
        height = self._axis - 42
        self._line([(self.at(1), height - 4), (self.at(1), height + 4)])
        self._line([(self.at(1), height), (end, height)])
        self._line([(end, height - 4), (end, height + 4)])
        self._text(text, self.at(1), height - 10, "start")

    def bar(self, low: float, high: float, height: float) -> None:
        self._line([(self.at(low) - 3, height), (self.at(high) + 3, height)], "bar")

    def name(self, name: str, rank: float, height: float, *, on_the_left: bool) -> None:
        x, outside = self.at(rank), self._left - 14 if on_the_left else self._left + _SCALE + 14
        self._line([(x, self._axis), (x, height), (outside, height)])
        place = outside - 6 if on_the_left else outside + 6
        words = f"{name}  {rank:.2f}" if on_the_left else f"{rank:.2f}  {name}"
        self._text(words, place, height + 4, "end" if on_the_left else "start")

    def text(self) -> str:
        size = f"{self._width:.0f} {self._height:.0f}"
        width, height = size.split()
        title, description = (f"{self._within}{part}" for part in ("title", "description"))
        ground = [] if self._within else [f'<rect class="ground" width="{width}" height="{height}"/>']
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{width}" height="{height}" '
                f'class="critical-difference" role="img" aria-labelledby="{title} {description}">',
                f'<title id="{title}">{_escaped(self._title)}</title>',
                f'<desc id="{description}">{_escaped(self._description)}</desc>',
                f"<style>{_STYLE_WITHIN if self._within else _STYLE}</style>",
                *ground,
                *self._shapes,
                "</svg>",
                "",
            ]
        )

    def _line(self, places: Sequence[tuple[float, float]], kind: str = "line") -> None:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        self._shapes.append(f'<polyline class="{kind}" points="{points}"/>')

    def _text(self, text: str, x: float, y: float, anchor: str) -> None:
        self._shapes.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_escaped(text)}</text>')


_STYLE = (
    ".ground{fill:#ffffff}.line{fill:none;stroke:#3d444d;stroke-width:1.2}"
    ".bar{fill:none;stroke:#0b6bcb;stroke-width:4;stroke-linecap:round}"
    "text{fill:#1f2328;font-family:system-ui,sans-serif;font-size:13px;white-space:pre}"
    "@media (prefers-color-scheme:dark){.ground{fill:#0d1117}.line{stroke:#b1bac4}.bar{stroke:#58a6ff}"
    "text{fill:#e6edf3}}"
)


#: In a page a style would reach all that is there.
_STYLE_WITHIN = (
    ".critical-difference .line{fill:none;stroke:currentColor;stroke-width:1.2}"
    ".critical-difference .bar{fill:none;stroke:var(--accent);stroke-width:4;stroke-linecap:round}"
    ".critical-difference text{fill:currentColor;font-size:13px;white-space:pre}"
)


def _escaped(text: str) -> str:
    """As XML takes it; characters that no XML file may hold are shown as �."""
    return escape(re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))
