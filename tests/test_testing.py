"""The conformance suite finds what it says that it finds."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ferbench.components import Backbone, Dataset, Samples, Strategy
from ferbench.errors import DatasetError, UsageError
from ferbench.recipes import Recipe
from ferbench.stages import StageSpec
from ferbench.testing import Nonconforming, check_backbone, check_dataset, check_strategy


def absent(*given: object) -> Any:
    raise AssertionError(given)


class Small(nn.Module):
    """The smallest network that conforms."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)).relu().mean((2, 3))

    def forward(self, images: Tensor) -> Any:
        return self.head(self.features(images))


def backbone(build: Callable[[int, int], nn.Module], classifier: str = "head") -> Backbone:
    return Backbone("small", 1, build, absent, absent, 32, 16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), classifier)


def test_a_small_backbone_conforms_and_leaves_the_generator_alone() -> None:
    state = torch.random.get_rng_state()
    check_backbone(backbone(lambda num_classes, image_size: Small(num_classes)))
    assert torch.equal(torch.random.get_rng_state(), state)


class Probabilities(Small):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images).double()


class Wrapped(Small):
    def forward(self, images: Tensor) -> Any:
        return {"logits": super().forward(images)}


class FixedHead(Small):
    def __init__(self, num_classes: int) -> None:
        super().__init__(10)


class Expanded(Small):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.scale = nn.Parameter(torch.ones(num_classes))

    def forward(self, images: Tensor) -> Any:
        return super().forward(images) * self.scale


class Branching(Small):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        if num_classes > 5:
            self.extra = nn.Linear(8, 8)


class PythonRandom(Small):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        random.random()


class NumpyRandom(Small):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        np.random.default_rng(0)
        np.random.random()


class Unseeded(Small):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        if not self.head.weight.is_meta:
            nn.init.normal_(
                self.head.weight, generator=torch.Generator().manual_seed(np.random.SeedSequence().entropy % 2**63)
            )


class Infinite(Small):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images) / 0


class AcrossTheBatch(Small):
    def features(self, images: Tensor) -> Tensor:
        found = super().features(images)
        return found - found.mean(0)


class CutOff(Small):
    def features(self, images: Tensor) -> Tensor:
        return super().features(images).detach()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Probabilities, "logits are torch.float64 [2, 7], not torch.float32 [2, 7]"),
        (Wrapped, "it gives a dict, not a tensor of logits"),
        (FixedHead, "logits are torch.float32 [2, 10]"),
        (Expanded, "scale depends on the number of classes, but is not in the classifier 'head'"),
        (Branching, "the parameters' names depend on the number of classes"),
        (PythonRandom, "build draws from Python's or numpy's generator"),
        (NumpyRandom, "build draws from Python's or numpy's generator"),
        (Unseeded, "build gives other weights for the same torch.manual_seed"),
        (Infinite, "logits are not finite"),
        (AcrossTheBatch, "an image's logits depend on what else is in the batch"),
        (CutOff, "no gradient reaches conv.weight"),
    ],
)
def test_a_backbone_that_does_not_conform(kind: type[Small], said: str) -> None:
    with pytest.raises(Nonconforming) as caught:
        check_backbone(backbone(lambda num_classes, image_size: kind(num_classes)))
    assert said in str(caught.value)
    assert all(line.startswith("small: ") for line in str(caught.value).splitlines())


@pytest.mark.parametrize(("classifier", "said"), [("fc", "names no module of it"), ("conv", "not once [2, 7, ...]")])
def test_a_classifier_that_is_none(classifier: str, said: str) -> None:
    with pytest.raises(Nonconforming) as caught:
        check_backbone(backbone(lambda num_classes, image_size: Small(num_classes), classifier), values=False)
    assert said in str(caught.value)


def test_values_are_left_out_on_request() -> None:
    check_backbone(backbone(lambda num_classes, image_size: Infinite(num_classes)), values=False)


IDS = ("one", "two", "three")
SAMPLES = Samples(np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 1, 1]), IDS, ("a", "a", "b"))


def embedded(load: Callable[[str, Path], Any]) -> Dataset:
    return Dataset(
        "made-up",
        1,
        ("happy", "sad"),
        ("all", "test"),
        {"train": "all"},
        lambda folder: Path("here"),
        load,
        embedded=True,
    )


