"""How far probabilities can be believed, and the one temperature that mends the most of it.

Temperature scaling (Guo et al. 2017, arXiv 1706.04599) divides the logits by a number fitted on select. Logits are
known here up to a constant of each sample, as the logarithm of its probabilities, which is all that scaling needs.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ferbench.errors import DatasetError
from ferbench.evidence import Calibration, ReliabilityBin
from ferbench.metrics import ECE_BINS, confidence_bins, probability_scores
from ferbench.records import Predictions

#: The range of a fitted temperature. Where select is answered all right, or no better than by chance, there is no best
#: temperature, only ever smaller or larger ones: it is then an end of this range, and `is_bound` says so.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0

#: A temperature of one sample says nothing.
FEWEST_SAMPLES = 2

#: A probability that float32 has rounded to 0 is taken for its smallest normal number.
_SMALLEST = float(np.finfo(np.float32).tiny)


def reliability_bins(predictions: Predictions) -> tuple[ReliabilityBin, ...]:
    """The bins that metrics.scores computes the ECE over, 15 of equal width; none where labels are withheld."""
    labels = predictions.labels
    if labels is None:
        return ()
    confidence = predictions.probabilities.max(axis=1).astype(np.float64)
    right = predictions.probabilities.argmax(axis=1) == labels
    places = confidence_bins(confidence)
    counts, confident, hits = (
        np.bincount(places, weights=weights, minlength=ECE_BINS) for weights in (None, confidence, right)
    )
    return tuple(
        ReliabilityBin(
            low=place / ECE_BINS,
            high=(place + 1) / ECE_BINS,
            count=int(counts[place]),
            confidence=float(confident[place] / counts[place]) if counts[place] else None,
            accuracy=float(hits[place] / counts[place]) if counts[place] else None,
        )
        for place in range(ECE_BINS)
    )


def fitted_temperature(select: Predictions) -> float:
    """The temperature between LOWEST_TEMPERATURE and HIGHEST_TEMPERATURE at which the NLL of select is least.

    The NLL is convex in 1/T, so that the root of its slope is the one minimum. Where it is flat, T is 1.

    Raises
    ------
    DatasetError : without labels or without samples
    """
    labels = select.labels
    if labels is None or len(labels) == 0:
        raise DatasetError(
            f"{select.dataset} {select.split} has no labelled sample to fit a temperature on: take a split with labels"
        )
    from scipy.optimize import brentq

    logits = _logits(select.probabilities)
    of_truth = logits[np.arange(len(labels)), labels]

    def slope(log_temperature: float) -> float:
        """Of the NLL by 1/T; it falls as T rises."""
        expected = (_softmax(logits * np.exp(-log_temperature)) * logits).sum(axis=1)
        return float((expected - of_truth).mean())

    low, high = np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE)
    if abs(slope(low)) < 1e-12 and abs(slope(high)) < 1e-12:
        return 1.0
    if slope(low) <= 0:
        return LOWEST_TEMPERATURE
    if slope(high) >= 0:
        return HIGHEST_TEMPERATURE
    return float(np.exp(brentq(slope, low, high, xtol=1e-10)))


def is_bound(temperature: float) -> bool:
    """Whether a fitted temperature is an end of the range, so that select has no best one within it."""
    return temperature in (LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE)


def scaled(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities at a temperature above 0, float32 [n, C]; every answer stays what it was.

    At 1 they come back as they are.
    """
    if temperature == 1:
        return probabilities.astype(np.float32)
    result = _softmax(_logits(probabilities) / temperature).astype(np.float32)
    answers = probabilities.argmax(axis=1)
    # A high temperature may bring two probabilities so near that float32 has one number for both.
    lost = np.flatnonzero(result.argmax(axis=1) != answers)
    result[lost, answers[lost]] = np.nextafter(result[lost].max(axis=1), np.float32(2))
    return result


def at_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """Predictions with their probabilities scaled."""
    return dataclasses.replace(predictions, probabilities=scaled(predictions.probabilities, temperature))


def calibration(select: Predictions, report: Predictions) -> Calibration | None:
    """A temperature fitted on select and what it makes of report.

    None where labels are withheld, or with fewer than FEWEST_SAMPLES select samples. Whether the two splits share
    samples is for the caller to know.
    """
    if select.labels is None or report.labels is None or len(select.labels) < FEWEST_SAMPLES:
        return None
    temperature = fitted_temperature(select)
    after = at_temperature(report, temperature)
    nll, brier, ece = probability_scores(after)
    return Calibration(temperature, len(select.labels), nll, brier, ece, reliability_bins(after))


def _logits(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Float64 [n, C], of each sample's classes up to a constant."""
    return np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return result
