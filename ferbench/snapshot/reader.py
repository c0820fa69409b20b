"""Reading a snapshot that anybody may have written; its format is told by the package.

Lines are read one at a time and none of them further than it may be long, so that what a file unpacks to is known
before there is too much of it.
"""

from __future__ import annotations

import csv
import gzip
import stat
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from ferbench.errors import FerbenchError, StoreError, one_line
from ferbench.expressions import label_set
from ferbench.records import Board, FurtherScores, Predictions, Run, StageResult
from ferbench.snapshot.checking import Samples
from ferbench.snapshot.found import Found, Refused
from ferbench.snapshot.from_store import LONGEST_ID
from ferbench.snapshot.gathering import Gathering
from ferbench.snapshot.layout import COLUMNS, FORMAT, NAME_DIGITS, PREDICTIONS_FILE, RUNS_FILE
from ferbench.snapshot.limits import Budget, Limits
from ferbench.snapshot.strict import Unsound, decoded, is_hash, parse_json, quoted, sound_text, sound_texts
from ferbench.stages import Stage

#: Columns of probabilities at most.
_MOST_CLASSES = 100


@dataclass(frozen=True, slots=True)
class _Announced:
    """What a line of runs.jsonl says of a block of predictions."""

    row: str
    seed: int
    stage: int
    dataset: str
    split: str
    content: str
    n: int
    labels: bool
    groups: bool

    @property
    def name(self) -> tuple[str, str, str, str, str, str]:
        """As each line of the block has it."""
        place = (self.row, str(self.seed), str(self.stage))
        return (*place, self.dataset, self.split, self.content[:NAME_DIGITS])


@dataclass(slots=True)
class _Lines:
    """The lines of a block, as they are read."""

    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    predicted: list[str] = field(default_factory=list)
    probabilities: list[list[str]] = field(default_factory=list)


def is_snapshot(folder: Path) -> bool:
    """Whether a folder holds a snapshot, sound or not."""
    return (folder / RUNS_FILE).exists()


def read_snapshot(folder: Path, samples: Samples | None = None, limits: Limits | None = None) -> Found:
    """The runs of a snapshot that hold, and those that do not.

    Parameters
    ----------
    samples : what is known of samples already

    Raises
    ------
    StoreError : no snapshot, one of a newer ferbench, or one that is larger than the limits
    """
    limits = limits or Limits()
    reading = _Reading(folder, limits, Gathering(samples or Samples()))
    try:
        reading.read_runs()
        reading.read_predictions()
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise StoreError(
            f"the snapshot in {folder} cannot be read ({one_line(error)}): get another copy of it"
        ) from error
    return reading.found()


