"""Features kept on disk and trained on, against the whole module and against training that keeps nothing."""

from __future__ import annotations

import copy
import dataclasses
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import bars, tiny_backbone
from torch import Tensor, nn

from ferbench import features as features_module
from ferbench.catalog import Catalog
from ferbench.data.batches import Normalisation, PlacedImages, TrainingBatches, place
from ferbench.data.order import BatchOrder
from ferbench.errors import RecipeError, TrainingError
from ferbench.features import (
    FeatureBatches,
    FeatureCache,
    FeatureInput,
    Features,
    affordable,
    feature_probabilities,
    head_inputs,
    svm_inputs,
)
from ferbench.frozen_prefix import FrozenPrefix, frozen_prefix
from ferbench.prediction import probabilities
from ferbench.recipes import Recipe
from ferbench.training import train

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ABOUT = FeatureInput("tiny 1 tests", "a" * 64, IMAGENET, 12, False, "fp32", "cpu")


class Counting:
    """A prefix that counts the batches it is asked for."""

    def __init__(self, prefix: FrozenPrefix) -> None:
        self._prefix = prefix
        self.batches = 0

    @property
    def state_sha256(self) -> str:
        return self._prefix.state_sha256

    def features(self, images: Tensor) -> Tensor:
        self.batches += 1
        return self._prefix.features(images)


def tiny_module(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    module = tiny_backbone().build(7, 12).to(memory_format=torch.channels_last)
    with torch.no_grad():
        module[1].running_mean.uniform_(-0.5, 0.5)
        module[1].running_var.uniform_(0.5, 2.0)
    return module


def prefix_of(module: nn.Module, trainable: str = "head", classifier: str = "6", size: int = 12) -> FrozenPrefix:
    prefix = frozen_prefix(module, classifier, trainable, torch.randn(2, 3, size, size))
    assert prefix is not None
    return prefix


def placed(count: int, seed: int = 0, size: int = 12, image_size: int = 12) -> tuple[PlacedImages, Tensor]:
    images, labels = bars(count, seed, size)
    return place(images, image_size, "cpu"), torch.from_numpy(labels)


def never() -> PlacedImages:
    raise AssertionError("the images are not needed")


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path)


def files(cache: FeatureCache) -> list[str]:
    return sorted(path.suffix for path in cache.folder.iterdir())


def test_features_are_the_prefix_on_what_evaluation_shows(cache: FeatureCache) -> None:
    module = tiny_module()
    images, _ = placed(300)
    found = cache.of(prefix_of(module, "3"), ABOUT, lambda: images)
    module.eval()
    inputs = (images.pixels(torch.arange(300)).float() / 255 - torch.tensor(IMAGENET.mean).view(1, 3, 1, 1)) / (
        torch.tensor(IMAGENET.std).view(1, 3, 1, 1)
    )
    with torch.no_grad():
        expected = module[:3](inputs)
    torch.testing.assert_close(found.rows(torch.arange(300)), expected)
    assert found.rows(slice(5, 9)).is_contiguous(memory_format=torch.channels_last)
    assert (found.count, found.images) == (300, 300)
    assert found.seconds == found.spent_seconds > 0
    assert files(cache) == [".json", ".npy"]


def test_computed_once_for_all_processes_and_seeds(cache: FeatureCache, tmp_path: Path) -> None:
    images, _ = placed(20)
    source = Counting(prefix_of(tiny_module()))
    first = cache.of(source, ABOUT, lambda: images, views=2)
    assert (source.batches, first.images, files(cache)) == (2, 40, [".json"] * 2 + [".npy"] * 2)
    again = cache.of(source, ABOUT, never, views=2)
    # Another process has nothing but the files, and another seed's head is another head on the same features.
    module = tiny_module()
    nn.init.normal_(module[6].weight)
    other = Counting(prefix_of(module))
    elsewhere = FeatureCache(tmp_path).of(other, ABOUT, never, views=2)
    assert (source.batches, other.batches) == (2, 0)
    for found in (again, elsewhere):
        assert (found.seconds, found.spent_seconds) == (first.seconds, 0.0)
        assert all(torch.equal(*pair) for pair in zip(found.values, first.values, strict=True))
    # One view of them is what a stage without flips needs, and every evaluation.
    assert FeatureCache(tmp_path).of(other, ABOUT, never).images == 20


