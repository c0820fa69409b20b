"""`ferbench speed` as users meet it, and its figures on the accuracy boards."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ferbench.flops as flops_module
import ferbench.speed as speed_module
from ferbench.cli import root
from ferbench.speed import Measuring
from ferbench.store import open_store

PLUGIN = """
import os, time
from pathlib import Path
from ferbench import Backbone, Dataset, Samples, hookimpl

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

def network(num_classes, image_size):
    from torch import nn

    class Slow(nn.AdaptiveAvgPool2d):
        def forward(self, images):
            if mark := os.environ.get("TINY_MARK"):
                Path(mark).touch()
                time.sleep(0.05)
            return super().forward(images)

    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Slow(4), nn.Flatten(), nn.Linear(64, num_classes))

def misfit(num_classes, image_size):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(5, num_classes))

def backbone(name, build, classifier):
    return Backbone(
        name=name, version=1, build=build, classifier=classifier, resolve_weights=lambda policy: None,
        load_weights=lambda module, file: None, image_size=16, smallest_image_size=8, mean=(0.5,) * 3, std=(0.5,) * 3,
    )

def load(split, root):
    import numpy as np
    labels = np.arange(14) % 7
    images = np.random.default_rng(len(split)).integers(0, 255, (14, 16, 16, 1)).astype(np.uint8)
    return Samples(images, labels.astype(np.int64), tuple(f"{split}-{n}" for n in range(14)))

@hookimpl
def ferbench_register_datasets():
    return [Dataset(
        name="tiny", version=1, classes=CLASSES, splits=("tr", "va", "te"), load=load, locate=lambda folder: None,
        roles={"train": "tr", "select": "va", "report": "te"}, embedded=True, identity=lambda split: split,
        recipe={"images_seen": 32, "batch_size": 8, "image_size": 16},
    )]

@hookimpl
def ferbench_register_backbones():
    return [backbone("tinynet", network, "4"), backbone("othernet", network, "4"), backbone("misfit", misfit, "1")]
