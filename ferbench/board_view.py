"""Which rows of ranked boards are shown, and in which order. Pure; ranks stay those of the whole boards."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from ferbench.errors import UsageError
from ferbench.leaderboard import BoardTable, leaderboards
from ferbench.records import Entry, RunSummary, SpeedMeasurement
from ferbench.row_filter import ALIASES, MEASURED, RowFilter

#: Orders that `--reach` brings with it.
REACH = "reach"

_NAMES: Mapping[str, Callable[[Entry], str | int | float | None]] = {
    "row": attrgetter("row"),
    "backbone": attrgetter("backbone"),
    "strategy": attrgetter("strategy"),
    "auxiliaries": lambda entry: ", ".join(entry.auxiliaries),
    "weights": attrgetter("weights"),
    "device": attrgetter("device"),
    "image_size": attrgetter("image_size"),
    "images_seen": attrgetter("images_seen"),
    "train_fraction": attrgetter("train_fraction"),
    "tries": attrgetter("tries"),
    "members": attrgetter("members"),
}

_MOST_FIRST = frozenset(
    (
        *("accuracy", "uar", "macro_f1", "select_accuracy", "seeds", "train_fraction"),
        *("images_per_second", "inference_images_per_second", "tries", "members"),
    )
)


@dataclass(frozen=True, slots=True)
class Sort:
    """An order of rows: by rank, or by a value, best or least first; rows without it come last either way.

    turned : the other way round
    """

    key: str = "rank"
    turned: bool = False

    @property
    def by_rank(self) -> bool:
        """Whether rows stand as they are ranked."""
        return self == Sort()

    @property
    def words(self) -> str:
        """The order for people."""
        most = (self.key in _MOST_FIRST) != self.turned
        if self.key in _TEXTS:
            return f"sorted by {self.key}{', from the end' if self.turned else ''}"
        return f"sorted by {self.key}, {'most' if most else 'least'} first"


_TEXTS = frozenset(("row", "backbone", "strategy", "auxiliaries", "weights", "device"))


def parse_sort(text: str) -> Sort:
    """The order that `--sort` asks for: a key, and a `-` behind it that turns it round.

    Raises
    ------
    UsageError : rows have no such value
    """
    asked = text.strip().lower()
    turned = asked.endswith("-")
    asked = asked.removesuffix("-").replace("-", "_")
    key = ALIASES.get(asked, asked)
    known = {*MEASURED, *_NAMES, REACH}
    if key not in known:
        close = difflib.get_close_matches(asked, {*known, *ALIASES}, n=3)
        advice = f"did you mean {' or '.join(close)}? " if close else ""
        raise UsageError(f"--sort {text!r}: rows are not sorted by that: {advice}There are: {', '.join(sorted(known))}")
    return Sort(key, turned)


def chosen(tables: Iterable[BoardTable], runs: Iterable[RunSummary], where: RowFilter) -> tuple[BoardTable, ...]:
    """The boards that have a row which a filter keeps, with those rows and failures."""
    if not where:
        return tuple(tables)
    runs = tuple(runs)
    finished = where.rows(runs)
    lost = set() if where.measured else where.rows(runs, "failed")
    found = []
    for table in tables:
        board = table.board.fingerprint
        entries = [entry for entry in table.entries if (board, entry.row) in finished and where.keeps_entry(entry)]
        failed = tuple(failure for failure in table.failed if (board, failure.row) in lost)
        if entries or failed:
            found.append(dataclasses.replace(_shown(table, entries), failed=failed))
    return tuple(found)


def fitting_entries(runs: Sequence[RunSummary], where: RowFilter, speeds: Iterable[SpeedMeasurement] = ()) -> list[str]:
    """Hashes of the entries that a filter keeps on any board, in the order of their first runs.

    Where nothing is asked of what they reached, those with failed runs alone are among them.
    """
    rows = {row for _, row in where.rows(runs)}
    if where.measured:
        tables = leaderboards(runs, speeds)
        rows &= {entry.row for table in tables for entry in table.entries if where.keeps_entry(entry)}
    else:
        rows |= {row for _, row in where.rows(runs, "failed")}
    return list(dict.fromkeys(run.entry for run in runs if run.entry[:10] in rows))


def arranged(table: BoardTable, sort: Sort, reach: Mapping[str, float | None] | None = None) -> BoardTable:
    """A board's rows in another order; equal ones stay in the order of ranks.

    Parameters
    ----------
    reach : seconds by ROW, for an order by them
    """
    if sort.by_rank:
        return table
    if sort.key == REACH:
        seconds = reach or {}
        return dataclasses.replace(table, entries=_sorted(table.entries, lambda entry: seconds.get(entry.row), sort))
    value = MEASURED[sort.key][1] if sort.key in MEASURED else _NAMES[sort.key]
    return dataclasses.replace(table, entries=_sorted(table.entries, value, sort))


def shortened(table: BoardTable, most: int | None, always: Collection[str] = ()) -> BoardTable:
    """A board's first rows, and those that are always shown; None for all."""
    if most is None or len(table.entries) <= most:
        return table
    return _shown(table, [entry for place, entry in enumerate(table.entries) if place < most or entry.row in always])


def _shown(table: BoardTable, entries: Sequence[Entry]) -> BoardTable:
    hidden = table.hidden + len(table.entries) - len(entries)
    return dataclasses.replace(table, entries=tuple(entries), hidden=hidden)


def _sorted(entries: Sequence[Entry], value: Callable[[Entry], object], sort: Sort) -> tuple[Entry, ...]:
    known = [entry for entry in entries if value(entry) is not None]
    unknown = [entry for entry in entries if value(entry) is None]
    most_first = (sort.key in _MOST_FIRST) != sort.turned
    return (*sorted(known, key=value, reverse=most_first), *unknown)  # type: ignore[arg-type]
