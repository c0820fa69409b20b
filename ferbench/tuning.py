"""Tuning that is fair: every cell gets the same tries, one seed decides on select, and other seeds are reported.

The tries of a cell are all combinations of the values that the matrix gives several of. They predict the select samples
alone: of the report split nothing is known before the recipe is chosen, and no try becomes a row.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ferbench.errors import UsageError
from ferbench.matrix import Matrix, RecipeAxis
from ferbench.metrics import LOWER_IS_BETTER
from ferbench.recipes import RecipeValue, in_words
from ferbench.stages import Cell, Try, Tuning

#: What belongs to the question and not to its answer: with a larger budget or other classes, cells are no rivals.
_NOT_TUNED = ("images_seen", "label_set")

#: The seed of tries, unless another is given: no seed that people report.
TUNING_SEED = 1_000_000

#: Tries that a row's note names one by one.
_NAMED = 6

Values = tuple[tuple[str, RecipeValue], ...]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The tries of what becomes one row: cells that differ in the tuned values alone, with the tries' seed.

    values : of each try, what it is tried with
    seeds : that are reported
    """

    metric: str
    values: tuple[Values, ...]
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]

    def tuning(self, scores: Sequence[float | None], select_n: int, distinct: int | None = None) -> Tuning:
        """What comes of the tries. Of equal ones the first is taken, and where all have failed the first as well.

        scores : of the tries on select, None for those that failed
        distinct : tries that differ in what they compute; all of them unless told
        """
        tries = tuple(Try(values, score) for values, score in zip(self.values, scores, strict=True))
        chosen = best_try(tries, self.metric).values
        different = len(tries) if distinct is None else distinct
        return Tuning(self.metric, self.cells[0].seed, select_n, tries, chosen, different)

    def reported(self, tuning: Tuning) -> list[Cell]:
        """The cells that are reported: the chosen recipe with other seeds than the tries'."""
        best = self.cells[self.values.index(tuning.chosen)]
        return [dataclasses.replace(best, seed=seed, tuning=tuning) for seed in self.seeds]


def candidates(matrix: Matrix, cells_of: Callable[[Matrix], tuple[Cell, ...]]) -> tuple[Candidates, ...]:
    """The tries of a matrix that is to be tuned, in the order of its rows; of its further blocks too.

    cells_of : the cells of a matrix without further blocks

    Raises
    ------
    UsageError : nothing to choose from, a value that is not to be chosen, more tries in one block than in another, or a
        try with a seed that is reported
    """
    found = [each for block in (matrix, *matrix.also) for each in _of_block(block, matrix, cells_of)]
    counts = sorted({len(each.values) for each in found})
    if len(counts) > 1:
        raise UsageError(
            f"some rows would have {counts[0]} tries and others {counts[-1]}, and more tries alone may win: give every "
            "block equally many values"
        )
    return tuple(dict.fromkeys(found))


def tuning_seed(matrix: Matrix) -> int:
    """The tries' seed: as given, or one that does not change when seeds are added.

    Raises
    ------
    UsageError : a row has it too
    """
    reported = {seed for block in (matrix, *matrix.also) for seed in block.seeds}
    given = None if matrix.tune is None else matrix.tune.seed
    seed = TUNING_SEED if given is None else given
    if seed in reported:
        raise UsageError(
            f"seed {seed} would be tuned with and reported, so that its row would be the luckiest try: "
            "give --tune-seed one that --seed has not"
        )
    return seed


def _of_block(block: Matrix, matrix: Matrix, cells_of: Callable[[Matrix], tuple[Cell, ...]]) -> list[Candidates]:
    tuned = [axis for axis in block.axes if len(axis.values) > 1]
    if not tuned:
        raise UsageError("there is nothing to tune: give a recipe value several values, as --set lr=0.001,0.01,0.1")
    for axis in tuned:
        if axis.key in _NOT_TUNED:
            raise UsageError(f"{axis.key} cannot be tuned, it is part of the question: give it one value")
    seed = tuning_seed(matrix)
    combined = list(itertools.product(*(axis.values for axis in tuned)))
    values = tuple(tuple((_name(a), v) for a, v in zip(tuned, each, strict=True)) for each in combined)
    columns = []
    for each in combined:
        single = {id(axis): RecipeAxis(axis.key, (value,), axis.stage) for axis, value in zip(tuned, each, strict=True)}
        axes = tuple(single.get(id(axis), axis) for axis in block.axes)
        columns.append(cells_of(dataclasses.replace(block, axes=axes, seeds=(seed,), also=(), tune=None)))
    metric = "" if matrix.tune is None else matrix.tune.metric
    return [Candidates(metric, values, cells, block.seeds) for cells in zip(*columns, strict=True)]


def _name(axis: RecipeAxis) -> str:
    return axis.key if axis.stage is None else f"stage{axis.stage}.{axis.key}"


def best_try(tries: Sequence[Try], metric: str) -> Try:
    """The one to be taken: the first of equal ones, and the first of all where every one has failed."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    known = [(sign * each.score, -place) for place, each in enumerate(tries) if each.score is not None]
    return tries[-max(known)[1] if known else 0]


def tuning_note(tuning: Tuning) -> str:
    """What a tuned row says: what was taken, of what, on which grounds, and whether better may lie beyond."""
    failed = sum(each.score is None for each in tuning.tries)
    if len(tuning.chosen) == 1 and len(tuning.tries) <= _NAMED:
        named = ", ".join(
            f"{value} ({reached(each, tuning.metric)})" for each in tuning.tries for _, value in each.values
        )
        what = f"{in_words(tuning.chosen)} of {named}"
    else:
        what = f"{in_words(tuning.chosen)}, best of {len(tuning.tries)} tries"
        what += f", {failed} of them failed" if failed else ""
    if 0 < tuning.distinct < len(tuning.tries):
        what += f", which come to {tuning.distinct} here"
    if edges := at_an_edge(tuning):
        what += f"; {' and '.join(edges)} at the edge of what was tried"
    return f"tuned: {what}; by {tuning.metric} on select (n {tuning.select_n:,}, seed {tuning.seed})"


def at_an_edge(tuning: Tuning) -> list[str]:
    """The numbers that were chosen at the end of what was tried, by key: beyond it may lie better ones."""
    found = []
    for key, value in tuning.chosen:
        tried = {dict(each.values)[key] for each in tuning.tries}
        numbers = [each for each in tried if isinstance(each, (int, float)) and not isinstance(each, bool)]
        if len(numbers) == len(tried) > 1 and value in (min(numbers), max(numbers)):
            found.append(key)
    return found


def reached(each: Try, metric: str) -> str:
    """What a try reached on select, in words."""
    if each.score is None:
        return "failed"
    return f"{each.score:.3f}" if metric in ("nll", "brier") else f"{100 * each.score:.1f} %"