"""

Call = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny_plugin.py").write_text(PLUGIN, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERBENCH_STORE", str(tmp_path / "board.sqlite"))
    monkeypatch.setenv("FERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FERBENCH_DEVICE", "cpu")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(flops_module, "_PRODUCT_SECONDS", 0.0)
    measured = speed_module.measured_speeds

    def quickly(wanted: Any, device: str, measuring: Measuring, on_turn: Any) -> Any:
        return measured(wanted, device, dataclasses.replace(measuring, repeat_seconds=0.02), on_turn)

    monkeypatch.setattr(speed_module, "measured_speeds", quickly)
    return tmp_path


@pytest.fixture
def ferbench_(home: Path) -> Call:
    """Calls the command line in this process; `code` is the exit code that is expected."""

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, ["--plugin", "tiny_plugin.py", *arguments], prog_name="ferbench")
        assert result.exit_code == code, result.output
        return result

    return call


QUICK = ("--repeats", "1", "--batch-size", "4")


def speeds(result: Result) -> list[dict[str, object]]:
    found = json.loads(result.stdout)["speeds"]
    assert isinstance(found, list)
    return found


def test_nothing_measured_is_one_helpful_line_and_makes_no_store(ferbench_: Call, home: Path) -> None:
    assert ferbench_("speed").stdout == "no speeds in board.sqlite yet: start with `ferbench speed --backbone vgg16`\n"
    assert speeds(ferbench_("speed", "--json")) == []
    assert not (home / "board.sqlite").exists()


def test_what_is_measured_is_shown_kept_and_shown_again(ferbench_: Call, home: Path) -> None:
    first = ferbench_("speed", "-b", "tinynet", "-b", "othernet", "--image-size", "16,24", *QUICK)
    assert "Measuring on cpu, nothing else should run there · store board.sqlite" in first.stderr
    assert "batch 4" in first.stdout and "cpu, " in first.stdout
    for name in ("tinynet", "othernet"):
        assert first.stdout.count(name) == 2
    again = ferbench_("speed")
    assert again.stdout == first.stdout
    found = speeds(ferbench_("speed", "--json"))
    assert {(each["backbone"], each["image_size"]) for each in found} == {
        (name, size) for name in ("tinynet", "othernet") for size in (16, 24)
    }
    rates = [each["training_images_per_second"]["median"] for each in found]  # type: ignore[index]
    assert rates == sorted(rates, reverse=True)
    with open_store(str(home / "board.sqlite"), read_only=True) as store:
        assert len(store.speed_measurements()) == 4


def test_measured_again_a_row_takes_the_earlier_ones_place(ferbench_: Call) -> None:
    (first,) = speeds(ferbench_("speed", "-b", "tinynet", *QUICK, "--json"))
    (second,) = speeds(ferbench_("speed", "-b", "tinynet", *QUICK, "--json"))
    assert first["image_size"] == 16
    assert speeds(ferbench_("speed", "--json")) == [second]
    assert first != second


def test_one_that_fails_is_a_line_and_the_others_are_kept(ferbench_: Call) -> None:
    names = [part for name in ("tynynet", "misfit", "tinynet") for part in ("-b", name)]
    result = ferbench_("speed", *names, "--image-size", "4,16", *QUICK, "--json", code=2)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert errors[0].startswith("error: no backbone named 'tynynet': did you mean tinynet")
    assert "error: images of 4 px are too small for tinynet: the smallest are 8 px, try --image-size 8" in errors
    assert any(line.startswith("error: misfit at 16 px could not be measured: ") for line in errors)
    assert len(errors) == 4
    assert "Traceback" not in result.stderr
    assert [(each["backbone"], each["image_size"]) for each in speeds(result)] == [("tinynet", 16)]
    assert speeds(ferbench_("speed", "--json")) == speeds(result)


def test_a_build_that_fails_ends_with_1_and_debug_shows_where(ferbench_: Call) -> None:
    result = ferbench_("--debug", "speed", "-b", "misfit", *QUICK, code=1)
    assert "Traceback" in result.stderr and "RuntimeError" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: misfit at 16 px could not be measured: ")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("speed --repeats 2", "name a backbone to measure"),
        ("speed --image-size 64", "name a backbone to measure"),
        ("speed -b tinynet --image-size 64,big", "'big' is no number of pixels from 1 to 4,096"),
        ("speed -b tinynet --image-size 0", "'0' is no number of pixels"),
        ("speed -b tinynet --precision fp16", "fp16"),
        ("speed -b tinynet --repeats 0", "--repeats"),
        ("speed -b tinynet --device warp", "device 'warp'"),
    ],
)
def test_a_wrong_call_is_one_line(ferbench_: Call, line: str, said: str) -> None:
    result = ferbench_(*line.split(), code=2)
    assert said in result.stderr
    assert len([each for each in result.stderr.splitlines() if each.startswith("error:")]) == 1


def test_ctrl_c_says_that_nothing_was_stored(home: Path) -> None:
    command = [sys.executable, "-m", "ferbench", "--plugin", "tiny_plugin.py", "speed", "-b", "tinynet"]
    # Slow enough to be in the middle of it when the signal comes, which is not before it has begun.
    mark = home / "measuring"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TINY_MARK": str(mark)}
    with subprocess.Popen(command, cwd=home, env=environment, text=True, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Measuring on cpu")
        until = time.monotonic() + 60
        while not mark.exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest == "stopped: nothing was stored, the same command begins anew\n"


def test_boards_show_costs_of_the_run_and_of_the_speed_board(ferbench_: Call) -> None:
    ferbench_("run", "-b", "tinynet", "-s", "target-only", "-t", "tiny", "--weights", "random", "--seed", "0,1")

    def only_entry() -> dict[str, object]:
        (board,) = json.loads(ferbench_("leaderboard", "--json").stdout)["boards"]
        (entry,) = board["entries"]
        assert isinstance(entry, dict)
        return entry

    before = only_entry()
    assert before["parameters"] == 3 * 4 * 9 + 4 + 64 * 7 + 7
    assert before["images_per_second"] == pytest.approx(32 / before["train_seconds"])  # type: ignore[operator]
    assert before["spent_seconds"] > 0 and before["peak_memory_bytes"] > 0  # type: ignore[operator]
    for unknown in ("forward_flops", "inference_images_per_second", "latency_p50_seconds"):
        assert before[unknown] is None
    (measured,) = speeds(ferbench_("speed", "-b", "tinynet", *QUICK, "--json"))
    after = only_entry()
    assert after["forward_flops"] == measured["forward_flops"] == 2 * (14 * 14 * 4 * 27 + 64 * 7)
    assert after["latency_p50_seconds"] == measured["latency_p50_seconds"]
    assert after["inference_images_per_second"] == measured["inference_images_per_second"]["median"]  # type: ignore[index]
    shown = ferbench_("leaderboard", "--cost").stdout
    assert "GFLOPs" in shown and "UAR %" not in shown
    assert "GFLOPs" not in ferbench_("leaderboard").stdout
