"""Decoded splits on disk, so that a folder of images or a large CSV is read once.

A split's key holds the dataset's name and version and a signature of the files below its root (names, sizes, times), or
the identity of embedded data. Entries are written to a temporary folder and renamed: a killed process leaves none by
halves.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ferbench.components import Dataset, Samples
from ferbench.data.decoding import decode
from ferbench.errors import DatasetError
from ferbench.expressions import expression
from ferbench.fingerprints import fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Raised when the files' layout below changes.
_LAYOUT = 1


@dataclass(frozen=True, slots=True)
class StoredSplit:
    """One split, decoded.

    pixels : uint8, all images one after the other, each row-major H x W x C; memory-mapped
    shapes : int64 [n, 3]
    class_names : of each sample, the dataset's own; None where withheld
    digests : SHA-256 of each sample's pixels, expression and group, as hex
    """

    pixels: NDArray[np.uint8]
    shapes: NDArray[np.int64]
    class_names: tuple[str, ...] | None
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None
    digests: tuple[str, ...]
    warnings: tuple[str, ...]

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        """The chosen images: uint8 [k, H, W, C] where all of the split agree in shape, else a list."""
        shapes = self.shapes
        if len(shapes) and (shapes == shapes[0]).all():
            return np.asarray(self.pixels.reshape(len(shapes), *shapes[0])[indices])
        ends = np.cumsum(shapes.prod(axis=1))
        return [
            np.asarray(self.pixels[ends[i] - shapes[i].prod() : ends[i]]).reshape(shapes[i]) for i in indices.tolist()
        ]


def signature(root: Path) -> str:
    """A hash of what lies at a path: names, sizes and modification times of a file or of all files below a folder.

    Raises
    ------
    OSError : a folder that is not there or must not be read
    """
    lines: list[str] = []
    if root.is_file():
        status = root.stat()
        lines.append(f"{root.name}\t{status.st_size}\t{status.st_mtime_ns}")
    else:
        _list_files(root, "", lines, frozenset())
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def _list_files(folder: Path, prefix: str, lines: list[str], above: frozenset[Path]) -> None:
    # Links are followed, since data often lies on another disk; a link to a folder above would never end.
    here = folder.resolve()
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                _list_files(Path(entry.path), f"{prefix}{entry.name}/", lines, above | {here})
            else:
                dangling = entry.is_symlink() and not entry.is_file()
                status = entry.stat(follow_symlinks=not dangling)
                lines.append(f"{prefix}{entry.name}\t{status.st_size}\t{status.st_mtime_ns}")


class SplitCache:
    """Splits by dataset and name, read through the plugin once and from disk afterwards."""

    def __init__(self, cache_folder: Path) -> None:
        self._folder = cache_folder / "splits"
        self._signatures: dict[Path, str] = {}
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
            if root not in self._signatures:
                try:
                    self._signatures[root] = signature(root)
                except OSError as error:
                    raise DatasetError(
                        f"dataset {dataset.name!r}: {error.filename or root} cannot be read: {error.strerror or error}"
                    ) from error
            source, place = self._signatures[root], str(root)
        key = fingerprint([_LAYOUT, dataset.name, dataset.version, split, place, source])
        if key not in self._loaded:
            stored = self._read(key)
            if stored is None:
                stored = self._decode(dataset, dataset.load(split, root), split)
                self._write(key, stored)
            self._loaded[key] = stored
        return self._loaded[key]

    def _decode(self, dataset: Dataset, samples: Samples, split: str) -> StoredSplit:
        count = len(samples.ids)
        where = f"dataset {dataset.name!r}, split {split}"
        if count == 0:
            raise DatasetError(f"{where}: it holds no sample")
        if len(samples.images) != count or (samples.labels is not None and len(samples.labels) != count):
            raise DatasetError(f"{where}: images, labels and ids differ in number: a fault of the plugin")
        if samples.groups is not None and len(samples.groups) != count:
            raise DatasetError(f"{where}: groups and ids differ in number: a fault of the plugin")
        if len(set(samples.ids)) != count:
            raise DatasetError(f"{where}: an id stands twice: a fault of the plugin")
        images: Sequence[NDArray[np.uint8]]
        if isinstance(samples.images, np.ndarray):
            if samples.images.dtype != np.uint8 or samples.images.ndim != 4 or samples.images.shape[3] not in (1, 3):
                raise DatasetError(f"{where}: images must be uint8 [n, H, W, 1 or 3]: a fault of the plugin")
            images = list(samples.images)
        else:
            images = decode(samples.images)
        names = None
        if samples.labels is not None:
            if samples.labels.ndim != 1 or samples.labels.dtype.kind not in "iu":
                raise DatasetError(f"{where}: labels must be whole numbers [n]: a fault of the plugin")
            labels = samples.labels.tolist()
            if labels and not 0 <= min(labels) <= max(labels) < len(dataset.classes):
                raise DatasetError(f"{where}: a label lies outside its {len(dataset.classes)} classes")
            names = tuple(dataset.classes[label] for label in labels)
        identity = dataset.identity(split) if dataset.embedded and dataset.identity is not None else None
        digests = []
        for index in range(count):
            label = "" if names is None else (expression(names[index]) or names[index])
            group = samples.groups[index] if samples.groups is not None else ""
            content = f"{identity}/{samples.ids[index]}".encode() if identity is not None else images[index].tobytes()
            head = f"{images[index].shape}/{label}/{group}/".encode()
            digests.append(hashlib.sha256(head + content).hexdigest())
        return StoredSplit(
            pixels=np.concatenate([image.reshape(-1) for image in images]),
            shapes=np.array([image.shape for image in images], dtype=np.int64).reshape(count, 3),
            class_names=names,
            ids=tuple(samples.ids),
            groups=None if samples.groups is None else tuple(samples.groups),
            digests=tuple(digests),
            warnings=tuple(samples.warnings),
        )

    def _read(self, key: str) -> StoredSplit | None:
        folder = self._folder / key
        try:
            table = json.loads((folder / "samples.json").read_text("utf-8"))
            pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
            stored = StoredSplit(
                pixels=pixels,
                shapes=np.array(table["shapes"], dtype=np.int64).reshape(len(table["ids"]), 3),
                class_names=None if table["class_names"] is None else tuple(table["class_names"]),
                ids=tuple(table["ids"]),
                groups=None if table["groups"] is None else tuple(table["groups"]),
                digests=tuple(table["digests"]),
                warnings=tuple(table["warnings"]),
            )
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            # Absent or damaged: it is read from the source again.
            return None
        whole = pixels.dtype == np.uint8 and pixels.shape == (int(stored.shapes.prod(axis=1).sum()),)
        columns = (stored.class_names, stored.groups, stored.digests)
        agree = all(column is None or len(column) == len(stored.ids) for column in columns)
        return stored if whole and agree else None

    def _write(self, key: str, stored: StoredSplit) -> None:
        table = {
            "shapes": stored.shapes.tolist(),
            "class_names": stored.class_names,
            "ids": stored.ids,
            "groups": stored.groups,
            "digests": stored.digests,
            "warnings": stored.warnings,
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix="new-", dir=self._folder))
        except OSError as error:
            raise DatasetError(f"cache folder {self._folder} cannot be written: {error.strerror or error}") from error
        try:
            np.save(temporary / "pixels.npy", stored.pixels, allow_pickle=False)
            (temporary / "samples.json").write_text(json.dumps(table), "utf-8")
            final = self._folder / key
            if final.exists():
                shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
        except OSError as error:
            # Another process may have put the same entry there first; anything else is the disk's fault.
            if not (self._folder / key / "samples.json").is_file():
                raise DatasetError(
                    f"cache folder {self._folder} cannot be written: {error.strerror or error}"
                ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
