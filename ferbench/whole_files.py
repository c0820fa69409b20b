"""Files that are there whole or not at all: written beside their place, and put there once nothing is missing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: How names begin under which files are written; a process that is killed leaves them behind.
TEMPORARY = "new-"


@contextmanager
def whole_file(path: Path, *, hidden: bool = False, durable: bool = True) -> Iterator[BinaryIO]:
    """A file that takes the other's place at the end, and is gone without a trace where something is raised before.

    Parameters
    ----------
    path : its folder is made where there is none
    hidden : what is half written is no file that `ls` shows, in folders that people look into
    durable : on the disk before it bears its name, so that a loss of power leaves no file by halves

    Raises
    ------
    OSError : the folder cannot be written or the disk is full
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{TEMPORARY}" if hidden else TEMPORARY, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        # As any other new file; mkstemp's can be read by its owner alone.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
