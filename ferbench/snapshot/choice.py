"""Which rows go into a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ferbench.board_view import fitting_entries
from ferbench.errors import UsageError
from ferbench.row_filter import parse_where
from ferbench.store import Store


@dataclass(frozen=True, slots=True)
class Choice:
    """Entries that are wanted.

    members : rows among them that were not named, but that an ensemble was made of
    """

    entries: tuple[str, ...]
    members: tuple[str, ...] = ()


def chosen_entries(store: Store, rows: Sequence[str] = (), where: Sequence[str] = ()) -> Choice:
    """The entries of named rows that fit all conditions, of all rows where none is named.

    The rows that an ensemble was made of go with it, since its predictions follow from theirs.

    Parameters
    ----------
    rows : each an unambiguous start of a row's name
    where : conditions, as row_filter.parse_where takes them

    Raises
    ------
    UnknownName, UsageError : no such row, no such condition, or nothing that fits
    """
    named = dict.fromkeys(store.runs(row=row)[0].entry for row in rows)
    wanted = parse_where(where)
    summaries = store.leaderboard_rows()
    entries = list(named or dict.fromkeys(summary.entry for summary in summaries))
    if wanted:
        fitting = set(fitting_entries(summaries, wanted, store.speed_measurements() if wanted.measured else ()))
        entries = [entry for entry in entries if entry in fitting]
        if not entries:
            raise UsageError(f"no row fits {wanted}: `ferbench leaderboard` lists them")
    if not entries:
        raise UsageError(f"{store.location} has no rows yet: `ferbench run` makes some")
    ensembles = {summary.entry for summary in summaries if summary.members} & set(entries)
    members = dict.fromkeys(
        member.entry for entry in sorted(ensembles) for run in store.runs(row=entry) for member in run.members
    )
    added = [entry for entry in members if entry not in set(entries)]
    return Choice((*entries, *added), tuple(entry[:10] for entry in added))
