"""The training loop against a loop written by hand for the same backbone, batch, precision and augmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ferbench.catalog import Catalog
from ferbench.data.augmentation import AUGMENTATIONS, draw
from ferbench.data.batches import Normalisation, TrainingBatches, place
from ferbench.data.order import BatchOrder
from ferbench.recipes import Recipe
from ferbench.training import train

STEPS = 8
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _ours(
    module: nn.Module, recipe: Recipe, classifier: str, images: np.ndarray, labels: torch.Tensor
) -> Callable[[], object]:
    parts = [(place(images, recipe.image_size, "cpu"), labels)]

    def run() -> object:
        order = BatchOrder([len(images)], "raw", recipe.batch_size, 0, 0)
        batches = TrainingBatches(
            parts, Normalisation(MEAN, STD), recipe.image_size, recipe.augment, order, 0, 0, "cpu"
        )
        return train(
            module,
            batches,
            recipe,
            classifier=classifier,
            epoch_images=len(images),
            class_counts=torch.ones(7),
            seed=0,
            stage_index=0,
            device="cpu",
        )

    return run


def _bare(module: nn.Module, recipe: Recipe, images: np.ndarray, labels: torch.Tensor) -> Callable[[], object]:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    size = recipe.image_size

    def run() -> None:
        module.train()
        optimizer = torch.optim.SGD(
            module.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True, fused=True
        )
        order = torch.randperm(len(pixels))
        for step in range(STEPS):
            chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            values = draw(AUGMENTATIONS[recipe.augment], len(chosen), 0, 0, step)
            grid = functional.affine_grid(values.affine, [len(chosen), 1, size, size], align_corners=False)
            batch = functional.grid_sample(pixels[chosen].float(), grid, padding_mode="border", align_corners=False)
            batch = ((batch / 255).expand(-1, 3, -1, -1) - mean) / std
            loss = functional.cross_entropy(
                module(batch.contiguous(memory_format=torch.channels_last)),
                labels[chosen],
                label_smoothing=recipe.label_smoothing,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


@pytest.mark.parametrize(("name", "image_size"), [("alexnet", 64), ("tv/mobilenet_v2", 64), ("vgg11", 48)])
def test_loop_against_bare_loop(against, name: str, image_size: int) -> None:  # type: ignore[no-untyped-def]
    backbone = Catalog.load().backbone(name)
    recipe = dataclasses.replace(
        Recipe(), image_size=image_size, batch_size=32, images_seen=32 * STEPS, lr=1e-4, precision="fp32"
    )
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (32 * STEPS, 48, 48, 1), dtype=np.uint8)
    labels = torch.from_numpy(random.integers(0, 7, len(images)))
    torch.manual_seed(0)
    module = backbone.build(7, image_size).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ratio = against(
        _ours(module, recipe, backbone.classifier, images, labels),
        _bare(module, recipe, images, labels),
        what=f"training images/s, {name} at {image_size}, batch 32, fp32, against a bare loop",
    )
    assert ratio > 0
