"""Figures from the literature for a terminal: a block of its own, with neither rank nor place in a board's table."""

from __future__ import annotations

from collections.abc import Sequence

from ferbench.publish.layout import PLAIN, Align, Paint, aligned, total_width, wrapped, wrapped_facts
from ferbench.quantities import whole
from ferbench.records import ReportedResult
from ferbench.reported_results import STATUS

_INDENT = " " * 4

_TITLES = ["method", "split", "n", "accuracy %", "source"]
_SIDES: list[Align] = ["left", "left", "right", "left", "left"]


def reported_lines(
    results: Sequence[ReportedResult], dataset: str, split: str | None = None, *, width: int = 80, paint: Paint = PLAIN
) -> list[str]:
    """The figures of one dataset, those of a board's split first, else in their own order; none gives no lines.

    Lines have at most `width` characters, colours not counted, and nothing is cut off: source and remark go under
    their row where the table has no room for them.
    """
    results = sorted(results, key=lambda result: split is not None and result.split != split)
    if not results:
        return []
    lines = [paint.bold(line) for line in wrapped_facts([STATUS, dataset], width, hanging=_INDENT)]
    rows = _rows(results)
    columns = next((count for count in (5, 4) if total_width([row[:count] for row in rows]) <= width), None)
    if columns is None:
        for result in results:
            lines += wrapped(result.method, width, hanging=_INDENT)
            facts = [_split(result), _samples(result, "n "), f"accuracy {_percent(result)} %"]
            lines += wrapped_facts(facts, width, _INDENT)
            lines += _below(result, 4, width, paint)
        return lines
    text = aligned([row[:columns] for row in rows], _SIDES[:columns])
    lines.append(paint.bold(text[0]))
    for line, result in zip(text[1:], results, strict=True):
        lines += [line, *_below(result, columns, width, paint)]
    return lines


def _rows(results: Sequence[ReportedResult]) -> list[list[str]]:
    # The points stand under each other, and no figure gets a digit that its source does not print.
    before = max(len(_percent(result).partition(".")[0]) for result in results)
    numbers = [" " * (before - len(_percent(result).partition(".")[0])) + _percent(result) for result in results]
    return [
        _TITLES,
        *(
            [result.method, _split(result), _samples(result), number, result.source]
            for result, number in zip(results, numbers, strict=True)
        ),
    ]


def _below(result: ReportedResult, columns: int, width: int, paint: Paint) -> list[str]:
    facts = [*([result.source] if columns < 5 else []), *([result.remark] if result.remark else [])]
    return [paint.dim(line) for line in wrapped_facts(facts, width, _INDENT, _INDENT + "  ")]


def _split(result: ReportedResult) -> str:
    return "split not stated" if result.split is None else result.split


def _samples(result: ReportedResult, before: str = "") -> str:
    return "n not stated" if result.n is None else before + whole(result.n)


def _percent(result: ReportedResult) -> str:
    return f"{100 * result.accuracy:.10g}"
