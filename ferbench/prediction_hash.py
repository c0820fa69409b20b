"""One hash for what a stage said of a split, so that a change of a single probability is found."""

from __future__ import annotations

import hashlib
import json

from ferbench.records import Predictions


def predictions_sha256(predictions: Predictions) -> str:
    """SHA-256 of ids, groups, labels and probabilities in their order.

    The names of dataset and split are left out: the same samples may be asked for under others.
    """
    digest = hashlib.sha256()
    named = [list(predictions.ids), None if predictions.groups is None else list(predictions.groups)]
    digest.update(json.dumps([*named, list(predictions.probabilities.shape)], separators=(",", ":")).encode())
    if predictions.labels is not None:
        digest.update(predictions.labels.astype("<i8").tobytes())
    digest.update(predictions.probabilities.astype("<f4").tobytes())
    return digest.hexdigest()
