"""How cost grows: cells of a plan, stored runs of a leaderboard, images of a load. 1.0 is in proportion.

Each size is measured several times and the least counts: what is looked for is the work, not the machine's mood.
"""

from __future__ import annotations

import gc
import itertools
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from goals import FAR_TOO_SLOW, LEADERBOARD, PLAN
from numpy.typing import NDArray
from PIL import Image
from rendered import AUXILIARY, TARGET, cache_with_faces
from synthetic_store import SEEDS, write_finished, write_runs
from tiny import Recorder

from ferbench.catalog import Catalog
from ferbench.data.roles import RoleReader
from ferbench.engine import Engine
from ferbench.expressions import BASIC8
from ferbench.fingerprints import fingerprint
from ferbench.leaderboard import leaderboards
from ferbench.matrix import Matrix, RecipeAxis, unrolled
from ferbench.plan import Plan, PlanInputs, make_plan
from ferbench.records import Board
from ferbench.settings import Settings
from ferbench.stages import RANDOM_WEIGHTS, TrainingPart
from ferbench.store import open_store

STRATEGIES = ("target-only", "source-only", "cascade", "cascade+lp-ft", "lp-ft")

#: Growth beyond this would be felt at the next size: ten times the cells in forty times the time.
STEEP = 1.6


@dataclass(frozen=True)
class Seconds:
    """The least of several rounds: of the clock, and of the processor for all threads of this process."""

    clock: float
    processor: float


def least_seconds(work: Callable[[], object], rounds: int) -> Seconds:
    """Do the work so often; rubbish of earlier rounds is gone before each."""
    clock, processor = [], []
    for _ in range(rounds):
        gc.collect()
        began, busy = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - began)
        processor.append(time.process_time() - busy)
    return Seconds(min(clock), min(processor))


def exponents(seconds: Mapping[int, float]) -> list[float]:
    """Between neighbouring sizes: 1 is in proportion, 2 is with the square."""
    return [
        math.log(seconds[large] / seconds[small]) / math.log(large / small)
        for small, large in itertools.pairwise(sorted(seconds))
    ]


def told(noted: Any, what: str, unit: str, seconds: Mapping[int, Seconds]) -> float:
    """One line of figures by the clock; the steepest growth, by the processor, which other programs disturb less."""
    found = exponents({size: each.processor for size, each in seconds.items()})
    shown = ", ".join(f"{size:,} {unit} {each.clock:.3g} s" for size, each in seconds.items())
    noted.line(f"growth, {what}: {shown}; exponents {' and '.join(f'{exponent:.2f}' for exponent in found)}")
    return max(found)


# --- cells of a plan --------------------------------------------------------------------------------------------------


