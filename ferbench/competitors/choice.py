"""Which rows are compared: those that are named, and those that have the properties asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ferbench.errors import StoreError, UsageError
from ferbench.fingerprints import PROTOCOL_VERSION
from ferbench.leaderboard import leaderboards
from ferbench.quantities import counted, ranges
from ferbench.records import Board, RunSummary
from ferbench.row_filter import RowFilter


@dataclass(frozen=True, slots=True)
class Question:
    """What a user asks to have compared.

    rows : hashes of the entries that are named, in the order given
    where : properties of further rows. Its conditions on seeds hold for the named ones, too
    by : properties that competitors are made by (`properties.property_key`); without any, each row is one
    """

    rows: tuple[str, ...] = ()
    where: RowFilter = field(default_factory=RowFilter)
    by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        double = next((row for row in self.rows if self.rows.count(row) > 1), None)
        if double is not None:
            raise UsageError(f"row {double[:10]} is named twice: a row is compared with others")
        if not (self.rows or self.where or self.by):
            raise UsageError("name two rows or more, or choose them with --where or --by")
        if len(self.rows) == 1 and not self.by_properties:
            raise UsageError(
                f"row {self.rows[0][:10]} alone is no comparison: name another one, or choose with --where"
            )

    @property
    def by_properties(self) -> bool:
        """Whether rows are asked for that are not named."""
        return not self.rows or any(each.key != "seed" for each in self.where.conditions)


#: Of rows whose seeds were left out, so many are named.
_ROWS_NAMED = 6

#: A finished run and its board.
_OnBoard = tuple[RunSummary, Board]


@dataclass(frozen=True, slots=True)
class ChosenRows:
    """The rows of one board.

    runs : finished ones by entry, by seed; what was named comes first, in its order
    """

    board: Board
    runs: Mapping[str, tuple[RunSummary, ...]]


def choose(question: Question, summaries: Sequence[RunSummary]) -> tuple[tuple[ChosenRows, ...], tuple[str, ...]]:
    """The rows that are asked for, by board, and in words what was left out.

    Rows that are not named come in the order of their hashes: what comes out is the same from every store that has
    them, in whatever order they got there.

    Raises
    ------
    UsageError : named rows of different protocols, or no row that fits, be it a named one
    StoreError : a named row without a finished run
    """
    summaries = sorted(summaries, key=lambda run: (run.entry, run.seed))
    wanted = [run for run in summaries if _wanted(question, run)]
    wanted = _measured(question, wanted, summaries)
    _check_named(question, wanted, summaries)
    wanted, notes = _without_ensembles(question, wanted)
    notes += _failures(wanted)
    finished, stale = _of_one_protocol(question, _finished(wanted))
    notes += stale
    notes += _other_seeds(question, finished, summaries)
    if question.where.measured:
        notes.append(f"rows were chosen by what they reached ({question.where}): interval and p make no allowance")
    if not finished:
        asked = f" that fits {question.where}" if question.where else ""
        raise UsageError(f"no finished row{asked}: `ferbench leaderboard` lists those there are")
    return tuple(_by_board(question, finished)), tuple(notes)


def board_in_words(board: Board) -> str:
    """A board as a line names it beside another."""
    return (
        f"{board.target} {board.split} ({board.label_set}, n {board.n:,}, protocol {board.protocol}, "
        f"board {board.fingerprint[:10]})"
    )


def _finished(runs: Iterable[RunSummary]) -> list[_OnBoard]:
    return [(run, run.board) for run in runs if run.status == "finished" and run.board is not None]


def _wanted(question: Question, run: RunSummary) -> bool:
    conditions = [each for each in question.where.conditions if not each.measured]
    if not all(each.keeps(run) for each in conditions if each.key == "seed"):
        return False
    if run.entry in question.rows:
        return True
    return question.by_properties and all(each.keeps(run) for each in conditions)


def _measured(question: Question, wanted: Sequence[RunSummary], summaries: Sequence[RunSummary]) -> list[RunSummary]:
    """Those that reached what is asked for; a rank is that of the whole board, whatever is chosen of it."""
    if not question.where.measured:
        return list(wanted)
    kept = {
        (table.board.fingerprint, entry.row)
        for table in leaderboards(summaries)
        for entry in table.entries
        if question.where.keeps_entry(entry)
    }
    return [
        run
        for run in wanted
        if run.entry in question.rows or (run.board is not None and (run.board.fingerprint, run.entry[:10]) in kept)
    ]


def _check_named(question: Question, wanted: Iterable[RunSummary], summaries: Iterable[RunSummary]) -> None:
    there = {run.entry for run in wanted if run.status == "finished"}
    for entry in question.rows:
        if entry not in there:
            seeds = [run.seed for run in summaries if run.entry == entry and run.status == "finished"]
            if seeds:
                raise UsageError(
                    f"row {entry[:10]} has no finished run that fits {question.where}: it has seeds {ranges(seeds)}"
                )
            raise StoreError(f"row {entry[:10]} has no finished run: `ferbench leaderboard` shows why")


def _without_ensembles(question: Question, wanted: Sequence[RunSummary]) -> tuple[list[RunSummary], list[str]]:
    """Put together by a property, ensembles would stand beside their members: they are left out unless asked for."""
    asked = {*question.by, *(each.key for each in question.where.conditions)}
    if not question.by or not asked.isdisjoint({"ensemble", "members", "row"}):
        return list(wanted), []
    gone = {run.entry for run in wanted if run.members and run.entry not in question.rows}
    if not gone:
        return list(wanted), []
    kept = [run for run in wanted if run.entry not in gone]
    return kept, [f"{counted(len(gone), 'ensemble')}, which --where ensemble=yes or the ROW would compare"]


def _other_seeds(question: Question, taken: Sequence[_OnBoard], summaries: Iterable[RunSummary]) -> Iterator[str]:
    """Finished seeds of the rows that are compared which conditions on seeds keep out of it."""
    conditions = [each for each in question.where.conditions if each.key == "seed"]
    if not conditions:
        return
    seeds: dict[str, set[int]] = {run.entry: set() for run, _ in taken}
    for run in summaries:
        if run.entry in seeds and run.status == "finished" and not all(each.keeps(run) for each in conditions):
            seeds[run.entry].add(run.seed)
    rows: dict[str, list[str]] = defaultdict(list)
    for entry, left in seeds.items():
        if left:
            rows[f"{'seed' if len(left) == 1 else 'seeds'} {ranges(left)}"].append(entry[:10])
    for words, some in rows.items():
        whose = ", ".join(some)
        if len(some) == len(seeds) > 1:
            whose = "both rows" if len(some) == 2 else f"all {len(some):,} rows"
        elif len(some) > _ROWS_NAMED:
            whose = f"{len(some):,} rows"
        yield f"{words} of {whose}, by {' and '.join(each.text for each in conditions)}"


def _failures(wanted: Iterable[RunSummary]) -> Iterator[str]:
    seeds: dict[str, list[int]] = defaultdict(list)
    for run in wanted:
        if run.status == "failed":
            seeds[run.entry].append(run.seed)
    for entry, failed in sorted(seeds.items()):
        yield f"{entry[:10]}: {'seed' if len(failed) == 1 else 'seeds'} {ranges(failed)}, failed"


def _of_one_protocol(question: Question, runs: Sequence[_OnBoard]) -> tuple[list[_OnBoard], list[str]]:
    """Runs of the protocol that the named rows have, else of the present one, else of the newest there is."""
    named = {board.protocol: (run, board) for run, board in runs if run.entry in question.rows}
    if len(named) > 1:
        (old, before), *_, (new, after) = (named[protocol] for protocol in sorted(named))
        raise UsageError(
            f"rows {old.entry[:10]} and {new.entry[:10]} are of different boards, {board_in_words(before)} and "
            f"{board_in_words(after)}: what a number means has changed between their protocols; run the older again"
        )
    protocols = {board.protocol for _, board in runs}
    if not protocols:
        return [], []
    taken = next(iter(named), PROTOCOL_VERSION if PROTOCOL_VERSION in protocols else max(protocols))
    notes = []
    others = {run.entry for run, board in runs if board.protocol != taken}
    if others:
        notes.append(f"{counted(len(others), 'row')} of another protocol than {taken}, which are stale")
    if taken != PROTOCOL_VERSION:
        notes.append(f"all rows are stale: they are of protocol {taken}, and the present one is {PROTOCOL_VERSION}")
    return [(run, board) for run, board in runs if board.protocol == taken], notes


def _by_board(question: Question, runs: Sequence[_OnBoard]) -> Iterator[ChosenRows]:
    boards: dict[str, Board] = {}
    by_entry: dict[str, dict[str, list[RunSummary]]] = defaultdict(lambda: defaultdict(list))
    place = {entry: number for number, entry in enumerate(question.rows)}
    for run, board in sorted(runs, key=lambda pair: place.get(pair[0].entry, len(place))):
        boards.setdefault(board.fingerprint, board)
        by_entry[board.fingerprint][run.entry].append(run)
    for board in sorted(boards.values(), key=lambda each: (each.target, each.split, each.label_set, each.fingerprint)):
        rows = by_entry[board.fingerprint]
        yield ChosenRows(board, {e: tuple(sorted(some, key=lambda run: run.seed)) for e, some in rows.items()})
