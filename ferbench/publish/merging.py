"""What a merge did, and what a snapshot holds, in lines and in JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from ferbench.publish.layout import PLAIN, Paint, wrapped, wrapped_facts
from ferbench.publish.snapshot_markdown import Names, named_splits
from ferbench.quantities import counted, joined, ranges, size, whole

#: Of runs that were left out, so many are shown.
_SHOWN = 20


class RunTaken(Protocol):
    """As in merging.MergedRun."""

    @property
    def row(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def named(self) -> str: ...
    @property
    def hardware(self) -> str: ...


class RunInConflict(Protocol):
    """As in merging.Conflict."""

    @property
    def row(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def differs(self) -> str: ...


class RunRefused(Protocol):
    """As in snapshot.Refused."""

    @property
    def row(self) -> str | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def reason(self) -> str: ...


class Outcome(Protocol):
    """As in merging.Merge."""

    @property
    def other(self) -> str: ...
    @property
    def merged(self) -> Sequence[RunTaken]: ...
    @property
    def already_there(self) -> int: ...
    @property
    def conflicts(self) -> Sequence[RunInConflict]: ...
    @property
    def refused(self) -> Sequence[RunRefused]: ...
    @property
    def further(self) -> int: ...


class Written(Protocol):
    """As in snapshot.Written."""

    @property
    def rows(self) -> int: ...
    @property
    def failed_rows(self) -> int: ...
    @property
    def runs(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def withheld(self) -> Sequence[Names]: ...


def merge_lines(outcome: Outcome, *, dry_run: bool = False, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """What became of one source's runs: numbers first, then each that has another name or was left out."""
    rows = len({run.named for run in outcome.merged})
    what = counted(len(outcome.merged), "run") + (f" of {counted(rows, 'row')}" if outcome.merged else "")
    facts = [f"{what} {'would be merged' if dry_run else 'merged'}", f"{outcome.already_there:,} already here"]
    if outcome.further:
        facts.append(f"{counted(outcome.further, 'further score')} of rows that were here")
    if outcome.conflicts:
        facts.append(f"{len(outcome.conflicts):,} in conflict")
    if outcome.refused:
        facts.append(f"{len(outcome.refused):,} refused")
    facts[0] = f"{outcome.other}: {facts[0]}"
    lines = wrapped_facts(facts, width, hanging="  ", between=",")
    for line in _other_names(outcome.merged):
        lines += wrapped(line, width, "  ", "    ")
    left_out = [f"conflict: row {each.row}, seed {each.seed}: {each.differs}" for each in outcome.conflicts]
    left_out += [f"refused: {refused_name(each)}{each.reason}" for each in outcome.refused]
    return lines + _left_out(left_out, width, paint)


def _other_names(merged: Iterable[RunTaken]) -> list[str]:
    seeds: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for run in merged:
        if run.hardware:
            seeds[run.row, run.named, run.hardware].append(run.seed)
    return [
        f"row {row}, {'seed' if len(own) == 1 else 'seeds'} {ranges(own)}, is row {named} here: it was computed on "
        f"{hardware}, and what has its name here was not"
        for (row, named, hardware), own in seeds.items()
    ]


def _left_out(lines: Sequence[str], width: int, paint: Paint) -> list[str]:
    shown = [paint.warning(part) for line in lines[:_SHOWN] for part in wrapped(line, width, "  ", "    ")]
    if len(lines) > _SHOWN:
        shown.append(f"  and {len(lines) - _SHOWN:,} more, which --json lists")
    return shown


def refused_name(refused: RunRefused) -> str:
    """What was refused, as the start of a line; nothing where its record cannot be read that far."""
    if refused.row is None:
        return ""
    seed = "" if refused.seed is None else f", seed {refused.seed}"
    return f"row {refused.row}{seed}: "


def merges_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What `merge --json` prints, over all sources. Scripts rely on it: fields may be added, never changed."""
    return {
        "merged": sum(len(outcome.merged) for outcome in outcomes),
        "already_there": sum(outcome.already_there for outcome in outcomes),
        "conflicts": [
            {"other": outcome.other, "row": each.row, "seed": each.seed, "differs": each.differs}
            for outcome in outcomes
            for each in outcome.conflicts
        ],
        "refused": [refused_json(each) | {"other": outcome.other} for outcome in outcomes for each in outcome.refused],
        "runs": [
            {
                "other": outcome.other,
                "row": each.row,
                "seed": each.seed,
                "named": each.named,
                "hardware": each.hardware or None,
            }
            for outcome in outcomes
            for each in outcome.merged
        ],
        "further_scores": sum(outcome.further for outcome in outcomes),
    }


def refused_json(refused: RunRefused) -> dict[str, Any]:
    """A run that was left out."""
    return {"row": refused.row, "seed": refused.seed, "reason": refused.reason}


def snapshot_lines(folder: str, written: Written, members: Sequence[str], *, width: int = 80) -> list[str]:
    """What was written.

    members : rows that went with their ensembles
    """
    facts = [f"{folder}: {counted(written.rows - written.failed_rows, 'row')}"]
    facts += [f"{whole(written.failed_rows)} failed"] if written.failed_rows else []
    facts += [counted(written.runs, "run")]
    facts += [counted(written.samples, "prediction"), size(written.size_bytes)]
    lines = wrapped_facts(facts, width, hanging="  ", between=",")
    if members:
        noun = "row" if len(members) == 1 else "rows"
        line = f"with {noun} {joined(list(members))}, of which an ensemble is made"
        lines += wrapped(line, width, "  ", "    ")
    for each in named_splits(written.withheld):
        lines += wrapped(f"withheld: {each}", width, "  ", "    ")
    if written.withheld:
        lines += wrapped("numbers stand in their place; --with publishes them, licence or not", width, "  ", "    ")
    return lines


def against_licence_line(names: Sequence[Names]) -> str:
    """What was published though no licence that is known here permits it."""
    return (
        f"PUBLISHED AGAINST THE LICENCE: {'; '.join(named_splits(names))}. No licence known here permits it: delete "
        "the snapshot unless you have the right to publish them"
    )


def snapshot_json(
    folder: str,
    written: Written,
    members: Sequence[str],
    refused: Sequence[RunRefused],
    against_licence: Sequence[Names] = (),
) -> dict[str, Any]:
    """What `snapshot --json` prints. Scripts rely on it: fields may be added, never changed."""
    return {
        "folder": folder,
        "rows": written.rows,
        "failed_rows": written.failed_rows,
        "runs": written.runs,
        "predictions": written.samples,
        "size_bytes": written.size_bytes,
        "members": list(members),
        "refused": [refused_json(each) for each in refused],
        "withheld": [_names_json(each) for each in written.withheld],
        "against_licence": [_names_json(each) for each in against_licence],
    }


def _names_json(names: Names) -> dict[str, Any]:
    return {"dataset": names.dataset, "split": names.split, "names": list(names.what)}
