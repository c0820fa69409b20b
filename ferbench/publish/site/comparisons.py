"""Comparisons as HTML: words and digits are those that `ferbench compare` prints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup

from ferbench.comparison import FEWEST_BOARDS, Pair
from ferbench.competitors import BoardOutcome
from ferbench.curves import Curve
from ferbench.pages.board import hex_name
from ferbench.pages.comparison import (
    AcrossPage,
    ComparisonPage,
    Confusion,
    Confusions,
    CostPoint,
    Costs,
    Known,
    Matrix,
)
from ferbench.publish.boards import board_facts, protocol_words
from ferbench.publish.comparison import across_lines, basis_facts, general_facts
from ferbench.publish.critical_difference import diagram_svg
from ferbench.publish.site.shell import Shell
from ferbench.publish.verdicts import METRIC_WORDS, Fact, p_words, points, whole_sentence
from ferbench.quantities import amount, counted, duration, joined, percent, whole

#: A matrix by what its rows were put together by; "" where each row stands alone.
_TITLES = {"strategy": "Strategies", "backbone": "Backbones", "": "The best rows"}

#: What a cost is called on an axis and in a table, and in what it is counted.
COST_WORDS = {
    "train_seconds": ("training time", "s"),
    "parameters": ("parameters", ""),
    "images_seen": ("images seen in training", ""),
    "forward_flops": ("FLOPs of one image", ""),
}

#: Curves that can be told apart in one drawing; the table has them all.
_DRAWN = 8

#: A line that is never wrapped: a browser does that.
_ONE_LINE = 10**6

#: Differences of shares below it are shown as none.
_NOTHING_TOLD = 0.0005


@dataclass(frozen=True, slots=True)
class Cell:
    """The row minus the column. `kind` is what the cell says in words, empty on the diagonal."""

    kind: Literal["", "ahead", "behind", "undecided", "not compared"]
    points: str = ""
    interval: str = ""
    p: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A competitor of a matrix; `row` where it is one that has a page."""

    number: int
    label: str
    row: str
    mean: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class MatrixView:
    """A matrix in words.

    told : how many pairs can be told apart
    lead : the sentence of the best two; empty where they are no pair
    corrected : what p is corrected for, in words
    """

    key: str
    title: str
    by: tuple[str, ...]
    metric: str
    lines: tuple[Line, ...]
    told: str
    lead: str
    corrected: str
    sentences: tuple[str, ...]
    facts: tuple[Fact, ...]
    left_out: tuple[str, ...]
    refused: str
    asked: str


def comparison_html(page: ComparisonPage, shell: Shell, root: str) -> str:
    """A board's page of comparisons, complete without a script.

    root : from the page's folder to the site's
    """
    board = page.board
    return shell.render(
        "compare.html",
        root,
        crumbs=[(f"{board.target} {board.split}", "index.html"), ("Comparisons", None)],
        page=page,
        facts=board_facts(board),
        said=protocol_words(board),
        matrices=matrix_views(page),
        confusions=None if page.confusions is None else _confusions(page.confusions),
        costs=_costs(page.costs, page.rows),
        cost_words=COST_WORDS,
        cost_text=cost_text,
        difference=difference_text,
        curves=_curves(page.curves),
        curves_data=_curves_data(page.curves),
        drawn=_DRAWN,
        known=_known(page.known),
        link=hex_name,
    )


def matrix_views(page: ComparisonPage) -> list[MatrixView]:
    """A board's matrices in words, those that were refused among them."""
    return [_matrix(matrix, page.rows) for matrix in page.matrices]


def across_html(page: AcrossPage, shell: Shell, root: str) -> str:
    """The part of a site's overview that compares over its boards, a section without a heading of the first level.

    It needs no script and no style of its own.
    """
    lines: list[str] = []
    ranks: list[tuple[float, str]] = []
    diagram = ""
    across = page.across
    if across is not None:
        lines = [line.strip() for line in across_lines(across, fewest=FEWEST_BOARDS, width=_ONE_LINE)]
        ranks = sorted(zip(across.average_ranks, across.competitors, strict=True))
        if across.boards >= FEWEST_BOARDS:
            # Its last line tells why there is no diagram.
            lines = lines[:-1]
            diagram = diagram_svg(across, within="across-")
        # The second is the ranks, which stand in the table.
        del lines[1]
    return shell.render(
        "across.html",
        root,
        boards=page.boards,
        lines=lines,
        ranks=ranks,
        diagram=Markup(diagram),
        left_out=page.left_out,
        asked=page.asked,
    )


def cost_text(key: str, value: float | None) -> str:
    """A cost as people read it."""
    if value is None:
        return "–"
    if key == "train_seconds":
        return duration(value)
    return whole(int(value)) if key == "images_seen" else amount(value)


