"""`ferbench ensemble` and the calibration of `ferbench predictions`, as users meet them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import log_loss

from ferbench.cli import root
from ferbench.evidence import Calibration
from ferbench.publish.reliability import temperature_words
from ferbench.records import Run
from ferbench.reliability import is_bound
from ferbench.store import open_store

PLUGIN = """
from tiny import TinyPlugin, bar_dataset, tiny_backbone

hooks = TinyPlugin([bar_dataset("small", 2, groups=True), bar_dataset("big", 1)], [tiny_backbone()])
ferbench_register_datasets = hooks.ferbench_register_datasets
ferbench_register_backbones = hooks.ferbench_register_backbones
"""

CELLS = ("-b", "tiny", "-t", "small", "-a", "big", "--weights", "random", "--seed", "0,1", "--set", "images_seen=32")

Call = Callable[..., Result]


@pytest.fixture
def ferbench_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls the command line in this process; `code` is the exit code that is expected."""
    (tmp_path / "tiny_plugin.py").write_text(PLUGIN, "utf-8")
    monkeypatch.chdir(tmp_path)
    for name, value in {"STORE": "board.sqlite", "CACHE": "cache", "DATA": "data", "DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"FERBENCH_{name}", value)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, ["--plugin", "tiny_plugin.py", *arguments], prog_name="ferbench")
        assert result.exit_code == code, result.output
        if arguments[0] in ("ensemble", "predictions") and not {"--csv", "--json"} & set(arguments):
            assert max(map(len, result.stdout.splitlines()), default=0) <= 80, result.stdout
        return result

    return call


@pytest.fixture
def rows(ferbench_: Call) -> dict[str, str]:
    """ROW by strategy, of rows with the seeds 0 and 1."""
    wanted = ("cascade", "target-only")
    strategies = [word for name in wanted for word in ("-s", name)]
    ferbench_("run", *strategies, *CELLS)
    entries = json.loads(ferbench_("leaderboard", "--json").stdout)["boards"][0]["entries"]
    return {entry["strategy"]: str(entry["row"]) for entry in entries}


def table(text: str) -> tuple[list[str], np.ndarray]:
    lines = list(csv.DictReader(io.StringIO(text)))
    names = [name for name in lines[0] if name.startswith("p_")]
    return [line["label"] for line in lines], np.array([[float(line[name]) for name in names] for line in lines])


def test_rows_are_averaged_and_shown_on_their_board(ferbench_: Call, rows: dict[str, str]) -> None:
    result = ferbench_("ensemble", rows["cascade"], rows["target-only"])
    first, *shown = result.stdout.splitlines()
    row = first.split()[1]
    assert first == f"row {row} · 2 x tiny · ensemble: seeds 0-1 made"
    assert any(row in line for line in shown) and f"mean of 2 rows: {', '.join(sorted(rows.values()))}" in result.stdout
    means = [table(ferbench_("predictions", each, "--csv").stdout)[1] for each in rows.values()]
    found = table(ferbench_("predictions", row, "--csv").stdout)[1]
    assert found == pytest.approx(np.mean(means, axis=0), abs=2e-6)
    assert "members: " in ferbench_("predictions", row).stdout

    again = ferbench_("ensemble", "--where", "backbone=tiny", "--where", "select_accuracy>=0", "--json")
    entries = json.loads(again.stdout)["boards"][0]["entries"]
    assert {entry["row"] for entry in entries} == {row, *rows.values()}
    assert "seeds 0-1 there already" in ferbench_("ensemble", "--where", "backbone=tiny").stdout
    over = ferbench_("ensemble", rows["cascade"], "--greedy", "--by", "uar").stdout.splitlines()[0]
    assert over.endswith("2 x tiny · greedy-ensemble: seed 0 made")
    # Its seed is a name alone: it is paired with no seed of another row, an ensemble by seeds with each.
    pairs = json.loads(ferbench_("compare", over.split()[1], row, rows["target-only"], "--json").stdout)["pairs"]
    assert [pair["paired_seeds"] for pair in pairs] == [False, False, True]

    # Commands that look at stages and checkpoints take a row that has none.
    assert json.loads(ferbench_("cache", "verify", "--json").stdout)["faults"] == []
    assert row in ferbench_("leaderboard").stdout
    assert "nothing to train" in ferbench_("plan", "-s", "cascade", *CELLS).stdout
    ferbench_("cache", "prune", "--to", "0", "--yes")
    lost = ferbench_("predictions", row, "--split", "te", code=1).stderr
    assert "cannot predict" in lost and "--force" in lost


def test_what_is_no_ensemble(ferbench_: Call, rows: dict[str, str]) -> None:
    assert "name the rows, or give --where" in ferbench_("ensemble", code=2).stderr
    assert "give --greedy, too" in ferbench_("ensemble", rows["cascade"], "--steps", "3", code=2).stderr
    peeked = ferbench_("ensemble", "--where", "accuracy>10%", code=2).stderr
    assert "would choose members by the samples that are reported on" in peeked
    assert "no finished row fits strategy=none" in ferbench_("ensemble", "--where", "strategy=none", code=2).stderr
    assert "no row" in ferbench_("ensemble", "abcdef", code=2).stderr
    assert (
        "there is no store at nowhere.sqlite" in ferbench_("ensemble", "ab", "--store", "nowhere.sqlite", code=1).stderr
    )


def test_calibration_is_shown_drawn_and_written(ferbench_: Call, rows: dict[str, str], tmp_path: Path) -> None:
    row = rows["cascade"]
    with open_store(str(tmp_path / "board.sqlite"), read_only=True) as store:
        runs: list[Run] = store.runs(row=row)
    lines = ferbench_("predictions", row, "--reliability").stdout.splitlines()
    for run in runs:
        calibration = run.calibration
        assert calibration is not None
        scores = {score.metric: score.value for score in run.scores}
        for name, nll, brier, ece in (
            ("as predicted", scores["nll"], scores["brier"], scores["ece"]),
            ("temperature-scaled", calibration.nll, calibration.brier, calibration.ece),
        ):
            assert [name, f"{nll:.3f}", f"{brier:.3f}", f"{100 * ece:.1f}"] in [
                [line[:18].strip(), *line[18:].split()] for line in lines
            ]
        assert f"temperature {calibration.temperature:.3g}, fitted on select (n 21)" in lines
        assert not is_bound(calibration.temperature)
    place = next(number for number, line in enumerate(lines) if line.startswith("sure %"))
    drawn = lines[place + 1 : place + 1 + sum(each.count > 0 for each in runs[0].reliability)]
    expected = [
        [
            str(b.count),
            f"{100 * b.confidence:.1f}",
            f"{100 * b.accuracy:.1f}",
            f"{100 * (b.accuracy - b.confidence):+.1f}",
        ]
        for b in runs[0].reliability
        if b.count
    ]
    assert [line.split()[1:5] for line in drawn] == expected
    assert all("│" in line for line in drawn)

    labels, plain = table(ferbench_("predictions", row, "--csv").stdout)
    _, scaled = table(ferbench_("predictions", row, "--csv", "--calibrated").stdout)
    assert (scaled.argmax(axis=1) == plain.argmax(axis=1)).all()
    half = len(plain) // 2
    by_hand = plain[:half] ** (1 / runs[0].calibration.temperature)
    assert scaled[:half] == pytest.approx(by_hand / by_hand.sum(axis=1, keepdims=True), abs=1e-4)
    names = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    truth = [names.index(label) for label in labels[:half]]
    normal = scaled[:half] / scaled[:half].sum(axis=1, keepdims=True)
    assert log_loss(truth, normal, labels=range(7)) == pytest.approx(runs[0].calibration.nll, abs=1e-3)
    assert "temperature-scaled: bars" in ferbench_("predictions", row, "--reliability", "--calibrated").stdout


def test_a_row_without_a_temperature_says_so(ferbench_: Call) -> None:
    """Select is what is reported, so that there is nothing apart to fit on."""
    ferbench_(
        "run", "-s", "target-only", "-b", "tiny", "-t", "small:select", "--weights", "random", "--set", "images_seen=64"
    )
    row = json.loads(ferbench_("leaderboard", "--json").stdout)["boards"][0]["entries"][0]["row"]
    assert "no temperature: there are no labelled select samples" in ferbench_("predictions", row).stdout
    assert (
        f"row {row}, seed 0 has no temperature" in ferbench_("predictions", row, "--csv", "--calibrated", code=1).stderr
    )
    assert "give one of them" in ferbench_("predictions", row, "--calibrated", code=2).stderr


def test_a_temperature_that_select_does_not_bound_is_called_so() -> None:
    words = temperature_words(Calibration(0.05, 21, 0, 0, 0))
    assert words.startswith("temperature 0.05, fitted on select (n 21), where it is an end of what is tried")
    assert "end" not in temperature_words(Calibration(1.5, 21, 0, 0, 0))
