"""Every run as the summary that ranking needs; fast, since ten thousand of them are read at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from ferbench.records import Board, RunSummary, Score
from ferbench.store import codec
from ferbench.store.schema import boards, runs, stages

#: What `_summary` takes apart by position; by name it would take twice as long.
_COLUMNS = (
    *(runs.c.board, runs.c.correct, runs.c.entry, runs.c.status, runs.c.backbone, runs.c.strategy, runs.c.target),
    *(runs.c.auxiliaries, runs.c.weights, runs.c.image_size, runs.c.device, runs.c.seed, runs.c.images_seen),
    *(runs.c.train_seconds, runs.c.accuracy, runs.c.accuracy_low, runs.c.accuracy_high, runs.c.uar, runs.c.uar_low),
    *(runs.c.uar_high, runs.c.macro_f1, runs.c.macro_f1_low, runs.c.macro_f1_high, runs.c.notes, runs.c.error),
    *(runs.c.recipe, runs.c.train_fraction, runs.c.final_stage, runs.c.spent_seconds, runs.c.peak_memory_bytes),
    *(runs.c.parameters, runs.c.processor, runs.c.threads, runs.c.precision, runs.c.interval),
    *(runs.c[name] for name in codec.EVIDENCE_COLUMNS),
)

#: What a row says whose weights are gone: it stands as it is, but cannot predict or be verified to the last.
PRUNED = "checkpoint pruned"


def all_boards(connection: Connection) -> dict[str, Board]:
    """Every board, by fingerprint."""
    names = list(Board.__dataclass_fields__)
    rows = connection.execute(select(*(boards.c[name] for name in names)))
    return {board.fingerprint: board for board in (Board(*row) for row in rows)}


def all_summaries(connection: Connection) -> list[RunSummary]:
    """A summary of every run, in the order in which they were first saved."""
    known = all_boards(connection)
    rows: Sequence[Any] = connection.execute(select(*_COLUMNS).order_by(runs.c.id)).all()
    correct = _correctness(rows, known)
    pruned = frozenset(connection.scalars(select(stages.c.fingerprint).where(stages.c.pruned)))
    return [_summary(row, known, correct.get(index), pruned) for index, row in enumerate(rows)]


def _correctness(rows: Sequence[Any], known: Mapping[str, Board]) -> dict[int, NDArray[np.bool_]]:
    """Answers by the row's index; unpacked a board at a time, since a call per run would take longer."""
    packed: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for index, (board, bits, *_) in enumerate(rows):
        if bits is not None:
            packed[board].append((index, bits))
    found: dict[int, NDArray[np.bool_]] = {}
    for board, numbered in packed.items():
        table = codec.unpack_correctness([bits for _, bits in numbered], known[board].n)
        found.update(zip((index for index, _ in numbered), table, strict=True))
    return found


def _summary(
    row: Sequence[Any], known: Mapping[str, Board], correct: NDArray[np.bool_] | None, pruned: Collection[str]
) -> RunSummary:
    fingerprint, _, entry, status, backbone, strategy, target, auxiliaries, weights, *others = row
    image_size, device, seed, images_seen, train_seconds, *others = others
    *scores, notes, error, recipe, fraction, final, spent, peak, parameters, processor, threads, precision = others[:20]
    interval, nll, brier, ece, select_accuracy, forgotten, temperature, *others = others[20:]
    calibrated_nll, calibrated_ece, tries, members = others
    board = known.get(fingerprint)
    accuracy, accuracy_low, accuracy_high, uar, uar_low, uar_high, macro_f1, macro_f1_low, macro_f1_high = scores
    n = 0 if board is None else board.n
    # One word for both, or two.
    uar_interval, *_, macro_f1_interval = 2 * (interval or "wilson").split("/")
    return RunSummary(
        entry,
        status,
        board,
        backbone,
        strategy,
        target,
        codec.strings_from_json(auxiliaries),
        weights,
        image_size,
        device,
        seed,
        images_seen,
        train_seconds,
        None if accuracy is None else Score("accuracy", accuracy, n, accuracy_low, accuracy_high),
        None if uar is None else Score("uar", uar, n, uar_low, uar_high, uar_interval),
        None if macro_f1 is None else Score("macro_f1", macro_f1, n, macro_f1_low, macro_f1_high, macro_f1_interval),
        codec.strings_from_json(notes) + ((PRUNED,) if final in pruned and status == "finished" else ()),
        error,
        codec.values_from_json(recipe),
        fraction,
        correct,
        spent,
        peak,
        parameters,
        processor,
        threads,
        precision,
        nll,
        brier,
        ece,
        select_accuracy,
        forgotten,
        temperature,
        calibrated_nll,
        calibrated_ece,
        tries,
        members,
        final,
    )
