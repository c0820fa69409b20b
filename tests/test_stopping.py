"""Stages that are stopped or killed from outside, in processes of their own, and what the same command then does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ferbench.cli.stopping import StopRequest
from ferbench.store import open_store
from ferbench.whole_files import TEMPORARY

PLUGIN = """
import time
from dataclasses import replace
from ferbench import hookimpl
from tiny import bar_dataset, tiny_backbone
import torch
from torch import nn

class Slow(nn.Module):
    def forward(self, images):
        time.sleep({seconds})
        return images

def build(classes, size):
    module = tiny_backbone().build(classes, size)
    module.append(Slow())
    return module

@hookimpl
def ferbench_register_backbones():
    return [replace(tiny_backbone("slow"), build=build)]

@hookimpl
def ferbench_register_datasets():
    return [replace(bar_dataset("bars", 2), embedded=True)]
"""


def command(folder: Path, name: str, seconds: float, **variables: str) -> subprocess.Popen[str]:
    """A run of 60 steps that takes `seconds` a step more than it must; its store and cache bear the name."""
    plugin = folder / f"slow-{name}-{seconds}.py"
    plugin.write_text(PLUGIN.replace("{seconds}", str(seconds)))
    tests = str(Path(__file__).parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "FERBENCH_CACHE": str(folder / name / "cache"),
        "FERBENCH_STORE": str(folder / name / "board.sqlite"),
        **variables,
    }
    arguments = (
        *("--plugin", str(plugin), "run", "-b", "slow", "-s", "target-only", "-t", "bars", "--weights", "random"),
        *("--set", "images_seen=480", "--set", "batch_size=8", "--set", "image_size=12", "--set", "lr=0.05"),
    )
    return subprocess.Popen(
        [sys.executable, "-m", "ferbench", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


def answers(folder: Path, name: str) -> np.ndarray:
    with open_store(str(folder / name / "board.sqlite"), read_only=True) as store:
        (run,) = store.runs(status="finished")
        ((_, predictions),) = store.run_predictions(run.row)
    return predictions.probabilities


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("undisturbed")
    process = command(folder, "whole", 0.0)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    return answers(folder, "whole")


def wait_for_partial(folder: Path, name: str, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not list((folder / name / "cache" / "partials").glob("[0-9a-f]*.safetensors")):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.02)


def test_killed_and_started_again_the_predictions_are_those_of_an_undisturbed_run(
    tmp_path: Path, undisturbed: np.ndarray
) -> None:
    for _ in range(2):
        process = command(tmp_path, "killed", 0.03, FERBENCH_KEEP_SECONDS="0")
        wait_for_partial(tmp_path, "killed", process)
        time.sleep(0.3)
        process.kill()
        process.communicate(timeout=60)
    process = command(tmp_path, "killed", 0.0)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    assert np.array_equal(answers(tmp_path, "killed"), undisturbed)
    with open_store(str(tmp_path / "killed" / "board.sqlite"), read_only=True) as store:
        (run,) = store.runs()
        result = store.stage_result(run.stages[0])
    assert result is not None and 0 < result.resumed_at < 480 == result.images_seen
    # A process killed while it writes leaves its temporary file behind, which `cache prune` removes after a day.
    left = (tmp_path / "killed" / "cache" / "partials").iterdir()
    assert not [path for path in left if not path.name.startswith(TEMPORARY)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_keeps_what_is_trained(
    tmp_path: Path, undisturbed: np.ndarray, number: signal.Signals
) -> None:
    process = command(tmp_path, "asked", 0.05)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("stage 1/1"):
            break
    time.sleep(1.0)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert "stopping after this step, to keep what is trained" in output
    assert errors.strip().endswith("stopped: the same command goes on from here")
    assert len(list((tmp_path / "asked" / "cache" / "partials").iterdir())) == 1
    process = command(tmp_path, "asked", 0.0)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    assert np.array_equal(answers(tmp_path, "asked"), undisturbed)


def test_where_nobody_looks_a_signal_ends_at_once() -> None:
    lines: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with StopRequest(lines.append) as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not stop.asked()
        signal.raise_signal(signal.SIGINT)
        assert stop.asked() and len(lines) == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_in_the_middle_of_a_line_is_told_after_it() -> None:
    lines: list[str] = []
    busy = True

    def tell(line: str) -> None:
        if busy:
            raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")
        lines.append(line)

    with StopRequest(tell) as stop:
        assert not stop.asked()
        signal.raise_signal(signal.SIGINT)
        assert lines == []
        busy = False
        assert stop.asked() and stop.asked() and len(lines) == 1