def _matrix(matrix: Matrix, pages: Iterable[str]) -> MatrixView:
    key = matrix.by[0] if matrix.by else ""
    title = _TITLES.get(key, key.replace("_", " ").capitalize())
    empty = MatrixView(
        key=key or "rows",
        title=title,
        by=matrix.by,
        metric="",
        lines=(),
        told="",
        lead="",
        corrected="",
        sentences=(),
        facts=(),
        left_out=matrix.left_out,
        refused=matrix.refused,
        asked=matrix.asked,
    )
    return empty if matrix.outcome is None else _told(empty, matrix.outcome, frozenset(pages))


def _told(view: MatrixView, outcome: BoardOutcome, pages: frozenset[str]) -> MatrixView:
    paired = {name for pair in outcome.pairs for name in (pair.a, pair.b)}
    order = sorted(paired, key=lambda name: (-outcome.means[name], list(outcome.means).index(name)))
    pairs: dict[tuple[str, str], tuple[Pair, bool]] = {}
    for pair in outcome.pairs:
        pairs[pair.a, pair.b], pairs[pair.b, pair.a] = (pair, False), (pair, True)
    lines = tuple(
        Line(
            number=number,
            label=outcome.labels[name],
            row=name if name in pages and not view.by else "",
            mean=percent(outcome.means[name]),
            cells=tuple(Cell("") if name == other else _cell(pairs.get((name, other))) for other in order),
        )
        for number, name in enumerate(order, 1)
    )
    count = len(outcome.pairs)
    sentences = {(pair.a, pair.b): whole_sentence(pair, outcome.labels, count) for pair in outcome.pairs}
    best = pairs.get((order[0], order[1]))
    told = sum(pair.verdict != "undecided" for pair in outcome.pairs)
    by_place = sorted(outcome.pairs, key=lambda pair: sorted(order.index(name) for name in (pair.a, pair.b)))
    numbers = {name: number for number, name in enumerate(order, 1)}
    return MatrixView(
        key=view.key,
        title=view.title,
        by=view.by,
        metric=METRIC_WORDS[outcome.pairs[0].metric],
        lines=lines,
        told=f"{whole(told)} of {counted(count, 'pair')} can be told apart.",
        lead="" if best is None else sentences[best[0].a, best[0].b],
        corrected=f"p is corrected by Holm for {counted(count, 'pair')}, as intervals are not" if count > 1 else "",
        sentences=tuple(sentences[pair.a, pair.b] for pair in by_place),
        facts=(*basis_facts(outcome, numbers), *general_facts(outcome)),
        left_out=(*view.left_out, *sorted({text for pair in outcome.pairs for text in pair.left_out})),
        refused="",
        asked=view.asked,
    )


def _cell(found: tuple[Pair, bool] | None) -> Cell:
    if found is None:
        return Cell("not compared")
    pair, turned = found
    kind: Literal["ahead", "behind", "undecided"] = "undecided"
    if pair.verdict != "undecided":
        kind = "ahead" if (pair.verdict == "a") != turned else "behind"
    difference, low, high = points(pair, turned=turned)
    return Cell(kind, _signed(difference), f"{_minus(low)} to {_minus(high)}", f"p {p_words(pair.holm_p)}")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _signed(text: str) -> str:
    return _minus(text) if text.startswith("-") or not float(text) else f"+{text}"


