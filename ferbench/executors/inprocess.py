"""Stages in this process, one after the other, on one device."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ferbench.errors import CheckpointLost, FerbenchError
from ferbench.records import EpochResult, StageResult
from ferbench.stages import Stage
from ferbench.training import Progress
from ferbench.workbench import Workbench
from ferbench.worker import StageOutcome, StageTask, run_stage


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
    tasks: Sequence[StageTask],
    bench: Workbench,
    watch: StageWatch,
    known: dict[str, StageResult],
    spare: Mapping[str, StageTask],
) -> Iterator[tuple[StageTask, StageOutcome | StageFailure]]:
    """Run tasks in their order, which puts parents first; a failure ends its own descendants only.

    A checkpoint that was there when the work was planned may be gone when it is needed, since other processes share the
    folder, or may turn out to be damaged. Its stage is then trained again, once, and given out like any other.

    Raises
    ------
    KeyboardInterrupt : `bench.stop` said so between two stages, or in the middle of one that is kept then

    Parameters
    ----------
    known : results of stages that are trained already; those trained here are added
    spare : tasks that train the stages that are known, by fingerprint
    """
    failed: dict[str, StageFailure] = {}
    # A stage whose checkpoint was lost has not predicted what it could be done without; trained again, it does.
    optional = {task.stage.fingerprint: task.evaluations for task in tasks if task.optional}
    for number, task in enumerate(tasks, start=1):
        stage = task.stage
        if bench.stop():
            raise KeyboardInterrupt
        if stage.parent in failed and task.trained is None:
            failed[stage.fingerprint] = failed[stage.parent]
            yield task, failed[stage.fingerprint]
            continue
        watch.stage_started(stage, number, len(tasks))
        open_tasks = [task]
        healed: set[str] = set()
        while open_tasks:
            current = open_tasks[-1]
            try:
                outcome = _run(current, bench, watch, known)
            except Exception as error:  # a stage's own fault must not end the matrix
                lost = error.fingerprint if isinstance(error, CheckpointLost) else ""
                if lost not in spare or lost in healed:
                    failed[stage.fingerprint] = StageFailure(_line(error), traceback.format_exc())
                    yield task, failed[stage.fingerprint]
                    break
                healed.add(lost)
                # A task that was only to predict gives way to the one that trains the same stage.
                if lost == current.stage.fingerprint:
                    open_tasks[-1] = replace(spare[lost], evaluations=current.evaluations, track=current.track)
                else:
                    open_tasks.append(replace(spare[lost], evaluations=optional.get(lost, ())))
            else:
                known[current.stage.fingerprint] = outcome.result
                open_tasks.pop()
                yield current, outcome


def _line(error: Exception) -> str:
    return error.line if isinstance(error, FerbenchError) else f"{type(error).__name__}: {error}".split("\n")[0]


def _run(task: StageTask, bench: Workbench, watch: StageWatch, known: Mapping[str, StageResult]) -> StageOutcome:
    stage = task.stage
    return run_stage(
        task,
        bench,
        on_progress=lambda progress: watch.stage_progress(stage, progress),
        on_epoch=lambda epoch: watch.epoch_finished(stage, epoch),
        parent_result=None if stage.parent is None else known.get(stage.parent),
    )
