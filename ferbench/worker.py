"""One stage from start to end: load the parent, keep or swap the head, train, save, predict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch

from ferbench.components import Backbone
from ferbench.data.roles import LabelledImages, RoleReader
from ferbench.environment import device_kind
from ferbench.errors import CheckpointLost, PluginError
from ferbench.fingerprints import derived_seed
from ferbench.fitting import Fitted, Fitting, counting
from ferbench.memory import is_out_of_memory, release_memory
from ferbench.placed_module import on_device
from ferbench.records import EpochResult, Predictions, StageResult
from ferbench.stages import Stage
from ferbench.svm_head import put_svm_head
from ferbench.training import Progress
from ferbench.weights import load_initial_weights
from ferbench.workbench import Workbench

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Samples that a trained stage predicts: of a role, or exactly the splits that the reference names."""

    reference: str
    role: Literal["select", "report", "named"]


@dataclass(frozen=True, slots=True)
class StageTask:
    """What a worker is asked for.

    trained : the stored result where only predictions are missing
    optional : the predictions can be done without: where the checkpoint is lost, the stage is not trained anew for them
    track : the dataset whose select samples are looked at after each epoch, which changes nothing that is trained
    """

    stage: Stage
    label_set: str
    evaluations: tuple[Evaluation, ...]
    trained: StageResult | None = None
    optional: bool = False
    track: str | None = None


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """A trained stage with what it predicted for each evaluation."""

    result: StageResult
    predictions: tuple[tuple[Evaluation, Predictions], ...]


def run_stage(
    task: StageTask,
    bench: Workbench,
    on_progress: Callable[[Progress], None],
    on_epoch: Callable[[EpochResult], None],
    parent_result: StageResult | None = None,
) -> StageOutcome:
    """Train a stage (unless it is trained already), store its checkpoint and predict what is asked for.

    A partial checkpoint stays until the driver has stored the result: `bench.partials.remove`.

    Raises
    ------
    DetectorMissing : the stage's pictures were cut to faces that another detector found than the one that is here
    FerbenchError : weights, data, checkpoint or training at fault, in one line
    """
    stage = task.stage
    bench.cuts.check(stage.recipe, stage.detector)
    backbone = bench.find_backbone(stage.backbone)
    if task.trained is not None:
        result = task.trained
        try:
            fitting = _fitting(_Start(from_checkpoint(stage, result, backbone, bench)), task, backbone, bench)
        except CheckpointLost:
            if not task.optional:
                raise
            return StageOutcome(result, ())
        _look_for_faces(task, bench, on_progress)
    elif stage.recipe.head_fit == "svm":
        _look_for_faces(task, bench, on_progress)
        fitting = _fitting(_started(task, backbone, bench, parent_result), task, backbone, bench)
        result = _result(fitting, fitting.by_svm(), stage, bench)
    else:
        _look_for_faces(task, bench, on_progress)
        fitting, fitted = _fitted_in_memory(task, backbone, bench, on_progress, on_epoch, parent_result)
        result = _result(fitting, fitted, stage, bench)
    predictions = [
        (evaluation, fitting.predicted(evaluated(bench.roles, evaluation, task.label_set)))
        for evaluation in task.evaluations
    ]
    return StageOutcome(result, tuple(predictions))


def evaluated(roles: RoleReader, evaluation: Evaluation, label_set: str) -> LabelledImages:
    """The samples that an evaluation predicts."""
    read = {"select": roles.select, "report": roles.report, "named": roles.named}[evaluation.role]
    return read(evaluation.reference, label_set)


def looked_at_each_epoch(task: StageTask) -> tuple[str, ...]:
    """Datasets whose select samples are predicted after each epoch: to choose the checkpoint, and to track it."""
    if task.stage.recipe.head_fit != "sgd":
        return ()
    chosen_on = task.stage.parts if task.stage.recipe.checkpoint == "best-on-select" else ()
    return tuple(dict.fromkeys([*(part.dataset for part in chosen_on), *([task.track] if task.track else [])]))


def _look_for_faces(task: StageTask, bench: Workbench, on_progress: Callable[[Progress], None]) -> None:
    """In all that the stage is shown, before it is trained, for that may take minutes.

    What is found is kept, so that stopping loses no training.
    """
    recipe, labels, roles = task.stage.recipe, task.label_set, bench.roles
    if recipe.faces == "none":
        return
    sets = [evaluated(roles, evaluation, labels) for evaluation in task.evaluations]
    if task.trained is None:
        sets += [roles.train(part.dataset, labels, part.fraction) for part in task.stage.parts]
        sets += [roles.select(name, labels) for name in looked_at_each_epoch(task)]
    shown = {samples.content: samples for samples in sets}
    before = 0
    tell = counting(bench, sum(samples.count for samples in shown.values()), on_progress, "faces")
    for samples in shown.values():
        bench.cuts.faces(samples, recipe, partial(tell, before))
        before += samples.count


def built(backbone: Backbone, stage: Stage, purpose: str, stage_index: int = 0) -> nn.Module:
    """A module with random weights that depend on seed, purpose and stage index alone."""
    torch.manual_seed(derived_seed(stage.seed, stage_index, purpose))
    return backbone.build(len(stage.classes), stage.recipe.image_size)


def from_checkpoint(stage: Stage, trained: StageResult, backbone: Backbone, bench: Workbench) -> nn.Module:
    """A trained stage's module on the CPU, in training mode; raises CheckpointLost."""
    module = _to_be_loaded(stage, backbone, bench)
    if stage.recipe.head_fit == "svm":
        put_svm_head(module, backbone.classifier)
    module.load_state_dict(bench.checkpoints.load(stage.fingerprint, trained.checkpoint_sha256))
    return module


