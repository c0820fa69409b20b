"""Steps on features, against steps through the whole module."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import bars
from tiny_prefix import ABOUT, IMAGENET, placed, prefix_of, tiny_module
from torch import nn

from ferbench.catalog import Catalog
from ferbench.data.batches import TrainingBatches
from ferbench.data.order import BatchOrder
from ferbench.data.placement import place
from ferbench.features.batches import FeatureBatches
from ferbench.features.cache import FeatureCache
from ferbench.features.frozen_prefix import FrozenPrefix, frozen_prefix
from ferbench.recipes import Recipe
from ferbench.training import train


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path)


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
