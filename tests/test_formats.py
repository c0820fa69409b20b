"""A board's files: the same rows in each, whatever signs their names have."""

from __future__ import annotations

import csv
import io
import json

import pytest
from made_rows import made_board, made_row
from markdown_it import MarkdownIt

from ferbench.leaderboard import leaderboards
from ferbench.publication.formats import board_files
from ferbench.records import ReportedResult
from ferbench.store import open_store

HOSTILE = "<script>alert('a')</script> | =cmd|'/c calc'!A1 & 50 % $x$ \\input{x} [a](b) `c` \u202e#_é"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    with open_store(str(tmp_path_factory.mktemp("store") / "board.sqlite")) as store:
        board = made_board("=films")
        made_row(store, "cascade", 0.6, board=board, backbone=HOSTILE)
        made_row(store, "single-stage", 0.4, board=board, seeds=(0,))
        made_row(store, "cascade", 0.4, board=board, status="failed", name="failed")
        reported = [ReportedResult(HOSTILE, "=films", "val", 0.5, 120, "a <b>source</b>"), REPORTED_ELSEWHERE]
        (table,) = leaderboards(store.leaderboard_rows())
        first = dict(board_files(table, reported))
        assert board_files(table, reported) == first
        return first


REPORTED_ELSEWHERE = ReportedResult("m", "other", None, 0.5, None, "s")


def test_json_has_all_and_comes_back(files: dict[str, str]) -> None:
    assert list(files) == ["leaderboard.md", "leaderboard.tex", "leaderboard.csv", "leaderboard.json"]
    (board,) = json.loads(files["leaderboard.json"])["boards"]
    assert [entry["backbone"] for entry in board["entries"]] == [HOSTILE, "vgg16"] and len(board["failed"]) == 1
    (reported,) = json.loads(files["leaderboard.json"])["references"]
    assert (reported["method"], reported["status"]) == (HOSTILE, "reported, not reproduced")


def test_csv_has_a_line_for_each_row_and_no_formula(files: dict[str, str]) -> None:
    rows = list(csv.DictReader(io.StringIO(files["leaderboard.csv"], newline="")))
    assert [(row["backbone"], row["target"]) for row in rows] == [(HOSTILE, "'=films"), ("vgg16", "'=films")]


def test_markdown_has_text_and_no_markup_of_names(files: dict[str, str]) -> None:
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(files["leaderboard.md"])
    children = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in children} <= {"text", "text_special", "code_inline", "softbreak"}
    assert not [token for token in tokens if token.type.startswith("html")]
    texts = ["".join(child.content for child in token.children or ()) for token in tokens if token.type == "inline"]
    assert texts.count(HOSTILE.replace("\u202e", "\ufffd")) == 2 and "a <b>source</b>" in texts
    assert "other" not in texts


def test_latex_has_both_tables(files: dict[str, str]) -> None:
    text = files["leaderboard.tex"]
    assert text.startswith("% \\usepackage{booktabs}\n") and text.isascii()
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 2
    assert "\\input" not in text and "<" not in text
    labels = [line for line in text.splitlines() if line.startswith("\\label")]
    assert labels[1] == labels[0].replace("}", "-reported}")
