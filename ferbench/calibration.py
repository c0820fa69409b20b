"""Speed of a stage that was never trained here, from a few steps on random images. For estimates only."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from ferbench.components import Backbone
from ferbench.stages import Stage
from ferbench.training import train
from ferbench.worker import built

if TYPE_CHECKING:
    from torch import Tensor

_STEPS = 2


def measured_speed(stage: Stage, backbone: Backbone, device: str) -> float:
    """Training images/s of a stage's backbone and recipe, after one step of warm-up."""
    module = built(backbone, stage, "initialisation").to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch_size = stage.recipe.batch_size
    batches = _RandomBatches(batch_size, stage.recipe.image_size, len(stage.classes), device)
    seconds = 0.0
    for steps in (1, _STEPS):
        seconds = train(
            module,
            batches,
            dataclasses.replace(stage.recipe, images_seen=steps * batch_size, checkpoint="last"),
            classifier=backbone.classifier,
            epoch_images=steps * batch_size,
            class_counts=torch.ones(len(stage.classes)),
            seed=0,
            stage_index=0,
            device=device,
        ).train_seconds
    return _STEPS * batch_size / max(seconds, 1e-9)


class _RandomBatches:
    """One batch of noise, again and again."""

    def __init__(self, batch_size: int, image_size: int, classes: int, device: str) -> None:
        images = torch.rand(batch_size, 3, image_size, image_size, device=device)
        self._images = images.contiguous(memory_format=torch.channels_last)
        self._labels = torch.arange(batch_size, device=device) % classes

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        return self._images, self._labels
