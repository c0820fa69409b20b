"""Batches of network input, made of placed images.

Preprocessing (version in fingerprints.PREPROCESSING_VERSION): every image is stretched to S x S; larger ones are
reduced once, with antialiasing, when they are placed; smaller ones are enlarged bilinearly, in one step with the
augmentation's geometry. Grey is repeated over three channels. Then (x / 255 - mean) / std.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ferbench.data.ahead import Ahead
from ferbench.data.augmentation import AUGMENTATIONS, Augmentation, Draw, draw
from ferbench.data.mapped_images import MappedImages
from ferbench.data.order import BatchOrder
from ferbench.data.placement import PlacedImages
from ferbench.data.transfer import moved, sent

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Per channel, of images scaled to 0..1, RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class _Normaliser:
    """(x / 255 - mean) / std with grey repeated over three channels, as one multiplication and one addition."""

    def __init__(self, normalisation: Normalisation, image_size: int, device: str) -> None:
        mean = torch.tensor(normalisation.mean, device=device).view(1, 3, 1, 1)
        std = torch.tensor(normalisation.std, device=device).view(1, 3, 1, 1)
        # Once for each pixel of a row: over long rows the CPU's vectors run, over three channels they do not.
        self._scale = (1 / (255 * std)).flatten().repeat(image_size)
        self._bias = (-mean / std).flatten().repeat(image_size)

    def __call__(self, images: Tensor) -> Tensor:
        """float32 [n, 1 or 3, S, S] of 0..255 to float32 [n, 3, S, S], channels last; the images may be overwritten."""
        spread = images.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        rows = spread.permute(0, 2, 3, 1).view(-1, len(self._scale))
        torch.addcmul(self._bias, rows, self._scale, out=rows)
        return spread


@dataclass(frozen=True, slots=True)
class _Share:
    """What a step takes of one dataset, on the CPU.

    rows : places in the batch, int64 [b]
    indices : int64 [b] in the dataset
    pixels : uint8 [b, C, H, W] where they were gathered from a file
    """

    part: int
    rows: Tensor
    indices: Tensor
    pixels: Tensor | None


class _Shares:
    """A step's work that needs no device: what is drawn, and the pixels of it that lie in files."""

    def __init__(self, images: Sequence[PlacedImages], order: BatchOrder) -> None:
        self._images = images
        self._order = order
        self.read_files = any(isinstance(each, MappedImages) for each in images)

    def __call__(self, step: int) -> list[_Share]:
        datasets, indices = self._order.batch(step)
        return [self._share(part, np.flatnonzero(datasets == part), indices) for part in np.unique(datasets).tolist()]

    def _share(self, part: int, rows: NDArray[np.int64], indices: NDArray[np.int64]) -> _Share:
        images, chosen = self._images[part], torch.from_numpy(indices[rows])
        pixels = images.gathered(chosen) if isinstance(images, MappedImages) else None
        return _Share(part, torch.from_numpy(rows), chosen, pixels)


