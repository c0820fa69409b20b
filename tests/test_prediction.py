"""Probabilities of every image, in order, from a module in evaluation mode or from features and what is behind them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_backbone
from tiny_prefix import ABOUT, IMAGENET, placed, prefix_of, tiny_module
from torch import nn
from torch.nn import functional

from ferbench.data.batches import Normalisation
from ferbench.data.placement import place
from ferbench.errors import TrainingError
from ferbench.features.cache import FeatureCache, Features
from ferbench.prediction import feature_probabilities, probabilities

NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.25, 0.2, 0.1))


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 12, 12, 3)).astype(np.uint8)


@pytest.mark.parametrize("count", [1, 256, 300])
def test_every_image_is_predicted_as_it_is_by_itself(count: int) -> None:
    torch.manual_seed(0)
    module = tiny_backbone().build(7, 12).train()
    pictures = images(count)
    found = probabilities(module, place(pictures, 12, "cpu"), NORMALISATION, 12, "cpu")
    assert found.shape == (count, 7) and found.dtype == torch.float32 and not module.training
    torch.testing.assert_close(found.sum(dim=1), torch.ones(count))
    for index in {0, count // 2, count - 1}:
        image = torch.from_numpy(pictures[index]).permute(2, 0, 1).float() / 255
        normal = (image - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.25, 0.2, 0.1]).view(3, 1, 1)
        with torch.no_grad():
            expected = functional.softmax(module(normal[None])[0], dim=0)
        torch.testing.assert_close(found[index], expected, atol=1e-5, rtol=1e-4)


def test_predicting_twice_gives_the_same_bits_and_changes_nothing() -> None:
    torch.manual_seed(0)
    module = tiny_backbone().build(7, 12).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    placed = place(images(40), 12, "cpu")
    first, second = (probabilities(module, placed, NORMALISATION, 12, "cpu") for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_logits_far_apart_still_sum_to_1_and_half_precision_comes_back_as_float32() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(432, 7))
    with torch.no_grad():
        module[1].weight.mul_(1e4)
    found = probabilities(module, place(images(5), 12, "cpu"), NORMALISATION, 12, "cpu", "bf16")
    assert found.dtype == torch.float32 and torch.isfinite(found).all()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(5))


def test_an_answer_that_is_no_number_is_an_error() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(432, 7))
    with torch.no_grad():
        module[1].bias[3] = float("nan")
    with pytest.raises(TrainingError, match=r"answers with NaN: try a smaller --set lr"):
        probabilities(module, place(images(5), 12, "cpu"), NORMALISATION, 12, "cpu")


def test_too_little_memory_for_many_at_once_takes_fewer() -> None:
    sizes: list[int] = []

    class Greedy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            if len(images) > 100:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return images.mean(dim=(2, 3))

    pixels = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    images, normalisation = place(pixels, 8, "cpu"), Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    found = probabilities(Greedy(), images, normalisation, 8, "cpu")
    assert sizes == [256, 128, 64, 64, 64, 64, 44]
    expected = torch.from_numpy(pixels).float().div(127.5).sub(1).mean(dim=(1, 2)).softmax(dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("trainable", "precision", "tolerance"), [("head", "fp32", 1e-6), ("3", "fp32", 1e-6), ("head", "bf16", 0.02)]
)
def test_probabilities_are_those_of_the_whole(tmp_path: Path, trainable: str, precision: str, tolerance: float) -> None:
    module = tiny_module()
    prefix = prefix_of(module, trainable)
    images, _ = placed(300)
    features = FeatureCache(tmp_path).of(prefix, dataclasses.replace(ABOUT, precision=precision), lambda: images)
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


def test_too_little_memory_for_many_features_at_once_takes_fewer() -> None:
    sizes: list[int] = []

    class Greedy(nn.Linear):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            sizes.append(len(features))
            if len(features) > 100:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(features)

    rest, values = Greedy(5, 7), torch.randn(300, 5)
    found = feature_probabilities(rest, Features((values,), 1.0, 0.0), "cpu")
    assert sizes == [256, 128, 64, 64, 64, 64, 44]
    with torch.no_grad():
        torch.testing.assert_close(found, (values @ rest.weight.T + rest.bias).softmax(dim=1))


def test_what_has_no_room_by_itself_is_an_error() -> None:
    class Full(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        feature_probabilities(Full(), Features((torch.randn(300, 5),), 1.0, 0.0), "cpu")
