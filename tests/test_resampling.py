"""Draws and what metrics are on them, against literal resampling, scikit-learn and variances by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.resampling import (
    RESAMPLED,
    drawn_weights,
    ends_over_samples,
    errors_over_groups,
    group_numbers,
    replicates,
    tally,
    values,
)

#: How often each of 7 is among 6, in the first three draws.
FIRST_WEIGHTS = ("0200220", "0011121", "1002111")


def by_scikit_learn(metric, labels, answers):
    if metric == "accuracy":
        return sklearn.metrics.accuracy_score(labels, answers)
    score = sklearn.metrics.recall_score if metric == "uar" else sklearn.metrics.f1_score
    return score(labels, answers, labels=np.unique(labels), average="macro", zero_division=0)


def random_answers(seed, n=60, runs=3, classes=4, absent=()):
    rng = np.random.default_rng(seed)
    labels = rng.choice([c for c in range(classes) if c not in absent], n)
    answers = np.where(rng.random((runs, n)) < 0.6, labels, rng.integers(0, classes, (runs, n)))
    return labels, answers


def test_weights_count_what_is_drawn_evenly_and_are_the_same_every_time():
    weights = np.concatenate(list(drawn_weights(7, 6, 20_000)))
    assert weights.shape == (20_000, 7)
    assert set(weights.sum(axis=1)) == {6}
    # Binomial: 6 draws of one in 7.
    assert weights.mean(axis=0) == pytest.approx(np.full(7, 6 / 7), abs=0.03)
    assert weights.var(axis=0) == pytest.approx(np.full(7, 36 / 49), rel=0.05)
    # The digits of every interval hang on these: a change of them is a change of all published ones.
    assert tuple("".join(str(int(each)) for each in row) for row in weights[:3]) == FIRST_WEIGHTS


def test_weights_come_in_blocks_that_leave_the_numbers_as_they_are(monkeypatch):
    whole = np.concatenate(list(drawn_weights(10, 10, 50)))
    monkeypatch.setattr("ferbench.resampling._AT_ONCE", 80)
    blocks = list(drawn_weights(10, 10, 50))
    assert [len(block) for block in blocks] == [8] * 6 + [2]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_groups_are_numbered_by_name_and_samples_are_their_own_without():
    numbers, count = group_numbers(("b", "a", "b", "c"), 4)
    assert (numbers.tolist(), count) == ([1, 0, 1, 2], 3)
    numbers, count = group_numbers(None, 3)
    assert (numbers.tolist(), count) == ([0, 1, 2], 3)


@pytest.mark.parametrize("metric", RESAMPLED)
def test_replicates_are_the_metric_of_the_samples_drawn(metric):
    # 12 samples of 5 groups and rare classes: draws lose classes, and class 3 is not in the truth at all.
    labels, answers = random_answers(4, n=12, absent=(3,))
    groups = tuple("aabbbcddddee")
    numbers, count = group_numbers(groups, 12)
    counted = tally(metric, labels, answers, 4, numbers, count)
    found = replicates(counted, 40)
    assert found.shape == (40, 3)
    drawn = np.concatenate(list(drawn_weights(5, 4, 40))).astype(int)
    for row, weights in zip(found, drawn, strict=True):
        rows = np.repeat(np.arange(12), weights[numbers])
        expected = [by_scikit_learn(metric, labels[rows], answer[rows]) for answer in answers]
        assert row == pytest.approx(expected)
    assert values(counted) == pytest.approx([by_scikit_learn(metric, labels, answer) for answer in answers])


def test_two_groups_and_two_samples_are_drawn_one_at_a_time():
    labels, answers = np.array([0, 0, 1]), np.array([[0, 1, 1]])
    numbers, count = group_numbers(("f", "f", "g"), 3)
    found = replicates(tally("accuracy", labels, answers, 2, numbers, count), 200)
    assert set(found.ravel()) == {0.5, 1.0}
    # The variance of a mean of two: that of the two, without bias, over 2.
    assert found.var() == pytest.approx(np.var([0.5, 1.0], ddof=1) / 2, rel=0.1)


def test_the_variance_over_draws_is_that_of_a_mean():
    labels, answers = random_answers(9, n=500)
    numbers, count = group_numbers(None, 500)
    found = replicates(tally("accuracy", labels, answers, 4, numbers, count), 10_000)
    right = (answers == labels).astype(float)
    # 2 % is a standard deviation and a half of a variance over 10,000 draws.
    assert found.var(axis=0) == pytest.approx(right.var(axis=1, ddof=1) / 500, rel=0.04)
    assert np.cov(found.T) == pytest.approx(np.cov(right) / 500, abs=0.04 * 0.25 / 500)


def test_ends_over_samples_are_those_of_drawn_samples():
    labels, answers = random_answers(2, n=300, runs=1)
    table = sklearn.metrics.confusion_matrix(labels, answers[0], labels=range(4))
    (low, high), (f1_low, f1_high) = ends_over_samples(("uar", "macro_f1"), table, 2000)
    numbers, count = group_numbers(None, 300)
    for metric, ends in (("uar", (low, high)), ("macro_f1", (f1_low, f1_high))):
        counted = tally(metric, labels, answers, 4, numbers, count)
        assert ends == pytest.approx(np.quantile(replicates(counted, 4000), (0.025, 0.975)), abs=0.006)


def test_errors_over_groups_are_large_where_groups_are_alike_within():
    # 30 films of 10 samples, each all right or all wrong: as good as 30 samples, not 300.
    right = np.repeat(np.arange(30) % 3 > 0, 10)
    tables = np.zeros((30, 2, 2), dtype=np.int64)
    labels = np.tile([0, 1], 150)
    np.add.at(tables, (np.repeat(np.arange(30), 10), labels, np.where(right, labels, 1 - labels)), 1)
    (error,) = errors_over_groups(("uar",), tables, 4000)
    # That of a mean, from the variance without bias.
    assert error == pytest.approx(np.sqrt(2 / 9 / 29), rel=0.04)
    # Two groups are drawn one at a time.
    (error,) = errors_over_groups(("uar",), tables[:2], 4000)
    assert error == pytest.approx(np.std([0, 1], ddof=1) / np.sqrt(2), rel=0.01)
    ((low, high),) = ends_over_samples(("uar",), tables.sum(axis=0), 4000)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(2 / 9 / 300), rel=0.06)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 5), st.sampled_from(RESAMPLED))
def test_replicates_are_shares_whatever_is_drawn(seed, n, classes, metric):
    labels, answers = random_answers(seed, n=n, classes=classes)
    groups = tuple(str(each) for each in np.random.default_rng(seed).integers(0, 4, n))
    numbers, count = group_numbers(groups, n)
    if count < 2:
        numbers, count = group_numbers(None, n)
    found = replicates(tally(metric, labels, answers, classes, numbers, count), 20)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found <= 1).all()
