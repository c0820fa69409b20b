"""The speed that estimates rest on."""

from __future__ import annotations

import dataclasses
import time

import pytest
import torch
from tiny import CLASSES, broken_backbone, tiny_backbone
from torch import nn

from ferbench.calibration import measured_speed
from ferbench.components import Backbone
from ferbench.recipes import Recipe
from ferbench.stages import RANDOM_WEIGHTS, Stage

RECIPE = Recipe(batch_size=4, image_size=12, precision="fp32", images_seen=10**9, checkpoint="best-on-select")
STAGE = Stage("", 2, "tiny", RANDOM_WEIGHTS, (), CLASSES, RECIPE, 5, "parent")


def sleepy(seconds: float, seen: list[tuple[int, ...]]) -> Backbone:
    """Every forward pass takes a known time, the first one ten times as long."""

    class Sleepy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            time.sleep(seconds * (10 if not seen else 1))
            seen.append(tuple(images.shape))
            return images

    def build(num_classes: int, image_size: int) -> nn.Module:
        return nn.Sequential(Sleepy(), nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))

    return dataclasses.replace(tiny_backbone(), build=build, classifier="2")


def test_the_speed_is_that_of_steps_after_the_first() -> None:
    seen: list[tuple[int, ...]] = []
    speed = measured_speed(STAGE, sleepy(0.05, seen), "cpu")
    # 4 images in 50 ms are 80 a second; the rest of a step takes next to nothing.
    assert 40 < speed <= 80
    assert seen == [(4, 3, 12, 12)] * 3


@pytest.mark.parametrize("recipe", [{"trainable": "head"}, {"optimizer": "adamw"}, {"imbalance": "weighted"}])
def test_every_kind_of_stage_can_be_measured(recipe: dict[str, str]) -> None:
    stage = dataclasses.replace(STAGE, recipe=dataclasses.replace(RECIPE, **recipe))  # type: ignore[arg-type]
    assert measured_speed(stage, tiny_backbone(), "cpu") > 0


def test_a_backbone_that_fails_says_so() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measured_speed(STAGE, broken_backbone(), "cpu")
