"""What competitors said of a board's samples: read from the store, and refused where it is not of the same samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferbench.comparison import OVER_SEEDS, Competitor, Samples
from ferbench.competitors.naming import NamedBoard
from ferbench.errors import FerbenchError, StoreError
from ferbench.pseudonyms import same_groups, same_names
from ferbench.records import Board, Predictions, Run

#: From an entry's hash to its finished runs, each with its predictions on the board.
ReadAnswers = Callable[[str], Sequence[tuple[Run, Predictions]]]

#: The strategy of ensembles whose members were chosen among others.
_CHOSEN = "greedy-ensemble"


@dataclass(frozen=True, slots=True)
class BoardAnswers:
    """One board with all that is compared on it.

    labels, across : the competitors' names in sentences, and on all boards, by their name here
    runs : by competitor and block, by seed
    """

    board: Board
    samples: Samples
    competitors: tuple[Competitor, ...]
    labels: Mapping[str, str]
    across: Mapping[str, str]
    runs: Mapping[str, Mapping[str, tuple[Run, ...]]]


def read_answers(named: NamedBoard, read: ReadAnswers) -> BoardAnswers:
    """The predictions of a board's competitors.

    Raises
    ------
    StoreError : a row without predictions, or predictions of other samples than the first row's
    """
    reader = _Reader(named.board, read)
    competitors, runs = [], {}
    for one in named.competitors:
        answers: dict[tuple[str, int], NDArray[np.float32]] = {}
        stages: dict[tuple[str, int], tuple[str, ...]] = {}
        of_block: dict[str, tuple[Run, ...]] = {}
        for block, summaries in one.blocks.items():
            seeds = {summary.seed for summary in summaries}
            found = [(run, said) for run, said in reader.row(summaries[0].entry) if run.cell.seed in seeds]
            for run, said in found:
                paired_as = OVER_SEEDS if reader.over_seeds(run) else run.cell.seed
                answers[block, paired_as] = said.probabilities
                stages[block, paired_as] = run.stages
            of_block[block] = tuple(run for run, _ in found)
        rows = tuple(dict.fromkeys(run.row for some in of_block.values() for run in some))
        competitors.append(Competitor(one.name, rows, answers, stages))
        runs[one.name] = of_block
    return BoardAnswers(
        board=named.board,
        samples=reader.samples,
        competitors=tuple(competitors),
        labels={one.name: one.label for one in named.competitors},
        across={one.name: one.across for one in named.competitors},
        runs=runs,
    )


class _Reader:
    """Reads rows of one board; the first one says which samples there are."""

    def __init__(self, board: Board, read: ReadAnswers) -> None:
        self._board, self._read = board, read
        self._rows: dict[str, list[tuple[Run, Predictions]]] = {}
        self._first: tuple[Run, Predictions] | None = None

    def row(self, entry: str) -> list[tuple[Run, Predictions]]:
        """An entry's runs on the board; the same entry is read once."""
        if entry not in self._rows:
            found = [
                (run, said)
                for run, said in self._read(entry)
                if run.board is not None and run.board.fingerprint == self._board.fingerprint
            ]
            for run, said in found:
                self._check(run, said)
            self._rows[entry] = found
        return self._rows[entry]

    def over_seeds(self, run: Run) -> bool:
        """Whether a run is an ensemble over seeds, whose own seed says nothing of its members.

        Members of several seeds tell. One that chose its members may have taken those of its own number alone: it is
        then the only run of its row, though its members' rows have other seeds.
        """
        if any(member.seed != run.cell.seed for member in run.members):
            return True
        if not run.members or run.cell.strategy != _CHOSEN or len(self.row(run.entry)) > 1:
            return False
        return any(self._other_seeds(entry, run.cell.seed) for entry in {member.entry for member in run.members})

    def _other_seeds(self, entry: str, seed: int) -> bool:
        try:
            return any(run.cell.seed != seed for run, _ in self._read(entry))
        except FerbenchError:
            # A member may be in the store that the ensemble was merged from alone.
            return False

    @property
    def samples(self) -> Samples:
        if self._first is None:
            raise StoreError(f"board {self._board.fingerprint[:10]} has no row whose predictions are stored")
        _, said = self._first
        assert said.labels is not None
        return Samples(self._board.fingerprint, said.labels, said.probabilities.shape[1], said.groups)

    def _check(self, run: Run, said: Predictions) -> None:
        where = f"row {run.row}, seed {run.cell.seed}"
        advice = f"look at it with `ferbench verify {run.row}`, or run that cell again with --force"
        if said.labels is None:
            raise StoreError(f"{where}: its predictions have no labels to compare with: {advice}")
        if len(said.ids) != self._board.n or len(said.probabilities) != self._board.n:
            raise StoreError(
                f"{where}: its predictions are of {len(said.ids):,} samples, the board has {self._board.n:,}: {advice}"
            )
        if self._first is None:
            self._first = run, said
            return
        other, first = self._first
        if differing := _differing(first, said):
            raise StoreError(
                f"{where} and row {other.row}, seed {other.cell.seed} are of one board, but their predictions differ "
                f"in {differing}: one of them is not what was stored; {advice}"
            )


def _differing(first: Predictions, said: Predictions) -> str:
    """In what two predictions of one board's samples differ; empty where they are of the same samples."""
    if said.probabilities.shape != first.probabilities.shape:
        return f"their classes, {first.probabilities.shape[1]} and {said.probabilities.shape[1]}"
    assert first.labels is not None and said.labels is not None
    wrong: NDArray[np.intp] = np.flatnonzero(first.labels != said.labels)
    if len(wrong):
        return f"the labels of {len(wrong):,} samples (the first is {said.ids[wrong[0]]})"
    if not same_groups(first.groups, said.groups):
        return "their groups"
    # The same pictures in another layout have other ids, all of them; their order is that of their content.
    if not same_names(first.ids, said.ids) and not set(first.ids).isdisjoint(said.ids):
        here = next(index for index, pair in enumerate(zip(first.ids, said.ids, strict=True)) if pair[0] != pair[1])
        return f"their ids (sample {here + 1} is {first.ids[here]} in one and {said.ids[here]} in the other)"
    return ""
