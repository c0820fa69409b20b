"""Opening the database: one engine that writes, one that reads.

SQLite's writers begin with BEGIN IMMEDIATE: a transaction that starts as a reader and turns writer fails with "database
is locked" whatever its timeout, and the driver's default mode loses updates. Readers begin plainly and never wait.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from ferbench.errors import StoreError, StoreOutdated
from ferbench.store.filesystem import journal_mode
from ferbench.store.migrations import migrate, require_newest
from ferbench.store.outdated import copy_of

#: How long a writer waits for the others. Each holds the store for milliseconds; this is for slow disks.
BUSY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Database:
    """An opened store. `writer` is None where it is only read; `journal` is SQLite's journal mode, or None.

    `copy` is the folder that holds what is read in the place of an outdated file; it goes when the store is closed.
    """

    location: str
    reader: Engine
    writer: Engine | None
    journal: str | None
    copy: tempfile.TemporaryDirectory[str] | None = None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the store throughout."""
        with translated(self.location), self.reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed at its end, or not at all."""
        if self.writer is None:
            raise StoreError(f"{self.location} is open for reading only: open it for writing to add to it")
        with translated(self.location), self.writer.begin() as connection:
            yield connection

    def close(self) -> None:
        self.reader.dispose()
        if self.writer is not None:
            self.writer.dispose()
        if self.copy is not None:
            self.copy.cleanup()


@contextmanager
def translated(location: str) -> Iterator[None]:
    """Turn the database's errors into StoreError, each with its one line."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"{location} {_reason(str(cause))}") from error


def open_database(url_or_path: str, read_only: bool) -> Database:
    """Open, and unless `read_only` create and migrate, the store at a path or SQLAlchemy URL.

    Raises
    ------
    StoreOutdated : with `read_only`, a server's store of an older ferbench; of a file a migrated copy is read
    StoreError : what cannot be opened
    """
    if "://" not in url_or_path:
        return _open_file(Path(url_or_path), read_only)
    try:
        url = make_url(url_or_path)
    except ArgumentError as error:
        raise StoreError(
            f"{url_or_path!r} is not a store's address: give a file's path or postgresql://user@host/name"
        ) from error
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise StoreError(f"{url_or_path!r} names no file: give the path of a store")
        return _open_file(Path(url.database), read_only)
    return _open_server(url, read_only)


def _open_server(url: URL, read_only: bool) -> Database:
    location = url.render_as_string(hide_password=True)
    if url.get_backend_name() != "postgresql":
        raise StoreError(f"{location} is no kind of store: stores are SQLite files or PostgreSQL databases")
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(url)
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(
            f"{location} cannot be reached without a driver ({error}): pip install 'psycopg[binary]'"
        ) from error
    # Server transactions see others' commits between two queries by default; a reader must not.
    reader = engine.execution_options(isolation_level="REPEATABLE READ")
    database = Database(location, reader, None if read_only else engine, None)
    _prepare(database)
    return database


def _open_file(path: Path, read_only: bool) -> Database:
    path = path.expanduser().absolute()
    location = str(path)
    if path.is_dir():
        raise StoreError(f"{location} is a folder: name a file in it, such as {path / 'leaderboard.sqlite'}")
    if read_only:
        if not path.exists():
            raise StoreError(f"there is no store at {location} yet: `ferbench run` makes it")
        with translated(location):
            connect = _connector(path, _read_query(path))
            reader = _sqlite_engine(path, connect, "BEGIN")
        database = Database(location, reader, None, None)
        try:
            _prepare(database)
        except StoreOutdated:
            return _open_copy(connect, path.name, location)
        return database
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next((above for above in path.parents if above.is_file()), path.parent)
        raise StoreError(f"{location} cannot be made, {file} is a file and no folder: choose another path") from error
    except OSError as error:
        raise StoreError(
            f"{location} cannot be made ({error.strerror}): make its folder writable, "
            "or choose another store with --store"
        ) from error
    with translated(location):
        connect = _connector(path, "mode=rwc")
        journal = _prepare_file(connect, path, location)
    reader = _sqlite_engine(path, _connector(path, "mode=rw", "PRAGMA query_only = ON"), "BEGIN")
    database = Database(location, reader, _sqlite_engine(path, connect, "BEGIN IMMEDIATE"), journal)
    _prepare(database)
    return database


