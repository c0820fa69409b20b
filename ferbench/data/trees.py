"""The files below a folder or inside zips, listed at once and read one by one.

A copy of a dataset may be unpacked or still be the zip that was downloaded: readers see a listing of files either way.
What leads out of the place that was named, is protected or would swell beyond reason is refused in one line.
"""

from __future__ import annotations

import re
import stat
import threading
import weakref
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ferbench.data.walk import Entry, walk
from ferbench.errors import DatasetError

#: What systems and archivers leave behind, beside names that start with a dot.
_STRAY = frozenset(("__macosx", "thumbs.db", "desktop.ini"))

#: No file that is read whole, which is one picture, is larger.
LARGEST_FILE = 256 << 20

#: A larger entry that is packed more than this many times over is a bomb; text of numbers reaches about ten.
_LARGE_ENTRY = 64 << 20
_HIGHEST_RATIO = 200
_MOST_ENTRIES = 2_000_000

_ENCRYPTED = 0x1


class TreeFile:
    """One file.

    path : below the listed place; a zip stands as a folder named as the zip without its suffix
    size : bytes, unpacked
    """

    __slots__ = ("_archive", "_place", "path", "size")

    def __init__(self, path: PurePosixPath, size: int, place: str, archive: _Archive | None = None) -> None:
        self.path = path
        self.size = size
        self._place = place
        self._archive = archive

    def __str__(self) -> str:
        """Where it lies, for messages."""
        return self._place if self._archive is None else f"{self._archive.path}: {self._place}"

    def open(self) -> IO[bytes]:
        """The bytes as a stream; from a zip they come unpacked, and the end of a damaged entry raises zipfile's errors.

        Raises
        ------
        DatasetError : it cannot be opened
        """
        try:
            if self._archive is not None:
                return self._archive.open(self._place)
            _refuse_special(self._place, Path(self._place).stat().st_mode)
            return Path(self._place).open("rb")
        except FileNotFoundError:
            raise DatasetError(f"{self} does not exist: the copy of the data is incomplete") from None
        except OSError as error:
            raise DatasetError(f"{self} cannot be read ({error.strerror or error}): check its rights") from error

    def read_bytes(self) -> bytes:
        """The whole content.

        Raises
        ------
        DatasetError : it cannot be read, is damaged, or is larger than any picture
        """
        if self.size > LARGEST_FILE:
            raise DatasetError(f"{self} has {self.size >> 20} MB, more than any picture of a face: remove it")
        with self.open() as stream:
            try:
                return stream.read(LARGEST_FILE)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise DatasetError(f"{self} is damaged inside its zip ({error}): get the zip again") from error
            except OSError as error:
                raise DatasetError(f"{self} cannot be read ({error.strerror or error}): check the disk") from error


class _Archive:
    """A zip, opened when the first of its entries is read; entries are read by several threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        self._lock = threading.Lock()

    def entries(self) -> list[zipfile.ZipInfo]:
        try:
            _refuse_special(self.path, self.path.stat().st_mode)
            with zipfile.ZipFile(self.path) as opened:
                return opened.infolist()
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise DatasetError(f"{self.path} is no whole zip ({error}): get it again") from error
        except OSError as error:
            raise DatasetError(f"{self.path} cannot be read ({error.strerror or error}): check its rights") from error

    def open(self, name: str) -> IO[bytes]:
        try:
            with self._lock:
                if self._zip is None:
                    self._zip = zipfile.ZipFile(self.path)
                    # The collector may reach the file before the zip that would close it.
                    weakref.finalize(self, self._zip.close)
            return self._zip.open(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
            raise DatasetError(f"{self.path}: {name} cannot be unpacked ({error}): get the zip again") from error


def tree_files(root: Path, *, into_zips: bool = False, only: Collection[str] = ()) -> tuple[TreeFile, ...]:
    """All files at a place in order of their paths, without what systems leave behind.

    Links within the folder are followed: to a file always, to a folder as `walk` does, once and never upwards.

    Parameters
    ----------
    root : a folder, or a zip
    into_zips : list the entries of zips below the folder too
    only : names right below the folder that are looked at; all if none are given

    Raises
    ------
    DatasetError : a link out of the folder, a folder that must not be read, a pipe or a device; a zip that is damaged,
        protected by a password, has an entry that leads out of it, or would swell beyond reason
    """
    found = _walked(root, into_zips, only) if root.is_dir() else _unpacked(root, PurePosixPath())
    return tuple(sorted(found, key=lambda file: file.path.parts))


def subfolders(folder: Path) -> list[Path]:
    """The folders right below one, sorted by name, without what systems leave behind; empty if it is no folder."""
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir() and not is_stray(each.name))
    except OSError:
        return []


def is_stray(name: str) -> bool:
    """Whether a name is something that a system or an archiver left behind."""
    return name.startswith(".") or name.casefold() in _STRAY


def is_zip(name: str) -> bool:
    """Whether a file's name says that it is a zip."""
    return name.casefold().endswith(".zip")


