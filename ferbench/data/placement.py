"""Images made ready for a device: on it as a whole, or in a memory-mapped file that they are gathered from.

Which of the two is the caller's to say, by the room that it leaves. On the device is faster: a batch is one indexing
there. So a set is put there where its bytes fit into the room, which FER2013 (83 MB in its own size) does anywhere.
A larger one lies in a file below the cache folder, reduced to the network's image size once and for all; the page
cache keeps of it what memory is free, and a batch is copied from there, on a GPU through pinned memory.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ferbench.data.pictures import Pictures
from ferbench.errors import DatasetError
from ferbench.fingerprints import PREPROCESSING_VERSION, fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: ITU-R BT.601 luma, as Pillow's mode L has it.
_LUMA = (0.299, 0.587, 0.114)

#: Pictures that are reduced at once: at most so many, and of at most so many bytes (as floats they take four times
#: that).
_REDUCED_AT_ONCE = 256
_REDUCED_BYTES = 2**20

#: Raised when the layout of the files changes.
_LAYOUT = 1

#: Share of free memory that image sets may take; the rest is the network's.
_SHARE = 0.5

_MEMORY = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


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


@dataclass(frozen=True, slots=True, eq=False)
class MappedImages:
    """Images in a file.

    mapped : uint8 [n, C, H, W], memory-mapped, in the order in which they were read
    place : int64 [n], where each image is in it
    in_colour : as in DeviceImages, on the device
    """

    mapped: NDArray[np.uint8]
    place: NDArray[np.int64]
    in_colour: Tensor | None
    device: str

    @property
    def count(self) -> int:
        return len(self.mapped)

    @property
    def channels(self) -> int:
        return int(self.mapped.shape[1])

    @property
    def device_bytes(self) -> int:
        return 0 if self.in_colour is None else self.in_colour.nbytes

    def pixels(self, indices: Tensor) -> Tensor:
        return moved(self.gathered(indices), self.device)

    def gathered(self, indices: Tensor) -> Tensor:
        """The images at some indices, copied to the CPU's memory: uint8 [b, C, H, W], pinned for a GPU.

        Other threads run meanwhile, and may call it too.
        """
        places = self.place[indices.numpy()]
        out = torch.empty(
            (len(places), *self.mapped.shape[1:]), dtype=torch.uint8, pin_memory=self.device.startswith("cuda")
        )
        # numpy lets go of the interpreter while it waits for the disk. Places are within bounds, or the line above
        # had failed; with another mode than "clip" it would copy twice.
        np.take(self.mapped, places, axis=0, out=out.numpy(), mode="clip")
        return out

    def coloured(self, indices: Tensor) -> Tensor | None:
        return None if self.in_colour is None else self.in_colour[sent(indices, self.in_colour.device)]


def sent(values: Tensor, device: torch.device | str) -> Tensor:
    """Values from the CPU on a device; the program does not wait for a GPU to have them."""
    return moved(values.pin_memory() if torch.device(device).type == "cuda" else values, device)


def moved(values: Tensor, device: torch.device | str) -> Tensor:
    """The same of values that are pinned already where the device is a GPU."""
    return values.to(device, non_blocking=torch.device(device).type == "cuda")


def free_room(device: str) -> int:
    """Bytes of a device's memory that image sets may take now: half of what is free, the rest is the network's."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(torch.device(device))
        # What torch holds but does not use counts as taken there.
        spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(_SHARE * (free + spare))
    return int(_SHARE * _free_memory())


def _free_memory() -> int:
    """Bytes of main memory that are free for this process."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:
        # A container's bound, where there is one; its page cache gives way.
        bound = int((_CGROUP / "memory.max").read_text())
        counts = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        taken = int((_CGROUP / "memory.current").read_text()) - int(counts["file"])
    except (OSError, KeyError, ValueError):
        return free
    return max(0, min(free, bound - taken))


def placed_bytes(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], image_size: int, *, grey: bool = False
) -> int:
    """Bytes that a set takes when all of it is put on a device."""
    return int(np.prod(_shape(images, image_size, grey)[0], dtype=np.int64))


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

    Raises
    ------
    DatasetError : the file cannot be written
    """
    shape, stretched = _shape(images, image_size, grey)
    fits = room_bytes is None or np.prod(shape, dtype=np.int64) <= room_bytes
    if fits or cache_folder is None or not content:
        return _on_device(images, shape, stretched, device, grey)
    key = fingerprint([_LAYOUT, PREPROCESSING_VERSION, content, image_size, grey, list(shape), stretched])
    files = _Files(cache_folder / "reduced", key, shape)
    found = files.read(device)
    if found is None:
        files.write(images, stretched, grey)
        found = files.read(device)
    if found is None:
        raise DatasetError(f"cache folder {files.folder} does not keep what is written to it: check the disk")
    return found


