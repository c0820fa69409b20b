"""Rows of another store or of a snapshot, taken into this one: nothing here is overwritten, nothing there believed.

A run is known by its key. Where it is here already, with the same answers, there is nothing to do; with others it is a
conflict, and stays out. The same entry computed on other hardware is another row: those who come later get a name that
is their hardware's own (`snapshot.hardware`). That is decided for all runs of an entry and a hardware together, and by
what was here before, so that merging again finds each run under the name that it was given:

- a run whose key is here from the same hardware keeps it;
- a run that was given such a name elsewhere, and is here under its first one, is that run;
- else all get the name of their hardware if a finished run of their entry is here from another one, if that name is
  here already, or if another machine's training of one of their stages is here.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ferbench.averaging import averaged, same_samples
from ferbench.errors import StoreError, UsageError
from ferbench.evidence import Member
from ferbench.records import Predictions, Run, RunSummary
from ferbench.snapshot import Found, Refused, is_snapshot, read_snapshot, read_store
from ferbench.snapshot.checking import CLOSE, Samples
from ferbench.snapshot.hardware import hardware_named, hardware_of, renamed, renamed_run
from ferbench.snapshot.redaction import unlocated, without_location
from ferbench.store import KeptRun, Store
from ferbench.store.foreign import open_foreign, same_store


@dataclass(frozen=True, slots=True)
class Conflict:
    """A run that is here with other content.

    differs : what, in words
    """

    row: str
    seed: int
    differs: str


@dataclass(frozen=True, slots=True)
class MergedRun:
    """A run that was taken in.

    row : as it is called there
    named : as it is called here
    hardware : where the two differ, what computed it; else empty
    """

    row: str
    seed: int
    named: str
    hardware: str


@dataclass(frozen=True, slots=True)
class Merge:
    """What one source gave.

    other : the source, without a password
    further : scores on further datasets that were new, of runs that were here already
    """

    other: str
    merged: tuple[MergedRun, ...]
    already_there: int
    conflicts: tuple[Conflict, ...]
    refused: tuple[Refused, ...]
    further: int

    @property
    def clean(self) -> bool:
        """Whether nothing was left out."""
        return not self.conflicts and not self.refused


def merge(store: Store, other: str, *, dry_run: bool = False) -> Merge:
    """Take in the rows of a store (a path or a URL) or of a snapshot (a folder), all in one transaction.

    Parameters
    ----------
    dry_run : find out what would be taken in, and write nothing

    Raises
    ------
    UsageError : the store itself
    StoreError : what cannot be read as a whole, or written
    """
    here = _Here(store)
    name, found = _read(store, other, here.samples())
    plan = _Plan(here, found)
    if not dry_run and (plan.taken or plan.evidence):
        store.add(plan.taken, plan.evidence)
    return Merge(
        other=name,
        merged=tuple(plan.merged),
        already_there=plan.already_there,
        conflicts=tuple(plan.conflicts),
        refused=(*found.refused, *plan.refused),
        further=sum(len(each.further) for each in plan.evidence),
    )


def _read(store: Store, other: str, samples: Samples) -> tuple[str, Found]:
    """The source's name, and what is in it without the paths of another machine."""
    name = other
    folder = Path(other).expanduser()
    if "://" not in other and folder.is_dir():
        if not is_snapshot(folder):
            raise StoreError(f"{other} is a folder without a snapshot: name a snapshot's folder, or a store's file")
        found = read_snapshot(folder, samples)
    else:
        if same_store(store.location, other):
            raise UsageError(f"{other} is the store that is merged into: name another")
        with open_foreign(other) as foreign:
            if foreign.location == store.location:
                raise UsageError(f"{other} is the store that is merged into: name another")
            found = read_store(foreign, samples=samples)
            name = foreign.location if "://" in other else other
    return name, dataclasses.replace(found, runs=tuple(map(unlocated, found.runs)))


@dataclass(frozen=True, slots=True)
class _Known:
    """A run that is here.

    hardware : None for a failed one, of which it is not kept
    """

    summary: RunSummary
    hardware: str | None

    @property
    def finished(self) -> bool:
        return self.summary.status == "finished"


