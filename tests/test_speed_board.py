"""The speed board as text and JSON, and what accuracy boards show as cost."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from ferbench.publish.board_columns import COST
from ferbench.publish.boards import board_lines
from ferbench.publish.columns import Column, fitted
from ferbench.publish.layout import Paint
from ferbench.publish.speed import speed_lines, speeds_json
from ferbench.records import Board, Entry, Interval, SpeedMeasurement, Spread


def measured(backbone: str, rate: float, **changes: object) -> SpeedMeasurement:
    fields: dict[str, object] = {
        "backbone": backbone,
        "image_size": 64,
        "batch_size": 32,
        "precision": "fp32",
        "device": "cpu",
        "threads": 2,
        "compiled": False,
        "processor": "A processor at 2 GHz",
        "torch": "2.14.1",
        "ferbench": "0.1.0",
        "training_images_per_second": Spread(rate, rate - 10, rate + 5),
        "inference_images_per_second": Spread(4 * rate, 4 * rate - 7, 4 * rate + 9),
        "latency_p50_seconds": 0.00312,
        "latency_p95_seconds": 0.0124,
        "peak_memory_bytes": 1_234_000_000,
        "parameters": 57_032_519,
        "forward_flops": 188_155_264,
        "matrix_flops_per_second": 98.6e9,
        "training_mfu": 0.45,
        "inference_mfu": 0.61,
        "compile_seconds": 0.0,
        "repeats": 5,
        "measured_at": "2026-01-02T03:04:05+00:00",
    }
    return SpeedMeasurement(**{**fields, **changes})  # type: ignore[arg-type]


ROWS = (
    measured("alexnet", 117.0),
    measured("timm/some_network_with_a_rather_long_name.in1k", 1640.0, notes=("the machine was busy: 43 %",)),
    measured("vgg16", 15.5, batch_size=8, compiled=True, compile_seconds=38.0),
)
ON_GPU = measured("alexnet", 21_000.0, device="NVIDIA H100 80GB HBM3", precision="bf16", threads=16)


def squeezed(lines: list[str]) -> str:
    return re.sub(r"\s+", "", "".join(lines))


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_speed_board_fits_its_width_and_loses_nothing(width: int) -> None:
    lines = speed_lines([*ROWS, ON_GPU], width=width)
    assert max(map(len, lines)) <= width
    text = squeezed(lines)
    for each in (*ROWS, ON_GPU):
        assert squeezed([each.backbone]) in text
    for words in (
        *("cpu, 2 threads", "A processor at 2 GHz", "NVIDIA H100 80GB HBM3", "16 threads", "torch 2.14.1"),
        *("117", "107–122", "468", "461–477", "1,640", "15.5", "5.50–20.5", "21,000", "84,000", "3.12", "12.4"),
        *("1.2 GB", "57.0 M", "0.188", "fp32 compiled", "bf16", "compiled in 38 s", "98.6 GFLOP/s", "5 repetitions"),
        *("2026-01-02", "the machine was busy: 43 %"),
    ):
        assert squeezed([words]) in text, words


def test_the_fastest_in_training_stands_first_and_machines_stand_apart() -> None:
    lines = speed_lines([*ROWS, ON_GPU], width=200)
    firsts = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert firsts == ["NVIDIA", "backbone", "alexnet", "cpu,", "backbone", ROWS[1].backbone, "alexnet", "vgg16"]


def test_what_all_rows_share_is_said_once() -> None:
    noted = [dataclasses.replace(each, batch_size=32, notes=("the machine was busy: 43 %",)) for each in ROWS]
    text = "\n".join(speed_lines(noted, width=80))
    for words in ("the machine was busy", "batch 32", "5 repetitions", "98.6 GFLOP/s"):
        assert text.count(words) == 1
    own = "\n".join(speed_lines(ROWS, width=80))
    assert own.count("the machine was busy") == 1
    assert own.count("batch 32") == 2
    assert own.count("batch 8") == 1


def test_colours_change_no_character() -> None:
    plain = speed_lines(ROWS, width=80)
    coloured = speed_lines(ROWS, width=80, paint=Paint(True))
    assert coloured != plain
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == plain


def test_json_has_every_field_sorted_by_training_speed() -> None:
    printed = json.loads(json.dumps(speeds_json(ROWS)))["speeds"]
    assert [each["backbone"] for each in printed] == [ROWS[1].backbone, "alexnet", "vgg16"]
    assert list(printed[0]) == [field.name for field in dataclasses.fields(SpeedMeasurement)]
    assert printed[1]["training_images_per_second"] == {"median": 117.0, "low": 107.0, "high": 122.0}
    assert printed[1]["notes"] == []


def test_columns_leave_in_the_order_that_is_asked_for() -> None:
    columns = [Column(title, lambda row: row, lambda row: row) for title in ("one", "two", "six", "ten")]
    # Three letters each and two blanks between: 18 in all.
    assert [each.title for each in fitted(columns, ["abc"], 18, ("two", "one"))[0]] == ["one", "two", "six", "ten"]
    kept, moved = fitted(columns, ["abc"], 17, ("two", "one"))
    assert [each.title for each in kept] == ["one", "six", "ten"]
    assert [each.title for each in moved] == ["two"]
    kept, moved = fitted(columns, ["abc"], 17, ("two", "one"), empty=("six",))
    assert [each.title for each in kept] == ["one", "two", "ten"]
    assert moved == []
    assert [each.title for each in fitted(columns, ["abc"], 18, ("two", "one"), least={"ten": 4})[1]] == ["two"]


# --- cost on accuracy boards ------------------------------------------------------------------------------------------

BOARD = Board("f" * 64, "faces-film", "report", 1420, "basic7", 1, 0.2)


def entry(row: str, **changes: object) -> Entry:
    interval = Interval(0.613, None, 0.58, 0.64, "wilson")
    fields: dict[str, object] = {
        "row": row,
        "rank": 1,
        "backbone": "alexnet",
        "strategy": "cascade",
        "auxiliaries": ("faces-source",),
        "weights": "random",
        "image_size": 64,
        "device": "cpu",
        "seeds": (0,),
        "accuracy": interval,
        "uar": interval,
        "macro_f1": interval,
        "images_seen": 20_000,
        "train_seconds": 252.0,
        "images_per_second": 79.4,
        "spent_seconds": 125.0,
        "peak_memory_bytes": 1_500_000_000,
        "parameters": 57_032_519,
        "forward_flops": 188_155_264,
        "inference_images_per_second": 468.0,
        "latency_p50_seconds": 0.00312,
    }
    return Entry(**{**fields, **changes})  # type: ignore[arg-type]


KNOWN = entry("aaaaaaaaaa")
UNKNOWN = entry(
    "bbbbbbbbbb",
    **dict.fromkeys(("images_per_second", "spent_seconds", "peak_memory_bytes", "parameters")),
    **dict.fromkeys(("forward_flops", "inference_images_per_second", "latency_p50_seconds")),
)


@pytest.mark.parametrize("width", [40, 80, 120, 220])
def test_costs_fit_any_width_and_are_all_there(width: int) -> None:
    lines = board_lines(BOARD, (KNOWN, UNKNOWN), width=width, view=COST)
    assert max(map(len, lines)) <= width
    text = squeezed(lines)
    for words in ("61.3", "79.4", "4 min 12 s", "2 min 5 s", "1.5 GB", "57.0 M", "0.188", "468", "3.12", "20,000"):
        assert squeezed([words]) in text, words
    assert "None" not in text


def test_an_unknown_cost_is_a_dash_in_its_column_and_nothing_below() -> None:
    lines = board_lines(BOARD, (UNKNOWN,), width=220, view=COST)
    row = next(line for line in lines if "bbbbbbbbbb" in line)
    assert re.split(r"\s{2,}", row)[-8:] == ["4 min 12 s", *["–"] * 7]
    narrow = "\n".join(board_lines(BOARD, (UNKNOWN,), width=40, view=COST))
    assert "parameters" not in narrow and "spent" not in narrow


def test_costs_are_shown_only_where_they_are_asked_for() -> None:
    header = next(line for line in board_lines(BOARD, (KNOWN,), width=220) if line.startswith("#"))
    assert "UAR %" in header and "GFLOPs" not in header
    header = next(line for line in board_lines(BOARD, (KNOWN,), width=220, view=COST) if line.startswith("#"))
    assert "UAR %" not in header
    assert header.split()[-8:] == ["spent", "train/s", "memory", "params", "GFLOPs", "infer/s", "p50", "ms"]


def test_forgetting_is_a_column_where_it_is_known() -> None:
    lines = board_lines(BOARD, (entry("a", forgotten=0.1234), entry("b", forgotten=-0.02), KNOWN), width=220, view=COST)
    place = re.split(r"\s{2,}", lines[1]).index("forgot")
    assert [re.split(r"\s{2,}", line)[place] for line in (lines[2], lines[3], lines[4])] == ["12.3", "-2.0", "–"]
    assert not any("forgot" in line for line in board_lines(BOARD, (KNOWN,), width=220, view=COST))
