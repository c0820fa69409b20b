"""What the store has of a run, before anybody takes its word: records beside the columns that repeat them.

The leaderboard reads columns, since ten thousand records would take too long; where a column and its record disagree,
somebody has written one without the other. Of the columns that no record repeats, `precision` is bound to the last
stage and `correct` to the predictions; `saved_at`, `pruned` and `merged` are bound to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from ferbench.errors import StoreError, one_line
from ferbench.records import FurtherScores, Predictions, Run, StageResult
from ferbench.references import CUT
from ferbench.stages import Stage
from ferbench.store import codec
from ferbench.store.schema import boards, further_scores, predictions, runs, stages, trainings

T = TypeVar("T")

#: Columns that came to stand beside records that were there before: empty in rows that an older ferbench wrote.
_LATER_RUN_COLUMNS = ("precision", "interval", *codec.EVIDENCE_COLUMNS)

#: What no record says: when a row was written, what became of its checkpoint, where it came from.
_OF_THE_STORE = ("id", "saved_at", "pruned", "merged")


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as it lies in the store.

    entry, seed : as its columns have them
    run : its record; None where that cannot be read
    correct : bool [n], which samples it answered right by its column; None where there is none or it cannot be read
    faults : one line each for what cannot be read, and for each column that says something else than the record
    unsure : and for what others may have had a reason to write so
    """

    entry: str
    seed: int
    run: Run | None
    correct: NDArray[np.bool_] | None
    faults: tuple[str, ...]
    unsure: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredStage:
    """A stage as it lies in the store, with what it scores on further datasets.

    faults : as in StoredRun
    pruned : its checkpoint was given up
    merged : it came from another store, or was never trained
    """

    stage: Stage | None
    result: StageResult | None
    further: tuple[FurtherScores, ...]
    faults: tuple[str, ...]
    pruned: bool
    merged: bool = False


def all_entries(connection: Connection) -> list[str]:
    """The entries that columns name, in the order in which they were first saved."""
    return list(dict.fromkeys(connection.scalars(select(runs.c.entry).order_by(runs.c.id))))


def stored_runs(connection: Connection, entry: str) -> list[StoredRun]:
    """The runs of an entry, finished or failed, by seed; raises nothing for what cannot be read."""
    query = select(runs).where(runs.c.entry == entry).order_by(runs.c.seed, runs.c.id)
    return [_stored_run(connection, row) for row in connection.execute(query).mappings().all()]


def stored_stage(connection: Connection, fingerprint: str) -> StoredStage | None:
    """A stage by the name that its column has, or None; raises nothing for what cannot be read."""
    row = connection.execute(select(stages).where(stages.c.fingerprint == fingerprint)).mappings().one_or_none()
    if row is None:
        return None
    faults: list[str] = []
    stage = _decoded(Stage, row["stage"], faults)
    result = _decoded(StageResult, row["result"], faults)
    if stage is not None and result is not None:
        faults += _disagreeing(row, lambda: codec.stage_columns(stage, result, 0.0), ("stage", "result"))
        query = select(trainings).where(trainings.c.stage == fingerprint).order_by(trainings.c.id.desc()).limit(1)
        # What came from another store was not trained here.
        for last in connection.execute(query).mappings():
            if not row["merged"]:
                faults += _disagreeing(last, lambda: codec.training_columns(result, 0.0), ("stage",), "its log's ")
    further = []
    query = select(further_scores).where(further_scores.c.stage == fingerprint).order_by(further_scores.c.id)
    for line in connection.execute(query).mappings():
        scored = _decoded(FurtherScores, line["record"], faults)
        if scored is not None:
            further.append(scored)
            faults += _disagreeing(line, lambda scored=scored: codec.further_columns(fingerprint, scored), ("record",))
    return StoredStage(stage, result, tuple(further), tuple(faults), bool(row["pruned"]), bool(row["merged"]))


