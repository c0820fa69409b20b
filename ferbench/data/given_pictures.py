"""The pictures that somebody names: files, folders, patterns and standard input, each picture once."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from ferbench.components import ImageFile
from ferbench.data.decoding import SUFFIXES
from ferbench.data.walk import walk

#: What stands for standard input.
STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class GivenPicture:
    """One picture.

    name : as people named it, or below a folder that they named
    below : its path below that folder, or below the folder that a pattern begins with; else its file name
    """

    name: str
    below: PurePath
    file: ImageFile


@dataclass(frozen=True, slots=True)
class NotGiven:
    """A name that leads to no picture; `line` says why and what to do."""

    name: str
    line: str


@dataclass(frozen=True, slots=True)
class InputPicture:
    """A picture that came in as bytes."""

    content: bytes

    def __str__(self) -> str:
        return "on standard input"

    def read_bytes(self) -> bytes:
        return self.content


def given_pictures(
    names: Iterable[str], read_input: Callable[[], bytes], left_out: Path | None = None
) -> Iterator[GivenPicture | NotGiven]:
    """Pictures in the order in which they are named; those of a folder or a pattern sorted by path.

    Of a folder every file below it is taken that has a picture's suffix, hidden ones left out; of a pattern (`*`, `?`,
    `[…]`, `**` for folders at any depth) every such file that fits. A file that is named is taken whatever its suffix.

    Parameters
    ----------
    read_input : gives the bytes of the picture that `-` stands for
    left_out : a folder that is not looked into on the way, since answers are drawn there; it can be named all the same
    """
    seen: set[str] = set()
    real: dict[str, str] = {}
    drawn = _Folder(left_out)
    for name in names:
        for found in _named(name, read_input, drawn):
            if isinstance(found, GivenPicture) and isinstance(found.file, Path):
                # By whatever way its folder was reached; links with names of their own are pictures of their own.
                folder = str(found.file.parent)
                real[folder] = real.get(folder) or os.path.realpath(folder)
                place = f"{real[folder]}/{found.file.name}"
                if place in seen:
                    continue
                seen.add(place)
            yield found


class _Folder:
    """One that may not be there; whatever path leads to it, it is the same."""

    def __init__(self, path: Path | None) -> None:
        self._known: dict[str, bool] = {}
        self._status: os.stat_result | None = None
        with contextlib.suppress(OSError):
            self._status = None if path is None else path.stat()

    def is_at(self, path: str) -> bool:
        if self._status is None:
            return False
        if path not in self._known:
            self._known[path] = False
            with contextlib.suppress(OSError):
                self._known[path] = os.path.samestat(Path(path).stat(), self._status)
        return self._known[path]


def _named(name: str, read_input: Callable[[], bytes], left_out: _Folder) -> Iterator[GivenPicture | NotGiven]:
    if name == STANDARD_INPUT:
        yield GivenPicture(name, PurePath("standard-input"), InputPicture(read_input()))
        return
    path = Path(name).expanduser()
    try:
        if path.is_dir():
            yield from _below(name, path, left_out)
        elif os.path.lexists(path):
            yield GivenPicture(name, PurePath(path.name), path)
        elif glob.has_magic(name):
            yield from _fitting(name, path, left_out)
        else:
            yield NotGiven(name, f"{name} does not exist: name a picture, a folder, or a pattern in quotes")
    except OSError as error:
        yield _unreadable(name, error)


def _unreadable(name: str, error: OSError) -> NotGiven:
    place = str(error.filename or name)
    return NotGiven(place, f"{place} cannot be read ({error.strerror or error}): check its rights")


def _below(name: str, folder: Path, left_out: _Folder) -> Iterator[GivenPicture | NotGiven]:
    found = False
    faults: list[OSError] = []

    def passed_over(above: str, part: str) -> bool:
        return part.startswith(".") or left_out.is_at(f"{folder}/{above}{part}")

    for entry in walk(folder, outside=True, passed_over=passed_over, on_fault=faults.append):
        if not entry.is_folder and _is_picture(entry.path):
            found = True
            yield GivenPicture(str(PurePath(name) / entry.path), PurePath(entry.path), Path(entry.place))
    yield from (_unreadable(name, fault) for fault in faults)
    if not found and not faults:
        yield NotGiven(name, f"folder {name} has no picture in it or below it ({', '.join(sorted(SUFFIXES))})")


def _fitting(name: str, pattern: Path, left_out: _Folder) -> Iterator[GivenPicture | NotGiven]:
    parts = pattern.parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    base, rest = Path(*parts[:fixed]), parts[fixed:]
    rest = (*rest, "*") if rest[-1] == "**" else rest
    hidden = any(part.startswith(".") for part in rest)
    try:
        paths = sorted(base.glob(str(PurePath(*rest))))
    except ValueError:
        yield NotGiven(name, f"{name} is no pattern: ** stands for folders at any depth, alone between slashes")
        return
    if not hidden:
        # As in a shell, a name that begins with a dot must be asked for.
        paths = [path for path in paths if not any(part.startswith(".") for part in path.parts[len(base.parts) :])]
    files = [path for path in paths if _is_picture(path.name) and not path.is_dir()]
    # Folders between the one that the pattern begins with and the picture.
    between = {path: path.parents[: len(path.parts) - len(base.parts) - 1] for path in files}
    files = [path for path in files if not any(left_out.is_at(str(each)) for each in between[path])]
    if not files:
        yield NotGiven(name, f"no picture fits {name}: in a pattern, * stands for any part of a name, ** for folders")
    for path in files:
        below = path.relative_to(base)
        yield GivenPicture(str(path), PurePath(path.name) if ".." in below.parts else below, path)


def _is_picture(name: str) -> bool:
    return PurePath(name).suffix.lower() in SUFFIXES
