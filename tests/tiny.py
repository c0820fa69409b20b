"""A backbone and datasets so small that a whole matrix takes seconds, and a reporter that remembers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ferbench import Backbone, Dataset, Run, Samples, Stage, StageResult, WeightsFile, hookimpl
from ferbench.catalog import Catalog
from ferbench.engine import Engine
from ferbench.matrix import Matrix, RecipeAxis
from ferbench.plugin_source import Plugin
from ferbench.store import Store
from ferbench.training import Progress

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def bars(count: int, seed: int, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright bar whose row tells the class: uint8 [n, size, size, 1] and labels int64 [n]."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    images = random.integers(0, 90, (count, size, size, 1)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label + 2] += 150
    return images, labels.astype(np.int64)


def bar_dataset(
    name: str,
    seed: int,
    *,
    classes: tuple[str, ...] = CLASSES,
    counts: tuple[int, int, int] = (56, 21, 35),
    groups: bool = False,
    roles: dict[str, str] | None = None,
    loads: list[str] | None = None,
) -> Dataset:
    """A dataset of bars; with `classes` in another order, its own labels are other numbers for the same pictures."""
    splits = ("tr", "va", "te")

    def load(split: str, root: Path) -> Samples:
        if loads is not None:
            loads.append(f"{name}/{split}")
        index = splits.index(split)
        images, labels = bars(counts[index], seed * 10 + index)
        own = np.array([classes.index(CLASSES[label]) for label in labels], dtype=np.int64)
        ids = tuple(f"{split}-{number}" for number in range(len(labels)))
        films = tuple(f"film{number // 9}" for number in range(len(labels))) if groups else None
        return Samples(images, own, ids, films)

    return Dataset(
        name=name,
        version=1,
        classes=classes,
        splits=splits,
        roles=roles or {"train": "tr", "select": "va", "report": "te"},
        locate=lambda folder: None,
        load=load,
        embedded=True,
        identity=lambda split: f"{name}/{seed}/{split}",
        recipe={"images_seen": 64, "batch_size": 8, "image_size": 12, "augment": "none", "lr": 0.05},
    )


def tiny_backbone(name: str = "tiny", weights: Callable[[str], WeightsFile | None] = lambda policy: None) -> Backbone:
    """One convolution and a head; BatchNorm and dropout are in it since both are easily got wrong."""

    def build(num_classes: int, image_size: int):  # type: ignore[no-untyped-def]
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(6),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(288, num_classes),
        )

    def load_weights(module, file: WeightsFile) -> None:  # type: ignore[no-untyped-def]
        from ferbench.state_dicts import fit, read_state_dict

        fit(module, read_state_dict(file.path), "6", name)

    return Backbone(
        name=name,
        version=1,
        build=build,
        resolve_weights=weights,
        load_weights=load_weights,
        image_size=12,
        smallest_image_size=8,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        classifier="6",
    )


def broken_backbone() -> Backbone:
    """Builds, but fails as soon as an image goes through."""

    def build(num_classes: int, image_size: int):  # type: ignore[no-untyped-def]
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(5, 5), nn.Linear(5, num_classes))

    return dataclasses.replace(tiny_backbone("broken"), build=build, classifier="2")


@dataclass
class Recorder:
    """A reporter and an observer that remember what they were told."""

    warnings: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)
    stop_after: int | None = None

    def warn(self, line: str) -> None:
        self.warnings.append(line)

    def stage_started(self, stage: Stage, number: int, total: int) -> None:
        if self.stop_after is not None and len(self.stages) >= self.stop_after:
            raise KeyboardInterrupt

    def stage_progress(self, stage: Stage, progress: Progress) -> None:
        assert 0 < progress.images_seen <= progress.images_total

    def stage_finished(self, stage: Stage, result: StageResult) -> None:
        self.stages.append(stage)

    def stage_failed(self, stage: Stage, line: str, trace: str) -> None:
        self.failures.append(line)

    def run_finished(self, run: Run) -> None:
        self.runs.append(run)


class TinyPlugin:
    """The built-in strategies come from the installed plugins; backbones and datasets from here."""

    def __init__(self, datasets: list[Dataset], backbones: list[Backbone]) -> None:
        self._datasets = datasets
        self._backbones = backbones

    @hookimpl
    def ferbench_register_datasets(self) -> list[Dataset]:
        return self._datasets

    @hookimpl
    def ferbench_register_backbones(self) -> list[Backbone]:
        return self._backbones


def tiny_catalog(*extra: Dataset | Backbone) -> Catalog:
    """Installed plugins, the datasets `big`, `other` and `small`, the backbones `tiny` and `broken`, and more."""
    catalog = Catalog.load()
    datasets = [bar_dataset("big", 1), bar_dataset("other", 3), bar_dataset("small", 2, groups=True)]
    backbones = [tiny_backbone(), broken_backbone()]
    datasets += [component for component in extra if isinstance(component, Dataset)]
    backbones += [component for component in extra if isinstance(component, Backbone)]
    catalog.add(Plugin("tiny", "tests", TinyPlugin(datasets, backbones)))
    return catalog


@dataclass
class Bench:
    """An engine over a store and folders of its own."""

    folder: Path
    store: Store
    catalog: Catalog
    reporter: Recorder
    engine: Engine

    def run(self, strategies: str, *, force: bool = False, **axes: object):  # type: ignore[no-untyped-def]
        """Run a matrix on `small` with auxiliary `big`, unless said otherwise."""
        prepared = self.engine.prepare(matrix(strategies, **axes), force=force, calibrate=False)
        return self.engine.run(prepared, force=force)


def matrix(strategies: str, **axes: object) -> Matrix:
    """A matrix of the tiny components; strategies parted by spaces."""
    values: dict[str, object] = {
        "backbones": ("tiny",),
        "strategies": tuple(strategies.split()),
        "targets": ("small",),
        "auxiliaries": (("big",),),
        "weights": ("random",),
    }
    values.update(axes)
    recipe = values.pop("recipe", {})
    assert isinstance(recipe, dict)
    values["axes"] = tuple(RecipeAxis(key, (value,)) for key, value in recipe.items())
    return Matrix(**values)  # type: ignore[arg-type]
