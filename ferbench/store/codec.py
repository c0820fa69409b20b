"""Records to columns and back. Arrays are little-endian bytes under zlib, text is JSON; nothing is ever unpickled."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union

import numpy as np
from numpy.typing import NDArray

from ferbench.errors import StoreError
from ferbench.fingerprints import as_plain
from ferbench.recipes import Recipe, RecipeValue
from ferbench.records import Board, FurtherScores, Predictions, Run, RunSummary, Score, SpeedMeasurement, StageResult
from ferbench.stages import Stage

T = TypeVar("T")

#: What a row of the speed board is known by; a later measurement takes the place of an earlier one. The processor is
#: among them since every CPU's device is `cpu`.
SPEED_MEASUREMENT_KEY = (
    *("backbone", "image_size", "batch_size", "precision", "device", "threads", "compiled"),
    *("processor", "torch"),
)

#: Columns of `runs` that have the name and value of a field of RunSummary, in the order of those fields.
EVIDENCE_COLUMNS = (
    *("nll", "brier", "ece", "select_accuracy", "forgotten", "temperature", "calibrated_nll", "calibrated_ece"),
    *("tries", "members"),
)

_Decode = Callable[[Any], Any]

_RECIPE_DEFAULTS: dict[str, RecipeValue] = dataclasses.asdict(Recipe())


def to_json(record: object) -> str:
    """A record as JSON text."""
    return json.dumps(as_plain(record), ensure_ascii=False, separators=(",", ":"), default=_unwrapped)


def from_json(kind: type[T], text: str) -> T:
    """The record of a dataclass that `to_json` wrote.

    Fields that the text lacks take their defaults and those that the class lacks are passed over, so that a field may
    be added to a record without touching stored rows.

    Raises
    ------
    StoreError : text that is not such a record
    """
    try:
        record: T = _decoder(typing.cast(Any, kind))(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"the store holds a broken {kind.__name__} ({error}): restore a copy of it") from error
    return record


@functools.lru_cache(maxsize=4096)
def strings_from_json(text: str) -> tuple[str, ...]:
    """A tuple of strings from its JSON; rows repeat them, so the last ones are remembered."""
    return tuple(json.loads(text))


@functools.lru_cache(maxsize=4096)
def values_from_json(text: str) -> tuple[tuple[str, RecipeValue], ...]:
    """Recipe values from the JSON object of them; rows repeat them, so the last ones are remembered.

    Rows of an older ferbench lack the fields that were added since, and were computed with their defaults.
    """
    return tuple((_RECIPE_DEFAULTS | json.loads(text)).items())


@functools.cache
def _decoder(kind: Any) -> _Decode:
    """How to rebuild a value of an annotated type from JSON's own types."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _record_decoder(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _tuple_decoder(arguments)
    if origin in (Union, types.UnionType):
        others = [argument for argument in arguments if argument is not type(None)]
        if len(others) == 1:
            inner = _decoder(others[0])
            return inner if inner is _as_is else lambda value: None if value is None else inner(value)
    elif origin is not Literal and kind not in (str, int, float, bool):
        raise TypeError(f"no way to store a {kind}")
    return _as_is


def _as_is(value: Any) -> Any:
    return value


