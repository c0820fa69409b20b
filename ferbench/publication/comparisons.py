"""Comparisons of a store, gathered for a site: those of `ferbench compare`, bounded in what is compared with what.

The draws of a comparison take memory and time by the runs in it, and a matrix of many cells is not read. What is left
out is said.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ferbench.comparison import Competitor, Samples
from ferbench.competitors import (
    BoardAnswers,
    NamedBoard,
    Question,
    choose,
    compare_boards,
    name_competitors,
    rank_over_boards,
    read_answers,
)
from ferbench.competitors.naming import matched_by, weights_kind
from ferbench.competitors.properties import differing, joined_words, property_of, telling_apart
from ferbench.curves import curves
from ferbench.errors import FerbenchError, StoreError
from ferbench.expressions import label_set
from ferbench.leaderboard import BoardTable
from ferbench.metrics import confusion
from ferbench.pages.comparison import (
    COSTS,
    AcrossPage,
    ComparisonPage,
    Confusion,
    Confusions,
    CostPoint,
    Costs,
    Known,
    Matrix,
    cost_axes,
)
from ferbench.quantities import counted, joined
from ferbench.records import Board, Entry, Predictions, Run, RunSummary
from ferbench.row_filter import parse_where
from ferbench.snapshot.redaction import name_without_folders, published, without_folders
from ferbench.store import KeptRun, Store

#: Rows of a matrix of rows; competitors of one that puts rows together; runs whose answers are drawn from at once.
_BEST, _COMPETITORS, _RUNS = 10, 12, 1000

#: Rows whose confusion matrices can be chosen, that are shown with what they forgot; points, and curves.
_CONFUSIONS, _FORGETTING, _POINTS, _CURVES = 20, 20, 1000, 40

#: Properties that rows are put together by, at most: of more, nobody reads the names.
_KEYS = 3

_TOO_FEW = "fewer than two rows have their predictions in the store"

_UNFIT = "what is stored of these rows cannot be compared: `ferbench verify ROW` tells why"

#: Of a command that names them.
_ROWS_ASKED = 40

#: Of what is left out.
_NAMED = 6


def comparison_page(
    table: BoardTable, store: Store, summaries: Sequence[RunSummary] | None = None
) -> ComparisonPage | None:
    """What a board's page of comparisons says; None for a board with one row.

    Rows whose predictions are not in the store are left out of what needs them, and named there.

    Parameters
    ----------
    table : with all its rows, or with those that are published
    summaries : of the store, where they are at hand
    """
    if len(table.entries) < 2:
        return None
    if summaries is None:
        summaries = store.leaderboard_rows()
    rows = _Rows(table, summaries)
    answers = _Answers(store, table.board)
    best = _best(rows, answers)
    confusions = _confusions(rows, answers)
    together = tuple(_together(rows, answers, by) for by in ("strategy", "backbone") if rows.vary(by))
    known, more = _known(rows, store)
    parts = tuple(curve for curve in curves(table.entries) if len({p.train_fraction for p in curve.points}) > 1)
    return ComparisonPage(
        board=table.board,
        rows=frozenset(entry.row for entry in table.entries),
        matrices=(*together, best),
        confusions=confusions,
        costs=_costs(rows),
        curves=parts[:_CURVES],
        curves_left_out=len(parts[_CURVES:]),
        known=known,
        known_left_out=more,
    )


def across_boards_page(
    tables: Sequence[BoardTable], store: Store, summaries: Sequence[RunSummary] | None = None
) -> AcrossPage | None:
    """Strategies over a site's boards; None where fewer than two boards have two strategies."""
    if summaries is None:
        summaries = store.leaderboard_rows()
    shown = {entry.row for table in tables for entry in table.entries}
    protocols = {table.board.protocol for table in tables}
    finished = [run for run in summaries if run.status == "finished" and run.board is not None]
    whole = all(run.entry[:10] in shown for run in finished if run.board and run.board.protocol in protocols)
    runs = [_public(run) for run in summaries if whole or run.entry[:10] in shown]
    finished = [run for run in runs if run.status == "finished" and run.board and run.board.protocol in protocols]
    strategies: dict[str, set[str]] = defaultdict(set)
    for run in finished:
        if run.board is not None and not run.members:
            strategies[run.board.fingerprint].add(run.strategy)
    if sum(len(some) > 1 for some in strategies.values()) < 2:
        return None
    by = _told_apart("strategy", finished)
    asked = f"compare --by {','.join(by)}" if whole else ""
    question = Question(by=by)
    try:
        chosen, notes = choose(question, runs)
        boards, alone = name_competitors(question, chosen)
        if len(boards) < 2:
            return None
        across, unranked = rank_over_boards([_from_correctness(board) for board in boards])
    except FerbenchError as error:
        return AcrossPage((), None, asked, (str(error),))
    return AcrossPage(tuple(each.board for each in boards), across, asked, (*notes, *alone, *unranked))


