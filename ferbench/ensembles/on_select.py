"""What the mean of some runs says of select, and the temperature that is fitted on it."""

from __future__ import annotations

from collections.abc import Sequence

from ferbench.averaging import averaged, same_samples
from ferbench.records import Board, Predictions, Run
from ferbench.references import share_splits
from ferbench.reliability import FEWEST_SAMPLES, fitted_temperature
from ferbench.store import Store


def mean_on_select(
    runs: Sequence[Run], said: Sequence[Predictions | None], weights: Sequence[float]
) -> tuple[Predictions | None, str]:
    """The mean where all runs speak of the same select samples, and the content of these; else None and "".

    said : of each run, what it says of select
    """
    contents = {run.select_content for run in runs}
    found = [each for each in said if each is not None]
    if len(contents) > 1 or "" in contents or len(found) < len(runs):
        return None, ""
    if not all(same_samples(found[0], other) for other in found[1:]):
        return None, ""
    return averaged(found, weights), contents.pop()


def is_apart(select: Predictions, board: Board) -> bool:
    """Whether select is not reported on too: a temperature that is fitted on what is would be another score of it."""
    return not share_splits(select.split, board.split)


def mean_temperature(runs: Sequence[Run], store: Store) -> float | None:
    """The temperature of what some runs of a board say on the average; None where there is no select to fit it on:
    labelled, the same for all of them, apart from what is reported, and in the store."""
    board = runs[0].board
    assert board is not None
    weights = [1 / len(runs)] * len(runs)
    select, _ = mean_on_select(runs, [store.select_predictions(run) for run in runs], weights)
    if select is None or not is_apart(select, board):
        return None
    if select.labels is None or len(select.labels) < FEWEST_SAMPLES:
        return None
    return fitted_temperature(select)
