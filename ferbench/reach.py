"""How long a board's rows are trained until they reach an accuracy on select, over seeds. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ferbench.records import Run, StageResult
from ferbench.time_to_accuracy import time_to_accuracy, was_looked_at


@dataclass(frozen=True, slots=True)
class Reach:
    """Of one row.

    seconds : mean over the seeds that reached it; None where none did, or where that is not known
    reached, seeds : how many are known to have reached it, of how many; None instead of 0 where one may have, between
        ends of epochs that were not looked at (`run --track`)
    """

    seconds: float | None
    reached: int | None
    seeds: int


def reaches(runs: Iterable[Run], results: Mapping[str, StageResult], accuracy: float) -> dict[str, Reach]:
    """By ROW, of one board's finished runs.

    Parameters
    ----------
    results : of the runs' stages, by fingerprint, as far as they are known
    accuracy : a fraction
    """
    found: dict[str, list[float | None]] = defaultdict(list)
    unknown: set[str] = set()
    for run in runs:
        chain = [results[stage] for stage in run.stages if stage in results]
        found[run.row].append(time_to_accuracy(run, chain, accuracy))
        if not was_looked_at(run, chain):
            unknown.add(run.row)
    return {row: _reach(seconds, row in unknown) for row, seconds in found.items()}


def as_json(reach: Reach | None, accuracy: float) -> dict[str, Any]:
    """`reach` of an entry in `leaderboard --reach P --json`. Fields may be added, never changed."""
    return {
        "accuracy": accuracy,
        "train_seconds": None if reach is None else reach.seconds,
        "reached": None if reach is None else reach.reached,
        "seeds": None if reach is None else reach.seeds,
    }


def _reach(seconds: list[float | None], unknown: bool) -> Reach:
    known = [each for each in seconds if each is not None]
    if not known:
        return Reach(None, None if unknown else 0, len(seconds))
    return Reach(sum(known) / len(known), len(known), len(seconds))
