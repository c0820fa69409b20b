"""A whole matrix with ferbench and by hand with transformers.Trainer: the same cells, the same images seen a cell.

Both are whole commands, imports included, on the same machine with the same threads and an allocator that keeps what is
freed; neither renders nor decodes pictures while the clock runs. by_hand/trainer_matrix.py says what the peer does well
and what it leaves undone. Its number of workers is the better of two in a trial, which no clock counts.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stamping
from by_hand import trainer_matrix
from by_hand.handed_over import write_arrays, write_plan
from goals import MATRIX as HALF
from goals import UNIQUE_STAGES
from rendered import AUXILIARY, TARGET, cache_with_faces
from tiny import Recorder

from ferbench.catalog import Catalog
from ferbench.data.roles import RoleReader
from ferbench.engine import Engine
from ferbench.matrix import Matrix, RecipeAxis
from ferbench.plan import Plan
from ferbench.records import Run, Training
from ferbench.settings import Settings
from ferbench.store import open_store

STRATEGIES = (
    *("target-only", "source-only", "cascade", "cascade+linear-probe", "cascade+lp-ft", "linear-probe", "lp-ft"),
)
RECIPE = (("images_seen", 4096), ("image_size", 64), ("precision", "fp32"))
MATRIX = Matrix(
    backbones=("alexnet", "tv/mobilenet_v3_small"),
    strategies=STRATEGIES,
    targets=(TARGET,),
    auxiliaries=((AUXILIARY,),),
    seeds=(0, 1, 2),
    weights=("random",),
    axes=tuple(RecipeAxis(key, (value,)) for key, value in RECIPE),
)

#: What glibc reads at a process's start; ferbench sets the same for itself (`ferbench.memory.hold_freed_memory`).
FREED_MEMORY_STAYS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}

#: The peer as most would have it, and with all that can be done for it; either with so many workers as suit it.
VARIANTS = ("per-image", "batched")
WORKERS = (0, 2)


@dataclass(frozen=True)
class Spent:
    """Seconds of a whole command: by the clock, and of the processor over all its threads and workers.

    before_stages : of the clock, until the command said that it begins its first stage; 0 where it says no such thing
    """

    wall: float
    processor: float
    before_stages: float


@dataclass(frozen=True)
class ByHand:
    """What the peer did: its lines of results.csv and stages.csv, and the number of workers that it did it with."""

    workers: int
    spent: Spent
    cells: list[dict[str, str]]
    stages: list[dict[str, str]]

    @property
    def images(self) -> int:
        return sum(int(line["images_seen"]) for line in self.cells)

    @property
    def shared_seconds(self) -> float:
        """What it would take if its author had trained each stage once: the wall less all repeated stages."""
        first = {line["fingerprint"]: float(line["seconds"]) for line in reversed(self.stages)}
        return self.spent.wall - sum(float(line["seconds"]) for line in self.stages) + sum(first.values())


@dataclass(frozen=True)
class Ours:
    """What ferbench did, from its store.

    after_steps : seconds from the last step of a stage to its end, over all stages: checkpoints, predictions, the store
    """

    spent: Spent
    after_steps: float
    runs: list[Run]
    trainings: list[Training]
    images_trained: int

    @property
    def stage_seconds(self) -> float:
        return sum(
            training.train_seconds if training.spent_seconds is None else training.spent_seconds
            for training in self.trainings
        )

    def over_stages(self) -> dict[str, float]:
        """Wall time over the sum of the stages' own seconds, by what is left out of the wall time."""
        stages = self.spent.wall - self.spent.before_stages
        counted = {
            "the whole command": self.spent.wall,
            "without imports, planning and calibration": stages,
            "without evaluation, checkpoints and the store, too": stages - self.after_steps,
        }
        return {name: seconds / self.stage_seconds for name, seconds in counted.items()}