def test_a_whole_other_process_finds_them(cache: FeatureCache, tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import torch
from ferbench.features import FeatureCache
from test_features import ABOUT, placed, prefix_of, tiny_module
torch.set_num_threads({torch.get_num_threads()})
images, _ = placed(400)
print("ready", flush=True)
sys.stdin.readline()
found = FeatureCache(Path(sys.argv[1])).of(prefix_of(tiny_module()), ABOUT, lambda: images, views=2)
print(found.values[0].double().sum().item(), found.spent_seconds > 0)
"""
    # Both begin at the same moment, and compute the same.
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    answers = [each.communicate("go\n")[0].split() for each in running]
    assert all(each.returncode == 0 for each in running)
    found = cache.of(prefix_of(tiny_module()), ABOUT, never, views=2)
    assert {float(total) for total, _ in answers} == {found.values[0].double().sum().item()}
    # No temporary file is left.
    assert files(cache) == [".json", ".json", ".npy", ".npy"]


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "tiny 2 tests"},
        {"content": "b" * 64},
        {"normalisation": Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))},
        {"image_size": 13},
        {"grey": True},
        {"precision": "bf16"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_they_depend_on_makes_others(cache: FeatureCache, change: dict[str, object]) -> None:
    images, _ = placed(10)
    source = Counting(prefix_of(tiny_module()))
    cache.of(source, ABOUT, lambda: images)
    changed = dataclasses.replace(ABOUT, **change)  # type: ignore[arg-type]
    if "image_size" not in change:
        cache.of(source, changed, lambda: images)
        assert source.batches == 2
    else:
        with pytest.raises(AssertionError, match="not needed"):
            cache.of(source, changed, never)


def test_another_frozen_state_makes_others(cache: FeatureCache) -> None:
    images, _ = placed(10)
    first = cache.of(prefix_of(tiny_module()), ABOUT, lambda: images)
    second = cache.of(prefix_of(tiny_module(seed=1)), ABOUT, lambda: images)
    assert second.spent_seconds > 0
    assert not torch.equal(first.values[0], second.values[0])


def cut_short(values: Path, table: Path) -> None:
    values.write_bytes(values.read_bytes()[:-100])


def emptied(values: Path, table: Path) -> None:
    values.write_bytes(b"")


def gone(values: Path, table: Path) -> None:
    values.unlink()


def without_table(values: Path, table: Path) -> None:
    table.unlink()


def half_a_table(values: Path, table: Path) -> None:
    table.write_text(table.read_text()[:20])


def no_table(values: Path, table: Path) -> None:
    table.write_text("[1, 2]")


def of_other_images(values: Path, table: Path) -> None:
    np.save(values, np.zeros((3, 288), np.float32))
    table.write_text(json.dumps(json.loads(table.read_text()) | {"bytes": values.stat().st_size}))


def of_another_type(values: Path, table: Path) -> None:
    np.save(values, np.load(values).astype(np.float64))
    table.write_text(json.dumps(json.loads(table.read_text()) | {"bytes": values.stat().st_size}))


def pickled(values: Path, table: Path) -> None:
    np.save(values, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "damage",
    [cut_short, emptied, gone, without_table, half_a_table, no_table, of_other_images, of_another_type, pickled],
)
def test_damaged_files_are_computed_again(
    cache: FeatureCache, tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    images, _ = placed(10)
    source = Counting(prefix_of(tiny_module()))
    whole = cache.of(source, ABOUT, lambda: images).values[0].clone()
    (values,), (table,) = cache.folder.glob("*.npy"), cache.folder.glob("*.json")
    damage(values, table)
    for computed in (2, 2):
        assert torch.equal(FeatureCache(tmp_path).of(source, ABOUT, lambda: images).values[0], whole)
        assert source.batches == computed


def test_use_sets_the_modification_time(cache: FeatureCache, tmp_path: Path) -> None:
    images, _ = placed(10)
    source = prefix_of(tiny_module())
    for used in (cache, cache, FeatureCache(tmp_path)):
        used.of(source, ABOUT, lambda: images)
        for path in cache.folder.iterdir():
            assert path.stat().st_mtime > 1e9
            os.utime(path, (0, 0))


def test_what_the_table_says_is_true(cache: FeatureCache) -> None:
    import hashlib

    images, _ = placed(10)
    found = cache.of(prefix_of(tiny_module()), ABOUT, lambda: images)
    (values,), (table,) = cache.folder.glob("*.npy"), cache.folder.glob("*.json")
    content = values.read_bytes()
    assert json.loads(table.read_text()) == {
        "images": 10,
        "shape": [10, 288],
        "seconds": found.seconds,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_a_full_disk_is_no_failure(
    cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """The header and two of four batches fit, and a piece of the third one."""
    images, _ = placed(1000)
    source = Counting(prefix_of(tiny_module(), "3"))
    whole = FeatureCache(tmp_path / "large").of(source, ABOUT, lambda: images)
    put, calls = features_module._Writer._put, []

    def refuse(writer: features_module._Writer, content: bytes) -> None:
        calls.append(len(content))
        if len(calls) > written:
            put(writer, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "no space left on device")
        put(writer, content)

    monkeypatch.setattr(features_module._Writer, "_put", refuse)
    found = cache.of(source, ABOUT, lambda: images)
    assert torch.equal(found.values[0], whole.values[0])
    assert len(calls) == written + 1
    assert list(cache.folder.iterdir()) == []
    # They stay in memory.
    assert cache.of(source, ABOUT, never).spent_seconds == 0
    cache.release()
    with pytest.raises(AssertionError, match="not needed"):
        cache.of(source, ABOUT, never)


def test_a_folder_that_cannot_be_made_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file")
    images, _ = placed(10)
    found = FeatureCache(tmp_path).of(prefix_of(tiny_module()), ABOUT, lambda: images)
    assert found.values[0].shape == (10, 288)


def test_what_is_in_memory_alone_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "features").write_text("a file")
    monkeypatch.setattr(features_module, "_KEPT_IN_MEMORY", 2 * 10 * 288 * 4)
    cache = FeatureCache(tmp_path)
    images, _ = placed(10)
    source = Counting(prefix_of(tiny_module()))
    about = [dataclasses.replace(ABOUT, content=letter * 64) for letter in "abc"]
    for each in (about[0], about[1], about[0], about[2]):
        cache.of(source, each, lambda: images)
    assert source.batches == 3
    cache.of(source, about[0], never)
    with pytest.raises(AssertionError, match="not needed"):
        cache.of(source, about[1], never)


def test_numbers_that_are_none_are_an_error(cache: FeatureCache) -> None:
    module = tiny_module()
    source = prefix_of(module)
    with torch.no_grad():
        module[0].weight.fill_(float("nan"))
    images, _ = placed(10)
    with pytest.raises(TrainingError, match="answers with NaN"):
        cache.of(source, ABOUT, lambda: images)
    assert not cache.folder.exists()


class Cramped(Counting):
    """Has room for a few images at once."""

    def features(self, images: Tensor) -> Tensor:
        if len(images) > 70:
            raise MemoryError
        return super().features(images)


def test_without_room_for_as_many_images_fewer_are_taken_at_once(cache: FeatureCache, tmp_path: Path) -> None:
    images, _ = placed(200)
    prefix = prefix_of(tiny_module())
    cramped = Cramped(prefix)
    found = FeatureCache(tmp_path / "cramped").of(cramped, ABOUT, lambda: images)
    assert cramped.batches == 4
    torch.testing.assert_close(found.values[0], cache.of(prefix, ABOUT, lambda: images).values[0])


def test_progress_is_told(cache: FeatureCache) -> None:
    images, _ = placed(300)
    told: list[tuple[int, int]] = []
    cache.of(prefix_of(tiny_module()), ABOUT, lambda: images, 2, lambda done, total: told.append((done, total)))
    assert told == [(256, 600), (300, 600), (556, 600), (600, 600)]


class Both:
    """The same steps as network input and as features."""

    def __init__(
        self,
        cache: FeatureCache,
        prefix: FrozenPrefix,
        augment: str,
        mixing: str,
        sizes: tuple[int, ...],
        size: int,
        batch_size: int = 16,
    ) -> None:
        parts = [placed(40 + 9 * number, number, own, size) for number, own in enumerate(sizes)]
        order = BatchOrder([images.count for images, _ in parts], mixing, batch_size, seed=3, stage_index=1)
        self.images = TrainingBatches(parts, IMAGENET, size, augment, order, 3, 1, "cpu")
        about = [dataclasses.replace(ABOUT, content=f"{number:064}", image_size=size) for number in range(len(sizes))]
        views = 1 if augment == "none" else 2
        features = [
            cache.of(prefix, each, lambda images=images: images, views)  # type: ignore[misc]
            for each, (images, _) in zip(about, parts, strict=True)
        ]
        labelled = [(each, labels) for each, (_, labels) in zip(features, parts, strict=True)]
        self.features = FeatureBatches(labelled, order, augment, 3, 1, "cpu")


@pytest.mark.parametrize("trainable", ["head", "3"])
@pytest.mark.parametrize("augment", ["none", "flip"])
@pytest.mark.parametrize(("mixing", "sizes"), [("raw", (12,)), ("raw", (9, 30)), ("balanced", (12, 9))])
def test_a_step_gets_what_the_prefix_says_of_its_images(
    cache: FeatureCache, trainable: str, augment: str, mixing: str, sizes: tuple[int, ...]
) -> None:
    """Smaller images are enlarged, larger ones reduced; a mirrored one is what sampling it by its map gives."""
    prefix = prefix_of(tiny_module(), trainable)
    both = Both(cache, prefix, augment, mixing, sizes, 12)
    for step in (0, 1, 2, 7, 3):
        inputs, labels = both.images.batch(step)
        rows, own = both.features.batch(step)
        assert torch.equal(own, labels)
        torch.testing.assert_close(rows, prefix.features(inputs), rtol=1e-4, atol=1e-4)
        if rows.ndim == 4:
            assert rows.is_contiguous(memory_format=torch.channels_last)


RECIPE = Recipe(
    images_seen=160, batch_size=16, lr=0.05, momentum=0.9, weight_decay=5e-4, precision="fp32", image_size=12
)


def trained_both_ways(
    module: nn.Module, classifier: str, recipe: Recipe, cache: FeatureCache
) -> tuple[nn.Module, nn.Module]:
    """The module trained through all of it, and on features."""
    whole = copy.deepcopy(module)
    prefix = prefix_of(module, recipe.trainable, classifier, recipe.image_size)
    both = Both(cache, prefix, recipe.augment, recipe.mixing, (12, 9), recipe.image_size, recipe.batch_size)
    counts = torch.ones(7)
    common = {"epoch_images": 89, "class_counts": counts, "seed": 3, "stage_index": 1, "device": "cpu"}
    train(whole, both.images, recipe, classifier=classifier, **common)  # type: ignore[arg-type]
    train(
        prefix.rest,
        both.features,
        recipe,
        classifier=prefix.classifier,
        trainable="all",
        **common,  # type: ignore[arg-type]
    )
    return whole, module


@pytest.mark.parametrize("augment", ["none", "flip"])
@pytest.mark.parametrize(("trainable", "optimizer"), [("head", "sgd"), ("head", "adamw"), ("5", "sgd"), ("1", "sgd")])
def test_training_on_features_is_training_through_the_prefix(
    cache: FeatureCache, augment: str, trainable: str, optimizer: str
) -> None:
    recipe = dataclasses.replace(
        RECIPE, augment=augment, trainable=trainable, optimizer=optimizer, lr=0.05 if optimizer == "sgd" else 0.005
    )
    start = tiny_module()
    whole, on_features = trained_both_ways(copy.deepcopy(start), "6", recipe, cache)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(on_features.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert not torch.allclose(start[6].weight, on_features[6].weight)


@pytest.mark.parametrize(
    ("name", "trainable", "augment", "live"),
    [
        ("timm/resnet10t", "head", "flip", ("fc",)),
        ("timm/resnet10t", "layer4", "none", ("layer4", "fc")),
    ],
)
def test_training_a_real_backbone_on_features(
    cache: FeatureCache, name: str, trainable: str, augment: str, live: tuple[str, ...]
) -> None:
    backbone = Catalog.load().backbone(name)
    torch.manual_seed(0)
    module = backbone.build(7, 64).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = dataclasses.replace(
        RECIPE, image_size=64, trainable=trainable, augment=augment, lr=0.01, batch_size=4, images_seen=40
    )
    start = {key: value.clone() for key, value in module.state_dict().items()}
    whole, on_features = trained_both_ways(module, backbone.classifier, recipe, cache)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(on_features.state_dict()[key], value, rtol=1e-4, atol=1e-5, msg=key)
        assert torch.equal(value, start[key]) == (not key.startswith(live)), key


@pytest.mark.parametrize(
    ("trainable", "precision", "tolerance"), [("head", "fp32", 1e-6), ("3", "fp32", 1e-6), ("head", "bf16", 0.02)]
)
def test_probabilities_are_those_of_the_whole(
    cache: FeatureCache, trainable: str, precision: str, tolerance: float
) -> None:
    module = tiny_module()
    prefix = prefix_of(module, trainable)
    images, _ = placed(300)
    features = cache.of(prefix, dataclasses.replace(ABOUT, precision=precision), lambda: images)
    kept = features.values[0].clone()
    found = feature_probabilities(prefix.rest, features, "cpu", precision)
    expected = probabilities(module, images, IMAGENET, 12, "cpu", precision)
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    # What is behind the cut may write where it reads, and must not have reached the features.
    assert torch.equal(features.values[0], kept)


def test_a_rest_that_writes_into_its_input_leaves_the_features_alone() -> None:
    values = torch.randn(300, 5)
    features = Features((values.clone(),), 1.0, 0.0)
    rest = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 7))
    feature_probabilities(rest, features, "cpu")
    assert torch.equal(features.values[0], values)


def test_a_head_that_says_nan_is_an_error() -> None:
    rest = nn.Linear(5, 7)
    nn.init.constant_(rest.weight, float("nan"))
    with pytest.raises(TrainingError, match="answers with NaN"):
        feature_probabilities(rest, Features((torch.randn(3, 5),), 1.0, 0.0), "cpu")


def test_the_svm_gets_the_heads_inputs_from_the_same_files(cache: FeatureCache) -> None:
    module = tiny_module()
    images, _ = placed(300)
    expected = head_inputs(module, "6", images, IMAGENET, 12, "cpu")
    first = cache.of(prefix_of(module), ABOUT, lambda: images)
    values, features = svm_inputs(cache, module, "6", ABOUT, never)
    assert values.dtype == np.float32
    assert np.array_equal(values, expected)
    assert (features.seconds, features.spent_seconds) == (first.seconds, 0.0)


class Maps(nn.Module):
    """Its head gets a vector a place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)
        self.head = nn.Linear(5, 7)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.stem(images).permute(0, 2, 3, 1)).mean((1, 2))
        return out


