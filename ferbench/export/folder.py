"""The folder of an export. A new one is there with all of its files or not at all; while an earlier export is replaced
its config.json, without which no folder is read as an export, is the first to go, and the new one is the last to come.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ferbench.errors import ExportError, UsageError
from ferbench.whole_files import HIDDEN, LEFTOVER_AFTER_SECONDS, share_as_new

#: All that an export may consist of.
NAMES = ("model.onnx", "model.safetensors", "config.json", "README.md")

#: The one that tells what the others are.
_TELLS = "config.json"

#: How the folder begins that files are written to first, where an export is to be replaced; a process that is killed
#: leaves it behind. (For a new export it lies beside the folder, and begins as other hidden things do.)
_REPLACING = ".replacing-"


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than an earlier export, before anything is computed.

    Raises
    ------
    UsageError : it is a file or cannot be read, or holds what is not ours
    """
    try:
        if not folder.exists():
            return
        found = {path.name for path in folder.iterdir() if not path.name.startswith(_REPLACING)}
    except OSError as error:
        raise UsageError(f"{folder} is no folder for an export ({error.strerror or error}): name another") from error
    # An export that was replaced when its process was killed has its config.json in the folder that was left behind.
    interrupted = found <= set(NAMES) and any(map(_is_export, folder.glob(f"{_REPLACING}*")))
    if found and not interrupted and not _is_export(folder):
        raise UsageError(f"{folder} is not empty and holds no export of ferbench: name another folder")


def _is_export(folder: Path) -> bool:
    try:
        known = json.loads((folder / _TELLS).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(known, dict) and "ferbench_export" in known


@contextmanager
def new_files(folder: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    """Files in a folder beside the wanted one, or in it where it is there already, to be looked at; put into place at
    the end, unless that raises.

    Parameters
    ----------
    folder : as `check_folder` accepts it; what of an earlier export is not among the files is removed
    files : config.json among them

    Raises
    ------
    ExportError : the folder cannot be written or the disk is full; nothing is left behind
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # What is there may lie on another disk than its parent, or in one that cannot be written.
        if folder.exists():
            beside = Path(tempfile.mkdtemp(prefix=_REPLACING, dir=folder))
        else:
            _sweep(folder.parent)
            beside = Path(tempfile.mkdtemp(prefix=HIDDEN, dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        try:
            for name, content in files.items():
                _write(beside / name, content)
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield beside
        try:
            _put(beside, folder, files)
        except OSError as error:
            raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _put(beside: Path, folder: Path, files: Mapping[str, bytes]) -> None:
    if not folder.exists():
        share_as_new(beside)
        beside.rename(folder)
        return
    (folder / _TELLS).unlink(missing_ok=True)
    try:
        for name in sorted(set(NAMES) - {_TELLS}):
            if name in files:
                (beside / name).replace(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    finally:
        # Whatever came between: without it nobody could tell what the folder is, and it could not be exported to again.
        (beside / _TELLS).replace(folder / _TELLS)
    for left in folder.glob(f"{_REPLACING}*"):
        shutil.rmtree(left, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what killed exports left beside the folders that they were to become."""
    oldest = time.time() - LEFTOVER_AFTER_SECONDS
    for left in list(parent.glob(f"{HIDDEN}*")):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < oldest and {path.name for path in left.iterdir()} <= set(NAMES):
                shutil.rmtree(left)


def _unwritable(folder: Path, error: OSError) -> ExportError:
    return ExportError(f"{folder} cannot be written ({error.strerror or error}): free room or name another folder")
