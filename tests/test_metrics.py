"""Scores against scikit-learn, scipy and hand calculation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.errors import DatasetError, FerbenchError
from ferbench.metrics import (
    METRICS,
    class_scores,
    confusion,
    correctness,
    scores,
    t_critical,
    t_interval,
    value_of,
    wilson,
)
from ferbench.records import Predictions

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def predictions(labels, probabilities):
    labels = None if labels is None else np.asarray(labels, dtype=np.int64)
    probabilities = np.asarray(probabilities, dtype=np.float32)
    ids = tuple(f"s{i}" for i in range(len(probabilities)))
    return Predictions("faces", "test", ids, labels, probabilities)


def random_predictions(seed, n=400, absent=()):
    rng = np.random.default_rng(seed)
    present = [c for c in range(len(CLASSES)) if c not in absent]
    labels = rng.choice(present, size=n, p=rng.dirichlet(np.full(len(present), 3.0)))
    logits = rng.normal(size=(n, len(CLASSES))) + 1.5 * np.eye(len(CLASSES))[labels]
    exponentials = np.exp(logits)
    return predictions(labels, exponentials / exponentials.sum(axis=1, keepdims=True))


def by_name(p, classes=CLASSES):
    return {score.metric: score for score in scores(p, classes)}


@pytest.mark.parametrize("absent", [(), (1,), (0, 6)])
def test_scores_agree_with_scikit_learn(absent):
    p = random_predictions(3, absent=absent)
    predicted = p.probabilities.argmax(axis=1)
    present = sorted(set(p.labels.tolist()))
    # scikit-learn wants sums of exactly 1, which float32 does not give.
    normalised = p.probabilities / p.probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    got = by_name(p)

    assert tuple(got) == METRICS
    assert all(score.n == 400 for score in got.values())
    assert got["accuracy"].value == pytest.approx(sklearn.metrics.accuracy_score(p.labels, predicted))
    assert got["uar"].value == pytest.approx(
        sklearn.metrics.recall_score(p.labels, predicted, labels=present, average="macro")
    )
    assert got["macro_f1"].value == pytest.approx(
        sklearn.metrics.f1_score(p.labels, predicted, labels=present, average="macro")
    )
    assert got["nll"].value == pytest.approx(sklearn.metrics.log_loss(p.labels, normalised, labels=range(7)), rel=1e-6)
    np.testing.assert_array_equal(confusion(p), sklearn.metrics.confusion_matrix(p.labels, predicted, labels=range(7)))
    assert confusion(p).dtype == np.int64


def test_class_scores_agree_with_scikit_learn():
    p = random_predictions(5, absent=(2,))
    predicted = p.probabilities.argmax(axis=1)
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        p.labels, predicted, labels=range(7), zero_division=0
    )
    for c, got in enumerate(class_scores(p, CLASSES)):
        assert (got.name, got.support) == (CLASSES[c], support[c])
        assert got.precision == pytest.approx(precision[c])
        assert got.f1 == pytest.approx(f1[c])
        if support[c]:
            assert got.recall == pytest.approx(recall[c])
        else:
            assert got.recall is None


def test_brier_and_ece_by_hand():
    p = predictions([0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    got = by_name(p, ("a", "b"))
    assert got["brier"].value == pytest.approx((2 * 0.1**2 + 2 * 0.4**2 + 2 * 0.8**2) / 3, rel=1e-6)
    # Three samples in three bins: each counts a third of its own |right - confidence|.
    assert got["ece"].value == pytest.approx((0.1 + 0.4 + 0.8) / 3, rel=1e-6)


def test_ece_averages_within_a_bin():
    # 0.90 and 0.92 share the bin (13/15, 14/15]: one right, one wrong, so |0.5 - 0.91|; 0.95 is right in the last bin.
    p = predictions([0, 1, 0], [[0.90, 0.10], [0.92, 0.08], [0.95, 0.05]])
    assert by_name(p, ("a", "b"))["ece"].value == pytest.approx(2 / 3 * 0.41 + 1 / 3 * 0.05, rel=1e-5)


def test_a_confident_mistake_costs_much_and_not_infinitely():
    got = by_name(predictions([0, 1], [[0.0, 1.0], [0.0, 1.0]]), ("a", "b"))
    assert got["nll"].value == pytest.approx(-math.log(np.finfo(np.float32).eps) / 2)


def test_a_constant_answer_scores_the_majority_and_one_over_the_classes():
    labels = [3] * 60 + [0] * 25 + [6] * 15
    got = by_name(predictions(labels, np.tile(np.eye(7)[3], (100, 1))))
    assert got["accuracy"].value == pytest.approx(0.6)
    assert got["uar"].value == pytest.approx(1 / 3)
    assert got["macro_f1"].value == pytest.approx((2 * 60 / 160) / 3)


def test_correctness_is_in_order_and_ties_go_to_the_first_class():
    p = predictions([0, 1, 1], [[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]])
    got = correctness(p)
    assert got.dtype == np.bool_
    assert got.tolist() == [True, False, True]


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 1), (177, 431), (2088, 3589)])
def test_wilson_agrees_with_scipy(successes, n):
    expected = scipy.stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_its_share_within_0_and_1(case):
    successes, n = case
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1


def test_t_interval_agrees_with_scipy():
    values = [0.41, 0.44, 0.40, 0.47, 0.43]
    mean, sd, low, high = t_interval(values)
    expected = scipy.stats.t.interval(0.95, 4, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert (mean, sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert (low, high) == pytest.approx(expected)
    assert t_critical(430) == pytest.approx(scipy.stats.t.ppf(0.975, 430))


def test_t_interval_refuses_one_value():
    with pytest.raises(ValueError, match="at least two"):
        t_interval([0.4])


def scikit_learn_draws(p, drawn):
    """UAR and macro-F1 on each of some draws of sample numbers, [draws, 2]."""
    predicted = p.probabilities.argmax(axis=1)
    tables = [sklearn.metrics.confusion_matrix(p.labels[rows], predicted[rows], labels=range(7)) for rows in drawn]
    hits, support, taken = (np.array([way(table) for table in tables]) for way in (np.diag, row_sums, column_sums))
    return np.stack([(hits / support).mean(axis=1), (2 * hits / (support + taken)).mean(axis=1)], axis=1)


def row_sums(table):
    return table.sum(axis=1)


def column_sums(table):
    return table.sum(axis=0)


def test_intervals_of_uar_and_f1_are_those_of_drawn_samples():
    p = random_predictions(11, n=600)
    rng = np.random.default_rng(0)
    drawn = scikit_learn_draws(p, [rng.integers(0, 600, 600) for _ in range(800)])
    for column, metric in enumerate(("uar", "macro_f1")):
        score = by_name(p)[metric]
        assert score.interval == "bootstrap"
        assert (score.low, score.high) == pytest.approx(np.quantile(drawn[:, column], (0.025, 0.975)), abs=0.007)
        assert score.low < score.value < score.high
    assert by_name(p)["accuracy"].interval == "wilson"


def test_intervals_over_films_are_students_by_how_drawn_films_vary():
    p = random_predictions(12, n=600)
    # A film is easy or hard as a whole, so that films are what varies.
    hard = np.repeat(np.arange(20) % 2 == 0, 30)
    rows = np.where(hard[:, None], np.eye(7, dtype=np.float32)[(p.labels + 1) % 7], p.probabilities)
    films = tuple(f"film {i // 30}" for i in range(600))
    p = replace(p, probabilities=rows.astype(np.float32), groups=films)
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, 20, 19) for _ in range(800)]
    drawn = scikit_learn_draws(p, [(30 * pick[:, None] + np.arange(30)).ravel() for pick in picks])
    for column, metric in enumerate(("uar", "macro_f1")):
        score, alone = by_name(p)[metric], by_name(replace(p, groups=None))[metric]
        assert (score.interval, alone.interval) == ("cluster-bootstrap", "bootstrap")
        half = scipy.stats.t.ppf(0.975, 19) * drawn[:, column].std()
        assert (score.low, score.high) == pytest.approx((score.value - half, score.value + half), abs=0.02)
        assert score.high - score.low > 2 * (alone.high - alone.low)
        assert score.value == alone.value


@pytest.mark.parametrize("films", [3, 6])
def test_intervals_over_few_films_hold_the_truth_as_often_as_they_say(films):
    """Films differ in how hard they are; on all films together each class's recall is a half."""
    rng = np.random.default_rng(films)
    labels, groups = np.tile([0, 1], films * 15), tuple(f"film {i // 30}" for i in range(30 * films))
    held = 0
    for _ in range(200):
        right = rng.random(30 * films) < np.repeat(rng.uniform(0.2, 0.8, films), 30)
        p = replace(predictions(labels, np.eye(2)[np.where(right, labels, 1 - labels)]), groups=groups)
        score = by_name(p, ("a", "b"))["uar"]
        held += score.low <= 0.5 <= score.high
    # Two and a half standard errors of a share of 200 around 95 %. Percentiles hold it about 75 % and 85 % of the time.
    assert held >= 182


