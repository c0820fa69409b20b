"""Samples, or groups of them, drawn with replacement, and what a metric would have been on each draw.

Draws come from a fixed number, by generators whose numbers are promised never to change (numpy's NEP 19): the same
predictions give the same digits on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
    """What a metric needs of the answers of R runs to the samples of G groups.

    counts : float32 [G, parts, C], of each class: the samples; then, of each run, those of them that it answered right;
        for macro-F1 then, of each run, those that it took for the class. For accuracy all classes are one
    runs : R
    """

    metric: str
    counts: NDArray[np.float32]
    runs: int


def group_numbers(groups: Sequence[str] | None, n: int) -> tuple[NDArray[np.int64], int]:
    """The number of each sample's group, int64 [n], and how many there are; each sample is its own without groups.

    Groups are numbered by their names, so that the order of samples changes nothing.
    """
    if groups is None:
        return np.arange(n), n
    names, numbers = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return numbers.astype(np.int64), len(names)


def tally(
    metric: str,
    labels: NDArray[np.int64],
    answers: NDArray[np.int64],
    classes: int,
    numbers: NDArray[np.int64],
    count: int,
) -> Tally:
    """Counts of R runs' answers, by group.

    Parameters
    ----------
    metric : of RESAMPLED
    labels : int64 [n]
    answers : int64 [R, n], the class that each run takes each sample for
    numbers, count : each sample's group and how many there are, as of `group_numbers`
    """
    runs, kinds = len(answers), 1 if metric == "accuracy" else classes
    counts = np.zeros((count, 1 + runs * (2 if metric == "macro_f1" else 1), kinds), dtype=np.float32)

    def counted(taken: NDArray[np.int64], which: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.int64]:
        cells = numbers[which] * kinds + (taken[which] if kinds > 1 else 0)
        return np.bincount(cells, minlength=count * kinds).reshape(count, kinds)

    counts[:, 0] = counted(labels)
    for run, answer in enumerate(answers):
        counts[:, 1 + run] = counted(labels, answer == labels)
        if metric == "macro_f1":
            counts[:, 1 + runs + run] = counted(answer)
    return Tally(metric, counts, runs)


def metric_of(
    metric: str, support: NDArray[np.float64], hits: NDArray[np.float64], predicted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A metric of RESAMPLED from counts, as metrics.scores defines it: classes without support are left out.

    support, hits, predicted : [..., C], broadcast against each other; predicted matters to macro-F1 alone
    """
    if metric == "accuracy":
        share: NDArray[np.float64] = hits.sum(axis=-1) / support.sum(axis=-1)
        return share
    part = hits / np.maximum(support, 1) if metric == "uar" else 2 * hits / np.maximum(support + predicted, 1)
    present = support > 0
    mean: NDArray[np.float64] = (part * present).sum(axis=-1) / present.sum(axis=-1)
    return mean


def values(counted: Tally) -> NDArray[np.float64]:
    """The metric of each run on all samples, float64 [R]."""
    found: NDArray[np.float64] = _by_run(counted, counted.counts.sum(axis=0, dtype=np.float64)[None])[0]
    return found


def replicates(counted: Tally, draws: int) -> NDArray[np.float64]:
    """The metric of each run on each draw of G - 1 of the G groups, float64 [draws, R]; all runs meet the same draws.

    One group fewer than there are is drawn, so that the variance over draws is that of a mean without bias, as a sample
    variance is (Rao and Wu 1988). G is at least 2.
    """
    count = len(counted.counts)
    # One product counts for all runs. Whole numbers below 2 ** 24 are exact in float32, added in whatever order.
    flat = counted.counts.reshape(count, -1)
    found = [
        _by_run(counted, (weights @ flat).reshape(len(weights), *counted.counts.shape[1:]).astype(np.float64))
        for weights in drawn_weights(count, count - 1, draws)
    ]
    return np.concatenate(found)


def _by_run(counted: Tally, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """drawn : float64 [draws, parts, C], as in Tally."""
    support, hits, predicted = drawn[:, :1], drawn[:, 1 : counted.runs + 1], drawn[:, counted.runs + 1 :]
    return metric_of(counted.metric, support, hits, predicted)


def ends_over_samples(metrics: Sequence[str], table: NDArray[np.int64], draws: int) -> list[tuple[float, float]]:
    """Percentile ends at 95 % of each metric over draws of n of the n samples of a confusion table, int64 [C, C].

    Drawn samples differ by their cells alone, so that cells are drawn: the same as drawing samples, and faster.
    """
    n, classes = int(table.sum()), len(table)
    # The only generator of multinomials that is promised never to change.
    cells = np.random.RandomState(_SEED).multinomial(n, table.ravel() / n, size=draws)
    drawn = _of_tables(metrics, cells.reshape(draws, classes, classes))
    ends = [np.quantile(found, (0.025, 0.975)) for found in drawn]
    return [(float(low), float(high)) for low, high in ends]


def errors_over_groups(metrics: Sequence[str], tables: NDArray[np.int64], draws: int) -> list[float]:
    """Standard error of each metric over draws of G - 1 of the G groups, as in `replicates`; G is at least 2.

    tables : int64 [G, C, C], each group's confusion table
    """
    count, classes = tables.shape[:2]
    flat = tables.reshape(count, -1).astype(np.float32)
    drawn = np.concatenate([weights @ flat for weights in drawn_weights(count, count - 1, draws)])
    return [float(found.std()) for found in _of_tables(metrics, drawn.reshape(draws, classes, classes))]


def _of_tables(metrics: Sequence[str], tables: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Each metric of each of some confusion tables, [draws, C, C]."""
    support, predicted = tables.sum(axis=2, dtype=np.float64), tables.sum(axis=1, dtype=np.float64)
    hits = np.diagonal(tables, axis1=1, axis2=2).astype(np.float64)
    return [metric_of(metric, support, hits, predicted) for metric in metrics]


def drawn_weights(count: int, size: int, draws: int) -> Iterator[NDArray[np.float32]]:
    """How often each of `count` things is among `size` drawn with replacement.

    float32 [some, count], again and again, `draws` in all
    """
    stream = np.random.Philox(key=_SEED)
    some = max(1, min(draws, _AT_ONCE // max(size, count)))
    for start in range(0, draws, some):
        here = min(some, draws - start)
        # Two numbers of 32 bits a word; multiplied by `count`, their upper halves are as good as uniform over it.
        words = stream.random_raw((here * size + 1) // 2).astype("<u8", copy=False).view("<u4")[: here * size]
        picked = ((words.astype(np.uint64) * np.uint64(count)) >> np.uint64(32)).astype(np.int64).reshape(here, size)
        picked += count * np.arange(here)[:, None]
        yield np.bincount(picked.ravel(), minlength=here * count).reshape(here, count).astype(np.float32)