def _shape(
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


def _reduced(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    shape: tuple[int, int, int, int],
    stretched: bool,
    grey: bool,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Indices int64 [b] with what is placed of them, uint8 [b, C, H, W], and which are in colour, bool [b]."""
    for rows, block in _blocks(images):
        tensor = torch.from_numpy(np.require(block, requirements=("C", "W"))).permute(0, 3, 1, 2)
        if grey and tensor.shape[1] == 3:
            weights = torch.tensor(_LUMA).view(1, 3, 1, 1)
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


def _told_apart(coloured: Tensor, channels: int, device: str) -> Tensor | None:
    """Which images are in colour, bool [n] to [n, 1, 1, 1] on the device; None where that need not be told."""
    return coloured.view(-1, 1, 1, 1).to(device) if channels == 3 and not bool(coloured.all()) else None


def _on_device(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    shape: tuple[int, int, int, int],
    stretched: bool,
    device: str,
    grey: bool,
) -> DeviceImages:
    whole = torch.empty(shape, dtype=torch.uint8, device=device)
    coloured = torch.empty(len(images), dtype=torch.bool)
    for rows, block, colours in _reduced(images, shape, stretched, grey):
        whole.index_copy_(0, rows.to(device), block.contiguous().to(device))
        coloured[rows] = colours
    return DeviceImages(whole, _told_apart(coloured, shape[1], device))


class _Files:
    """One set below the cache folder.

    `KEY.bin` holds the images in the order in which they were read, then int64 [n], where each image is, then bool [n],
    which are in colour. `KEY.json` is written after it and says its shape: without it the other is no entry. Both are
    renamed into place, and copies of a data set that differ in their order on disk agree in `KEY.json`.
    """

    def __init__(self, folder: Path, key: str, shape: tuple[int, int, int, int]) -> None:
        self.folder = folder
        self._pixels = folder / f"{key}.bin"
        self._about = folder / f"{key}.json"
        self._shape = shape

    def read(self, device: str) -> MappedImages | None:
        """The set, or None where it is not there or damaged."""
        count, channels = self._shape[:2]
        images_bytes = int(np.prod(self._shape, dtype=np.int64))
        try:
            about = json.loads(self._about.read_text("utf-8"))
            if about != self._says() or self._pixels.stat().st_size != images_bytes + 9 * count:
                return None
            place = np.fromfile(self._pixels, np.int64, count, offset=images_bytes)
            coloured = np.fromfile(self._pixels, np.bool_, count, offset=images_bytes + 8 * count)
            mapped = np.memmap(self._pixels, np.uint8, "r", shape=self._shape)
            for path in (self._pixels, self._about):
                os.utime(path)
        except (OSError, ValueError):
            return None
        if not np.array_equal(np.sort(place), np.arange(count)):
            return None
        return MappedImages(mapped, place, _told_apart(torch.from_numpy(coloured), channels, device), device)

    def write(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], stretched: bool, grey: bool) -> None:
        """Reduce images into the files, block by block.

        Raises
        ------
        DatasetError : the folder cannot be written or the disk is full; nothing is left behind
        """
        count = self._shape[0]
        place, coloured = np.empty(count, np.int64), np.empty(count, np.bool_)
        temporary: list[Path] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for _ in range(2):
                handle, name = tempfile.mkstemp(prefix="new-", dir=self.folder)
                os.close(handle)
                temporary.append(Path(name))
            with temporary[0].open("wb") as file:
                written = 0
                for rows, block, colours in _reduced(images, self._shape, stretched, grey):
                    file.write(block.contiguous().numpy().data)
                    place[rows.numpy()] = np.arange(written, written + len(rows))
                    coloured[rows.numpy()] = colours.numpy()
                    written += len(rows)
                file.write(place.data)
                file.write(coloured.data)
                file.flush()
                # A file of the right size with nothing in it would train on black pictures.
                os.fsync(file.fileno())
            temporary[1].write_text(json.dumps(self._says()), "utf-8")
            temporary[0].replace(self._pixels)
            temporary[1].replace(self._about)
        except OSError as error:
            raise DatasetError(
                f"{np.prod(self._shape, dtype=np.int64) / 1e6:.0f} MB of images cannot be written to {self.folder}: "
                f"{error.strerror or error}; free room or name another folder with FERBENCH_CACHE"
            ) from error
        finally:
            for path in temporary:
                path.unlink(missing_ok=True)

    def _says(self) -> dict[str, object]:
        return {"layout": _LAYOUT, "shape": list(self._shape)}