def _open_copy(connect: Callable[[], sqlite3.Connection], name: str, location: str) -> Database:
    with translated(location):
        folder = copy_of(connect, name, location)
    copy = Path(folder.name) / name
    engine = _sqlite_engine(copy, _connector(copy, "mode=rw"), "BEGIN IMMEDIATE")
    _prepare(Database(location, engine, engine, None, folder))
    engine.dispose()
    return Database(location, _sqlite_engine(copy, _connector(copy, "mode=ro"), "BEGIN"), None, None, folder)


def _prepare(database: Database) -> None:
    try:
        if database.writer is not None:
            with database.writing() as connection:
                migrate(connection, database.location)
        else:
            with database.reading() as connection:
                require_newest(connection, database.location)
    except BaseException:
        database.close()
        raise


def _connector(path: Path, query: str, *statements: str) -> Callable[[], sqlite3.Connection]:
    address = f"{path.as_uri()}?{query}"

    def connect() -> sqlite3.Connection:
        # isolation_level=None: the driver must not begin transactions of its own kind.
        connection = sqlite3.connect(
            address, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        # Untrusted: a file that was sent by somebody cannot make its schema call what has effects.
        for statement in ("PRAGMA foreign_keys = ON", "PRAGMA trusted_schema = OFF", *statements):
            connection.execute(statement)
        return connection

    return connect


def _sqlite_engine(path: Path, connect: Callable[[], sqlite3.Connection], begin: str) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), creator=connect, poolclass=QueuePool)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _prepare_file(connect: Callable[[], sqlite3.Connection], path: Path, location: str) -> str:
    """Set the journal mode of a new store or one of ours, and give the mode that is in force."""
    wanted = journal_mode(path)
    connection = connect()
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and "schema_version" not in tables:
            # Another program's file stays as it is; stored_version says so.
            return wanted
        return _set_journal(connection, wanted)
    finally:
        connection.close()


def _set_journal(connection: sqlite3.Connection, wanted: str) -> str:
    # Changing the mode needs the file alone, and SQLite does not wait for that by itself.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            (current,) = connection.execute("PRAGMA journal_mode").fetchone()
            if current != wanted:
                (current,) = connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return str(current)


def _read_query(path: Path) -> str:
    """How to open a file that is only read: a write-ahead log needs a writable folder unless the file stands still."""
    connection = _connector(path, "mode=ro")()
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise StoreError(
                f"{path} has unfinished business in {log.name} and lies in a read-only folder: "
                "copy both files to a writable folder and read them there"
            ) from None
        return "mode=ro&immutable=1"
    finally:
        connection.close()
    return "mode=ro"


def read_only_connection(path: Path) -> sqlite3.Connection:
    """A plain connection to a file that is only read.

    Raises
    ------
    StoreError, sqlite3.Error : it cannot be opened
    """
    path = path.expanduser().absolute()
    return _connector(path, _read_query(path))()


def _reason(message: str) -> str:
    known = {
        "file is not a database": "is not an SQLite database: choose another file with --store",
        "unable to open database file": "cannot be opened: make the file and its folder writable, "
        "or choose another store with --store",
        "attempt to write a readonly database": "is read-only: make the file and its folder writable, "
        "or choose another store with --store",
        "database is locked": f"was held by another process for {BUSY_SECONDS:.0f} s: end that process and try again",
        "database disk image is malformed": "is damaged: put a copy of it in its place, "
        "or name another store with --store",
        "disk is full": "cannot grow, the disk is full: free some space and run again",
        # SQLite's words for a quota or a limit on the size of files, and for a disk that fails.
        "disk I/O error": "cannot be read or written, the disk is full or broken: free some space and run again, "
        "or choose another store with --store",
    }
    for words, reason in known.items():
        if words in message:
            return reason
    return f"cannot be used: {message}"
