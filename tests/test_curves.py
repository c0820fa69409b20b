"""Curves over the size of the training data: grouped by what else is equal, shown at any width."""

from __future__ import annotations

import dataclasses
import json

import pytest
from tiny import Bench

from ferbench.curves import as_json, curves
from ferbench.leaderboard import leaderboards
from ferbench.publish.curves import CURVES_LEGEND, curve_lines
from ferbench.publish.layout import wrapped
from ferbench.records import Board, Entry, Interval

BOARD = Board("f" * 64, "sfew", "Val", 431, "basic7", 1, 0.195)


def entry(row: str, strategy: str, fraction: float, mean: float, sd: float | None = 0.01, **changes: object) -> Entry:
    accuracy = Interval(mean, sd, mean - 0.02, mean + 0.02, "wilson" if sd is None else "t")
    base = Entry(
        row=row,
        rank=1,
        backbone="vgg16",
        strategy=strategy,
        auxiliaries=("fer2013",) if strategy == "cascade" else (),
        weights="a file",
        image_size=48,
        device="cpu",
        seeds=(0,) if sd is None else (0, 1, 2),
        accuracy=accuracy,
        uar=accuracy,
        macro_f1=accuracy,
        images_seen=1000,
        train_seconds=1.0,
        recipe=(("lr", 0.01),),
        train_fraction=fraction,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


ENTRIES = (
    entry("d", "target-only", 1.0, 0.46),
    entry("a", "target-only", 0.1, 0.25),
    entry("c", "cascade", 0.1, 0.4),
    entry("b", "cascade", 1.0, 0.4812),
    entry("e", "cascade", 0.5, 0.45, None),
    entry("f", "target-only", 0.1, 0.2, recipe=(("lr", 0.1),)),
)


def test_entries_that_differ_in_the_part_alone_are_one_curve() -> None:
    found = curves(ENTRIES)
    assert [(curve.strategy, [point.row for point in curve.points]) for curve in found] == [
        ("cascade", ["c", "e", "b"]),
        ("target-only", ["a", "d"]),
        ("target-only", ["f"]),
    ]
    assert [curve.difference for curve in found] == ["", "lr 0.01", "lr 0.1"]
    assert curves(()) == ()


def test_json_has_every_point() -> None:
    first = as_json(curves(ENTRIES))[0]
    assert json.loads(json.dumps(first)) == first
    assert [point["train_fraction"] for point in first["points"]] == [0.1, 0.5, 1.0]
    assert first["points"][2]["accuracy"] == {
        **{"mean": 0.4812, "sd": 0.01, "low": pytest.approx(0.4612), "high": pytest.approx(0.5012)},
        "interval": "t",
    }


def test_curves_stand_in_columns_of_parts() -> None:
    lines = curve_lines(BOARD, curves(ENTRIES), width=80)
    assert lines[0].startswith("sfew Val · n 431 · basic7")
    assert [line.split() for line in lines[1:8]] == [
        ["strategy", "10", "%", "50", "%", "100", "%"],
        ["cascade", "40.0", "±", "1.0", "45.0", "48.1", "±", "1.0"],
        ["with", "fer2013", "·", "1", "to", "3", "seeds"],
        ["target-only", "25.0", "±", "1.0", "46.0", "±", "1.0"],
        ["lr", "0.01", "·", "3", "seeds"],
        ["target-only", "20.0", "±", "1.0"],
        ["lr", "0.1", "·", "3", "seeds"],
    ]
    assert lines[8:] == wrapped(CURVES_LEGEND, 80)


TWICE = (
    *ENTRIES,
    entry("g", "target-only", 1.0, 0.4111),
    entry("h", "source-only", 0.0, 0.3, None),
    entry("i", "cascade", 0.0984, 0.41, device="NVIDIA X"),
    entry("j", "target-only", 0.09836, 0.27),
)


def test_figures_of_one_part_stand_together_and_devices_are_told() -> None:
    lines = curve_lines(BOARD, curves(TWICE), width=100)
    assert lines[1].split() == ["strategy", "0", "%", "9.84", "%", "10", "%", "50", "%", "100", "%"]
    start = next(n for n, line in enumerate(lines) if line.startswith("target-only"))
    assert lines[start].split() == [
        *["target-only", "27.0", "±", "1.0", "25.0", "±", "1.0"],
        *["46.0", "±", "1.0", "/", "41.1", "±", "1.0"],
    ]
    assert " ".join(lines[start + 1].split()) == "cpu · lr 0.01 · 3 seeds · 100 %: rows d / g"
    # 0 % is a column, and a part that agrees to three digits is no column of its own.
    column = lines[1].index("0 %")
    (source,) = [line for line in lines if line.startswith("source-only")]
    assert source[: column + 3].split() == ["source-only", "30.0"] and not source[column + 3 :].strip()
    (other,) = [line for line in lines if "NVIDIA X" in line]
    assert lines[lines.index(other) - 1].split() == ["cascade", "41.0", "±", "1.0"]
    # Where all are of one device, none is named.
    assert not any("cpu" in line for line in curve_lines(BOARD, curves(ENTRIES), width=100))


def test_parts_that_agree_to_three_digits_share_a_cell() -> None:
    near = (entry("a", "target-only", 0.09841, 0.2), entry("b", "target-only", 0.09838, 0.3))
    (found,) = curves(near)
    assert len(found.points) == 2
    lines = curve_lines(BOARD, [found], width=80)
    assert lines[1].split() == ["strategy", "9.84", "%"]
    assert lines[2].split() == ["target-only", "30.0", "±", "1.0", "/", "20.0", "±", "1.0"]
    assert " ".join(lines[3].split()) == "3 seeds · 9.84 %: rows b / a"


@pytest.mark.parametrize("width", [40, 50, 80, 200])
def test_nothing_is_cut_off_at_any_width(width: int) -> None:
    lines = curve_lines(BOARD, curves(TWICE), width=width)
    assert all(len(line) <= width for line in lines)
    text = " ".join(" ".join(lines).split())
    assert all(f"{100 * each.accuracy.mean:.1f}" in text for each in TWICE)


def test_a_matrix_over_parts_of_train_is_a_curve_from_the_store(bench: Bench) -> None:
    outcome = bench.run("target-only cascade source-only", train_fractions=(0.5, 1.0), seeds=(0, 1))
    assert len(outcome.finished) == 10
    (table,) = leaderboards(bench.store.leaderboard_rows())
    found = {curve.strategy: [point.train_fraction for point in curve.points] for curve in curves(table.entries)}
    # Whole films of 9 of the 56 samples come nearest to a half with three.
    assert found == {"target-only": [27 / 56, 1.0], "cascade": [27 / 56, 1.0], "source-only": [0.0]}
    assert {entry.strategy: entry.notes for entry in table.entries if entry.strategy == "source-only"}
    # The part is told by its own column, not as a difference of recipes.
    assert not any("train_fraction" in note for each in table.entries for note in each.notes)