def test_films_of_one_picture_are_samples():
    p = random_predictions(13, n=50)
    assert scores(replace(p, groups=p.ids), CLASSES) == scores(p, CLASSES)


def test_digits_are_the_same_every_time_and_in_any_order_of_samples():
    p = replace(random_predictions(14, n=80), groups=tuple(f"film {i % 9}" for i in range(80)))
    assert scores(p, CLASSES) == scores(p, CLASSES)
    order = np.random.default_rng(1).permutation(80)
    turned = Predictions(
        p.dataset,
        p.split,
        tuple(p.ids[i] for i in order),
        p.labels[order],
        p.probabilities[order],
        tuple(p.groups[i] for i in order),
    )
    assert scores(turned, CLASSES)[:3] == scores(p, CLASSES)[:3]


@pytest.mark.parametrize(
    ("labels", "answers", "groups", "kinds"),
    [
        ([0], [0], None, ("wilson", "wilson")),
        ([0], [1], None, ("wilson", "wilson")),
        ([0, 0, 1, 1] * 5, [0, 0, 1, 1] * 5, None, ("wilson", "wilson")),
        ([0, 0, 1, 1] * 5, [1, 1, 0, 0] * 5, None, ("wilson", "wilson")),
        # A constant answer: its recalls are 1 and 0 whatever is drawn, its F1 depends on how many of each are.
        ([0, 0, 0, 1] * 5, [0] * 20, None, ("wilson", "bootstrap")),
        ([0, 0, 1, 1] * 5, [0, 1, 1, 1] * 5, ("one film",) * 20, ("wilson", "wilson")),
        # Two films that are alike to the picture vary in nothing.
        ([0, 0, 1, 1] * 2, [0, 1, 1, 1] * 2, ("a",) * 4 + ("b",) * 4, ("wilson", "wilson")),
        ([0, 0, 1, 1] * 2, [0, 1, 1, 1, 1, 1, 1, 0], ("a",) * 4 + ("b",) * 4, ("cluster-bootstrap",) * 2),
    ],
)
def test_what_does_not_vary_when_drawn_is_not_certain(labels, answers, groups, kinds):
    p = replace(predictions(labels, np.eye(2)[answers]), groups=groups)
    got = by_name(p, ("a", "b"))
    assert (got["uar"].interval, got["macro_f1"].interval) == kinds
    for metric in ("uar", "macro_f1"):
        assert got[metric].low <= got[metric].value <= got[metric].high
        assert got[metric].high - got[metric].low > 0.1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 8))