def stored_predictions(connection: Connection, stage: str, content: str) -> list[Predictions]:
    """All that a stage has said of some samples, under whatever names of dataset and split.

    Raises
    ------
    StoreError : some that cannot be read
    """
    query = select(predictions).where(predictions.c.stage == stage, predictions.c.content == content)
    found = []
    for row in connection.execute(query.order_by(predictions.c.id)):
        try:
            record = codec.predictions_from_row(row)
        except (TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise StoreError(
                f"the store holds broken predictions on {row.dataset} {row.split} ({one_line(error)}): restore a copy "
                "of it"
            ) from error
        counts = {len(record.ids), len(record.probabilities if record.groups is None else record.groups), row.n}
        if len(counts) > 1:
            raise StoreError(
                f"predictions on {row.dataset} {row.split} have {row.n} rows, but not as many ids and groups"
            )
        found.append(record)
    return found


def _stored_run(connection: Connection, row: Mapping[Any, Any]) -> StoredRun:
    faults: list[str] = []
    unsure: list[str] = []
    run = _decoded(Run, row["record"], faults)
    correct = None
    if run is not None:
        older = _LATER_RUN_COLUMNS if run.status == "finished" and not run.predictions_sha256 else ()
        faults += _disagreeing(row, lambda: codec.run_columns(run, None), ("correct", "record"), older=older)
        try:
            faults += _other_precision(connection, row, run)
            if run.board is not None:
                faults += _other_board(connection, run)
                correct = _correctness(row["correct"], run.board.n, faults)
                _other_samples(connection, run, faults, unsure)
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            faults.append(f"its record holds what is no value for its place ({one_line(error)})")
    return StoredRun(row["entry"], row["seed"], run, correct, tuple(faults), tuple(unsure))


def _decoded(kind: type[T], text: str, faults: list[str]) -> T | None:
    """A record, or None with the reason among the faults."""
    try:
        return codec.from_json(kind, text)
    except (StoreError, RecursionError) as error:
        faults.append(f"its record cannot be read: {one_line(error.__cause__ or error)}")
        return None


def _disagreeing(
    row: Mapping[Any, Any], columns: Any, but: tuple[str, ...], where: str = "", older: tuple[str, ...] = ()
) -> Iterator[str]:
    """What columns say otherwise than the record that `columns` derives them from.

    older : columns that may be empty, since the ferbench that wrote the record had none of them
    """
    try:
        expected: dict[str, Any] = columns()
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        yield f"its record holds what is no value for its place ({one_line(error)})"
        return
    for name, value in expected.items():
        stored = row[name]
        if name in but or name in _OF_THE_STORE or _same(name, stored, value, older):
            continue
        yield f"{where}column {name} holds {stored!r}, its record says {value!r}"


def _same(name: str, stored: Any, expected: Any, older: tuple[str, ...]) -> bool:
    if stored is None and name in older:
        # Rows of an older ferbench; what it could not tell is read as such.
        return expected is None or name == "interval"
    if name == "recipe":
        try:
            return stored == expected or codec.values_from_json(stored) == codec.values_from_json(expected)
        except (ValueError, TypeError, RecursionError):
            return False
    return bool(stored == expected)


def _other_precision(connection: Connection, row: Mapping[Any, Any], run: Run) -> Iterator[str]:
    """The one column that is not the run's own."""
    if run.status != "finished" or not run.stages:
        return
    of_final = connection.scalar(select(stages.c.precision).where(stages.c.fingerprint == run.stages[-1]))
    unknown = row["precision"] is None and not run.predictions_sha256
    if not unknown and of_final is not None and row["precision"] != of_final:
        yield f"column precision holds {row['precision']!r}, its last stage was computed in {of_final!r}"


def _other_board(connection: Connection, run: Run) -> Iterator[str]:
    """The board's own row; the names of dataset and split may be those that another run has asked for it under."""
    assert run.board is not None
    row = connection.execute(select(boards).where(boards.c.fingerprint == run.board.fingerprint)).mappings().first()
    if row is None:
        yield f"its board {run.board.fingerprint[:10]} is not in the store"
        return
    expected = codec.board_columns(run.board)
    for name in ("n", "label_set", "protocol", "majority", "excluded", "synthetic"):
        if row[name] != expected[name]:
            yield f"the board's column {name} holds {row[name]!r}, its record says {expected[name]!r}"
    named = (row["target"], row["split"])
    if named != (run.board.target, run.board.split) and named not in _names(connection, run.board.fingerprint):
        yield (
            f"the board's columns name it {named[0]!r} {named[1]!r}, its record says "
            f"{run.board.target!r} {run.board.split!r}"
        )


def _other_samples(connection: Connection, run: Run, faults: list[str], unsure: list[str]) -> None:
    """What the predictions of the board's samples are stored as; another run may have asked for them first."""
    if run.board is None or not run.stages:
        return
    query = select(predictions.c.dataset, predictions.c.split).where(
        predictions.c.stage == run.stages[-1], predictions.c.content == run.board.fingerprint
    )
    stored = [(dataset, split) for dataset, split in connection.execute(query.order_by(predictions.c.id))]
    known = {(run.board.target, run.board.split)}
    if not set(stored) - known:
        return
    known |= _names(connection, run.board.fingerprint)
    before = len(faults) + len(unsure)
    for dataset, split in stored:
        if (dataset, split) in known:
            continue
        # Another run may have called them by a path whose folders are not told.
        if CUT in dataset and split in {name for _, name in known}:
            unsure.append(f"what its samples are called: its predictions are stored as of {dataset} {split}")
        else:
            faults.append(
                f"its predictions are stored as of {dataset!r} {split!r}, its board is {run.board.target!r} "
                f"{run.board.split!r}"
            )
    if len(faults) + len(unsure) == before and (run.board.target, run.board.split) not in stored:
        dataset, split = stored[0]
        unsure.append(f"what its samples are called: its predictions are stored as of {dataset} {split}")


def _names(connection: Connection, board: str) -> set[tuple[str, str]]:
    """What the records of a board's runs call it."""
    found = set()
    for text in connection.scalars(select(runs.c.record).where(runs.c.board == board)):
        run = _decoded(Run, text, [])
        if run is not None and run.board is not None:
            found.add((run.board.target, run.board.split))
    return found


def _correctness(packed: bytes | None, n: int, faults: list[str]) -> NDArray[np.bool_] | None:
    if packed is None:
        return None
    if len(packed) != (n + 7) // 8 or np.unpackbits(np.frombuffer(packed, np.uint8))[n:].any():
        faults.append(f"column correct is not one bit for each of its board's {n} samples")
        return None
    right: NDArray[np.bool_] = codec.unpack_correctness([packed], n)[0]
    return right
