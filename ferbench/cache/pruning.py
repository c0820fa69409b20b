"""What of the cache folder may go, and in which order; the folder kept within a bound at the end of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ferbench.cache.folder import CacheEntry, cache_entries, remove_entry
from ferbench.errors import CheckpointError

#: leftover, free : may go without asking
#: unfinished : work that did not come to its end would have to begin again
#: unknown : this store does not know it, another one may
#: board : a row's last stage; without it the row cannot predict
Fate = Literal["leftover", "free", "unfinished", "unknown", "board"]

#: In the order in which they go.
FATES: tuple[Fate, ...] = ("leftover", "free", "unfinished", "unknown", "board")

WITHOUT_ASKING: frozenset[Fate] = frozenset({"leftover", "free"})


@dataclass(frozen=True, slots=True)
class Needs:
    """What a store says of checkpoints, by their stage's fingerprint.

    finals : of the last stages of finished runs, the rows
    known : stages that were trained
    unfinished : stages that a cell which is not finished may go on from
    unpaid : stages that no finished run stands on, so that their training is on no row yet
    """

    finals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: Collection[str] = frozenset()
    unfinished: Collection[str] = frozenset()
    unpaid: Collection[str] = frozenset()

    def fate(self, entry: CacheEntry) -> Fate:
        """Whether an entry may go."""
        if entry.kind == "leftovers":
            return "leftover"
        if entry.kind == "partials":
            # Of a known stage too: it was being trained again. It goes as soon as its stage is stored.
            return "unfinished"
        if entry.kind != "checkpoints":
            return "free"
        if entry.name in self.finals:
            return "board"
        if entry.name in self.unfinished:
            return "unfinished"
        return "free" if entry.name in self.known else "unknown"


@dataclass(frozen=True, slots=True)
class Kept:
    """What keeping the folder within its bound came to.

    removed : in the order in which they went
    bytes : of what is left
    staying : bytes by fate of what did not go, where they are more than the bound
    faults : one line each of what could not be removed
    """

    bound: int
    bytes: int
    removed: tuple[CacheEntry, ...] = ()
    staying: Mapping[Fate, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def removable(
    entries: Iterable[CacheEntry],
    needs: Needs,
    bound: int,
    allowed: Collection[Fate] = WITHOUT_ASKING,
) -> list[CacheEntry]:
    """What goes to come down to a bound, first to last.

    Leftovers go in any case. The others go by fate and then by last use, the oldest first, and no more of them than
    the bound asks for.

    Parameters
    ----------
    bound : bytes that all entries together may take
    allowed : entries of these fates alone
    """
    found = list(entries)
    fates = {entry: needs.fate(entry) for entry in found}
    left = sum(entry.bytes for entry in found)
    going: list[CacheEntry] = []
    for entry in sorted(found, key=lambda each: (FATES.index(fates[each]), each.used_at, each.kind, each.name)):
        if fates[entry] in allowed and (fates[entry] == "leftover" or left > bound):
            going.append(entry)
            left -= entry.bytes
    return going


def remove_all(entries: Iterable[CacheEntry]) -> tuple[list[CacheEntry], list[str]]:
    """Remove entries; gives those that are gone, and one line for each that could not be removed.

    Those that were used since they were listed stay.
    """
    gone: list[CacheEntry] = []
    faults: list[str] = []
    for entry in entries:
        try:
            if remove_entry(entry):
                gone.append(entry)
        except CheckpointError as error:
            faults.append(error.line)
    return gone, faults


def keep_within(
    folder: Path, bound: int, needs: Callable[[], Needs], also_unfinished: Collection[str] = frozenset()
) -> Kept:
    """Bring the cache folder down to a bound by what may go without asking.

    Parameters
    ----------
    bound : bytes
    needs : asked where something has to go (`Store.checkpoint_needs`)
    also_unfinished : stages that this command may still go on from

    Raises
    ------
    CheckpointError : the folder cannot be read
    """
    entries = cache_entries(folder)
    total = sum(entry.bytes for entry in entries)
    if total <= bound and not any(entry.kind == "leftovers" for entry in entries):
        return Kept(bound, total)
    asked = needs()
    asked = dataclasses.replace(asked, unfinished=frozenset(asked.unfinished) | frozenset(also_unfinished))
    gone, faults = remove_all(removable(entries, asked, bound))
    left = set(entries) - set(gone)
    total = sum(entry.bytes for entry in left)
    staying: dict[Fate, int] = {}
    if total > bound:
        for entry in left:
            fate = asked.fate(entry)
            staying[fate] = staying.get(fate, 0) + entry.bytes
    return Kept(bound, total, tuple(gone), staying, tuple(faults))
