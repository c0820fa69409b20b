"""Probabilities of every image, in order, from a module in evaluation mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_backbone
from torch import nn
from torch.nn import functional

from ferbench.data.batches import Normalisation, place
from ferbench.errors import TrainingError
from ferbench.prediction import probabilities

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
