"""Scores from predictions: fixed definitions, so that boards stay comparable.

Classes with no sample in the truth are left out of UAR and macro-F1. Ties go to the first class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferbench.errors import DatasetError, FerbenchError
from ferbench.records import Predictions, Score
from ferbench.resampling import ends_over_samples, errors_over_groups, group_numbers

#: Names that `Score.metric` takes, in the order of `scores`.
METRICS = ("accuracy", "uar", "macro_f1", "nll", "brier", "ece")

#: Of METRICS, those of which less is better.
LOWER_IS_BETTER = ("nll", "brier", "ece")

ECE_BINS = 15

#: Draws behind an interval of UAR or macro-F1.
DRAWS = 2000

#: 97.5 % point of the standard normal distribution: all intervals are two-sided at 95 %.
Z_95 = 1.959963984540054

#: A spread below this is rounding.
_NOTHING = 1e-12

#: Probabilities below float32's resolution are taken for it, so that one confident mistake does not make NLL infinite.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class's scores, as fractions.

    precision, f1 : 0 where the class was never predicted
    recall : None where the truth has no sample of the class
    support : samples of the class in the truth
    """

    name: str
    precision: float
    recall: float | None
    f1: float
    support: int


def scores(predictions: Predictions, classes: Sequence[str]) -> tuple[Score, ...]:
    """Every metric of METRICS over all samples.

    accuracy : Wilson's 95 % interval
    uar : mean recall over the classes present in the truth (also called balanced accuracy); interval below
    macro_f1 : mean F1 over the classes present in the truth; interval below
    nll : mean negative log probability of the true class, in nats
    brier : mean over samples of the squared distance to the one-hot truth summed over classes, 0 to 2 (Brier 1950)
    ece : expected calibration error over 15 equal-width bins of the top probability (Guo et al. 2017)

    The intervals of UAR and macro-F1 are percentiles of a bootstrap over samples. Where these have groups, they are
    Student's t with G - 1 degrees of freedom times the standard error of a bootstrap over the G groups (Rao and Wu
    1988), cut to 0 and 1: percentiles are too narrow where groups are few. Where a bootstrap says nothing (one sample,
    one group, recalls that are all 0 or 1), they are Wilson's at the effective sample size, the n at which a proportion
    would vary as much as the metric does by the delta method (as in surveys, Dean and Pagano 2015), at most the real n.
    `Score.interval` says which.

    Raises
    ------
    DatasetError : without labels or without samples
    FerbenchError : shapes, labels or classes that do not fit together
    """
    labels, probabilities = _checked(predictions, classes)
    n = len(labels)
    right = probabilities.argmax(axis=1) == labels
    table = confusion(predictions)
    uar, macro_f1 = _averages_over_classes(predictions, table)
    return (
        Score("accuracy", float(right.mean()), n, *wilson(int(right.sum()), n)),
        uar,
        macro_f1,
        Score("nll", _nll(labels, probabilities), n),
        Score("brier", _brier(labels, probabilities), n),
        Score("ece", _ece(right, probabilities.max(axis=1)), n),
    )


def class_scores(predictions: Predictions, classes: Sequence[str]) -> tuple[ClassScore, ...]:
    """Precision, recall, F1 and support of each class, in the order of `classes`; raises as `scores` does."""
    _checked(predictions, classes)
    table = confusion(predictions)
    hits, support, predicted = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    return tuple(
        ClassScore(
            name=name,
            precision=float(hits[c] / predicted[c]) if predicted[c] else 0.0,
            recall=float(hits[c] / support[c]) if support[c] else None,
            f1=float(2 * hits[c] / (support[c] + predicted[c])) if support[c] + predicted[c] else 0.0,
            support=int(support[c]),
        )
        for c, name in enumerate(classes)
    )


def confusion(predictions: Predictions) -> NDArray[np.int64]:
    """Counts as int64 [C, C]: rows are the truth, columns what was predicted."""
    labels = _labels(predictions)
    count = predictions.probabilities.shape[1]
    cells = labels * count + predictions.probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=count * count).reshape(count, count).astype(np.int64)


