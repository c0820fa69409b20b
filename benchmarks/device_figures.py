"""What a device does with the classic backbones, as tables of text: speed, the data path, loops, time to accuracy.

Meant for a GPU; everything runs on a CPU too, at sizes that suit it.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from goals import loop_goals
from peers.ferbench_loop import ferbench_loop
from peers.race import Pairs, Peer, race
from peers.work import CLASSES, Work

from ferbench.calibration import OneBatch
from ferbench.catalog import Catalog
from ferbench.components import Backbone
from ferbench.data.roles import RoleReader
from ferbench.engine import Engine
from ferbench.environment import device_kind
from ferbench.matrix import Matrix, RecipeAxis
from ferbench.quantities import figure, size
from ferbench.recipes import RecipeValue
from ferbench.records import EpochResult, Run, SpeedMeasurement, Spread, StageResult
from ferbench.settings import Settings
from ferbench.speed import Measuring, measured_speeds
from ferbench.stages import Stage
from ferbench.store import open_store
from ferbench.training import Progress


@dataclass(frozen=True)
class Table:
    """A title, the names of its columns, its rows, and a sentence below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def speed_table(
    backbones: Sequence[Backbone], image_size: int, device: str, measuring: Measuring
) -> tuple[Table, tuple[SpeedMeasurement, ...]]:
    """Each backbone as it is and, on a GPU, compiled; the time of compiling is a column and in nothing else."""
    ways = (False, True) if device.startswith("cuda") else (False,)
    done: list[SpeedMeasurement] = []
    for compiled in ways:
        own = dataclasses.replace(measuring, compiled=compiled)
        measured, failed = measured_speeds([(each, image_size) for each in backbones], device, own)
        if failed:
            raise failed[0].error
        done += measured
    rows = tuple(
        (
            f"{each.backbone}{', compiled' if each.compiled else ''}",
            _spread(each.training_images_per_second),
            f"{each.training_mfu:.0%}",
            _spread(each.inference_images_per_second),
            f"{each.inference_mfu:.0%}",
            size(each.peak_memory_bytes),
            f"{each.compile_seconds:.0f} s" if each.compiled else "",
        )
        for each in done
    )
    columns = ("backbone", "training images/s", "MFU", "inference images/s", "MFU", "peak memory", "compile time")
    first = done[0]
    rate = statistics.median(each.matrix_flops_per_second for each in done)
    note = (
        f"MFU is against a matrix product in the same process: {rate / 1e12:.3g} TFLOP/s in {first.precision}. "
        f"Median (least to most) of {first.repeats} repetitions."
    )
    return Table(f"At {image_size} px, {first.precision}, batches of {first.batch_size}", columns, rows, note), tuple(
        done
    )


def data_path(work: Work, rounds: int) -> Pairs:
    """The same steps with a batch that is ready, as the peer: a ratio of 1 is a data path that costs nothing."""
    ready = OneBatch(
        torch.randn(work.batch_size, 3, work.image_size, work.image_size, device=work.device).contiguous(
            memory_format=torch.channels_last
        ),
        CLASSES,
    )
    peer = Peer("the same with one batch that is ready", {"": ferbench_loop(work, lambda batches: ready)})
    (pairs,) = race(work, ferbench_loop(work), [peer], rounds)
    return pairs


def loops_table(title: str, found: Sequence[tuple[Work, Pairs]], note: str = "", *, judged: bool = False) -> Table:
    """Ratios against peers; if `judged`, with the goals of loops and whether they are reached."""
    rows = []
    for work, pairs in found:
        goal = loop_goals([other for own, other in found if own == work]).get(pairs.peer) if judged else None
        images = work.steps * work.batch_size
        rows.append(
            (
                work.name,
                f"{pairs.peer} ({pairs.setting})" if pairs.setting else pairs.peer,
                f"{pairs.ratio:.2f} ({min(pairs.ratios):.2f} to {max(pairs.ratios):.2f})",
                figure(images / statistics.median(pairs.own_seconds)),
                figure(images / statistics.median(pairs.peer_seconds)),
                goal.verdict(pairs.ratio) if goal else "",
            )
        )
    columns = ("backbone", "peer", "ratio", "ferbench, images/s", "peer, images/s", "goal")
    return Table(title, columns, tuple(rows), note)