def _public(run: RunSummary) -> RunSummary:
    """A summary in which the folders of paths are cut, as `published` does it to a run."""
    return dataclasses.replace(
        run,
        board=run.board and dataclasses.replace(run.board, target=name_without_folders(run.board.target)),
        backbone=name_without_folders(run.backbone),
        target=name_without_folders(run.target),
        auxiliaries=tuple(map(name_without_folders, run.auxiliaries)),
        weights=name_without_folders(run.weights),
        recipe=tuple((key, without_folders(value) if isinstance(value, str) else value) for key, value in run.recipe),
    )


class _Rows:
    """One board's rows: entries in the order of the table, and their runs."""

    def __init__(self, table: BoardTable, summaries: Sequence[RunSummary]) -> None:
        self.board = table.board
        self.entries = table.entries
        shown = {entry.row for entry in table.entries}
        board = table.board.fingerprint
        here = [_public(run) for run in summaries if run.board is not None and run.board.fingerprint == board]
        here.sort(key=lambda run: (run.entry, run.seed))
        self.all_shown = shown == {run.entry[:10] for run in here if run.status == "finished"}
        self.runs = here if self.all_shown else [run for run in here if run.entry[:10] in shown]
        self.first = {run.entry[:10]: run for run in reversed(self.runs) if run.status == "finished"}
        firsts = [self.first[entry.row] for entry in self.entries]
        keys = telling_apart(firsts)
        words = [joined_words(run, keys) for run in firsts]
        times = Counter(words)
        self.label = {
            run.entry[:10]: f"{text} ({run.entry[:10]})".strip() if times[text] > 1 or not text else text
            for run, text in zip(firsts, words, strict=True)
        }

    def vary(self, key: str) -> bool:
        """Whether rows that are no ensembles differ in a property."""
        return len({property_of(run, key) for run in self.first.values() if not run.members}) > 1

    def entry_of(self, row: str) -> str:
        """A row's whole hash."""
        return self.first[row].entry


class _Answers:
    """Runs with their predictions, read once; what all say of the samples is held once."""

    def __init__(self, store: Store, board: Board) -> None:
        self._store, self._board = store, board
        self._read: dict[str, list[tuple[Run, Predictions]]] = {}
        self._first: Predictions | None = None
        self._missing: set[str] = set()

    def __call__(self, entry: str) -> list[tuple[Run, Predictions]]:
        """As `Store.run_predictions`, and raises as it does."""
        if entry not in self._read:
            self._read[entry] = [
                (published(KeptRun(run)).run, self._shared(said)) for run, said in self._store.run_predictions(entry)
            ]
        return self._read[entry]

    def have(self, entry: str) -> bool:
        """Whether all of a row's predictions are there."""
        if entry not in self._missing:
            try:
                self(entry)
            except StoreError:
                # Its line names the store, whose path is nobody's business on a page.
                self._missing.add(entry)
        return entry not in self._missing

    def forget(self, keep: Collection[str]) -> None:
        """Predictions of other rows than these are read again where they are asked for again."""
        self._read = {entry: said for entry, said in self._read.items() if entry in keep}

    def _shared(self, said: Predictions) -> Predictions:
        if self._first is None:
            self._first = said
        first = self._first
        return dataclasses.replace(
            said,
            ids=first.ids if said.ids == first.ids else said.ids,
            groups=first.groups if said.groups == first.groups else said.groups,
        )


def _best(rows: _Rows, answers: _Answers) -> Matrix:
    """The best rows, each a competitor."""
    taken: list[str] = []
    missing: list[str] = []
    for entry in rows.entries:
        whole = rows.entry_of(entry.row)
        (taken if answers.have(whole) else missing).append(whole)
        if len(taken) == _BEST:
            break
    notes = _without(missing)
    if left := len(rows.entries) - len(taken) - len(missing):
        notes.append(
            f"{counted(left, 'row')} behind the best {len(taken)}: these were chosen by what they reached, for which "
            "interval and p make no allowance"
        )
    asked = f"compare {' '.join(entry[:10] for entry in taken)}"
    if len(taken) < 2:
        return Matrix((), "", None, tuple(notes), _TOO_FEW)
    return _compared(Question(tuple(taken)), rows.runs, answers, asked, notes)


def _without(missing: Sequence[str]) -> list[str]:
    if not missing:
        return []
    return [f"{counted(len(missing), 'row')} without predictions in the store: {_some(each[:10] for each in missing)}"]