def correctness(predictions: Predictions) -> NDArray[np.bool_]:
    """Which samples were answered right, bool [n], in the order of the predictions."""
    right: NDArray[np.bool_] = predictions.probabilities.argmax(axis=1) == _labels(predictions)
    return right


def value_of(metric: str, predictions: Predictions, classes: Sequence[str] | None = None) -> float:
    """One of METRICS alone, as `scores` has it: without its interval, which takes most of the time.

    classes : given where the predictions are to be checked first, as `scores` does

    Raises
    ------
    DatasetError, FerbenchError : as `scores` does; without `classes`, for missing labels alone
    """
    if classes is not None:
        _checked(predictions, classes)
    if metric == "accuracy":
        return float(correctness(predictions).mean())
    if metric in ("uar", "macro_f1"):
        return (_uar if metric == "uar" else _macro_f1)(confusion(predictions))[0]
    labels, probabilities = _labels(predictions), predictions.probabilities.astype(np.float64)
    if metric == "ece":
        return _ece(probabilities.argmax(axis=1) == labels, probabilities.max(axis=1))
    return (_nll if metric == "nll" else _brier)(labels, probabilities)


def probability_scores(predictions: Predictions) -> tuple[float, float, float]:
    """NLL, Brier and ECE alone, as `scores` defines them and without its checks.

    Raises
    ------
    DatasetError : without labels
    """
    labels, probabilities = _labels(predictions), predictions.probabilities.astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    return _nll(labels, probabilities), _brier(labels, probabilities), _ece(right, probabilities.max(axis=1))


def confidence_bins(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which of ECE_BINS equal bins each top probability is in, int64 [n].

    Bins are closed on the right, as in Guo et al.: a confidence of exactly 1/15 is in the first.
    """
    return np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion (Wilson 1927, without continuity correction)."""
    share = successes / n
    centre = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = Z_95 / (1 + Z_95**2 / n) * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n))
    # At 0 and n the end is the share itself; rounding must not push it outside.
    return min(max(0.0, centre - half), share), max(min(1.0, centre + half), share)


