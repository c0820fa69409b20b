"""Every run as the summary that ranking needs; fast, since ten thousand of them are read at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, select

from ferbench.records import Board, RunSummary, Score
from ferbench.store import codec
from ferbench.store.schema import boards, runs


def all_summaries(connection: Connection) -> list[RunSummary]:
    """A summary of every run, in the order in which they were first saved."""
    columns = [column for column in runs.c if column.name not in ("id", "key", "final_stage", "record")]
    known = all_boards(connection)
    rows = connection.execute(select(*columns).order_by(runs.c.id)).all()
    correct = _correctness(rows, known)
    return [_summary(row, known, correct[index]) for index, row in enumerate(rows)]


def all_boards(connection: Connection) -> dict[str, Board]:
    """Every board, by fingerprint."""
    names = list(Board.__dataclass_fields__)
    rows = connection.execute(select(*(boards.c[name] for name in names)))
    return {board.fingerprint: board for board in (Board(*row) for row in rows)}


def _correctness(rows: Sequence[Row[Any]], known: Mapping[str, Board]) -> dict[int, NDArray[np.bool_] | None]:
    """Each row's correctness by its index; unpacked a board at a time, since a call per run would take longer."""
    packed: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for index, row in enumerate(rows):
        if row.correct is not None:
            packed[row.board].append((index, row.correct))
    found: dict[int, NDArray[np.bool_] | None] = dict.fromkeys(range(len(rows)))
    for board, numbered in packed.items():
        table = codec.unpack_correctness([bits for _, bits in numbered], known[board].n)
        found.update(zip((index for index, _ in numbered), table, strict=True))
    return found


def _summary(row: Row[Any], known: Mapping[str, Board], correct: NDArray[np.bool_] | None) -> RunSummary:
    board = None if row.board is None else known[row.board]
    n = 0 if board is None else board.n

    def score(metric: str, value: float | None, low: float | None, high: float | None) -> Score | None:
        return None if value is None else Score(metric, value, n, low, high)

    return RunSummary(
        entry=row.entry,
        status=row.status,
        board=board,
        backbone=row.backbone,
        strategy=row.strategy,
        target=row.target,
        auxiliaries=codec.strings_from_json(row.auxiliaries),
        weights=row.weights,
        image_size=row.image_size,
        device=row.device,
        seed=row.seed,
        images_seen=row.images_seen,
        train_seconds=row.train_seconds,
        accuracy=score("accuracy", row.accuracy, row.accuracy_low, row.accuracy_high),
        uar=score("uar", row.uar, row.uar_low, row.uar_high),
        macro_f1=score("macro_f1", row.macro_f1, row.macro_f1_low, row.macro_f1_high),
        notes=codec.strings_from_json(row.notes),
        error=row.error,
        correct=correct,
    )