def _unwrapped(value: Any) -> Any:
    """A numpy scalar as Python's own number, which is all that JSON and the database take."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"no way to store a {type(value).__name__}")


def _columns(**values: Any) -> dict[str, Any]:
    return {name: _unwrapped(value) if isinstance(value, np.generic) else value for name, value in values.items()}


@functools.cache
def _record_decoder(kind: type[Any]) -> _Decode:
    hints = typing.get_type_hints(kind)
    plain: list[str] = []
    nested: list[tuple[str, _Decode]] = []
    for field in dataclasses.fields(kind):
        decode = _decoder(hints[field.name])
        if decode is _as_is:
            plain.append(field.name)
        else:
            nested.append((field.name, decode))

    def decode_record(value: Mapping[str, Any]) -> Any:
        arguments = {name: value[name] for name in plain if name in value}
        for name, decode in nested:
            if name in value:
                arguments[name] = decode(value[name])
        return kind(**arguments)

    return decode_record


def _tuple_decoder(arguments: tuple[Any, ...]) -> _Decode:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        each = _decoder(arguments[0])
        return tuple if each is _as_is else lambda value: tuple([each(item) for item in value])
    decoders = [_decoder(argument) for argument in arguments]
    return lambda value: tuple([decode(item) for decode, item in zip(decoders, value, strict=True)])


def stage_columns(stage: Stage, result: StageResult, saved_at: float) -> dict[str, Any]:
    """A row of `stages`."""
    recipe = stage.recipe
    return _columns(
        fingerprint=stage.fingerprint,
        saved_at=saved_at,
        backbone=stage.backbone,
        image_size=recipe.image_size,
        trainable=stage.trained,
        precision=recipe.precision,
        batch_size=recipe.batch_size,
        device=result.device,
        threads=result.threads,
        images_per_second=result.images_per_second,
        peak_memory_bytes=result.peak_memory_bytes,
        parameters=result.parameters,
        stage=to_json(stage),
        result=to_json(result),
        features_per_second=result.features_per_second,
        pruned=False,
    )


def training_columns(result: StageResult, saved_at: float) -> dict[str, Any]:
    """A row of `trainings`."""
    return _columns(
        stage=result.fingerprint,
        images=result.images_seen,
        train_seconds=result.train_seconds,
        spent_seconds=result.spent_seconds,
        micro_batch=result.micro_batch,
        device=result.device,
        threads=result.threads,
        saved_at=saved_at,
    )


def speed_measurement_columns(measurement: SpeedMeasurement, saved_at: float) -> dict[str, Any]:
    """A row of `speed_measurements`."""
    key = {name: getattr(measurement, name) for name in SPEED_MEASUREMENT_KEY}
    return _columns(**key, saved_at=saved_at, record=to_json(measurement))


def board_columns(board: Board) -> dict[str, Any]:
    """A row of `boards`."""
    return _columns(**{field.name: getattr(board, field.name) for field in dataclasses.fields(board)})


def run_columns(run: Run, correct: NDArray[np.bool_] | None) -> dict[str, Any]:
    """A row of `runs`."""
    summary = RunSummary.of(run, correct)
    columns: dict[str, Any] = {
        "key": run.key,
        "entry": summary.entry,
        "status": summary.status,
        "board": summary.board.fingerprint if summary.board else None,
        "backbone": summary.backbone,
        "strategy": summary.strategy,
        "target": summary.target,
        "auxiliaries": to_json(summary.auxiliaries),
        "weights": summary.weights,
        "image_size": summary.image_size,
        "recipe": to_json(dict(summary.recipe)),
        "device": summary.device,
        "seed": summary.seed,
        "images_seen": summary.images_seen,
        "train_seconds": summary.train_seconds,
        "notes": to_json(summary.notes),
        "error": summary.error,
        "train_fraction": summary.train_fraction,
        "final_stage": run.stages[-1] if run.stages else None,
        "spent_seconds": summary.spent_seconds,
        "peak_memory_bytes": summary.peak_memory_bytes,
        "parameters": summary.parameters,
        "processor": summary.processor,
        "threads": summary.threads,
        "correct": None if correct is None else np.packbits(correct).tobytes(),
        "record": to_json(run),
    }
    for metric in ("accuracy", "uar", "macro_f1"):
        score: Score | None = getattr(summary, metric)
        columns[metric] = score.value if score else None
        columns[f"{metric}_low"] = score.low if score else None
        columns[f"{metric}_high"] = score.high if score else None
    kinds = [score.interval for score in (summary.uar, summary.macro_f1) if score is not None]
    columns["interval"] = "/".join(dict.fromkeys(kinds)) or None
    columns |= {name: getattr(summary, name) for name in EVIDENCE_COLUMNS}
    return _columns(**columns)


def further_columns(stage: str, further: FurtherScores) -> dict[str, Any]:
    """A row of `further_scores`."""
    return {
        "stage": stage,
        "dataset": further.dataset,
        "split": further.split,
        "content": further.content,
        "record": to_json(further),
    }


def unpack_correctness(packed: Sequence[bytes], n: int) -> NDArray[np.bool_]:
    """Correctness vectors of one board, bool [runs, n]."""
    width = (n + 7) // 8
    if any(len(bits) != width for bits in packed):
        raise StoreError(f"the store holds a correctness vector that is not of its board's {n} samples: restore a copy")
    table = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(len(packed), width)
    return np.unpackbits(table, axis=1, count=n).view(np.bool_)


def predictions_columns(stage: str, content: str, record: Predictions) -> dict[str, Any]:
    """A row of `predictions`."""
    n, classes = record.probabilities.shape
    return {
        "stage": stage,
        "dataset": record.dataset,
        "split": record.split,
        "content": content,
        "n": n,
        "classes": classes,
        "ids": _pack_text(record.ids),
        "labels": None if record.labels is None else zlib.compress(record.labels.astype("<i8").tobytes()),
        "probabilities": zlib.compress(record.probabilities.astype("<f4").tobytes()),
        "groups": None if record.groups is None else _pack_text(record.groups),
    }


def predictions_from_row(row: Any) -> Predictions:
    """The record of a row of `predictions`."""
    try:
        probabilities = np.frombuffer(zlib.decompress(row.probabilities), dtype="<f4").reshape(row.n, row.classes)
        labels = None if row.labels is None else np.frombuffer(zlib.decompress(row.labels), dtype="<i8").reshape(row.n)
        return Predictions(
            dataset=row.dataset,
            split=row.split,
            ids=_unpack_text(row.ids),
            labels=None if labels is None else labels.astype(np.int64),
            probabilities=probabilities.astype(np.float32),
            groups=None if row.groups is None else _unpack_text(row.groups),
        )
    except (zlib.error, ValueError) as error:
        raise StoreError(
            f"the store holds broken predictions on {row.dataset} {row.split} ({error}): restore a copy of it"
        ) from error


def _pack_text(words: Iterable[str]) -> bytes:
    return zlib.compress(json.dumps(list(words)).encode())


def _unpack_text(packed: bytes) -> tuple[str, ...]:
    return tuple(json.loads(zlib.decompress(packed)))
