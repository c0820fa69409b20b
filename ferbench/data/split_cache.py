"""Decoded splits on disk, so that a folder of images or a large CSV is read once.

A split's key holds the dataset's name and version and a signature of its files (names, sizes, times; all below its
root, or those that the dataset names), or the identity of embedded data. Entries are written to a temporary folder and
renamed: a killed process leaves none by halves.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ferbench.components import Dataset, Samples
from ferbench.data.decoding import decode_each, reduced
from ferbench.data.walk import Entry, walk
from ferbench.errors import DatasetError
from ferbench.expressions import expression
from ferbench.fingerprints import fingerprint
from ferbench.whole_files import TEMPORARY

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Raised when the files' layout below changes.
_LAYOUT = 2

#: Pictures are kept with at most so many pixels a side: more than any network here looks at, less than cameras give.
LARGEST_SIDE = 512


@dataclass(frozen=True, slots=True)
class StoredSplit:
    """One split, decoded.

    pixels : uint8, all images one after the other, each row-major H x W x C; memory-mapped
    shapes : int64 [n, 3]
    class_names : of each sample, the dataset's own; None where withheld
    digests : SHA-256 of each sample's pixels as they are in its file, expression and group, as hex
    pictures : SHA-256 of each sample's shape and pixels alone; equal ones are the same picture
    """

    pixels: NDArray[np.uint8]
    shapes: NDArray[np.int64]
    class_names: tuple[str, ...] | None
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None
    digests: tuple[str, ...]
    pictures: tuple[str, ...]
    warnings: tuple[str, ...]

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        """The chosen images: uint8 [k, H, W, C] where all of the split agree in size, else a list of [H, W, C]."""
        shapes = self.shapes
        if len(shapes) and (shapes == shapes[0]).all():
            return np.asarray(self.pixels.reshape(len(shapes), *shapes[0])[indices])
        ends = np.cumsum(shapes.prod(axis=1))
        chosen = [
            np.asarray(self.pixels[ends[i] - shapes[i].prod() : ends[i]]).reshape(shapes[i]) for i in indices.tolist()
        ]
        if len(shapes) and (shapes[:, :2] == shapes[0, :2]).all():
            # Some are grey and some in colour.
            return np.stack([np.broadcast_to(image, (*image.shape[:2], 3)) for image in chosen])
        return chosen


def signature(root: Path, files: Iterable[Path] | None = None) -> str:
    """A hash of what lies at a path: names, sizes and modification times of a file or of all files below a folder.

    files : look at these alone; one of them may be missing, which is for the reader to say

    Raises
    ------
    OSError : a folder that is not there or must not be read
    """
    lines: list[str] = []
    if files is not None:
        for file in files:
            try:
                status = file.stat()
                lines.append(f"{file}\t{status.st_size}\t{status.st_mtime_ns}")
            except OSError:
                lines.append(f"{file}\tmissing")
    elif root.is_file():
        status = root.stat()
        lines.append(f"{root.name}\t{status.st_size}\t{status.st_mtime_ns}")
    else:
        # Links are followed out of the root too, since data often lies on another disk.
        lines.extend(map(_line, walk(root, outside=True)))
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def _line(entry: Entry) -> str:
    if entry.is_folder:
        return f"{entry.path}\t-> {entry.target}"
    return f"{entry.path}\t{entry.status.st_size}\t{entry.status.st_mtime_ns}"


class SplitCache:
    """Splits by dataset and name, read through the plugin once and from disk afterwards."""

    def __init__(self, cache_folder: Path) -> None:
        self._folder = cache_folder / "splits"
        self._signatures: dict[tuple[Path, str], str] = {}
        self._loaded: dict[str, StoredSplit] = {}

    def split(self, dataset: Dataset, root: Path, split: str) -> StoredSplit:
        """One split of a dataset found at `root`.

        Raises
        ------
        DatasetError : what the plugin's reader says, or samples that break the contract
        """
        if dataset.embedded and dataset.identity is not None:
            source, place = dataset.identity(split), ""
        else:
            at = (root, split if dataset.files is not None else "")
            if at not in self._signatures:
                try:
                    self._signatures[at] = signature(root, dataset.files(split, root) if dataset.files else None)
                except OSError as error:
                    raise DatasetError(
                        f"dataset {dataset.name!r}: {error.filename or root} cannot be read: {error.strerror or error}"
                    ) from error
            source, place = self._signatures[at], str(root)
        key = fingerprint([_LAYOUT, dataset.name, dataset.version, split, place, source])
        if key not in self._loaded:
            stored = self._read(key)
            if stored is None:
                self._write(key, dataset, dataset.load(split, root), split)
                stored = self._read(key)
            if stored is None:
                raise DatasetError(f"cache folder {self._folder} does not keep what is written to it: check the disk")
            self._loaded[key] = stored
        return self._loaded[key]

    def _read(self, key: str) -> StoredSplit | None:
        folder = self._folder / key
        try:
            table = json.loads((folder / "samples.json").read_text("utf-8"))
            shapes = np.array(table["shapes"], dtype=np.int64).reshape(len(table["ids"]), 3)
            pixels = np.memmap(folder / "pixels.bin", np.uint8, "r")
            stored = StoredSplit(
                pixels=pixels,
                shapes=shapes,
                class_names=None if table["class_names"] is None else tuple(table["class_names"]),
                ids=tuple(table["ids"]),
                groups=None if table["groups"] is None else tuple(table["groups"]),
                digests=tuple(table["digests"]),
                pictures=tuple(table["pictures"]),
                warnings=tuple(table["warnings"]),
            )
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            # Absent or damaged: it is read from the source again.
            return None
        whole = len(pixels) == int(shapes.prod(axis=1).sum())
        columns = (stored.class_names, stored.groups, stored.digests, stored.pictures)
        agree = all(column is None or len(column) == len(stored.ids) for column in columns)
        if not (whole and agree):
            return None
        # An entry's time tells when it was last of use; a cache that is only read goes by when it was written.
        with contextlib.suppress(OSError):
            os.utime(folder)
        return stored

    def _write(self, key: str, dataset: Dataset, samples: Samples, split: str) -> None:
        """Decode a split into the cache, picture by picture, so that it may be larger than memory."""
        where = f"dataset {dataset.name!r}, split {split}"
        names = _class_names(dataset, samples, where)
        identity = dataset.identity(split) if dataset.embedded and dataset.identity is not None else None
        shapes: list[tuple[int, ...]] = []
        digests: list[str] = []
        pictures: list[str] = []
        shrunk = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self._folder))
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            with (temporary / "pixels.bin").open("wb") as file:
                for index, image in enumerate(_images(samples)):
                    label = "" if names is None else (expression(names[index]) or names[index])
                    group = samples.groups[index] if samples.groups is not None else ""
                    pixels = image.tobytes()
                    content = f"{identity}/{samples.ids[index]}".encode() if identity is not None else pixels
                    kept = reduced(image, LARGEST_SIDE)
                    # What is kept smaller is other input than the same picture was that an earlier version kept whole.
                    mark = f"kept at {LARGEST_SIDE}/" if kept is not image else ""
                    digests.append(_digest(f"{image.shape}/{label}/{group}/{mark}", content))
                    pictures.append(_digest(f"{image.shape}/", pixels))
                    shrunk += kept is not image
                    shapes.append(kept.shape)
                    file.write(np.ascontiguousarray(kept).data)
            warnings = list(samples.warnings)
            if shrunk:
                count = "1 picture of" if shrunk == 1 else f"{shrunk} pictures of"
                warnings.append(f"{count} split {split} kept at {LARGEST_SIDE} pixels on the longer side")
            table = {
                "shapes": shapes,
                "class_names": names,
                "ids": samples.ids,
                "groups": samples.groups,
                "digests": digests,
                "pictures": pictures,
                "warnings": warnings,
            }
            (temporary / "samples.json").write_text(json.dumps(table), "utf-8")
            final = self._folder / key
            if final.exists():
                shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
        except OSError as error:
            # Another process may have put the same entry there first; anything else is the disk's fault.
            if not (self._folder / key / "samples.json").is_file():
                raise self._unwritable(error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _unwritable(self, error: OSError) -> DatasetError:
        return DatasetError(
            f"cache folder {self._folder} cannot be written: {error.strerror or error}; free room or name another "
            "folder with FERBENCH_CACHE"
        )


def _digest(head: str, content: bytes) -> str:
    return hashlib.sha256(head.encode() + content).hexdigest()


def _images(samples: Samples) -> Iterator[NDArray[np.uint8]]:
    return iter(samples.images) if isinstance(samples.images, np.ndarray) else decode_each(samples.images)


def _class_names(dataset: Dataset, samples: Samples, where: str) -> tuple[str, ...] | None:
    """The class of each sample; raises DatasetError for samples that break the contract."""
    count = len(samples.ids)
    if count == 0:
        raise DatasetError(f"{where}: it holds no sample")
    if len(samples.images) != count or (samples.labels is not None and len(samples.labels) != count):
        raise DatasetError(f"{where}: images, labels and ids differ in number: a fault of the plugin")
    if samples.groups is not None and len(samples.groups) != count:
        raise DatasetError(f"{where}: groups and ids differ in number: a fault of the plugin")
    if len(set(samples.ids)) != count:
        raise DatasetError(f"{where}: an id stands twice: a fault of the plugin")
    images = samples.images
    if isinstance(images, np.ndarray) and (
        images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3)
    ):
        raise DatasetError(f"{where}: images must be uint8 [n, H, W, 1 or 3]: a fault of the plugin")
    if samples.labels is None:
        return None
    if samples.labels.ndim != 1 or samples.labels.dtype.kind not in "iu":
        raise DatasetError(f"{where}: labels must be whole numbers [n]: a fault of the plugin")
    labels = samples.labels.tolist()
    if not 0 <= min(labels) <= max(labels) < len(dataset.classes):
        raise DatasetError(f"{where}: a label lies outside its {len(dataset.classes)} classes")
    return tuple(dataset.classes[label] for label in labels)
