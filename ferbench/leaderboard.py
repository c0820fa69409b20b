"""Ranking, pure: summaries of runs in, tables of entries out. Rows of different boards never meet.

Rank is 1 + the number of entries that are significantly better, by a two-sided paired t test at 5 % on every pair of a
board. An entry's answer to a sample is the mean of its seeds' answers, 0 to 1; a pair is compared on the n differences.
The test speaks of the samples, not of the seeds, and is not corrected for the number of pairs: it sorts a table, and
`compare` is the careful answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ferbench.errors import StoreError
from ferbench.fingerprints import PROTOCOL_VERSION
from ferbench.metrics import t_critical
from ferbench.over_seeds import interval_json, interval_over_seeds, mean_over_seeds
from ferbench.recipes import RecipeValue, in_words
from ferbench.records import Board, Entry, Interval, RunSummary, Score, SpeedMeasurement

#: Entries compared with all others at once; bounds the memory, and few enough stay in the processor's cache.
_BLOCK = 128

#: A mean over seeds may lie this far beside what it is of; a sample more or less is far more.
_ROUNDING = 1e-9

#: Every value of a recipe and its stage changes, by name.
_Values = tuple[tuple[str, RecipeValue], ...]

#: Backbone, strategy, auxiliaries, weights and train fraction.
_Name = tuple[str, str, tuple[str, ...], str, float]


@dataclass(frozen=True, slots=True)
class FailedEntry:
    """The failed runs of one key: never averaged, never ranked.

    error : the last one's line
    difference : in words, the recipe values by which it differs from failures that are otherwise named alike
    """

    row: str
    backbone: str
    strategy: str
    target: str
    auxiliaries: tuple[str, ...]
    seeds: tuple[int, ...]
    error: str
    train_fraction: float = 1.0
    difference: str = ""


@dataclass(frozen=True, slots=True)
class BoardTable:
    """A board with its entries by rank, then accuracy, and what failed on it.

    hidden : entries that were ranked and are left out of `entries`
    """

    board: Board
    entries: tuple[Entry, ...]
    failed: tuple[FailedEntry, ...] = ()
    hidden: int = 0

    @property
    def stale(self) -> bool:
        """Whether it was measured under an older protocol than this ferbench's."""
        return self.board.protocol < PROTOCOL_VERSION


def leaderboards(runs: Iterable[RunSummary], speeds: Iterable[SpeedMeasurement] = ()) -> tuple[BoardTable, ...]:
    """One table per board, by target, stale ones last; runs are put together over seeds by `entry`.

    Parameters
    ----------
    speeds : the speed board, from which entries have what a run itself does not tell of their cost

    Raises
    ------
    StoreError : a finished run without scores, or whose correctness is not of its board's n samples
    """
    boards: dict[str, Board] = {}
    by_board: dict[str, list[RunSummary]] = defaultdict(list)
    for run in runs:
        if run.board is not None:
            boards.setdefault(run.board.fingerprint, run.board)
            by_board[run.board.fingerprint].append(run)
    order = sorted(boards.values(), key=lambda b: (b.target, b.split, b.label_set, b.protocol, b.fingerprint))
    known = _Speeds(speeds)
    tables = [_table(board, by_board[board.fingerprint], known) for board in order]
    return tuple(sorted(tables, key=attrgetter("stale")))


def failures_without_board(runs: Iterable[RunSummary]) -> tuple[FailedEntry, ...]:
    """Runs that failed before their report split was read, so that they belong to no table."""
    return _failed([run for run in runs if run.board is None])


