"""Work that is not done again: features of a frozen backbone, and a matrix that is finished."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from goals import FAR_TOO_SLOW, FEATURES, FINISHED
from rendered import AUXILIARY, TARGET, cache_with_faces
from tiny import Recorder

from ferbench import fitting
from ferbench.catalog import Catalog
from ferbench.cli import root
from ferbench.engine import Engine
from ferbench.matrix import Matrix, RecipeAxis
from ferbench.records import Predictions, StageResult
from ferbench.settings import Settings
from ferbench.store import open_store

EPOCHS = 20
BATCH = 32


# --- features ---------------------------------------------------------------------------------------------------------


def probed(folder: Path, cache: Path) -> tuple[StageResult, Predictions]:
    """A linear probe of alexnet at 112 on the 420 faces of the target, for 20 epochs."""
    recipe = {"images_seen": EPOCHS * 420 // BATCH * BATCH, "image_size": 112, "precision": "fp32"}
    matrix = Matrix(
        backbones=("alexnet",),
        strategies=("linear-probe",),
        targets=(TARGET,),
        weights=("random",),
        axes=tuple(RecipeAxis(key, (value,)) for key, value in recipe.items()),
    )
    settings = Settings(str(folder / "board.sqlite"), folder, cache, "cpu")
    folder.mkdir()
    with open_store(settings.store) as store:
        engine = Engine(Catalog.load(), store, settings, Recorder())
        (run,) = engine.run(engine.prepare(matrix, calibrate=False)).finished
        result = store.stage_result(run.stages[-1])
        ((_, predictions),) = store.run_predictions(run.row)
    assert result is not None
    return result, predictions


def test_linear_probe_on_features(
    noted: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same stage with and without the cache of features, by ferbench's own clock of a stage."""
    cache = cache_with_faces(tmp_path, tmp_path_factory)
    on_features, predictions = probed(tmp_path / "cached", cache)
    assert on_features.feature_seconds > 0 and on_features.features_per_second is not None
    # As with a backbone that cannot be cut: every step goes through all of it.
    monkeypatch.setattr(fitting, "frozen_prefix", lambda *arguments: None)
    recomputed, expected = probed(tmp_path / "recomputed", cache)
    assert recomputed.feature_seconds == 0 and recomputed.images_seen == on_features.images_seen
    np.testing.assert_allclose(predictions.probabilities, expected.probabilities, atol=1e-3)
    group = f"linear probe, alexnet at 112, {EPOCHS} epochs of 420 images, against computing features in each step"
    steps = on_features.train_seconds - on_features.feature_seconds
    noted(group, "steps on features, these computed before", steps, recomputed.train_seconds)
    noted(group, "features computed once, and steps", on_features.train_seconds, recomputed.train_seconds, FEATURES)
    assert recomputed.train_seconds > 5 * on_features.train_seconds


# --- a finished matrix ------------------------------------------------------------------------------------------------


def test_a_finished_matrix_again(
    noted: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command, and what of it comes after the imports."""
    cache, store = cache_with_faces(tmp_path, tmp_path_factory), tmp_path / "board.sqlite"
    arguments = ["run", "-b", "tv/mobilenet_v3_small", "-s", "cascade", "-s", "source-only", "-s", "target-only"]
    arguments += ["-t", TARGET, "-a", AUXILIARY, "--weights", "random", "--seed", "0,1", "--store", str(store)]
    arguments += ["--set", "images_seen=64", "--set", "image_size=64"]
    variables = {"FERBENCH_CACHE": str(cache), "FERBENCH_DEVICE": "cpu"}
    command = [sys.executable, "-m", "ferbench", *arguments]

    def whole() -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=os.environ | variables)
        return time.perf_counter() - began

    first = whole()
    with open_store(str(store)) as opened:
        trained, runs = opened.images_trained(), len(opened.runs())
    again = min(whole() for _ in range(3))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    inside = []
    for _ in range(4):
        began = time.perf_counter()
        done = CliRunner().invoke(root, arguments)
        inside.append(time.perf_counter() - began)
        assert done.exit_code == 0, done.output
    with open_store(str(store)) as opened:
        assert opened.images_trained() == trained and len(opened.runs()) == runs == 6
    # The first time within this process still imports what only the command needs.
    what = f"a finished matrix of {runs} cells again"
    noted.line(f"{what}: {again:.2f} s for the whole command ({first:.1f} s when it was trained)")
    noted.figure(f"{what}, after imports", FINISHED, min(inside[1:]))
    assert min(inside[1:]) < FAR_TOO_SLOW * FINISHED.bound
