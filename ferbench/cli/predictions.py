"""`ferbench predictions ROW`: what a row's runs said of every sample."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options
from ferbench.cli.session import catalog_of, paint, print_lines, reading_store, settings_of, width
from ferbench.errors import StoreError

if TYPE_CHECKING:
    from ferbench.records import Predictions, Run
    from ferbench.store import Store


@click.command()
@click.argument("row")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one line a sample.")
@click.option(
    "--split",
    type=click.Choice(["select", "report"]),
    default="report",
    show_default=True,
    help="Which samples; for select the dataset itself is needed.",
)
@common_options
@click.pass_context
def predictions(context: click.Context, row: str, as_csv: bool, split: str) -> None:
    """Show recall and confusion of ROW, or CSV.

    ROW is the first digits of a row's name on the leaderboard.
    """
    settings = settings_of(context)
    with reading_store(settings) as store:
        found = store.run_predictions(row)
        if split == "select":
            found = [(run, _on_select(context, store, run)) for run, _ in found]
    if as_csv:
        _write_csv(found)
        return
    from ferbench.publish.predictions import summary_lines

    for number, (run, answers) in enumerate(found):
        lines = summary_lines(run, answers, _classes(run), width=width(), paint=paint())
        print_lines(["", *lines] if number else lines)


def _write_csv(found: list[tuple[Run, Predictions]]) -> None:
    from ferbench.publish.predictions import csv_header, csv_rows

    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, (run, answers) in enumerate(found):
        classes = _classes(run)
        if number == 0:
            writer.writerow(csv_header(classes))
        writer.writerows(csv_rows(run.cell.seed, answers, classes))


def _classes(run: Run) -> tuple[str, ...]:
    """The head's classes in order."""
    from ferbench.expressions import label_set

    return label_set(run.cell.recipe.label_set).classes


def _on_select(context: click.Context, store: Store, run: Run) -> Predictions:
    """A run's predictions of its target's select samples, which the store names by their content."""
    from ferbench.data.roles import RoleReader

    settings = settings_of(context)
    roles = RoleReader(catalog_of(context).dataset, settings.data_folder, settings.cache_folder)
    samples = roles.select(run.cell.target, run.cell.recipe.label_set)
    answers = store.predictions(run.stages[-1], samples.dataset, samples.splits, samples.content)
    if answers is None:
        raise StoreError(
            f"{store.location} holds no predictions of row {run.row}, seed {run.cell.seed} on {samples.dataset} "
            f"{samples.splits} as it lies here: run that cell again with --force"
        )
    return answers