def ranks(correct: Sequence[NDArray[np.bool_]]) -> NDArray[np.int64]:
    """The rank of each entry, int64 [entries], from its runs' answers.

    Parameters
    ----------
    correct : per entry, bool [seeds, n]; all entries of the same n samples

    Notes
    -----
    With d the differences of a pair, the two-sided test is t^2 = (n - 1) mean(d)^2 / (mean(d^2) - mean(d)^2) > c^2, c
    being the 97.5 % point of t with n - 1 degrees, or without division (n - 1 + c^2) / c^2 mean(d)^2 > mean(d^2). As
    mean(d^2) = mean(a^2) + mean(b^2) - 2 mean(a b), one matrix product of all answers serves all pairs. Its
    entries are counts, exact in float32, so ranks are the same on every machine.
    """
    entries, n = len(correct), correct[0].shape[1] if correct else 0
    if n < 2:
        return np.ones(entries, dtype=np.int64)
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    seeds = np.array([len(answers) for answers in correct], dtype=np.float64)
    # The most a product of two rows of counts can be; beyond float32's integers it is done in float64.
    exact = np.float32 if seeds.max() ** 2 * n < 2**24 else np.float64
    counts: NDArray[Any] = np.stack([answers.sum(axis=0) for answers in correct]).astype(exact)
    mean = counts.sum(axis=1, dtype=np.float64) / (seeds * n)
    # Best first: who is significantly better than an entry then stands before it.
    order = np.argsort(-mean, kind="stable")
    counts, seeds, mean = counts[order], seeds[order], mean[order]
    square = np.einsum("en,en->e", counts, counts, dtype=np.float64) / (seeds**2 * n)
    factor = (n - 1) / t_critical(n - 1) ** 2 + 1
    better = np.zeros(entries, dtype=np.int64)
    # The products are small: threads would cost more than they bring, many times more on a busy machine.
    with threadpool_limits(limits=1):
        for start in range(0, entries, _BLOCK):
            block = slice(start, min(start + _BLOCK, entries))
            end = _first_certain(mean, block, factor)
            rest = slice(start, end)
            product = (counts[block] @ counts[rest].T) / (seeds[block, None] * (seeds[None, rest] * n))
            difference = mean[block, None] - mean[None, rest]
            spread = square[block, None] + square[None, rest] - 2 * product
            better[rest] += ((factor * difference**2 > spread) & (difference > 0)).sum(axis=0)
            better[end:] += block.stop - block.start
    result = np.empty(entries, dtype=np.int64)
    result[order] = 1 + better
    return result


def as_json(tables: Sequence[BoardTable]) -> dict[str, Any]:
    """What `leaderboard --json` prints. Scripts rely on it: fields may be added, never changed."""
    return {"boards": [_board_json(table) for table in tables]}


def _first_certain(mean: NDArray[np.float64], block: slice, factor: float) -> int:
    """From which entry on every one is worse than all of a block whatever their answers; entries are best first.

    mean(d^2) is at most mean(|d|), and that at most a + b and 2 - a - b of the two means. Most pairs of a long board
    are decided so, without a product.
    """
    high, low = float(mean[block.start]), float(mean[block.stop - 1])
    difference = np.maximum(low - mean, 0)
    most = np.minimum(high + mean, 2 - low - mean)
    uncertain: NDArray[np.intp] = np.flatnonzero(factor * difference**2 <= most * (1 + 1e-9))
    return max(int(uncertain[-1]) + 1, int(block.stop))


def _table(board: Board, runs: Sequence[RunSummary], speeds: _Speeds) -> BoardTable:
    failed = _failed(runs)
    by_entry: dict[str, list[RunSummary]] = defaultdict(list)
    for run in runs:
        if run.status == "finished":
            by_entry[run.entry].append(run)
    groups = [sorted(group, key=lambda run: run.seed) for _, group in sorted(by_entry.items())]
    failures = {failure.row: failure for failure in failed}
    places = ranks([_answers(group, board) for group in groups])
    differences = _differences([group[0] for group in groups])
    entries = [
        _entry(group, int(rank), board, failures, difference, speeds)
        for group, rank, difference in zip(groups, places, differences, strict=True)
    ]
    entries.sort(key=lambda entry: (entry.rank, -entry.accuracy.mean, entry.row))
    return BoardTable(board, tuple(entries), failed)


def _differences(entries: Sequence[RunSummary]) -> list[str]:
    """Per entry, in words, the recipe values by which it differs from those that are otherwise named alike."""
    alike: dict[_Name, dict[_Values, str]] = defaultdict(dict)
    sizes: dict[_Name, bool] = defaultdict(lambda: True)
    for run in entries:
        named = _name(run)
        alike[named][run.recipe] = ""
        # With a stage's own size, what the column shows does not tell the recipe's.
        sizes[named] &= ("image_size", run.image_size) in run.recipe
    for named, recipes in alike.items():
        if len(recipes) > 1:
            shown_already = {"images_seen", *(["image_size"] if sizes[named] else [])}
            shared = set.intersection(*map(set, recipes))
            for recipe in recipes:
                own = [pair for pair in recipe if pair not in shared and pair[0] not in shown_already]
                recipes[recipe] = in_words(own)
    return [alike[_name(run)][run.recipe] for run in entries]


