"""Stages in this process, one after the other, on one device."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ferbench.errors import FerbenchError
from ferbench.records import EpochResult, StageResult
from ferbench.stages import Stage
from ferbench.training import Progress
from ferbench.worker import StageOutcome, StageTask, Workbench, run_stage


class StageWatch(Protocol):
    """Told of a stage while it runs."""

    def stage_started(self, stage: Stage, number: int, total: int) -> None: ...
    def stage_progress(self, stage: Stage, progress: Progress) -> None: ...
    def epoch_finished(self, stage: Stage, epoch: EpochResult) -> None: ...


@dataclass(frozen=True, slots=True)
class StageFailure:
    """Why a stage has no outcome: one line, and the traceback for `--debug`."""

    line: str
    trace: str


def execute(
    tasks: Sequence[StageTask], bench: Workbench, watch: StageWatch, known: dict[str, StageResult]
) -> Iterator[tuple[StageTask, StageOutcome | StageFailure]]:
    """Run tasks in their order, which puts parents first; a failure ends its own descendants only.

    Parameters
    ----------
    known : results of stages that are trained already; those trained here are added
    """
    failed: dict[str, StageFailure] = {}
    for number, task in enumerate(tasks, start=1):
        stage = task.stage
        if stage.parent in failed:
            failed[stage.fingerprint] = failed[stage.parent]
            yield task, failed[stage.fingerprint]
            continue
        watch.stage_started(stage, number, len(tasks))
        try:
            outcome = run_stage(
                task,
                bench,
                on_progress=lambda progress, stage=stage: watch.stage_progress(stage, progress),  # type: ignore[misc]
                on_epoch=lambda epoch, stage=stage: watch.epoch_finished(stage, epoch),  # type: ignore[misc]
                parent_result=None if stage.parent is None else known.get(stage.parent),
            )
        except Exception as error:  # a stage's own fault must not end the matrix
            line = error.line if isinstance(error, FerbenchError) else f"{type(error).__name__}: {error}".split("\n")[0]
            failed[stage.fingerprint] = StageFailure(line, traceback.format_exc())
            yield task, failed[stage.fingerprint]
            continue
        known[stage.fingerprint] = outcome.result
        yield task, outcome
