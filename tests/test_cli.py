"""The command line as users meet it: what is printed where, with which exit code, and what scripts get."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from PIL import Image
from sklearn.metrics import accuracy_score, recall_score
from wrapping import says

import ferbench.cli.run as run_command
from ferbench import Dataset
from ferbench.cli import root
from ferbench.cli.axes import Seeds
from ferbench.defaults import choose_data
from ferbench.errors import UsageError
from ferbench.store import open_store

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
REPORTED = 35

PLUGIN = """
import os, time
from pathlib import Path
from ferbench import Backbone, Dataset, Samples, hookimpl

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SIZES = {"tr": 42, "va": 14, "te": 35}

def dataset(name, seed, **changes):
    def load(split, root):
        import numpy as np
        count = SIZES[split]
        random = np.random.default_rng([seed, count])
        labels = np.arange(count) % 7
        images = random.integers(0, 90, (count, 32, 32, 1)).astype(np.uint8)
        for image, label in zip(images, labels):
            image[4 * label : 4 * label + 4] += 150
        names = tuple(f"{split}-{number}" for number in range(count))
        return Samples(images, labels.astype(np.int64), names, tuple(f"film{n % 5}" for n in range(count)))

    fields = dict(
        name=name, version=1, classes=CLASSES, splits=tuple(SIZES), load=load, locate=lambda folder: None,
        roles={"train": "tr", "select": "va", "report": "te"}, embedded=True, identity=lambda split: f"{name}/{split}",
        counts={split: {c: n // 7 for c in CLASSES} for split, n in SIZES.items()}, licence="CC0",
        recipe={"images_seen": 64, "batch_size": 8, "image_size": 16},
    )
    return Dataset(**{**fields, **changes})

def network(num_classes, image_size):
    from torch import nn

    class Slow(nn.Identity):
        def forward(self, images):
            if mark := os.environ.get("TINY_MARK"):
                Path(mark).touch()
            time.sleep(float(os.environ.get("TINY_SLEEP", "0")))
            return images

    return nn.Sequential(
        Slow(), nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, num_classes)
    )

def misfit(num_classes, image_size):
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(5, num_classes))

def backbone(name, build, classifier):
    return Backbone(
        name=name, version=1, build=build, classifier=classifier, resolve_weights=lambda policy: None,
        load_weights=lambda module, file: None, image_size=32, smallest_image_size=8, mean=(0.5,) * 3, std=(0.5,) * 3,
    )