def _some(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _together(rows: _Rows, answers: _Answers, key: str) -> Matrix:
    """Rows put together by a property, and by as many others as tell apart what is of one kind."""
    alone = [run for run in rows.runs if not run.members]
    finished = [run for run in alone if run.status == "finished"]
    by = _told_apart(key, finished)
    names = _names(by, finished)
    asked = f"compare --by {','.join(by)} --where board={rows.board.fingerprint[:10]}"
    if len(by) > 1 and len(names) > _COMPETITORS:
        return Matrix(
            (key,),
            asked,
            None,
            refused=f"rows of one {key} differ in {joined(by[1:])}, and put together by these, too, there would be "
            f"{len(names)} to compare: choose some with --where",
        )
    kept, notes = _bounded(by, finished, names)
    missing = [entry for entry in kept if not answers.have(entry)]
    notes += _without(missing)
    kept = [entry for entry in kept if entry not in missing]
    if len(kept) < 2:
        return Matrix(by, "", None, tuple(notes), _TOO_FEW)
    if rows.all_shown and len(kept) == len({run.entry for run in finished}):
        board = parse_where((f"board={rows.board.fingerprint[:10]}",))
        found = _compared(Question(where=board, by=by), rows.runs, answers, asked, notes)
    else:
        asked = f"compare {' '.join(entry[:10] for entry in kept)} --by {','.join(by)}"
        asked = asked if len(kept) <= _ROWS_ASKED else ""
        found = _compared(Question(tuple(kept), by=by), rows.runs, answers, asked, notes)
    answers.forget({rows.entry_of(entry.row) for entry in rows.entries[:_CONFUSIONS]})
    return found


def _compared(
    question: Question, runs: Sequence[RunSummary], answers: _Answers, asked: str, notes: Sequence[str]
) -> Matrix:
    """One comparison, as the command makes it; why it is refused where it is."""
    try:
        chosen, left_out = choose(question, runs)
        boards, alone = name_competitors(question, chosen)
        found = compare_boards([read_answers(each, answers) for each in boards], left_out=(*left_out, *alone))
    except StoreError:
        # Its line may quote the ids of samples; the command prints it.
        return Matrix(question.by, asked, None, tuple(notes), _UNFIT)
    except FerbenchError as error:
        return Matrix(question.by, asked, None, tuple(notes), str(error))
    return Matrix(question.by, asked, found.boards[0], (*found.left_out, *notes))


def _place(run: RunSummary, by: Sequence[str], keys: Sequence[str]) -> tuple[object, ...]:
    """A row's block among competitors that are made by these properties."""
    return tuple(
        weights_kind(run.weights) if key == "weights" and "backbone" in by else property_of(run, key) for key in keys
    )


def _told_apart(key: str, runs: Sequence[RunSummary]) -> tuple[str, ...]:
    """The property, and what must be asked for with it so that no two rows of a competitor are matched alike."""
    by = [key]
    firsts = [*{run.entry: run for run in runs if not run.members}.values()]
    while len(by) < _KEYS:
        alike: dict[tuple[object, ...], list[RunSummary]] = defaultdict(list)
        for run in firsts:
            board = run.board.fingerprint if run.board else ""
            alike[board, joined_words(run, by), *_place(run, by, matched_by(by))].append(run)
        double = next((some for some in alike.values() if len(some) > 1), None)
        further = [] if double is None else [each for each in differing(double) if each not in ("tries", "members")]
        if not further:
            break
        by.append(further[0])
    return tuple(by)


def _names(by: Sequence[str], runs: Sequence[RunSummary]) -> dict[str, set[str]]:
    """Entries by competitor."""
    found: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        found[joined_words(run, by)].add(run.entry)
    return found


def _bounded(
    by: Sequence[str], runs: Sequence[RunSummary], names: Mapping[str, set[str]]
) -> tuple[list[str], list[str]]:
    """Entries that are compared: of the competitors with most rows, in the blocks that most of them are in.

    Nothing is chosen by what it reached.
    """
    notes: list[str] = []
    order = sorted(names, key=lambda name: (-len(names[name]), name))
    if gone := order[_COMPETITORS:]:
        notes.append(f"{_some(gone)}: more than {_COMPETITORS} are not compared, and no more rows are of these")
    taken = set(order[:_COMPETITORS])
    keys = [key for key in matched_by(by) if key != "train_fraction"]
    blocks: dict[tuple[object, ...], list[RunSummary]] = defaultdict(list)
    for run in runs:
        if joined_words(run, by) in taken:
            blocks[_place(run, by, keys)].append(run)
    kept: set[str] = set()
    size = full = 0
    for _, some in sorted(blocks.items(), key=lambda item: (-len(_names(by, item[1])), str(item[0]))):
        if kept and size + len(some) > _RUNS:
            full += 1
            continue
        kept |= {run.entry for run in some}
        size += len(some)
    there = dict.fromkeys(run.entry for run in runs)
    if full:
        notes.append(
            f"{counted(len(there) - len(kept), 'row')} of {len(there):,}: at most {_RUNS:,} runs are compared on a "
            "page, those that most others are matched with"
        )
    return [entry for entry in there if entry in kept], notes


def _confusions(rows: _Rows, answers: _Answers) -> Confusions | None:
    found = []
    classes: tuple[str, ...] = ()
    for entry in rows.entries[:_CONFUSIONS]:
        if not answers.have(rows.entry_of(entry.row)):
            continue
        said = answers(rows.entry_of(entry.row))
        here = [
            (run, each)
            for run, each in said
            if run.board is not None and run.board.fingerprint == rows.board.fingerprint and each.labels is not None
        ]
        if not here:
            continue
        own = label_set(here[0][0].cell.recipe.label_set).classes
        counts: NDArray[np.int64] = np.sum([confusion(each) for _, each in here], axis=0)
        classes = classes or own
        if own != classes or len(counts) != len(classes):
            continue
        seeds = tuple(run.cell.seed for run, _ in here)
        table = tuple(tuple(map(int, line)) for line in counts.tolist())
        found.append((entry, Confusion(entry.row, rows.label[entry.row], seeds, table)))
    if len(found) < 2:
        return None
    first = found[0][0]
    second = next((entry for entry, _ in found[1:] if entry.strategy != first.strategy), found[1][0])
    left_out = len(rows.entries) - len(found)
    return Confusions(classes, tuple(each for _, each in found), first.row, second.row, left_out)


def _known(rows: _Rows, store: Store) -> tuple[tuple[Known, ...], int]:
    """What rows forgot, best rows first, and of how many more it is known."""
    forgetful = [entry for entry in rows.entries if entry.forgotten is not None]
    found: list[Known] = []
    for entry in forgetful[:_FORGETTING]:
        whole = rows.entry_of(entry.row)
        runs = store.runs(row=whole, board=rows.board.fingerprint, status="finished")
        found += _known_by(entry, rows.label[entry.row], runs)
    return tuple(found), max(0, len(forgetful) - _FORGETTING)


def _known_by(entry: Entry, label: str, runs: Sequence[Run]) -> Iterator[Known]:
    by_split: dict[tuple[str, str, int], list[tuple[float, float]]] = defaultdict(list)
    for run in runs:
        for each in run.forgetting:
            by_split[each.dataset, each.split, each.n].append((each.before, each.after))
    for (dataset, split, n), pairs in by_split.items():
        before, after = (sum(values) / len(values) for values in zip(*pairs, strict=True))
        yield Known(entry.row, label, dataset, split, n, len(pairs), before, after)


def _costs(rows: _Rows) -> Costs:
    points = tuple(
        CostPoint(
            row=entry.row,
            label=rows.label[entry.row],
            backbone=entry.backbone,
            strategy=entry.strategy,
            accuracy=entry.accuracy,
            seeds=len(entry.seeds),
            costs={key: cost(entry) for key, cost in COSTS.items()},
        )
        for entry in rows.entries[:_POINTS]
    )
    devices = tuple(sorted({entry.device for entry in rows.entries}))
    axes = cost_axes(points)
    if len(devices) > 1:
        axes = tuple(dataclasses.replace(axis, front=()) if axis.key == "train_seconds" else axis for axis in axes)
    return Costs(axes, points, devices, len(rows.entries) - len(points))


def _from_correctness(named: NamedBoard) -> BoardAnswers:
    """A board's competitors with what ranks over boards need: which answers are right. Class 0 stands for right."""
    competitors = []
    for one in named.competitors:
        answers = {
            (block, run.seed): np.stack([run.correct, ~run.correct], axis=1).astype(np.float32)
            for block, runs in one.blocks.items()
            for run in runs
            if run.correct is not None
        }
        rows = tuple(dict.fromkeys(run.entry[:10] for runs in one.blocks.values() for run in runs))
        competitors.append(Competitor(one.name, rows, answers, {}))
    labels: NDArray[np.int64] = np.zeros(named.board.n, dtype=np.int64)
    return BoardAnswers(
        board=named.board,
        samples=Samples(named.board.fingerprint, labels, 2),
        competitors=tuple(competitors),
        labels={one.name: one.label for one in named.competitors},
        across={one.name: one.across for one in named.competitors},
        runs={},
    )
