"""The store as the rest of ferbench sees it: records in, records out. Every save is one transaction."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, Table, and_, delete, false, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ferbench.cache.pruning import Needs
from ferbench.errors import StoreError
from ferbench.metrics import correctness
from ferbench.prediction_hash import predictions_sha256
from ferbench.records import (
    Board,
    FurtherScores,
    Predictions,
    Run,
    RunSummary,
    Speed,
    SpeedKey,
    SpeedMeasurement,
    StageResult,
    Training,
)
from ferbench.stages import Stage
from ferbench.store import codec
from ferbench.store.connection import Database, open_database
from ferbench.store.integrity import StoredRun, StoredStage, all_entries, stored_predictions, stored_runs, stored_stage
from ferbench.store.kept import KeptRun
from ferbench.store.lookup import entry_of
from ferbench.store.needs import all_needs
from ferbench.store.raw_rows import RawRows, raw_rows
from ferbench.store.schema import boards, further_scores, runs, stages, trainings
from ferbench.store.schema import predictions as saved_predictions
from ferbench.store.schema import speed_measurements as saved_measurements
from ferbench.store.standing import stands_on
from ferbench.store.summaries import all_boards, all_summaries

#: Keys asked for in one statement; SQLite's older builds take 999 parameters.
_KEYS_A_QUERY = 900


def open_store(url_or_path: str, *, read_only: bool = False) -> Store:
    """Open a store, and unless `read_only` make it with its folders and tables where there is none.

    Parameters
    ----------
    url_or_path : a file's path, or a SQLAlchemy URL (sqlite:///PATH, postgresql://user@host/name)
    read_only : touch nothing; the way to read a store that lies in a read-only folder. A file of an older ferbench is
        read from a copy in a temporary folder that is brought up to date and goes when the store is closed

    Raises
    ------
    StoreOutdated : with `read_only`, a server's store of an older ferbench
    StoreError : not a store, not writable, missing (with `read_only`), or written by a newer ferbench
    """
    return Store(open_database(url_or_path, read_only))


class Store:
    """Stages, predictions, boards and runs. Several processes may write one store at once.

    Every method raises StoreError, in one line, where the database cannot be read or written.

    Attributes
    ----------
    location : where the store is, for people; a password in a URL is hidden
    journal : SQLite's journal mode (`wal`, or `delete` on network file systems); None for servers and read-only stores
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.location = database.location
        self.journal = database.journal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database; the store cannot be used afterwards."""
        self._database.close()

    def save_stage(self, stage: Stage, result: StageResult, *, trained: bool = True) -> None:
        """Keep a stage that was trained just now, and log its training.

        Trained again, the new result takes the old one's place, since the checkpoint on disk is the new one too.

        trained : False for what names predictions without any training, as an ensemble's last stage does: nothing is
            logged, and no speed is learned from it
        """
        if stage.fingerprint != result.fingerprint:
            raise StoreError(f"stage {stage.fingerprint[:10]} came with the result of {result.fingerprint[:10]}")
        with self._database.writing() as connection:
            now = time.time()
            columns = {**codec.stage_columns(stage, result, now), "merged": not trained}
            _upsert(connection, stages, columns, ("fingerprint",))
            if trained:
                connection.execute(insert(trainings).values(**codec.training_columns(result, now)))

    def trainings(self) -> list[Training]:
        """Every training that happened, in the order in which they were saved.

        A stage that was trained again stands there again. Of stages that an earlier ferbench saved the last is known.
        """
        query = select(*(trainings.c[name] for name in Training.__dataclass_fields__)).order_by(trainings.c.id)
        with self._database.reading() as connection:
            return [Training(*row) for row in connection.execute(query)]

    def images_trained(self) -> int:
        """How many images all trainings together put through a network, or through the features of one."""
        with self._database.reading() as connection:
            return int(connection.scalar(select(func.coalesce(func.sum(trainings.c.images), 0))) or 0)

    def mark_pruned(self, fingerprints: Collection[str]) -> None:
        """Note that the checkpoints of these stages are gone; rows that end with one say so from now on."""
        wanted = list(dict.fromkeys(fingerprints))
        with self._database.writing() as connection:
            for start in range(0, len(wanted), _KEYS_A_QUERY):
                some = wanted[start : start + _KEYS_A_QUERY]
                connection.execute(update(stages).where(stages.c.fingerprint.in_(some)).values(pruned=True))

    def is_pruned(self, fingerprint: str) -> bool:
        """Whether a stage's checkpoint was given up since it was trained last."""
        with self._database.reading() as connection:
            return bool(connection.scalar(select(stages.c.pruned).where(stages.c.fingerprint == fingerprint)))

    def ends_a_run(self, fingerprint: str) -> bool:
        """Whether a finished run ends with a stage, so that its row stands on the stage's checkpoint."""
        query = select(runs.c.id).where(runs.c.final_stage == fingerprint, runs.c.status == "finished").limit(1)
        with self._database.reading() as connection:
            return connection.scalar(query) is not None

    def checkpoint_needs(self) -> Needs:
        """Which checkpoints rows and unfinished work stand on."""
        with self._database.reading() as connection:
            return all_needs(connection)

    def stage(self, fingerprint: str) -> Stage | None:
        """A finished stage by its fingerprint."""
        with self._database.reading() as connection:
            text = connection.scalar(select(stages.c.stage).where(stages.c.fingerprint == fingerprint))
        return None if text is None else codec.from_json(Stage, text)

    def stage_result(self, fingerprint: str) -> StageResult | None:
        """What a finished stage gave, by its fingerprint."""
        with self._database.reading() as connection:
            text = connection.scalar(select(stages.c.result).where(stages.c.fingerprint == fingerprint))
        return None if text is None else codec.from_json(StageResult, text)

    def stage_results(self, fingerprints: Collection[str]) -> dict[str, StageResult]:
        """What those of these stages gave that are finished, by fingerprint."""
        wanted = list(dict.fromkeys(fingerprints))
        found: dict[str, StageResult] = {}
        with self._database.reading() as connection:
            for start in range(0, len(wanted), _KEYS_A_QUERY):
                query = select(stages.c.fingerprint, stages.c.result).where(
                    stages.c.fingerprint.in_(wanted[start : start + _KEYS_A_QUERY])
                )
                for fingerprint, result in connection.execute(query):
                    found[fingerprint] = codec.from_json(StageResult, result)
        return found

    def speeds(self, limit: int = 5) -> list[Speed]:
        """How fast the last `limit` stages of each kind were trained, newest first."""
        names = list(SpeedKey.__dataclass_fields__)
        measured = ("images_per_second", "peak_memory_bytes", "parameters", "features_per_second")
        newest_first = (stages.c.saved_at.desc(), stages.c.id.desc())
        # Every stage is numbered, in the order of its index and from that alone; only the last ones' rows are read.
        age = func.row_number().over(partition_by=[stages.c[name] for name in names], order_by=newest_first)
        # What came from another store was perhaps trained on another machine; an ensemble was not trained at all.
        ranked = select(stages.c.id, age.label("age")).where(stages.c.merged.is_(False)).subquery()
        query = (
            select(*(stages.c[name] for name in (*names, *measured)))
            .join(ranked, ranked.c.id == stages.c.id)
            .where(ranked.c.age <= limit)
            .order_by(*newest_first)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [Speed(SpeedKey(*row[: len(names)]), *row[len(names) :]) for row in rows]

    def save_speed_measurement(self, measurement: SpeedMeasurement) -> None:
        """Keep a row of the speed board, in the place of an earlier one that was measured alike on such a machine."""
        columns = codec.speed_measurement_columns(measurement, time.time())
        with self._database.writing() as connection:
            _upsert(connection, saved_measurements, columns, codec.SPEED_MEASUREMENT_KEY)

    def speed_measurements(self) -> list[SpeedMeasurement]:
        """The speed board, in the order in which its rows were first saved."""
        with self._database.reading() as connection:
            query = select(saved_measurements.c.record).order_by(saved_measurements.c.id)
            return [codec.from_json(SpeedMeasurement, record) for record in connection.scalars(query)]

    def save_predictions(
        self, stage_fingerprint: str, content: str, predictions: Predictions, *, again: Collection[str] = ()
    ) -> None:
        """Keep a stage's predictions of one split, once per (stage, dataset, split, content).

        The last ones stay, unless a finished run stands on those that are here: its record has their hash. They are
        kept then, whoever has trained the stage again, and what is computed from that stage later is computed from
        what is here.

        Parameters
        ----------
        stage_fingerprint : a stage that was saved before
        content : names the samples; the board's fingerprint for a report split
        again : keys of finished runs that are computed anew, and keep nothing
        """
        columns = codec.predictions_columns(stage_fingerprint, content, predictions)
        with self._database.writing() as connection:
            known = connection.scalar(select(stages.c.id).where(stages.c.fingerprint == stage_fingerprint))
            if known is None:
                raise StoreError(f"predictions of stage {stage_fingerprint[:10]} came before the stage: save it first")
            unique = ("stage", "dataset", "split", "content")
            same = [saved_predictions.c[name] == columns[name] for name in unique]
            here = connection.scalar(select(saved_predictions.c.id).where(*same))
            if here is None or not stands_on(connection, stage_fingerprint, content, predictions.dataset, again):
                _upsert(connection, saved_predictions, columns, unique)

    def predictions(self, stage_fingerprint: str, dataset: str, split: str, content: str) -> Predictions | None:
        """A stage's predictions of one split, or None."""
        table = saved_predictions
        query = select(table).where(
            table.c.stage == stage_fingerprint,
            table.c.dataset == dataset,
            table.c.split == split,
            table.c.content == content,
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else codec.predictions_from_row(row)

    def select_predictions(self, run: Run) -> Predictions | None:
        """A finished run's predictions of its target's select samples, or None; the data itself is not looked at."""
        board, table = run.board, saved_predictions
        if board is None or not run.stages:
            return None
        query = select(table).where(table.c.stage == run.stages[-1], table.c.content != board.fingerprint)
        if run.select_content:
            query = query.where(table.c.content == run.select_content)
        else:
            # Of a row of an earlier ferbench nothing else of the target is stored.
            query = query.where(table.c.dataset == board.target)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(table.c.id)).all()
        return codec.predictions_from_row(rows[0]) if rows else None

    def save_further_scores(self, stage_fingerprint: str, further: FurtherScores) -> None:
        """Keep what a stage scores on samples that are no board of its own; the last ones stay."""
        columns = codec.further_columns(stage_fingerprint, further)
        with self._database.writing() as connection:
            _upsert(connection, further_scores, columns, ("stage", "dataset", "split", "content"))

    def further_scores(self, stage: str | None = None) -> dict[str, tuple[FurtherScores, ...]]:
        """Scores on further datasets by the stage that has them, of all stages or of one."""
        query = select(further_scores.c.stage, further_scores.c.record).order_by(further_scores.c.id)
        if stage is not None:
            query = query.where(further_scores.c.stage == stage)
        found: dict[str, list[FurtherScores]] = defaultdict(list)
        with self._database.reading() as connection:
            for name, record in connection.execute(query):
                found[name].append(codec.from_json(FurtherScores, record))
        return {name: tuple(each) for name, each in found.items()}

    def save_board(self, board: Board) -> None:
        """Keep a board under its fingerprint."""
        with self._database.writing() as connection:
            _save_board(connection, board)

    def save_run(self, run: Run, correct: NDArray[np.bool_] | None, *, force: bool = False) -> None:
        """Keep a run and its board, one row per `run.key`.

        A finished run takes the place of a failed one, and of a finished one only with `force`; a failed run never
        takes the place of a finished one.

        Parameters
        ----------
        correct : bool [board.n], in the board's order; None for a failed run

        Raises
        ------
        StoreError : a finished run without board, correctness or scores, or whose accuracy is not that of `correct`, or
            whose predictions another process has replaced meanwhile
        """
        _check_run(run, correct)
        replaced = None if force and run.status == "finished" else runs.c.status == "failed"
        columns = _run_columns(run, correct)
        with self._database.writing() as connection:
            _save_board_of(connection, run)
            _upsert(connection, runs, columns, ("key",), replaced)
            if run.status == "finished" and connection.scalar(_record_of(run)) == columns["record"]:
                _check_report(connection, run, self.location)

    def add(self, kept: Iterable[KeptRun], evidence: Iterable[KeptRun] = ()) -> None:
        """Keep runs that were computed elsewhere, all of them or none; nothing that is here is changed.

        A failed run that is here gives way to a finished one. Trainings are not logged, since none happened here.

        Parameters
        ----------
        evidence : runs that are here already, of which predictions and further scores are to be kept that are not here

        Raises
        ------
        StoreError : a run that cannot be kept, or that another process has put here meanwhile, with its stages or its
            predictions, as something else
        """
        now = time.time()
        with self._database.writing() as connection:
            for each in kept:
                _add_stages(connection, each, now, self.location)
                _clear_unclaimed(connection, each)
                _add_evidence(connection, each)
                _add_run(connection, each, self.location)
            for each in evidence:
                _add_evidence(connection, each)

    @contextmanager
    def raw_rows(self) -> Iterator[RawRows]:
        """One state of the store as it lies there, nothing decoded and nothing believed."""
        with self._database.reading() as connection, raw_rows(connection) as rows:
            yield rows

    def finished(self, keys: Collection[str]) -> dict[str, Run]:
        """The finished runs among these keys, by key."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Run] = {}
        with self._database.reading() as connection:
            for start in range(0, len(wanted), _KEYS_A_QUERY):
                query = select(runs.c.key, runs.c.record).where(
                    runs.c.key.in_(wanted[start : start + _KEYS_A_QUERY]), runs.c.status == "finished"
                )
                for key, record in connection.execute(query):
                    found[key] = codec.from_json(Run, record)
        return found

    def runs(
        self,
        *,
        board: str | None = None,
        row: str | None = None,
        status: Literal["finished", "failed"] | None = None,
    ) -> list[Run]:
        """Runs in the order in which they were first saved.

        Parameters
        ----------
        board : a board's fingerprint
        row : an entry's hash or an unambiguous start of it; raises as `run_predictions` does
        status : only these
        """
        with self._database.reading() as connection:
            query = select(runs.c.record).order_by(runs.c.id)
            if board is not None:
                query = query.where(runs.c.board == board)
            if row is not None:
                query = query.where(runs.c.entry == entry_of(connection, row))
            if status is not None:
                query = query.where(runs.c.status == status)
            return [codec.from_json(Run, record) for record in connection.scalars(query)]

    def run_predictions(self, row: str) -> list[tuple[Run, Predictions]]:
        """The finished runs of an entry, by seed, each with its final stage's predictions on its board.

        Parameters
        ----------
        row : ROW, an entry's hash, or an unambiguous start of either of at least 4 hex digits

        Raises
        ------
        UnknownName, UsageError : no such row, too short a start, or one that fits several rows
        StoreError : the row has no finished run, or its predictions are not in this store
        """
        table = saved_predictions
        with self._database.reading() as connection:
            query = (
                select(runs.c.record, table)
                .join(boards, boards.c.fingerprint == runs.c.board)
                .outerjoin(
                    table,
                    # Not by the names of dataset and split: the same pictures may have been asked for under others.
                    and_(table.c.stage == runs.c.final_stage, table.c.content == boards.c.fingerprint),
                )
                .where(runs.c.entry == entry_of(connection, row), runs.c.status == "finished")
                .order_by(boards.c.fingerprint, runs.c.seed, runs.c.id, table.c.id)
            )
            rows = connection.execute(query).all()
        if not rows:
            raise StoreError(f"row {row} has no finished run in {self.location}: `ferbench leaderboard` shows why")
        found: list[tuple[Run, Predictions]] = []
        for line in rows:
            run = codec.from_json(Run, line.record)
            if found and found[-1][0].key == run.key:
                continue
            if line.stage is None:
                raise StoreError(
                    f"{self.location} holds no predictions of row {run.row}, seed {run.cell.seed}: "
                    "run that cell again with --force"
                )
            found.append((run, codec.predictions_from_row(line)))
        return found

    def entries(self) -> list[str]:
        """The hashes of all entries, broken ones too, in the order in which they were first saved."""
        with self._database.reading() as connection:
            return all_entries(connection)

    def stored_runs(self, row: str) -> list[StoredRun]:
        """The runs of an entry by seed, each with what is wrong with how it lies here.

        Parameters
        ----------
        row : an entry's hash or an unambiguous start of it; raises as `run_predictions` does
        """
        with self._database.reading() as connection:
            return stored_runs(connection, entry_of(connection, row))

    def stored_stage(self, fingerprint: str) -> StoredStage | None:
        """A stage with what is wrong with how it lies here, or None."""
        with self._database.reading() as connection:
            return stored_stage(connection, fingerprint)

    def stored_predictions(self, stage_fingerprint: str, content: str) -> list[Predictions]:
        """All that a stage has said of some samples, under whatever names of dataset and split."""
        with self._database.reading() as connection:
            return stored_predictions(connection, stage_fingerprint, content)

    def boards(self) -> dict[str, Board]:
        """Every board, by fingerprint."""
        with self._database.reading() as connection:
            return all_boards(connection)

    def leaderboard_rows(self) -> list[RunSummary]:
        """A summary of every run, finished or failed, with its correctness: what ranking needs, in one query."""
        with self._database.reading() as connection:
            return all_summaries(connection)


def _upsert(
    connection: Connection,
    table: Table,
    columns: Mapping[str, Any],
    unique: Sequence[str],
    replaced: ColumnElement[bool] | None = None,
) -> None:
    """Insert a row; where one has the same unique columns, replace its other columns if `replaced` holds for it."""
    insert: sqlite.Insert | postgresql.Insert = (
        postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    )
    changes = {name: insert.excluded[name] for name in columns if name not in unique}
    connection.execute(
        insert.values(**columns).on_conflict_do_update(index_elements=list(unique), set_=changes, where=replaced)
    )


def _add_stages(connection: Connection, kept: KeptRun, now: float, location: str) -> None:
    for stage, result in kept.stages:
        columns = {**codec.stage_columns(stage, result, now), "merged": True}
        _upsert(connection, stages, columns, ("fingerprint",), false())
        here = connection.scalar(select(stages.c.result).where(stages.c.fingerprint == stage.fingerprint))
        if here is None or codec.from_json(StageResult, here).checkpoint_sha256 != result.checkpoint_sha256:
            raise _came_meanwhile(location, f"stage {stage.fingerprint[:10]} with another checkpoint")


def _clear_unclaimed(connection: Connection, kept: KeptRun) -> None:
    """Make room for a run's predictions by its last stage where those that are here belong to no finished run."""
    run, table = kept.run, saved_predictions
    if run.status == "failed" or run.board is None:
        return
    own = {run.board.fingerprint, run.select_content, *(each.content for each in run.forgetting)}
    for (stage, content), predictions in kept.predictions.items():
        same = (table.c.stage == stage, table.c.content == content)
        if stage != run.stages[-1] or content not in own or connection.scalar(select(table.c.id).where(*same)) is None:
            continue
        if not stands_on(connection, stage, content, predictions.dataset):
            connection.execute(delete(table).where(*same))


def _add_evidence(connection: Connection, kept: KeptRun) -> None:
    """Predictions and further scores, as far as their stages' samples are not spoken of yet, under whatever names."""
    for (stage, content), predictions in kept.predictions.items():
        table = saved_predictions
        here = select(table.c.id).where(table.c.stage == stage, table.c.content == content).limit(1)
        if connection.scalar(here) is None:
            connection.execute(insert(table).values(**codec.predictions_columns(stage, content, predictions)))
    for stage, further in kept.further:
        columns = codec.further_columns(stage, further)
        _upsert(connection, further_scores, columns, ("stage", "dataset", "split", "content"), false())


def _add_run(connection: Connection, kept: KeptRun, location: str) -> None:
    run = kept.run
    correct = correctness(kept.report) if run.status == "finished" else None
    _check_run(run, correct)
    _save_board_of(connection, run)
    replaced = false() if run.status == "failed" else runs.c.status == "failed"
    _upsert(connection, runs, _run_columns(run, correct), ("key",), replaced)
    if connection.scalar(_record_of(run)) != codec.to_json(run):
        raise _came_meanwhile(location, f"row {run.row}, seed {run.cell.seed}")
    if run.status == "finished":
        _check_report(connection, run, location)


def _record_of(run: Run) -> Select[str]:
    return select(runs.c.record).where(runs.c.key == run.key)


def _check_report(connection: Connection, run: Run, location: str) -> None:
    """Raise StoreError where the predictions that are stored are not those that a run was computed from."""
    if run.board is None or not run.predictions_sha256:
        return
    found = stored_predictions(connection, run.stages[-1], run.board.fingerprint)
    if found and run.predictions_sha256 not in map(predictions_sha256, found):
        raise _came_meanwhile(location, f"other predictions of row {run.row}, seed {run.cell.seed}")


def _came_meanwhile(location: str, what: str) -> StoreError:
    return StoreError(f"{location} got {what} from another process meanwhile: run this command again")


def _run_columns(run: Run, correct: NDArray[np.bool_] | None) -> dict[str, Any]:
    columns = codec.run_columns(run, correct)
    if run.status == "finished":
        # Of the stage, since the recipe may leave it to the device.
        of_final = stages.c.fingerprint == columns["final_stage"]
        columns["precision"] = select(stages.c.precision).where(of_final).scalar_subquery()
    return columns


def _save_board(connection: Connection, board: Board, replaced: ColumnElement[bool] | None = None) -> None:
    """The first names that a board was given stay, under whatever others its data is asked for later."""
    kept = false() if replaced is None else replaced
    _upsert(connection, boards, codec.board_columns(board), ("fingerprint",), kept)


def _save_board_of(connection: Connection, run: Run) -> None:
    """What a failed run says of its board, nobody has computed: the first finished one takes its place."""
    if run.board is None:
        return
    finished = select(runs.c.id).where(runs.c.board == run.board.fingerprint, runs.c.status == "finished")
    _save_board(connection, run.board, false() if run.status == "failed" else ~finished.exists())


def _check_run(run: Run, correct: NDArray[np.bool_] | None) -> None:
    name = f"run of row {run.row}, seed {run.cell.seed}"
    if run.status == "failed":
        if correct is not None:
            raise StoreError(f"{name} failed, so it has no correctness to keep")
        return
    if run.board is None or correct is None:
        raise StoreError(f"{name} is finished but has no board or no correctness: a run without labels is not ranked")
    if correct.shape != (run.board.n,):
        raise StoreError(f"{name} has {correct.shape} answers for a board of {run.board.n} samples")
    scores = {score.metric: score.value for score in run.scores}
    missing = [metric for metric in ("accuracy", "uar", "macro_f1") if metric not in scores]
    if missing:
        raise StoreError(f"{name} is finished but has no {', '.join(missing)}")
    if abs(scores["accuracy"] - float(correct.mean())) > 1e-6:
        raise StoreError(
            f"{name} claims an accuracy of {scores['accuracy']:.6f} but its answers give {correct.mean():.6f}"
        )
