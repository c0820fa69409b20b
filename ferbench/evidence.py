"""The frozen records of what stands beside a run's scores: calibration, forgetting, members.

Plain data as in `records`: no torch, no files, no SQL.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Samples whose top probability lies above `low` and at most at `high`.

    confidence, accuracy : means over them, as fractions; None in a bin without samples
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature scaling (Guo et al. 2017, arXiv 1706.04599): fitted on select, measured on report.

    It changes no answer, and its figures stand apart from the run's scores.

    temperature : what logits are divided by
    select_n : samples it was fitted on
    nll, brier, ece : of the report split once scaled, as metrics.scores defines them
    reliability : of the report split once scaled
    """

    temperature: float
    select_n: int
    nll: float
    brier: float
    ece: float
    reliability: tuple[ReliabilityBin, ...] = ()


@dataclass(frozen=True, slots=True)
class Forgetting:
    """How an auxiliary is still known at the end of a chain.

    dataset, split, n : its report split
    content : hash of its samples, under which the predictions of both stages are stored
    stage : fingerprint of the stage that was trained on it last
    before, after : accuracy, as fractions, of that stage and of the chain's last one
    before_sha256, after_sha256 : of the predictions of both (prediction_hash.predictions_sha256)
    """

    dataset: str
    split: str
    n: int
    content: str
    stage: str
    before: float
    after: float
    before_sha256: str = ""
    after_sha256: str = ""

    @property
    def lost(self) -> float:
        """Accuracy that is gone, as a fraction; below 0 where more is known than before."""
        return self.before - self.after


@dataclass(frozen=True, slots=True)
class Member:
    """One run in an ensemble.

    entry : of its row; the first 10 digits are ROW
    stage : fingerprint of its last stage, whose predictions are mixed
    weight : its part of the mean; all of an ensemble's sum to 1
    """

    entry: str
    seed: int
    stage: str
    weight: float

    @property
    def row(self) -> str:
        return self.entry[:10]
