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
from ferbench.costs import speed_key
from ferbench.features import cache as feature_cache
from ferbench.recipes import Recipe
from ferbench.records import Speed
from ferbench.stages import RANDOM_WEIGHTS, Stage, TrainingPart

RECIPE = Recipe(batch_size=4, image_size=12, precision="fp32", images_seen=10**9, checkpoint="best-on-select")
STAGE = Stage("", 2, "tiny", RANDOM_WEIGHTS, (TrainingPart("small", "tr", "c", 50),), CLASSES, RECIPE, 5, "parent")
KEY = speed_key(STAGE, "cpu", 1)


class Clock:
    """What perf_counter says: time goes by in forward passes alone, so that no other process has a part in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.passes: list[tuple[int, ...]] = []

    def slow(self, seconds: float, first: float) -> Backbone:
        """A backbone whose forward passes take so long, the first one as long as that."""

        clock = self

        class Slow(nn.Module):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                clock.now += seconds if clock.passes else first
                clock.passes.append(tuple(images.shape))
                return images

        def build(num_classes: int, image_size: int) -> nn.Module:
            return nn.Sequential(Slow(), nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))

        return dataclasses.replace(tiny_backbone(), build=build, classifier="2")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: made.now)
    return made


def of(stage: Stage, backbone: Backbone) -> Speed:
    return measured_speed(stage, backbone, "cpu", speed_key(stage, "cpu", 1))


def test_the_speed_is_that_of_steps_after_the_first(clock: Clock) -> None:
    speed = of(STAGE, clock.slow(0.05, first=0.5))
    assert speed.images_per_second == pytest.approx(4 / 0.05)
    assert clock.passes == [(4, 3, 12, 12)] * 3
    assert speed.key == KEY and speed.features_per_second is None


QUICK_TO_SLOW = [(0.0001, 20), (0.05, 10), (0.4, 2), (1.9, 2), (2.1, 1), (5.0, 1), (11.0, 0)]


@pytest.mark.parametrize(("seconds", "steps"), QUICK_TO_SLOW)
def test_quick_steps_are_measured_more_often_and_slow_ones_once(clock: Clock, seconds: float, steps: int) -> None:
    speed = of(STAGE, clock.slow(seconds, first=seconds))
    assert len(clock.passes) == 1 + steps
    assert speed.images_per_second == pytest.approx(4 / seconds)


def test_memory_and_parameters_come_along() -> None:
    speed = of(STAGE, tiny_backbone())
    # Convolution 3·8·9 + 8, normalisation 8 + 8, head 288·7 + 7.
    assert speed.parameters == 224 + 16 + 2023
    assert speed.peak_memory_bytes is not None and 10**7 < speed.peak_memory_bytes < 10**11


def test_a_frozen_part_and_the_steps_behind_it_are_measured_apart(clock: Clock) -> None:
    probe = dataclasses.replace(STAGE, recipe=dataclasses.replace(RECIPE, trainable="head", augment="none"))
    speed = of(probe, clock.slow(0.05, first=0.5))
    assert speed.key.trainable == "head on features"
    assert speed.features_per_second == pytest.approx(4 / 0.05)
    # The steps behind it take no time that this clock could tell.
    assert speed.images_per_second > 10**6


def test_features_that_are_too_large_are_not_computed(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = dataclasses.replace(STAGE, recipe=dataclasses.replace(RECIPE, trainable="head", augment="none"))
    # 50 images of 3 x 12 x 12 floats.
    monkeypatch.setattr(feature_cache, "LARGEST_BYTES", 50 * 4 * 432)
    assert of(probe, clock.slow(0.05, first=0.5)).features_per_second is not None
    monkeypatch.setattr(feature_cache, "LARGEST_BYTES", 50 * 4 * 432 - 1)
    speed = of(probe, clock.slow(0.05, first=0.05))
    assert speed.features_per_second is None and speed.images_per_second == pytest.approx(4 / 0.05)


def test_augmented_without_end_there_is_nothing_to_be_computed_once(clock: Clock) -> None:
    recipe = dataclasses.replace(RECIPE, trainable="head", augment="standard")
    speed = of(dataclasses.replace(STAGE, recipe=recipe), clock.slow(0.05, first=0.5))
    assert speed.key.trainable == "head" and speed.features_per_second is None
    assert speed.images_per_second == pytest.approx(4 / 0.05)


@pytest.mark.parametrize(
    "recipe",
    [
        *({"trainable": "head"}, {"optimizer": "adamw"}, {"imbalance": "weighted"}, {"trainable": "3"}),
        *({"trainable": "3", "augment": "flip"}, {"trainable": "head", "augment": "none", "batch_size": 1}),
    ],
)
def test_every_kind_of_stage_can_be_measured(recipe: dict[str, str]) -> None:
    stage = dataclasses.replace(STAGE, recipe=dataclasses.replace(RECIPE, **recipe))  # type: ignore[arg-type]
    speed = of(stage, tiny_backbone())
    assert speed.images_per_second > 0
    assert (speed.features_per_second is not None) == bool(stage.feature_images)


def test_a_backbone_that_fails_says_so() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        of(STAGE, broken_backbone())
