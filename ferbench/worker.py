"""One stage from start to end: load the parent, keep or swap the head, train, save, predict."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ferbench.accelerator import with_deterministic_pooling
from ferbench.checkpoints import Checkpoints
from ferbench.components import Backbone
from ferbench.data.batches import Normalisation, TrainingBatches
from ferbench.data.order import BatchOrder
from ferbench.data.roles import LabelledImages, RoleReader
from ferbench.environment import device_kind
from ferbench.errors import DatasetError, PluginError
from ferbench.features import head_inputs
from ferbench.fingerprints import derived_seed
from ferbench.memory import is_out_of_memory, peak_memory_bytes, release_memory, reset_peak_memory
from ferbench.prediction import probabilities
from ferbench.records import EpochResult, Predictions, StageResult
from ferbench.stages import Stage
from ferbench.svm_head import fit_svm_head, put_svm_head
from ferbench.training import Keeping, Progress, Trained, train
from ferbench.weights import load_initial_weights
from ferbench.workbench import Workbench

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Samples that a trained stage predicts: of a role, or exactly the splits that the reference names."""

    reference: str
    role: Literal["select", "report", "named"]


@dataclass(frozen=True, slots=True)
class StageTask:
    """What a worker is asked for.

    trained : the stored result where only predictions are missing
    """

    stage: Stage
    label_set: str
    evaluations: tuple[Evaluation, ...]
    trained: StageResult | None = None


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

    Raises
    ------
    FerbenchError : weights, data, checkpoint or training at fault, in one line
    """
    stage = task.stage
    backbone = bench.find_backbone(stage.backbone)
    normalisation = Normalisation(backbone.mean, backbone.std)
    if task.trained is not None:
        module = built(backbone, stage, "initialisation")
        if stage.recipe.head_fit == "svm":
            put_svm_head(module, backbone.classifier)
        module.load_state_dict(bench.checkpoints.load(stage.fingerprint, task.trained.checkpoint_sha256))
        result = task.trained
        module = _on_device(module, bench)
    elif stage.recipe.head_fit == "svm":
        module = _started(task, backbone, bench, parent_result)
        result = _fitted(module, backbone, normalisation, task, bench)
    else:
        module, result = _trained_in_memory(task, backbone, bench, on_progress, on_epoch, parent_result)
    predictions = []
    for evaluation in task.evaluations:
        samples = evaluated(bench.roles, evaluation, task.label_set)
        predictions.append((evaluation, _predicted(module, samples, normalisation, stage, bench)))
    return StageOutcome(result, tuple(predictions))


def evaluated(roles: RoleReader, evaluation: Evaluation, label_set: str) -> LabelledImages:
    """The samples that an evaluation predicts."""
    read = {"select": roles.select, "report": roles.report, "named": roles.named}[evaluation.role]
    return read(evaluation.reference, label_set)


def built(backbone: Backbone, stage: Stage, purpose: str, stage_index: int = 0) -> nn.Module:
    """A module with random weights that depend on seed, purpose and stage index alone."""
    torch.manual_seed(derived_seed(stage.seed, stage_index, purpose))
    return backbone.build(len(stage.classes), stage.recipe.image_size)


def _started(task: StageTask, backbone: Backbone, bench: Workbench, parent_result: StageResult | None) -> nn.Module:
    """What the stage starts from, on the device."""
    reset_peak_memory(bench.device)
    module = _initial(backbone, task.stage, bench.checkpoints, parent_result)
    return _on_device(module, bench)


def _on_device(module: nn.Module, bench: Workbench) -> nn.Module:
    if bench.deterministic and bench.device.startswith("cuda"):
        module = with_deterministic_pooling(module)
    return module.to(bench.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _trained_in_memory(
    task: StageTask,
    backbone: Backbone,
    bench: Workbench,
    on_progress: Callable[[Progress], None],
    on_epoch: Callable[[EpochResult], None],
    parent_result: StageResult | None,
) -> tuple[nn.Module, StageResult]:
    """A trained stage; where the device's memory does not do, in smaller parts of its batches.

    It then starts again from what it started from, so that its numbers are those of that micro-batch throughout.
    """
    while True:
        module = _started(task, backbone, bench, parent_result)
        try:
            return module, _trained(module, backbone, task, bench, on_progress, on_epoch)
        except Exception as error:
            if not is_out_of_memory(error) or bench.micro_batch(task.stage) == 1:
                raise
        del module
        bench.halve_micro_batch(task.stage)
        bench.drop_placed()
        release_memory(bench.device)


def _initial(
    backbone: Backbone, stage: Stage, checkpoints: Checkpoints, parent_result: StageResult | None
) -> nn.Module:
    """A module that holds what the stage starts from."""
    module = built(backbone, stage, "initialisation")
    _check_classifier(module, backbone)
    if stage.parent is None:
        load_initial_weights(backbone, module, stage.weights)
        return module
    state = checkpoints.load(stage.parent, None if parent_result is None else parent_result.checkpoint_sha256)
    if stage.recipe.head == "new":
        fresh = built(backbone, stage, "head", stage.index).state_dict()
        state.update({name: fresh[name] for name in state if name.startswith(backbone.classifier + ".")})
    module.load_state_dict(state)
    return module


def _check_classifier(module: nn.Module, backbone: Backbone) -> None:
    try:
        module.get_submodule(backbone.classifier)
    except AttributeError:
        raise PluginError(f"backbone {backbone.name!r} names a head {backbone.classifier!r} that it lacks") from None


def _trained(
    module: nn.Module,
    backbone: Backbone,
    task: StageTask,
    bench: Workbench,
    on_progress: Callable[[Progress], None],
    on_epoch: Callable[[EpochResult], None],
) -> StageResult:
    normalisation = Normalisation(backbone.mean, backbone.std)
    stage, recipe = task.stage, task.stage.recipe
    samples = [bench.roles.train(part.dataset, task.label_set, part.fraction) for part in stage.parts]
    labels = [_labels(part) for part in samples]
    counts = np.bincount(np.concatenate(labels), minlength=len(stage.classes))
    batches = TrainingBatches(
        parts=[
            (bench.placed(part, recipe.image_size, recipe.grey), torch.from_numpy(own).to(bench.device))
            for part, own in zip(samples, labels, strict=True)
        ],
        normalisation=normalisation,
        image_size=recipe.image_size,
        augment=recipe.augment,
        order=BatchOrder([part.count for part in samples], recipe.mixing, recipe.batch_size, stage.seed, stage.index),
        seed=stage.seed,
        stage_index=stage.index,
        device=bench.device,
    )
    chooses = recipe.checkpoint == "best-on-select"
    kept = bench.partials.load(stage.fingerprint)
    micro_batch = bench.micro_batch(stage)
    if kept is not None and kept.micro_batch != micro_batch:
        # What is gone on with decides: the rest of the stage is computed as its beginning was.
        micro_batch = min(micro_batch, kept.micro_batch)
        kept = kept if kept.micro_batch == micro_batch else None
    trained = train(
        module,
        batches,
        recipe,
        classifier=backbone.classifier,
        epoch_images=sum(part.count for part in samples),
        class_counts=torch.from_numpy(counts).float(),
        seed=stage.seed,
        stage_index=stage.index,
        device=bench.device,
        select_accuracy=_select_accuracy(task, normalisation, bench) if chooses else None,
        on_progress=on_progress,
        on_epoch=on_epoch,
        micro_batch=micro_batch,
        start=None if kept is None else kept.partial,
        keeping=Keeping(
            lambda partial: bench.partials.save(stage.fingerprint, partial, micro_batch),
            bench.keep_every_seconds,
            bench.stop,
        ),
        may_compile=not bench.deterministic,
    )
    result = _result(module, stage, bench, trained, counts, trained.notes, micro_batch)
    bench.partials.remove(stage.fingerprint)
    return result


def _fitted(
    module: nn.Module, backbone: Backbone, normalisation: Normalisation, task: StageTask, bench: Workbench
) -> StageResult:
    """The head replaced by a support vector machine on the features of the frozen rest."""
    stage, recipe = task.stage, task.stage.recipe
    began = time.perf_counter()
    samples = [bench.roles.train(part.dataset, task.label_set, part.fraction) for part in stage.parts]
    labels = np.concatenate([_labels(part) for part in samples])
    features = [
        head_inputs(
            module,
            backbone.classifier,
            bench.placed(part, recipe.image_size, recipe.grey),
            normalisation,
            recipe.image_size,
            bench.device,
            recipe.precision,
        )
        for part in samples
    ]
    groups: list[str] = []
    for number, part in enumerate(samples):
        # A film of one dataset is not that of another; a sample without a film is alone.
        groups.extend(f"{number}/{each}" for each in part.groups or (f"sample {row}" for row in range(part.count)))
    head = fit_svm_head(
        np.concatenate(features),
        labels,
        tuple(groups) if any(part.groups for part in samples) else None,
        len(stage.classes),
        balanced=recipe.imbalance == "weighted",
        seed=derived_seed(stage.seed, stage.index, "svm"),
    )
    put_svm_head(module, backbone.classifier, head)
    counts = np.bincount(labels, minlength=len(stage.classes))
    trained = Trained(len(labels), time.perf_counter() - began, ())
    return _result(module, stage, bench, trained, counts, head.notes)


def _result(
    module: nn.Module,
    stage: Stage,
    bench: Workbench,
    trained: Trained,
    counts: NDArray[np.int64],
    notes: tuple[str, ...] = (),
    micro_batch: int | None = None,
) -> StageResult:
    """The checkpoint stored, and what the stage gave and cost."""
    whole = stage.recipe.batch_size
    if micro_batch is not None and micro_batch < whole:
        notes = (*notes, f"micro-batch {micro_batch} of {whole}: the device's memory holds no more")
    return StageResult(
        fingerprint=stage.fingerprint,
        images_seen=trained.images_seen,
        train_seconds=trained.train_seconds,
        images_per_second=trained.images_seen / max(trained.train_seconds, 1e-9),
        peak_memory_bytes=peak_memory_bytes(bench.device),
        history=trained.history,
        device=device_kind(bench.device),
        threads=torch.get_num_threads(),
        micro_batch=micro_batch or whole,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        checkpoint_sha256=bench.checkpoints.save(stage.fingerprint, module),
        absent_classes=tuple(name for name, count in zip(stage.classes, counts, strict=True) if count == 0),
        notes=notes,
        spent_seconds=trained.train_seconds + trained.compile_seconds,
        compile_seconds=trained.compile_seconds,
    )


def _labels(samples: LabelledImages) -> NDArray[np.int64]:
    if samples.labels is None:
        raise DatasetError(f"dataset {samples.dataset!r}: the labels of {samples.splits} are withheld")
    return samples.labels


def _select_accuracy(task: StageTask, normalisation: Normalisation, bench: Workbench) -> Callable[[nn.Module], float]:
    """Accuracy over the select samples of all datasets that the stage trains on."""
    parts = [bench.roles.select(part.dataset, task.label_set) for part in task.stage.parts]

    def accuracy(module: nn.Module) -> float:
        hits = 0
        for part in parts:
            found = _predicted(module, part, normalisation, task.stage, bench)
            hits += int((found.probabilities.argmax(axis=1) == _labels(part)).sum())
        return hits / sum(part.count for part in parts)

    return accuracy


def _predicted(
    module: nn.Module, samples: LabelledImages, normalisation: Normalisation, stage: Stage, bench: Workbench
) -> Predictions:
    recipe = stage.recipe
    images = bench.placed(samples, recipe.image_size, recipe.grey)
    rows: Tensor = probabilities(module, images, normalisation, recipe.image_size, bench.device, recipe.precision)
    return Predictions(samples.dataset, samples.splits, samples.ids, samples.labels, rows.numpy(), samples.groups)
