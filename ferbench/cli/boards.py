"""Boards as they are printed: for a terminal, as Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import click

from ferbench.cli.session import paint, print_json, print_lines, warn, width

if TYPE_CHECKING:
    from ferbench.cli.board_options import BoardOptions
    from ferbench.cli.board_rows import BoardRows
    from ferbench.leaderboard import BoardTable
    from ferbench.publish.board_columns import View
    from ferbench.records import ReportedResult
    from ferbench.store import Store

#: `ferbench run` ends with so many rows of a board, and with its own.
MOST_AT_THE_END = 30


def show_boards(tables: Collection[BoardTable], own: Collection[str] = ()) -> None:
    """Boards as `ferbench run` ends with them: of a long one the best rows, and the command's own.

    own : entries' hashes, or ROWs
    """
    from ferbench.board_view import shortened
    from ferbench.publish.board_columns import ACCURACY

    rows = {entry[:10] for entry in own}
    short = [shortened(table, MOST_AT_THE_END, rows) for table in tables]
    said = (f"the best {MOST_AT_THE_END} and those of this command: `ferbench leaderboard` shows all",)
    views = [dataclasses.replace(ACCURACY, facts=said) if table.hidden else ACCURACY for table in short]
    print_lines(_board_lines(short, views))


def show_generalisation(store: Store, tables: Collection[BoardTable], own: Collection[str]) -> None:
    """What a command's rows score on further datasets.

    own : entries' hashes, or ROWs
    """
    from ferbench.board_view import shortened
    from ferbench.cli.board_rows import further_of
    from ferbench.publish.generalisation import generalisation_view

    mine = [shortened(table, 0, {entry[:10] for entry in own}) for table in tables]
    further = further_of(store, mine)
    print_lines(_board_lines(mine, [generalisation_view(further[table.board.fingerprint]) for table in mine]))


def show_found(found: BoardRows, options: BoardOptions, reported: Sequence[ReportedResult]) -> None:
    """For a terminal: boards, what failed before it had one, and what a filter left nothing of."""
    if options.curves:
        blocks = _curves(found)
    else:
        views = [_view(found, options, table) for table in found.tables]
        lines = _board_lines(found.tables, views, reported, by_rank=found.sort.by_rank) if found.tables else []
        blocks = [lines] if lines else []
        if found.lost:
            from ferbench.publish.boards import failure_lines

            blocks.append(failure_lines(found.lost, width=width(), paint=paint()))
    if left_out := _left_out(found):
        from ferbench.publish.layout import wrapped

        blocks.append(wrapped(left_out, width()))
    print_lines([line for number, block in enumerate(blocks) for line in ([""] if number else []) + block])


def show_reported(found: BoardRows, reported: Sequence[ReportedResult]) -> None:
    """Published figures of datasets that no board is shown of."""
    for dataset in _without_board(found, reported):
        print_lines(["", *_reported_lines(reported, dataset)])


def print_boards_json(found: BoardRows, options: BoardOptions, reported: Sequence[ReportedResult] | None) -> None:
    """All fields of a row, whatever columns were asked for; curves, further datasets and reach where they were."""
    from ferbench.leaderboard import as_json

    shown = as_json(found.tables)
    for board, table in zip(shown["boards"], found.tables, strict=True):
        for entry in board["entries"]:
            entry.update(_asked_json(found, options, table.board.fingerprint, entry["row"]))
        if options.curves:
            from ferbench.curves import as_json as curves_json
            from ferbench.curves import curves

            board["curves"] = curves_json(curves(table.entries))
    if reported is not None:
        from ferbench.reported_results import as_json as reported_json

        shown["references"] = [*map(reported_json, reported)]
    print_json(shown)


def print_boards_csv(found: BoardRows, options: BoardOptions) -> None:
    """One line a row; failed runs have none, which is said on stderr."""
    from ferbench.publish.boards_csv import boards_csv
    from ferbench.quantities import counted

    if failed := len(found.lost) + sum(len(table.failed) for table in found.tables):
        warn(f"failed runs have no line in the CSV ({counted(failed, 'row')}): --json has them")
    text = boards_csv(
        [(table.board, table.entries) for table in found.tables],
        further=found.further if options.generalisation else None,
        reach=None if options.reach is None else (options.reach, found.reach),
    )
    # As bytes: letters and line ends are the format's, wherever it is written.
    click.echo(text.encode(), nl=False)


def print_boards_markdown(found: BoardRows, options: BoardOptions, reported: Sequence[ReportedResult]) -> None:
    """A table a board, below each what is reported of its dataset, and the legend."""
    from ferbench.publish.boards_markdown import board_markdown, escaped, failures_markdown, reported_markdown

    blocks: list[list[str]] = []
    legends: dict[str, None] = {}
    for table in found.tables:
        view = _view(found, options, table)
        rows = (table.board, table.entries, table.failed)
        blocks.append(board_markdown(*rows, view=view, hidden=table.hidden, by_rank=found.sort.by_rank))
        blocks.append(reported_markdown(reported, table.board.target, table.board.split))
        legends |= {view.legend: None} if table.entries else {}
    blocks += [reported_markdown(reported, dataset) for dataset in _without_board(found, reported)]
    left_out = _left_out(found)
    blocks += [failures_markdown(found.lost), [escaped(left_out)] if left_out else [], *([each] for each in legends)]
    full = [block for block in blocks if block]
    print_lines([line for number, block in enumerate(full) for line in ([""] if number else []) + block])


def print_boards_latex(found: BoardRows, options: BoardOptions, reported: Sequence[ReportedResult]) -> None:
    """A table a board, below each what is reported of its dataset; several where one would not go on a page."""
    from ferbench.publish.boards_latex import PREAMBLE, board_latex, failures_latex, reported_latex
    from ferbench.publish.latex_text import escaped

    blocks: list[list[str]] = [[*PREAMBLE]]
    for table in found.tables:
        view = _view(found, options, table)
        board = table.board
        blocks.append(board_latex(board, table.entries, table.failed, view=view, hidden=table.hidden))
        blocks.append(reported_latex(reported, board.target, board.split, board.fingerprint[:10]))
    blocks += [reported_latex(reported, dataset) for dataset in _without_board(found, reported)]
    left_out = _left_out(found)
    blocks += [failures_latex(found.lost), [escaped(left_out)] if left_out else []]
    full = [block for block in blocks if block]
    print_lines([line for number, block in enumerate(full) for line in ([""] if number else []) + block])


def _asked_json(found: BoardRows, options: BoardOptions, board: str, row: str) -> dict[str, Any]:
    """What an entry has only where it was asked for."""
    asked: dict[str, Any] = {}
    if options.reach is not None:
        from ferbench.reach import as_json as reach_json

        asked["reach"] = reach_json(found.reach[board].get(row), options.reach / 100)
    if options.generalisation:
        from ferbench.generalisation import as_json as further_json

        asked["further"] = further_json(found.further[board].get(row, ()))
    return asked


def _view(found: BoardRows, options: BoardOptions, table: BoardTable) -> View:
    from ferbench.publish.board_columns import ACCURACY, CALIBRATION, COST, with_reach

    view = COST if options.cost else CALIBRATION if options.calibration else ACCURACY
    if options.generalisation:
        from ferbench.publish.generalisation import generalisation_view

        view = generalisation_view(found.further[table.board.fingerprint])
    if options.reach is not None:
        view = with_reach(view, options.reach, found.reach[table.board.fingerprint])
    return dataclasses.replace(view, facts=(*view.facts, *found.choice))


def _board_lines(
    tables: Collection[BoardTable],
    views: Sequence[View],
    reported: Sequence[ReportedResult] = (),
    *,
    by_rank: bool = True,
) -> list[str]:
    """Boards with an empty line between them, below each what is reported of its dataset, and the legend."""
    from ferbench.publish.boards import board_lines
    from ferbench.publish.layout import wrapped

    lines: list[str] = []
    legends: dict[str, None] = {}
    for table, view in zip(tables, views, strict=True):
        rows = (table.board, table.entries, table.failed)
        hidden = table.hidden
        lines += board_lines(*rows, width=width(), paint=paint(), view=view, hidden=hidden, by_rank=by_rank)
        lines.append("")
        if below := _reported_lines(reported, table.board.target, table.board.split):
            lines += [*below, ""]
        legends |= {view.legend: None} if table.entries else {}
    for legend in legends:
        lines += [paint().dim(line) for line in wrapped(legend, width())]
    return lines


def _curves(found: BoardRows) -> list[list[str]]:
    from ferbench.curves import curves
    from ferbench.publish.boards import shown_words
    from ferbench.publish.curves import curve_lines
    from ferbench.publish.layout import wrapped_facts

    blocks = []
    for table in found.tables:
        lines = curve_lines(table.board, curves(table.entries), width=width(), paint=paint())
        hidden = shown_words(len(table.entries), table.hidden)
        chosen = wrapped_facts([*found.choice, hidden], width()) if hidden else []
        blocks.append([*map(paint().dim, chosen), *lines])
    return blocks


def _left_out(found: BoardRows) -> str:
    """Boards that the filter leaves nothing of, in words; empty where there are none."""
    from ferbench.quantities import counted

    shown = {table.board.fingerprint for table in found.tables}
    hidden = [table for table in found.boards if table.board.fingerprint not in shown]
    if not hidden:
        return ""
    boards = counted(len(hidden), "other board" if shown else "board")
    rows = counted(sum(len(table.entries) for table in hidden), "row")
    return f"not shown: {boards} with {rows}, none of them where {found.where}"


def _without_board(found: BoardRows, reported: Sequence[ReportedResult]) -> list[str]:
    shown = {table.board.target for table in found.tables}
    return list(dict.fromkeys(result.dataset for result in reported if result.dataset not in shown))


def _reported_lines(reported: Sequence[ReportedResult], dataset: str, split: str | None = None) -> list[str]:
    from ferbench.publish.reported_results import reported_lines

    of_dataset = [result for result in reported if result.dataset == dataset]
    return reported_lines(of_dataset, dataset, split, width=width(), paint=paint())