def wrong(split):
    return {**{c: SIZES[split] // 7 for c in CLASSES}, "happy": 9}

@hookimpl
def ferbench_register_datasets():
    return [
        dataset("tiny", 1),
        dataset("tiny-more", 2),
        dataset("tiny-wrong", 3, counts={split: wrong(split) for split in SIZES}),
        dataset("tiny-real", 4, embedded=False, identity=None, steps="ask for it",
                locate=lambda folder: folder if (folder / "tiny-real").is_dir() else None),
    ]

@hookimpl
def ferbench_register_backbones():
    return [backbone("tinynet", network, "5"), backbone("misfit", misfit, "1")]
"""

Call = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a plugin file and settings of its own."""
    (tmp_path / "tiny_plugin.py").write_text(PLUGIN, "utf-8")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERBENCH_STORE", str(tmp_path / "board.sqlite"))
    monkeypatch.setenv("FERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FERBENCH_DEVICE", "cpu")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def ferbench_(home: Path) -> Call:
    """Calls the command line in this process with the plugin file; `code` is the exit code that is expected."""

    def call(*arguments: str, code: int = 0, plugin: bool = True) -> Result:
        extra = ("--plugin", "tiny_plugin.py") if plugin else ()
        result = CliRunner().invoke(root, [*extra, *arguments], prog_name="ferbench")
        assert result.exit_code == code, result.output
        assert code == 2 or "Traceback" not in result.output
        return result

    return call


def in_process(home: Path, *arguments: str, **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}  # type: ignore[dict-item]
    command = [sys.executable, "-m", "ferbench", "--plugin", "tiny_plugin.py", *arguments]
    return subprocess.Popen(
        command, cwd=home, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )  # type: ignore[call-overload, no-any-return]


def on_terminal(home: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of a command whose stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ferbench", "--plugin", "tiny_plugin.py", *arguments]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    with subprocess.Popen(command, cwd=home, env=settings, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        output = b""
        try:
            while chunk := os.read(ours, 65_536):
                output += chunk
        except OSError:  # Linux's way of saying that the other end is closed
            pass
    os.close(ours)
    return process.returncode, output.decode()


RUN = ("run", "-b", "tinynet", "-t", "tiny", "--weights", "random")


def entries(result: Result) -> list[dict[str, object]]:
    return [entry for board in json.loads(result.stdout)["boards"] for entry in board["entries"]]


# --- help -------------------------------------------------------------------------------------------------------------


def test_help_imports_click_and_nothing_heavy() -> None:
    code = (
        "import sys\nfrom ferbench.cli import root\n"
        "try: root.main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted(name for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].strip("[]").replace("'", "").split(", "))
    assert "Usage: ferbench" in done.stdout or "Usage:" in done.stdout
    assert "ferbench.cli.run" in loaded
    heavy = {"torch", "sqlalchemy", "numpy", "rich", "timm", "transformers", "platformdirs", "ferbench_plugins"}
    assert not {name.split(".")[0] for name in loaded} & heavy
    assert not loaded & {"ferbench.catalog", "ferbench.engine", "ferbench.settings"}


def test_the_commands_are_these_and_each_explains_itself(ferbench_: Call) -> None:
    assert sorted(root.commands) == [
        *("cache", "compare", "datasets", "doctor", "ensemble", "export", "leaderboard", "merge", "plan", "plugins"),
        *("predict", "predictions", "publish", "run", "snapshot", "speed", "verify"),
    ]
    for name in root.commands:
        assert "Usage: ferbench" in ferbench_(name, "--help").stdout
    assert ferbench_("--version").stdout.startswith("ferbench 0.")


# --- run --------------------------------------------------------------------------------------------------------------


def test_run_says_what_it_does_and_shows_the_board(ferbench_: Call) -> None:
    result = ferbench_(*RUN, "-s", "cascade", "-s", "source-only", "-a", "tiny-more", "--seed", "0,1")
    lines = result.stdout.splitlines()
    assert lines[0] == "Data: tiny-more then tiny (as named) · store board.sqlite"
    # Two cells a seed; source-only is exactly the cascade's first stage.
    assert lines[1].startswith("4 cells · 4 stages to train (2 more shared) · 128 images · ")
    assert [line.split("  ")[0] for line in lines if line.startswith("stage ")] == [
        f"stage {n}/4" for n in (1, 2, 3, 4)
    ]
    assert sum(line.startswith("finished ") for line in lines) == 4
    assert any(line.startswith("4 finished · wall time ") and "peak memory" in line for line in lines)
    assert any("tiny te · n 35 · basic7" in line and line.endswith("synthetic") for line in lines)
    assert any("majority" in line and line.rstrip().endswith("14.3") for line in lines)
    assert "\x1b" not in result.output


def test_a_finished_command_trains_nothing_until_it_is_forced(ferbench_: Call) -> None:
    first = ferbench_(*RUN, "-s", "target-only")
    again = ferbench_(*RUN, "-s", "target-only")
    assert "1 cell, 1 there already · nothing to train" in again.stdout
    assert "stage 1" not in again.stdout
    assert "0 finished · 1 there already" in again.stdout
    assert again.stdout.split("\n\n", 1)[1] == first.stdout.split("\n\n", 1)[1]
    forced = ferbench_(*RUN, "-s", "target-only", "--force")
    assert "stage 1/1" in forced.stdout


def test_json_of_run_is_the_leaderboard_of_its_boards(ferbench_: Call) -> None:
    ferbench_("run", "-b", "tinynet", "-t", "tiny-more", "--weights", "random", "-s", "target-only")
    result = ferbench_(*RUN, "-s", "target-only", "--seed", "3", "--json")
    boards = json.loads(result.stdout)["boards"]
    assert [board["target"] for board in boards] == ["tiny"]
    assert result.stderr.startswith("Data: tiny (as named)")
    everything = json.loads(ferbench_("leaderboard", "--json").stdout)["boards"]
    assert [board["target"] for board in everything] == ["tiny", "tiny-more"]
    assert boards == everything[:1] == json.loads(ferbench_("leaderboard", "-t", "tiny", "--json").stdout)["boards"]
    assert boards[0]["entries"][0]["seeds"] == [3]
    assert 0 <= boards[0]["entries"][0]["accuracy"]["mean"] <= 1


def test_rows_of_several_recipes_can_be_told_apart(ferbench_: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ("-s", "cascade", "-a", "tiny-more", "--set", "lr=0.01,0.001")
    shown = ferbench_(*RUN, *arguments, "--set", "images_seen=64", "--set", "stage2.image_size=16").stdout
    notes = re.findall(r"! lr ([0-9.]+)\b", shown)
    assert sorted(notes) == ["0.001", "0.01"]
    found = entries(ferbench_("leaderboard", "--json"))
    assert sorted(entry["recipe"]["lr"] for entry in found) == [0.001, 0.01]  # type: ignore[index]
    for entry in found:
        assert (entry["image_size"], entry["stage_changes"]) == (16, {"stage2.image_size": 16})
        lines = ferbench_("predictions", str(entry["row"])).stdout.splitlines()
        (line,) = [line for line in lines if line.startswith("recipe: ")]
        said = dict(fact.split(" ") for fact in line.removeprefix("recipe: ").split("; "))
        assert said["images_seen"] == "64"
        assert said["stage2.image_size"] == "16"
        assert said.get("lr", "0.01") == str(entry["recipe"]["lr"])  # type: ignore[index]


def test_a_failed_cell_is_one_line_and_the_rest_goes_on(ferbench_: Call) -> None:
    arguments = ("run", "-b", "misfit", "-b", "tinynet", "-t", "tiny", "--weights", "random", "-s", "target-only")
    result = ferbench_(*arguments, code=1)
    failed = [line for line in result.stdout.splitlines() if line.startswith("failed ")]
    assert len(failed) == 2  # when it happened, and on the board
    assert "misfit · target-only · on tiny · seed 0: RuntimeError" in failed[0]
    assert "1 finished · 1 failed" in result.stdout
    assert [entry["backbone"] for entry in entries(ferbench_("leaderboard", "--json"))] == ["tinynet"]
    debugged = CliRunner().invoke(root, ["--plugin", "tiny_plugin.py", *arguments, "--debug"])
    assert debugged.exit_code == 1
    assert "Traceback" in debugged.stderr


def test_missing_weights_are_a_warning_on_stderr_after_the_first_line(ferbench_: Call) -> None:
    result = ferbench_("run", "-b", "tinynet", "-t", "tiny", "-s", "target-only")
    assert result.output.startswith("Data: ")
    assert result.stderr.count("warning: no pretrained weights of tinynet") == 1
    assert "random weights: no pretrained ones found" in result.stdout


def test_real_data_on_a_slow_machine_needs_a_yes(ferbench_: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "data/tiny-real").mkdir()
    monkeypatch.setattr(run_command, "ASK_FROM_SECONDS", -1)
    arguments = ("run", "-b", "tinynet", "-t", "tiny-real", "--weights", "random", "-s", "target-only")
    refused = ferbench_(*arguments, code=2)
    assert "--yes" in refused.stderr
    assert "stage 1" not in refused.stdout
    assert "1 finished" in ferbench_(*arguments, "--yes").stdout
    # Synthetic data is never asked about.
    assert "1 finished" in ferbench_(*RUN, "-s", "target-only").stdout


def test_a_terminal_gets_a_bar_that_goes_away(home: Path) -> None:
    arguments = ("run", "-b", "tinynet", "-t", "tiny", "-s", "target-only", "--set", "images_seen=160")
    code, output = on_terminal(home, *arguments, TERM="xterm", TINY_SLEEP="0.06")
    assert code == 0
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", output)]
    assert lines[0].startswith("Data: tiny (as named)")
    moving = [line for line in lines if "━" in line]
    assert moving
    assert all(len(part) <= 80 for line in moving for part in line.split("\n"))
    assert any("images/s" in line and "in all" in line for line in moving)
    kept = [line for line in lines if line.startswith(("warning: ", "stage ", "finished ", "1 finished"))]
    assert [line.split()[0] for line in kept] == ["warning:", "stage", "finished", "1"]
    # The cursor is given back.
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h")


def test_dry_run_is_the_plan(ferbench_: Call, home: Path) -> None:
    asked = (*RUN[1:], "-s", "target-only")
    assert ferbench_("run", *asked, "--dry-run").stdout == ferbench_("plan", *asked).stdout
    assert not (home / "board.sqlite").exists()


def test_ctrl_c_leaves_what_the_same_command_goes_on_from(home: Path) -> None:
    arguments = (*RUN, "-s", "cascade", "-a", "tiny-more")
    process = in_process(home, *arguments, env={"TINY_SLEEP": "0.05"})
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("stage 2/2"):
            process.send_signal(signal.SIGINT)
            break
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.strip() == "stopped: the same command goes on from here"
    assert "finished" not in output
    with open_store(str(home / "board.sqlite"), read_only=True) as store:
        before = store.speeds()
        assert len(before) == 1
    process = in_process(home, *arguments)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    # Of its 32 images, those of the steps that were done before the signal came are not trained on again.
    assert re.search(r"1 stage to train \(1 done\) · (32|24|16|8) images", output)
    assert "stage 1/1  tinynet · tiny · " in output
    with open_store(str(home / "board.sqlite"), read_only=True) as store:
        assert before[0] in store.speeds()
        assert len(store.speeds()) == 2
        assert [run.status for run in store.runs()] == ["finished"]


# --- axes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", (0,)), ("0,1,2", (0, 1, 2)), ("0-4", (0, 1, 2, 3, 4)), ("7, 1-2", (7, 1, 2))]
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert Seeds().convert(text, None, None) == seeds


def planned(ferbench_: Call, *arguments: str) -> dict[str, Any]:
    plan = json.loads(ferbench_("plan", *arguments, "--json").stdout)
    assert isinstance(plan, dict)
    return plan


def test_plan_json_has_its_fields_and_counts(ferbench_: Call) -> None:
    asked = (*RUN[1:], "-s", "cascade", "-s", "source-only", "-s", "target-only", "-a", "tiny-more", "--seed", "0-2")
    plan = planned(ferbench_, *asked)
    left = plan.pop("left")
    assert plan.pop("critical_path") == {
        "stages": [left[0]["fingerprint"], left[1]["fingerprint"]],
        "images": 64,
        "seconds": None,
    }
    assert (plan.pop("kept_checkpoint_bytes"), plan.pop("peak_checkpoint_bytes")) == (None, None)
    assert [stage["shared_by"] for stage in left] == [2, 1] * 3 + [1] * 3
    assert sum(stage["images"] for stage in left) == plan["unique_images"]
    assert plan == {
        "cells": 9,
        "stages": 12,
        "unique_stages": 9,
        "done_stages": 0,
        "images": 3 * (64 + 32 + 64),
        "unique_images": 3 * (64 + 64),
        "seconds": None,
        "checkpoint_bytes": None,
        "peak_memory_bytes": None,
        "tries": 0,
    }
    ferbench_("run", *asked[:6], "-s", "source-only", "-a", "tiny-more", "--seed", "1")
    plan = planned(ferbench_, *asked)
    assert plan["done_stages"] == 1
    assert plan["seconds"] is not None  # one speed was measured, and all stages are of its kind
    assert plan["seconds"] > 0


def test_calibration_measures_what_the_store_does_not_know(ferbench_: Call) -> None:
    asked = (*RUN[1:], "-s", "target-only", "--set", "images_seen=320")
    assert planned(ferbench_, *asked)["seconds"] is None
    seconds = planned(ferbench_, *asked, "--calibrate")["seconds"]
    assert seconds is not None
    assert 0 < seconds < 60


def test_plan_in_words(ferbench_: Call) -> None:
    text = ferbench_("plan", *RUN[1:], "-s", "target-only", "--seed", "0-1").stdout
    assert "cells       2\n" in text
    assert "time        unknown, no speed was measured here yet, on cpu" in text
    assert "tinynet · 16 px\n2 x  tiny · all layers      64      1  unknown  unknown\n" in text


def test_calibrated_plans_know_memory_and_disk(ferbench_: Call) -> None:
    asked = ("-s", "target-only", "-s", "linear-probe", "--set", "images_seen=320", "--calibrate")
    plan = planned(ferbench_, *RUN[1:], *asked)
    assert plan["peak_memory_bytes"] > 10**6
    assert plan["kept_checkpoint_bytes"] == plan["peak_checkpoint_bytes"] == plan["checkpoint_bytes"] > 1_000
    assert [stage["trained"] for stage in plan["left"]] == ["all", "head on features"]
    assert all(stage["calibrated"] for stage in plan["left"])
    text = ferbench_("plan", *RUN[1:], *asked).stdout
    assert "~: from a few steps just now" in text and "unknown" not in text.replace("~", "")


def test_estimate_and_truth_are_told_together(ferbench_: Call) -> None:
    asked = (*RUN, "-s", "target-only", "--set", "images_seen=320")
    text = ferbench_(*asked).stdout
    # Measured with a few steps before, since no stage of this kind was trained here yet.
    assert re.search(r"\n  trained 320 images in [^()]+ \(estimated [^()]+\), [\d,.]+ images/s, loss", text)
    assert re.search(r"\n1 stage estimated .+, took .+\n1 finished · wall time ", text)
    assert max(len(line) for line in text.splitlines() if "estimated" in line) <= 80
    assert "estimated" not in ferbench_(*asked).stdout


def test_a_part_that_the_backbone_lacks_is_refused_before_anything_is_trained(ferbench_: Call, home: Path) -> None:
    for command in ("plan", "run"):
        result = ferbench_(command, *RUN[1:], "-s", "target-only", "--set", "trainable=heads", code=2)
        assert "error: backbone tinynet: trainable=heads: it is all, head or a module of the backbone" in result.stderr
        assert result.stderr.count("\n") == 1
    assert "stage 1" not in result.stdout


def test_axes_multiply_and_repeated_values_are_one_axis(ferbench_: Call) -> None:
    asked = (*RUN[1:], "-s", "target-only", "--seed", "0", "--seed", "1")
    assert planned(ferbench_, *asked, "--set", "lr=0.1,0.2", "--set", "lr=0.3")["cells"] == 6
    assert planned(ferbench_, *asked, "--set", "stage1.lr=0.1", "--set", "lr=0.3")["cells"] == 2


def test_options_override_what_a_matrix_file_names(ferbench_: Call, home: Path) -> None:
    (home / "matrix.toml").write_text(
        'backbones = ["tinynet"]\nstrategies = ["cascade", "target-only"]\ntargets = ["tiny"]\n'
        'auxiliaries = ["tiny-more"]\nseeds = [0, 1, 2]\nweights = ["random"]\n'
        "[recipe]\nimages_seen = 128\nlr = [0.1, 0.2]\n"
        '[settings]\nstore = "from-toml.sqlite"\n'
    )
    file = ("--matrix", "matrix.toml")
    assert planned(ferbench_, *file)["cells"] == 12
    assert planned(ferbench_, *file)["images"] == 12 * 128
    assert planned(ferbench_, *file, "-s", "target-only", "--seed", "5", "--set", "lr=0.5")["cells"] == 1
    # 42 training samples each: two passes over both, in whole batches of 8 for each stage.
    assert planned(ferbench_, *file, "-s", "target-only", "--seed", "5", "--epochs", "2")["images"] == 2 * 168
    assert planned(ferbench_, *file, "--set", "images_seen=64")["images"] == 12 * 64


def test_settings_go_flag_environment_file_default(
    ferbench_: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "matrix.toml").write_text('[settings]\nstore = "from-toml.sqlite"\n')
    asked = ("plan", *RUN[1:], "-s", "target-only", "--matrix", "matrix.toml")

    def store(*arguments: str) -> str:
        return ferbench_(*arguments).stdout.splitlines()[0].partition("store ")[2]

    assert store(*asked, "--store", "flag.sqlite") == "flag.sqlite"
    assert store("--store", "before.sqlite", *asked) == "before.sqlite"
    assert store("--store", "before.sqlite", *asked, "--store", "after.sqlite") == "after.sqlite"
    assert store(*asked) == "board.sqlite"
    monkeypatch.delenv("FERBENCH_STORE")
    assert store(*asked) == "from-toml.sqlite"
    assert store(*asked[:-2]).endswith("leaderboard.sqlite")


def test_a_password_in_a_url_is_not_printed(ferbench_: Call) -> None:
    result = ferbench_("leaderboard", "--store", "mysql://me:secret@host/name", code=1)
    assert "secret" not in result.output
    asked = ("plan", *RUN[1:], "-s", "target-only", "--store", "mysql://me:secret@host/name")
    result = ferbench_(*asked, code=1)
    assert "store mysql://me:***@host/name" in result.stdout
    assert "secret" not in result.output


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("rum", 2, "no command 'rum': did you mean run?"),
        ("datasets chek", 2, "did you mean check?"),
        ("run --sed 3", 2, "'--seed'"),
        ("run -s cascade", 2, "such as --backbone"),
        ("run -b tinynet", 2, "such as --strategy"),
        ("run -b tinynett -s target-only -t tiny", 2, "did you mean tinynet?"),
        ("run -b tinynet -s target-olny -t tiny", 2, "did you mean target-only"),
        ("run -b tinynet -s target-only -t tiney", 2, "did you mean tiny"),
        ("run -b tinynet -s target-only -t tiny --set lrr=1", 2, "did you mean lr?"),
        ("run -b tinynet -s target-only -t tiny --set lr", 2, "key=value"),
        ("run -b tinynet -s target-only -t tiny --seed 4-2", 2, "backwards"),
        ("run -b tinynet -s target-only -t tiny --seed x", 2, "whole numbers"),
        ("run -b tinynet -s target-only -t tiny --epochs 0", 2, "--epochs"),
        ("run -b tinynet -s target-only -t tiny --weights pretraned", 1, "pretraned"),
        ("run -b tinynet -s target-only -t tiny --weights pretrained", 1, "cannot be had"),
        ("run -b tinynet -s target-only -t tiny --device cuda:77", 2, "cuda:77"),
        ("run -b tinynet -s target-only -t tiny-real --weights random", 1, "ask for it"),
        ("run -b tinynet -s cascade -t tiny", 2, "-a"),
        ("run --matrix nowhere.toml -b tinynet -s cascade", 2, "nowhere.toml"),
        ("plan --plugin nowhere.py -b tinynet -s cascade", 1, "nowhere.py"),
        ("predictions abcdef", 1, "no store"),
        ("datasets where tiney", 2, "did you mean tiny"),
        ("datasets check tiny-real", 1, "ask for it"),
        ("leaderboard --store data", 1, "is a folder"),
    ],
)
def test_an_error_is_one_line_with_its_code(ferbench_: Call, line: str, code: int, said: str) -> None:
    result = ferbench_(*line.split(), code=code)
    errors = result.stderr.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert said in errors[0]
    assert "Traceback (most recent call last)" in ferbench_debug(*line.split())


def ferbench_debug(*arguments: str) -> str:
    return CliRunner().invoke(root, ["--plugin", "tiny_plugin.py", *arguments, "--debug"]).stderr


def test_what_nobody_expected_is_one_line_too(ferbench_: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise KeyError("what")

    monkeypatch.setattr("ferbench.catalog.Catalog.load", broken)
    result = ferbench_("plugins", code=1)
    assert result.stderr == "error: unexpected KeyError: 'what'; run again with --debug to see where it comes from\n"
    assert "in broken" in ferbench_debug("plugins")


def test_a_broken_plugin_is_one_warning_and_takes_nothing_down(
    ferbench_: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = home / "site/stranger-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ferbench]\nstranger = no_such_module_here\n")
    monkeypatch.syspath_prepend(str(home / "site"))
    result = ferbench_("plan", *RUN[1:], "-s", "target-only")
    assert result.output.startswith("Data: ")
    assert [line for line in result.stderr.splitlines() if line.startswith("warning: ")] == result.stderr.splitlines()
    assert result.stderr.count("plugin stranger (stranger 1.0) could not be imported") == 1
    listing = ferbench_("plugins").stdout
    assert "stranger  stranger 1.0  broken" in listing
    views = json.loads(ferbench_("plugins", "--json").stdout)["plugins"]
    assert [view["name"] for view in views if view["broken"]] == ["stranger"]
    assert not json.loads(ferbench_("doctor", "--json", code=1).stdout)["ok"]


# --- what is stored ---------------------------------------------------------------------------------------------------


def test_an_empty_store_is_one_helpful_line(ferbench_: Call, home: Path) -> None:
    result = ferbench_("leaderboard")
    assert len(result.stdout.splitlines()) == 1
    assert "ferbench run" in result.stdout
    assert json.loads(ferbench_("leaderboard", "--json").stdout) == {"boards": []}
    assert not (home / "board.sqlite").exists()


def test_reading_commands_leave_the_store_alone(ferbench_: Call, home: Path) -> None:
    ferbench_(*RUN, "-s", "target-only")
    with open_store(str(home / "board.sqlite")):
        pass
    before = (home / "board.sqlite").read_bytes()
    row = str(entries(ferbench_("leaderboard", "--json"))[0]["row"])
    ferbench_("leaderboard")
    ferbench_("predictions", row)
    ferbench_("plan", *RUN[1:], "-s", "target-only")
    assert (home / "board.sqlite").read_bytes() == before
    assert not (home / "board.sqlite-wal").exists() or (home / "board.sqlite-wal").stat().st_size == 0


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_predictions_as_csv_give_the_boards_numbers_again(ferbench_: Call) -> None:
    ferbench_(*RUN, "-s", "target-only", "--seed", "0,1", "--set", "images_seen=640", "--set", "lr=0.1")
    entry = entries(ferbench_("leaderboard", "--json"))[0]
    text = ferbench_("predictions", str(entry["row"]), "--csv").stdout
    assert text.splitlines()[0] == "seed,id,group,label,predicted," + ",".join(f"p_{name}" for name in CLASSES)
    rows = table(text)
    assert len(rows) == 2 * REPORTED
    for row in rows:
        number = int(row["id"].removeprefix("te-"))
        assert row["label"] == CLASSES[number % 7]
        assert row["group"] == f"film{number % 5}"
        probabilities = np.array([float(row[f"p_{name}"]) for name in CLASSES])
        assert abs(probabilities.sum() - 1) < 1e-5
        assert row["predicted"] == CLASSES[probabilities.argmax()]
        assert all(len(row[f"p_{name}"].partition(".")[2]) == 6 for name in CLASSES)
    accuracies = []
    for seed in ("0", "1"):
        own = [row for row in rows if row["seed"] == seed]
        accuracies.append(accuracy_score([row["label"] for row in own], [row["predicted"] for row in own]))
    assert entry["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))  # type: ignore[index]
    chosen = table(ferbench_("predictions", str(entry["row"])[:6], "--csv", "--split", "select").stdout)
    assert {row["id"] for row in chosen} == {f"va-{number}" for number in range(14)}


def test_predictions_in_words_show_recall_and_confusion(ferbench_: Call) -> None:
    ferbench_(*RUN, "-s", "target-only", "--set", "images_seen=640", "--set", "lr=0.1")
    row = str(entries(ferbench_("leaderboard", "--json"))[0]["row"])
    rows = table(ferbench_("predictions", row, "--csv").stdout)
    recalls = recall_score([r["label"] for r in rows], [r["predicted"] for r in rows], average=None, labels=CLASSES)
    lines = ferbench_("predictions", row).stdout.splitlines()
    shown = {words[0]: words[1:] for line in lines if (words := line.split())}
    start = lines.index("rows: truth, columns: predicted")
    first = {words[0]: words[1:] for line in lines[:start] if (words := line.split())}
    for name, recall in zip(CLASSES, recalls, strict=True):
        assert first[name][0] == f"{100 * recall:.1f}"
        assert first[name][3] == "5"
        assert sum(map(int, shown[name])) == 5


def test_a_broken_pipe_is_silent(ferbench_: Call, home: Path) -> None:
    ferbench_(*RUN, "-s", "target-only", "--seed", "0-19", "--set", "images_seen=8")
    row = str(entries(ferbench_("leaderboard", "--json"))[0]["row"])
    process = in_process(home, "predictions", row, "--csv")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("seed,id,")
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(timeout=60)


@pytest.mark.parametrize(("variable", "coloured"), [("TERM=xterm", True), ("NO_COLOR=1", False), ("TERM=dumb", False)])
def test_colours_are_for_terminals_that_want_them(ferbench_: Call, home: Path, variable: str, coloured: bool) -> None:
    ferbench_(*RUN, "-s", "target-only", "--set", "images_seen=8")
    name, _, value = variable.partition("=")
    code, output = on_terminal(home, "leaderboard", **{"TERM": "xterm", name: value})
    assert code == 0
    assert "target-only" in output
    assert ("\x1b[" in output) is coloured


# --- datasets, doctor, completion -------------------------------------------------------------------------------------


def test_datasets_are_listed_with_roles_and_place(ferbench_: Call, home: Path) -> None:
    text = ferbench_("datasets", "list").stdout
    assert "tr (train), va (select), te (report)" in text
    views = {view["name"]: view for view in json.loads(ferbench_("datasets", "list", "--json").stdout)["datasets"]}
    assert views["tiny"]["state"] == "embedded"
    assert views["tiny-real"]["state"] == "not found"
    assert "Ask for it." in ferbench_("datasets", "where", "tiny-real").stdout
    (home / "data/tiny-real").mkdir()
    assert says(ferbench_("datasets", "where", "tiny-real").stdout, f"found: {home / 'data'}")
    elsewhere = ferbench_("datasets", "where", "tiny-real", "--data-dir", str(home / "cache")).stdout
    assert "not found" in elsewhere


def told(ferbench_: Call, name: str) -> dict[str, object]:
    """The facts of the one component of a name, as JSON."""
    (view,) = json.loads(ferbench_("plugins", name, "--json").stdout)["components"]
    return {**view["facts"], "kind": view["kind"], "plugin": view["plugin"]}


def test_plugins_name_shows_a_component_and_its_licence(ferbench_: Call) -> None:
    text = " ".join(ferbench_("plugins", "alexnet").stdout.split())
    for words in (
        "backbone alexnet",
        "Krizhevsky, One weird trick",
        "BSD-3-Clause",
        "image size 224",
        "recipe lr 0.003",
    ):
        assert words in text
    assert "licence" not in ferbench_("plugins").stdout
    tiny = told(ferbench_, "tiny")
    assert tiny["kind"] == "dataset" and str(tiny["plugin"]).startswith("tiny_plugin (")
    assert tiny["licence"] == "CC0" and tiny["classes"] == list(CLASSES) and tiny["splits"] == ["tr", "va", "te"]
    assert tiny["roles"] == {"train": "tr", "select": "va", "report": "te"}
    assert tiny["published_counts"] == {"tr": 42, "va": 14, "te": 35}
    assert tiny["recipe"] == {"images_seen": 64, "batch_size": 8, "image_size": 16}
    assert "citation not stated" in " ".join(ferbench_("plugins", "tiny").stdout.split())
    assert "Kumar" in str(told(ferbench_, "lp-ft")["citation"])
    both = told(ferbench_, "cascade+lp-ft")
    assert "cascade (" in str(both["plugin"]) and "lp_ft (" in str(both["plugin"]) and "Ng" in str(both["citation"])


def test_plugins_name_knows_members_of_families_and_families_and_plugins(ferbench_: Call) -> None:
    member = told(ferbench_, "tv/resnet18")
    assert (member["kind"], member["image_size"], member["head"]) == ("backbone", 224, "fc")
    assert "BSD-3-Clause" in str(member["licence"]) and "torchvision_family" in str(member["plugin"])
    for name in ("timm/", "timm/…"):
        assert "backbone timm/…" in ferbench_("plugins", name).stdout
    assert "backbone vgg11, vgg11_bn" in ferbench_("plugins", "vgg").stdout
    found = json.loads(ferbench_("plugins", "vgg", "--json").stdout)
    assert [view["name"] for view in found["plugins"]] == ["vgg"] and found["components"] == []


def test_plugins_as_json_hold_citations_and_licences(ferbench_: Call) -> None:
    views = json.loads(ferbench_("plugins", "--json").stdout)["plugins"]
    provided = {each["name"]: each for view in views for each in view["provides"]}
    assert provided["tiny"]["licence"] == "CC0"
    assert "Kaggle" in provided["fer2013"]["licence"] and "Goodfellow" in provided["fer2013"]["citation"]
    assert "arXiv" in provided["alexnet"]["citation"] and "arXiv" in provided["lp-ft"]["citation"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cascad", "no component or plugin named 'cascad': did you mean cascade"),
        ("tm/resnet18", "did you mean timm/resnet18"),
        ("tv/resnt18", "no backbone named 'tv/resnt18': did you mean tv/resnet18"),
        ("cascade+nothing", "no component or plugin named 'cascade+nothing'"),
        ("cascade+", "no component or plugin named 'cascade+'"),
    ],
)
def test_plugins_of_an_unknown_name_is_one_line(ferbench_: Call, name: str, said: str) -> None:
    result = ferbench_("plugins", name, code=2)
    assert said in result.stderr and len(result.stderr.splitlines()) == 1


def test_datasets_check_says_each_count_once(ferbench_: Call, home: Path) -> None:
    for shade, split in enumerate(("Train", "Val")):
        folder = home / f"data/sfew/{split}/{split}_Aligned_Faces/Angry"
        folder.mkdir(parents=True)
        Image.new("L", (8, 8), shade).save(folder / f"Film{split}_000519240_00000005.png")
    text = " ".join(ferbench_("datasets", "check", "sfew", "--data-dir", "data", code=1).stdout.split())
    assert text.count("fault: Train has 1 image here and 891 as published") == 1
    assert text.count("891 as published") == 1
    # Test plays no role and need not be in every copy.
    assert "warning:" not in text and "Test" not in text
    assert text.count("compare scores only at the same n") == 2


def test_datasets_check_counts_and_names_faults(ferbench_: Call) -> None:
    text = ferbench_("datasets", "check", "tiny").stdout
    assert "ok: 3 splits, all counts as published" in text
    assert "in all            42           14           35" in text
    faulty = ferbench_("datasets", "check", "tiny", "tiny-wrong", code=1).stdout
    assert faulty.count("fault: ") == 3
    assert "6 of 9" in faulty
    report = json.loads(ferbench_("datasets", "check", "tiny-wrong", "--json", code=1).stdout)["datasets"]
    assert report[0]["splits"][0]["counts"]["happy"] == 6
    assert "happy 6 for 9" in report[0]["splits"][0]["fault"]


def test_doctor_tells_a_sound_machine_from_a_broken_one(
    ferbench_: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ferbench_(*RUN, "-s", "target-only", "--set", "images_seen=8")
    report = json.loads(ferbench_("doctor", "--json").stdout)
    found = {finding["name"]: finding["text"] for finding in report["findings"]}
    assert report["ok"]
    assert found["store"] == f"{home / 'board.sqlite'}, write-ahead log, 1 finished run"
    assert found["python"].startswith(sys.version.split()[0])
    assert "nothing is broken" in ferbench_("doctor").stdout

    def without_onnx(name: str) -> str:
        if name == "onnx":
            raise importlib.metadata.PackageNotFoundError(name)
        return "7.8"

    with monkeypatch.context() as patched:
        patched.setattr(importlib.metadata, "version", without_onnx)
        said = ferbench_("doctor").stdout
    assert "export: onnx not installed; pip install 'ferbench[export]'" in said and "faces (opencv-python" in said
    (home / "file").write_text("")
    broken = ferbench_("doctor", "--store", "file/board.sqlite", code=1).stdout
    assert "1 broken" in broken
    assert "broken: " in broken


def completed(arguments: Sequence[str], incomplete: str) -> list[str]:
    completer = ShellComplete(root, {}, "ferbench", "_FERBENCH_COMPLETE")
    return [item.value for item in completer.get_completions(list(arguments), incomplete)]


def test_completion_knows_the_names_that_plugins_provide(home: Path) -> None:
    plugin = ["--plugin", "tiny_plugin.py", "run"]
    assert completed([*plugin, "-b"], "tiny") == ["tinynet"]
    assert "timm/" in completed([*plugin, "-b"], "ti")
    assert completed([*plugin, "-s"], "casc") == ["cascade"]
    assert completed([*plugin, "-s"], "cascade+linear") == ["cascade+linear-probe"]
    assert completed([*plugin, "-t"], "tiny-r") == ["tiny-real"]
    assert completed([*plugin, "-a"], "tiny,tiny-m") == ["tiny,tiny-more"]
    assert completed([], "lead") == ["leaderboard"]
    assert completed(["--plugin", "tiny_plugin.py", "plugins"], "tiny") == [
        "tinynet",
        "tiny",
        "tiny-more",
        "tiny-real",
        "tiny-wrong",
    ]
    assert completed(["plugins"], "cas") == ["cascade"]


# --- defaults ---------------------------------------------------------------------------------------------------------


def a_dataset(name: str, part: str, folder: Path | None, *, embedded: bool = False) -> Dataset:
    return Dataset(
        name, 1, CLASSES, ("tr",), {"train": "tr"}, lambda below: folder, lambda split, root: None,
        default_for=part, embedded=embedded,
    )  # fmt: skip  # type: ignore[arg-type]


def test_data_that_is_not_named_is_chosen_and_explained(tmp_path: Path) -> None:
    embedded = [a_dataset("e-a", "auxiliary", None, embedded=True), a_dataset("e-t", "target", None, embedded=True)]
    lost = [a_dataset("r-a", "auxiliary", None), a_dataset("r-t", "target", None)]
    found = [a_dataset("r-a", "auxiliary", tmp_path), a_dataset("r-t", "target", tmp_path)]
    choice = choose_data([*embedded, *lost], tmp_path)
    assert (choice.targets, choice.auxiliaries) == (("e-t",), (("e-a",),))
    assert choice.reason == (f"e-a then e-t (embedded synthetic faces, since r-a and r-t were not found in {tmp_path})")
    choice = choose_data([*embedded, found[0], lost[1]], tmp_path)
    assert choice.targets == ("e-t",)
    assert f"since r-t was not found in {tmp_path}" in choice.reason
    choice = choose_data([*embedded, *found], tmp_path)
    assert (choice.targets, choice.auxiliaries) == (("r-t",), (("r-a",),))
    assert choice.reason == f"r-a then r-t (found in {tmp_path})"
    choice = choose_data([*embedded, lost[0], found[1]], tmp_path, auxiliaries=[("x", "y")])
    assert (choice.targets, choice.auxiliaries) == (("r-t",), (("x", "y"),))
    choice = choose_data(embedded, tmp_path, targets=["t"])
    assert (choice.auxiliaries, choice.reason) == (((),), "t (as named)")
    with pytest.raises(UsageError, match="--target"):
        choose_data([], tmp_path)


def test_a_tuned_run_tries_the_same_values_everywhere_and_says_so(ferbench_: Call, home: Path) -> None:
    words = ["-b", "tinynet", "-s", "target-only", "-s", "cascade", "-t", "tiny", "-a", "tiny-more"]
    words += ["--weights", "random", "--set", "lr=0.01,0.1", "--set", "stage1.momentum=0.8,0.9", "--seed", "0,1"]
    assert "give --tune, too" in ferbench_("run", *words, "--tune-by", "uar", code=2).stderr
    assert (
        "tries are compared by one of accuracy" in ferbench_("run", *words, "--tune", "--tune-by", "f", code=2).stderr
    )
    words += ["--tune", "--tune-by", "uar"]
    planned = ferbench_("plan", *words).stdout
    assert re.search(r"^tries +8, to choose", planned, re.MULTILINE) and re.search(r"^cells +4", planned, re.MULTILINE)
    shown = ferbench_("run", *words).stdout
    assert "8 tries, 4 cells" in shown and shown.count("chosen  tinynet · ") == 2
    assert shown.count("uar on select,") == 2 and "4 finished" in shown
    (board,) = json.loads(ferbench_("leaderboard", "--json").stdout)["boards"]
    assert {entry["tries"] for entry in board["entries"]} == {4} and len(board["entries"]) == 2
    for entry in board["entries"]:
        assert entry["notes"][0].startswith("tuned: ") and "by uar on select (n 14, seed 1000000)" in entry["notes"][0]
    plan = json.loads(ferbench_("plan", *words, "--json").stdout)
    assert (plan["tries"], plan["cells"], plan["left"]) == (8, 4, [])
    assert "0 finished" in (again := ferbench_("run", *words).stdout) and "4 there already" in again


def test_a_matrix_file_may_be_tuned(ferbench_: Call, home: Path) -> None:
    text = 'backbones = ["tinynet"]\nstrategies = ["target-only"]\ntargets = ["tiny"]\nweights = ["random"]\n'
    (home / "tuned.toml").write_text(text + 'tune = { by = "nll", seed = 7 }\n[recipe]\nlr = [0.01, 0.1]\n', "utf-8")
    assert "by nll on select (n 14, seed 7)" in " ".join(ferbench_("run", "--matrix", "tuned.toml").stdout.split())
    (home / "wrong.toml").write_text(text + 'tune = { on = "nll" }\n[recipe]\nlr = [0.01, 0.1]\n', "utf-8")
    assert "tune is true, or { by = METRIC" in ferbench_("run", "--matrix", "wrong.toml", code=2).stderr
