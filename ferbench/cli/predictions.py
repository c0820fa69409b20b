"""`ferbench predictions ROW`: what a row's runs said of every sample."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options
from ferbench.cli.session import catalog_of, paint, print_lines, reading_store, settings_of, warn, width

if TYPE_CHECKING:
    from ferbench.records import Predictions, Run


@click.command()
@click.argument("row")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one line a sample.")
@click.option(
    "--split",
    metavar="NAME",
    default="report",
    show_default=True,
    help="Which samples: report, select, or a split of the target, such as test or train, predicted now from the "
    "checkpoint.",
)
@common_options
@click.pass_context
def predictions(context: click.Context, row: str, as_csv: bool, split: str) -> None:
    """Show recall and confusion of ROW, or CSV.

    ROW is the first digits of a row's name on the leaderboard. Where the labels of a split are withheld, the CSV is
    what is sent in to have it scored. Samples that the row was trained on are counted in a warning.
    """
    settings = settings_of(context)
    with reading_store(settings) as store:
        found = store.run_predictions(row)
        trained_on = [0] * len(found)
        if split != "report":
            from ferbench.inference import Inference

            inference = Inference(catalog_of(context), settings)
            answers_of = [inference.predictions(run, split, store) for run, _ in found]
            for line in dict.fromkeys(line for answers in answers_of for line in answers.warnings):
                warn(line)
            trained_on = [answers.trained_on for answers in answers_of]
            found = [(run, answers.predictions) for (run, _), answers in zip(found, answers_of, strict=True)]
    if as_csv:
        _write_csv(found)
        return
    from ferbench.publish.predictions import summary_lines, unlabelled_lines

    for number, ((run, predicted), seen) in enumerate(zip(found, trained_on, strict=True)):
        shown = summary_lines if predicted.labels is not None else unlabelled_lines
        lines = shown(run, predicted, _classes(run), trained_on=seen, width=width(), paint=paint())
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