@dataclass(frozen=True)
class Learning:
    """How a stage came to a level of accuracy on its select samples.

    seconds : of training until then, evaluation and compiling left out; None where it never came there
    majority : share of the most frequent class among the select samples, which is had without learning
    weights : where it started, in words
    """

    level: float
    seconds: float | None
    images: int | None
    best: float
    wall_seconds: float
    result: StageResult
    majority: float
    weights: str
    pretrained: bool

    def sentence(self) -> str:
        whole = (
            f"best {self.best:.1%} in {self.result.images_seen:,} images, most frequent class {self.majority:.1%}; "
            f"{self.wall_seconds:.1f} s of wall time with evaluation and data"
        )
        if self.seconds is None:
            return f"{self.level:.0%} was not reached ({whole})."
        return f"{self.level:.0%} reached after {self.seconds:.1f} s and {self.images:,} images ({whole})."


def time_to_accuracy(
    catalog: Catalog,
    folder: Path,
    device: str,
    *,
    backbone: str,
    target: str,
    auxiliary: str,
    recipe: dict[str, RecipeValue],
    level: float,
    weights: str = "auto",
) -> Learning:
    """Train target and auxiliary together (`single-stage`) and read the history for when the level was reached."""
    matrix = Matrix(
        (backbone,),
        ("single-stage",),
        (target,),
        ((auxiliary,),),
        weights=(weights,),
        axes=tuple(RecipeAxis(key, (value,)) for key, value in {**recipe, "checkpoint": "best-on-select"}.items()),
    )
    store = open_store(str(folder / "board.sqlite"))
    try:
        results = _Results()
        engine = Engine(
            catalog, store, Settings(str(folder / "board.sqlite"), folder, folder / "cache", device), results
        )
        prepared = engine.prepare(matrix, calibrate=False)
        began = time.perf_counter()
        outcome = engine.run(prepared)
        wall = time.perf_counter() - began
    finally:
        store.close()
    if outcome.failed or not results.stages:
        raise RuntimeError("; ".join(results.failures) or "nothing was trained")
    ((stage, result),) = results.stages
    seconds, images = reached(result.history, level)
    best = max(epoch.select_accuracy or 0.0 for epoch in result.history)
    majority = _majority(RoleReader(catalog.dataset, folder, folder / "cache"), (target, auxiliary))
    start = stage.weights
    return Learning(level, seconds, images, best, wall, result, majority, start.source, start.is_file)


def _majority(roles: RoleReader, datasets: Sequence[str]) -> float:
    """What always naming the most frequent class gets of the select samples of all datasets together."""
    labels = [roles.select(name).labels for name in datasets]
    counts = np.bincount(np.concatenate([own for own in labels if own is not None]))
    return float(counts.max() / counts.sum())


def reached(history: Sequence[EpochResult], level: float) -> tuple[float | None, int | None]:
    """Training seconds and images until select accuracy first was at a level, both None where it never was."""
    seconds, seen = 0.0, 0
    for epoch in history:
        seconds += (epoch.images_seen - seen) / epoch.images_per_second
        seen = epoch.images_seen
        if epoch.select_accuracy is not None and epoch.select_accuracy >= level:
            return seconds, seen
    return None, None


@dataclass
class _Results:
    """A reporter that keeps results and failures."""

    stages: list[tuple[Stage, StageResult]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def warn(self, line: str) -> None: ...
    def stage_started(self, stage: Stage, number: int, total: int) -> None: ...
    def stage_progress(self, stage: Stage, progress: Progress) -> None: ...
    def run_finished(self, run: Run) -> None: ...

    def stage_finished(self, stage: Stage, result: StageResult) -> None:
        self.stages.append((stage, result))

    def stage_failed(self, stage: Stage, line: str, trace: str) -> None:
        self.failures.append(line)


def snapshot_name(device: str) -> str:
    """`speed-<device>-<torch>.md`, in letters that any file system takes."""
    words = f"speed-{device_kind(device)}-torch-{torch.__version__}"
    return re.sub(r"[^a-z0-9.+]+", "-", words.lower()).strip("-") + ".md"


def snapshot(environment: str, command: str, tables: Sequence[Table]) -> str:
    """Markdown."""
    lines = ["# Speed on one device", "", f"{environment}. Written by `{command}`.", ""]
    for table in tables:
        lines += [f"## {table.title}", ""]
        if table.rows:
            lines += ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
            lines += ["| " + " | ".join(row) + " |" for row in table.rows] + [""]
        if table.note:
            lines += [table.note, ""]
    return "\n".join(lines)


def _spread(spread: Spread) -> str:
    return f"{figure(spread.median)} ({figure(spread.low)} to {figure(spread.high)})"