def _fitting(start: _Start, task: StageTask, backbone: Backbone, bench: Workbench) -> Fitting:
    module = on_device(start.module, bench.device, deterministic=bench.deterministic)
    return Fitting(module, backbone, task.stage, task.label_set, bench, start.origin, task.track)


@dataclass(frozen=True, slots=True)
class _Start:
    """A module in the state that a stage starts from or has ended in, and what names that state."""

    module: nn.Module
    origin: str = ""


def _started(task: StageTask, backbone: Backbone, bench: Workbench, parent_result: StageResult | None) -> _Start:
    """What the stage starts from: its parent's state, or the initial weights."""
    bench.begin_stage(task.stage)
    stage = task.stage
    if stage.parent is None:
        return _initial(stage, backbone, bench)
    sha256 = None if parent_result is None else parent_result.checkpoint_sha256
    module = _to_be_loaded(stage, backbone, bench)
    _check_classifier(module, backbone)
    state = bench.checkpoints.load(stage.parent, sha256)
    if stage.recipe.head == "new":
        fresh = built(backbone, stage, "head", stage.index).state_dict()
        state.update({name: fresh[name] for name in state if name.startswith(backbone.classifier + ".")})
    module.load_state_dict(state)
    # A part that the parent left as it was is that of other seeds too, which its hash tells and a checkpoint does not.
    left = parent_result is not None and parent_result.features_per_second is not None
    return _Start(module, f"checkpoint {sha256}" if sha256 and not left else "")


def _initial(stage: Stage, backbone: Backbone, bench: Workbench) -> _Start:
    """The initial weights under a head that depends on the seed; the seed's other strategies start from the same."""
    key = (
        *(backbone.name, backbone.version, backbone.library, stage.weights.sha256, stage.weights.path),
        *(stage.seed, stage.classes, stage.recipe.image_size),
    )
    origin = f"weights {stage.weights.sha256}" + ("" if stage.weights.is_file else f" seed {stage.seed}")
    known = bench.initial_states.get(key)
    if known is not None:
        module = _to_be_loaded(stage, backbone, bench)
        module.load_state_dict(known)
        return _Start(module, origin)
    module = built(backbone, stage, "initialisation")
    _check_classifier(module, backbone)
    load_initial_weights(backbone, module, stage.weights)
    bench.initial_states.put(key, {name: value.clone() for name, value in module.state_dict().items()})
    return _Start(module, origin)


def _to_be_loaded(stage: Stage, backbone: Backbone, bench: Workbench) -> nn.Module:
    return bench.build(backbone, lambda: built(backbone, stage, "initialisation"))


def _check_classifier(module: nn.Module, backbone: Backbone) -> None:
    try:
        module.get_submodule(backbone.classifier)
    except AttributeError:
        raise PluginError(f"backbone {backbone.name!r} names a head {backbone.classifier!r} that it lacks") from None


def _fitted_in_memory(
    task: StageTask,
    backbone: Backbone,
    bench: Workbench,
    on_progress: Callable[[Progress], None],
    on_epoch: Callable[[EpochResult], None],
    parent_result: StageResult | None,
) -> tuple[Fitting, Fitted]:
    """A trained stage; where the device's memory does not do, in smaller parts of its batches.

    It then starts again from what it started from, so that its numbers are those of that micro-batch throughout. What
    other stages have left on the device goes first: a stage's numbers do not hang on what ran before it.
    """
    alone = False
    while True:
        fitting: Fitting | None = None
        micro_batch = bench.micro_batch(task.stage)
        try:
            fitting = _fitting(_started(task, backbone, bench, parent_result), task, backbone, bench)
            return fitting, fitting.by_steps(on_progress, on_epoch)
        except Exception as error:
            if not is_out_of_memory(error) or (alone and micro_batch == 1):
                raise
        # Only here, where the exception no longer holds the step's tensors, can memory be given back.
        del fitting
        if alone:
            bench.set_micro_batch(task.stage, (micro_batch + 1) // 2)
        alone = True
        bench.release_data()
        release_memory(bench.device)


def _result(fitting: Fitting, fitted: Fitted, stage: Stage, bench: Workbench) -> StageResult:
    """The checkpoint stored, and what the stage gave and cost."""
    trained, module, whole = fitted.trained, fitting.module, stage.recipe.batch_size
    notes = trained.notes
    if fitted.micro_batch < whole:
        notes = (*notes, f"micro-batch {fitted.micro_batch} of {whole}: the device's memory holds no more")
    features, images = fitted.feature_seconds, fitted.feature_images
    return StageResult(
        fingerprint=stage.fingerprint,
        images_seen=trained.images_seen,
        train_seconds=trained.train_seconds + features,
        images_per_second=trained.images_seen / max(trained.train_seconds, 1e-9),
        peak_memory_bytes=bench.peak_memory_bytes(),
        history=trained.history,
        device=device_kind(bench.device),
        threads=torch.get_num_threads(),
        micro_batch=fitted.micro_batch,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        checkpoint_sha256=bench.checkpoints.save(stage.fingerprint, module),
        absent_classes=tuple(name for name, count in zip(stage.classes, fitted.counts, strict=True) if count == 0),
        notes=notes,
        feature_seconds=features,
        features_per_second=images / max(features, 1e-9) if images else None,
        spent_seconds=trained.train_seconds + trained.compile_seconds + fitted.spent_on_features,
        compile_seconds=trained.compile_seconds,
        resumed_at=fitted.resumed_at,
        tracked=fitted.tracked,
    )
