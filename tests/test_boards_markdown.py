"""Markdown of boards, parsed by markdown-it: cells say what they should, and nothing of them is markup."""

from __future__ import annotations

import dataclasses
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ferbench.fingerprints import PROTOCOL_VERSION
from ferbench.leaderboard import FailedEntry
from ferbench.publish.board_columns import COST
from ferbench.publish.boards_markdown import board_markdown, escaped, paragraph, reported_markdown, table
from ferbench.records import Board, Entry, Interval, ReportedResult

BOARD = Board("b" * 64, "film", "val", 1431, "basic7", PROTOCOL_VERSION, 0.2)


def entry(row: str, accuracy: float, **changes: object) -> Entry:
    interval = Interval(accuracy, None, accuracy - 0.1, accuracy + 0.1, "wilson")
    values: dict[str, object] = {
        **{"row": row, "rank": 1, "backbone": "vgg16", "strategy": "s", "auxiliaries": (), "weights": "random"},
        **{"image_size": 48, "device": "cpu", "seeds": (0,), "accuracy": interval, "uar": interval},
        **{"macro_f1": interval, "images_seen": 10_000, "train_seconds": 60.0, "notes": ("1 seed",)},
    }
    return Entry(**(values | changes))  # type: ignore[arg-type]


def parsed(lines: list[str]) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse("\n".join(lines))


def cells(tokens: list[Token]) -> list[list[str]]:
    """The plain text of all rows; a cell with anything but text in it is not plain."""
    found: list[list[str]] = []
    for place, token in enumerate(tokens):
        if token.type == "tr_open":
            found.append([])
        if token.type in ("th_open", "td_open"):
            children = tokens[place + 1].children or []
            assert all(child.type in ("text", "text_special") for child in children), children
            found[-1].append("".join(child.content for child in children))
    return found


def test_a_board_is_a_heading_and_a_table() -> None:
    entries = (
        entry("aaaaaaaaaa", 0.5, backbone="hf/a|b`c*<b>_d_", notes=("1 seed", "two\nlines")),
        entry("bbbbbbbbbb", 0.1, notes=("1 seed", "does not beat the majority line")),
    )
    failed = [FailedEntry("dddddddddd", "vgg16", "s", "film", ("x",), (0, 4), "the loss is <nan>")]
    tokens = parsed(board_markdown(BOARD, entries, failed, hidden=38))
    header, *rows = cells(tokens)
    assert header == [
        *("#", "row", "backbone", "strategy", "weights", "size", "device", "seeds", "accuracy %", "95 % interval"),
        *("UAR %", "F1 %", "images", "time", "notes"),
    ]
    assert rows[0] == [
        *("1", "aaaaaaaaaa", "hf/a|b`c*<b>_d_", "s", "random", "48 px", "cpu", "1", "50.0", "[40.0–60.0] w"),
        *("50.0", "50.0", "10,000", "1 min", "two lines"),
    ]
    assert [row[1] for row in rows] == ["aaaaaaaaaa", "majority", "bbbbbbbbbb"]
    assert rows[1][8] == "20.0"
    text = [token.content for token in tokens if token.type == "inline"]
    assert text[:2] == ["film val", "n 1,431 · basic7 · protocol 1 · majority line 20.0 %"]
    assert {"2 of 40 rows shown", "all rows: 1 seed"} <= {*text}
    assert "failed dddddddddd vgg16 · s · with x · seeds 0, 4: the loss is &lt;nan&gt;" in text
    sides = [dict(token.attrs).get("style") for token in tokens if token.type == "th_open"]
    assert sides[0] == "text-align:right" and sides[1] is None


def test_other_columns_other_order_and_other_protocols() -> None:
    old = dataclasses.replace(BOARD, protocol=PROTOCOL_VERSION - 1)
    view = dataclasses.replace(COST, facts=("sorted by time",))
    entries = (entry("a", 0.1), entry("b", 0.5, forgotten=0.123))
    lines = board_markdown(old, entries, view=view, by_rank=False)
    said = f"stale: measured under protocol {old.protocol}, this ferbench has {PROTOCOL_VERSION}: run again"
    assert f"**{said}**" in lines and "- sorted by time" in lines
    header, *rows = cells(parsed(lines))
    assert [row[1] for row in rows] == ["a", "b", "majority"]
    assert [row[header.index("forgot")] for row in rows] == ["–", "12.3", ""]


def test_published_figures_stand_apart() -> None:
    results = [
        ReportedResult("m|1", "film", None, 0.359, None, "someone 2017, arXiv 1234", "disputed"),
        ReportedResult("m2", "film", "val", 0.5, 1431, "s"),
        ReportedResult("m3", "another", "val", 0.5, 1431, "s"),
    ]
    lines = reported_markdown(results, "film", "val")
    assert lines[0] == "#### reported, not reproduced: film"
    assert cells(parsed(lines))[1:] == [
        ["m2", "val", "1,431", "50", "s", ""],
        ["m|1", "not stated", "not stated", "35.9", "someone 2017, arXiv 1234", "disputed"],
    ]
    assert reported_markdown(results, "third") == []


#: Unicode's classes of signs that turn directions (UAX 9, table 4), and how markdown-it names both ends of a block.
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
ENDS = ("open", "close")

SIGNS = [*"ab1 |\\`*_~<>[]()!#&;@$\n\r\t+-=.:'\"/", "&amp;", "<b>", "**", "``", "![", "]("]
NASTY = st.lists(st.sampled_from(SIGNS), max_size=9).map("".join)


@given(st.lists(st.lists(NASTY | st.text(max_size=6), min_size=2, max_size=2), min_size=1, max_size=3))
def test_any_text_comes_back_from_a_cell(rows: list[list[str]]) -> None:
    expected = [[seen(cell) for cell in row] for row in rows]
    assert cells(parsed(table(["one", "two"], rows)))[1:] == expected


def seen(text: str) -> str:
    """One line, with a sign in the place of each that cannot be seen and does something."""
    line = " ".join(text.split())
    unseen = {sign for sign in line if unicodedata.bidirectional(sign) in BIDI or unicodedata.category(sign) == "Cc"}
    return "".join("\ufffd" if sign in unseen | {"\u200e", "\u200f", "\u061c"} else sign for sign in line)


@given(
    st.lists(st.sampled_from([*"#-+=*>1.) ab\u202e\u2067\x1b", "##", "<b>", "10. ", "---"]), max_size=7).map("".join)
)
def test_any_text_is_an_item_or_a_heading_and_nothing_in_it(text: str) -> None:
    for before, kind in (("- ", "list_item"), ("### ", "heading"), ("", "paragraph")):
        tokens = parsed([before + paragraph(text)])
        around = ("bullet_list", "list_item", "paragraph") if kind == "list_item" else (kind,)
        assert {token.type for token in tokens} <= {"inline", *(f"{each}_{end}" for each in around for end in ENDS)}
        children = [child for token in tokens for child in token.children or ()]
        assert "".join(child.content for child in children) == seen(text)


def test_names_are_not_told_that_they_were_mentioned_and_words_stay_readable() -> None:
    assert escaped("by @someone, a@b") == "by &#64;someone, a@b"
    assert escaped("images_seen 10 of faces@28709") == "images_seen 10 of faces@28709"
