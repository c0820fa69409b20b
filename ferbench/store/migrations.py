"""Bringing a store to the newest schema; append-only.

A change of the tables is one more function at the end of MIGRATIONS, and never a change of an earlier one: people's
stores have run those.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    insert,
    inspect,
    select,
    text,
    update,
)

from ferbench.errors import StoreError, StoreOutdated
from ferbench.store.schema import metadata, schema_version

Migration = Callable[[Connection], None]


#: What reading or writing a record raises that holds something else than it should; whoever reads it later says so.
_BROKEN = (ValueError, TypeError, KeyError, AttributeError, RecursionError)

#: The largest whole number that a column takes.
_LARGEST = 2**63 - 1


def _in_columns(values: dict[str, Any]) -> dict[str, Any]:
    """Values as they are; raises one of _BROKEN where no column takes one, and UnicodeEncodeError is a ValueError."""
    for name, value in values.items():
        if isinstance(value, str):
            value.encode()
        elif isinstance(value, int) and abs(value) > _LARGEST:
            raise ValueError(f"{name} is too large")
        elif not (value is None or isinstance(value, (int, float, bytes))):
            raise TypeError(f"{name} is no value")
    return values


def _add_train_fraction(connection: Connection) -> None:
    """The part of the target's train samples that was trained on: all, or none where the chain saw none of them."""
    connection.execute(text("ALTER TABLE runs ADD COLUMN train_fraction DOUBLE PRECISION NOT NULL DEFAULT 1"))
    # A failed run keeps what it was asked for: it saw nothing of anything.
    for row, record in connection.execute(text("SELECT id, record FROM runs WHERE status = 'finished'")).all():
        try:
            run = json.loads(record)
            untouched = run["target_images_seen"] == 0
            changed = json.dumps(run | {"train_fraction": 0.0}, ensure_ascii=False, separators=(",", ":"))
            _in_columns({"record": changed})
        except _BROKEN:
            continue
        if untouched:
            connection.execute(
                text("UPDATE runs SET train_fraction = 0, record = :record WHERE id = :row"),
                {"record": changed, "row": row},
            )


def _add_trainings_and_speeds(connection: Connection) -> None:
    """The log of trainings, filled with one of each stage; the speed board; pruned checkpoints; speed of features; what
    runs cost, and on what."""
    # Tables as they were made then: those of schema.py may change.
    tables = MetaData()
    log = Table(
        "trainings",
        tables,
        Column("id", Integer, primary_key=True),
        Column("stage", String(64), nullable=False, index=True),
        Column("images", BigInteger, nullable=False),
        Column("train_seconds", Double, nullable=False),
        Column("spent_seconds", Double),
        Column("micro_batch", Integer, nullable=False),
        Column("device", Text, nullable=False),
        Column("threads", Integer, nullable=False),
        Column("saved_at", Double, nullable=False),
    )
    Table(
        "speed_measurements",
        tables,
        Column("id", Integer, primary_key=True),
        Column("backbone", Text, nullable=False),
        Column("image_size", Integer, nullable=False),
        Column("batch_size", Integer, nullable=False),
        Column("precision", Text, nullable=False),
        Column("device", Text, nullable=False),
        Column("threads", Integer, nullable=False),
        Column("compiled", Boolean, nullable=False),
        Column("processor", Text, nullable=False),
        Column("torch", Text, nullable=False),
        Column("saved_at", Double, nullable=False),
        Column("record", Text, nullable=False),
        UniqueConstraint(
            *("backbone", "image_size", "batch_size", "precision", "device", "threads", "compiled"),
            *("processor", "torch"),
        ),
    )
    tables.create_all(connection, checkfirst=False)
    for statement in (
        *(f"ALTER TABLE runs ADD COLUMN {name} {kind}" for name, kind in (_RUN_COSTS | _RUN_CIRCUMSTANCES).items()),
        "ALTER TABLE stages ADD COLUMN features_per_second DOUBLE PRECISION",
        "ALTER TABLE stages ADD COLUMN pruned BOOLEAN NOT NULL DEFAULT FALSE",
        "CREATE INDEX stages_by_kind ON stages (backbone, image_size, trainable, precision, batch_size, device, "
        "threads, saved_at DESC, id DESC)",
        "CREATE INDEX stages_by_pruned ON stages (pruned, fingerprint)",
    ):
        connection.execute(text(statement))
    query = text("SELECT fingerprint, saved_at, device, threads, result FROM stages ORDER BY saved_at, id")
    rows = []
    for stage, saved_at, device, threads, result in connection.execute(query):
        try:
            record = json.loads(result)
            values = {
                "stage": stage,
                "images": record["images_seen"],
                "train_seconds": record["train_seconds"],
                "spent_seconds": record.get("spent_seconds"),
                "micro_batch": record["micro_batch"],
                "device": device,
                "threads": threads,
                "saved_at": saved_at,
            }
            rows.append(_in_columns(values))
        except _BROKEN:
            continue
    if rows:
        connection.execute(insert(log), rows)
    _fill_run_costs(connection)


#: What a run cost, by column.
_RUN_COSTS = {"spent_seconds": "DOUBLE PRECISION", "peak_memory_bytes": "BIGINT", "parameters": "BIGINT"}

#: What it cost that on, by column; the precision is its last stage's.
_RUN_CIRCUMSTANCES = {"processor": "TEXT", "threads": "INTEGER", "precision": "TEXT"}