def _confusions(confusions: Confusions) -> dict[str, Any]:
    """What the template and the script need, the default pair in words and as a table."""
    rows = {each.row: each for each in confusions.rows}
    a, b = rows[confusions.first], rows[confusions.second]
    return {
        "classes": confusions.classes,
        "rows": confusions.rows,
        "first": a,
        "second": b,
        "left_out": confusions.left_out,
        "support": [sum(of) // len(a.seeds) for of in a.counts],
        "table": _differences(a, b),
        "words": confusion_words(confusions.classes, a, b),
        "data": {
            "classes": confusions.classes,
            "rows": [
                {"row": each.row, "label": row_words(each.label, each.row), "shares": _shares(each)}
                for each in confusions.rows
            ],
        },
    }


def row_words(label: str, row: str) -> str:
    """A row as a list names it: in words, with its digits."""
    return label if row in label else f"{label} ({row})"


def confusion_words(classes: Sequence[str], a: Confusion, b: Confusion) -> str:
    """What sets two rows' confusion matrices apart, in sentences; the site's script says the same of other pairs."""
    table = _differences(a, b)
    known = [index for index, line in enumerate(table) if line[index] is not None]
    right = [(classes[index], float(table[index][index] or 0)) for index in known]
    parts = []
    for head, some in (
        ("right more often on", [each for each in right if each[1] >= _NOTHING_TOLD]),
        ("right less often on", [each for each in right if each[1] <= -_NOTHING_TOLD]),
    ):
        if some:
            parts.append(f"{head} {', '.join(f'{name} ({difference_text(value)})' for name, value in some)}")
    off = [
        (value, truth, said)
        for truth, line in enumerate(table)
        for said, value in enumerate(line)
        if value is not None and truth != said
    ]
    most = max(off, key=lambda each: abs(each[0]), default=None)
    text = f"{row_words(a.label, a.row)} against {row_words(b.label, b.row)}: {'; '.join(parts) or 'right as often'}."
    if most is None or abs(most[0]) < _NOTHING_TOLD:
        return text
    value, truth, said = most
    return (
        f"{text} The largest change among errors: {classes[truth]} taken for {classes[said]} {difference_text(value)}."
    )


def difference_text(value: float | None) -> str:
    """A difference of shares in points, with its sign."""
    if value is None:
        return "–"
    # Halves go away from zero, as in the site's script: a page says the same with it and without.
    tenths = math.floor(1000 * abs(value) + 0.5)
    sign = "" if not tenths else "+" if value > 0 else "−"
    return f"{sign}{tenths // 10}.{tenths % 10}"


def _differences(a: Confusion, b: Confusion) -> list[list[float | None]]:
    return [
        [None if one is None or other is None else one - other for one, other in zip(of_a, of_b, strict=True)]
        for of_a, of_b in zip(_shares(a), _shares(b), strict=True)
    ]


def _shares(each: Confusion) -> list[list[float | None]]:
    return [[None if share is None else round(share, 6) for share in line] for line in each.shares]


def _costs(costs: Costs, pages: frozenset[str]) -> dict[str, Any]:
    strategies = sorted({point.strategy for point in costs.points})
    return {
        "data": {
            "axes": [
                {
                    "key": axis.key,
                    "title": _axis_title(axis.key),
                    "logarithmic": axis.logarithmic,
                    "front": list(axis.front),
                }
                for axis in costs.axes
            ],
            "strategies": strategies,
            "points": [_point(point, [axis.key for axis in costs.axes], pages) for point in costs.points],
        },
        "axes": costs.axes,
        "points": costs.points,
        "front": {axis.key: frozenset(axis.front) for axis in costs.axes},
        "devices": costs.devices,
        "left_out": costs.left_out,
    }


def _axis_title(key: str) -> str:
    words, unit = COST_WORDS[key]
    return f"{words} ({unit})" if unit else words


def _point(point: CostPoint, keys: Iterable[str], pages: frozenset[str]) -> dict[str, Any]:
    interval = point.accuracy
    return {
        "row": point.row,
        "page": hex_name(point.row) if point.row in pages else None,
        "label": point.label,
        "strategy": point.strategy,
        "accuracy": [round(value, 6) for value in (interval.low, interval.mean, interval.high)],
        "seeds": point.seeds,
        "costs": {key: point.costs[key] for key in keys},
        "words": {key: cost_text(key, point.costs[key]) for key in keys},
    }


def _curve_label(curve: Curve, among: Sequence[Curve]) -> str:
    """A curve by what it differs in from the others."""
    parts: list[tuple[str, set[Any]]] = [
        (curve.backbone, {each.backbone for each in among}),
        (curve.strategy, {each.strategy for each in among}),
        (f"with {', '.join(curve.auxiliaries)}" if curve.auxiliaries else "", {each.auxiliaries for each in among}),
        (curve.weights, {each.weights for each in among}),
        (curve.device, {each.device for each in among}),
    ]
    words = [text for text, values in parts if text and len(values) > 1]
    return " · ".join([*words, *filter(None, [curve.difference])]) or f"{curve.backbone} · {curve.strategy}"


def _curves(curves: Sequence[Curve]) -> list[tuple[str, Curve]]:
    return [(_curve_label(curve, curves), curve) for curve in curves]


def _curves_data(curves: Sequence[Curve]) -> dict[str, Any]:
    drawn = curves[:_DRAWN]
    return {
        "curves": [
            {
                "label": _curve_label(curve, curves),
                "points": [
                    {
                        "part": point.train_fraction,
                        "row": point.row,
                        "accuracy": [
                            round(value, 6) for value in (point.accuracy.low, point.accuracy.mean, point.accuracy.high)
                        ],
                    }
                    for point in curve.points
                ],
            }
            for curve in drawn
        ]
    }


def _known(known: Sequence[Known]) -> dict[str, Any]:
    auxiliaries = list(dict.fromkeys((each.dataset, each.split, each.n) for each in known))
    return {
        "rows": known,
        "auxiliaries": joined([f"{dataset} {split} (n {whole(n)})" for dataset, split, n in auxiliaries]),
        "several": len(auxiliaries) > 1,
        "data": {
            "rows": [
                {
                    "label": each.label + (f" · {each.dataset}" if len(auxiliaries) > 1 else ""),
                    "before": round(each.before, 6),
                    "after": round(each.after, 6),
                    "words": difference_text(each.after - each.before),
                }
                for each in known
            ]
        },
    }
