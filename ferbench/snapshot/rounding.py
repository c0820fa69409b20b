"""Six digits: of probabilities as they are published, and of figures that were computed from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferbench.evidence import Calibration, Forgetting, ReliabilityBin
from ferbench.records import Predictions, Score
from ferbench.store.kept import KeptRun

#: Of a probability, digits that count: one of 0.00000012 is not 0, which NLL and temperatures would take it for.
SIGNIFICANT_DIGITS = 6

#: Of a figure, digits behind the point: processors differ in the last of sixteen.
FIGURE_DIGITS = 6

#: Records whose numbers follow from predictions.
_FIGURES = (Score, ReliabilityBin, Calibration, Forgetting)


def spelled(probabilities: NDArray[np.float32]) -> list[list[str]]:
    """Each probability in six digits; every answer stays what it was.

    Read as float32 and spelled again they are the same text: six digits are what a float32 always holds.
    """
    n, classes = probabilities.shape
    form = " ".join([f"%.{SIGNIFICANT_DIGITS}g"] * classes)
    texts = [(form % tuple(row)).split(" ") for row in probabilities.tolist()]
    answers = probabilities.argmax(axis=1)
    for place in np.flatnonzero(_read(texts).argmax(axis=1) != answers) if n else ():
        # Two were equal in six digits, and the first of equals is the answer: the one that was is raised by the last.
        row, answer = texts[place], int(answers[place])
        row[answer] = _next(row[answer])
    return texts


def six_digits(predictions: Predictions) -> Predictions:
    """Predictions as whoever reads what is published has them."""
    return dataclasses.replace(predictions, probabilities=_read(spelled(predictions.probabilities)))


def rounded_figures(kept: KeptRun) -> KeptRun:
    """A run whose figures have as many digits as can be computed again anywhere."""
    run = kept.run
    run = dataclasses.replace(
        run,
        **{
            name: _rounded(getattr(run, name))
            for name in ("scores", "reliability", "calibration", "forgetting", "select_accuracy")
        },
    )
    further = tuple((stage, dataclasses.replace(each, scores=_rounded(each.scores))) for stage, each in kept.further)
    return dataclasses.replace(kept, run=run, further=further)


def shared(change: Callable[[Predictions], Predictions]) -> Callable[[Predictions], Predictions]:
    """A change that is made once of predictions that several runs share."""
    known: dict[int, tuple[Predictions, Predictions]] = {}

    def once(predictions: Predictions) -> Predictions:
        if id(predictions) not in known:
            known[id(predictions)] = (predictions, change(predictions))
        return known[id(predictions)][1]

    return once


def _read(texts: list[list[str]]) -> NDArray[np.float32]:
    return np.array(texts, dtype=np.float64).astype(np.float32)


def _next(text: str) -> str:
    number = Decimal(text)
    step = Decimal(1).scaleb(number.adjusted() - SIGNIFICANT_DIGITS + 1)
    return f"{float(number + step):.{SIGNIFICANT_DIGITS}g}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, FIGURE_DIGITS)
    if isinstance(value, tuple):
        return tuple([_rounded(each) for each in value])
    if isinstance(value, _FIGURES):
        names = [field.name for field in dataclasses.fields(value)]
        return dataclasses.replace(value, **{name: _rounded(getattr(value, name)) for name in names})
    return value