@dataclass(frozen=True)
class Ground:
    """A folder with rendered faces in a cache of their own, and what the peer is given."""

    folder: Path
    plan: Plan

    def ours(self) -> Ours:
        store = self.folder / "board.sqlite"
        words = [word for name in MATRIX.backbones for word in ("-b", name)]
        words += [word for name in STRATEGIES for word in ("-s", name)]
        words += [word for key, value in RECIPE for word in ("--set", f"{key}={value}")]
        words += ["-t", TARGET, "-a", AUXILIARY, "--weights", "random", "--seed", ",".join(map(str, MATRIX.seeds))]
        words += ["--plugin", str(Path(stamping.__file__)), "--store", str(store)]
        stamps = self.folder / "stamps"
        variables = {"FERBENCH_CACHE": str(self.folder / "cache"), "FERBENCH_DEVICE": "cpu"}
        spent = _spent([sys.executable, "-m", "ferbench", "run", *words], {**variables, stamping.VARIABLE: str(stamps)})
        after_steps = stamping.seconds_after_steps(stamps.read_text())
        with open_store(str(store)) as opened:
            return Ours(spent, after_steps, opened.runs(), opened.trainings(), opened.images_trained())

    def by_hand(self, variant: str) -> ByHand:
        trials = {workers: self._peer(variant, workers, "--trial") for workers in WORKERS}
        # By the stage's own clock: imports, and what else a whole command costs once, are left out.
        workers = min(trials, key=lambda workers: float(trials[workers].stages[0]["seconds"]))
        return self._peer(variant, workers)

    def _peer(self, variant: str, workers: int, *words: str) -> ByHand:
        out = self.folder / "-".join([variant, str(workers), *words])
        command = [sys.executable, str(Path(trainer_matrix.__file__)), "--plan", str(self.folder / "plan.json")]
        command += ["--data", str(self.folder / "data"), "--out", str(out), "--images", variant]
        command += ["--workers", str(workers), *words]
        spent = _spent(command, {"HF_HUB_OFFLINE": "1", **FREED_MEMORY_STAYS})
        return ByHand(workers, spent, _lines(out / "results.csv"), _lines(out / "stages.csv"))


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _spent(command: Sequence[str], variables: Mapping[str, str]) -> Spent:
    before_stages = 0.0
    with tempfile.TemporaryFile("w+") as errors:
        began, before = time.perf_counter(), os.times()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **variables}
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("stage 1/"):
                    before_stages = time.perf_counter() - began
        wall, after = time.perf_counter() - began, os.times()
        errors.seek(0)
        assert process.returncode == 0, errors.read()[-4000:]
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return Spent(wall, busy, before_stages)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Faces rendered, plan made, arrays written: all before any clock runs."""
    folder = tmp_path_factory.mktemp("matrix")
    cache = cache_with_faces(folder, tmp_path_factory)
    settings = Settings(str(folder / "plan.sqlite"), folder / "none", cache, "cpu")
    catalog = Catalog.load()
    with open_store(settings.store) as store:
        plan = Engine(catalog, store, settings, Recorder()).prepare(MATRIX, calibrate=False).plan
    roles = RoleReader(catalog.dataset, settings.data_folder, settings.cache_folder)
    write_plan(plan, folder / "plan.json")
    write_arrays(plan, roles, folder / "data")
    return Ground(folder, plan)


@pytest.fixture(scope="module")
def ours(ground: Ground) -> Ours:
    return ground.ours()


@pytest.fixture(scope="module")
def images_seen(ground: Ground) -> dict[tuple[str, str, str], int]:
    """Per cell, as planned."""
    return {
        (planned.cell.backbone, planned.cell.strategy, str(planned.cell.seed)): planned.images_seen
        for planned in ground.plan.cells
    }


@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="Trainer needs accelerate")
@pytest.mark.parametrize("variant", VARIANTS)
def test_matrix_against_trainer(
    ground: Ground, ours: Ours, images_seen: dict[tuple[str, str, str], int], noted: Any, variant: str
) -> None:
    peer = ground.by_hand(variant)
    assert {(c["backbone"], c["strategy"], c["seed"]): int(c["images_seen"]) for c in peer.cells} == images_seen
    assert {(r.cell.backbone, r.cell.strategy, str(r.cell.seed)): r.images_seen for r in ours.runs} == images_seen
    assert {line["n"] for line in peer.cells} == {str(run.board.n) for run in ours.runs if run.board}
    reached = statistics.mean(score.value for run in ours.runs for score in run.scores if score.metric == "accuracy")
    peer_reached = statistics.mean(float(line["accuracy"]) for line in peer.cells)
    group = f"matrix of {len(ours.runs)} cells at {dict(RECIPE)['image_size']} pixels, whole commands, against Trainer"
    named = f"{variant}, {peer.workers} workers"
    done = f"{ours.images_trained:,} of {peer.images:,} images"
    noted(group, f"{named}, {done}", ours.spent.wall, peer.spent.wall, HALF)
    noted(group, f"{named}, had its author shared the stages", ours.spent.wall, peer.shared_seconds)
    fraction = ours.spent.wall / peer.spent.wall
    noted.line(
        f"{group}, {named}: {fraction:.2f} of its wall time, {ours.spent.processor / peer.spent.processor:.2f} of its "
        f"processor time; mean accuracy {100 * reached:.1f} % and {100 * peer_reached:.1f} %"
    )
    # Whatever is shared, computed once and kept, it must at least be worth its own cost.
    assert fraction < 1


def test_images_trained_are_those_of_the_unique_stages(ground: Ground, ours: Ours) -> None:
    assert ours.images_trained == sum(stage.recipe.images_seen for stage in ground.plan.stages)
    assert sorted(training.stage for training in ours.trainings) == sorted(s.fingerprint for s in ground.plan.stages)
    alone = sum(cell.images_seen for cell in ground.plan.cells)
    assert ours.images_trained < alone


def test_wall_against_the_unique_stages(ours: Ours, noted: Any) -> None:
    """The sum is of what the store says that training took: steps, features and compiling."""
    found = ours.over_stages()
    for name, figure in found.items():
        noted.figure(f"shared prefixes, wall over {len(ours.trainings)} stages' seconds, {name}", UNIQUE_STAGES, figure)
    whole, stages, steps = found.values()
    # The parts are of one clock: nothing is taken away twice, and no stage claims more than there was.
    assert 1 <= steps < stages < whole < 2
