"""Files that are there whole or not at all: written beside their place, and put there once nothing is missing."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: How names begin under which files are written; a process that is killed leaves them behind.
TEMPORARY = "new-"

#: The same in folders that people look into: nobody's own file is named so.
HIDDEN = f".ferbench-{TEMPORARY}"

#: Nothing takes longer to write than this: what is older belongs to a process that is gone.
LEFTOVER_AFTER_SECONDS = 24 * 60 * 60.0


@contextmanager
def whole_file(path: Path, *, for_people: bool = False, durable: bool = True) -> Iterator[BinaryIO]:
    """A file that takes the other's place at the end, and is gone without a trace where something is raised before.

    Parameters
    ----------
    path : its folder is made where there is none
    for_people : it may be read by whoever may read the user's other new files, and what is half written is hidden;
        else it is its owner's alone, as all of the cache is
    durable : on the disk before it bears its name, so that a loss of power leaves no file by halves

    Raises
    ------
    OSError : the folder cannot be written or the disk is full
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=HIDDEN if for_people else TEMPORARY, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if for_people:
            share_as_new(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def share_as_new(path: Path) -> None:
    """Give a temporary file or folder, which its owner alone can read, the rights of any other new one."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def sweep(folder: Path, *, below: bool = False) -> None:
    """Remove the files that killed processes left in a folder that people look into; what cannot be removed stays.

    below : in the folders in it, too
    """
    oldest = time.time() - LEFTOVER_AFTER_SECONDS
    for path in list(folder.rglob(f"{HIDDEN}*") if below else folder.glob(f"{HIDDEN}*")):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_mtime < oldest:
                path.unlink()
