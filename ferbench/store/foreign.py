"""Opening a store that somebody else wrote.

A database file is a program in part: views, triggers, virtual tables and computed columns run when it is read. One that
holds any of them was not written by ferbench, and is closed again before its rows are asked for.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ferbench.errors import StoreError
from ferbench.store.connection import read_only_connection, translated
from ferbench.store.repository import Store, open_store

#: What `hidden` is in SQLite's table_xinfo for a computed column.
_COMPUTED = (2, 3)

#: What `cid` is in SQLite's index_xinfo for an expression.
_EXPRESSION = -2

#: Tables and indexes that SQLite makes by itself.
_OF_SQLITE = "sqlite_"


def open_foreign(url_or_path: str) -> Store:
    """Open for reading a store that is not ours; one of an older ferbench is read from a copy.

    Raises
    ------
    StoreError : no store, one that cannot be read, or a file that ferbench would not have written
    """
    path = store_file(url_or_path)
    if path is not None and path.is_file():
        _vet(path)
    return open_store(url_or_path, read_only=True)


def store_file(url_or_path: str) -> Path | None:
    """The file that a store's address names; None for a server's."""
    if "://" not in url_or_path:
        return Path(url_or_path).expanduser()
    try:
        url = make_url(url_or_path)
    except ArgumentError:
        return None
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def same_store(one: str, other: str) -> bool:
    """Whether two addresses name one store, as far as that can be told without asking a server."""
    files = [store_file(each) for each in (one, other)]
    if files[0] is not None and files[1] is not None:
        try:
            return files[0].samefile(files[1])
        except OSError:
            return files[0].absolute() == files[1].absolute()
    return one == other


def _vet(path: Path) -> None:
    with translated(str(path)):
        connection = read_only_connection(path)
        try:
            for fault in _faults(connection):
                raise StoreError(f"{path} was not written by ferbench, {fault}: do not merge it")
        finally:
            connection.close()


def _faults(connection: sqlite3.Connection) -> list[str]:
    connection.execute("PRAGMA cell_size_check = ON")
    faults = []
    for kind, name, page, text in connection.execute("SELECT type, name, rootpage, sql FROM sqlite_master").fetchall():
        if kind not in ("table", "index"):
            faults.append(f"it holds a {kind!a}")
        elif kind == "table" and (not page or not str(text).upper().startswith("CREATE TABLE")):
            faults.append("it holds a virtual table")
        elif kind == "table":
            columns = connection.execute("SELECT hidden FROM pragma_table_xinfo(?)", (name,))
            if any(hidden in _COMPUTED for (hidden,) in columns):
                faults.append("it holds a computed column")
            indexes = connection.execute('SELECT "partial" FROM pragma_index_list(?)', (name,))
            if any(partial for (partial,) in indexes):
                faults.append("it holds an index of some rows alone")
        elif not str(name).startswith(_OF_SQLITE):
            keys = connection.execute("SELECT cid FROM pragma_index_xinfo(?)", (name,))
            if any(cid == _EXPRESSION for (cid,) in keys):
                faults.append("it holds an index of expressions")
    return faults
