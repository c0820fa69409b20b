"""A plugin that notes when a stage made its last step and when all of it was done; and what such notes tell.

ferbench's own seconds of a stage end with its last step. What follows is the checkpoint, predictions, and the store.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from ferbench import EpochResult, Stage, StageResult, hookimpl

#: The environment variable that names the file for the notes.
VARIABLE = "BENCHMARK_STAMPS"


@hookimpl
def ferbench_epoch_finished(stage: Stage, epoch: EpochResult) -> None:
    _note("epoch", stage)


@hookimpl
def ferbench_stage_finished(stage: Stage, result: StageResult) -> None:
    _note("stage", stage)


def _note(what: str, stage: Stage) -> None:
    with Path(os.environ[VARIABLE]).open("a") as file:
        file.write(f"{what} {stage.fingerprint} {time.perf_counter()}\n")


def seconds_after_steps(notes: str) -> float:
    """From each stage's last epoch to its end, over all stages."""
    last_epoch: dict[str, float] = {}
    total = 0.0
    for line in notes.splitlines():
        what, stage, at = line.split()
        if what == "epoch":
            last_epoch[stage] = float(at)
        else:
            total += float(at) - last_epoch[stage]
    return total
