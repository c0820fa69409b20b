"""`ferbench leaderboard`: what the store holds, ranked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options
from ferbench.cli.session import (
    catalog_of,
    paint,
    print_json,
    print_lines,
    reading_store,
    settings_of,
    shown_store,
    store_exists,
    warn_of_failures,
    width,
)
from ferbench.errors import UsageError

if TYPE_CHECKING:
    from ferbench.leaderboard import BoardTable
    from ferbench.records import ReportedResult, RunSummary, SpeedMeasurement


@click.command()
@click.option("-t", "--target", metavar="DATASET", help="Only boards of this dataset.")
@click.option("--references", is_flag=True, help="Show published figures too, apart: reported, not reproduced.")
@click.option(
    "--references-from",
    "files",
    metavar="FILE.toml",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Show those of a file too; may be given several times.",
)
@click.option("--curves", "as_curves", is_flag=True, help="Show accuracy over the part of train that was trained on.")
@click.option("--cost", is_flag=True, help="Show what rows cost, beside their accuracy.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def leaderboard(
    context: click.Context,
    target: str | None,
    references: bool,
    files: tuple[Path, ...],
    as_curves: bool,
    cost: bool,
    as_json: bool,
) -> None:
    """Show every board with its rows, best first."""
    from ferbench.leaderboard import as_json as boards_json
    from ferbench.leaderboard import failures_without_board, leaderboards

    reported = _reported(context, files) if references or files else None
    settings = settings_of(context)
    rows: list[RunSummary] = []
    speeds: list[SpeedMeasurement] = []
    if store_exists(settings):
        with reading_store(settings) as store:
            rows = store.leaderboard_rows()
            speeds = store.speed_measurements()
    tables = leaderboards(rows, speeds)
    if target is not None and (rows or reported is not None):
        tables, reported = _of_target(tables, reported, target, _names(rows))
    if as_json:
        from ferbench.reported_results import as_json as reported_json

        shown = boards_json(tables)
        if as_curves:
            from ferbench.curves import as_json as curves_json
            from ferbench.curves import curves

            for board, table in zip(shown["boards"], tables, strict=True):
                board["curves"] = curves_json(curves(table.entries))
        print_json(shown | ({} if reported is None else {"references": [*map(reported_json, reported)]}))
        return
    if not rows:
        click.echo(
            f"no results in {shown_store(settings)} yet: start with `ferbench run --strategy cascade --backbone vgg16`"
        )
    elif target is not None and not tables:
        click.echo(f"no board of {target} yet")
    elif as_curves:
        _show_curves(tables)
    else:
        show_boards(tables, reported or (), cost=cost)
        if target is None and (lost := failures_without_board(rows)):
            from ferbench.publish.boards import failure_lines

            print_lines(["", *failure_lines(lost, width=width(), paint=paint())])
    boards_of = {table.board.target for table in tables}
    for dataset in dict.fromkeys(result.dataset for result in reported or ()):
        if dataset not in boards_of:
            print_lines(["", *_reported_lines(reported or (), dataset)])


def show_boards(tables: Collection[BoardTable], reported: Sequence[ReportedResult] = (), *, cost: bool = False) -> None:
    """Boards with an empty line between them, below each what is `reported` of its dataset, and the legend.

    cost : show what rows cost, beside their accuracy
    """
    from ferbench.publish.boards import COST_LEGEND, LEGEND, board_lines
    from ferbench.publish.layout import wrapped

    lines: list[str] = []
    for table in tables:
        lines += board_lines(table.board, table.entries, table.failed, width=width(), paint=paint(), cost=cost)
        lines.append("")
        if below := _reported_lines(reported, table.board.target, table.board.split):
            lines += [*below, ""]
    if any(table.entries for table in tables):
        lines += [paint().dim(line) for line in wrapped(COST_LEGEND if cost else LEGEND, width())]
    print_lines(lines)


def _show_curves(tables: Collection[BoardTable]) -> None:
    from ferbench.curves import curves
    from ferbench.publish.curves import curve_lines

    for number, table in enumerate(tables):
        lines = curve_lines(table.board, curves(table.entries), width=width(), paint=paint())
        print_lines(["", *lines] if number else lines)


def _reported(context: click.Context, files: Sequence[Path]) -> tuple[ReportedResult, ...]:
    """What plugins and then the user's own files report, each figure once."""
    from ferbench.reported_results import read_reported_results

    catalog = catalog_of(context)
    warn_of_failures(catalog)
    own = (result for file in files for result in read_reported_results(file, catalog.dataset))
    return tuple(dict.fromkeys((*catalog.reported_results(), *own)))


def _reported_lines(reported: Sequence[ReportedResult], dataset: str, split: str | None = None) -> list[str]:
    from ferbench.publish.reported_results import reported_lines

    of_dataset = [result for result in reported if result.dataset == dataset]
    return reported_lines(of_dataset, dataset, split, width=width(), paint=paint())


def _names(rows: Collection[RunSummary]) -> dict[str, set[str]]:
    """Under which names each board's data was asked for, with and without splits, by the board's fingerprint."""
    found: dict[str, set[str]] = {}
    for row in rows:
        if row.board is not None:
            found.setdefault(row.board.fingerprint, set()).update((row.target, row.target.rpartition(":")[0]))
    return found


def _of_target(
    tables: tuple[BoardTable, ...],
    reported: tuple[ReportedResult, ...] | None,
    target: str,
    asked_as: Mapping[str, set[str]],
) -> tuple[tuple[BoardTable, ...], tuple[ReportedResult, ...] | None]:
    found = tuple(t for t in tables if target in {t.board.target, *asked_as.get(t.board.fingerprint, ())})
    of_target = None if reported is None else tuple(result for result in reported if result.dataset == target)
    if not found and not of_target:
        names = [table.board.target for table in tables] + [result.dataset for result in reported or ()]
        what = "board" if reported is None else "board and no reported result"
        raise UsageError(f"no {what} of target {target!r}: there are {', '.join(dict.fromkeys(names)) or 'none'}")
    return found, of_target
