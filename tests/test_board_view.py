"""Which rows are shown, in which order: ranks stay, nothing is lost unsaid."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.board_view import REACH, Sort, arranged, chosen, parse_sort, shortened
from ferbench.errors import UsageError
from ferbench.leaderboard import BoardTable, FailedEntry, as_json
from ferbench.records import Board, Entry, Interval, RunSummary
from ferbench.row_filter import parse_where

BOARD = Board("b" * 64, "film", "val", 431, "basic7", 1, 0.2)
OTHER = dataclasses.replace(BOARD, fingerprint="c" * 64, target="other")


def entry(row: str, rank: int, accuracy: float, seconds: float = 1.0, **changes: object) -> Entry:
    interval = Interval(accuracy, 0.01, accuracy - 0.1, accuracy + 0.1, "t")
    values: dict[str, object] = {
        **{"row": row * 10, "rank": rank, "backbone": "vgg16", "strategy": "s", "auxiliaries": (), "weights": "random"},
        **{"image_size": 48, "device": "cpu", "seeds": (0, 1), "accuracy": interval, "uar": interval},
        **{"macro_f1": interval, "images_seen": 10, "train_seconds": seconds},
    }
    return Entry(**(values | changes))  # type: ignore[arg-type]


def run(row: str, board: Board | None = BOARD, **changes: object) -> RunSummary:
    values: dict[str, object] = {
        **{"entry": row * 64, "status": "finished", "board": board, "backbone": "vgg16", "strategy": "s"},
        **{"target": "film", "auxiliaries": (), "weights": "random", "image_size": 48, "device": "cpu", "seed": 0},
        **{"images_seen": 10, "train_seconds": 1.0, "accuracy": None, "uar": None, "macro_f1": None},
    }
    return RunSummary(**(values | changes))  # type: ignore[arg-type]


ENTRIES = (
    entry("a", 1, 0.6, 9.0, nll=1.5),
    entry("b", 1, 0.5, 3.0, backbone="alexnet"),
    entry("c", 3, 0.4, 3.0, nll=1.2),
    entry("d", 4, 0.3, 5.0, nll=1.9),
)
FAILED = FailedEntry("ffffffffff", "vgg16", "s", "film", (), (0,), "out of memory")
TABLES = (BoardTable(BOARD, ENTRIES, (FAILED,)), BoardTable(OTHER, (entry("a", 1, 0.9),)))
RUNS = (
    *(run("a"), run("b", backbone="alexnet"), run("c", seed=7), run("d", seed=8), run("a", OTHER)),
    run("f", status="failed"),
)


def rows(table: BoardTable) -> str:
    return "".join(each.row[0] for each in table.entries)


@pytest.mark.parametrize(
    ("texts", "kept", "failed"),
    [
        ([], ["abcd", "a"], 1),
        (["backbone=vgg*"], ["acd", "a"], 1),
        (["target=film", "board=b"], ["abcd"], 1),
        (["accuracy>35%"], ["abc", "a"], 0),
        (["seed=7-8", "accuracy<0.4"], ["d"], 0),
        (["status=failed"], [""], 1),
        (["seed=9"], [], 0),
    ],
)
def test_a_filter_leaves_ranks_as_they_are(texts: list[str], kept: list[str], failed: int) -> None:
    found = chosen(TABLES, RUNS, parse_where(texts))
    assert [rows(table) for table in found] == kept
    assert sum(len(table.failed) for table in found) == failed
    ranks = {(table.board.target, each.row): each.rank for table in TABLES for each in table.entries}
    for table, whole in zip(found, TABLES, strict=False):
        assert all(ranks[table.board.target, each.row] == each.rank for each in table.entries)
        assert table.hidden == len(whole.entries) - len(table.entries)
    assert [board["rows"] for board in as_json(found)["boards"]] == [4, 1][: len(found)]


@pytest.mark.parametrize(
    ("text", "order", "words"),
    [
        ("rank", "abcd", "sorted by rank, least first"),
        ("rank-", "dcab", "sorted by rank, most first"),
        ("accuracy", "abcd", "sorted by accuracy, most first"),
        ("accuracy-", "dcba", "sorted by accuracy, least first"),
        # Equal times stay in the order of ranks, whichever way.
        ("time", "bcda", "sorted by train_seconds, least first"),
        ("train-seconds-", "adbc", "sorted by train_seconds, most first"),
        # What is not known is last, whichever way.
        ("nll", "cadb", "sorted by nll, least first"),
        ("nll-", "dacb", "sorted by nll, most first"),
        ("backbone", "bacd", "sorted by backbone"),
        ("backbone-", "acdb", "sorted by backbone, from the end"),
    ],
)
def test_rows_are_sorted_best_first(text: str, order: str, words: str) -> None:
    sort = parse_sort(text)
    assert rows(arranged(TABLES[0], sort)) == order
    assert (sort.words, sort.by_rank) == (words, text == "rank")


def test_rows_are_sorted_by_the_time_to_an_accuracy() -> None:
    seconds = {"a" * 10: 7.0, "b" * 10: None, "d" * 10: 2.0}
    assert rows(arranged(TABLES[0], parse_sort("reach"), seconds)) == "dabc"
    assert rows(arranged(TABLES[0], Sort(REACH))) == "abcd"


@given(st.sampled_from(["rank", "accuracy-", "time", "nll"]), st.integers(1, 6), st.sets(st.sampled_from("abcdx")))
def test_the_first_rows_and_those_that_are_always_shown(text: str, most: int, always: set[str]) -> None:
    table = arranged(TABLES[0], parse_sort(text))
    short = shortened(table, most, {row * 10 for row in always})
    assert rows(short).startswith(rows(table)[:most])
    assert set(rows(short)) == {*rows(table)[:most]} | (always & {*"abcd"})
    assert len(short.entries) + short.hidden == 4
    assert shortened(table, None) is table
    # Two shorten one after the other, and what is hidden adds up.
    assert shortened(short, 1).hidden == 3


def test_no_order_but_a_known_one() -> None:
    with pytest.raises(UsageError, match="did you mean accuracy") as error:
        parse_sort("acuracy")
    assert "latency_p50_seconds" in error.value.line
    with pytest.raises(UsageError, match="--sort ''"):
        parse_sort("")
    assert json.loads(json.dumps(as_json(TABLES)))["boards"][0]["rows"] == 4
