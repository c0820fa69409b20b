"""Makes an ensemble of stored rows and keeps it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ferbench.ensembles.making import Made, Maker
from ferbench.ensembles.method import SEED_OVER_SEEDS, Method
from ferbench.ensembles.pool import Pool, Source, one_board, seed_groups
from ferbench.fingerprints import fingerprint
from ferbench.metrics import correctness
from ferbench.records import Board, Run
from ferbench.store import Store


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What was asked for and what became of it.

    runs : by seed; of those that were there already, as they are stored
    made, there_already : their seeds
    made_again : seeds of `made` that take an older one's place, since members were trained again in between
    left_out : one line each for what could not take part
    """

    runs: tuple[Run, ...]
    made: tuple[int, ...]
    there_already: tuple[int, ...]
    made_again: tuple[int, ...]
    left_out: tuple[str, ...]

    @property
    def row(self) -> str:
        return self.runs[0].row


def make_ensemble(store: Store, rows: Sequence[str], method: Method) -> Ensemble:
    """Average finished runs and keep what comes out as a row; the same ensemble again stays as it is.

    The order of rows does not matter, nor how often one is named. One row alone is averaged over its seeds.

    Parameters
    ----------
    rows : each the start of a row's name, as Store.run_predictions takes it

    Raises
    ------
    UnknownName, UsageError : no such row, rows of several boards or label sets, no seed in common, or nothing to
        average
    StoreError : a row that is not finished, or predictions or stages that are not in the store
    """
    pool = Pool(store)
    entries = sorted({pool.entry_of(row) for row in rows})
    if len(entries) == 1:
        method = dataclasses.replace(method, over_seeds=True)
    board = one_board(pool, entries)
    groups, left_out = seed_groups(pool, entries, method)
    entry = _entry(board, entries, groups, method)
    known = store.finished([fingerprint([entry, seed]) for seed in groups])
    runs: list[Run] = []
    made: list[int] = []
    there: list[int] = []
    again: list[int] = []
    for seed, sources in groups.items():
        new = Maker(store, pool, method, entry, entries).made(seed, sources)
        old = known.get(new.run.key)
        if old is not None and old.predictions_sha256 == new.run.predictions_sha256:
            runs.append(old)
            there.append(seed)
            continue
        _keep(store, new)
        runs.append(new.run)
        made.append(seed)
        again += [] if old is None else [seed]
    return Ensemble(tuple(runs), tuple(made), tuple(there), tuple(again), tuple(left_out))


def _entry(board: Board, entries: Sequence[str], groups: Mapping[int, Sequence[Source]], method: Method) -> str:
    identity: dict[str, object] = {"board": board.fingerprint, "ensemble": "mean", "rows": list(entries)}
    if method.greedy:
        identity |= {"ensemble": "greedy", "by": method.metric, "steps": method.steps}
    if method.over_seeds:
        # With another run it is another mean, and its seed does not tell.
        identity["runs"] = [[*source.name] for source in groups[SEED_OVER_SEEDS]]
    return fingerprint(identity)


def _keep(store: Store, made: Made) -> None:
    """The run last: without it, what was saved before belongs to no row."""
    store.save_stage(made.stage, made.result, trained=False)
    assert made.run.board is not None
    store.save_predictions(made.stage.fingerprint, made.run.board.fingerprint, made.report, again=[made.run.key])
    if made.select is not None:
        store.save_predictions(made.stage.fingerprint, made.run.select_content, made.select, again=[made.run.key])
    store.save_run(made.run, correctness(made.report), force=True)
