"""Images made ready for a device: on it as a whole, or in a memory-mapped file that they are gathered from.

Which of the two is the caller's to say, by the room that it leaves. On the device is faster: a batch is one indexing
there. So a set is put there where its bytes fit into the room, which FER2013 (83 MB in its own size) does anywhere.
A larger one lies in a file below the cache folder, reduced to the network's image size once and for all; the page
cache keeps of it what memory is free, and a batch is copied from there, on a GPU through pinned memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
import torch
from torch import Tensor

from ferbench.data.blocks import placed_shape, reduced_blocks
from ferbench.data.mapped_images import LAYOUT, ImageFiles, MappedImages, told_apart
from ferbench.data.transfer import sent
from ferbench.errors import DatasetError
from ferbench.fingerprints import PREPROCESSING_VERSION, fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Images that go from a file to the device at once.
_READ_AT_ONCE = 1024


class PlacedImages(Protocol):
    """uint8 [n, C, H, W], H and W at most the image size (equal to it where they were larger), wherever they lie."""

    @property
    def count(self) -> int:
        """n."""

    @property
    def channels(self) -> int:
        """C, 1 or 3."""

    @property
    def device_bytes(self) -> int:
        """What they take of the device's memory for as long as they are kept."""

    def pixels(self, indices: Tensor) -> Tensor:
        """The images at some indices, int64 [b] on the CPU, as uint8 [b, C, H, W] on the device."""

    def coloured(self, indices: Tensor) -> Tensor | None:
        """Which of them are in colour, bool [b, 1, 1, 1] on the device; None where all of the set are, or C is 1."""


@dataclass(frozen=True, slots=True)
class DeviceImages:
    """Images on a device.

    images : uint8 [n, C, H, W]
    in_colour : bool [n, 1, 1, 1], which of them are in colour; None where all are, or C is 1
    """

    images: Tensor
    in_colour: Tensor | None = None

    @property
    def count(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def device_bytes(self) -> int:
        return self.images.nbytes + (0 if self.in_colour is None else self.in_colour.nbytes)

    def pixels(self, indices: Tensor) -> Tensor:
        # By rows: as plain indexing does it on a CPU, byte for byte, it takes up to ten times as long.
        return self.images.index_select(0, sent(indices, self.images.device))

    def coloured(self, indices: Tensor) -> Tensor | None:
        return None if self.in_colour is None else self.in_colour[sent(indices, self.in_colour.device)]


def placed_bytes(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], image_size: int, *, grey: bool = False
) -> int:
    """Bytes that a set takes when all of it is put on a device."""
    return int(np.prod(placed_shape(images, image_size, grey)[0], dtype=np.int64))


@overload
def place(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], image_size: int, device: str, *, grey: bool = False
) -> DeviceImages: ...
@overload
def place(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    image_size: int,
    device: str,
    *,
    grey: bool = False,
    room_bytes: int | None,
    cache_folder: Path | None,
    content: str,
    costly: bool = False,
) -> PlacedImages: ...
def place(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    image_size: int,
    device: str,
    *,
    grey: bool = False,
    room_bytes: int | None = None,
    cache_folder: Path | None = None,
    content: str = "",
    costly: bool = False,
) -> PlacedImages:
    """Make images ready for the device, reduced to S x S where a side is larger.

    Either kind gives the same values. Pictures are read and reduced in blocks, in the order in which they lie on disk;
    where they go to a file, memory for a block is all that it takes.

    Parameters
    ----------
    images : uint8 [n, H, W, C], or uint8 [H, W, C] each where sizes differ, or `Pictures` of either kind
    image_size : S, pixels a side
    grey : turn colour into luma
    room_bytes : a larger set is left in a file; None puts any set on the device
    cache_folder : where files go, in `reduced/KEY.bin` and `.json`; None puts any set on the device
    content : names the images, as `LabelledImages.content` does; needed for a file
    costly : the pictures are made as they are asked for: a file keeps them even where there is room

    Raises
    ------
    DatasetError : the file cannot be written
    """
    shape, stretched = placed_shape(images, image_size, grey)
    fits = room_bytes is None or np.prod(shape, dtype=np.int64) <= room_bytes
    if cache_folder is None or not content or (fits and not costly):
        return _on_device(images, shape, stretched, device, grey)
    key = fingerprint([LAYOUT, PREPROCESSING_VERSION, content, image_size, grey, list(shape), stretched])
    files = ImageFiles(cache_folder / "reduced", key, shape)
    found = files.read(device)
    if found is None:
        files.write(images, stretched, grey)
        found = files.read(device)
    if found is None:
        raise DatasetError(f"cache folder {files.folder} does not keep what is written to it: check the disk")
    return _all_of(found, shape, device) if fits else found


def _all_of(mapped: MappedImages, shape: tuple[int, int, int, int], device: str) -> DeviceImages:
    """What lies in a file, on the device."""
    whole = torch.empty(shape, dtype=torch.uint8, device=device)
    for start in range(0, mapped.count, _READ_AT_ONCE):
        rows = torch.arange(start, min(start + _READ_AT_ONCE, mapped.count))
        whole[start : start + len(rows)] = mapped.pixels(rows)
    return DeviceImages(whole, mapped.in_colour)


def _on_device(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    shape: tuple[int, int, int, int],
    stretched: bool,
    device: str,
    grey: bool,
) -> DeviceImages:
    whole = torch.empty(shape, dtype=torch.uint8, device=device)
    coloured = torch.empty(len(images), dtype=torch.bool)
    for rows, block, colours in reduced_blocks(images, shape, stretched, grey):
        whole.index_copy_(0, rows.to(device), block.contiguous().to(device))
        coloured[rows] = colours
    return DeviceImages(whole, told_apart(coloured, shape[1], device))
