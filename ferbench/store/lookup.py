"""From ROW, as people type it, to the one entry that it names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from sqlalchemy import Connection, select

from ferbench.errors import UnknownName, UsageError
from ferbench.store.schema import runs

SHORTEST_ROW = 4


def entry_of(connection: Connection, row: str) -> str:
    """The hash of the one entry that begins with `row`.

    Raises
    ------
    UnknownName, UsageError : no such row, fewer than 4 digits, or a start that fits several rows
    """
    start = row.strip().lower()
    if re.fullmatch(r"[0-9a-f]+", start) and len(start) < SHORTEST_ROW:
        raise UsageError(f"row {row!r} is too short: give at least {SHORTEST_ROW} of its hex digits")
    query = select(runs.c.entry).distinct()
    if re.fullmatch(r"[0-9a-f]{4,64}", start):
        # A half-open range uses the index in every collation of hex digits, which LIKE does not.
        entries: Sequence[str] = connection.scalars(
            query.where(runs.c.entry >= start, runs.c.entry < start + "g")
        ).all()
        if len(entries) == 1:
            return entries[0]
        if entries:
            rows = ", ".join(sorted(entry[:10] for entry in entries)[:5])
            raise UsageError(f"row {row!r} is the start of {len(entries)} rows ({rows}): give more of its digits")
    known = [entry[:10] for entry in connection.scalars(query)]
    close = difflib.get_close_matches(row, known, n=3, cutoff=0.5)
    if close:
        raise UnknownName("row", row, close)
    raise UsageError(f"no row named {row!r}: `ferbench leaderboard` lists the {len(known)} rows of this store")