class _Here:
    """What this store holds, before anything is added."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.known: dict[str, dict[int, _Known]] = defaultdict(dict)
        for summary in store.leaderboard_rows():
            hardware = None
            if summary.status == "finished":
                hardware = hardware_named(summary.device, summary.processor or "")
            self.known[summary.entry][summary.seed] = _Known(summary, hardware)
        # Of an entry and its hardware, by the name that others may have given it.
        self._first_names = {
            renamed(entry, each.hardware): entry
            for entry, runs in self.known.items()
            for each in runs.values()
            if each.hardware is not None
        }
        # Of finished runs: what a failed one says of its board, nobody has computed.
        self.boards = {
            each.summary.board.fingerprint: each.summary.board
            for runs in self.known.values()
            for each in runs.values()
            if each.finished and each.summary.board is not None
        }
        self._trained_on: dict[str, set[str]] | None = None

    def samples(self) -> Samples:
        """Labels and groups of every board, as the first of its rows here that can be read has them."""
        samples = Samples()
        for runs in self.known.values():
            for each in runs.values():
                board = each.summary.board
                if each.finished and board is not None and not samples.knows(board.fingerprint, board.label_set):
                    found = self.report(each)
                    if found is not None:
                        samples.learn(board.fingerprint, board.label_set, found)
        return samples

    def run(self, entry: str, seed: int) -> _Known | None:
        return self.known.get(entry, {}).get(seed)

    def first_name(self, entry: str) -> str | None:
        """The entry here that is known elsewhere by this name."""
        return self._first_names.get(entry)

    def report(self, known: _Known) -> Predictions | None:
        """What a finished run says of its board; None where it is not here or cannot be read."""
        summary = known.summary
        if summary.final_stage is None or summary.board is None:
            return None
        try:
            found = self._store.stored_predictions(summary.final_stage, summary.board.fingerprint)
        except StoreError:
            return None
        return found[0] if found else None

    def checkpoints(self, stages: Iterable[str]) -> dict[str, str]:
        """The hash of each of these stages' checkpoints, of those that are here."""
        results = self._store.stage_results(tuple(stages))
        return {name: result.checkpoint_sha256 for name, result in results.items()}

    def trained_on(self, stage: str) -> set[str]:
        """The hardware of the finished runs that stand on a stage."""
        if self._trained_on is None:
            self._trained_on = defaultdict(set)
            for run in self._store.runs(status="finished"):
                for name in run.stages:
                    self._trained_on[name].add(hardware_of(run.environment))
        return self._trained_on.get(stage, set())

    def further(self, stage: str) -> set[tuple[str, str, str]]:
        """Dataset, split and content of a stage's further scores, as they would be called had they come here."""
        found = self._store.further_scores(stage).get(stage, ())
        return {(without_location(each.dataset), each.split, each.content) for each in found}


