"""`ferbench verify ROW…`: whether rows are what they say."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options, where_option
from ferbench.cli.session import (
    catalog_of,
    paint,
    print_json,
    print_lines,
    reading_store,
    settings_of,
    warn_of_failures,
    width,
)
from ferbench.errors import UsageError

if TYPE_CHECKING:
    from ferbench.store import Store
    from ferbench.verification import VerifiedRow


@click.command()
@click.argument("rows", metavar="[ROW]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Verify every row.")
@where_option("Verify the rows that fit, as `ferbench leaderboard --where` shows them")
@click.option("--infer", is_flag=True, help="Predict again from the checkpoints, and compare.")
@click.option("--members", is_flag=True, help="Go on with the members of ensembles.")
@click.option("--verbose", "-v", is_flag=True, help="Show what agrees, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def verify(
    context: click.Context,
    rows: tuple[str, ...],
    every: bool,
    where: tuple[str, ...],
    infer: bool,
    members: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Derive every number of rows again, and name each mismatch.

    Scores, intervals and calibration are computed again from stored predictions, and the names of rows and stages from
    what they name; data, weights, plugins and checkpoints are compared with their hashes. Predictions and scores that
    were forged together are found by --infer alone. What cannot be checked here, since data or checkpoints are
    elsewhere, is said and is no mismatch. Nothing in the store is changed; a mismatch ends in exit code 1.

    \b
    ferbench verify 4f1c20 9ab3d7
    ferbench verify --all --infer
    """
    from ferbench.publish.verification import as_json as row_json
    from ferbench.publish.verification import row_lines, rows_json, total_lines
    from ferbench.verification import Verifier

    if not (rows or every or where):
        raise UsageError("name the rows, or give --all or --where: `ferbench leaderboard` lists them")
    settings = settings_of(context)
    catalog = catalog_of(context)
    warn_of_failures(catalog)
    found: list[VerifiedRow] = []
    with reading_store(settings) as store:
        wanted = _wanted(store, rows, where, every=every)
        progress = _Progress(len(wanted))
        for verified in Verifier(catalog, store, settings, infer=infer, tell=progress.tell).rows(
            wanted, members=members
        ):
            progress.clear()
            found.append(verified)
            if not as_json:
                print_lines(row_lines(verified, every=verbose, width=width(), paint=paint()))
    if as_json:
        # One row that was named is printed by itself.
        print_json(row_json(found[0]) if len(found) == len(rows) == 1 and not (every or where) else rows_json(found))
    elif len(found) > 1:
        print_lines(["", *total_lines(found, width=width(), paint=paint())])
    if not all(row.ok for row in found):
        context.exit(1)


def _wanted(store: Store, rows: Sequence[str], where: Sequence[str], *, every: bool) -> list[str]:
    """What is to be verified, by name.

    Raises
    ------
    UsageError : nothing fits
    """
    if every:
        # By columns alone: a record that cannot be read is a mismatch and must not hide its row.
        found = store.entries()
        if not found:
            raise UsageError(f"no row in {store.location} yet: `ferbench run` makes one")
        return found
    return [*rows, *(_fitting(store, where) if where else ())]


def _fitting(store: Store, where: Sequence[str]) -> list[str]:
    from ferbench.board_view import fitting_entries
    from ferbench.row_filter import parse_where

    wanted = parse_where(where)
    found = fitting_entries(store.leaderboard_rows(), wanted, store.speed_measurements() if wanted.measured else ())
    if not found:
        raise UsageError(f"no row fits {wanted}: `ferbench leaderboard` lists them")
    return found


class _Progress:
    """Which row it is at, on one line of a terminal; nothing in a log."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._shown = sys.stderr.isatty()

    def tell(self, row: str, seed: int) -> None:
        """A run is being verified."""
        if self._shown:
            number = min(self._done + 1, self._total)
            click.echo(f"\r\x1b[Kverifying row {number} of {self._total}: {row}, seed {seed}", nl=False, err=True)

    def clear(self) -> None:
        """A row is done; the line is free for what is said of it."""
        self._done += 1
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
