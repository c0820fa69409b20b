"""Samples, or groups of them, drawn with replacement, and what a metric would have been on each draw.

Draws come from a fixed number, by generators whose numbers are promised never to change (numpy's NEP 19): the same
predictions give the same digits on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: The metrics that can be resampled; names of metrics.METRICS.
RESAMPLED = ("accuracy", "uar", "macro_f1")

#: Where every draw begins.
_SEED = 20060131

#: Indices that are drawn at once: bounds the memory whatever is drawn.
_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Tally:
    """What accuracy, UAR and macro-F1 need of the answers of R runs to the samples of G groups.

    support : float32 [G, C], samples of each class
    hits : float32 [G, R, C], of them, those that were answered right
    predicted : float32 [G, R, C], samples that were taken for the class
    """

    support: NDArray[np.float32]
    hits: NDArray[np.float32]
    predicted: NDArray[np.float32]


def group_numbers(groups: Sequence[str] | None, n: int) -> tuple[NDArray[np.int64], int]:
    """The number of each sample's group, int64 [n], and how many there are; each sample is its own without groups.

    Groups are numbered by their names, so that the order of samples changes nothing.
    """
    if groups is None:
        return np.arange(n), n
    names, numbers = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return numbers.astype(np.int64), len(names)


def tally(
    labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int, numbers: NDArray[np.int64], count: int
) -> Tally:
    """Counts of R runs' answers, by group.

    Parameters
    ----------
    labels : int64 [n]
    answers : int64 [R, n], the class that each run takes each sample for
    numbers, count : each sample's group and how many there are, as of `group_numbers`
    """
    hits = np.zeros((count, len(answers), classes), dtype=np.float32)
    predicted = np.zeros_like(hits)
    for run, answer in enumerate(answers):
        right = answer == labels
        hits[:, run] = _counts(numbers[right], labels[right], count, classes)
        predicted[:, run] = _counts(numbers, answer, count, classes)
    return Tally(_counts(numbers, labels, count, classes), hits, predicted)


def _counts(
    numbers: NDArray[np.int64], classes_of: NDArray[np.int64], count: int, classes: int
) -> NDArray[np.float32]:
    cells = np.bincount(numbers * classes + classes_of, minlength=count * classes)
    return cells.reshape(count, classes).astype(np.float32)


def metric_of(
    metric: str, support: NDArray[np.float64], hits: NDArray[np.float64], predicted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A metric of RESAMPLED from counts, as metrics.scores defines it: classes without support are left out.

    support : [..., C], broadcast against hits and predicted [..., C]; the result has what is left of their shape
    """
    if metric == "accuracy":
        share: NDArray[np.float64] = hits.sum(axis=-1) / support.sum(axis=-1)
        return share
    part = hits / np.maximum(support, 1) if metric == "uar" else 2 * hits / np.maximum(support + predicted, 1)
    present = support > 0
    mean: NDArray[np.float64] = (part * present).sum(axis=-1) / present.sum(axis=-1)
    return mean


def values(metric: str, counted: Tally) -> NDArray[np.float64]:
    """The metric of each run on all samples, float64 [R]."""
    support, hits, predicted = (each.sum(axis=0, dtype=np.float64) for each in _parts(counted))
    return metric_of(metric, support, hits, predicted)


def replicates(metric: str, counted: Tally, draws: int) -> NDArray[np.float64]:
    """The metric of each run on each draw of G - 1 of the G groups, float64 [draws, R]; all runs meet the same draws.

    One group fewer than there are is drawn, so that the variance over draws is that of a mean without bias, as a sample
    variance is (Rao and Wu 1988). G is at least 2.
    """
    count, runs, classes = counted.hits.shape
    # One product gives the counts of all runs. They are whole numbers far below 2 ** 24: float32 holds them exactly.
    wanted = [counted.support, counted.hits.reshape(count, -1)]
    if metric == "accuracy":
        wanted = [each.reshape(count, -1, classes).sum(axis=2) for each in wanted]
    elif metric == "macro_f1":
        wanted.append(counted.predicted.reshape(count, -1))
    columns = np.hstack(wanted)
    found = np.empty((draws, runs))
    start = 0
    for weights in drawn_weights(count, count - 1, draws):
        drawn = (weights @ columns).astype(np.float64)
        support, hits, predicted = _split(drawn, runs, 1 if metric == "accuracy" else classes)
        found[start : start + len(weights)] = metric_of(metric, support, hits, predicted)
        start += len(weights)
    return found


def drawn_weights(count: int, size: int, draws: int) -> Iterator[NDArray[np.float32]]:
    """How often each of `count` things is among `size` drawn with replacement: float32 [some, count], `draws` in all."""
    stream = np.random.Philox(key=_SEED)
    some = max(1, min(draws, _AT_ONCE // max(size, count)))
    for start in range(0, draws, some):
        here = min(some, draws - start)
        # Two 32-bit numbers a word; their high product is uniform over `count` up to one part in a million.
        words = stream.random_raw((here * size + 1) // 2).astype("<u8", copy=False).view("<u4")[: here * size]
        picked = (words.astype(np.uint64) * np.uint64(count)) >> np.uint64(32)
        cells = picked.astype(np.int64).reshape(here, size) + count * np.arange(here)[:, None]
        yield np.bincount(cells.ravel(), minlength=here * count).reshape(here, count).astype(np.float32)


def _parts(counted: Tally) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    return counted.support[:, None, :], counted.hits, counted.predicted


def _split(
    drawn: NDArray[np.float64], runs: int, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    support, rest = drawn[:, None, :classes], drawn[:, classes:].reshape(len(drawn), -1, classes)
    return support, rest[:, :runs], rest[:, runs:]