def matrix_of(cells: int) -> Matrix:
    """Two backbones, five strategies, ten seeds, and learning rates as many as it takes."""
    rates = tuple(0.001 * (1 + number) for number in range(cells // 100))
    return Matrix(
        backbones=("alexnet", "tv/mobilenet_v2"),
        strategies=STRATEGIES,
        targets=(TARGET,),
        auxiliaries=((AUXILIARY,),),
        seeds=tuple(range(10)),
        weights=("random",),
        axes=(RecipeAxis("lr", rates),),
    )


def looked_up() -> PlanInputs:
    """A world that is known without looking."""
    return PlanInputs(
        training_part=lambda name, labels, fraction: TrainingPart(name, "train", fingerprint(name), 2_000),
        select_content=lambda name, labels: fingerprint([name, "select"]),
        board=lambda name, labels: Board(fingerprint([name, "report"]), name, "report", 420, labels, 1, 0.2),
        weights=lambda backbone, policy: RANDOM_WEIGHTS,
        precision="fp32",
        device_kind="cpu",
    )


def test_planning_alone(noted: Any) -> None:
    catalog, inputs = Catalog.load(), looked_up()
    seconds: dict[int, Seconds] = {}
    for cells in (100, 1_000, 10_000):

        def plan(cells: int = cells) -> Plan:
            return make_plan(unrolled(matrix_of(cells), catalog), catalog, inputs)

        assert len(plan().cells) == cells
        seconds[cells] = least_seconds(plan, 5 if cells < 10_000 else 2)
    what = "cells to stages, the world known"
    growth = told(noted, what, "cells", seconds)
    noted.figure(f"plan of 10,000 cells, {what}", PLAN, seconds[10_000].clock)
    assert growth < STEEP and seconds[10_000].clock < FAR_TOO_SLOW * PLAN.bound


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache that holds the faces."""
    folder = tmp_path_factory.mktemp("growth")
    cache_with_faces(folder, tmp_path_factory)
    return folder


@pytest.mark.parametrize("finished", [False, True], ids=["fresh", "finished"])
def test_planning_with_data_and_store(noted: Any, folder: Path, finished: bool) -> None:
    """What `ferbench plan` does after its imports, data read from the cache; and what a finished matrix costs again."""
    catalog = Catalog.load()
    seconds: dict[int, Seconds] = {}
    for cells in (100, 1_000, 10_000):
        store_path = folder / f"{finished}-{cells}.sqlite"
        if finished:
            with open_store(str(folder / "plan.sqlite")) as store:
                write_finished(
                    store_path, engine(catalog, store, folder).prepare(matrix_of(cells), calibrate=False).plan.cells
                )

        def prepare(cells: int = cells, path: Path = store_path) -> None:
            with open_store(str(path)) as store:
                prepared = engine(catalog, store, folder).prepare(matrix_of(cells), calibrate=False)
            assert len(prepared.finished) == (cells if finished else 0) and len(prepared.plan.cells) == cells
            assert bool(prepared.tasks) != finished

        seconds[cells] = least_seconds(prepare, 3 if cells < 10_000 else 2)
    what = "a finished matrix planned again" if finished else "plan with data from the cache and an empty store"
    growth = told(noted, what, "cells", seconds)
    if not finished:
        noted.figure("plan of 10,000 cells, data from the cache and an empty store", PLAN, seconds[10_000].clock)
        assert seconds[10_000].clock < FAR_TOO_SLOW * PLAN.bound
    assert growth < STEEP


def engine(catalog: Catalog, store: Any, folder: Path) -> Engine:
    return Engine(catalog, store, Settings("", folder, folder / "cache", "cpu"), Recorder())


# --- stored runs of a leaderboard -------------------------------------------------------------------------------------


def test_leaderboard(noted: Any, tmp_path: Path) -> None:
    read: dict[int, Seconds] = {}
    ranked: dict[int, Seconds] = {}
    whole: dict[int, float] = {}
    for runs in (1_000, 10_000, 100_000):
        path = tmp_path / f"{runs}.sqlite"
        write_runs(path, runs)
        rounds = 5 if runs < 100_000 else 2
        with open_store(str(path), read_only=True) as store:
            rows = store.leaderboard_rows()
            tables = leaderboards(rows)
            assert sum(len(table.entries) for table in tables) == runs // SEEDS and len(tables) == 4
            read[runs] = least_seconds(store.leaderboard_rows, rounds)
            ranked[runs] = least_seconds(partial(leaderboards, rows), rounds)
        command = [sys.executable, "-m", "ferbench", "leaderboard", "--store", str(path)]
        whole[runs] = least_seconds(partial(_run, command), rounds).clock
        path.unlink()
    assert told(noted, "leaderboard read from the store", "runs", read) < STEEP
    # Of each board all pairs of entries are compared.
    told(noted, "leaderboard ranked", "runs", ranked)
    shown = ", ".join(f"{runs:,} runs {seconds:.3g} s" for runs, seconds in whole.items())
    noted.line(f"growth, `ferbench leaderboard`, the whole command: {shown}")
    noted.figure("`ferbench leaderboard` over 10,000 runs, the whole command", LEADERBOARD, whole[10_000])
    assert whole[10_000] < FAR_TOO_SLOW * LEADERBOARD.bound


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"COLUMNS": "120"})


# --- images of a load -------------------------------------------------------------------------------------------------


def write_faces(folder: Path, count: int) -> None:
    """JPEG files of 48 x 48 grey pixels in class folders of train, a tenth as many in test."""
    random = np.random.default_rng(0)
    for split, number in (("train", count), ("test", count // 10)):
        for name in BASIC8[:7]:
            (folder / split / name).mkdir(parents=True)
        for index in range(number):
            smooth = np.kron(random.normal(129, 64, (8, 8)), np.ones((6, 6)))
            face: NDArray[np.uint8] = np.clip(smooth + random.normal(0, 11, (48, 48)), 0, 255).astype(np.uint8)
            Image.fromarray(face).save(folder / split / BASIC8[index % 7] / f"{index}.jpg", quality=90)


def test_load_from_a_folder(noted: Any, tmp_path: Path) -> None:
    first: dict[int, Seconds] = {}
    cached: dict[int, Seconds] = {}
    for images in (3_000, 10_000, 30_000):
        folder = tmp_path / f"faces-{images}"
        write_faces(folder, images)

        def load(cache: Path, images: int = images, folder: Path = folder) -> None:
            # A catalog of its own, as a fresh command has it: nothing is remembered from one load to the next.
            roles = RoleReader(Catalog.load().dataset, tmp_path, cache)
            name = f"folder:{folder}"
            assert roles.train(name).count + roles.select(name).count == images
            assert roles.report(name).count == images // 10

        cache = tmp_path / f"cache-{images}"
        first[images] = least_seconds(partial(load, cache), 1)
        cached[images] = least_seconds(partial(load, cache), 3)
    assert told(noted, "class folders read for the first time", "images", first) < STEEP
    assert told(noted, "class folders from the cache", "images", cached) < STEEP
