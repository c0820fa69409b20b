"""`ferbench predictions ROW`: what a row's runs said of every sample."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options
from ferbench.cli.session import catalog_of, paint, print_lines, reading_store, settings_of, warn, width
from ferbench.errors import StoreError, UsageError

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
@click.option("--reliability", is_flag=True, help="Show how often it was right by how sure it was.")
@click.option(
    "--calibrated",
    is_flag=True,
    help="With --csv or --reliability: probabilities at the temperature that was fitted on select.",
)
@common_options
@click.pass_context
def predictions(
    context: click.Context, row: str, as_csv: bool, split: str, reliability: bool, calibrated: bool
) -> None:
    """Show recall, confusion and calibration of ROW, or CSV.

    ROW is the first digits of a row's name on the leaderboard. Where the labels of a split are withheld, the CSV is
    what is sent in to have it scored. Samples that the row was trained on are counted in a warning. The temperature
    was fitted on select and changes no answer; scores on the leaderboard are without it.
    """
    if calibrated and not (as_csv or reliability):
        raise UsageError(
            "--calibrated says which probabilities --csv or --reliability shows: give one of them; without it, figures "
            "before and after are shown anyway"
        )
    if reliability and as_csv:
        raise UsageError("--reliability draws, --csv prints samples: give one of them")
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
        _write_csv([(run, _scaled(run, answers)) for run, answers in found] if calibrated else found)
        return
    from functools import partial

    from ferbench.publish.predictions import summary_lines, unlabelled_lines

    labelled = partial(summary_lines, reliability=reliability, calibrated=calibrated)
    for number, ((run, predicted), seen) in enumerate(zip(found, trained_on, strict=True)):
        if calibrated:
            _temperature(run)
        shown = labelled if predicted.labels is not None else unlabelled_lines
        lines = shown(run, predicted, _classes(run), trained_on=seen, width=width(), paint=paint())
        print_lines(["", *lines] if number else lines)


def _scaled(run: Run, answers: Predictions) -> Predictions:
    from ferbench.reliability import at_temperature

    return at_temperature(answers, _temperature(run))


def _temperature(run: Run) -> float:
    """The one that was fitted for a run.

    Raises
    ------
    StoreError : there is none
    """
    if run.calibration is None:
        from ferbench.publish.reliability import NO_TEMPERATURE

        raise StoreError(
            f"row {run.row}, seed {run.cell.seed} has {NO_TEMPERATURE}; leave out --calibrated, or run that cell again "
            "with --force"
        )
    return run.calibration.temperature


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