def _walked(root: Path, into_zips: bool, only: Collection[str]) -> Iterator[TreeFile]:
    def passed_over(prefix: str, name: str) -> bool:
        return is_stray(name) or bool(only and not prefix and name not in only)

    real = root.resolve()
    try:
        for entry in walk(root, outside=False, passed_over=passed_over):
            if entry.target is not None:
                _refuse_link(entry, entry.target, root, real)
            if entry.is_folder:
                continue
            _refuse_special(entry.place, entry.status.st_mode)
            path = PurePosixPath(entry.path)
            if into_zips and is_zip(path.name):
                yield from _unpacked(Path(entry.place), path.with_suffix(""))
            else:
                yield TreeFile(path, entry.status.st_size, entry.place)
    except OSError as error:
        place = Path(error.filename or root)
        what = "folder " if place.is_dir() else ""
        reason = error.strerror or str(error)
        raise DatasetError(f"{what}{place} cannot be read ({reason}): check its rights") from error


def _refuse_link(link: Entry, target: Path, root: Path, real: Path) -> None:
    if link.fault is not None:
        lost = isinstance(link.fault, FileNotFoundError)
        why = "does not exist" if lost else f"cannot be reached ({link.fault.strerror})"
        raise DatasetError(f"{link.place} is a link to {target}, which {why}: mend or remove it")
    if not target.is_relative_to(real):
        raise DatasetError(
            f"{link.place} is a link that leads out of {root}: put a copy there, or make {root} itself the link"
        )


def _refuse_special(place: str | Path, mode: int) -> None:
    """Refuse what a read would wait for without end, as for a pipe that nobody writes to."""
    kinds = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    kind = kinds.get(stat.S_IFMT(mode))
    if kind is not None:
        raise DatasetError(f"{place} is no file but a {kind}, which holds no data of its own: remove it")


def _unpacked(path: Path, mounted: PurePosixPath) -> Iterator[TreeFile]:
    archive = _Archive(path)
    entries = archive.entries()
    if len(entries) > _MOST_ENTRIES:
        raise DatasetError(f"{path} has {len(entries)} entries, more than any dataset of faces: unpack it yourself")
    seen: set[PurePosixPath] = set()
    for entry in entries:
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if not name.parts:
            raise DatasetError(f"{path} has an entry without a name: get it from its publisher")
        if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", entry.filename):
            raise DatasetError(f"{path}: entry {entry.filename!r} leads out of the zip: get it from its publisher")
        if entry.is_dir() or any(is_stray(part) for part in name.parts):
            continue
        if entry.flag_bits & _ENCRYPTED:
            raise DatasetError(
                f"{path} is protected by a password (entry {entry.filename!r}): unpack it and name the folder"
            )
        if entry.file_size > _LARGE_ENTRY and entry.file_size > _HIGHEST_RATIO * entry.compress_size:
            raise DatasetError(
                f"{path}: entry {entry.filename!r} of {entry.compress_size} bytes would unpack to "
                f"{entry.file_size >> 20} MB, as a zip bomb does: get it from its publisher"
            )
        if name in seen:
            raise DatasetError(f"{path} has two entries {entry.filename!r}: get it from its publisher")
        seen.add(name)
        yield TreeFile(mounted / name, entry.file_size, entry.filename, archive)