def test_scores_stay_in_their_ranges(seed, n, count):
    rng = np.random.default_rng(seed)
    p = predictions(rng.integers(0, count, n), rng.dirichlet(np.full(count, 0.3), size=n))
    for score in scores(p, [str(c) for c in range(count)]):
        top = {"nll": math.inf, "brier": 2.0}.get(score.metric, 1.0)
        assert 0 <= score.value <= top + 1e-6
        assert score.n == n
        if score.metric in ("accuracy", "uar", "macro_f1"):
            assert 0 <= score.low <= score.value <= score.high <= 1
    assert confusion(p).sum() == n


def test_what_cannot_be_scored_is_said_in_one_line():
    good = [[0.5, 0.5]]
    with pytest.raises(DatasetError, match="faces test has no labels"):
        scores(predictions(None, good), ("a", "b"))
    with pytest.raises(DatasetError, match="no sample"):
        scores(predictions([], np.empty((0, 2))), ("a", "b"))
    with pytest.raises(FerbenchError, match=r"shape \(1, 2\) for 1 labels and 3 classes"):
        scores(predictions([0], good), ("a", "b", "c"))
    with pytest.raises(FerbenchError, match="sample 's0' has label 2 of 2 classes"):
        scores(predictions([2], good), ("a", "b"))
    with pytest.raises(FerbenchError, match="'s1' has probabilities that are not finite"):
        scores(predictions([0, 0], [[0.5, 0.5], [math.nan, 0.5]]), ("a", "b"))


def test_a_score_by_itself_is_the_one_among_all() -> None:
    rng = np.random.default_rng(3)
    drawn = predictions(rng.integers(0, 5, 60), rng.dirichlet(np.ones(7), 60))
    for score in scores(drawn, CLASSES):
        assert value_of(score.metric, drawn) == value_of(score.metric, drawn, CLASSES) == score.value
    with pytest.raises(FerbenchError, match="probabilities of shape"):
        value_of("nll", drawn, CLASSES[:3])
