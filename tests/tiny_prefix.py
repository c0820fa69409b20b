"""The frozen part of the tiny backbone, and images to show it."""

from __future__ import annotations

import torch
from tiny import bars, tiny_backbone
from torch import Tensor, nn

from ferbench.data.batches import Normalisation
from ferbench.data.placement import PlacedImages, place
from ferbench.features.cache import FeatureInput
from ferbench.features.frozen_prefix import FrozenPrefix, frozen_prefix

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