class Twice(Maps):
    def forward(self, images: Tensor) -> Tensor:
        pooled = self.stem(images).mean((2, 3))
        out: Tensor = self.head(pooled) + self.head(-pooled)
        return out


@pytest.mark.parametrize(
    ("module", "classifier", "kind"),
    [(Maps(), "head", "Linear"), (Twice(), "head", "Linear"), (Maps(), "stem", "Conv2d")],
)
def test_an_svm_needs_one_linear_layer_on_one_vector(
    cache: FeatureCache, module: nn.Module, classifier: str, kind: str
) -> None:
    images, _ = placed(10)
    says = f"one linear layer on one vector an image, and {classifier} is a {kind}: take head_fit=sgd"
    with pytest.raises(RecipeError, match=says):
        svm_inputs(cache, module, classifier, ABOUT, lambda: images)
    with pytest.raises(RecipeError, match=says):
        head_inputs(module, classifier, images, IMAGENET, 12, "cpu")


def test_sets_that_would_fill_a_disk_are_not_made() -> None:
    prefix = prefix_of(tiny_module())
    assert prefix.bytes_an_image == 288 * 4
    most = features_module.LARGEST_BYTES // prefix.bytes_an_image
    assert affordable(prefix, most)
    assert not affordable(prefix, most + 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("device_bytes", [None, 0])
def test_on_a_gpu_features_lie_there_or_on_disk(tmp_path: Path, device_bytes: int | None) -> None:
    module = tiny_module().to("cuda")
    prefix = frozen_prefix(module, "6", "3", torch.randn(2, 3, 12, 12, device="cuda"))
    assert prefix is not None
    images, labels = bars(60, 0)
    there = place(images, 12, "cuda")
    cache = FeatureCache(tmp_path, device_bytes)
    about = dataclasses.replace(ABOUT, device="cuda")
    features = cache.of(prefix, about, lambda: there, views=2)
    assert features.values[0].device.type == ("cpu" if device_bytes == 0 else "cuda")
    order = BatchOrder([60], "raw", 16, seed=0, stage_index=0)
    own = torch.from_numpy(labels).to("cuda")
    inputs = TrainingBatches([(there, own)], IMAGENET, 12, "flip", order, 0, 0, "cuda")
    batches = FeatureBatches([(features, own)], order, "flip", 0, 0, "cuda")
    for step in range(4):
        rows, found = batches.batch(step)
        pixels, expected = inputs.batch(step)
        assert torch.equal(found, expected)
        torch.testing.assert_close(rows, prefix.features(pixels), rtol=1e-3, atol=1e-3)
