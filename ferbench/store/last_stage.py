"""What a finished run answers with: its last stage, or the runs that an ensemble is the mean of."""

from __future__ import annotations

from ferbench.errors import CheckpointLost, StoreError
from ferbench.records import Run, StageResult
from ferbench.stages import Stage
from ferbench.store.repository import Store


def named(run: Run) -> str:
    """A run for people."""
    return f"row {run.row}, seed {run.cell.seed}"


def last_stage(run: Run, store: Store) -> tuple[Stage, StageResult]:
    """A finished run's last stage and what it gave; raises StoreError where the store lacks it."""
    stage, result = store.stage(run.stages[-1]), store.stage_result(run.stages[-1])
    if stage is None or result is None:
        raise StoreError(f"{store.location} lacks the last stage of {named(run)}: run that cell again with --force")
    return stage, result


def cannot_predict(run: Run, store: Store, lost: CheckpointLost) -> StoreError:
    """Why a run whose checkpoint is lost says nothing of further pictures."""
    reason = lost.line
    if store.is_pruned(lost.fingerprint):
        reason = "its checkpoint was pruned from the cache to make room; run that cell again with --force"
    return StoreError(f"{named(run)} cannot predict: {reason}")


def members_of(run: Run, store: Store) -> list[Run]:
    """The runs that an ensemble is the mean of, in the order of `run.members`; none of another run.

    Raises
    ------
    StoreError : the store lacks one
    """
    found = []
    for member in run.members:
        of_row = {each.cell.seed: each for each in store.runs(row=member.entry, status="finished")}
        if member.seed not in of_row:
            raise StoreError(
                f"{named(run)} cannot predict: {store.location} lacks its member row {member.row}, seed "
                f"{member.seed}: merge it or run that cell again"
            )
        found.append(of_row[member.seed])
    return found
