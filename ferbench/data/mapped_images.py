"""Images in a memory-mapped file below the cache folder, reduced once and gathered from there batch by batch."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ferbench.data.blocks import reduced_blocks
from ferbench.data.transfer import moved, sent
from ferbench.errors import DatasetError
from ferbench.whole_files import TEMPORARY

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Raised when the layout of the files changes.
LAYOUT = 1


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


def told_apart(coloured: Tensor, channels: int, device: str) -> Tensor | None:
    """Which images are in colour, bool [n] to [n, 1, 1, 1] on the device; None where that need not be told."""
    return coloured.view(-1, 1, 1, 1).to(device) if channels == 3 and not bool(coloured.all()) else None


class ImageFiles:
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
            # Opened once: another process may put a file of another order in its place.
            whole = np.memmap(self._pixels, np.uint8, "r")
            if about != self._says() or len(whole) != images_bytes + 9 * count:
                return None
            place = np.frombuffer(whole[images_bytes : images_bytes + 8 * count].tobytes(), np.int64)
            coloured = np.frombuffer(whole[images_bytes + 8 * count :].tobytes(), np.bool_)
            mapped = whole[:images_bytes].reshape(self._shape)
            for path in (self._pixels, self._about):
                os.utime(path)
        except (OSError, ValueError):
            return None
        if not np.array_equal(np.sort(place), np.arange(count)):
            return None
        return MappedImages(mapped, place, told_apart(torch.from_numpy(coloured.copy()), channels, device), device)

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
                handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=self.folder)
                os.close(handle)
                temporary.append(Path(name))
            with temporary[0].open("wb") as file:
                written = 0
                for rows, block, colours in reduced_blocks(images, self._shape, stretched, grey):
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
        return {"layout": LAYOUT, "shape": list(self._shape)}
