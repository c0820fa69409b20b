"""What lies in the cache folder: entries of each kind with their size and last use, and their removal.

Whatever else lies there is left alone and not counted. An entry may vanish at any time, since other processes share
the folder; it is then passed over.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ferbench.errors import CheckpointError
from ferbench.whole_files import LEFTOVER_AFTER_SECONDS, TEMPORARY

Kind = Literal["checkpoints", "partials", "features", "splits", "reduced", "faces", "leftovers"]

#: Each is a folder below the cache folder.
FOLDERS: tuple[Kind, ...] = ("checkpoints", "partials", "features", "splits", "reduced", "faces")

#: Those, and what killed processes left in any of them under a temporary name.
KINDS: tuple[Kind, ...] = (*FOLDERS, "leftovers")

_KEY = re.compile(r"([0-9a-f]{64})(\..+)?")


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """What is kept, and goes, as one.

    name : a stage's fingerprint for checkpoints and partials, a key for what is cached, a file's name for leftovers
    paths : its files, or its folder
    used_at : when it was last used, in seconds since 1970; the latest modification time in it
    """

    kind: Kind
    name: str
    paths: tuple[Path, ...]
    bytes: int
    used_at: float


@dataclass(slots=True)
class _Found:
    paths: list[Path]
    bytes: int = 0
    used_at: float = 0.0


def cache_entries(folder: Path, now: float | None = None) -> list[CacheEntry]:
    """Every entry of a cache folder, by kind and name.

    Raises
    ------
    CheckpointError : a folder that must not be read
    """
    oldest_temporary = (time.time() if now is None else now) - LEFTOVER_AFTER_SECONDS
    entries: list[CacheEntry] = []
    for kind in FOLDERS:
        found: dict[tuple[Kind, str], _Found] = defaultdict(lambda: _Found([]))
        for item in _listed(folder / kind):
            temporary = item.name.startswith(TEMPORARY)
            key = _KEY.fullmatch(item.name)
            if not temporary and (key is None or not _fits(kind, item, key)):
                continue
            with contextlib.suppress(FileNotFoundError):
                size, used_at = _measured(item)
                if temporary and used_at > oldest_temporary:
                    continue
                name = item.name if key is None else key[1]
                entry = found["leftovers" if temporary else kind, name]
                entry.paths.append(Path(item.path))
                entry.bytes += size
                entry.used_at = max(entry.used_at, used_at)
        entries += [
            CacheEntry(own, name, tuple(sorted(each.paths)), each.bytes, each.used_at)
            for (own, name), each in found.items()
        ]
    return sorted(entries, key=lambda entry: (KINDS.index(entry.kind), entry.name))


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return list(items)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(
            f"cache folder {folder} cannot be read: {error.strerror or error}; make it readable or name another folder "
            "with FERBENCH_CACHE"
        ) from error


def _fits(kind: Kind, item: os.DirEntry[str], key: re.Match[str]) -> bool:
    """Whether something of a key's name is what this kind keeps; links are whoever made them's."""
    if kind in ("checkpoints", "partials"):
        return key[2] == ".safetensors" and item.is_file(follow_symlinks=False)
    if kind == "splits":
        return key[2] is None and item.is_dir(follow_symlinks=False)
    return key[2] is not None and item.is_file(follow_symlinks=False)


def _measured(item: os.DirEntry[str]) -> tuple[int, float]:
    """Bytes and latest modification time of a file, or of a folder with all that is in it."""
    status = item.stat(follow_symlinks=False)
    if not item.is_dir(follow_symlinks=False):
        return status.st_size, status.st_mtime
    size, used_at = 0, status.st_mtime
    for inner in _listed(Path(item.path)):
        with contextlib.suppress(FileNotFoundError):
            inner_size, inner_used_at = _measured(inner)
            size += inner_size
            used_at = max(used_at, inner_used_at)
    return size, used_at


def remove_entry(entry: CacheEntry) -> bool:
    """Remove an entry, unless it was used since it was listed; gives whether it is gone.

    Raises
    ------
    CheckpointError : it cannot be removed
    """
    try:
        if _used_since(entry):
            return False
        # What describes the others goes first: what a process that is killed here leaves is not taken for whole.
        for path in sorted(entry.paths, key=lambda path: (path.suffix != ".json", path)):
            if path.is_dir():
                _remove_folder(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or entry.paths[0]} cannot be removed: {error.strerror or error}; make its folder "
            "writable, or remove it by hand"
        ) from error
    return True


def _used_since(entry: CacheEntry) -> bool:
    times = []
    for path in entry.paths:
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times, default=0.0) > entry.used_at


def _remove_folder(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not path.name.startswith(TEMPORARY):
            # Renamed first: whoever looks for it finds it whole or not at all.
            aside = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=path.parent))
            try:
                path = path.rename(aside)
            except OSError:
                aside.rmdir()
                raise
        shutil.rmtree(path)