def _name(run: RunSummary) -> _Name:
    return run.backbone, run.strategy, run.auxiliaries, run.weights, run.train_fraction


def _answers(runs: Sequence[RunSummary], board: Board) -> NDArray[np.bool_]:
    for run in runs:
        if run.correct is None or run.correct.shape != (board.n,):
            raise StoreError(
                f"row {run.entry[:10]}, seed {run.seed}: its answers are not of the {board.n} samples of "
                f"{board.target} {board.split}: run that cell again with --force"
            )
    return np.stack([run.correct for run in runs if run.correct is not None])


def _entry(
    runs: Sequence[RunSummary],
    rank: int,
    board: Board,
    failures: dict[str, FailedEntry],
    difference: str,
    speeds: _Speeds,
) -> Entry:
    first = runs[0]
    row = first.entry[:10]
    accuracy = _interval(runs, "accuracy")
    notes = [difference] if difference else []
    if accuracy.mean <= board.majority + _ROUNDING:
        notes.append("does not beat the majority line")
    if len(runs) == 1:
        notes.append("1 seed")
    if row in failures:
        failure = failures[row]
        count = len(failure.seeds)
        notes.append(f"{count} {'run' if count == 1 else 'runs'} failed: {failure.error}")
    notes.extend(note for run in runs for note in run.notes)
    train_seconds = sum(run.train_seconds for run in runs) / len(runs)
    speed = speeds.of(first)
    return Entry(
        row=row,
        rank=rank,
        backbone=first.backbone,
        strategy=first.strategy,
        auxiliaries=first.auxiliaries,
        weights=first.weights,
        image_size=first.image_size,
        device=first.device,
        seeds=tuple(run.seed for run in runs),
        accuracy=accuracy,
        uar=_interval(runs, "uar"),
        macro_f1=_interval(runs, "macro_f1"),
        images_seen=first.images_seen,
        train_seconds=train_seconds,
        notes=tuple(dict.fromkeys(notes)),
        recipe=first.recipe,
        train_fraction=first.train_fraction,
        images_per_second=first.images_seen / train_seconds if train_seconds > 0 else None,
        spent_seconds=mean_over_seeds([run.spent_seconds for run in runs]),
        peak_memory_bytes=max((run.peak_memory_bytes for run in runs if run.peak_memory_bytes), default=None),
        parameters=max((run.parameters for run in runs if run.parameters), default=None),
        forward_flops=speeds.flops(first),
        inference_images_per_second=None if speed is None else speed.inference_images_per_second.median,
        latency_p50_seconds=None if speed is None else speed.latency_p50_seconds,
        nll=mean_over_seeds([run.nll for run in runs]),
        brier=mean_over_seeds([run.brier for run in runs]),
        ece=mean_over_seeds([run.ece for run in runs]),
        select_accuracy=mean_over_seeds([run.select_accuracy for run in runs]),
        forgotten=mean_over_seeds([run.forgotten for run in runs]),
        temperature=mean_over_seeds([run.temperature for run in runs]),
        calibrated_nll=mean_over_seeds([run.calibrated_nll for run in runs]),
        calibrated_ece=mean_over_seeds([run.calibrated_ece for run in runs]),
        tries=first.tries,
        members=first.members,
        final_stages=tuple([run.final_stage for run in runs]),
    )


def _interval(runs: Sequence[RunSummary], metric: Literal["accuracy", "uar", "macro_f1"]) -> Interval:
    scores: list[Score | None] = [getattr(run, metric) for run in runs]
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        raise StoreError(f"row {runs[0].entry[:10]} has a finished run without {metric}: run it again with --force")
    return interval_over_seeds(known)


def _failed(runs: Sequence[RunSummary]) -> tuple[FailedEntry, ...]:
    by_entry: dict[str, list[RunSummary]] = defaultdict(list)
    for run in runs:
        if run.status == "failed":
            by_entry[run.entry].append(run)
    groups = [sorted(group, key=lambda run: (run.seed, run.error or "")) for _, group in sorted(by_entry.items())]
    found = []
    for group, difference in zip(groups, _differences([group[-1] for group in groups]), strict=True):
        last = group[-1]
        found.append(
            FailedEntry(
                row=last.entry[:10],
                backbone=last.backbone,
                strategy=last.strategy,
                target=last.target,
                auxiliaries=last.auxiliaries,
                seeds=tuple(run.seed for run in group),
                error=last.error or "no reason was recorded",
                train_fraction=last.train_fraction,
                difference=difference,
            )
        )
    return tuple(found)


