"""A snapshot's pages: made of its two files alone, the same bytes for everybody, and told where they are not."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kept_rows import failed_run, kept_run, save

from ferbench.cli import root
from ferbench.errors import StoreError
from ferbench.publication.from_snapshot import PAGES, differing_pages, opened_snapshot, snapshot_pages
from ferbench.snapshot import write_snapshot
from ferbench.store import KeptRun, open_store

ROWS = (kept_run(seed=0), kept_run(seed=1), kept_run("other", further=True), failed_run("lost"))


def hostile() -> KeptRun:
    """A row whose names and notes are markup."""
    kept = kept_run("<script>alert(1)</script>|`x`")
    return dataclasses.replace(
        kept, run=dataclasses.replace(kept.run, notes=("<img src=x onerror=alert(2)> $a$ @you",))
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot as `ferbench snapshot` leaves it, with its store beside it."""
    place = tmp_path_factory.mktemp("pages")
    with open_store(str(place / "board.sqlite")) as store:
        save(store, *ROWS, hostile())
    result = CliRunner().invoke(root, ["--store", str(place / "board.sqlite"), "snapshot", str(place / "snapshot")])
    assert result.exit_code == 0, result.output
    return place / "snapshot"


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, ["snapshot", *arguments], prog_name="ferbench")
    assert result.exit_code == code, result.output
    return result


def test_a_snapshot_is_a_store_for_a_while(folder: Path) -> None:
    with opened_snapshot(folder) as store:
        place = Path(store.location)
        assert len(store.leaderboard_rows()) == 5 and place.exists()
        [row] = {run.row for run in store.runs() if run.cell.strategy == "other"}
        [(run, predictions)] = store.run_predictions(row)
        assert run.board is not None and len(predictions.ids) == run.board.n
    assert not place.exists()


def test_the_pages_say_what_the_rows_are(folder: Path) -> None:
    text = (folder / "leaderboard.md").read_text("utf-8")
    assert text.startswith("# films: 3 rows, 1 failed, 5 runs\n")
    assert "- computed on cpu (processor A), 2 threads, torch 2.14, Python 3.11, ferbench 0.1\n" in text
    assert "- finished 2025-01-01\n" in text
    assert "ferbench merge FOLDER" in text and "ferbench snapshot FOLDER --check" in text
    for kept in ROWS:
        assert kept.run.row in text
    assert "withheld: it may name a sample" in text and "loss is not finite" not in text
    # Nothing in a name is markup.
    assert "<script>" not in text and "<img" not in text and "\\|\\`x\\`" in text and "&#64;you" in text
    page = (folder / "leaderboard.html").read_text("utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page and "<img" not in page
    for path in (folder / name for name in PAGES):
        assert str(folder) not in path.read_text("utf-8") and "ferbench-snapshot-" not in path.read_text("utf-8")


def test_another_process_elsewhere_makes_the_same_bytes(copy: Path, tmp_path: Path) -> None:
    before = {name: (copy / name).read_bytes() for name in PAGES}
    for name in PAGES:
        (copy / name).unlink()
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "COLUMNS": "40"}
    code = "from ferbench.cli import root; root()"
    command = [sys.executable, "-c", code, "snapshot", "copy", "--rebuild"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {name: (copy / name).read_bytes() for name in PAGES} == before


def test_plugins_and_stores_of_this_machine_say_nothing_in_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**chosen: str) -> tuple[()]:
        return ()

    monkeypatch.setattr(importlib.metadata, "entry_points", none)
    monkeypatch.setenv("FERBENCH_STORE", "nowhere.sqlite")
    assert snapshot_pages(folder) == {name: (folder / name).read_bytes() for name in PAGES}


def test_a_page_that_was_touched_up_is_told_and_made_anew(copy: Path) -> None:
    page = copy / PAGES[0]
    whole = page.read_bytes()
    page.write_bytes(whole.replace(b"majority", b"Majority", 1))
    assert json.loads(call(str(copy), "--check", "--json", code=1).stdout) == {
        **{"folder": str(copy), "ok": False, "differing": [PAGES[0]]},
    }
    page.unlink()
    assert "--rebuild" in call(str(copy), "--check", code=1).stdout
    call(str(copy), "--rebuild")
    assert page.read_bytes() == whole and differing_pages(copy) == ()
    assert "give one of them" in call(str(copy), "--check", "--rebuild", code=2).output
    assert "nothing else" in call(str(copy), "--check", "--with", "ids", code=2).output


def _claim(lines: list[str], place: int) -> None:
    run = json.loads(lines[place])
    run["run"]["scores"][0]["value"] += 0.01
    lines[place] = json.dumps(run)


def _no_json(lines: list[str], place: int) -> None:
    lines[place] = lines[place][:-1]


@pytest.mark.parametrize("change", [_claim, _no_json])
def test_no_page_is_made_of_a_snapshot_that_does_not_hold(copy: Path, change: Callable[[list[str], int], None]) -> None:
    before = {name: (copy / name).read_bytes() for name in PAGES}
    lines = (copy / "runs.jsonl").read_text("utf-8").splitlines()
    change(lines, next(n for n, line in enumerate(lines) if '"kind":"run"' in line and '"finished"' in line))
    (copy / "runs.jsonl").write_text("\n".join([*lines, ""]), "utf-8")
    for option in ("--check", "--rebuild"):
        assert "does not hold what it says" in call(str(copy), option, code=1).stderr
    assert {name: (copy / name).read_bytes() for name in PAGES} == before
    with pytest.raises(StoreError, match="is no snapshot, it holds no runs"), opened_snapshot(copy.parent):
        pass


def test_where_no_row_holds_nothing_is_written(tmp_path: Path) -> None:
    forged = kept_run()
    forged = dataclasses.replace(forged, run=dataclasses.replace(forged.run, notes=("\x1b[2J",)))
    with open_store(str(tmp_path / "board.sqlite")) as store:
        save(store, forged)
    said = call("--store", str(tmp_path / "board.sqlite"), str(tmp_path / "out"), code=1).stderr
    assert f"left out: row {forged.run.row}, seed 0: run.notes[1]" in said
    assert "none of its rows holds what it says" in said and not (tmp_path / "out").exists()
    write_snapshot(tmp_path / "none", [])
    with pytest.raises(StoreError, match="has no rows"):
        snapshot_pages(tmp_path / "none")
