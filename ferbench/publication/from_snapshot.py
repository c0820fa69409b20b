"""A snapshot as a store of its own, for a while: what is shown of it comes from its two files and from nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ferbench.errors import StoreError
from ferbench.merging import merge
from ferbench.store import Store, open_store


@contextmanager
def opened_snapshot(folder: Path) -> Iterator[Store]:
    """A store that holds a snapshot's rows and no others, as `ferbench merge` would take them in.

    It lies in a temporary folder and goes when the context ends. Its `location` is of that folder: not for people.

    Parameters
    ----------
    folder : with runs.jsonl and predictions.csv.gz

    Raises
    ------
    StoreError : no snapshot, one that cannot be read, or one with a row that does not hold what it says: none of it is
        shown then, since nobody could tell which of it to believe
    """
    with tempfile.TemporaryDirectory(prefix="ferbench-snapshot-") as place, open_store(f"{place}/rows.sqlite") as store:
        taken = merge(store, str(folder))
        left_out = [*taken.refused, *taken.conflicts]
        if left_out:
            first = left_out[0]
            reason = taken.refused[0].reason if taken.refused else taken.conflicts[0].differs
            named = "" if first.row is None else f"row {first.row}, seed {first.seed}: "
            more = f" (and {len(left_out) - 1:,} more)" if len(left_out) > 1 else ""
            raise StoreError(
                f"the snapshot in {folder} does not hold what it says ({named}{reason}){more}: get another copy of it, "
                f"or `ferbench merge {folder}` takes in the rows that do"
            )
        yield store
