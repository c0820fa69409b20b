"""Stored predictions for people and for other tools."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from ferbench.metrics import class_scores, confusion
from ferbench.publish.layout import PLAIN, Align, Paint, aligned, total_width, wrapped, wrapped_facts
from ferbench.publish.reliability import calibration_lines, reliability_lines
from ferbench.quantities import percent, whole
from ferbench.recipes import Recipe, in_words
from ferbench.records import Predictions, Run
from ferbench.reliability import at_temperature

#: Digits of a probability in CSV; published snapshots are scored from them.
PROBABILITY_DIGITS = 6


def csv_header(classes: Sequence[str]) -> list[str]:
    """The columns of `predictions --csv`. Scripts rely on them."""
    return ["seed", "id", "group", "label", "predicted", *(f"p_{name}" for name in classes)]


def csv_rows(seed: int, predictions: Predictions, classes: Sequence[str]) -> Iterator[list[str]]:
    """One row a sample, labels by name; a label that is withheld and a group that is not there are empty."""
    labels = None if predictions.labels is None else predictions.labels.tolist()
    groups = predictions.groups
    predicted = predictions.probabilities.argmax(axis=1).tolist()
    probabilities = predictions.probabilities.tolist()
    for index, identifier in enumerate(predictions.ids):
        yield [
            str(seed),
            identifier,
            "" if groups is None else groups[index],
            "" if labels is None else classes[labels[index]],
            classes[predicted[index]],
            *(f"{value:.{PROBABILITY_DIGITS}f}" for value in probabilities[index]),
        ]


def summary_lines(
    run: Run,
    predictions: Predictions,
    classes: Sequence[str],
    *,
    trained_on: int = 0,
    reliability: bool = False,
    calibrated: bool = False,
    width: int = 80,
    paint: Paint = PLAIN,
) -> list[str]:
    """What is not the general default in the recipe; per class: recall, precision, F1, support; the confusion matrix;
    how well probabilities are calibrated, before and after the run's temperature.

    Parameters
    ----------
    predictions : as they were made
    trained_on : how many of the samples the run was trained on
    reliability : show the reliability diagram too
    calibrated : show it of temperature-scaled probabilities; the run has a temperature then

    Raises
    ------
    DatasetError : predictions without labels
    """
    scores = class_scores(predictions, classes)
    table = confusion(predictions)
    right, total = int(table.diagonal().sum()), int(table.sum())
    lines = _heading(run, predictions, trained_on, width, paint)
    lines.append(f"{whole(right)} of {whole(total)} right, {percent(right / total)} %")
    rows = [["class", "recall %", "precision %", "F1 %", "support"]]
    for score in scores:
        recall = "–" if score.recall is None else percent(score.recall)
        rows.append([score.name, recall, percent(score.precision), percent(score.f1), whole(score.support)])
    lines += ["", *_table(rows)]
    lines += ["", "rows: truth, columns: predicted", *_confusion(table.tolist(), classes, width)]
    lines += ["", *calibration_lines(predictions, run.calibration, width)]
    if reliability and calibrated and run.calibration is not None:
        scaled = at_temperature(predictions, run.calibration.temperature)
        lines += ["", *reliability_lines(scaled, "temperature-scaled", width)]
    elif reliability:
        lines += ["", *reliability_lines(predictions, "as predicted", width)]
    return lines


def unlabelled_lines(
    run: Run,
    predictions: Predictions,
    classes: Sequence[str],
    *,
    trained_on: int = 0,
    width: int = 80,
    paint: Paint = PLAIN,
) -> list[str]:
    """What is not the general default in the recipe; how often each class is predicted, of samples without labels."""
    predicted = predictions.probabilities.argmax(axis=1)
    counts = np.bincount(predicted, minlength=len(classes)).tolist()
    rows = [["class", "predicted"], *([name, whole(count)] for name, count in zip(classes, counts, strict=True))]
    lines = _heading(run, predictions, trained_on, width, paint)
    lines.append(f"{whole(len(predicted))} samples whose labels are withheld; --csv prints what is sent in")
    return [*lines, "", *_table(rows)]


def _heading(run: Run, predictions: Predictions, trained_on: int, width: int, paint: Paint) -> list[str]:
    cell = run.cell
    part = f"{100 * run.train_fraction:.3g} % of train · " if 0 < run.train_fraction < 1 else ""
    title = (
        f"{run.row} · {cell.backbone} · {cell.strategy} · {part}seed {cell.seed} · "
        f"{predictions.dataset} {predictions.split}"
    )
    default = dataclasses.asdict(Recipe())
    own = [(key, value) for key, value in cell.recipe_values() if key not in default or value != default[key]]
    first, *rest = [in_words([pair]) for pair in own] or ["the default"]
    lines = [paint.bold(line) for line in wrapped(title, width)]
    if trained_on:
        seen = f"trained on {whole(trained_on)} of these {whole(len(predictions.ids))} samples"
        lines += [paint.warning(line) for line in wrapped(seen, width)]
    lines += wrapped_facts([f"recipe: {first}", *rest], width, hanging="  ", between=";")
    if run.members:
        parts = [f"{each.row} seed {each.seed} ({percent(each.weight)} %)" for each in run.members]
        lines += wrapped_facts([f"members: {parts[0]}", *parts[1:]], width, hanging="  ", between=",")
    return lines


def _confusion(counts: list[list[int]], classes: Sequence[str], width: int) -> list[str]:
    rows = [["", *classes], *([name, *map(whole, line)] for name, line in zip(classes, counts, strict=True))]
    if total_width(rows) <= width:
        return _table(rows)
    # Columns by number: their names are those of the rows, in order.
    numbered = [f"{index} {name}" for index, name in enumerate(classes, 1)]
    rows = [["", *(str(index) for index in range(1, len(classes) + 1))]]
    rows += [[name, *map(whole, line)] for name, line in zip(numbered, counts, strict=True)]
    return _table(rows)


def _table(rows: list[list[str]]) -> list[str]:
    sides: list[Align] = ["left", *["right"] * (len(rows[0]) - 1)]  # type: ignore[list-item]
    return aligned(rows, sides)
