"""`ferbench merge OTHER...`: rows of other stores and of snapshots, taken into this store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options
from ferbench.cli.session import paint, print_json, print_lines, reading_store, settings_of, shown_store, width
from ferbench.errors import FerbenchError

if TYPE_CHECKING:
    from ferbench.merging import Merge
    from ferbench.store import Store


@click.command()
@click.argument("others", nargs=-1, required=True, metavar="OTHER...")
@click.option("--dry-run", is_flag=True, help="Show what would be merged and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def merge(context: click.Context, others: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Take in the rows of other stores and of snapshots.

    OTHER is a store's file or address, or the folder of a snapshot. What is here stays as it is: a run that is here
    already is passed over, and one that is here with other answers is named and left out. The same row computed on
    other hardware becomes a row of its own. Scores are computed again from the predictions that come with a row; a row
    that does not hold what it says is named and left out. Exit code 1 if any was.

    \b
    ferbench merge results/evidence-cpu-2.14
    ferbench merge --dry-run ~/other/leaderboard.sqlite
    """
    settings = settings_of(context)
    if dry_run:
        with reading_store(settings, or_empty=True) as store:
            done, errors = _merged(store, others, dry_run=True)
    else:
        from ferbench.store import open_store

        with open_store(settings.store) as store:
            done, errors = _merged(store, others, dry_run=False)
    if as_json:
        from ferbench.publish.merging import merges_json

        print_json(merges_json(done))
    else:
        _show(done, shown_store(settings), dry_run=dry_run)
    for error in errors:
        click.echo(f"error: {error.line}", err=True)
    if errors or not all(each.clean for each in done):
        context.exit(max((error.exit_code for error in errors), default=1))


def _merged(store: Store, others: tuple[str, ...], *, dry_run: bool) -> tuple[list[Merge], list[FerbenchError]]:
    """Each by itself: one that cannot be read does not keep the others out."""
    from ferbench.merging import merge as merged

    done: list[Merge] = []
    errors: list[FerbenchError] = []
    for other in others:
        try:
            done.append(merged(store, other, dry_run=dry_run))
        except FerbenchError as error:
            errors.append(error)
    return done, errors


def _show(done: list[Merge], store: str, *, dry_run: bool) -> None:
    from ferbench.publish.layout import wrapped
    from ferbench.publish.merging import merge_lines

    lines = wrapped(f"store {store}", width())
    for each in done:
        lines += merge_lines(each, dry_run=dry_run, width=width(), paint=paint())
    print_lines(lines)
