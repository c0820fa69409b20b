"""`ferbench ensemble ROW...`: finished rows averaged, as a row of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ferbench.cli.boards import show_boards
from ferbench.cli.options import common_options, where_option
from ferbench.cli.session import print_json, print_lines, settings_of, shown_store, store_exists, warn, width
from ferbench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from ferbench.ensembles import Ensemble
    from ferbench.store import Store

#: What entries are measured by that is not of the reported split; members may be chosen by it.
_NOT_OF_REPORT = (
    *("seeds", "select_accuracy", "temperature", "train_seconds", "spent_seconds", "images_per_second"),
    *("inference_images_per_second", "latency_p50_seconds", "peak_memory_bytes", "parameters", "forward_flops"),
)


@click.command()
@click.argument("rows", nargs=-1, metavar="[ROW]...")
@where_option("Take the rows that fit, as `ferbench leaderboard --where` shows them, ensembles left out")
@click.option("--over-seeds", is_flag=True, help="Average all runs of all rows, as one run that is called seed 0.")
@click.option("--greedy", is_flag=True, help="Choose members on select, one after the other, with replacement.")
@click.option(
    "--by",
    "metric",
    type=click.Choice(("nll", "accuracy", "uar")),
    help="What members are chosen by, with --greedy.  [default: nll]",
)
@click.option(
    "--steps",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Members that --greedy takes at most, repeated ones counted.  [default: 25]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the row's board as JSON.")
@common_options
@click.pass_context
def ensemble(
    context: click.Context,
    rows: tuple[str, ...],
    where: tuple[str, ...],
    over_seeds: bool,
    greedy: bool,
    metric: str | None,
    steps: int | None,
    as_json: bool,
) -> None:
    """Average the predictions of finished rows into a new row.

    Nothing is trained: an ensemble is made of stored predictions. The rows are of one board; for each seed that all of
    them have, the mean of their probabilities becomes a run of the new row, so that it can be compared seed by seed.
    One row alone is averaged over its seeds. Members that are ensembles are taken apart.

    \b
    ferbench ensemble 4f1c20 9ab3d7
    ferbench ensemble --where strategy=cascade --greedy
    """
    if not greedy and (metric is not None or steps is not None):
        raise UsageError("--by and --steps say how members are chosen: give --greedy, too")
    if not rows and not where:
        raise UsageError("name the rows, or give --where: `ferbench leaderboard` lists them")
    settings = settings_of(context)
    if not store_exists(settings):
        raise StoreError(f"there is no store at {shown_store(settings)}: `ferbench run` makes one")
    from ferbench.ensembles import GREEDY_STEPS, Method, make_ensemble
    from ferbench.publish.ensembles import made_lines
    from ferbench.store import open_store

    method = Method(over_seeds, greedy, metric or "nll", GREEDY_STEPS if steps is None else steps)
    with open_store(settings.store) as store:
        named = [*rows, *(_fitting(store, where) if where else ())]
        outcome = make_ensemble(store, named, method)
        for line in outcome.left_out:
            warn(line)
        if not as_json:
            lines = made_lines(outcome.runs, outcome.made, outcome.there_already, outcome.made_again, width=width())
            print_lines([*lines, ""])
        _show_board(store, outcome, as_json=as_json)


def _fitting(store: Store, where: tuple[str, ...]) -> list[str]:
    """The rows that conditions fit, on one board.

    Ensembles are left out: asking again would take in the last answer.

    Raises
    ------
    UsageError : no such row, rows of several boards, or a choice by what is reported
    """
    from ferbench.board_view import chosen
    from ferbench.leaderboard import leaderboards
    from ferbench.row_filter import parse_where

    wanted = parse_where(where)
    for condition in wanted.conditions:
        if condition.measured and condition.key not in _NOT_OF_REPORT:
            raise UsageError(
                f"--where {condition.text!r} would choose members by the samples that are reported on: choose by "
                "select_accuracy, or give --greedy"
            )
    summaries = store.leaderboard_rows()
    tables = leaderboards(summaries, store.speed_measurements())
    fitting = chosen(tables, [run for run in summaries if not run.members], wanted)
    found = [[entry.row for entry in table.entries] for table in fitting if table.entries]
    if not found:
        raise UsageError(f"no finished row fits {wanted}: `ferbench leaderboard` lists them")
    if len(found) > 1:
        raise UsageError(f"rows of {len(found)} boards fit {wanted}: add --where target=… or board=…")
    return found[0]


def _show_board(store: Store, outcome: Ensemble, *, as_json: bool) -> None:
    """The board that the new row is on, as `ferbench run` shows it."""
    from ferbench.leaderboard import as_json as boards_json
    from ferbench.leaderboard import leaderboards

    board = outcome.runs[0].board
    assert board is not None
    tables = leaderboards(store.leaderboard_rows(), store.speed_measurements())
    tables = tuple(table for table in tables if table.board.fingerprint == board.fingerprint)
    if as_json:
        print_json(boards_json(tables))
    else:
        show_boards(tables, [outcome.row])
