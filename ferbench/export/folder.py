"""The folder of an export: all of its files or none, and none of an earlier export beside them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ferbench.errors import ExportError, UsageError

#: All that an export may consist of.
NAMES = ("model.onnx", "model.safetensors", "config.json", "README.md")


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than an earlier export, before anything is computed.

    Raises
    ------
    UsageError : it is a file or cannot be read, or holds what is not ours
    """
    try:
        if not folder.exists():
            return
        found = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise UsageError(f"{folder} is no folder for an export ({error.strerror or error}): name another") from error
    if found and not _is_export(folder, found):
        raise UsageError(f"{folder} is not empty and holds no export of ferbench: name another folder")


def _is_export(folder: Path, found: set[str]) -> bool:
    try:
        known = json.loads((folder / "config.json").read_text("utf-8")) if "config.json" in found else None
    except (OSError, ValueError):
        return False
    return isinstance(known, dict) and "ferbench_export" in known


@contextmanager
def new_files(folder: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    """Files in a folder beside the wanted one, to be looked at; put into place at the end, unless that raises.

    Parameters
    ----------
    folder : as `check_folder` accepts it; what of an earlier export is not among the files is removed

    Raises
    ------
    ExportError : the folder cannot be written or the disk is full; nothing is left behind
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
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
        # As any other new folder; mkdtemp's can be read by its owner alone.
        mask = os.umask(0)
        os.umask(mask)
        beside.chmod(0o777 & ~mask)
        beside.rename(folder)
        return
    # First what would tell of files that are no more, last what tells of those that are there.
    for name in sorted(NAMES, key=lambda name: name == "config.json"):
        if name in files:
            (beside / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> ExportError:
    return ExportError(f"{folder} cannot be written ({error.strerror or error}): free room or name another folder")
