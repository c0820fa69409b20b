"""`ferbench compare` as users and scripts meet it, on a hand-built store; statistics against SciPy."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from click.testing import CliRunner, Result
from made_rows import ENVIRONMENT, answers, made_board, made_row

from ferbench.cli import root
from ferbench.comparison import AcrossBoards, Pair, across_boards
from ferbench.competitors import compare_boards
from ferbench.ensembles import Method, make_ensemble
from ferbench.evidence import Member
from ferbench.fingerprints import fingerprint
from ferbench.metrics import correctness
from ferbench.publish import comparison
from ferbench.publish.comparison import across_lines, general_facts
from ferbench.publish.verdicts import Fact, facts, p_words, points, sentence
from ferbench.records import Run, StageResult
from ferbench.store import open_store

Call = Callable[..., Result]

#: What scripts rely on, with the types of JSON.
CONTRACT: Mapping[str, type | tuple[type, ...]] = {
    "a": str,
    "b": str,
    "n": int,
    "seeds": list,
    "difference": float,
    "low": float,
    "high": float,
    "mcnemar_p": (float, type(None)),
    "holm_p": float,
    "verdict": str,
}

FILMS = made_board("films", synthetic=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Rows by what they are, and under `store` where they are."""
    path = tmp_path_factory.mktemp("compared") / "board.sqlite"
    rows = {"store": str(path)}
    with open_store(str(path)) as store:
        for backbone in ("vgg16", "alexnet"):
            own: dict[str, Any] = {"board": FILMS, "backbone": backbone, "seeds": range(3)}
            rows[f"cascade {backbone}"] = made_row(store, "cascade", 0.75, shared=True, **own)
            rows[f"single {backbone}"] = made_row(store, "single-stage", 0.45, **own)
        rows["target"] = made_row(store, "target-only", 0.74, board=FILMS, seeds=range(2, 5), shared=True)
        rows["tuned"] = made_row(store, "lp-ft", 0.74, board=FILMS, seeds=[2], tries=6, recipe={"images_seen": 40_000})
        elsewhere = dataclasses.replace(ENVIRONMENT, processor="another processor")
        rows["elsewhere"] = made_row(
            store, "linear-probe", 0.6, board=FILMS, seeds=[8, 9], environment=elsewhere, backbone="resnet"
        )
        rows["failed"] = made_row(store, "linear-probe", 0.5, board=FILMS, status="failed")
        for number in range(6):
            board = made_board(f"set{number}", n=40)
            for strategy, skill in (("cascade", 0.8), ("single-stage", 0.5), ("target-only", 0.45)):
                rows[f"{strategy} {number}"] = made_row(
                    *(store, strategy, skill), board=board, seeds=[0], groups=0, backbone="tiny"
                )
        for number in range(14):
            recipe = {"lr": (number + 1) / 1000}
            made_row(store, "cascade", 0.2 + 0.05 * number, board=made_board("many", n=60), seeds=[0], recipe=recipe)
    return rows


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough where the width of intervals is not what is tested."""
    monkeypatch.setattr("ferbench.competitors.compare_boards", partial(compare_boards, draws=100))


@pytest.fixture
def compare(made: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Calls the command; `code` is the exit code that is expected. No line is wider than the terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERBENCH_STORE", made["store"])

    def call(*arguments: str, code: int = 0, width: int = 80) -> Result:
        monkeypatch.setenv("COLUMNS", str(width))
        before = Path(made["store"]).read_bytes()
        result = CliRunner().invoke(root, ["compare", *arguments], prog_name="ferbench")
        assert result.exit_code == code, result.output
        if "--json" not in arguments:
            assert max(map(len, result.stdout.splitlines()), default=0) <= width
        assert Path(made["store"]).read_bytes() == before
        return result

    return call


def pairs(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["pairs"]
    return found


def words(result: Result) -> str:
    return " ".join(result.stdout.split())


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_json_is_the_contract_and_its_digits_those_of_scipy(compare: Call, made: dict[str, str]) -> None:
    a, b = made["cascade vgg16"], made["single vgg16"]
    shown = json.loads(compare(a[:6], b, "--json").stdout)
    (pair,) = shown["pairs"]
    assert [*pair][: len(CONTRACT)] == [*CONTRACT]
    for key, kind in CONTRACT.items():
        assert isinstance(pair[key], kind), key
    assert (pair["a"], pair["b"], pair["n"], pair["seeds"], pair["verdict"]) == (a, b, 120, [0, 1, 2], "a")
    with open_store(made["store"], read_only=True) as store:
        right = [np.stack([correctness(said) for _, said in store.run_predictions(row)]) for row in (a, b)]
    assert pair["difference"] == pytest.approx(right[0].mean() - right[1].mean())
    assert pair["low"] < pair["difference"] < pair["high"]
    # Of answers that all give one class the same probability, the vote over three seeds is the majority of the right.
    with open_store(made["store"], read_only=True) as store:
        first, second = ([said.probabilities for _, said in store.run_predictions(row)] for row in (a, b))
        labels = store.run_predictions(a)[0][1].labels
    votes = [np.sum([np.eye(7)[each.argmax(axis=1)] for each in side], axis=0) for side in (first, second)]
    sure = [np.sort(side, axis=1)[:, -1] > 1 for side in votes]
    taken = [side.argmax(axis=1) == labels for side in votes]
    alone = [
        int((taken[0] & ~taken[1] & sure[0] & sure[1]).sum()),
        int((taken[1] & ~taken[0] & sure[0] & sure[1]).sum()),
    ]
    unsure = int((~sure[0] | ~sure[1]).sum())
    assert all(low <= found <= low + unsure for low, found in zip(alone, pair["discordant"], strict=True))
    expected = scipy.stats.binomtest(pair["discordant"][0], sum(pair["discordant"])).pvalue
    assert pair["mcnemar_p"] == pytest.approx(expected)
    assert pair["holm_p"] == pair["p"]
    assert (pair["rows_a"], pair["groups"], pair["blocks"], pair["metric"]) == ([a], 12, [], "accuracy")
    # Turned round, it is the same the other way.
    (turned,) = pairs(compare(b, a, "--json"))
    assert turned["verdict"] == "b"
    assert [turned[key] for key in ("difference", "low", "high")] == pytest.approx(
        [-pair[key] for key in ("difference", "high", "low")]
    )


def test_another_process_gives_the_same_digits(compare: Call, made: dict[str, str]) -> None:
    arguments = ["compare", made["cascade vgg16"], made["single alexnet"], "--metric", "macro_f1", "--json"]
    code = "import sys; from ferbench.cli import main; main()"
    other = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--store", made["store"]], capture_output=True, text=True, check=True
    )
    assert json.loads(other.stdout) == json.loads(compare(*arguments[1:]).stdout)


@pytest.mark.usefixtures("few_draws")
def test_holm_and_names_with_by(compare: Call, made: dict[str, str]) -> None:
    where = ("--where", "target=films", "--where", "backbone=vgg16,alexnet", "--where", "tuned=no")
    found = pairs(compare("--by", "strategy", *where, "--json"))
    assert [(pair["a"], pair["b"]) for pair in found] == [
        ("cascade", "single-stage"),
        ("cascade", "target-only"),
        ("single-stage", "target-only"),
    ]
    assert found[0]["blocks"] == ["alexnet · random", "vgg16 · random"]
    assert set(found[0]["rows_b"]) == {made["single vgg16"], made["single alexnet"]}
    assert (found[0]["mcnemar_p"], found[1]["blocks"]) == (None, ["vgg16 · random"])
    # Holm by hand: the smallest three times, the next twice, never falling.
    expected, so_far = {}, 0.0
    for rank, pair in enumerate(sorted(found, key=lambda pair: float(pair["p"]))):
        so_far = max(so_far, min(1.0, (3 - rank) * pair["p"]))
        expected[pair["a"], pair["b"]] = so_far
    assert {(pair["a"], pair["b"]): pair["holm_p"] for pair in found} == pytest.approx(expected)
    against = pairs(compare("--by", "strategy", *where, "--against", "target-only", "--json"))
    assert [(pair["a"], pair["b"]) for pair in against] == [("cascade", "target-only"), ("single-stage", "target-only")]
    assert against[0]["p"] == found[1]["p"]


# --- sentences --------------------------------------------------------------------------------------------------------


def test_a_pair_in_words(compare: Call, made: dict[str, str]) -> None:
    a, b = made["cascade vgg16"], made["single vgg16"]
    (pair,) = pairs(compare(a, b, "--json"))
    difference, low, high = (f"{100 * pair[key]:.1f}" for key in ("difference", "low", "high"))
    text = words(compare(a, b))
    assert (
        f"cascade ({a}) is ahead of single-stage ({b}) by {difference} points (accuracy, 95 % interval {low} to "
        f"{high}, p {p_words(pair['p'])}, 3 seeds, n = 120)."
    ) in text
    first, second = pair["discordant"]
    for fact in (
        f"accuracy: cascade {100 * pair['value_a']:.1f} %, single-stage {100 * pair['value_b']:.1f} %",
        "paired: the same 3 seeds (0-2) and the same samples; interval over seeds and 12 groups of samples",
        f"McNemar's exact test on the majority votes over seeds: p {p_words(pair['mcnemar_p'])}, cascade alone is "
        f"right on {first} samples, single-stage alone on {second}",
        *("no stage is common to both", "neither is tuned", "synthetic faces"),
    ):
        assert fact in text, fact
    assert pair["sentence"] in text


def test_what_weakens_a_comparison_is_said(compare: Call, made: dict[str, str]) -> None:
    text = words(compare(made["cascade vgg16"], made["target"]))
    # One seed in common, and the same first stage.
    assert "1 seed, n = 120" in text
    assert "! 1 seed: says nothing of other seeds" in text
    assert "both go through the same stage 1" in text
    assert f"left out: {made['cascade vgg16']}: seeds 0, 1" in text
    assert f"left out: {made['target']}: seeds 3, 4" in text
    text = words(compare(made["cascade vgg16"], made["tuned"]))
    assert "! cascade is not tuned, lp-ft is tuned (6 tries): what is ahead may be the tuning" in text
    assert "! images seen: 20,000 against 40,000" in text
    result = compare(made["cascade vgg16"], made["elsewhere"])
    text = words(result)
    assert "! no seed in common: 0-2 against 8-9, on the same samples" in text
    assert "! they differ in more than one thing: backbone vgg16 against resnet; strategy cascade against" in text
    assert "! other hardware or software: a processor with 2 threads, torch 2.14 against another processor" in text
    (pair,) = pairs(compare(made["cascade vgg16"], made["elsewhere"], "--json"))
    assert (pair["paired_seeds"], pair["seeds"], len(pair["warnings"])) == (False, [0, 1, 2, 8, 9], 3)
    # Words of one line are not torn apart.
    assert not re.search(r"(\b(95|p|n)|[=<])$", result.stdout, re.MULTILINE)


def test_a_property_that_rows_differ_in_names_them(compare: Call, made: dict[str, str]) -> None:
    text = words(compare("--where", "target=many", "--where", "lr=0.001,0.014"))
    assert re.search(r"lr 0\.014 \(\w{10}\) is ahead of lr 0\.001 \(\w{10}\) by", text)
    assert "recipes differ in lr 0.001 against 0.014" in text


# --- many pairs, many boards ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_draws")
def test_many_pairs_are_a_table(compare: Call) -> None:
    result = compare("--where", "target=many")
    found = pairs(compare("--where", "target=many", "--json"))
    lines = result.stdout.splitlines()
    start = next(index for index, line in enumerate(lines) if line.split()[:2] == ["a", "b"])
    table = [line.split() for line in lines[start + 1 : start + 92]]
    assert len(found) == len(table) == 91
    numbers = {match[2]: int(match[1]) for line in lines if (match := re.match(r" *(\d+) .*\((\w{10})\)", line))}
    assert sorted(numbers.values()) == [*range(1, 15)]
    told = sum(pair["verdict"] != "undecided" for pair in found)
    assert f"{told} of 91 pairs can be told apart" in result.stdout
    by_numbers = {(int(cells[0]), int(cells[1])): cells for cells in table}
    signs = [line for line in lines if re.match(r" *\d+ +[ ·<>]+$", line)]
    assert len(signs) == 14
    for pair in found:
        first, second = sorted((numbers[pair["a"]], numbers[pair["b"]]))
        cells = by_numbers[first, second]
        shown = abs(float(cells[2]))
        assert shown == pytest.approx(100 * abs(pair["difference"]), abs=0.051)
        ahead = {"a": numbers[pair["a"]], "b": numbers[pair["b"]]}.get(pair["verdict"])
        assert cells[-1] == ("·" if ahead is None else str(ahead))
        sign = signs[first - 1].ljust(80)[2 + 3 * second - 1]
        assert sign == ("·" if ahead is None else ">" if ahead == first else "<")
    assert "all pairs: neither is tuned" in result.stdout
    assert "all pairs: recipes differ in lr" in result.stdout
    # Too narrow for a matrix, and for columns.
    narrow = compare("--where", "target=many", width=40)
    assert not [line for line in narrow.stdout.splitlines() if re.match(r" *\d+ +[·<>] ", line)]


@pytest.mark.usefixtures("few_draws")
def test_several_boards(compare: Call, tmp_path: Path) -> None:
    where = ("--where", "target=set*")
    found = json.loads(compare("--by", "strategy", *where, "--json").stdout)
    assert len(found["pairs"]) == 18
    assert len({pair["board"] for pair in found["pairs"]}) == 6
    across = found["across_boards"]
    means: dict[str, dict[str, float]] = {}
    for pair in found["pairs"]:
        means.setdefault(pair["board"], {}).update({pair["a"]: pair["value_a"], pair["b"]: pair["value_b"]})
    columns = [[board[name] for board in means.values()] for name in across["competitors"]]
    expected = scipy.stats.friedmanchisquare(*columns)
    assert across["friedman_statistic"] == pytest.approx(expected.statistic)
    assert across["friedman_method"] == "exact"
    result = compare("--by", "strategy", *where, "--diagram", "ranks.svg")
    text = words(result)
    assert f"over 6 boards the ranks differ (Friedman's statistic {expected.statistic:.2f}, exact p" in text
    assert f"critical difference {across['critical_difference']:.2f} (Nemenyi, 5 %)" in text
    assert "├" in result.stdout and "●" in result.stdout
    assert (tmp_path / "ranks.svg").read_text("utf-8").startswith("<svg ")
    # Without --by, rows of one configuration stand for each other.
    by_rows = json.loads(compare(*where, "--json").stdout)["across_boards"]
    assert by_rows == across
    five = compare("--by", "strategy", "--where", "target=set0,set1,set2,set3,set4")
    assert "the critical-difference diagram is drawn from 6 boards up; here are 5" in words(five)
    assert "●" not in five.stdout
    refused = compare("--by", "strategy", "--where", "target=set0,set1", "--diagram", "no.svg", code=2)
    assert refused.stderr.splitlines() == [
        "error: --diagram no.svg: it is drawn from 6 boards up, and these competitors are together on 2"
    ]
    assert not (tmp_path / "no.svg").exists()
    nowhere = compare("--by", "strategy", *where, "--diagram", "missing/ranks.svg", code=1)
    assert nowhere.stderr == "error: --diagram missing/ranks.svg: it cannot be written (No such file or directory)\n"


# --- ensembles, seeds that were chosen, means of other blocks ---------------------------------------------------------


def test_ensembles_over_seeds_have_no_seed(
    compare: Call, made: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ensembles.sqlite"
    path.write_bytes(Path(made["store"]).read_bytes())
    a, b = made["cascade vgg16"], made["single vgg16"]
    with open_store(str(path)) as store:
        for run, said in [pair for row in (a, b) for pair in store.run_predictions(row)]:
            # One is right on select where it is right at all: seed 0's first row is chosen by every measure.
            best = dataclasses.replace(said, probabilities=np.eye(7, dtype=np.float32)[said.labels])
            select = dataclasses.replace(best if run.cell.seed == 0 else said, split="train")
            store.save_predictions(run.stages[-1], "5e" * 32, select)
            store.save_run(dataclasses.replace(run, select_content="5e" * 32), correctness(said), force=True)
            last = store.stage(run.stages[-1])
            assert last is not None
            first = dataclasses.replace(last, fingerprint=run.stages[0], index=0, parent=None)
            store.save_stage(first, StageResult(first.fingerprint, 1, 1.0, 1.0, 1, (), "cpu", 2, 32, 1, "cd" * 32))
        over = [make_ensemble(store, [row], Method()).row for row in (a, b)]
        chosen = make_ensemble(store, [a], Method(greedy=True, steps=1))
        by_seed = make_ensemble(store, [a, b], Method(greedy=True, steps=1))
    assert {(member.row, member.seed) for member in chosen.runs[0].members} == {(a, 0)}
    monkeypatch.setitem(made, "store", str(path))
    monkeypatch.setenv("FERBENCH_STORE", str(path))
    (pair,) = pairs(compare(*over, "--json"))
    assert (pair["seeds"], pair["seeds_a"], pair["seeds_b"], pair["seeds_known"]) == ([], [], [], False)
    result = compare(*over)
    text = words(result)
    assert "both are ensembles over seeds, on the same samples" in text and "ensembles over seeds, n = 120" in text
    assert "-1)" not in text and "1 seed" not in text
    # Also of one that took members of seed 0 alone, whose own number is 0.
    for ensemble in (over[0], chosen.row):
        (pair,) = pairs(compare(ensemble, b, "--json"))
        assert (pair["seeds"], pair["seeds_a"], pair["paired_seeds"]) == ([0, 1, 2], [], False)
        text = words(compare(ensemble, b))
        assert "an ensemble over seeds against 3 seeds" in text or "3 seeds against an ensemble over seeds" in text
        assert "over seeds against single-stage with seeds 0-2, on the same samples; interval over the seeds of" in text
    (pair,) = pairs(compare(by_seed.row, b, "--json"))
    assert (pair["seeds"], pair["paired_seeds"]) == ([0, 1, 2], True)
    # With --by they would stand beside their members.
    where = ("--where", "target=films", "--where", "backbone=*vgg16")
    shown = json.loads(compare("--by", "strategy", *where, "--where", "tuned=no", "--json").stdout)
    assert {pair[side] for pair in shown["pairs"] for side in "ab"} == {"cascade", "single-stage", "target-only"}
    assert "4 ensembles, which --where ensemble=yes or the ROW would compare" in shown["left_out"]
    asked = pairs(compare("--by", "strategy", "--where", "row=" + ",".join([over[0], chosen.row]), "--json"))
    assert [(pair["a"], pair["b"]) for pair in asked] in (
        [("ensemble", "greedy-ensemble")],
        [("greedy-ensemble", "ensemble")],
    )


def test_seeds_that_were_not_asked_for_are_left_out_aloud(compare: Call, made: dict[str, str]) -> None:
    a, b = made["cascade vgg16"], made["single vgg16"]
    shown = json.loads(compare(a, b, "--where", "seed=0", "--json").stdout)
    assert shown["left_out"] == ["seeds 1-2 of both rows, by seed=0"]
    assert "left out: seeds 1-2 of both rows, by seed=0" in words(compare(a, b, "--where", "seed=0"))
    refused = compare(a, b, "--where", "seed=9", code=2).stderr
    assert refused == f"error: row {a} has no finished run that fits seed=9: it has seeds 0-2\n"


def test_a_pair_that_cannot_be_told_begins_with_a_capital_and_says_by_what_power(
    compare: Call, made: dict[str, str]
) -> None:
    result = compare(made["target"], made["tuned"])
    (pair,) = pairs(compare(made["target"], made["tuned"], "--json"))
    assert pair["sentence"].startswith("The data cannot tell target-only (")
    assert "\nThe data cannot tell target-only (" in result.stdout
    assert "with a power of 80 %, each pair by itself, if the difference seen is the true one" in words(result)
    assert "a power of 80 %" not in words(compare(made["cascade vgg16"], made["single vgg16"]))


@pytest.mark.usefixtures("few_draws")
def test_means_are_over_what_all_have(
    compare: Call, made: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "blocks.sqlite"
    board = made_board("blocks", n=60)
    rows: dict[tuple[str, str], str] = {}
    with open_store(str(path)) as store:
        for name, skill in (("one", 0.5), ("two", 0.55), ("three", 0.6), ("four", 0.4), ("five", 0.45), ("six", 0.7)):
            for backbone, easier in (("vgg16", 0.0), ("alexnet", 0.25)):
                if (name, backbone) != ("six", "alexnet"):
                    own: dict[str, Any] = {"board": board, "backbone": backbone, "seeds": range(1 + (name != "one"), 3)}
                    # Four is behind three in one block, and far ahead in the other.
                    share = {("four", "alexnet"): 1.0, ("three", "alexnet"): 0.3}.get((name, backbone), skill + easier)
                    rows[name, backbone] = made_row(store, name, share, **own)
        at = {
            name: store.runs(row=row)[-1].scores[0].value
            for (name, backbone), row in rows.items()
            if backbone == "vgg16"
        }
    monkeypatch.setitem(made, "store", str(path))
    monkeypatch.setenv("FERBENCH_STORE", str(path))
    result = compare("--by", "strategy")
    shown = {match[1]: match[2] for match in re.finditer(r"^\d  ([a-z]+) +([\d.]+) ", result.stdout, re.MULTILINE)}
    assert shown == {name: f"{100 * value:.1f}" for name, value in at.items()}
    assert next(iter(shown)) == "six"
    assert "! means over seed 2 of 1 block, which all have; pairs over all that both have" in words(result)
    # A pair over both blocks may say otherwise, and is not silent about it.
    number = {name: place for place, name in enumerate(shown, 1)}
    ahead = [
        (number[pair["a"]], number[pair["b"]])[:: 1 if pair["difference"] > 0 else -1]
        for pair in pairs(compare("--by", "strategy", "--json"))
    ]
    turned = [f"{first} before {second}" for first, second in ahead if first > second]
    assert f"{number['four']} before {number['three']}" in turned
    assert f"! over all that both have, the order is another: {', '.join(turned)}" in words(result)
    # Without a block that all have, each line says of what it is.
    with open_store(str(path)) as store:
        made_row(store, "seven", 0.5, board=board, backbone="alexnet", seeds=[2])
    text = words(compare("--by", "strategy"))
    assert "! means are not over the same blocks and seeds, so that their order tells nothing" in text
    assert "mean over alexnet · random (seed 2)" in text and "mean over vgg16 · random (seed 2)" in text


# --- refused ----------------------------------------------------------------------------------------------------------


def test_what_is_refused(compare: Call, made: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = made["cascade vgg16"], made["single vgg16"]
    for arguments, code, line in (
        ((), 2, "name two rows or more, or choose them with --where or --by"),
        ((a,), 2, f"row {a} alone is no comparison: name another one, or choose with --where"),
        ((a, a[:5]), 2, f"row {a} is named twice: a row is compared with others"),
        ((a, "12"), 2, "row '12' is too short: give at least 4 of its hex digits"),
        ((a, made["failed"]), 1, f"row {made['failed']} has no finished run: `ferbench leaderboard` shows why"),
        (
            (a, b, "--against", "cascad"),
            2,
            f"no competitor named 'cascad': there are: cascade ({a}), single-stage ({b})",
        ),
    ):
        assert compare(*arguments, code=code).stderr.splitlines() == [f"error: {line}"]
    boards = compare(a, made["cascade 0"], code=2).stderr
    assert boards.startswith("error: the rows are of different boards, films val (basic7, n 120, protocol 1, board ")
    assert "set0 val" in boards and boards.count("\n") == 1
    empty = "error: --by '' lacks a property: give one such as strategy, or several with commas between\n"
    assert compare("--by", "", code=2).stderr == empty
    assert "rows have no 'backbon'" in compare("--where", "backbon=x", code=2).stderr
    assert "is not one of 'accuracy', 'uar', 'macro_f1'" in compare(a, b, "--metric", "nll", code=2).stderr
    monkeypatch.setenv("FERBENCH_STORE", "nothing.sqlite")
    assert compare(a, b, code=1).stderr.startswith("error: ")


@pytest.mark.usefixtures("few_draws")
def test_against_a_row_that_was_not_named(compare: Call, made: dict[str, str]) -> None:
    a, b, against = made["cascade vgg16"], made["single vgg16"], made["target"]
    found = pairs(compare(a, b, "--against", against[:6], "--json"))
    assert [(pair["a"], pair["b"]) for pair in found] == [(a, against), (b, against)]
    found = pairs(compare("--where", "strategy=cascade", "--where", "target=films", "--against", against, "--json"))
    assert {(pair["a"], pair["b"]) for pair in found} == {(a, against), (made["cascade alexnet"], against)}


# --- every turn of a sentence -----------------------------------------------------------------------------------------

PAIR = Pair(
    a="a",
    b="b",
    board="f" * 64,
    n=431,
    groups=None,
    seeds=(0, 1, 2, 3, 4),
    seeds_a=(0, 1, 2, 3, 4),
    seeds_b=(0, 1, 2, 3, 4),
    seeds_known=True,
    blocks=(),
    left_out=(),
    paired_seeds=True,
    metric="accuracy",
    value_a=0.52,
    value_b=0.513,
    difference=0.007,
    low=-0.012,
    high=0.026,
    p=0.4,
    holm_p=0.8,
    mcnemar_p=1.0,
    discordant=(1, 0),
    verdict="undecided",
    shared_stages=1,
    stages=2,
    smallest_difference=0.03,
    seeds_needed=None,
    samples_needed=2_251,
)
NAMES = {"a": "cascade", "b": "single-stage"}
HEAD = (
    "the data cannot tell cascade from single-stage: 0.7 points (accuracy, 95 % interval -1.2 to 2.6, Holm-corrected p "
    "= 0.8 over 3 pairs, 5 seeds, n = 431)"
)
TOLD = "; a difference of 3.0 points could have been told"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {},
            f"{HEAD}{TOLD}; no number of seeds alone would tell 0.7 points, about 2,300 samples would if they are real",
        ),
        (
            {"seeds_needed": 12},
            f"{HEAD}{TOLD}; 12 seeds would tell 0.7 points if they are real, and so would about 2,300 samples",
        ),
        (
            {"seeds_needed": 12, "samples_needed": None},
            f"{HEAD}{TOLD}; 12 seeds would tell 0.7 points if they are real, no number of samples alone would",
        ),
        (
            {"samples_needed": None},
            f"{HEAD}{TOLD}; neither more seeds alone nor more samples alone would tell 0.7 points",
        ),
        (
            {"groups": 24, "seeds_needed": 12},
            f"{HEAD}{TOLD}; 12 seeds would tell 0.7 points if they are real, and so would about 2,300 samples of 130 "
            "groups",
        ),
        ({"difference": 0.0}, f"{HEAD.replace('0.7 points', '0.0 points')}{TOLD}"),
        ({"smallest_difference": 1.0}, HEAD),
        (
            {"p": 0.03},
            f"{HEAD}; by itself this pair could be told apart (p = 0.03), among 3 pairs it cannot",
        ),
    ],
)
def test_what_could_not_be_told(changes: dict[str, Any], text: str) -> None:
    assert sentence(dataclasses.replace(PAIR, **changes), NAMES, 3) == text


def test_sentences_of_one_seed_and_of_b_ahead() -> None:
    one = dataclasses.replace(PAIR, seeds=(4,), seeds_a=(4,), seeds_b=(4,), seeds_known=False, holm_p=0.4)
    assert sentence(one, NAMES, 1).endswith(
        "p = 0.4, 1 seed, n = 431); a difference of 3.0 points could have been told; about 2,300 samples would tell "
        "0.7 points if they are real; one seed tells nothing of seeds"
    )
    # Seeds of both sides, one of them alone on its side: more than one in all, and still nothing is known.
    lopsided = dataclasses.replace(one, seeds=(0, 1, 4), seeds_b=(0, 1), paired_seeds=False)
    text = sentence(lopsided, NAMES, 1)
    assert "1 against 2 seeds, none in common" in text and "number of seeds" not in text
    assert text.endswith("; one seed tells nothing of seeds")
    text = sentence(dataclasses.replace(lopsided, samples_needed=None), NAMES, 1)
    assert text.endswith("; no number of samples alone would tell 0.7 points; one seed tells nothing of seeds")
    behind = dataclasses.replace(
        PAIR, difference=-0.031, low=-0.059, high=-0.004, holm_p=0.02, verdict="b", metric="uar"
    )
    assert sentence(behind, NAMES, 3) == (
        "single-stage is ahead of cascade by 3.1 points (UAR, 95 % interval 0.4 to 5.9, Holm-corrected p = 0.02 over 3 "
        "pairs, 5 seeds, n = 431)"
    )
    apart = dataclasses.replace(behind, paired_seeds=False, seeds_a=(0, 1, 2), seeds_b=(3, 4))
    assert "2 against 3 seeds, none in common, n = 431" in sentence(apart, NAMES, 3)
    # A second digit, where one would put an end on nothing; never a negative nothing.
    assert points(dataclasses.replace(behind, high=-0.0003)) == ("-3.10", "-5.90", "-0.03")
    assert points(dataclasses.replace(PAIR, difference=-0.0, low=-0.01)) == ("0.0", "-1.0", "2.6")


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (1.0, "= 1"),
        (0.4321, "= 0.43"),
        (0.05, "= 0.05"),
        (0.04999, "= 0.04999"),
        (0.0501, "= 0.05"),
        (0.00234, "= 0.0023"),
        (0.001, "= 0.001"),
        (0.00099, "< 0.001"),
        (0.0, "< 0.001"),
    ],
)
def test_p_values_stay_on_their_side_of_five_percent(p: float, text: str) -> None:
    assert p_words(p) == text


def test_facts_of_many_pairs_stand_in_the_order_in_which_they_are_met(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"fact {letter}" for letter in "qwertyuiop"]
    monkeypatch.setattr(comparison, "facts", lambda pair, *_: [Fact(text, text) for text in pair])
    board: Any = SimpleNamespace(pairs=[texts[5:], texts], labels={}, runs={})
    assert [fact.text for fact in general_facts(board)] == [
        *(f"all pairs: {text}" for text in texts[5:]),
        *(f"1 of 2 pairs: {text}" for text in texts[:5]),
    ]


def test_facts_of_rows_that_are_tuned_alike_and_share_stages(made: dict[str, str]) -> None:
    with open_store(made["store"], read_only=True) as store:
        runs: dict[str, Mapping[str, list[Run]]] = {
            name: {"": store.runs(row=made[row])} for name, row in (("a", "tuned"), ("b", "tuned"))
        }
    pair = dataclasses.replace(PAIR, shared_stages=2, groups=24)
    found = facts(pair, NAMES, runs)
    text = [fact.text for fact in found]
    assert not [fact for fact in found if "reported split" in fact.text]
    assert "both go through the same stages 1 to 2 in every seed" in text
    assert "both are tuned (6 tries), and chosen on select" in text
    assert "McNemar's exact test on the majority votes over seeds: p = 1, cascade alone is right on 1 sample, " in (
        next(each for each in text if each.startswith("McNemar"))
    )
    clustered = "it takes samples for independent, which those of one film are not"
    assert any(each.startswith("McNemar") and each.endswith(f"; {clustered}") for each in text)
    assert not any(clustered in fact.text for fact in facts(PAIR, NAMES, runs))
    # What was chosen on the samples that are reported is not said to be chosen on select.
    chosen = [dataclasses.replace(run, notes=("selected on the reported split",)) for run in runs["a"][""]]
    for both in (False, True):
        changed = {"a": {"": chosen}, "b": {"": chosen} if both else runs["b"]}
        found = facts(pair, NAMES, changed)
        assert "both are tuned (6 tries)" in [fact.text for fact in found]
        (warned,) = (fact.text for fact in found if fact.warning and "reported split" in fact.text)
        assert warned == (
            "both were selected on the reported split, which flatters them"
            if both
            else "cascade was selected on the reported split, which flatters it, single-stage was not"
        )


def test_facts_of_one_seed_on_a_side(made: dict[str, str]) -> None:
    with open_store(made["store"], read_only=True) as store:
        runs: dict[str, Mapping[str, list[Run]]] = {
            "a": {"": store.runs(row=made["tuned"])},
            "b": {"": store.runs(row=made["elsewhere"])},
        }
    one = dataclasses.replace(
        PAIR, paired_seeds=False, seeds=(2, 8, 9), seeds_a=(2,), seeds_b=(8, 9), seeds_known=False
    )
    found = facts(one, NAMES, runs)
    text = "no seed in common: 2 against 8-9, on the same samples; interval over the seeds of single-stage and samples"
    assert text in [fact.text for fact in found]
    alone = [fact.text for fact in found if fact.warning and "1 seed" in fact.text]
    assert alone == ["cascade has 1 seed: says nothing of other seeds of it"]
    assert "majority votes" in next(fact.text for fact in found if fact.text.startswith("McNemar"))
    both = facts(dataclasses.replace(one, seeds_b=(9,)), NAMES, runs)
    assert "no seed in common: 2 against 9, on the same samples; interval over samples" in [fact.text for fact in both]
    assert len([fact for fact in both if fact.warning and "has 1 seed" in fact.text]) == 2
    assert not [fact for fact in both if "majority votes" in fact.text]


def test_facts_of_an_ensemble_and_its_member(made: dict[str, str]) -> None:
    with open_store(made["store"], read_only=True) as store:
        member = store.runs(row=made["cascade vgg16"])
        others = store.runs(row=made["single vgg16"])
    parts = [
        (Member(one.entry, one.cell.seed, "s", 0.5), Member(o.entry, 0, "s", 0.5))
        for one, o in zip(member, others, strict=True)
    ]
    mixed = [dataclasses.replace(run, members=some, entry="e" * 64) for run, some in zip(others, parts, strict=True)]
    text = [fact.text for fact in facts(PAIR, NAMES, {"a": {"": mixed}, "b": {"": member}})]
    rows = sorted((made["cascade vgg16"], made["single vgg16"]))
    assert f"cascade is an ensemble: stages and tuning are those of its members, {rows[0]} and {rows[1]}" in text
    assert f"single-stage is one of its members ({made['cascade vgg16']})" in text
    assert not [each for each in text if "is tuned" in each or "the same stage" in each]


@pytest.mark.parametrize("width", [40, 80])
def test_ranks_over_boards_that_cannot_be_told_apart(width: int) -> None:
    names = ("a competitor with a long name", *(f"number {each}" for each in range(9)))
    nemenyi = tuple((a, b, 0.9) for index, a in enumerate(names) for b in names[index + 1 :])
    across = AcrossBoards("uar", 7, names, (1.5, *(2.5,) * 9), 2.0, 0.37, 4.5, nemenyi, (names,), "permutation")
    lines = across_lines(across, fewest=6, width=width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "over 7 boards the data cannot tell the ranks apart (Friedman's statistic 2.00, p by permutation = 0" in text
    assert "is 4.50 ranks apart or more: no pair is" in text
    assert "Friedman's test comes first" in text
    told = dataclasses.replace(across, friedman_p=0.01, nemenyi=tuple((a, b, 0.01) for a, b, _ in nemenyi))
    text = " ".join(" ".join(across_lines(told, fewest=6, width=width)).split())
    assert "45 of 45 pairs are" in text and "Friedman's test comes first" not in text
    few = across_boards({str(n): {"a": 2.0, "b": 1.0} for n in range(5)})
    text = " ".join(" ".join(across_lines(few, fewest=6, width=width)).split())
    assert "over 5 boards the data cannot tell the ranks apart (Friedman's statistic 5.00, exact p = 0.062" in text
    assert "which of them can be told apart is said from 6 boards up" in text and "Nemenyi's test at" not in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom ferbench.cli import root\n"
        "from click.testing import CliRunner\nassert CliRunner().invoke(root, ['compare', '--help']).exit_code == 0\n"
        "print(*{'numpy', 'scipy', 'sqlalchemy', 'statsmodels', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_boards_made_here_are_boards_of_their_own() -> None:
    assert len({made_board(f"set{n}", n=40).fingerprint for n in range(6)}) == 6
    first, again = (answers(FILMS, 0.5, fingerprint("x"), 3) for _ in range(2))
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
