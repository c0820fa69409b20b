"""`ferbench verify` as users meet it: what it prints, in words and as JSON, and how it ends."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ferbench.cli import root
from ferbench.publish.verification import row_lines, total_lines
from ferbench.verification import Check, VerifiedRow

PLUGIN = """
from tiny import TinyPlugin, bar_dataset, tiny_backbone

hooks = TinyPlugin([bar_dataset("big", 1), bar_dataset("small", 2, groups=True)], [tiny_backbone()])
ferbench_register_datasets = hooks.ferbench_register_datasets
ferbench_register_backbones = hooks.ferbench_register_backbones
"""

Call = Callable[..., Result]


@pytest.fixture
def ferbench_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls the command line in this process; `code` is the exit code that is expected."""
    (tmp_path / "bench_plugin.py").write_text(PLUGIN, "utf-8")
    monkeypatch.chdir(tmp_path)
    for name, value in {"STORE": "board.sqlite", "CACHE": "cache", "DATA": "data"}.items():
        monkeypatch.setenv(f"FERBENCH_{name}", str(tmp_path / value))
    monkeypatch.setenv("FERBENCH_DEVICE", "cpu")
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, ["--plugin", "bench_plugin.py", *arguments], prog_name="ferbench")
        assert result.exit_code == code, result.output
        return result

    return call


@pytest.fixture
def rows(ferbench_: Call) -> dict[str, str]:
    """A row of each of two strategies, two seeds each."""
    cells = ("-b", "tiny", "-t", "small", "-a", "big", "--weights", "random", "--set", "images_seen=64")
    ferbench_("run", *cells, "-s", "target-only", "-s", "cascade", "--seed", "0,1")
    (board,) = json.loads(ferbench_("leaderboard", "--json").stdout)["boards"]
    return {entry["strategy"]: entry["row"] for entry in board["entries"]}


def run_sql(statement: str) -> None:
    with closing(sqlite3.connect("board.sqlite")) as connection, connection:
        connection.execute(statement)


def test_a_line_a_row_a_total_and_json(ferbench_: Call, rows: dict[str, str]) -> None:
    one = ferbench_("verify", rows["cascade"][:6])
    assert one.stdout == f"{rows['cascade']}  ok: 2 seeds, 18 checks\n" and one.stderr == ""
    every = ferbench_("verify", "--all", "--infer").stdout.splitlines()
    assert set(every[:2]) == {f"{row}  ok: 2 seeds, 20 checks" for row in rows.values()}
    assert every[2:] == ["", "2 rows: 2 ok, 0 with mismatches; 40 checks ok"]
    fitting = json.loads(ferbench_("verify", "--where", "strategy=cascade", "--json").stdout)
    assert fitting["ok"] and [row["row"] for row in fitting["rows"]] == [rows["cascade"]]
    plain = json.loads(ferbench_("verify", rows["cascade"], "--json").stdout)
    assert set(plain) == {"row", "ok", "seeds", "checks", "unchecked"}
    assert (plain["row"], plain["ok"], plain["seeds"], plain["unchecked"]) == (rows["cascade"], True, [0, 1], [])
    assert all(set(check) == {"name", "seed", "ok", "detail"} and check["ok"] for check in plain["checks"])
    shown = ferbench_("verify", rows["cascade"], "-v").stdout.splitlines()
    assert "    sources, seeds 0-1: bench_plugin, cascade" in shown and max(map(len, shown)) <= 80


def test_every_mismatch_is_named_and_ends_in_1_and_the_other_rows_go_on(ferbench_: Call, rows: dict[str, str]) -> None:
    run_sql("UPDATE runs SET accuracy = 0.987 WHERE strategy = 'cascade' AND seed = 1")
    run_sql("UPDATE runs SET record = '}' WHERE strategy = 'target-only' AND seed = 0")
    said = ferbench_("verify", "--all", code=1).stdout
    assert max(map(len, said.splitlines())) <= 80
    assert "1 mismatch: 2 seeds, 17 checks ok" in said
    words = " ".join(said.split())
    assert "record, seed 1: column accuracy holds 0.987, its record says 0." in words
    assert f"{rows['target-only']} 1 mismatch: 2 seeds, 9 checks ok record, seed 0: its record cannot be read:" in words
    assert words.endswith("2 rows: 0 ok, 2 with mismatches; 26 checks ok")
    found = json.loads(ferbench_("verify", "--all", "--json", code=1).stdout)
    assert not found["ok"] and [row["ok"] for row in found["rows"]] == [False, False]
    wrong = [check for row in found["rows"] for check in row["checks"] if not check["ok"]]
    assert {(check["name"], check["seed"]) for check in wrong} == {("record", 0), ("record", 1)} and len(wrong) == 2


def test_what_cannot_be_checked_is_said_in_the_row_s_line(ferbench_: Call, rows: dict[str, str]) -> None:
    ferbench_("cache", "prune", "--row", rows["cascade"], "--yes")
    said = " ".join(ferbench_("verify", rows["cascade"]).stdout.split())
    assert said == (
        f"{rows['cascade']} ok: 2 seeds, 16 checks, 2 not checked (checkpoint: its last stage's: it was pruned)"
    )
    found = json.loads(ferbench_("verify", rows["cascade"], "--json").stdout)
    assert found["ok"] and found["unchecked"] == [
        {"name": "checkpoint", "seed": seed, "detail": "its last stage's: it was pruned"} for seed in (0, 1)
    ]


def test_what_is_asked_for_wrongly_is_told(ferbench_: Call) -> None:
    assert "name the rows, or give --all or --where" in ferbench_("verify", code=2).stderr
    assert "there is no store at" in ferbench_("verify", "abcd", code=1).stderr


def test_rows_that_are_not_there(ferbench_: Call, rows: dict[str, str]) -> None:
    assert "no row named 'feedc0de'" in ferbench_("verify", "feedc0de", code=2).stderr
    assert "no row fits strategy=lp-ft" in ferbench_("verify", "--where", "strategy=lp-ft", code=2).stderr
    assert ferbench_("verify", "--where", "accuracy>=0", "--where", "strategy=cascade").stdout.startswith(
        rows["cascade"]
    )


def check(name: str, seed: int, ok: bool | None, detail: str) -> Check:
    return Check(name, seed, ok, detail)


def test_seeds_that_say_the_same_are_one_line_and_long_reasons_wait_for_verbose() -> None:
    why = "the folder of its data is on another disk"
    found = VerifiedRow(
        "0123456789",
        (0, 1, 2),
        (
            *(check("data", seed, None, f"{why} {part}") for seed in (0, 1) for part in ("here", "there", "elsewhere")),
            check("scores", 2, True, "6 scores"),
        ),
    )
    assert row_lines(found) == ["0123456789  ok: 3 seeds, 1 check, 6 not checked (data: -v says why)"]
    verbose = row_lines(found, every=True)
    assert verbose[0] == "0123456789  ok: 3 seeds, 1 check, 6 not checked"
    assert f"    not checked: data, seeds 0-1: {why} here" in verbose and verbose[-1] == "    scores, seed 2: 6 scores"
    wrong = VerifiedRow("9876543210", (0,), (check("scores", 0, False, "accuracy is 1.0"), *found.checks[:1]))
    assert row_lines(wrong)[1:] == [
        "    scores, seed 0: accuracy is 1.0",
        f"    not checked: data, seed 0: {why} here",
    ]
    (total,) = total_lines([found, wrong])
    assert total == "2 rows: 1 ok, 1 with mismatches; 1 check ok, 7 not checked"
