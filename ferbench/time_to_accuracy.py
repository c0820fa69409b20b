"""How long a chain is trained until its row reaches an accuracy on the target's select samples."""

from __future__ import annotations

from collections.abc import Sequence

from ferbench.records import Run, StageResult


def time_to_accuracy(run: Run, results: Sequence[StageResult], accuracy: float) -> float | None:
    """Seconds of training until the accuracy was first seen; None where it was not, or where that is not known.

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
    if run.status != "finished" or not results or len(results) != len(run.stages):
        return None
    *before, last = results
    steps_seconds = last.train_seconds - last.feature_seconds
    # Another target's select samples may be what was looked at: the stage can end cells of several targets.
    history = last.history if last.tracked and last.tracked == run.select_content else ()
    for epoch in history:
        if epoch.target_accuracy is not None and epoch.target_accuracy >= accuracy:
            spent = sum(result.train_seconds for result in before) + last.feature_seconds
            return spent + steps_seconds * epoch.images_seen / last.images_seen
    if run.select_accuracy is not None and run.select_accuracy >= accuracy:
        return sum(result.train_seconds for result in results)
    return None
