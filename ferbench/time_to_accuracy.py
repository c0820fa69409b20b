"""How long a chain is trained until its row reaches an accuracy on the target's select samples."""

from __future__ import annotations

from collections.abc import Sequence

from ferbench.records import EpochResult, Run, StageResult


def time_to_accuracy(run: Run, results: Sequence[StageResult], accuracy: float) -> float | None:
    """Seconds of training until the accuracy was first seen; None where it was not, or where that is not known.

    Nor is it known of an ensemble: what stands for its stage took no training.

    They are those of the whole chain as if it stood alone: every stage before the last one, the last one's features,
    and of its steps, which all do the same work, the part up to the end of the epoch. The select samples are looked at
    at the ends of the last stage's epochs only, so the accuracy may have been reached earlier.

    Where no epoch was tracked (`run --track`), the end of training counts if the row reaches the accuracy by then:
    `Run.select_accuracy`, an upper bound.

    Parameters
    ----------
    results : of the stages of `run.stages`, in their order; where some are missing, nothing is known
    accuracy : a fraction
    """
    if not _is_known(run, results):
        return None
    *before, last = results
    steps_seconds = last.train_seconds - last.feature_seconds
    for epoch in _history(run, last):
        if epoch.target_accuracy is not None and epoch.target_accuracy >= accuracy:
            spent = sum(result.train_seconds for result in before) + last.feature_seconds
            return spent + steps_seconds * epoch.images_seen / last.images_seen
    if run.select_accuracy is not None and run.select_accuracy >= accuracy:
        return sum(result.train_seconds for result in results)
    return None


def was_looked_at(run: Run, results: Sequence[StageResult]) -> bool:
    """Whether every epoch of the last stage was, so that an accuracy that was not seen was not reached at any end."""
    history = _history(run, results[-1]) if _is_known(run, results) else ()
    return bool(history) and all(epoch.target_accuracy is not None for epoch in history)


def _is_known(run: Run, results: Sequence[StageResult]) -> bool:
    return run.status == "finished" and not run.members and 0 < len(results) == len(run.stages)


def _history(run: Run, last: StageResult) -> tuple[EpochResult, ...]:
    """Another target's select samples may be what was looked at: the stage can end cells of several targets."""
    return last.history if last.tracked and last.tracked == run.select_content else ()
