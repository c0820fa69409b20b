"""`ferbench predictions --split` as users meet it: which samples a name stands for, and what is told about them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ferbench.cli import root

PLUGIN = """
import dataclasses
from ferbench import Samples
from tiny import CLASSES, TinyPlugin, bar_dataset, tiny_backbone

NAMES = {"Train": "tr", "Val": "va", "Test": "te", "Faces": "te"}

def contest():
    # As SFEW has it: no split to select on, and a Test without labels; Faces has a class more.
    base = bar_dataset("contest", 4, counts=(42, 14, 21), groups=True)

    def load(split, root):
        samples = base.load(NAMES[split], root)
        if split == "Test":
            return dataclasses.replace(samples, labels=None, warnings=("this copy has 21 of 372 images",))
        if split == "Faces":
            labels = samples.labels.copy()
            labels[:4] = len(CLASSES)
            return dataclasses.replace(samples, labels=labels)
        return samples

    return dataclasses.replace(
        base, classes=(*CLASSES, "contempt"), splits=tuple(NAMES), roles={"train": "Train", "report": "Val"},
        load=load, identity=None, embedded=False, locate=lambda folder: folder,
    )

hooks = TinyPlugin([contest(), bar_dataset("big", 1)], [tiny_backbone()])
ferbench_register_datasets = hooks.ferbench_register_datasets
ferbench_register_backbones = hooks.ferbench_register_backbones
"""

Call = Callable[..., Result]


@pytest.fixture
def ferbench_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls the command line in this process; `code` is the exit code that is expected."""
    (tmp_path / "contest_plugin.py").write_text(PLUGIN, "utf-8")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, value in {"STORE": "board.sqlite", "CACHE": "cache", "DATA": "data", "DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"FERBENCH_{name}", value if name == "DEVICE" else str(tmp_path / value))
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, ["--plugin", "contest_plugin.py", *arguments], prog_name="ferbench")
        assert result.exit_code == code, result.output
        return result

    return call


def row_of(ferbench_: Call, *arguments: str) -> str:
    """Runs a cell on `contest` and gives the name of its row."""
    ferbench_("run", "-b", "tiny", "-t", "contest", "--weights", "random", "--set", "images_seen=64", *arguments)
    boards = json.loads(ferbench_("leaderboard", "--json").stdout)["boards"]
    (entry,) = [entry for board in boards for entry in board["entries"]]
    return str(entry["row"])


def samples(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(result.stdout)))


def heading(result: Result) -> list[str]:
    lines = result.stdout.splitlines()
    return lines[: next(n for n, line in enumerate(lines) if line.startswith("recipe:"))]


def test_names_of_splits_in_any_case_and_roles(ferbench_: Call) -> None:
    row = row_of(ferbench_, "-s", "target-only")
    whole = samples(ferbench_("predictions", row, "--csv", "--split", "Train"))
    assert {each["id"] for each in whole} == {f"tr-{n}" for n in range(42)}
    for name in ("train", "TRAIN"):
        assert samples(ferbench_("predictions", row, "--csv", "--split", name)) == whole
    reported = samples(ferbench_("predictions", row, "--csv"))
    assert {each["id"] for each in reported} == {f"va-{n}" for n in range(14)}
    for name in ("report", "Report", "val", "Val"):
        assert samples(ferbench_("predictions", row, "--csv", "--split", name)) == reported
    # What is held out of Train is selected on: those samples of it, with the same answers.
    chosen = samples(ferbench_("predictions", row, "--csv", "--split", "select"))
    assert 0 < len(chosen) < 42
    of_whole = {each["id"]: each for each in whole}
    for each in chosen:
        # Batches of other sizes may differ in the last digit.
        assert float(each["p_happy"]) == pytest.approx(float(of_whole[each["id"]]["p_happy"]), abs=2e-6)
    for name in ("hold-out", "Trian", ""):
        failed = ferbench_("predictions", row, "--split", name, code=2)
        assert failed.stderr.splitlines() == [
            f"error: dataset 'contest' has no split {name!r}: there are report, select, Train, Val, Test, Faces"
        ]


def test_samples_that_were_trained_on_are_told(ferbench_: Call) -> None:
    row = row_of(ferbench_, "-s", "target-only", "--seed", "0,1", "--train-fraction", "0.5")
    shown = ferbench_("predictions", row, "--split", "train")
    # Films are whole on one side: five of nine, nine, nine, nine and six, less what is held out, of it about a half.
    held = {each["id"] for each in samples(ferbench_("predictions", row, "--csv", "--split", "select"))}
    (warning,) = shown.stderr.splitlines()
    start, _, rest = warning.partition(" was trained on ")
    count, _, end = rest.partition(" ")
    assert (start, end) == (f"warning: row {row}", "of the 42 samples of contest Train")
    assert 7 <= int(count) < 42 - len(held)
    title, seen = heading(shown)
    assert title == f"{row} · tiny · target-only · 45.5 % of train · seed 0 · contest Train"
    assert seen == f"trained on {count} of these 42 samples"
    assert shown.stdout.count(seen) == 2
    # Nothing is said of samples that were held out or reported on.
    for split in ("select", "report", "val"):
        other = ferbench_("predictions", row, "--split", split)
        assert other.stderr == ""
        assert len(heading(other)) == 1 and "45.5 % of train" in heading(other)[0]


def test_a_row_of_all_of_train_says_nothing_of_parts_and_one_of_others_is_not_warned_of(ferbench_: Call) -> None:
    row = row_of(ferbench_, "-s", "source-only", "-a", "big")
    shown = ferbench_("predictions", row, "--split", "train")
    assert shown.stderr == ""
    assert heading(shown) == [f"{row} · tiny · source-only · seed 0 · contest Train"]


def test_what_the_reader_passes_over_is_told_beside_a_submission(ferbench_: Call) -> None:
    row = row_of(ferbench_, "-s", "target-only")
    sent = ferbench_("predictions", row, "--csv", "--split", "test")
    assert sent.stderr.splitlines() == ["warning: contest: this copy has 21 of 372 images"]
    found = samples(sent)
    assert len(found) == 21 and {each["label"] for each in found} == {""}
    cut = ferbench_("predictions", row, "--csv", "--split", "faces")
    assert cut.stderr.splitlines() == [
        "warning: contest Faces: 4 samples are left out, of classes outside label set basic7"
    ]
    assert len(samples(cut)) == 17
