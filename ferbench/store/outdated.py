"""A store of an older ferbench that is only read: a copy of it is brought up to date, and the file stays as it is."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from ferbench.errors import StoreError


def copy_of(connect: Callable[[], sqlite3.Connection], name: str, location: str) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder with one consistent copy of a database, what its write-ahead log holds included.

    Parameters
    ----------
    connect : opens the original for reading
    name : of the copy in the folder
    location : of the original, for messages

    Raises
    ------
    StoreError : no place for a copy
    sqlite3.Error : the original cannot be read, or was held for writing all the while
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="ferbench-")
    except OSError as error:
        raise StoreError(_no_room(location, "the folder for temporary files", error)) from error
    try:
        _copy(connect, Path(folder.name) / name, location)
    except BaseException:
        folder.cleanup()
        raise
    return folder


def _copy(connect: Callable[[], sqlite3.Connection], copy: Path, location: str) -> None:
    source = connect()
    try:
        target = sqlite3.connect(copy)
        try:
            # All pages in one step, which is one state of the original.
            source.backup(target, progress=_stop_if_held)
            # Its header says by which journal it is read; a copy of its own needs no files beside it.
            target.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
                raise StoreError(_no_room(location, str(copy.parent), error)) from error
            raise
        finally:
            target.close()
    finally:
        source.close()


def _stop_if_held(status: int, remaining: int, total: int) -> None:
    # Python would try again for ever, though SQLite has waited as long as we allow.
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise sqlite3.OperationalError("database is locked")


def _no_room(location: str, folder: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or error
    return (
        f"{location} is of an older ferbench and is read from a copy, but {folder} takes none ({reason}): "
        "free some room there or set TMPDIR to another folder"
    )
