"""`ferbench snapshot` and `ferbench merge` as users meet them: what is said, what is written, and with which code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kept_rows import failed_run, kept_run, rows_of, save
from tiny import Bench

from ferbench.cli import root
from ferbench.ensembles import Method, make_ensemble
from ferbench.fingerprints import fingerprint
from ferbench.store import open_store

Call = Callable[..., Result]

ROW = kept_run().run.row


@pytest.fixture
def ferbench_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls the command line in a folder with the store `board.sqlite`; `code` is the exit code that is expected."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERBENCH_STORE", "board.sqlite")
    monkeypatch.setenv("COLUMNS", "80")
    with open_store("board.sqlite") as store:
        save(store, kept_run(seed=0), kept_run(seed=1), kept_run("other"), failed_run("lost"))

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, arguments, prog_name="ferbench")
        assert result.exit_code == code, result.output
        assert max(map(len, result.stdout.splitlines()), default=0) <= 80 or "--json" in arguments
        return result

    return call


def test_a_snapshot_and_back(ferbench_: Call) -> None:
    said = ferbench_("snapshot", "out").stdout
    assert said.startswith("out: 2 rows, 1 failed, 4 runs, 300 predictions, ") and said.splitlines()[0].endswith(" kB")
    ferbench_("--store", "new.sqlite", "merge", "--dry-run", "out")
    assert not Path("new.sqlite").exists()
    merged = ferbench_("--store", "new.sqlite", "merge", "out", "board.sqlite").stdout
    assert merged.splitlines() == [
        "store new.sqlite",
        "out: 4 runs of 3 rows merged, 0 already here",
        "board.sqlite: 0 runs merged, 4 already here",
    ]
    assert json.loads(ferbench_("merge", "--json", "out").stdout) == {
        **{"merged": 0, "already_there": 4, "conflicts": [], "refused": [], "runs": [], "further_scores": 0},
    }


def test_rows_are_chosen_by_name_and_by_what_they_are(ferbench_: Call) -> None:
    def rows(*arguments: str) -> list[int]:
        found = json.loads(ferbench_("snapshot", "out", *arguments, "--json").stdout)
        assert (
            Path("out/runs.jsonl").stat().st_size + Path("out/predictions.csv.gz").stat().st_size == found["size_bytes"]
        )
        return [found["rows"], found["runs"], found["predictions"]]

    assert rows(ROW) == [1, 2, 200]
    assert rows("--where", "strategy=other") == [1, 1, 100]
    assert rows("--where", "strategy=lost") == [1, 1, 0]
    assert rows("--where", "seeds>1") == [1, 2, 200]
    assert rows("--where", "seed=0", ROW) == [1, 2, 200]
    refused = ferbench_("snapshot", "out", "--where", "strategy=cascade,lost", "--where", "seed=9", code=2).stderr
    assert refused.startswith("error: no row fits strategy=cascade,lost and seed=9: ")
    assert "no row named" in ferbench_("snapshot", "out", "ffffffffff", code=2).stderr
    assert "no store at" in ferbench_("--store", "no.sqlite", "snapshot", "out", code=1).stderr


def test_members_go_with_their_ensemble(ferbench_: Call, bench: Bench) -> None:
    members = sorted({run.row for run in bench.run("target-only source-only").finished})
    ensemble = make_ensemble(bench.store, members, Method())
    said = ferbench_("--store", bench.store.location, "snapshot", "out", ensemble.row).stdout
    assert said.startswith("out: 3 rows, 3 runs, ")
    assert said.splitlines()[1] == f"  with rows {' and '.join(members)}, of which an ensemble is made"
    assert "3 runs of 3 rows merged" in ferbench_("merge", "out").stdout


def test_what_is_left_out_is_named(ferbench_: Call) -> None:
    kept = kept_run(seed=1)
    other = [(stage, dataclasses.replace(result, checkpoint_sha256="ee" * 32)) for stage, result in kept.stages]
    with open_store("other.sqlite") as store:
        forged = dataclasses.replace(kept_run("forged").run, notes=("\x1b[2Jbest",))
        save(store, dataclasses.replace(kept, stages=tuple(other)), dataclasses.replace(kept_run("forged"), run=forged))
        save(store, *(kept_run("other", seed, "a processor with a long name") for seed in (0, 1)))
    before = rows_of(Path("board.sqlite"))
    merged = ferbench_("merge", "--dry-run", "other.sqlite", "missing.sqlite", code=1)
    assert rows_of(Path("board.sqlite")) == before
    row = fingerprint(["entry", "other"])[:10]
    lines = merged.stdout.splitlines()
    assert lines[1] == "other.sqlite: 2 runs of 1 row would be merged, 0 already here, 1 in conflict,"
    assert lines[2] == "  1 refused"
    assert lines[3].startswith(f"  row {row}, seeds 0-1, is row ")
    assert any(
        line.startswith(f"  conflict: row {ROW}, seed 1: its last stage has another checkpoint") for line in lines
    )
    assert any(line.startswith(f"  refused: row {forged.row}, seed 0: run.notes[1]: it holds the") for line in lines)
    assert "\x1b" not in merged.stdout
    assert merged.stderr.startswith("error: there is no store at ")
    found = json.loads(ferbench_("merge", "--json", "other.sqlite", code=1).stdout)
    assert (found["merged"], found["already_there"]) == (2, 0)
    assert [(each["row"], each["seed"]) for each in found["conflicts"]] == [(ROW, 1)]
    assert [(each["row"], each["seed"]) for each in found["refused"]] == [(forged.row, 0)]
    assert {each["hardware"] for each in found["runs"]} == {"cpu, a processor with a long name"}
    # What does not hold is not published either.
    left = ferbench_("--store", "other.sqlite", "snapshot", "out", code=1)
    assert left.stderr.startswith(f"warning: left out: row {forged.row}, seed 0: run.notes[1]")
    assert left.stdout.startswith("out: 2 rows, 3 runs, ")
    assert "is the store that is merged into" in ferbench_("merge", "board.sqlite", code=2).stderr
