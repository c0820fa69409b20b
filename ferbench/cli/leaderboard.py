"""`ferbench leaderboard`: what the store holds, ranked."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options
from ferbench.cli.session import (
    paint,
    print_json,
    print_lines,
    reading_store,
    settings_of,
    shown_store,
    store_exists,
    width,
)
from ferbench.errors import UsageError

if TYPE_CHECKING:
    from ferbench.leaderboard import BoardTable
    from ferbench.records import RunSummary


@click.command()
@click.option("-t", "--target", metavar="DATASET", help="Only boards of this dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def leaderboard(context: click.Context, target: str | None, as_json: bool) -> None:
    """Show every board with its rows, best first."""
    from ferbench.leaderboard import as_json as boards_json
    from ferbench.leaderboard import failures_without_board, leaderboards

    settings = settings_of(context)
    rows: list[RunSummary] = []
    if store_exists(settings):
        with reading_store(settings) as store:
            rows = store.leaderboard_rows()
    tables = leaderboards(rows)
    if target is not None and rows:
        tables = _of_target(tables, target)
    if as_json:
        print_json(boards_json(tables))
    elif not rows:
        click.echo(
            f"no results in {shown_store(settings)} yet: start with `ferbench run --strategy cascade --backbone vgg16`"
        )
    else:
        show_boards(tables)
        if target is None and (lost := failures_without_board(rows)):
            from ferbench.publish.boards import failure_lines

            print_lines(["", *failure_lines(lost, width=width(), paint=paint())])


def show_boards(tables: Collection[BoardTable]) -> None:
    """Boards with an empty line between them, and the legend."""
    from ferbench.publish.boards import LEGEND, board_lines
    from ferbench.publish.layout import wrapped

    lines: list[str] = []
    for table in tables:
        lines += [*board_lines(table.board, table.entries, table.failed, width=width(), paint=paint()), ""]
    if any(table.entries for table in tables):
        lines += [paint().dim(line) for line in wrapped(LEGEND, width())]
    print_lines(lines)


def _of_target(tables: tuple[BoardTable, ...], target: str) -> tuple[BoardTable, ...]:
    found = tuple(table for table in tables if table.board.target == target)
    if not found:
        known = ", ".join(dict.fromkeys(table.board.target for table in tables))
        raise UsageError(f"no board of target {target!r}: there are {known}")
    return found
