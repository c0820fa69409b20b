"""Stores of many runs without training: one record is made by ferbench for each entry, its seeds are made from it."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferbench.fingerprints import fingerprint
from ferbench.metrics import wilson
from ferbench.plan import CellPlan
from ferbench.recipes import Recipe
from ferbench.records import Board, Environment, Run, Score
from ferbench.stages import RANDOM_WEIGHTS, Cell
from ferbench.store import codec, open_store

ENVIRONMENT = Environment("cpu", "a processor", 2, "3.11", "2.14", "0.1", "Linux", (("timm", "1.0"), ("numpy", "2")))

#: Samples of a board, as many as SFEW's reported split has.
N = 431
SEEDS = 5
BOARDS = tuple(
    Board(fingerprint(f"board {number}"), f"target-{number}", "val", N, "basic7", 1, 0.19) for number in range(4)
)
BACKBONES = ("alexnet", "vgg16", "tv/resnet18", "timm/resnet50", "tv/mobilenet_v2")
STRATEGIES = ("target-only", "single-stage", "cascade", "cascade+lp-ft", "linear-probe", "lp-ft")


def write_runs(path: Path, count: int) -> None:
    """A store of `count` finished runs: five seeds an entry, entries in turn over four boards, 25 to 65 % right."""
    random = np.random.default_rng(0)
    _write(path, (line for number in range(count // SEEDS) for line in _seeds(_first_run(number), random)))


def write_finished(path: Path, cells: Iterable[CellPlan]) -> None:
    """A store in which every one of these cells is finished."""
    random = np.random.default_rng(0)
    answers = random.random(N) < 0.4
    _write(path, (codec.run_columns(_with_scores(_planned_run(cell), answers), answers) for cell in cells))


def _write(path: Path, lines: Iterator[dict[str, Any]]) -> None:
    with open_store(str(path)) as store:
        for board in BOARDS:
            store.save_board(board)
    with sqlite3.connect(path) as connection:
        first = next(lines)
        names, places = ", ".join(first), ", ".join(f":{name}" for name in first)
        connection.executemany(f"INSERT INTO runs ({names}) VALUES ({places})", _chained(first, lines))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _chained(first: dict[str, Any], lines: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from lines


def _first_run(number: int) -> Run:
    """An entry's run of seed 0. Learning rates differ, so that boards have columns to tell entries apart by."""
    recipe = dataclasses.replace(Recipe(), lr=0.001 * (1 + number % 40), image_size=(48, 112, 224)[number % 3])
    board = BOARDS[number % len(BOARDS)]
    backbone, strategy = BACKBONES[number // 4 % len(BACKBONES)], STRATEGIES[number // 20 % len(STRATEGIES)]
    cell = Cell(backbone, "random", strategy, board.target, ("fer2013",), recipe, 0)
    return Run(
        key=fingerprint(["run", number, 0]),
        entry=fingerprint(["entry", number]),
        cell=cell,
        status="finished",
        board=board,
        weights=RANDOM_WEIGHTS,
        environment=ENVIRONMENT,
        stages=(fingerprint(["stage", number, 0]), fingerprint(["stage", number, 1])),
        images_seen=200_000,
        target_images_seen=100_000,
        train_seconds=700.0,
        notes=("random weights",),
        finished_at="2025-01-01T00:00:00Z",
    )


def _planned_run(planned: CellPlan) -> Run:
    run = _first_run(0)
    return dataclasses.replace(
        run, key=planned.key, entry=planned.entry, cell=planned.cell, stages=planned.stages, weights=planned.weights
    )


def _with_scores(run: Run, answers: NDArray[np.bool_]) -> Run:
    """A run with the three scores that a finished one must have, all of them its accuracy."""
    value = float(answers.mean())
    low, high = wilson(answers.sum(), len(answers))
    scores = tuple(Score(metric, value, len(answers), low, high) for metric in ("accuracy", "uar", "macro_f1"))
    return dataclasses.replace(run, scores=scores)


def _seeds(first: Run, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Rows of `runs` of an entry: those of further seeds differ in key, seed, answers and scores."""
    ability = random.uniform(0.25, 0.65)
    table = random.random((SEEDS, N)) < ability
    columns = codec.run_columns(_with_scores(first, table[0]), table[0])
    yield columns
    for seed in range(1, SEEDS):
        value = float(table[seed].mean())
        low, high = wilson(table[seed].sum(), N)
        changed: dict[str, Any] = {"key": fingerprint([first.key, seed]), "seed": seed}
        changed |= {"correct": np.packbits(table[seed]).tobytes()}
        for metric in ("accuracy", "uar", "macro_f1"):
            changed |= {metric: value, f"{metric}_low": float(low), f"{metric}_high": float(high)}
        yield columns | changed
