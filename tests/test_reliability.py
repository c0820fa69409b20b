"""Reliability and temperature against hand calculation, scikit-learn and a search by brute force."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from ferbench.errors import DatasetError
from ferbench.metrics import scores
from ferbench.records import Predictions
from ferbench.reliability import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    at_temperature,
    calibration,
    fitted_temperature,
    is_bound,
    reliability_bins,
    scaled,
)

CLASSES = ("a", "b", "c")


def predictions(probabilities: np.ndarray, labels: np.ndarray | None) -> Predictions:
    ids = tuple(map(str, range(len(probabilities))))
    truth = None if labels is None else np.asarray(labels, dtype=np.int64)
    return Predictions("set", "part", ids, truth, np.asarray(probabilities, dtype=np.float32))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def overconfident(count: int, seed: int, factor: float = 3.0) -> Predictions:
    """Labels drawn from a softmax, probabilities from one whose logits are `factor` times as large."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (count, 3))
    labels = (softmax(logits).cumsum(axis=1) < random.random((count, 1))).sum(axis=1)
    return predictions(softmax(factor * logits), labels)


def test_bins_by_hand() -> None:
    # 0.5 is in (7/15, 8/15], 0.9 in (13/15, 14/15], 1 in the last one; 0.4 = 6/15 closes the sixth.
    given_ = predictions(
        np.array([[0.5, 0.25, 0.25], [0.5, 0.3, 0.2], [0.9, 0.1, 0], [1, 0, 0], [0.39, 0.31, 0.3]]),
        np.array([0, 1, 1, 0, 0]),
    )
    bins = reliability_bins(given_)
    assert len(bins) == 15 and (bins[0].low, bins[-1].high) == (0, 1)
    found = {place: (b.count, b.confidence, b.accuracy) for place, b in enumerate(bins) if b.count}
    assert found == {
        5: (1, pytest.approx(0.39), 1.0),
        7: (2, pytest.approx(0.5), 0.5),
        13: (1, pytest.approx(0.9), 0.0),
        14: (1, 1.0, 1.0),
    }
    assert bins[0].confidence is None and bins[0].accuracy is None
    assert reliability_bins(dataclasses.replace(given_, labels=None)) == ()


def test_bins_are_those_of_the_ece_and_of_scikit_learn() -> None:
    given_ = overconfident(400, 1)
    bins = reliability_bins(given_)
    gap = sum(b.count * abs(b.accuracy - b.confidence) for b in bins if b.count) / 400
    assert gap == pytest.approx({s.metric: s.value for s in scores(given_, CLASSES)}["ece"])
    right = given_.probabilities.argmax(axis=1) == given_.labels
    accuracy, confidence = calibration_curve(right, given_.probabilities.max(axis=1), n_bins=15)
    assert [b.accuracy for b in bins if b.count] == pytest.approx(list(accuracy))
    assert [b.confidence for b in bins if b.count] == pytest.approx(list(confidence))


def test_the_temperature_is_the_best_of_many() -> None:
    select = overconfident(500, 2)
    temperature = fitted_temperature(select)
    assert temperature == pytest.approx(3, rel=0.15)
    grid = np.exp(np.linspace(math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE), 601))
    logits = np.log(select.probabilities.astype(np.float64))
    losses = [log_loss(select.labels, softmax(logits / each), labels=[0, 1, 2]) for each in grid]
    assert temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.01)
    assert log_loss(select.labels, softmax(logits / temperature), labels=[0, 1, 2]) <= min(losses)
    assert not is_bound(temperature)


@pytest.mark.parametrize(
    ("probabilities", "labels", "temperature"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], [0, 1], LOWEST_TEMPERATURE),
        ([[1.0, 0.0], [0.0, 1.0]], [0, 1], LOWEST_TEMPERATURE),
        ([[0.9, 0.1], [0.2, 0.8]], [1, 0], HIGHEST_TEMPERATURE),
        ([[0.5, 0.5], [0.5, 0.5]], [1, 0], 1.0),
    ],
)
def test_where_there_is_no_best_temperature(
    probabilities: list[list[float]], labels: list[int], temperature: float
) -> None:
    assert fitted_temperature(predictions(np.array(probabilities), np.array(labels))) == temperature
    assert is_bound(temperature) == (temperature != 1)


def test_a_temperature_by_hand() -> None:
    """Two of three right at 0.9 each: the best is where 0.9 becomes 2/3, which is log 9 / log 2."""
    select = predictions(np.array([[0.9, 0.1]] * 3), np.array([0, 0, 1]))
    temperature = fitted_temperature(select)
    assert temperature == pytest.approx(math.log(9) / math.log(2), rel=1e-5)
    assert scaled(select.probabilities, temperature)[0] == pytest.approx([2 / 3, 1 / 3], rel=1e-5)


def test_calibration_is_fitted_on_select_and_measured_on_report() -> None:
    select, report = overconfident(300, 3), overconfident(400, 4)
    found = calibration(select, report)
    assert found is not None and found.select_n == 300
    after = at_temperature(report, found.temperature)
    values = {s.metric: s.value for s in scores(after, CLASSES)}
    assert (found.nll, found.brier, found.ece) == (values["nll"], values["brier"], values["ece"])
    assert found.reliability == reliability_bins(after)
    before = {s.metric: s.value for s in scores(report, CLASSES)}
    assert found.nll < before["nll"] and found.ece < before["ece"] and values["accuracy"] == before["accuracy"]


def test_what_cannot_be_calibrated() -> None:
    whole = overconfident(4, 5)
    unlabelled = dataclasses.replace(whole, labels=None)
    single = predictions(whole.probabilities[:1], np.array([0]))
    assert calibration(unlabelled, whole) is None and calibration(whole, unlabelled) is None
    assert calibration(single, whole) is None
    with pytest.raises(DatasetError, match="set part has no labelled sample"):
        fitted_temperature(unlabelled)


@st.composite
def some_predictions(draw: st.DrawFn) -> Predictions:
    """Few levels make ties; float32's own ends are among the logits' exponentials."""
    shape = (draw(st.integers(2, 12)), draw(st.integers(2, 5)))
    level = st.one_of(st.sampled_from([-90.0, -1.0, 0.0, 1.0, 1.0 + 1e-7]), st.floats(-30, 30))
    logits = draw(arrays(np.float64, shape, elements=level))
    labels = draw(arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    return predictions(softmax(logits), labels)


@given(some_predictions(), st.floats(LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE))
def test_no_answer_changes_and_1_changes_nothing(given_: Predictions, temperature: float) -> None:
    result = scaled(given_.probabilities, temperature)
    assert result.dtype == np.float32 and np.isfinite(result).all()
    assert result.sum(axis=1) == pytest.approx(np.ones(len(result)), abs=1e-5)
    assert (result.argmax(axis=1) == given_.probabilities.argmax(axis=1)).all()
    assert (scaled(given_.probabilities, 1.0) == given_.probabilities).all()


@given(some_predictions())
def test_the_fitted_temperature_is_never_worse_than_1(given_: Predictions) -> None:
    logits = np.log(np.maximum(given_.probabilities.astype(np.float64), np.finfo(np.float32).tiny))

    def loss(temperature: float) -> float:
        of_truth = np.log(softmax(logits / temperature)[np.arange(len(logits)), given_.labels])
        return float(-of_truth.mean())

    with np.errstate(divide="ignore"):
        assert loss(fitted_temperature(given_)) <= loss(1.0) + 1e-9
