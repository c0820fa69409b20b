"""A site's folder on disk: each file whole or not at all, and nothing touched that is not the site's own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ferbench.errors import FerbenchError, UsageError
from ferbench.whole_files import HIDDEN, sweep, whole_file

#: Lists a site's files, so that the next publication knows which of them are its own.
MANIFEST = "site.json"

#: What a manifest says it is; raised where an older ferbench would misread it.
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class WrittenSite:
    """What lies in the folder now.

    files : with the manifest
    size_bytes : of all files
    rows : pages of rows
    removed : files of an earlier publication that are no more
    """

    files: int
    size_bytes: int
    rows: int
    removed: int


def check_folder(folder: Path, *, force: bool = False) -> None:
    """Refuse a folder that holds what is not a site, before anything is computed.

    force : files of a site are written beside what is there, and in the place of what bears their names

    Raises
    ------
    UsageError : the folder is a file, or holds something and is no site
    """
    _earlier(folder, force)


def write_site(folder: Path, files: Iterable[tuple[PurePosixPath, bytes]], *, force: bool = False) -> WrittenSite:
    """Write a site's files into a folder and remove those of an earlier publication that it has no more.

    A publication that is broken off leaves a folder that the next one takes for a site.

    Parameters
    ----------
    files : paths from the folder, with their bytes
    force : as in `check_folder`

    Raises
    ------
    UsageError : as `check_folder`
    FerbenchError : the folder cannot be written
    """
    earlier = _earlier(folder, force)
    written: dict[str, int] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder, below=True)
        _write(folder, MANIFEST, _manifest(earlier))
        try:
            for path, content in files:
                written[str(path)] = len(content)
                _write(folder, str(path), content)
        except BaseException:
            _write(folder, MANIFEST, _manifest({*earlier, *written}))
            raise
        removed = sum(_remove(folder, path) for path in sorted(earlier - written.keys(), reverse=True))
        manifest = _manifest(written)
        _write(folder, MANIFEST, manifest)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FerbenchError(f"{folder} cannot be written ({reason}): free room or name another folder") from error
    return WrittenSite(
        files=len(written) + 1,
        size_bytes=sum(written.values()) + len(manifest),
        rows=sum(PurePosixPath(path).match("boards/*/rows/*.html") for path in written),
        removed=removed,
    )


def _earlier(folder: Path, force: bool) -> set[str]:
    """The files of the site that lies there; none of a new folder."""
    try:
        # Half of its first file may be all that a publication left that was killed.
        if not folder.exists() or all(path.name.startswith(HIDDEN) and path.is_file() for path in folder.iterdir()):
            return set()
        known = _listed((folder / MANIFEST).read_bytes()) if (folder / MANIFEST).is_file() else None
    except OSError as error:
        raise UsageError(f"{folder} is no folder for a site ({error.strerror or error}): name another one") from error
    if known is None and not force:
        raise UsageError(
            f"{folder} is not empty and holds no site of ferbench: name another folder, or give --force to write "
            "among what is there"
        )
    return known or set()


def _listed(content: bytes) -> set[str] | None:
    """The files that a manifest lists, without those that lie outside the folder; None where it is none."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.get("ferbench_site") != _FORMAT or not isinstance(value.get("files"), list):
        return None
    return {path for path in value["files"] if isinstance(path, str) and _inside(path)}


def _inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and not {"\\", ":", "\0"} & set(path)


def _manifest(files: Iterable[str]) -> bytes:
    return (json.dumps({"ferbench_site": _FORMAT, "files": sorted(files)}, indent=1) + "\n").encode()


def _write(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    with contextlib.suppress(FileNotFoundError):
        # Left as it is, so that what copies the site elsewhere copies only what has changed.
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return
    with whole_file(path, for_people=True, durable=False) as file:
        file.write(content)


def _remove(folder: Path, name: str) -> bool:
    """Remove a file, and the folders that are empty without it; nothing behind a link."""
    path = folder / name
    below = [folder.joinpath(*PurePosixPath(name).parts[:count]) for count in range(1, len(PurePosixPath(name).parts))]
    if any(each.is_symlink() for each in below) or not (path.is_file() or path.is_symlink()):
        return False
    path.unlink()
    for each in reversed(below):
        try:
            each.rmdir()
        except OSError:
            break
    return True
