"""Means by hand, and the greedy choice against a search by scikit-learn's own metrics."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from ferbench.averaging import CHOSEN_BY, averaged, greedy_counts, same_samples
from ferbench.errors import FerbenchError
from ferbench.records import Predictions

LABELS = np.array([0, 1, 2, 0, 1, 0], dtype=np.int64)


def predictions(probabilities: object, labels: np.ndarray | None = LABELS, name: str = "set") -> Predictions:
    table = np.asarray(probabilities, dtype=np.float32)
    return Predictions(name, "part", tuple(map(str, range(len(table)))), labels, table)


def drawn(seed: int, count: int) -> list[Predictions]:
    random = np.random.default_rng(seed)
    return [predictions(random.dirichlet(np.ones(3), len(LABELS))) for _ in range(count)]


def test_means_by_hand() -> None:
    labels = np.array([0, 1], dtype=np.int64)
    one = predictions([[1, 0], [0.5, 0.5]], labels)
    other = predictions([[0.25, 0.75], [0, 1]], labels, "copy")
    assert averaged([one, other], [0.5, 0.5]).probabilities.tolist() == [[0.625, 0.375], [0.25, 0.75]]
    weighted = averaged([one, other], [0.25, 0.75])
    assert weighted.probabilities.tolist() == [[0.4375, 0.5625], [0.125, 0.875]]
    assert (weighted.dataset, weighted.ids, weighted.probabilities.dtype) == ("set", one.ids, np.float32)
    assert (averaged([one], [1.0]).probabilities == one.probabilities).all()


def test_only_the_same_samples_are_averaged() -> None:
    one = drawn(1, 1)[0]
    shorter = predictions(one.probabilities[:5], LABELS[:5], "short")
    turned = dataclasses.replace(one, labels=LABELS[::-1].copy())
    unlabelled = dataclasses.replace(one, labels=None)
    renamed = dataclasses.replace(one, ids=tuple(f"copy/{each}" for each in one.ids))
    assert same_samples(one, renamed) and same_samples(unlabelled, unlabelled)
    assert not same_samples(unlabelled, dataclasses.replace(renamed, labels=None))
    for other in (shorter, turned, unlabelled):
        assert not same_samples(one, other)
        with pytest.raises(FerbenchError, match=f"on {other.dataset} part are not of the samples of set part"):
            averaged([one, other], [0.5, 0.5])


def nll(labels: np.ndarray, table: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows of float32 sum to 1 but for rounding
        return -float(log_loss(labels, table, labels=[0, 1, 2]))


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "nll": nll,
    "accuracy": lambda labels, table: float(accuracy_score(labels, table.argmax(axis=1))),
    "uar": lambda labels, table: float(balanced_accuracy_score(labels, table.argmax(axis=1))),
}


def mean(pool: list[Predictions], counts: tuple[int, ...]) -> np.ndarray:
    parts = [count * each.probabilities.astype(np.float64) for each, count in zip(pool, counts, strict=True)]
    return np.sum(parts, axis=0) / sum(counts)


@pytest.mark.parametrize("metric", CHOSEN_BY)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 4), steps=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_each_step_takes_the_best_addition(metric: str, seed: int, count: int, steps: int) -> None:
    pool = drawn(seed, count)

    def value(counts: tuple[int, ...]) -> tuple[float, ...]:
        table = mean(pool, counts)
        own = round(MEASURES[metric](LABELS, table), 9)
        return (own,) if metric == "nll" else (own, round(nll(LABELS, table), 9))

    way: list[tuple[int, ...]] = [(0,) * count]
    for _ in range(steps):
        after = [tuple(n + (place == index) for index, n in enumerate(way[-1])) for place in range(count)]
        way.append(max(after, key=value))
    found = greedy_counts(pool, metric, steps)
    assert found == max(way[1:], key=value)
    assert value(found) >= max(value(tuple(int(i == j) for j in range(count))) for i in range(count))


def test_what_is_better_only_together_is_found_with_its_weights() -> None:
    """Two that err on different samples, and one that is no better than chance."""
    labels = np.array([0, 1], dtype=np.int64)
    pool = [
        predictions([[0.9, 0.1], [0.55, 0.45]], labels),
        predictions([[0.5, 0.5], [0.5, 0.5]], labels),
        predictions([[0.45, 0.55], [0.1, 0.9]], labels),
    ]
    for metric in CHOSEN_BY:
        counts = greedy_counts(pool, metric, 2)
        assert counts == (1, 0, 1)
        every = [tuple(c) for c in itertools.product(range(3), repeat=3) if sum(c) == 2]
        assert max(every, key=lambda c: nll_of_two(labels, mean(pool, c))) == counts


def nll_of_two(labels: np.ndarray, table: np.ndarray) -> float:
    return -float(log_loss(labels, table, labels=[0, 1]))