def t_interval(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Mean, sample standard deviation and the two ends of Student's 95 % interval of at least two values.

    Raises
    ------
    ValueError : for fewer than two values, whose spread is unknown
    """
    if len(values) < 2:
        raise ValueError("an interval over seeds needs at least two values")
    mean = math.fsum(values) / len(values)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = t_critical(len(values) - 1) * sd / math.sqrt(len(values))
    return mean, sd, mean - half, mean + half


def t_critical(degrees: int) -> float:
    """97.5 % point of Student's t distribution."""
    # scipy.stats would cost a second of import for the same number.
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def _labels(predictions: Predictions) -> NDArray[np.int64]:
    if predictions.labels is None:
        raise DatasetError(
            f"{predictions.dataset} {predictions.split} has no labels, so nothing can be scored: "
            "report on a split whose labels are published"
        )
    return predictions.labels


def _checked(predictions: Predictions, classes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    labels = _labels(predictions)
    place = f"predictions on {predictions.dataset} {predictions.split}"
    if len(labels) == 0:
        raise DatasetError(f"{place} hold no sample: check the split and the label set")
    if predictions.probabilities.shape != (len(labels), len(classes)):
        raise FerbenchError(
            f"{place} have probabilities of shape {predictions.probabilities.shape} "
            f"for {len(labels)} labels and {len(classes)} classes: predict again with this label set"
        )
    outside = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(outside):
        row = int(outside[0])
        raise FerbenchError(
            f"{place}: sample {predictions.ids[row]!r} has label {labels[row]} of {len(classes)} classes: "
            "map the dataset's labels by name"
        )
    # One NaN would turn argmax into an answer and every sum into NaN.
    broken = np.flatnonzero(~np.isfinite(predictions.probabilities).all(axis=1))
    if len(broken):
        raise FerbenchError(
            f"{place}: sample {predictions.ids[int(broken[0])]!r} has probabilities that are not finite: "
            "train with a lower learning rate"
        )
    return labels, predictions.probabilities.astype(np.float64)


def _averages_over_classes(predictions: Predictions, table: NDArray[np.int64]) -> tuple[Score, Score]:
    """UAR and macro-F1 with their intervals, on the same draws."""
    n, names = int(table.sum()), ("uar", "macro_f1")
    found = (_uar(table), _macro_f1(table))
    numbers, count = group_numbers(predictions.groups, n)
    if predictions.groups is None or count == n:
        kind, ends = "bootstrap", ends_over_samples(names, table, DRAWS)
    else:
        tables = _tables(predictions, numbers, count)
        kind, ends = "cluster-bootstrap", _ends_over_groups(names, [value for value, _ in found], tables)
    scored = []
    for name, (value, gradient), (low, high) in zip(names, found, ends, strict=True):
        # Draws of recalls that are all 0 or 1 differ only in the classes that they lose.
        if count > 1 and high - low > _NOTHING and _variance(gradient, table) > _NOTHING:
            scored.append(Score(name, value, n, min(low, value), max(high, value), kind))
        else:
            scored.append(Score(name, value, n, *_interval_by_effective_n(value, gradient, table)))
    return scored[0], scored[1]


def _ends_over_groups(
    names: Sequence[str], values: Sequence[float], tables: NDArray[np.int64]
) -> list[tuple[float, float]]:
    """Student's interval of each metric by how it varies over groups; of no width where nothing varies."""
    if len(tables) < 2:
        return [(value, value) for value in values]
    critical = t_critical(len(tables) - 1)
    halves = [critical * error for error in errors_over_groups(names, tables, DRAWS)]
    return [(max(0.0, value - half), min(1.0, value + half)) for value, half in zip(values, halves, strict=True)]


def _tables(predictions: Predictions, numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Each group's confusion table, int64 [G, C, C]."""
    classes = predictions.probabilities.shape[1]
    rows = numbers * classes + _labels(predictions)
    cells = np.bincount(rows * classes + predictions.probabilities.argmax(axis=1), minlength=count * classes**2)
    return cells.reshape(count, classes, classes).astype(np.int64)


def _uar(table: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
    """UAR of a confusion table, and its gradient [C, C] by the shares of the table's cells."""
    support = table.sum(axis=1)
    present = support > 0
    recall = np.divide(np.diag(table), support, out=np.zeros(len(table)), where=present)
    weight = np.divide(table.sum(), support, out=np.zeros(len(table)), where=present) / present.sum()
    gradient = weight[:, None] * (np.eye(len(table)) - recall[:, None])
    return float(recall[present].mean()), gradient


def _macro_f1(table: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
    """Macro-F1 of a confusion table, and its gradient [C, C] by the shares of the table's cells."""
    present = table.sum(axis=1) > 0
    total = table.sum(axis=1) + table.sum(axis=0)
    f1 = np.divide(2 * np.diag(table), total, out=np.zeros(len(table)), where=present)
    weight = np.divide(table.sum(), total, out=np.zeros(len(table)), where=present) / present.sum()
    loss = weight * f1
    gradient = np.diag(2 * weight) - loss[:, None] - loss[None, :]
    return float(f1[present].mean()), gradient


def _interval_by_effective_n(
    value: float, gradient: NDArray[np.float64], table: NDArray[np.int64]
) -> tuple[float, float]:
    n = int(table.sum())
    variance = _variance(gradient, table)
    # A variance of nothing (all recalls 0 or 1) is an estimate, not knowledge: never trust more than n samples.
    spread = value * (1 - value)
    effective = min(float(n), spread / variance) if variance > 0 and spread > 0 else float(n)
    return wilson(value * effective, effective)


def _variance(gradient: NDArray[np.float64], table: NDArray[np.int64]) -> float:
    """By the delta method, of a metric of a confusion table."""
    n = int(table.sum())
    shares = table / n
    return (float((shares * gradient**2).sum()) - float((shares * gradient).sum()) ** 2) / n


def _nll(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(truth, SMALLEST_PROBABILITY, 1.0)).mean())


def _brier(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def _ece(right: NDArray[np.bool_], confidence: NDArray[np.float64]) -> float:
    gap = np.bincount(confidence_bins(confidence), weights=right - confidence, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(right))
