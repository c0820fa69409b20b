"""Rows made by hand, of answers that are drawn and not trained: a store of any shape in milliseconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from ferbench.fingerprints import PROTOCOL_VERSION, fingerprint
from ferbench.metrics import correctness
from ferbench.recipes import Recipe
from ferbench.records import Board, Environment, Predictions, Run, Score, StageResult
from ferbench.stages import Cell, InitialWeights, Stage, Try, Tuning
from ferbench.store import Store

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
ENVIRONMENT = Environment("cpu", "a processor", 2, "3.11", "2.14", "0.1", "Linux")


def made_board(target: str = "films", n: int = 120, protocol: int = PROTOCOL_VERSION, **changes: Any) -> Board:
    """A board of its own for every target, size and protocol."""
    name = fingerprint(["board", target, n, protocol])
    return dataclasses.replace(Board(name, target, "val", n, "basic7", protocol, 0.2), **changes)


def answers(board: Board, skill: float, name: object, seed: int, groups: int = 12) -> Predictions:
    """About a share of `skill` answered right; what is hard is hard for every row of the board."""
    samples = np.random.default_rng(int(board.fingerprint[:8], 16))
    labels = samples.integers(0, len(CLASSES), board.n)
    hard = samples.random(board.n)
    own = np.random.default_rng([int(fingerprint([name, seed])[:8], 16)])
    right = 0.6 * hard + 0.4 * own.random(board.n) < skill
    taken = np.where(right, labels, (labels + own.integers(1, len(CLASSES), board.n)) % len(CLASSES))
    probabilities = np.full((board.n, len(CLASSES)), 0.4 / (len(CLASSES) - 1), dtype=np.float32)
    probabilities[np.arange(board.n), taken] = 0.6
    ids = tuple(f"{board.target}-{number}" for number in range(board.n))
    films = tuple(f"film{number % groups}" for number in range(board.n)) if groups else None
    return Predictions(board.target, board.split, ids, labels, probabilities, films)


def made_row(
    store: Store,
    strategy: str,
    skill: float,
    *,
    board: Board | None = None,
    seeds: Iterable[int] = range(2),
    name: str = "",
    shared: bool = False,
    tries: int = 0,
    groups: int = 12,
    without_predictions: bool = False,
    status: str = "finished",
    environment: Environment = ENVIRONMENT,
    recipe: dict[str, Any] | None = None,
    **cell: Any,
) -> str:
    """Save a row and give its 10 digits.

    name : tells rows apart that are alike in all else
    shared : its first stage is that of all other such rows of a seed
    """
    board = board or made_board()
    values = Recipe(**{"images_seen": 20_000, **(recipe or {})})
    coordinates: dict[str, Any] = {"backbone": "vgg16", "weights": "random", "auxiliaries": ("big",), **cell}
    tuning = None
    if tries:
        tried = tuple(Try((("lr", 0.1 / (number + 1)),), 0.3) for number in range(tries))
        tuning = Tuning("accuracy", 1000, 40, tried, tried[0].values)
    identity = [strategy, board.fingerprint, name, tries, sorted(coordinates.items()), sorted((recipe or {}).items())]
    entry = fingerprint([*identity, environment.device_kind])
    for seed in seeds:
        first = fingerprint(["first", seed] if shared else [entry, "first", seed])
        last = fingerprint([entry, "last", seed])
        said = answers(board, skill, entry, seed, groups)
        weights = InitialWeights("random", "random")
        if coordinates["weights"] != "random":
            weights = InitialWeights("ab" * 32, coordinates["weights"])
        own = {"target": board.target, "recipe": values, "seed": seed, "tuning": tuning}
        run = Run(
            key=fingerprint([entry, seed]),
            entry=entry,
            cell=Cell(strategy=strategy, **coordinates, **own),
            status="finished",
            board=board,
            weights=weights,
            environment=environment,
            stages=(first, last),
            images_seen=values.images_seen,
            target_images_seen=values.images_seen // 2,
            train_fraction=coordinates.get("train_fraction", 1.0),
        )
        if status == "failed":
            store.save_run(dataclasses.replace(run, status="failed", stages=(), error="out of memory"), None)
            continue
        right = correctness(said)
        share = float(right.mean())
        run = dataclasses.replace(run, scores=tuple(Score(each, share, board.n) for each in _METRICS))
        stage = Stage(last, 1, coordinates["backbone"], weights, (), CLASSES, values, seed, first)
        store.save_stage(stage, StageResult(last, 1, 1.0, 1.0, 1, (), "cpu", 2, 32, 1, "cd" * 32))
        if not without_predictions:
            store.save_predictions(last, board.fingerprint, said)
        store.save_run(run, right)
    return entry[:10]


_METRICS = ("accuracy", "uar", "macro_f1")