def test_a_dataset_conforms_with_and_without_labels() -> None:
    check_dataset(embedded(lambda split, root: SAMPLES))
    check_dataset(embedded(lambda split, root: replace(SAMPLES, groups=None)))
    report = replace(embedded(lambda split, root: replace(SAMPLES, labels=None)), roles={"report": "test"})
    check_dataset(report)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": np.zeros((3, 8, 8), np.uint8)}, "images are uint8 [3, 8, 8]"),
        ({"images": np.zeros((3, 8, 8, 1), np.float32)}, "images are float32"),
        ({"images": np.zeros((3, 8, 8, 4), np.uint8)}, "images are uint8 [3, 8, 8, 4]"),
        ({"images": np.zeros((2, 8, 8, 1), np.uint8)}, "2 images for 3 ids"),
        ({"images": ["/nowhere/1.png"] * 3}, "image '/nowhere/1.png' is no file"),
        ({"labels": np.array([0, 1])}, "labels are not an array of 3"),
        ({"labels": [0, 1, 1]}, "labels are not an array of 3"),
        ({"labels": np.array([0, 1, 2])}, "labels run from 0 to 2, but there are 2 classes"),
        ({"labels": np.array([-1, 0, 1])}, "labels run from -1 to 1"),
        ({"labels": np.array([0, 1, 1], np.int32)}, "labels are int32 [3]"),
        ({"labels": np.full((3, 2), 0.5, np.float32)}, "labels are float32 [3, 2], not int64 [n]"),
        ({"labels": None}, "it plays train, but has no labels"),
        ({"ids": ("one", "two", "one")}, "id 'one' occurs twice"),
        ({"ids": (1, 2, 3)}, "ids are not a tuple of texts"),
        ({"groups": ("a", "b")}, "2 groups for 3 ids"),
        ({"warnings": ("two\nlines",)}, "a warning has more than one line"),
    ],
)
def test_samples_that_do_not_conform(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Nonconforming) as caught:
        check_dataset(embedded(lambda split, root: replace(SAMPLES, **changes)))
    assert f"made-up: split 'all': {said}" in str(caught.value)


def test_loading_must_repeat_itself() -> None:
    draw = np.random.default_rng(0)

    def load(split: str, root: Path) -> Samples:
        return replace(SAMPLES, images=draw.integers(0, 256, (3, 8, 8, 1), np.uint8))

    with pytest.raises(Nonconforming, match="loading it a second time gives something else"):
        check_dataset(embedded(load))
    check_dataset(embedded(load), load=False)


def test_a_dataset_that_refuses_its_own_copy() -> None:
    def refuse(split: str, root: Path) -> Samples:
        raise DatasetError("row 3 is torn")

    with pytest.raises(Nonconforming, match="split 'all': load refuses it: row 3 is torn"):
        check_dataset(embedded(refuse))


def test_files_are_looked_for_where_they_are(tmp_path: Path) -> None:
    def locate(folder: Path) -> Path | None:
        return folder / "faces" if (folder / "faces").is_dir() else None

    dataset = replace(embedded(lambda split, root: SAMPLES), embedded=False, locate=locate, steps="ask nicely")
    with pytest.raises(Nonconforming, match="locate finds nothing in"):
        check_dataset(dataset, tmp_path)
    (tmp_path / "faces").mkdir()
    check_dataset(dataset, tmp_path)
    check_dataset(dataset)
    with pytest.raises(Nonconforming, match="steps is empty"):
        check_dataset(replace(dataset, steps=""))
    with pytest.raises(Nonconforming, match=r"locate finds .* in an empty folder"):
        check_dataset(replace(dataset, locate=lambda folder: folder))
    with pytest.raises(Nonconforming, match="an embedded dataset is always there"):
        check_dataset(replace(dataset, embedded=True))


def test_classes_are_expressions_in_any_word() -> None:
    dataset = embedded(lambda split, root: SAMPLES)
    check_dataset(replace(dataset, classes=("Happiness", "SAD")))
    with pytest.raises(Nonconforming, match="class 'bored' is no known expression"):
        check_dataset(replace(dataset, classes=("happy", "bored")))


def strategy(stages: Callable[[str, tuple[str, ...], Recipe], Any]) -> Strategy:
    return Strategy("mine", stages)


def whole(name: str) -> tuple[StageSpec, ...]:
    return (StageSpec((name,), 1.0),)


def test_a_strategy_conforms_though_it_refuses_some_calls() -> None:
    def stages(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
        if len(auxiliaries) != 2:
            raise UsageError("mine takes two auxiliaries")
        return whole(auxiliaries[1])

    check_strategy(strategy(stages))


def refuse_all(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> Any:
    raise UsageError("never")


def refuse_silently(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> Any:
    raise UsageError("")


COUNTER = iter(range(1, 10_000))


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (lambda target, auxiliaries, recipe: (), "with 0 auxiliaries and target_share=0.1: stages() gave ()"),
        (lambda target, auxiliaries, recipe: whole(target) * 2, "the stages' shares sum to 2"),
        (lambda target, auxiliaries, recipe: whole("fer2013"), "trains on 'fer2013'"),
        (lambda target, auxiliaries, recipe: whole(auxiliaries[0]), "it fails with IndexError"),
        (lambda target, auxiliaries, recipe: whole(min(target, *auxiliaries, "b")), "trains on 'b'"),
        (lambda target, auxiliaries, recipe: whole(sorted((target, *auxiliaries), key=hash_free)[0]), "are called"),
        (lambda target, auxiliaries, recipe: (StageSpec((target,), 1 / next(COUNTER)),), "a second call gives"),
        (refuse_all, "it refuses every number of auxiliaries"),
        (refuse_silently, "it refuses without a word"),
    ],
)
def test_a_strategy_that_does_not_conform(stages: Any, said: str) -> None:
    with pytest.raises(Nonconforming) as caught:
        check_strategy(strategy(stages))
    assert said in str(caught.value)


def hash_free(name: str) -> int:
    """An order of names that upper case turns around."""
    return ord(name) if name.islower() else -ord(name)
