"""Whole rows by hand: a run with stages, predictions, forgetting and further scores that agree with each other."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ferbench.evidence import Calibration, Forgetting, ReliabilityBin
from ferbench.fingerprints import fingerprint
from ferbench.metrics import correctness
from ferbench.recipes import Recipe
from ferbench.records import Board, Environment, EpochResult, FurtherScores, Predictions, Run, Score, StageResult
from ferbench.snapshot.derived import derived
from ferbench.stages import Cell, InitialWeights, Stage, TrainingPart
from ferbench.store import KeptRun, Store

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
BOARD = Board(fingerprint("board"), "films", "Val", 30, "basic7", 1, 0.0, excluded=2)
SELECT, AUXILIARY, FURTHER = fingerprint("select"), fingerprint("auxiliary"), fingerprint("further")
SIZES = {BOARD.fingerprint: 30, SELECT: 20, AUXILIARY: 25, FURTHER: 15}
WEIGHTS = InitialWeights("ab" * 32, "file vgg.pt", "/home/someone/weights/vgg.pt")
RECIPE = Recipe(images_seen=64, batch_size=8, image_size=12)


def predicted(content: str, name: object, dataset: str, split: str) -> Predictions:
    """Of samples that their content decides, by a stage whose name decides the answers."""
    n, samples = SIZES[content], np.random.default_rng(int(content[:8], 16))
    labels = samples.integers(0, len(CLASSES), n)
    own = np.random.default_rng(int(fingerprint(name)[:8], 16))
    logits = own.normal(size=(n, len(CLASSES))) + 1.5 * np.eye(len(CLASSES))[labels]
    powers = np.exp(logits)
    probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    ids = tuple(f"{dataset}/{number}, „{split}“" for number in range(n))
    groups = tuple(f"film {number % 4}" for number in range(n)) if content == BOARD.fingerprint else None
    return Predictions(dataset, split, ids, labels.astype(np.int64), probabilities, groups)


def kept_run(
    strategy: str = "cascade", seed: int = 0, processor: str = "processor A", *, first: str = "", further: bool = False
) -> KeptRun:
    """A finished run of two stages; another processor gives slightly other answers, the same names.

    first : name of its first stage, which rows may share
    further : it has scores on a further dataset
    """
    environment = Environment("cpu", processor, 2, "3.11", "2.14", "0.1", "Linux")
    entry = fingerprint(["entry", strategy])
    names = (fingerprint([first or strategy, seed, 1]), fingerprint([strategy, seed, 2]))
    known = {
        (names[1], BOARD.fingerprint): predicted(BOARD.fingerprint, [names[1], processor], "films", "Val"),
        (names[1], SELECT): predicted(SELECT, [names[1], processor], "films", "Train (held out)"),
        (names[0], AUXILIARY): predicted(AUXILIARY, [names[0], processor], "stills", "Test"),
        (names[1], AUXILIARY): predicted(AUXILIARY, [names[1], processor, "after"], "stills", "Test"),
    }
    scored: tuple[tuple[str, FurtherScores], ...] = ()
    if further:
        known[names[1], FURTHER] = predicted(FURTHER, [names[1], processor], "wild", "Test")
        scored = ((names[1], FurtherScores("wild", "Test", 15, FURTHER, "basic7", ())),)
    stages = []
    for index, name in enumerate(names):
        part = TrainingPart("stills" if index == 0 else "films", "Train", fingerprint(["part", index]), 100, whole=100)
        parent = names[index - 1] if index else None
        stage = Stage(name, index, "tiny", WEIGHTS, (part,), CLASSES, RECIPE, seed, parent)
        history = (EpochResult(1, 64, 1.25, 100.0),)
        sha256 = fingerprint(["checkpoint", name, processor])
        stages.append((stage, StageResult(name, 64, 1.5, 42.0, 10**6, history, "cpu", 2, 8, 1000, sha256)))
    run = Run(
        key=fingerprint([entry, seed]),
        entry=entry,
        cell=Cell("tiny", "/home/someone/weights/vgg.pt", strategy, "films", ("stills",), RECIPE, seed),
        status="finished",
        board=BOARD,
        weights=WEIGHTS,
        environment=environment,
        stages=names,
        scores=(Score("accuracy", 0.0, 30),),
        images_seen=128,
        target_images_seen=64,
        train_seconds=3.0,
        notes=("read from /home/someone/faces/Val",),
        finished_at="2025-01-01T00:00:00+00:00",
        predictions_sha256="0",
        select_content=SELECT,
        select_accuracy=0.0,
        reliability=(ReliabilityBin(0, 1, 0, None, None),),
        calibration=Calibration(1.0, 20, 0.0, 0.0, 0.0),
        forgetting=(Forgetting("stills", "Test", 25, AUXILIARY, names[0], 0.0, 0.0, "0", "0"),),
        sources=(("tiny", "ef" * 32),),
        select_sha256="0",
    )
    return derived(KeptRun(run, tuple(stages), known, scored))


def failed_run(strategy: str = "cascade", seed: int = 0, processor: str = "processor A") -> KeptRun:
    run = kept_run(strategy, seed, processor).run
    blank: dict[str, Any] = {"scores": (), "reliability": (), "calibration": None, "forgetting": ()}
    blank |= {"predictions_sha256": "", "select_sha256": "", "select_content": "", "select_accuracy": None}
    return KeptRun(dataclasses.replace(run, status="failed", error="loss is not finite", **blank))


def save(store: Store, *runs: KeptRun) -> None:
    """As `ferbench run` does, one after the other."""
    for kept in runs:
        for stage, result in kept.stages:
            store.save_stage(stage, result)
        for (stage_name, content), predictions in kept.predictions.items():
            store.save_predictions(stage_name, content, predictions)
        for stage_name, further in kept.further:
            store.save_further_scores(stage_name, further)
        store.save_run(kept.run, correctness(kept.report) if kept.run.status == "finished" else None)


def rows_of(path: Path, tables: Iterable[str] = ("boards", "stages", "predictions", "further_scores", "runs")) -> Any:
    """All rows of a store's tables, but for their numbers and when they were written."""
    found = {}
    with closing(sqlite3.connect(path)) as connection:
        for table in tables:
            cursor = connection.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description]
            kept = [place for place, name in enumerate(names) if name not in ("id", "saved_at")]
            found[table] = sorted([tuple(str(row[place]) for place in kept) for row in cursor])
    return found
