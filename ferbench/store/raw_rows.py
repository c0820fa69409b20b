"""Rows as they lie in a database, before anything is believed: texts and bytes, of any type and any content.

SQLite's columns hold whatever was put there, so that a value is of the type that its column names only if a check says
so. Nothing is decoded here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from ferbench.store.schema import further_scores, predictions, runs, stages

#: The longest text or bytes that one value of a foreign file may be.
LONGEST_VALUE_BYTES = 256 * 2**20

_KEYS_A_QUERY = 900


@dataclass(frozen=True, slots=True)
class RawPredictions:
    """A row of `predictions`; every field may be of any type."""

    stage: object
    dataset: object
    split: object
    content: object
    n: object
    classes: object
    ids: object
    labels: object
    probabilities: object
    groups: object


class RawRows:
    """Reads one state of a store."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def count_runs(self) -> int:
        return int(self._connection.scalar(select(func.count()).select_from(runs)) or 0)

    def runs(self, entries: Collection[str] | None = None) -> Iterator[object]:
        """Records of runs, of all entries or of some, by key."""
        query = select(runs.c.record).order_by(runs.c.key)
        if entries is None:
            yield from self._connection.scalars(query)
            return
        for some in _portions(entries):
            yield from self._connection.scalars(query.where(runs.c.entry.in_(some)))

    def stages(self, fingerprints: Iterable[str]) -> Iterator[tuple[object, object, object]]:
        """Fingerprint, stage and result of those of these stages that are there."""
        for some in _portions(fingerprints):
            query = select(stages.c.fingerprint, stages.c.stage, stages.c.result)
            yield from self._connection.execute(query.where(stages.c.fingerprint.in_(some)))

    def further_scores(self, fingerprints: Iterable[str]) -> Iterator[tuple[object, object]]:
        """Stage and record of what these stages score on further datasets."""
        for some in _portions(fingerprints):
            query = select(further_scores.c.stage, further_scores.c.record).where(further_scores.c.stage.in_(some))
            yield from self._connection.execute(query.order_by(further_scores.c.id))

    def predictions(self, fingerprint: str) -> Iterator[RawPredictions]:
        """All that a stage has predicted, in the order in which it was saved."""
        columns = [predictions.c[name] for name in RawPredictions.__dataclass_fields__]
        query = select(*columns).where(predictions.c.stage == fingerprint).order_by(predictions.c.id)
        for row in self._connection.execute(query):
            yield RawPredictions(*row)


@contextmanager
def raw_rows(connection: Connection) -> Iterator[RawRows]:
    """Read rows of which none is longer than LONGEST_VALUE_BYTES, and whose text need not be text."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        yield RawRows(connection)
        return
    longest = driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE_BYTES)
    as_text = driver.text_factory
    # A text that is none would end the reading of all others.
    driver.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        yield RawRows(connection)
    finally:
        driver.text_factory = as_text
        driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)


def _portions(keys: Iterable[str]) -> Iterator[list[str]]:
    wanted = sorted(set(keys))
    for start in range(0, len(wanted), _KEYS_A_QUERY):
        yield wanted[start : start + _KEYS_A_QUERY]
