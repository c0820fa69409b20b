"""The hooks: everything that a plugin can add to ferbench, and everything that it can watch.

A plugin is a module (or object) registered under the entry-point group `ferbench`, with functions marked by
`ferbench.hookimpl`. All hooks are optional. Built-in plugins use the same group and the same hooks.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from ferbench.components import Backbone, BackboneFamily, Dataset, DatasetFamily, FaceDetector, Strategy
from ferbench.records import EpochResult, ReportedResult, Run, StageResult
from ferbench.stages import Stage

#: The entry-point group, and the name that pluggy's markers carry.
GROUP = "ferbench"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def ferbench_register_backbones() -> Iterable[Backbone | BackboneFamily]:  # type: ignore[empty-body]
    """Networks that can be fine-tuned, by name or as a family behind a prefix."""


@hookspec
def ferbench_register_datasets() -> Iterable[Dataset | DatasetFamily]:  # type: ignore[empty-body]
    """Datasets, by name or as a family behind a prefix."""


@hookspec
def ferbench_register_strategies() -> Iterable[Strategy]:  # type: ignore[empty-body]
    """Fine-tuning strategies."""


@hookspec
def ferbench_register_face_detectors() -> Iterable[FaceDetector]:  # type: ignore[empty-body]
    """What finds the faces that pictures are cut to where a recipe asks for it."""


@hookspec
def ferbench_register_reported_results() -> Iterable[ReportedResult]:  # type: ignore[empty-body]
    """Figures from the literature, shown apart from what was measured."""


@hookspec
def ferbench_epoch_finished(stage: Stage, epoch: EpochResult) -> None:
    """Called in the driver after each epoch of a stage. An exception here is a warning and ends nothing."""


@hookspec
def ferbench_stage_finished(stage: Stage, result: StageResult) -> None:
    """Called in the driver when a stage has been trained and its checkpoint is stored."""


@hookspec
def ferbench_run_finished(run: Run) -> None:
    """Called in the driver when a cell has finished or failed and is in the store."""