def _fill_run_costs(connection: Connection) -> None:
    connection.execute(
        text(
            "UPDATE runs SET precision = (SELECT stages.precision FROM stages WHERE stages.fingerprint = "
            "runs.final_stage) WHERE status = 'finished'"
        )
    )
    costs = []
    for row, record in connection.execute(text("SELECT id, record FROM runs WHERE status = 'finished'")).all():
        try:
            run = json.loads(record)
            machine = {name: run["environment"][name] for name in ("processor", "threads")}
            costs.append(_in_columns({"row": row} | {name: run[name] for name in _RUN_COSTS} | machine))
        except _BROKEN:
            continue
    if costs:
        changes = ", ".join(f"{name} = :{name}" for name in costs[0] if name != "row")
        connection.execute(text(f"UPDATE runs SET {changes} WHERE id = :row"), costs)


#: What stands beside a run's scores, by column.
_RUN_EVIDENCE = {
    "interval": "TEXT",
    **dict.fromkeys(("nll", "brier", "ece", "select_accuracy", "forgotten"), "DOUBLE PRECISION"),
    **dict.fromkeys(("temperature", "calibrated_nll", "calibrated_ece"), "DOUBLE PRECISION"),
    **dict.fromkeys(("tries", "members"), "INTEGER NOT NULL DEFAULT 0"),
}


def _add_evidence(connection: Connection) -> None:
    """Scores on further datasets; which stages came from another store; what stands beside a run's scores."""
    tables = MetaData()
    Table("stages", tables, Column("fingerprint", String(64), primary_key=True))
    further = Table(
        "further_scores",
        tables,
        Column("id", Integer, primary_key=True),
        Column("stage", String(64), ForeignKey("stages.fingerprint"), nullable=False),
        Column("dataset", Text, nullable=False),
        Column("split", Text, nullable=False),
        Column("content", Text, nullable=False),
        Column("record", Text, nullable=False),
        UniqueConstraint("stage", "dataset", "split", "content"),
    )
    further.create(connection)
    connection.execute(text("ALTER TABLE stages ADD COLUMN merged BOOLEAN NOT NULL DEFAULT FALSE"))
    for name, kind in _RUN_EVIDENCE.items():
        connection.execute(text(f"ALTER TABLE runs ADD COLUMN {name} {kind}"))
    known = []
    for row, record in connection.execute(text("SELECT id, record FROM runs WHERE status = 'finished'")).all():
        try:
            scores = {score["metric"]: score["value"] for score in json.loads(record)["scores"]}
            known.append(_in_columns({"row": row} | {name: scores[name] for name in ("nll", "brier", "ece")}))
        except _BROKEN:
            continue
    if known:
        connection.execute(text("UPDATE runs SET nll = :nll, brier = :brier, ece = :ece WHERE id = :row"), known)


#: The first raises version 1 to 2, and so on. A new store gets the tables of schema.py at once and runs none.
MIGRATIONS: tuple[Migration, ...] = (_add_train_fraction, _add_trainings_and_speeds, _add_evidence)


def newest_version() -> int:
    """The schema version that this ferbench writes."""
    return 1 + len(MIGRATIONS)


def stored_version(connection: Connection, location: str) -> int:
    """A store's schema version, or 0 where there is nothing yet.

    Raises
    ------
    StoreError : written by a newer ferbench, or a database of something else
    """
    tables = inspect(connection).get_table_names()
    if schema_version.name not in tables:
        if tables and connection.dialect.name == "sqlite":
            raise StoreError(
                f"{location} is a database of another program (table {tables[0]!r}): choose another file with --store"
            )
        return 0
    version = connection.execute(select(schema_version.c.version)).scalar_one_or_none()
    if version is None:
        return 0
    if type(version) is not int or version < 0:
        raise StoreError(f"{location} says no version of its schema that is a number: restore a copy of it")
    if version > newest_version():
        raise StoreError(
            f"{location} was written by a newer ferbench (schema {version}, this one knows {newest_version()}): "
            "upgrade ferbench or choose another store with --store"
        )
    return version


def require_newest(connection: Connection, location: str) -> None:
    """Refuse a store that would have to be migrated first, for one that is only read.

    Raises
    ------
    StoreOutdated : written by an older ferbench
    StoreError : empty, newer, or of another program
    """
    version = stored_version(connection, location)
    if version == 0:
        raise StoreError(f"{location} is empty: `ferbench run` fills it")
    if version < newest_version():
        raise StoreOutdated(
            f"{location} has schema {version}, older than this ferbench's {newest_version()}, and reading changes no "
            "server's store: the next `ferbench run` with this store brings it up to date"
        )


def migrate(connection: Connection, location: str) -> None:
    """Create the tables or bring them to the newest version, within the caller's writing transaction."""
    if connection.dialect.name == "postgresql":
        # CREATE TABLE IF NOT EXISTS is not safe against itself there. The number is arbitrary but ours.
        connection.execute(text("SELECT pg_advisory_xact_lock(70827)"))
    version = stored_version(connection, location)
    if version == 0:
        metadata.create_all(connection)
        connection.execute(insert(schema_version).values(one=1, version=newest_version()))
        return
    for migration in MIGRATIONS[version - 1 :]:
        migration(connection)
    # Written even if it stays the same: SQLite opens a read-only file without a word, and hours of training must not
    # end at the first save.
    connection.execute(update(schema_version).values(version=newest_version()))
