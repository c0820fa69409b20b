"""Features of one view as two files below the cache folder, written as they come.

`KEY.npy` holds them, float32 [n, ...]. `KEY.json` is written after it and says what it must be: without it the other is
no entry. Both are renamed into place.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ferbench.whole_files import TEMPORARY, whole_file

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FeatureView:
    """One view's features of all images, in their order.

    values : float32 [n, ...]
    seconds : what computing took when they were first computed
    spent_seconds : what it took now, 0 where they were found
    mapped : whether they are memory-mapped, and take no memory of their own
    """

    values: Tensor
    seconds: float
    spent_seconds: float
    mapped: bool

    @property
    def bytes(self) -> int:
        return self.values.numel() * self.values.element_size()


class FeatureFiles:
    """One view's two files."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.values = folder / f"{key}.npy"
        self.table = folder / f"{key}.json"

    def read(self) -> FeatureView | None:
        """What is there, memory-mapped; None where nothing is, or not all of it."""
        try:
            table = json.loads(self.table.read_text("utf-8"))
            shape, seconds = tuple(table["shape"]), float(table["seconds"])
            # Copy-on-write, since torch takes no array that must not be written; nobody writes.
            values = np.load(self.values, mmap_mode="c", allow_pickle=False)
            whole = self.values.stat().st_size == table["bytes"]
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if not whole or values.shape != shape or values.dtype != np.float32:
            return None
        self.touch()
        return FeatureView(torch.from_numpy(values), seconds, 0.0, mapped=True)

    def touch(self) -> None:
        """Their modification time is that of the last use."""
        for path in (self.values, self.table):
            with contextlib.suppress(OSError):
                os.utime(path)


class FeatureWriter:
    """Takes rows batch by batch to a temporary file; from the disk's first refusal on, into memory.

    Whole files are renamed to their names at the end: a process that is killed, or another one that computes the same,
    leaves none by halves.
    """

    def __init__(self, files: FeatureFiles, count: int) -> None:
        self._files = files
        self._count = count
        self._file: io.FileIO | None = None
        self._path = files.values
        self._digest = hashlib.sha256()
        self._shape: tuple[int, ...] = (count,)
        self._blocks: list[NDArray[np.float32]] = []
        self.done = 0

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._drop()

    def write(self, rows: NDArray[np.float32]) -> None:
        """Rows float32 [b, ...] behind those that were written."""
        try:
            if self.done == 0:
                self._shape = (self._count, *rows.shape[1:])
                self._open()
            if self._file is not None:
                self._put(rows.tobytes())
        except OSError:
            self._into_memory()
        if self._file is None:
            self._blocks.append(rows)
        self.done += len(rows)

    def end(self, seconds: float) -> FeatureView:
        """All rows, as they will be found by the next who asks."""
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
                size = self._file.tell()
                self._file.close()
                self._path = self._path.replace(self._files.values)
                self._write_table(seconds, size)
                found = self._files.read()
                if found is not None:
                    return replace(found, seconds=seconds, spent_seconds=seconds)
            except OSError:
                pass
            self._into_memory()
        return FeatureView(torch.from_numpy(np.concatenate(self._blocks)), seconds, seconds, mapped=False)

    def _open(self) -> None:
        self._files.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=".npy", dir=self._files.folder)
        # Without a buffer: what was written before the disk was full can be read again.
        self._file, self._path = os.fdopen(handle, "wb", buffering=0), Path(name)
        header = io.BytesIO()
        about = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(header, about)
        self._put(header.getvalue())

    def _put(self, content: bytes) -> None:
        assert self._file is not None
        self._digest.update(content)
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]

    def _write_table(self, seconds: float, size: int) -> None:
        table = {
            "seconds": seconds,
            "images": self._count,
            "shape": self._shape,
            "bytes": size,
            "sha256": self._digest.hexdigest(),
        }
        with whole_file(self._files.table, durable=False) as file:
            file.write(json.dumps(table).encode())

    def _into_memory(self) -> None:
        """Go on in memory with the rows that the file has taken."""
        if self._file is not None and self.done:
            with self._path.open("rb") as file:
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
                content = file.read(4 * self.done * math.prod(self._shape[1:]))
            self._blocks.append(np.frombuffer(bytearray(content), np.float32).reshape(-1, *self._shape[1:]))
        self._drop()

    def _drop(self) -> None:
        """Close the file, and remove it unless it has its final name."""
        if self._file is not None:
            self._file.close()
            if self._path != self._files.values:
                self._path.unlink(missing_ok=True)
        self._file = None
