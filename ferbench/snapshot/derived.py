"""What follows from a run's predictions: its scores and all that stands beside them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ferbench.evidence import Forgetting
from ferbench.expressions import label_set
from ferbench.metrics import correctness, scores
from ferbench.prediction_hash import predictions_sha256
from ferbench.records import FurtherScores, Predictions
from ferbench.reliability import calibration, reliability_bins
from ferbench.store.kept import KeptRun


def derived(kept: KeptRun) -> KeptRun:
    """A run with every figure computed again from the predictions that it comes with.

    What a run of an older ferbench does not have, it does not get.

    Raises
    ------
    FerbenchError, KeyError : predictions that do not fit the run, or are not there
    """
    run, board = kept.run, kept.run.board
    if run.status == "failed" or board is None:
        return kept
    report, final = kept.report, run.stages[-1]
    select = kept.predictions.get((final, run.select_content))
    labels = report.labels
    changes: dict[str, Any] = {
        "scores": scores(report, label_set(board.label_set).classes),
        "predictions_sha256": predictions_sha256(report) if run.predictions_sha256 else "",
        "reliability": reliability_bins(report) if run.reliability else (),
        "forgetting": tuple(
            _forgetting(each, kept.predictions[each.stage, each.content], kept.predictions[final, each.content])
            for each in run.forgetting
        ),
    }
    if labels is not None:
        majority = float(np.bincount(labels).max() / len(labels))
        changes["board"] = dataclasses.replace(board, majority=majority)
    if run.select_sha256 and select is not None:
        changes["select_sha256"] = predictions_sha256(select)
    if run.select_accuracy is not None and select is not None:
        changes["select_accuracy"] = _accuracy(select)
    if run.calibration is not None and select is not None:
        changes["calibration"] = calibration(select, report)
    further = tuple((stage, _further(each, kept.predictions[stage, each.content])) for stage, each in kept.further)
    return dataclasses.replace(kept, run=dataclasses.replace(run, **changes), further=further)


def _accuracy(predictions: Predictions) -> float:
    return float(correctness(predictions).mean())


def _forgetting(forgetting: Forgetting, before: Predictions, after: Predictions) -> Forgetting:
    return dataclasses.replace(
        forgetting,
        n=len(before.ids),
        before=_accuracy(before),
        after=_accuracy(after),
        before_sha256=predictions_sha256(before) if forgetting.before_sha256 else "",
        after_sha256=predictions_sha256(after) if forgetting.after_sha256 else "",
    )


def _further(further: FurtherScores, predictions: Predictions) -> FurtherScores:
    own = scores(predictions, label_set(further.label_set).classes)
    return dataclasses.replace(further, n=len(predictions.ids), scores=own)
