"""What a stage's module is shown: features where there is room for them, the images themselves where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CLASSES, bar_dataset, tiny_backbone

from ferbench.data.roles import RoleReader
from ferbench.features import cache as feature_cache
from ferbench.features.cache import FeatureCache, FeatureInput, Features
from ferbench.features.frozen_prefix import FeatureSource
from ferbench.fitting import Fitting
from ferbench.recipes import Recipe
from ferbench.stages import RANDOM_WEIGHTS, Stage, TrainingPart
from ferbench.workbench import Workbench

RECIPE = Recipe(
    images_seen=56, batch_size=8, image_size=12, augment="none", lr=0.05, precision="fp32", trainable="head"
)
STAGE = Stage(
    fingerprint="a" * 64,
    index=0,
    backbone="tiny",
    weights=RANDOM_WEIGHTS,
    parts=(TrainingPart("few", "tr", "", 28),),
    classes=CLASSES,
    recipe=RECIPE,
    seed=0,
    parent=None,
)

#: Of an image, in front of the tiny backbone's head.
FEATURE_BYTES = 288 * 4


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    datasets = {"few": bar_dataset("few", 1, counts=(28, 21, 35))}
    roles = RoleReader(datasets.__getitem__, tmp_path / "data", tmp_path / "cache")
    return Workbench({"tiny": tiny_backbone()}.__getitem__, roles, tmp_path / "cache", "cpu")


@pytest.fixture
def fitting(bench: Workbench) -> Callable[[], Fitting]:
    def fresh() -> Fitting:
        torch.manual_seed(0)
        backbone = bench.find_backbone("tiny")
        module = backbone.build(7, 12).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Fitting(module, backbone, STAGE, "basic7", bench)

    return fresh


def feature_sets(bench: Workbench) -> int:
    return len(list(bench.features.folder.glob("*.npy")))


def test_what_is_predicted_is_shown_whole_where_its_features_would_fill_a_disk(
    bench: Workbench, fitting: Callable[[], Fitting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "LARGEST_BYTES", 28 * FEATURE_BYTES)
    bounded = fitting()
    trained = bounded.by_steps(lambda progress: None, lambda epoch: None)
    report = bench.roles.report("few", "basic7")
    assert trained.feature_images == 28 and report.count == 35
    without = bounded.predicted(report).probabilities
    assert feature_sets(bench) == 1
    monkeypatch.undo()
    np.testing.assert_allclose(bounded.predicted(report).probabilities, without, rtol=1e-5, atol=1e-6)
    assert feature_sets(bench) == 2


def test_where_features_are_on_disk_no_image_set_is_placed(
    bench: Workbench, fitting: Callable[[], Fitting], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fitting()
    first.by_steps(lambda progress: None, lambda epoch: None)
    bench.release_data()

    def refuse(*given: object) -> None:
        raise AssertionError("no set of images is needed")

    monkeypatch.setattr(Workbench, "placed", refuse)
    again = fitting()
    assert again.by_steps(lambda progress: None, lambda epoch: None).spent_on_features == 0
    for name, value in first.module.state_dict().items():
        assert torch.equal(again.module.state_dict()[name], value), name


def test_features_of_a_deterministic_run_are_asked_for_as_such(
    bench: Workbench, fitting: Callable[[], Fitting], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    of = FeatureCache.of

    def noted(cache: FeatureCache, source: FeatureSource, about: FeatureInput, *given: Any) -> Features:
        asked.append(about.deterministic)
        return of(cache, source, about, *given)

    monkeypatch.setattr(FeatureCache, "of", noted)
    for bench.deterministic in (False, True):
        fitting().by_steps(lambda progress: None, lambda epoch: None)
    assert asked == [False, True]