class _Reading:
    def __init__(self, folder: Path, limits: Limits, gathering: Gathering) -> None:
        self._folder = folder
        self._limits = limits
        self._gathering = gathering
        self._budget = Budget(f"the snapshot in {folder}", limits.unpacked_bytes)
        self._boards: dict[str, Any] = {}
        self._announced: dict[tuple[str, ...], _Announced] = {}
        self._chains: dict[tuple[str, int], Run] = {}
        self._predictions: dict[str, dict[str, Predictions]] = defaultdict(dict)
        self._texts: dict[tuple[str, ...], tuple[str, ...]] = {}

    def found(self) -> Found:
        return self._gathering.found(lambda stage: self._predictions.get(stage, {}))

    def read_runs(self) -> None:
        """All lines of runs.jsonl; what is wrong with one is wrong with the runs that need it."""
        with self._opened(RUNS_FILE) as file:
            for number, line in enumerate(self._lines(file, self._limits.line_bytes, RUNS_FILE), 1):
                if number > self._limits.runs:
                    raise StoreError(
                        f"{self._folder / RUNS_FILE} has more than {self._limits.runs:,} lines: take it apart"
                    )
                self._read_line(line, number)
        self._chains = {(run.row, run.cell.seed): run for run in self._gathering.runs}

    def _read_line(self, line: bytes, number: int) -> None:
        where = f"{RUNS_FILE} line {number}"
        try:
            value = parse_json(_utf8(line))
            kind = value.get("kind") if isinstance(value, dict) else None
            if number == 1:
                self._check_format(value, kind)
            elif kind == "run":
                self._read_run(value, where)
            else:
                self._read_part(kind, value, where)
        except Unsound as error:
            self._gathering.refuse(Refused(None, None, f"{where}: {error}"))

    def _check_format(self, value: Any, kind: object) -> None:
        if kind != "snapshot":
            raise StoreError(f"{self._folder / RUNS_FILE} is no snapshot: its first line does not say so")
        if type(value.get("format")) is not int or value["format"] < 1:
            raise StoreError(f"{self._folder / RUNS_FILE} is no snapshot: its first line names no format")
        if value["format"] > FORMAT:
            raise StoreError(
                f"the snapshot in {self._folder} has format {value['format']}, this ferbench knows {FORMAT}: upgrade it"
            )

    def _read_run(self, value: dict[str, Any], where: str) -> None:
        run = value.get("run")
        if isinstance(run, dict) and isinstance(run.get("board"), str):
            # Put in its place, to be checked with the run.
            run = run | {"board": self._boards.get(run["board"])}
            if run["board"] is None:
                raise Unsound("run.board: no such board stands before it")
        self._gathering.add_run(run, where)

    def _read_part(self, kind: object, value: dict[str, Any], where: str) -> None:
        if kind == "board":
            board = decoded(Board, value.get("board"), "board")
            if self._boards.setdefault(board.fingerprint, value["board"]) is not value["board"]:
                raise Unsound("board.fingerprint: another board has it too")
        elif kind == "predictions":
            announced = decoded(
                _Announced, {name: each for name, each in value.items() if name != "kind"}, "predictions"
            )
            if not is_hash(announced.content) or announced.n > self._limits.samples:
                raise Unsound("predictions: content is a SHA-256 in hex, and there are not too many of them")
            if self._announced.setdefault(announced.name, announced) is not announced:
                raise Unsound("predictions: another line announces them too")
        elif kind not in ("stage", "further"):
            raise Unsound(f"kind: {quoted(kind)} is none")
        else:
            fingerprint = _stage_of(kind, value)
            try:
                if kind == "stage":
                    result = decoded(StageResult, value.get("result"), "result")
                    self._gathering.add_stage(fingerprint, decoded(Stage, value.get("stage"), "stage"), result)
                else:
                    further = decoded(FurtherScores, value.get("further"), "further scores")
                    self._gathering.add_further(fingerprint, further)
            except Unsound as error:
                self._gathering.spoil_stage(fingerprint, f"{where}: {error}")

    def read_predictions(self) -> None:
        """All blocks of predictions.csv.gz; one of no run here is passed over."""
        with self._opened(PREDICTIONS_FILE) as raw, gzip.GzipFile(fileobj=raw) as file:
            lines = self._lines(file, self._limits.sample_bytes, PREDICTIONS_FILE)
            rows = csv.reader(_utf8(line) for line in lines)
            try:
                classes = _classes_of(next(rows, []))
                self._read_blocks(rows, classes)
            except Unsound as error:
                raise StoreError(f"{self._folder / PREDICTIONS_FILE}: {error}") from error

    def _read_blocks(self, rows: Iterator[list[str]], classes: Sequence[str]) -> None:
        name: tuple[str, ...] = ()
        announced: _Announced | None = None
        block = _Lines()
        seen: set[tuple[str, ...]] = set()
        width = len(COLUMNS) + len(classes)
        for number, row in enumerate(rows, 2):
            if len(row) != width:
                raise Unsound(f"line {number} has {len(row)} columns, the header {width}")
            own = tuple(row[:6])
            if own != name:
                self._keep(announced, block, classes)
                name, announced, block = own, self._announced.get(own), _Lines()
                if own in seen:
                    raise Unsound(f"line {number} begins a block that was there before")
                seen.add(own)
            if len(block.ids) * width > self._limits.fields:
                raise Unsound(f"line {number}: a block holds more than {self._limits.fields:,} fields: take it apart")
            if announced is not None and len(block.ids) <= announced.n:
                block.ids.append(row[6])
                block.groups.append(row[7])
                block.labels.append(row[8])
                block.predicted.append(row[9])
                block.probabilities.append(row[10:])
        self._keep(announced, block, classes)

    def _keep(self, announced: _Announced | None, block: _Lines, classes: Sequence[str]) -> None:
        """A block that has ended, under the stage that it is of."""
        run = None if announced is None else self._chains.get((announced.row, announced.seed))
        if announced is None or run is None or not 1 <= announced.stage <= len(run.stages):
            return
        stage = run.stages[announced.stage - 1]
        try:
            predictions = self._decoded(announced, block, run, classes)
        except Unsound as error:
            self._gathering.spoil_stage(stage, str(error))
            return
        known = self._predictions[stage].setdefault(announced.content, predictions)
        if known is not predictions and not _equal(known, predictions):
            self._gathering.spoil_stage(stage, f"predictions: two rows give others of stage {stage[:10]}")

    def _decoded(self, announced: _Announced, block: _Lines, run: Run, classes: Sequence[str]) -> Predictions:
        where = f"predictions on {quoted(announced.dataset)} {quoted(announced.split)}"
        if len(block.ids) != announced.n:
            raise Unsound(f"{where}: there are not the {announced.n:,} that {RUNS_FILE} announces")
        try:
            own = label_set(run.cell.recipe.label_set).classes
        except FerbenchError:
            raise Unsound(f"{where}: its run has no label set") from None
        if not set(own) <= set(classes):
            raise Unsound(f"{where}: there are no columns for {', '.join(sorted(set(own) - set(classes)))}")
        places = [classes.index(name) for name in own]
        empty = [place for place in range(len(classes)) if place not in places]
        if any(row[place] for row in block.probabilities for place in empty):
            raise Unsound(f"{where}: there are probabilities of classes that its label set lacks")
        try:
            table = np.array([[row[place] for place in places] for row in block.probabilities], dtype=np.float64)
        except ValueError:
            raise Unsound(f"{where}: a probability is no number") from None
        probabilities = table.astype(np.float32)
        answers = probabilities.argmax(axis=1).tolist()
        if [own[answer] for answer in answers] != block.predicted:
            raise Unsound(f"{where}: what is predicted is not the most probable class")
        if not announced.labels and any(block.labels):
            raise Unsound(f"{where}: there are labels where none are announced")
        if announced.labels and not set(block.labels) <= set(own):
            raise Unsound(f"{where}: a label is no class of its label set")
        return Predictions(
            dataset=announced.dataset,
            split=announced.split,
            ids=self._words(block.ids, f"{where}.ids"),
            labels=np.array([own.index(name) for name in block.labels], dtype=np.int64) if announced.labels else None,
            probabilities=probabilities,
            groups=self._words(block.groups, f"{where}.groups") if announced.groups else None,
        )

    def _words(self, values: Sequence[str], where: str) -> tuple[str, ...]:
        words = tuple(values)
        if words not in self._texts:
            sound_texts(words, where, LONGEST_ID)
            self._texts[words] = words
        return self._texts[words]

    def _opened(self, name: str) -> IO[bytes]:
        path = self._folder / name
        try:
            # A pipe would be waited for, and a device has no end.
            if not stat.S_ISREG(path.stat().st_mode):
                raise StoreError(f"{path} is no file: get another copy of the snapshot")
            return path.open("rb")
        except FileNotFoundError:
            raise StoreError(
                f"{self._folder} is no snapshot, it has no {name}: name a folder that has one, or a store"
            ) from None

    def _lines(self, file: IO[bytes] | gzip.GzipFile, longest: int, name: str) -> Iterator[bytes]:
        while line := file.readline(longest + 1):
            if len(line) > longest:
                raise StoreError(f"{self._folder / name} has a line of more than {longest:,} bytes: do not trust it")
            self._budget.spend(len(line))
            yield line


def _utf8(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Unsound("a line is no UTF-8") from None


def _stage_of(kind: object, value: dict[str, Any]) -> str:
    stage = value.get("stage")
    name = stage.get("fingerprint") if kind == "stage" and isinstance(stage, dict) else stage
    if not is_hash(name):
        raise Unsound(f"{kind}: its stage has no SHA-256 in hex for a name")
    return str(name)


def _classes_of(columns: Sequence[str]) -> list[str]:
    names = list(columns[len(COLUMNS) :])
    if tuple(columns[: len(COLUMNS)]) != COLUMNS or not all(name.startswith("p_") for name in names):
        raise Unsound("its header is not that of predictions")
    if not len(set(names)) == len(names) <= _MOST_CLASSES:
        raise Unsound("its header names a class twice, or too many")
    return [sound_text(name.removeprefix("p_"), "header", 100) for name in names]


def _equal(one: Predictions, other: Predictions) -> bool:
    return (
        (one.ids, one.groups) == (other.ids, other.groups)
        and np.array_equal(one.probabilities, other.probabilities)
        and np.array_equal(np.asarray(one.labels), np.asarray(other.labels))
    )