class TrainingBatches:
    """Network input of each training step; a pure function of the step.

    Where a dataset lies in a file, the pixels of the next step are gathered on a thread while this one runs.

    Parameters
    ----------
    parts : each dataset's images with its labels, int64 [n] on the same device
    """

    def __init__(
        self,
        parts: Sequence[tuple[PlacedImages, Tensor]],
        normalisation: Normalisation,
        image_size: int,
        augment: str,
        order: BatchOrder,
        seed: int,
        stage_index: int,
        device: str,
    ) -> None:
        self._parts = parts
        self._normaliser = _Normaliser(normalisation, image_size, device)
        self._image_size = image_size
        self._augmentation: Augmentation = AUGMENTATIONS[augment]
        self._moves = self._augmentation != AUGMENTATIONS["none"]
        self._tints = bool(self._augmentation.brightness or self._augmentation.contrast)
        self._grid = _Grid(image_size, device)
        self._seed = seed
        self._stage_index = stage_index
        self._device = device
        shares = _Shares([images for images, _ in parts], order)
        self._shares: Callable[[int], list[_Share]] = Ahead(shares) if shares.read_files else shares

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """float32 [B, 3, S, S] in channels_last, normalised, and labels int64 [B]."""
        shares = self._shares(step)
        count = sum(len(share.indices) for share in shares)
        values = draw(self._augmentation, count, self._seed, self._stage_index, step) if self._moves else None
        if len(shares) == 1:
            pixels, labels = self._made(shares[0], values)
        else:
            pixels, labels = self._mixed(shares, count, values)
        batch = self._normaliser(pixels)
        if values is not None and values.erased is not None:
            # Zero is the mean, now.
            erased = self._grid.inside(sent(values.erased, self._device))
            batch.permute(0, 2, 3, 1).view(erased.shape).masked_fill_(erased, 0.0)
        return batch, labels

    def _mixed(self, shares: Sequence[_Share], count: int, values: Draw | None) -> tuple[Tensor, Tensor]:
        """As `_made` of several datasets, in drawn order."""
        made = [self._made(share, None if values is None else values.of(share.rows)) for share in shares]
        channels = max(pixels.shape[1] for pixels, _ in made)
        # Whole pictures are put into place, each one run of memory in the format that the network reads.
        size = self._image_size
        whole = torch.empty((count, size * size * channels), device=self._device)
        labels = torch.empty(count, dtype=torch.int64, device=self._device)
        for share, (pixels, own) in zip(shares, made, strict=True):
            there = sent(share.rows, self._device)
            whole[there] = pixels.expand(-1, channels, -1, -1).permute(0, 2, 3, 1).reshape(len(pixels), -1)
            labels[there] = own
        return whole.view(count, size, size, channels).permute(0, 3, 1, 2), labels

    def _made(self, share: _Share, values: Draw | None) -> tuple[Tensor, Tensor]:
        """Float32 [b, C, S, S] of 0..255, geometry and enlargement in one sampling, then colour; labels int64 [b]."""
        images, labels = self._parts[share.part]
        own = labels[sent(share.indices, self._device)]
        pixels = (images.pixels(share.indices) if share.pixels is None else moved(share.pixels, self._device)).float()
        if values is None:
            return _enlarged(pixels, self._image_size), own
        grid = self._grid(sent(values.affine, self._device))
        pixels = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
        if pixels.shape[1] == 1 or not self._tints:
            return pixels, own
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        tinted = pixels - mean
        tinted.mul_(sent(values.contrast, self._device)).add_(mean * sent(values.brightness, self._device))
        tinted.clamp_(0, 255)
        coloured = images.coloured(share.indices)
        return tinted if coloured is None else torch.where(coloured, tinted, pixels), own


class _Grid:
    """Where each pixel of the output is sampled, and whether it lies in a rectangle."""

    def __init__(self, image_size: int, device: str) -> None:
        self._size = image_size
        self._on_cpu = torch.device(device).type == "cpu"
        still = functional.affine_grid(torch.eye(2, 3)[None], [1, 1, image_size, image_size], align_corners=False)
        self._points = torch.cat([still.flatten(1, 2), torch.ones(1, image_size**2, 1)], dim=2).to(device)
        self._line = still[0, 0, :, 0].to(device)

    def __call__(self, affine: Tensor) -> Tensor:
        """Maps [b, 2, 3] to coordinates [b, S, S, 2] as torch's affine_grid has them, which makes its points each time.

        On the CPU they agree with it bit for bit; a GPU may be told to take matrix products in TF32, which has ten
        bits for the place within a picture, so there they are no products.
        """
        if self._on_cpu:
            points = self._points.expand(len(affine), -1, -1)
            return torch.bmm(points, affine.transpose(1, 2)).view(-1, self._size, self._size, 2)
        return self.by_elements(affine)

    def by_elements(self, affine: Tensor) -> Tensor:
        """The same without a matrix product."""
        x, y, one = affine[:, None, None].unbind(4)
        down = torch.addcmul(one, self._line.view(1, -1, 1, 1), y)
        return torch.addcmul(down, self._line.view(1, 1, -1, 1), x)

    def inside(self, boxes: Tensor) -> Tensor:
        """Rectangles [b, 4] as a Draw has them to bool [b, S, 3 * S]: whether a pixel's centre lies within.

        A row holds each pixel three times over, as one of an image in channels_last does.
        """
        centres = (self._line + 1) / 2
        top, left, bottom, right = boxes[:, :, None].unbind(1)
        rows = (centres >= top) & (centres < bottom)
        columns = (centres >= left) & (centres < right)
        return rows[:, :, None] & columns.repeat_interleave(3, dim=1)[:, None, :]


def _enlarged(pixels: Tensor, size: int) -> Tensor:
    if pixels.shape[2:] == (size, size):
        return pixels
    # Of three channels the values are the same in either format, and this one is half as fast again.
    near = torch.channels_last if pixels.shape[1] == 3 else torch.contiguous_format
    return functional.interpolate(
        pixels.contiguous(memory_format=near), size=(size, size), mode="bilinear", align_corners=False
    )


def evaluation_batches(
    images: PlacedImages, normalisation: Normalisation, image_size: int, device: str, batch_size: int = 256
) -> Iterator[Tensor]:
    """Every image once, in order, as float32 [b, 3, S, S]; the last batch may be smaller, none is dropped."""
    normaliser = _Normaliser(normalisation, image_size, device)
    for start in range(0, images.count, batch_size):
        chosen = torch.arange(start, min(start + batch_size, images.count))
        yield normaliser(_enlarged(images.pixels(chosen).float(), image_size))
