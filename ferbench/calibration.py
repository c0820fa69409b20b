"""Speed of a stage that was never trained here, from a few steps on random images. For estimates only."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ferbench.components import Backbone
from ferbench.features.cache import affordable
from ferbench.features.frozen_prefix import FrozenPrefix, frozen_prefix
from ferbench.memory import peak_memory_bytes, reset_peak_memory
from ferbench.placed_module import on_device
from ferbench.records import Speed, SpeedKey
from ferbench.stages import Stage
from ferbench.training import autocast, train
from ferbench.worker import built

if TYPE_CHECKING:
    from torch import Tensor, nn

#: What is measured takes about so long after its warm-up ...
_MEASURED_SECONDS = 0.5
#: ... unless that would be fewer steps, or more.
_FEWEST_STEPS, _MOST_STEPS = 2, 20
#: Of steps that take longer than this one must do; of even longer ones the warm-up, whose own cost is lost in them.
_LONG_STEP_SECONDS, _LONGEST_STEP_SECONDS = 2.0, 10.0


def measured_speed(
    stage: Stage, backbone: Backbone, device: str, key: SpeedKey, *, deterministic: bool = False
) -> Speed:
    """Speed, memory and parameters of a stage's backbone and recipe, after one step of warm-up.

    Where the stage trains on features of a frozen prefix, these and the steps behind them are measured apart. Where its
    features would be too large to be kept it will not, and the speed is that of steps through the whole network.

    Parameters
    ----------
    key : what the speed is to be found by again
    deterministic : as the stage will be trained
    """
    reset_peak_memory(device)
    module = on_device(built(backbone, stage, "initialisation"), device, deterministic=deterministic)
    recipe = stage.recipe
    images = torch.rand(recipe.batch_size, 3, recipe.image_size, recipe.image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    prefix = None
    if stage.feature_images:
        example = images if len(images) > 1 else images.repeat(2, 1, 1, 1)
        prefix = frozen_prefix(module, backbone.classifier, recipe.trainable, example)
    if prefix is None or not affordable(prefix, stage.feature_images):
        steps = _step_rate(module, backbone.classifier, recipe.trainable, images, stage, device)
        features = None
    else:
        steps = _step_rate(
            prefix.rest, prefix.classifier, "all", _features(prefix, images, stage, device), stage, device
        )
        features = _feature_rate(prefix, images, stage, device)
    return Speed(
        key,
        images_per_second=steps,
        peak_memory_bytes=peak_memory_bytes(device),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        features_per_second=features,
    )


def _step_rate(module: nn.Module, classifier: str, trainable: str, inputs: Tensor, stage: Stage, device: str) -> float:
    """Images/s of training steps."""
    batches = OneBatch(inputs, len(stage.classes))

    def seconds(steps: int) -> float:
        return train(
            module,
            batches,
            dataclasses.replace(stage.recipe, images_seen=steps * len(inputs), checkpoint="last"),
            classifier=classifier,
            epoch_images=steps * len(inputs),
            class_counts=torch.ones(len(stage.classes)),
            seed=0,
            stage_index=0,
            device=device,
            trainable=trainable,
            may_compile=False,
        ).train_seconds

    return _rate(len(inputs), seconds)


def _feature_rate(prefix: FrozenPrefix, images: Tensor, stage: Stage, device: str) -> float:
    """Images/s of computing features."""

    def seconds(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            # Looking at a value waits for the device.
            float(_features(prefix, images, stage, device).flatten()[0])
        return time.perf_counter() - began

    return _rate(len(images), seconds)


def _features(prefix: FrozenPrefix, images: Tensor, stage: Stage, device: str) -> Tensor:
    with autocast(device, stage.recipe.precision):
        return prefix.features(images).float()


def _rate(images: int, seconds: Callable[[int], float]) -> float:
    """Images/s of steps of so many images; `seconds` does a number of them and gives the time."""
    first = seconds(1)
    if first > _LONGEST_STEP_SECONDS:
        return images / first
    steps = 1
    if first <= _LONG_STEP_SECONDS:
        steps = min(_MOST_STEPS, max(_FEWEST_STEPS, math.ceil(_MEASURED_SECONDS / max(first, 1e-9))))
    return steps * images / max(seconds(steps), 1e-9)


class OneBatch:
    """One batch, again and again."""

    def __init__(self, inputs: Tensor, classes: int) -> None:
        self._inputs = inputs
        self._labels = torch.arange(len(inputs), device=inputs.device) % classes

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        return self._inputs, self._labels