@dataclass(slots=True)
class _Plan:
    """What is to be done with each run of a source.

    taken : runs under the names that they get here
    evidence : runs that are here, under their names here, with the further scores that are not
    """

    here: _Here
    found: Found
    taken: list[KeptRun] = field(default_factory=list)
    evidence: list[KeptRun] = field(default_factory=list)
    merged: list[MergedRun] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    already_there: int = 0
    _names: dict[tuple[str, int], KeptRun | None] = field(default_factory=dict)
    _theirs: dict[tuple[str, int], KeptRun] = field(default_factory=dict)
    _called: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._theirs = {_name(each): each for each in self.found.runs}
        # Ensembles last: what they are called hangs on what their members are called.
        for ensembles in (False, True):
            groups: dict[tuple[str, str], list[KeptRun]] = defaultdict(list)
            for kept in self.found.runs:
                if bool(kept.run.members) == ensembles:
                    groups[kept.run.entry, hardware_of(kept.run.environment)].append(kept)
            for (entry, hardware), group in groups.items():
                self._place_group(entry, hardware, group)

    def _place_group(self, entry: str, hardware: str, group: Sequence[KeptRun]) -> None:
        """Decide on the runs of one entry and one hardware."""
        sound = [kept for kept in group if self._holds(kept)]
        left = [kept for kept in sound if not self._settled(kept, hardware)]
        if not left:
            return
        rename = self._needs_name(entry, hardware, left)
        # A failed run whose seed is here makes no row of its own, but it is told of in one.
        in_row = rename and (
            renamed(entry, hardware) in self.here.known or any(kept.run.status == "finished" for kept in group)
        )
        for kept in left:
            if kept.run.status == "failed" and self.here.run(entry, kept.run.cell.seed) and not in_row:
                self._there(kept, entry)
            elif rename:
                self._take(kept, renamed_run(kept, self._member), hardware)
            else:
                self._take(kept, kept, "")

    def _settled(self, kept: KeptRun, hardware: str) -> bool:
        """Whether the run is here from the same hardware, under its name or its first one."""
        run = kept.run
        first = self.here.first_name(run.entry) if run.hardware else None
        for entry in (run.entry, first):
            known = None if entry is None else self.here.run(entry, run.cell.seed)
            if entry is None or known is None:
                continue
            if run.status == "failed":
                if entry == first:
                    self._there(kept, entry)
                    return True
            elif known.finished and known.hardware == hardware:
                self._compare(kept, known, entry)
                return True
        return False

    def _needs_name(self, entry: str, hardware: str, left: Sequence[KeptRun]) -> bool:
        """Whether the runs that are not here must get the name of their hardware."""
        here = self.here.known.get(entry, {})
        if any(each.finished and each.hardware != hardware for each in here.values()):
            return True
        if renamed(entry, hardware) in self.here.known:
            return True
        if any(self._member(member) != member for kept in left for member in kept.run.members):
            return True
        if any(each.finished for each in here.values()):
            return False
        others = {name for kept in left for name in self._other_stages(kept)}
        return any(on and hardware not in on for on in map(self.here.trained_on, others))

    def _other_stages(self, kept: KeptRun) -> list[str]:
        """Stages of a run that are here with another checkpoint."""
        theirs = {stage.fingerprint: result.checkpoint_sha256 for stage, result in kept.stages}
        ours = self.here.checkpoints(theirs)
        return [name for name, sha256 in ours.items() if sha256 != theirs[name]]

    def _take(self, kept: KeptRun, here: KeptRun, hardware: str) -> None:
        """Take a run in by the name that it gets here, unless that is taken."""
        run = here.run
        known = self.here.run(run.entry, run.cell.seed)
        if known is not None and (known.finished or run.status == "failed"):
            if known.finished and run.status == "finished":
                self._compare(kept, known, run.entry)
            else:
                self._there(kept, run.entry)
            return
        if _name(here) in self._called:
            self._conflict(kept, f"another run came with it that is called row {run.row} here")
            return
        others = self._other_stages(here)
        if others:
            number = run.stages.index(others[0]) + 1
            self._conflict(kept, f"stage {number} has another checkpoint here ({others[0][:10]})")
            return
        self.taken.append(here)
        self._called.add(_name(here))
        self._names[_name(kept)] = here
        self.merged.append(MergedRun(kept.run.row, kept.run.cell.seed, run.row, hardware))

    def _compare(self, kept: KeptRun, known: _Known, entry: str) -> None:
        """A run against the one that is here; it is there already, or in conflict with it."""
        differs = self._differences(kept, known)
        if differs:
            self._conflict(kept, "; ".join(differs))
            return
        self._there(kept, entry)
        self._add_evidence(kept, known)

    def _differences(self, kept: KeptRun, known: _Known) -> list[str]:
        own, other = self.here.report(known), kept.report
        if own is None:
            return ["its predictions here are gone or damaged"]
        if not same_samples(own, other):
            return ["it answers for other samples"]
        differs = []
        answers = int((own.probabilities.argmax(axis=1) != other.probabilities.argmax(axis=1)).sum())
        apart = abs(own.probabilities - other.probabilities).max(axis=1)
        if answers:
            differs.append(f"{answers:,} of {len(apart):,} answers are others")
        if (far := int((apart > CLOSE).sum())) and not answers:
            differs.append(f"probabilities of {far:,} of {len(apart):,} samples are others, by up to {apart.max():.6f}")
        assert known.summary.final_stage is not None
        ours = self.here.checkpoints([known.summary.final_stage]).get(known.summary.final_stage)
        theirs = kept.stages[-1][1].checkpoint_sha256
        if ours != theirs:
            differs.append(f"its last stage has another checkpoint ({theirs[:10]}, here {(ours or 'none')[:10]})")
        return differs

    def _there(self, kept: KeptRun, entry: str) -> None:
        self.already_there += 1
        self._names[_name(kept)] = self._as_here(kept, entry)

    def _as_here(self, kept: KeptRun, entry: str) -> KeptRun:
        """A run by the name of its entry here; its last stage by the one that is here."""
        run = kept.run
        known = self.here.run(entry, run.cell.seed)
        final = None if known is None else known.summary.final_stage
        stages = run.stages if final is None or not run.stages else (*run.stages[:-1], final)
        return dataclasses.replace(kept, run=dataclasses.replace(run, entry=entry, stages=stages))

    def _add_evidence(self, kept: KeptRun, known: _Known) -> None:
        """The further scores of its last stage that are not here."""
        final, own = kept.run.stages[-1], known.summary.final_stage
        assert own is not None
        here = self.here.further(own)
        new = [each for stage, each in kept.further if stage == final]
        new = [each for each in new if (each.dataset, each.split, each.content) not in here]
        if new:
            self.evidence.append(
                KeptRun(
                    run=kept.run,
                    predictions={(own, each.content): kept.predictions[final, each.content] for each in new},
                    further=tuple((own, each) for each in new),
                )
            )

    def _conflict(self, kept: KeptRun, differs: str) -> None:
        self.conflicts.append(Conflict(kept.run.row, kept.run.cell.seed, differs))
        self._names[_name(kept)] = None

    def _holds(self, kept: KeptRun) -> bool:
        """Whether a run agrees with its board here and, for an ensemble, with its members; else it is refused."""
        reason = self._other_board(kept.run) or self._other_members(kept)
        if reason:
            self.refused.append(Refused(kept.run.row, kept.run.cell.seed, reason))
            self._names[_name(kept)] = None
        return not reason

    def _other_board(self, run: Run) -> str:
        """What is said of the board otherwise than here; its names may be others."""
        own = None if run.board is None else self.here.boards.get(run.board.fingerprint)
        if run.board is None or own is None:
            return ""
        named = dataclasses.replace(run.board, target=own.target, split=own.split)
        names = [each.name for each in dataclasses.fields(own) if getattr(own, each.name) != getattr(named, each.name)]
        return f"board.{names[0]}: {getattr(named, names[0])}, here it is {getattr(own, names[0])}" if names else ""

    def _other_members(self, kept: KeptRun) -> str:
        """What is wrong with an ensemble's members: they come with it or are here, and give its predictions."""
        members = kept.run.members
        if not members or kept.run.status == "failed":
            return ""
        found: list[Predictions] = []
        for member in members:
            own = self._member_predictions(kept.run, member)
            if own is None:
                return f"members: row {member.row}, seed {member.seed} was not taken in with it and is not here"
            found.append(own)
        if not all(same_samples(kept.report, each) for each in found):
            return "members: they answer for other samples"
        mean = averaged(found, [member.weight for member in members])
        if float(abs(mean.probabilities - kept.report.probabilities).max()) > 2 * CLOSE:
            return "members: their mean is not what it says"
        return ""

    def _member_predictions(self, run: Run, member: Member) -> Predictions | None:
        name = (member.entry, member.seed)
        theirs = self._theirs.get(name)
        if theirs is not None:
            settled = self._names.get(name)
            sound = settled is not None and theirs.run.status == "finished" and theirs.run.stages[-1] == member.stage
            return theirs.report if sound and _board(theirs.run) == _board(run) else None
        known = self.here.run(*name)
        if known is None or not known.finished or known.summary.final_stage != member.stage:
            return None
        return self.here.report(known)

    def _member(self, member: Member) -> Member:
        """What a member is called here."""
        here = self._names.get((member.entry, member.seed))
        if here is None:
            return member
        return dataclasses.replace(member, entry=here.run.entry, stage=here.run.stages[-1])


def _name(kept: KeptRun) -> tuple[str, int]:
    return kept.run.entry, kept.run.cell.seed


def _board(run: Run) -> str:
    return "" if run.board is None else run.board.fingerprint
