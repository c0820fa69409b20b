"""Samples as uint8 on the device, and batches of network input made of them.

Preprocessing (version in fingerprints.PREPROCESSING_VERSION): every image is stretched to S x S; larger ones are
reduced once, with antialiasing; smaller ones are enlarged bilinearly, in one step with the augmentation's geometry.
Grey is repeated over three channels. Then (x / 255 - mean) / std.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ferbench.data.augmentation import AUGMENTATIONS, Augmentation, Draw, draw
from ferbench.data.order import BatchOrder

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: ITU-R BT.601 luma, as Pillow's mode L has it.
_LUMA = (0.299, 0.587, 0.114)
_REDUCED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class DeviceImages:
    """uint8 [n, C, H, W] on a device, H and W at most the image size (equal to it where they were larger).

    coloured : bool [n, 1, 1, 1], which of them are in colour; None where all are, or C is 1
    """

    images: Tensor
    coloured: Tensor | None = None

    @property
    def count(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Per channel, of images scaled to 0..1, RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def place(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], image_size: int, device: str, *, grey: bool = False
) -> DeviceImages:
    """Put images on the device, reduced to S x S where a side is larger.

    Parameters
    ----------
    images : uint8 [n, H, W, C], or uint8 [H, W, C] each where sizes differ
    image_size : S, pixels a side
    grey : turn colour into luma
    """
    if isinstance(images, np.ndarray):
        blocks = [images[i : i + _REDUCED_AT_ONCE] for i in range(0, len(images), _REDUCED_AT_ONCE)]
        force = False
    else:
        blocks = [image[None] for image in images]
        force = True
    parts = []
    for block in blocks:
        tensor = torch.from_numpy(np.require(block, requirements=("C", "W"))).permute(0, 3, 1, 2)
        if grey and tensor.shape[1] == 3:
            weights = torch.tensor(_LUMA).view(1, 3, 1, 1)
            tensor = (tensor * weights).sum(dim=1, keepdim=True).round().to(torch.uint8)
        if force or max(tensor.shape[2:]) > image_size:
            tensor = _stretched(tensor, image_size)
        parts.append(tensor)
    channels = max(part.shape[1] for part in parts)
    joined = torch.cat([part.expand(-1, channels, -1, -1) for part in parts])
    coloured = torch.cat([(part != part[:, :1]).flatten(1).any(dim=1) for part in parts]).view(-1, 1, 1, 1)
    told_apart = channels == 3 and not bool(coloured.all())
    return DeviceImages(joined.contiguous().to(device), coloured.to(device) if told_apart else None)


def _stretched(images: Tensor, image_size: int) -> Tensor:
    floats = functional.interpolate(
        images.float(), size=(image_size, image_size), mode="bilinear", antialias=True, align_corners=False
    )
    return floats.round().clamp(0, 255).to(torch.uint8)


class _Normaliser:
    """(x / 255 - mean) / std with grey repeated over three channels, as one multiplication and one addition."""

    def __init__(self, normalisation: Normalisation, device: str) -> None:
        mean = torch.tensor(normalisation.mean, device=device).view(1, 3, 1, 1)
        std = torch.tensor(normalisation.std, device=device).view(1, 3, 1, 1)
        self._scale = 1 / (255 * std)
        self._bias = -mean / std

    def __call__(self, images: Tensor) -> Tensor:
        """float32 [n, 1 or 3, S, S] of 0..255 to float32 [n, 3, S, S], channels last."""
        return torch.addcmul(self._bias, images, self._scale).contiguous(memory_format=torch.channels_last)


class TrainingBatches:
    """Network input of each training step; a pure function of the step.

    Parameters
    ----------
    parts : each dataset's images with its labels, int64 [n] on the same device
    """

    def __init__(
        self,
        parts: Sequence[tuple[DeviceImages, Tensor]],
        normalisation: Normalisation,
        image_size: int,
        augment: str,
        order: BatchOrder,
        seed: int,
        stage_index: int,
        device: str,
    ) -> None:
        self._parts = parts
        self._normaliser = _Normaliser(normalisation, device)
        self._image_size = image_size
        self._augmentation: Augmentation = AUGMENTATIONS[augment]
        self._order = order
        self._seed = seed
        self._stage_index = stage_index
        self._device = device

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """float32 [B, 3, S, S] in channels_last, normalised, and labels int64 [B]."""
        datasets, indices = self._order.batch(step)
        values = draw(self._augmentation, len(datasets), self._seed, self._stage_index, step)
        present = np.unique(datasets)
        if len(present) == 1:
            images, labels = self._parts[int(present[0])]
            chosen = torch.from_numpy(indices).to(self._device)
            return self._normaliser(self._moved(images, chosen, values)), labels[chosen]
        size = self._image_size
        pixels = torch.empty((len(datasets), 3, size, size), device=self._device)
        targets = torch.empty(len(datasets), dtype=torch.int64, device=self._device)
        for part in present.tolist():
            rows = torch.from_numpy(np.flatnonzero(datasets == part))
            chosen = torch.from_numpy(indices[datasets == part]).to(self._device)
            images, labels = self._parts[part]
            there = rows.to(self._device)
            pixels[there] = self._moved(images, chosen, values.of(rows)).expand(-1, 3, -1, -1)
            targets[there] = labels[chosen]
        return self._normaliser(pixels), targets

    def _moved(self, images: DeviceImages, chosen: Tensor, values: Draw) -> Tensor:
        """Chosen images as float32 [b, C, S, S]: geometry and enlargement in one sampling, then colour."""
        size = self._image_size
        augmentation = self._augmentation
        pixels = images.images[chosen].float()
        if augmentation == AUGMENTATIONS["none"]:
            return _enlarged(pixels, size)
        grid = functional.affine_grid(values.affine.to(self._device), [len(pixels), 1, size, size], align_corners=False)
        pixels = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
        if pixels.shape[1] == 1 or not (augmentation.brightness or augmentation.contrast):
            return pixels
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        tinted = (pixels - mean) * values.contrast.to(self._device) + mean * values.brightness.to(self._device)
        tinted = tinted.clamp(0, 255)
        return tinted if images.coloured is None else torch.where(images.coloured[chosen], tinted, pixels)


def _enlarged(pixels: Tensor, size: int) -> Tensor:
    if pixels.shape[2:] == (size, size):
        return pixels
    return functional.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False)


def evaluation_batches(
    images: DeviceImages, normalisation: Normalisation, image_size: int, device: str, batch_size: int = 256
) -> Iterator[Tensor]:
    """Every image once, in order, as float32 [b, 3, S, S]; the last batch may be smaller, none is dropped."""
    normaliser = _Normaliser(normalisation, device)
    for start in range(0, images.count, batch_size):
        yield normaliser(_enlarged(images.images[start : start + batch_size].float(), image_size))
