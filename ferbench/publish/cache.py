"""The cache folder in words: what it holds, what of it goes, what of it is broken."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ferbench.cache.checks import Checked
from ferbench.cache.folder import KINDS, CacheEntry, Kind
from ferbench.cache.pruning import Fate, Kept, Needs
from ferbench.publish.layout import PLAIN, Paint, aligned, total_width, wrapped
from ferbench.quantities import counted, duration, joined, size

#: Of fingerprints and keys, as of rows, so many digits are shown.
_DIGITS = 10

#: Rows that are named where some are lost.
_NAMED = 5

#: What becomes of what an entry of each fate is of.
_OF: Mapping[Fate, str] = {
    "leftover": "leftovers of processes that are gone",
    "free": "what is made again where it is needed",
    "unfinished": "work that is not finished",
    "unknown": "checkpoints that this store does not know",
    "board": "checkpoints of rows on the board",
}

_LOSS: Mapping[Fate, str] = {
    "unfinished": "the work has to begin again",
    "unknown": "another store may need them",
    "board": "the rows stay, but cannot predict or be verified in depth until they are run again",
}


def list_lines(
    folder: str,
    bound: int,
    entries: Sequence[CacheEntry],
    needs: Needs,
    now: float,
    *,
    every: bool = False,
    width: int = 80,
    paint: Paint = PLAIN,
) -> list[str]:
    """A line a kind, and what is needed of it; with `every` a line an entry before them.

    now : seconds since 1970
    """
    total = sum(entry.bytes for entry in entries)
    lines = wrapped(f"{folder}: {size(total)}, kept within {size(bound)}", width, hanging="    ")
    if not entries:
        return lines
    if every:
        lines += ["", *_entry_lines(entries, needs, now, width, paint)]
    header = ("kind", "entries", "size", "newest use", "oldest use")
    rows = [header]
    for kind, own in _by_kind(entries).items():
        used = [entry.used_at for entry in own]
        taken = size(sum(entry.bytes for entry in own))
        rows.append((kind, f"{len(own):,}", taken, _ago(max(used), now), _ago(min(used), now)))
    table = aligned([tuple(row) for row in rows], ("left", "right", "right"))
    lines += ["", paint.dim(table[0]), *table[1:], ""]
    for fate, own in by_fate(entries, needs).items():
        lines += wrapped(f"{size(sum(entry.bytes for entry in own))}: {_OF[fate]}", width, hanging="    ")
    return lines


def _entry_lines(entries: Sequence[CacheEntry], needs: Needs, now: float, width: int, paint: Paint) -> list[str]:
    rows = [("kind", "name", "size", "last used")]
    rows += [(entry.kind, _short(entry), size(entry.bytes), _ago(entry.used_at, now)) for entry in entries]
    table = aligned(rows, ("left", "left", "right"))
    indent = " " * (total_width(rows) + 2)
    lines = [paint.dim(f"{table[0]:<{len(indent)}}of")]
    for line, entry in zip(table[1:], entries, strict=True):
        lines += wrapped(f"{line:<{len(indent)}}{_belonging(entry, needs)}", width, hanging=indent)
    return lines


def _belonging(entry: CacheEntry, needs: Needs) -> str:
    fate = needs.fate(entry)
    if fate == "board":
        rows = needs.finals[entry.name]
        return f"row {rows[0]}" if len(rows) == 1 else f"rows {', '.join(rows)}"
    return {"unfinished": "unfinished work", "unknown": "another store", "free": "no row", "leftover": "no process"}[
        fate
    ]


def list_json(folder: str, bound: int, entries: Sequence[CacheEntry], needs: Needs) -> dict[str, Any]:
    """What `cache list --json` prints; times in seconds since 1970."""
    kinds = []
    for kind, own in _by_kind(entries).items():
        used = [entry.used_at for entry in own]
        taken = sum(entry.bytes for entry in own)
        kinds.append(
            {"kind": kind, "count": len(own), "bytes": taken, "oldest_use_at": min(used), "newest_use_at": max(used)}
        )
    return {
        "folder": folder,
        "bytes": sum(entry.bytes for entry in entries),
        "bound_bytes": bound,
        "kinds": kinds,
        "entries": [
            {
                "kind": entry.kind,
                "name": entry.name,
                "bytes": entry.bytes,
                "used_at": entry.used_at,
                "rows": list(needs.finals.get(entry.name, ())) if entry.kind == "checkpoints" else [],
                "fate": needs.fate(entry),
            }
            for entry in entries
        ],
    }


def by_fate(entries: Iterable[CacheEntry], needs: Needs) -> dict[Fate, list[CacheEntry]]:
    """Entries by what may become of them, those that go first before the others."""
    found: dict[Fate, list[CacheEntry]] = {fate: [] for fate in _OF}
    for entry in entries:
        found[needs.fate(entry)].append(entry)
    return {fate: own for fate, own in found.items() if own}


def going_lines(going: Sequence[CacheEntry], needs: Needs, *, width: int = 80) -> list[str]:
    """What goes, a paragraph a fate."""
    lines = []
    for fate, own in by_fate(going, needs).items():
        lines += wrapped(f"{_amount(own)}: {_OF[fate]}{_of_rows(fate, own, needs)}", width, hanging="    ")
    return lines or ["nothing to remove"]


def question(fate: Fate, going: Sequence[CacheEntry], *, width: int = 80) -> str:
    """What is asked before something of this fate goes; `going_lines` has shown what it is."""
    text = f"{_OF[fate][0].upper()}{_OF[fate][1:]}: {_LOSS[fate]}. Remove {_amount(going)}?"
    return "\n".join(wrapped(text, width))


def removed_lines(removed: Sequence[CacheEntry], left: int, bound: int | None, *, width: int = 80) -> list[str]:
    """What went.

    Parameters
    ----------
    left : bytes that the folder still takes
    bound : bytes that it was to take at most; None where something else was asked for
    """
    text = f"removed {_amount(removed)}" if removed else "nothing was removed"
    text += f"; the cache folder takes {size(left)}"
    if bound is not None and left > bound:
        text += f", more than the {size(bound)} asked for: the rest is still needed or unknown to this store"
    return wrapped(text, width, hanging="    ")


def fault_lines(
    found: Sequence[Checked], absent: Collection[str], *, width: int = 80, paint: Paint = PLAIN
) -> list[str]:
    """One paragraph a fault, and the verdict.

    absent : rows on the board whose checkpoints are not in the folder
    """
    lines = []
    broken = [check for check in found if check.fault is not None]
    for check in broken:
        text = f"{check.entry.kind} {_short(check.entry)} {check.fault}"
        lines += [paint.bad(line) for line in wrapped(text, width, hanging="    ")]
    if absent:
        text = f"not here: checkpoints of {counted(len(absent), 'row')} on the board ({_some(sorted(absent))})"
        lines += wrapped(text, width, hanging="    ")
    whole = f"{counted(len(found) - len(broken), 'entry', 'entries')} whole"
    return [*lines, f"{whole}, {paint.bad(f'{len(broken)} broken')}" if broken else paint.good(whole)]


def faults_json(found: Sequence[Checked], absent: Collection[str]) -> dict[str, Any]:
    """What `cache verify --json` prints."""
    faults = [
        {"kind": each.entry.kind, "name": each.entry.name, "path": str(each.entry.paths[0]), "fault": each.fault}
        for each in found
        if each.fault is not None
    ]
    return {"ok": not faults, "checked": len(found), "faults": faults, "absent_rows": sorted(absent)}


def kept_warnings(kept: Kept) -> list[str]:
    """What must be said at the end of a run about a cache folder that does not keep within its bound."""
    lines = list(kept.faults)
    if kept.bytes > kept.bound:
        parts = [f"{_OF[fate]} {size(kept.staying[fate])}" for fate in _OF if kept.staying.get(fate)]
        lines.append(
            f"the cache folder takes {size(kept.bytes)}, more than FERBENCH_CACHE_SIZE={_setting(kept.bound)} "
            f"({joined(parts)}): `ferbench cache prune` shows what can go"
        )
    return lines


def _setting(count_bytes: int) -> str:
    return size(count_bytes).replace(" ", "").replace(".0", "")


def _amount(entries: Sequence[CacheEntry]) -> str:
    kinds = [
        counted(len(own), _ONE.get(kind, kind), kind if kind in _ONE else f"{kind} entries")
        for kind, own in _by_kind(entries).items()
    ]
    return f"{joined(kinds)}, {size(sum(entry.bytes for entry in entries))}"


_ONE: Mapping[Kind, str] = {
    "checkpoints": "checkpoint",
    "partials": "partial",
    "splits": "split",
    "leftovers": "leftover",
    "features": "set of features",
    "reduced": "set of reduced pictures",
    "faces": "set of faces found in pictures",
}


def _of_rows(fate: Fate, entries: Iterable[CacheEntry], needs: Needs) -> str:
    if fate != "board":
        return ""
    return f" ({_some(list(dict.fromkeys(row for entry in entries for row in needs.finals[entry.name])))})"


def _some(rows: Sequence[str]) -> str:
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return ", ".join(rows[:_NAMED]) + more


def _by_kind(entries: Iterable[CacheEntry]) -> dict[Kind, list[CacheEntry]]:
    found: dict[Kind, list[CacheEntry]] = {kind: [] for kind in KINDS}
    for entry in entries:
        found[entry.kind].append(entry)
    return {kind: own for kind, own in found.items() if own}


def _short(entry: CacheEntry) -> str:
    return entry.name[:_DIGITS]


def _ago(then: float, now: float) -> str:
    passed = now - then
    return "just now" if passed < 60 else f"{' '.join(duration(passed).split()[:2])} ago"
