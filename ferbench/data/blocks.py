"""Pictures read block by block, each made the size in which it is placed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ferbench.data.pictures import Pictures

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: ITU-R BT.601 luma, as Pillow's mode L has it.
LUMA = (0.299, 0.587, 0.114)

#: Pictures that are reduced at once: at most so many, and of at most so many bytes (as floats they take four times
#: that).
_REDUCED_AT_ONCE = 256
_REDUCED_BYTES = 2**20


def placed_shape(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], image_size: int, grey: bool
) -> tuple[tuple[int, int, int, int], bool]:
    """The placed set's shape [n, C, S or H, S or W], and whether pictures are stretched to get there."""
    if isinstance(images, np.ndarray):
        heights, widths, channels = images.shape[1:]
        stretched = max(heights, widths) > image_size
    else:
        shapes = images.shapes if isinstance(images, Pictures) else np.array([image.shape for image in images])
        heights, widths, channels = shapes.max(axis=0).tolist()
        # Where sizes differ, smaller pictures are enlarged too.
        alike = isinstance(images, Pictures) and images.uniform
        stretched = not alike or max(heights, widths) > image_size
    size = (image_size, image_size) if stretched else (heights, widths)
    return (len(images), 1 if grey else channels, *size), stretched


def _blocks(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Indices [b] with their pictures [b, H, W, C], in the order in which they are best read."""
    if isinstance(images, np.ndarray) or (isinstance(images, Pictures) and images.uniform):
        first = images[0]
        count = max(1, min(_REDUCED_AT_ONCE, _REDUCED_BYTES // max(first.nbytes, 1)))
        order = images.stored_order if isinstance(images, Pictures) else np.arange(len(images))
        for start in range(0, len(images), count):
            rows = order[start : start + count]
            yield rows, images.gathered(rows) if isinstance(images, Pictures) else images[start : start + count]
    else:
        order = images.stored_order if isinstance(images, Pictures) else np.arange(len(images))
        for index in order.tolist():
            yield np.array([index]), images[index][None]


def reduced_blocks(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    shape: tuple[int, int, int, int],
    stretched: bool,
    grey: bool,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Indices int64 [b] with what is placed of them, uint8 [b, C, H, W], and which are in colour, bool [b]."""
    for rows, block in _blocks(images):
        tensor = torch.from_numpy(np.require(block, requirements=("C", "W"))).permute(0, 3, 1, 2)
        if grey and tensor.shape[1] == 3:
            weights = torch.tensor(LUMA).view(1, 3, 1, 1)
            tensor = (tensor * weights).sum(dim=1, keepdim=True).round().to(torch.uint8)
        if stretched:
            tensor = _stretched(tensor, shape[2])
        coloured = (tensor != tensor[:, :1]).flatten(1).any(dim=1)
        yield torch.from_numpy(rows), tensor.expand(-1, shape[1], -1, -1), coloured


def _stretched(images: Tensor, image_size: int) -> Tensor:
    floats = functional.interpolate(
        images.float(), size=(image_size, image_size), mode="bilinear", antialias=True, align_corners=False
    )
    return floats.round().clamp(0, 255).to(torch.uint8)
