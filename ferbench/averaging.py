"""Averages of predictions of the same samples, and the greedy choice of what to average. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferbench.errors import FerbenchError
from ferbench.metrics import value_of
from ferbench.records import Predictions

#: What the greedy choice may go by.
CHOSEN_BY = ("nll", "accuracy", "uar")


def averaged(predictions: Sequence[Predictions], weights: Sequence[float]) -> Predictions:
    """The weighted mean of probabilities, in float64 and then rounded to float32.

    Names, ids, labels and groups are those of the first.

    Parameters
    ----------
    weights : one each; they sum to 1

    Raises
    ------
    FerbenchError : predictions of different samples or classes
    """
    first = predictions[0]
    for other in predictions[1:]:
        if not same_samples(first, other):
            raise FerbenchError(
                f"predictions on {other.dataset} {other.split} are not of the samples of {first.dataset} "
                f"{first.split}: only predictions of the same samples can be averaged"
            )
    parts = [weight * each.probabilities.astype(np.float64) for each, weight in zip(predictions, weights, strict=True)]
    return dataclasses.replace(first, probabilities=np.sum(parts, axis=0).astype(np.float32))


def same_samples(one: Predictions, other: Predictions) -> bool:
    """Whether two speak of the same samples in the same order, with as many classes.

    Their names for them may differ, as one picture's do in two copies of a dataset; their labels may not.
    """
    if one.probabilities.shape != other.probabilities.shape:
        return False
    if one.labels is None or other.labels is None:
        return one.labels is other.labels and one.ids == other.ids
    return bool(np.array_equal(one.labels, other.labels))


def greedy_counts(pool: Sequence[Predictions], metric: str, steps: int) -> tuple[int, ...]:
    """How often each of a pool is taken by greedy selection with replacement (Caruana et al. 2004, doi
    10.1145/1015330.1015432): the best one first, then at each step the one that makes the mean best.

    Of the means on the way the best is taken, the smallest of equal ones. So it is never worse than the best single
    one. Equals by accuracy or UAR are told apart by NLL, then the first in the pool is taken.

    Parameters
    ----------
    pool : of the same samples, labelled
    metric : one of CHOSEN_BY
    steps : members taken at most, the first among them
    """
    first = pool[0]
    single = [each.probabilities.astype(np.float64) for each in pool]
    total: NDArray[Any] = np.zeros_like(single[0])
    counts = [0] * len(pool)
    best: tuple[float, float] | None = None
    chosen: tuple[int, ...] = ()
    for taken in range(1, steps + 1):
        values = [_value(first, (total + each) / taken, metric) for each in single]
        place = max(range(len(pool)), key=values.__getitem__)
        total = total + single[place]
        counts[place] += 1
        if best is None or values[place] > best:
            best, chosen = values[place], tuple(counts)
    return chosen


def _value(like: Predictions, probabilities: NDArray[np.float64], metric: str) -> tuple[float, float]:
    """More is better; then by NLL."""
    mean = dataclasses.replace(like, probabilities=probabilities.astype(np.float32))
    nll = value_of("nll", mean)
    return (-nll, 0.0) if metric == "nll" else (value_of(metric, mean), -nll)
