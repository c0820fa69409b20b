"""CSV of boards, read back by pandas and by the standard library."""

from __future__ import annotations

import csv
import dataclasses
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.fingerprints import PROTOCOL_VERSION
from ferbench.generalisation import FurtherEntry
from ferbench.publish.boards_csv import boards_csv, defused
from ferbench.reach import Reach
from ferbench.records import Board, Entry, FurtherScores, Interval

BOARD = Board("b" * 64, "film", "val", 431, "basic7", PROTOCOL_VERSION, 0.2, excluded=3, synthetic=True)
STALE = dataclasses.replace(BOARD, fingerprint="c" * 64, target="old", protocol=PROTOCOL_VERSION - 1)
THIRD = Interval(1 / 3, 0.0123, 0.3, 0.4, "t")


def entry(row: str, **changes: object) -> Entry:
    values: dict[str, object] = {
        **{"row": row, "rank": 1, "backbone": "vgg16", "strategy": "s", "auxiliaries": ("a", "b:tr+va")},
        **{"weights": "random", "image_size": 48, "device": "cpu", "seeds": (0, 1, 2), "accuracy": THIRD},
        **{"uar": Interval(0.1, None, 0.0, 0.2, "cluster-bootstrap"), "macro_f1": THIRD, "images_seen": 10},
        **{"train_seconds": 12.5, "notes": ('a "quoted" note, with a comma', "zwei\nZeilen"), "forgotten": -0.03},
        **{"final_stages": ("s0", None, "s2"), "recipe": (("lr", 0.003), ("grey", True), ("stage2.lr", 1e-05))},
    }
    return Entry(**(values | changes))  # type: ignore[arg-type]


def test_pandas_reads_every_value() -> None:
    other = entry("1234567890", recipe=(("lr", 0.1),), forgotten=None, tries=6, weights="=HYPERLINK(1)")
    text = boards_csv([(BOARD, (entry("00000e1234"), other)), (STALE, (entry("cccccccccc"),))])
    assert text.count("\r\n") == 4
    table = pd.read_csv(io.StringIO(text), dtype={"row": str})
    assert list(table["row"]) == ["00000e1234", "1234567890", "cccccccccc"]
    assert list(table.columns[:11]) == [
        *("target", "split", "n", "label_set", "protocol", "stale", "board", "majority", "excluded", "synthetic", "row")
    ]
    assert list(table["stale"]) == [False, False, True] and list(table["synthetic"]) == [True] * 3
    first, second = table.iloc[0], table.iloc[1]
    assert (first["accuracy"], first["accuracy_sd"]) == pytest.approx((1 / 3, 0.0123), rel=1e-15)
    assert first["accuracy_interval"] == "t"
    assert (first["uar_interval"], first["uar_low"]) == ("cluster-bootstrap", 0.0) and pd.isna(first["uar_sd"])
    assert (first["auxiliaries"], first["seeds"], first["seed_count"]) == ("a,b:tr+va", "0 1 2", 3)
    assert first["notes"] == 'a "quoted" note, with a comma; zwei\nZeilen'
    assert (first["final_stages"], first["recipe.lr"], first["stage2.lr"]) == ("s0 none s2", 0.003, 1e-05)
    assert pd.isna(second["stage2.lr"]) and pd.isna(second["forgotten"]) and second["tries"] == 6
    # A negative number is a number, a text that begins like a formula is none.
    assert first["forgotten"] == -0.03 and second["weights"] == "'=HYPERLINK(1)"
    assert table["forgotten"].dtype.kind == table["accuracy"].dtype.kind == "f"


def test_every_field_of_a_row_has_a_column() -> None:
    header = next(csv.reader(io.StringIO(boards_csv([]))))
    fields = {field.name for field in dataclasses.fields(Entry)} - {"recipe"}
    assert fields <= {*header} and {"recipe.lr", "recipe.label_set", "accuracy_low"} <= {*header}
    assert len(header) == len({*header})
    filled = next(csv.reader(io.StringIO(boards_csv([(BOARD, [entry("a")])]))))
    assert filled == [*header, "stage2.lr"]


def test_further_datasets_and_reach_are_columns_where_they_are_asked_for() -> None:
    of = FurtherScores("fer2013", "PrivateTest", 3589, "0123456789", "basic7", ())
    further = {BOARD.fingerprint: {"a": (FurtherEntry(of, (0, 2), THIRD, THIRD, THIRD),)}}
    reach = (60.0, {BOARD.fingerprint: {"a": Reach(7.5, 2, 3)}})
    text = boards_csv([(BOARD, (entry("a"), entry("b")))], further=further, reach=reach)
    first, second = csv.DictReader(io.StringIO(text))
    name = "fer2013 PrivateTest 012345"
    assert (first[f"{name} accuracy"], first[f"{name} n"], first[f"{name} seed_count"]) == (repr(1 / 3), "3589", "2")
    assert (first["seconds_to_60_percent"], first["seconds_to_60_percent_seeds"]) == ("7.5", "2")
    assert {second[f"{name} accuracy"], second["seconds_to_60_percent"]} == {""}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠"])
def test_formulas_are_defused(start: str) -> None:
    assert defused(f"{start}1+1") == f"'{start}1+1"
    assert [defused(cell) for cell in (-1, -0.5, None, True, "a=1", "")] == [-1, -0.5, None, True, "a=1", ""]


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_any_text_comes_back(names: list[str]) -> None:
    text = boards_csv([(BOARD, [entry("a", backbone=name) for name in names])])
    # csv reads the line ends that it writes only where the stream does not translate them.
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["backbone"] for row in rows] == [defused(name) for name in names]


def test_pandas_and_csv_read_hostile_names_alike() -> None:
    names = [
        '=1+1,"x"',
        "a;b\tc",
        'he said ""',
        "line\r\nend",
        "<script>alert(1)</script>",
        "\u202eevil",
        "＝1",
        "",
        "'=1",
    ]
    text = boards_csv([(BOARD, [entry("a", backbone=name) for name in names])])
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    table = pd.read_csv(io.BytesIO(text.encode()), keep_default_na=False, dtype={"backbone": str})
    assert list(table["backbone"]) == [row["backbone"] for row in rows] == list(map(defused, names))
    assert len({len(row) for row in rows}) == 1
