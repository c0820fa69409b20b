"""The speed board: how fast backbones are, a table for each machine, the fastest in training first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ferbench.publish.columns import Column, fitted
from ferbench.publish.layout import PLAIN, Paint, aligned, wrapped_facts
from ferbench.quantities import amount, counted, duration, figure, percent, size
from ferbench.records import SpeedMeasurement, Spread

#: Lines under a row begin a little to the right of it.
_INDENT = " " * 4

_NARROWEST = 40

SPEED_LEGEND = (
    "medians, with the lowest and the highest of all repetitions; train/s, infer/s: images a second in batches; p50, "
    "p95: of one image alone; memory: peak of training, on a CPU of the whole process; GFLOPs: of one image forward, "
    "two FLOPs a multiplication and addition; MFU: FLOPs done in a second of training/inference, backward counted as "
    "twice forward, over those of a large matrix product"
)


def speeds_json(measurements: Sequence[SpeedMeasurement]) -> dict[str, Any]:
    """What `speed --json` prints. Scripts rely on it: fields may be added, never changed."""
    return {"speeds": [dataclasses.asdict(each) for each in _sorted(measurements)]}


def speed_lines(measurements: Sequence[SpeedMeasurement], *, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """A table for each machine, of lines of at most `width` characters, colours not counted. Nothing is cut off."""
    width = max(width, _NARROWEST)
    lines: list[str] = []
    for machine in dict.fromkeys(_machine(each) for each in _sorted(measurements)):
        rows = [each for each in _sorted(measurements) if _machine(each) == machine]
        lines += [""] if lines else []
        lines += _table(rows, machine, width, paint)
    return lines


def _sorted(measurements: Sequence[SpeedMeasurement]) -> list[SpeedMeasurement]:
    return sorted(measurements, key=lambda each: (-each.training_images_per_second.median, each.backbone))


def _machine(each: SpeedMeasurement) -> tuple[str, ...]:
    """What is the same for all rows of a table."""
    threads = counted(each.threads, "thread")
    device = [f"cpu, {threads}", each.processor] if each.device == "cpu" else [each.device, each.processor, threads]
    return (*device, f"torch {each.torch}")


def _ends(spread: Spread) -> str:
    return f"{figure(spread.low)}–{figure(spread.high)}"


def _milliseconds(seconds: float) -> str:
    return figure(1000 * seconds)


def _parameters(each: SpeedMeasurement) -> str:
    return amount(each.parameters)


def _giga(each: SpeedMeasurement) -> str:
    return figure(each.forward_flops / 1e9)


def _utilisation(each: SpeedMeasurement) -> str:
    return f"{percent(each.training_mfu, 0)}/{percent(each.inference_mfu, 0)}"


def _precision(each: SpeedMeasurement) -> str:
    return f"{each.precision} compiled" if each.compiled else each.precision


_COLUMNS: tuple[Column[SpeedMeasurement], ...] = (
    Column("backbone", lambda e: e.backbone, lambda e: e.backbone),
    Column("px", lambda e: str(e.image_size), lambda e: "", "right"),
    Column("train/s", lambda e: figure(e.training_images_per_second.median), lambda e: "", "right"),
    Column(
        "low–high",
        lambda e: _ends(e.training_images_per_second),
        lambda e: f"training {_ends(e.training_images_per_second)} images/s",
    ),
    Column(
        "infer/s",
        lambda e: figure(e.inference_images_per_second.median),
        lambda e: f"inference {figure(e.inference_images_per_second.median)} images/s",
        "right",
    ),
    Column(
        "of infer/s",
        lambda e: _ends(e.inference_images_per_second),
        lambda e: f"inference {_ends(e.inference_images_per_second)} images/s",
    ),
    Column(
        "p50 ms",
        lambda e: _milliseconds(e.latency_p50_seconds),
        lambda e: f"p50 {_milliseconds(e.latency_p50_seconds)} ms",
        "right",
    ),
    Column(
        "p95 ms",
        lambda e: _milliseconds(e.latency_p95_seconds),
        lambda e: f"p95 {_milliseconds(e.latency_p95_seconds)} ms",
        "right",
    ),
    Column("memory", lambda e: size(e.peak_memory_bytes), lambda e: f"memory {size(e.peak_memory_bytes)}", "right"),
    Column("params", _parameters, lambda e: f"{_parameters(e)} parameters", "right"),
    Column("GFLOPs", _giga, lambda e: f"{_giga(e)} GFLOPs", "right"),
    Column(
        "MFU %",
        _utilisation,
        lambda e: f"MFU {percent(e.training_mfu, 0)} % training, {percent(e.inference_mfu, 0)} % inference",
        "right",
    ),
    Column("batch", lambda e: str(e.batch_size), lambda e: f"batch {e.batch_size}", "right"),
    Column("precision", _precision, _precision),
)

#: What is said of the whole table where it is the same for all rows.
_CIRCUMSTANCES = ("batch", "precision")

_LEAVING = (
    *("batch", "precision", "of infer/s", "params", "GFLOPs", "MFU %", "memory", "p95 ms"),
    *("low–high", "p50 ms", "infer/s", "backbone"),
)


def _table(rows: Sequence[SpeedMeasurement], machine: Sequence[str], width: int, paint: Paint) -> list[str]:
    columns, moved = fitted(_COLUMNS, rows, width, _LEAVING)
    text = aligned(
        [[column.title for column in columns], *([column.cell(each) for column in columns] for each in rows)],
        [column.align for column in columns],
    )
    circumstances = [_circumstances(each, moved) for each in rows]
    shared = [fact for fact in circumstances[0] if all(fact in facts for facts in circumstances)]
    shared_notes = [note for note in rows[0].notes if all(note in each.notes for each in rows)]
    lines = [paint.bold(line) for line in wrapped_facts([*machine, *shared], width, hanging=_INDENT)]
    lines += _noted("! ", shared_notes, width, paint, "")
    lines.append(paint.bold(text[0]))
    for each, facts, line in zip(rows, circumstances, text[1:], strict=True):
        lines.append(line)
        own = [words for column in moved if column.title not in _CIRCUMSTANCES and (words := column.words(each))]
        own += [fact for fact in facts if fact not in shared]
        if each.compiled:
            own.append(f"compiled in {duration(each.compile_seconds)}")
        lines += [paint.dim(detail) for detail in wrapped_facts(own, width, _INDENT)]
        lines += _noted("! ", [note for note in each.notes if note not in shared_notes], width, paint, _INDENT)
    return lines


def _circumstances(each: SpeedMeasurement, moved: Sequence[Column[SpeedMeasurement]]) -> list[str]:
    """How a row was measured, which is said once where all rows were measured so."""
    return [
        *(column.words(each) for column in moved if column.title in _CIRCUMSTANCES),
        f"matrix product {figure(each.matrix_flops_per_second / 1e9)} GFLOP/s",
        counted(each.repeats, "repetition"),
        each.measured_at[:10],
    ]


def _noted(before: str, notes: Sequence[str], width: int, paint: Paint, indent: str) -> list[str]:
    if not notes:
        return []
    lines = wrapped_facts([before + notes[0], *notes[1:]], width, indent, indent + "  ", between=";")
    return [paint.warning(line) for line in lines]