class _Speeds:
    """The speed board, looked up for a row's cost."""

    def __init__(self, measurements: Iterable[SpeedMeasurement]) -> None:
        self._measured: dict[tuple[str, int, str, str | None], list[SpeedMeasurement]] = defaultdict(list)
        self._flops: dict[tuple[str, int], int] = {}
        # The last ones are taken: not compiled before compiled, new before old.
        for each in sorted(measurements, key=lambda each: (not each.compiled, each.measured_at)):
            self._measured[each.backbone, each.image_size, each.device, each.precision].append(each)
            self._flops[each.backbone, each.image_size] = each.forward_flops

    def of(self, run: RunSummary) -> SpeedMeasurement | None:
        """In the row's precision and on its machine, or None.

        A CPU is the row's only with the same processor and threads. Beside an accelerator these matter little: there
        they decide between several measurements.
        """
        found = self._measured.get((run.backbone, run.image_size, run.device, run.precision), [])
        same = [each for each in found if (each.processor, each.threads) == (run.processor, run.threads)]
        if not same and run.device != "cpu":
            same = found
        return same[-1] if same else None

    def flops(self, run: RunSummary) -> int | None:
        """Of one image's forward pass, which is the same wherever it was counted."""
        return self._flops.get((run.backbone, run.image_size))


def _board_json(table: BoardTable) -> dict[str, Any]:
    board = table.board
    return {
        "target": board.target,
        "split": board.split,
        "n": board.n,
        "label_set": board.label_set,
        "protocol": board.protocol,
        "fingerprint": board.fingerprint,
        "majority": board.majority,
        "excluded": board.excluded,
        "synthetic": board.synthetic,
        "stale": table.stale,
        "rows": len(table.entries) + table.hidden,
        "entries": [entry_json(entry) for entry in table.entries],
        "failed": [_failed_json(failure) for failure in table.failed],
    }


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry in `leaderboard --json`."""
    return {
        "row": entry.row,
        "rank": entry.rank,
        "backbone": entry.backbone,
        "strategy": entry.strategy,
        "auxiliaries": list(entry.auxiliaries),
        "weights": entry.weights,
        "image_size": entry.image_size,
        "device": entry.device,
        "seeds": list(entry.seeds),
        "accuracy": interval_json(entry.accuracy),
        "uar": interval_json(entry.uar),
        "macro_f1": interval_json(entry.macro_f1),
        "images_seen": entry.images_seen,
        "train_seconds": entry.train_seconds,
        "notes": list(entry.notes),
        "train_fraction": entry.train_fraction,
        "images_per_second": entry.images_per_second,
        "spent_seconds": entry.spent_seconds,
        "peak_memory_bytes": entry.peak_memory_bytes,
        "parameters": entry.parameters,
        "forward_flops": entry.forward_flops,
        "inference_images_per_second": entry.inference_images_per_second,
        "latency_p50_seconds": entry.latency_p50_seconds,
        "recipe": {key: value for key, value in entry.recipe if "." not in key},
        "stage_changes": {key: value for key, value in entry.recipe if "." in key},
        "nll": entry.nll,
        "brier": entry.brier,
        "ece": entry.ece,
        "select_accuracy": entry.select_accuracy,
        "forgotten": entry.forgotten,
        "temperature": entry.temperature,
        "calibrated_nll": entry.calibrated_nll,
        "calibrated_ece": entry.calibrated_ece,
        "tries": entry.tries,
        "members": entry.members,
        "final_stages": list(entry.final_stages),
    }


def _failed_json(failure: FailedEntry) -> dict[str, Any]:
    return {
        "row": failure.row,
        "backbone": failure.backbone,
        "strategy": failure.strategy,
        "target": failure.target,
        "auxiliaries": list(failure.auxiliaries),
        "seeds": list(failure.seeds),
        "error": failure.error,
        "train_fraction": failure.train_fraction,
        "difference": failure.difference,
    }
