"""Target-size curves for a terminal: one line a curve, one column a part of the target's train samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ferbench.publish.boards import board_facts
from ferbench.publish.layout import PLAIN, Align, Paint, aligned, total_width, wrapped, wrapped_facts
from ferbench.quantities import counted, percent
from ferbench.records import Board, Interval

_INDENT = " " * 4

CURVES_LEGEND = (
    "accuracy % over the part of the target's train samples that was trained on, ± standard deviation over seeds; "
    "where training goes by steps, the budget of images is the same for all parts"
)


class CurvePoint(Protocol):
    """Accuracy at one part of train."""

    @property
    def train_fraction(self) -> float: ...
    @property
    def row(self) -> str: ...
    @property
    def seeds(self) -> tuple[int, ...]: ...
    @property
    def accuracy(self) -> Interval: ...


class CurveView(Protocol):
    """What a line is made of."""

    @property
    def backbone(self) -> str: ...
    @property
    def strategy(self) -> str: ...
    @property
    def auxiliaries(self) -> tuple[str, ...]: ...
    @property
    def weights(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def difference(self) -> str: ...
    @property
    def points(self) -> Sequence[CurvePoint]: ...


def curve_lines(board: Board, curves: Sequence[CurveView], *, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """A board's curves as lines of at most `width` characters. Nothing is cut off."""
    lines = [paint.bold(line) for line in wrapped_facts(board_facts(board), width, hanging=_INDENT)]
    parts = _parts(curves)
    shown = _Shown(curves)
    table = [["strategy", *parts]]
    table += [[curve.strategy, *(_cell(curve, part) for part in parts)] for curve in curves]
    sides: list[Align] = ["left", *["right"] * len(parts)]  # type: ignore[list-item]
    narrow = total_width(table) > width
    text = [] if narrow else aligned(table, sides)
    lines += [paint.bold(line) for line in text[:1]]
    for index, curve in enumerate(curves):
        if narrow:
            points = [f"{part}: {_cell(curve, part)}" for part in parts if _points(curve, part)]
            lines += wrapped_facts([curve.strategy, *points], width, hanging=_INDENT)
        else:
            lines.append(text[index + 1])
        facts = shown.facts(curve) + _rows_of_one_part(curve, parts)
        lines += [paint.dim(line) for line in wrapped_facts(facts, width, _INDENT)]
    return lines + [paint.dim(line) for line in wrapped(CURVES_LEGEND, width)]


class _Shown:
    """What is said under a line: only what differs between the curves, and how many seeds there are."""

    def __init__(self, curves: Sequence[CurveView]) -> None:
        self._backbones = len({curve.backbone for curve in curves}) > 1
        self._weights = len({curve.weights for curve in curves}) > 1
        self._devices = len({curve.device for curve in curves}) > 1

    def facts(self, curve: CurveView) -> list[str]:
        seeds = sorted({len(point.seeds) for point in curve.points})
        count = counted(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
        return [
            *([curve.backbone] if self._backbones else []),
            *([f"with {', '.join(curve.auxiliaries)}"] if curve.auxiliaries else []),
            *([f"weights: {curve.weights}"] if self._weights else []),
            *([curve.device] if self._devices else []),
            *([curve.difference] if curve.difference else []),
            count,
        ]


def _title(part: float) -> str:
    """A part of train as its column names it; parts of one title share a column."""
    return f"{100 * part:.3g} %"


def _parts(curves: Sequence[CurveView]) -> list[str]:
    """The columns' titles, by rising part."""
    return list(dict.fromkeys(map(_title, sorted(point.train_fraction for curve in curves for point in curve.points))))


def _points(curve: CurveView, part: str) -> list[CurvePoint]:
    return [point for point in curve.points if _title(point.train_fraction) == part]


def _cell(curve: CurveView, part: str) -> str:
    found = [point.accuracy for point in _points(curve, part)]
    return " / ".join(percent(one.mean) + ("" if one.sd is None else f" ± {percent(one.sd)}") for one in found)


def _rows_of_one_part(curve: CurveView, parts: Sequence[str]) -> list[str]:
    """Whose figures share a cell, such as rows before and after the training data changed."""
    shared = [(part, [point.row for point in _points(curve, part)]) for part in parts]
    return [f"{part}: rows {' / '.join(rows)}" for part, rows in shared if len(rows) > 1]
