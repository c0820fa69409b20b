"""Text for people: numbers, tables that lose nothing at any width, plans, progress, predictions."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.cli.progress import BarReporter, LineReporter
from ferbench.costs import PlanCost
from ferbench.fingerprints import PROTOCOL_VERSION
from ferbench.leaderboard import FailedEntry
from ferbench.publish.board_columns import ACCURACY, CALIBRATION
from ferbench.publish.boards import board_lines
from ferbench.publish.catalogs import PluginView, Provided, plugin_lines
from ferbench.publish.components import ComponentView, Fact, component_lines
from ferbench.publish.dataset_checks import SplitCheck, check_lines
from ferbench.publish.datasets import DatasetView, dataset_lines, place_lines
from ferbench.publish.diagnosis import Finding, finding_lines
from ferbench.publish.layout import Paint, aligned
from ferbench.publish.plans import WorkLeft, estimate, plan_json, plan_lines, stage_label, work_line
from ferbench.publish.predictions import csv_header, csv_rows, summary_lines
from ferbench.publish.progress import (
    LogRate,
    TimeLeft,
    as_planned,
    figures,
    run_line,
    stage_lines,
    summary_line,
    truth_line,
)
from ferbench.quantities import amount, counted, duration, figure, joined, percent, size
from ferbench.recipes import Recipe
from ferbench.records import Board, Entry, Environment, EpochResult, Interval, Predictions, Run, Score, StageResult
from ferbench.schedule import CriticalPath
from ferbench.stages import RANDOM_WEIGHTS, Cell, Stage, StageChange, TrainingPart
from ferbench.training import Progress

WIDTHS = (40, 80, 100, 120, 200)


def squeezed(lines: list[str]) -> str:
    """Text without the white space that wrapping and columns put in."""
    return re.sub(r"\s+", "", "".join(lines))


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (0.0, "< 0.1 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (252, "4 min 12 s"),
        (3_599.6, "1 h"),
        (3_600 + 59 * 60 + 45, "2 h"),
        (7_500, "2 h 5 min"),
        (100_000, "1 d 4 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(10, 10**7))
def test_a_duration_says_the_time_to_a_sixtieth(seconds: float) -> None:
    units = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
    words = duration(seconds).split()
    said = sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(said - seconds) <= max(0.51, seconds / 47)
    assert all(0 < int(number) < 60 or unit == "d" for number, unit in zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "unknown"),
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (99_960, "100 kB"),
        (999_600, "1.0 MB"),
        (537_000_000, "537 MB"),
    ],
)
def test_sizes(number: int | None, text: str) -> None:
    assert size(number) == text


def test_words_around_numbers() -> None:
    assert [counted(n, "seed") for n in (0, 1, 2, 1_000)] == ["0 seeds", "1 seed", "2 seeds", "1,000 seeds"]
    assert [joined(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert percent(0.45678) == "45.7"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0, "0"), (0.000067, "0.000067"), (0.1884, "0.188"), (3.118, "3.12"), (16.44, "16.4"), (99.96, "100")),
        *((117.2, "117"), (1640.4, "1,640"), (21_000, "21,000")),
    ],
)
def test_figures_have_three_digits_that_count(number: float, text: str) -> None:
    assert figure(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(12, "12.0"), (33_439, "33.4 k"), (999_600, "1.00 M"), (57_032_519, "57.0 M"), (1.2e9, "1.20 G")],
)
def test_amounts_have_a_unit_of_thousands(number: float, text: str) -> None:
    assert amount(number) == text


# --- boards -----------------------------------------------------------------------------------------------------------

BOARD = Board("f" * 64, "faces-film", "report", 1420, "basic7", 1, 0.2, excluded=3, synthetic=True)


def interval(mean: float, sd: float | None = None) -> Interval:
    return Interval(mean, sd, mean - 0.031, mean + 0.032, "wilson" if sd is None else "t")


def entry(row: str, mean: float, **changes: object) -> Entry:
    fields: dict[str, object] = {
        "row": row,
        "rank": 1,
        "backbone": "vgg16",
        "strategy": "cascade",
        "auxiliaries": ("faces-source",),
        "weights": "random",
        "image_size": 64,
        "device": "cpu",
        "seeds": (0, 1, 2),
        "accuracy": interval(mean, 0.0123),
        "uar": interval(mean - 0.1),
        "macro_f1": interval(mean - 0.15),
        "images_seen": 20_000,
        "train_seconds": 252.0,
        "notes": ("synthetic faces",),
    }
    return Entry(**{**fields, **changes})  # type: ignore[arg-type]


ENTRIES = (
    entry("aaaaaaaaaa", 0.61),
    entry(
        "bbbbbbbbbb",
        0.52,
        backbone="hf/some-organisation/a-rather-long-name-of-a-network",
        strategy="cascade+linear-probe",
        weights="torchvision MobileNet_V2_Weights.IMAGENET1K_V1",
        device="NVIDIA H100 80GB HBM3",
        seeds=(0,),
        accuracy=interval(0.52),
        notes=("1 seed", "synthetic faces"),
    ),
    entry("cccccccccc", 0.18, auxiliaries=(), notes=("does not beat the majority line", "synthetic faces")),
)
FAILED = (FailedEntry("dddddddddd", "vgg16", "lp-ft", "faces-film", (), (0, 4), "the loss is nan within 640 images"),)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_board_fits_its_width_and_loses_nothing(width: int) -> None:
    lines = board_lines(BOARD, ENTRIES, FAILED, width=width)
    assert max(map(len, lines)) <= width
    text = squeezed(lines)
    for each in ENTRIES:
        values = [each.row, each.backbone, each.strategy, each.weights, each.device, *each.notes, *each.auxiliaries]
        values += [percent(value.mean) for value in (each.accuracy, each.uar, each.macro_f1)]
        values += [f"[{percent(each.accuracy.low)}–{percent(each.accuracy.high)}]", "64 px", "20,000", "4 min 12 s"]
        for value in values:
            assert squeezed([value]) in text, value
    for value in ("faces-film report", "n 1,420", "basic7", "protocol 1", "majority line 20.0 %", "synthetic"):
        assert squeezed([value]) in text
    assert squeezed(["dddddddddd vgg16 · lp-ft · seeds 0, 4: the loss is nan within 640 images"]) in text


def test_a_wide_board_is_one_line_an_entry() -> None:
    lines = board_lines(BOARD, ENTRIES[::2], width=200)
    header = next(line for line in lines if line.startswith("#"))
    titles = re.split(r"\s{2,}", header)
    assert titles == [
        *("#", "row", "backbone", "strategy", "with", "weights", "size", "device", "seeds", "accuracy %", "±"),
        *("95 % interval", "UAR %", "F1 %", "images", "time"),
    ]
    row = next(line for line in lines if "aaaaaaaaaa" in line)
    assert re.split(r"\s{2,}", row) == [
        *("1", "aaaaaaaaaa", "vgg16", "cascade", "faces-source", "random", "64 px", "cpu", "3", "61.0", "1.2"),
        *("[57.9–64.2] t", "51.0", "46.0", "20,000", "4 min 12 s"),
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_majority_line_stands_above_what_does_not_beat_it(width: int) -> None:
    lines = board_lines(BOARD, ENTRIES, width=width)
    places = [
        next(number for number, line in enumerate(lines) if re.match(rf"\s*\d?\s*{word}\b", line))
        for word in ("aaaaaaaaaa", "bbbbbbbbbb", "majority", "cccccccccc")
    ]
    assert places == sorted(places)
    assert lines[places[2]].split() == ["majority", "20.0"]


def test_details_are_broken_between_facts_only() -> None:
    lines = board_lines(BOARD, ENTRIES[::2], width=80)
    for fact in ("weights: random", "64 px", "3 seeds", "20,000 images", "trained 4 min 12 s"):
        assert sum(fact in line for line in lines) == 2


def test_a_long_name_gives_way_to_columns_that_have_room() -> None:
    header = next(line for line in board_lines(BOARD, ENTRIES, width=120) if line.startswith("#"))
    assert "backbone" not in header
    assert "seeds" in header
    assert "with" in header


def test_what_all_rows_note_is_said_once() -> None:
    lines = board_lines(BOARD, ENTRIES, width=80)
    assert sum("synthetic faces" in line for line in lines) == 1
    assert "all rows: synthetic faces" in lines
    assert sum("synthetic faces" in line for line in board_lines(BOARD, ENTRIES[:1], width=80)) == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_not_shown_is_said(width: int) -> None:
    view = dataclasses.replace(ACCURACY, facts=("where backbone=vgg*", "sorted by time, least first"))
    lines = board_lines(BOARD, ENTRIES[::-1], FAILED, width=width, view=view, hidden=9_997, by_rank=False)
    assert max(map(len, lines)) <= width
    said = "where backbone=vgg* · sorted by time, least first · 3 of 10,000 rows shown"
    assert squeezed([said]) in squeezed(lines)
    # In another order than by rank there is no place that parts what beats the majority line from what does not.
    places = [lines.index(next(line for line in lines if word in line)) for word in ("aaaaaaaaaa", "majority  ")]
    assert places == sorted(places)
    assert "shown" not in squeezed(board_lines(BOARD, ENTRIES, width=width))


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        (PROTOCOL_VERSION - 1, "! stale: measured under protocol {}, this ferbench has {}: run again"),
        (PROTOCOL_VERSION + 1, "! measured under protocol {}, this ferbench has {}: update ferbench"),
        (PROTOCOL_VERSION, ""),
    ],
)
def test_a_board_of_another_protocol_is_named(protocol: int, said: str) -> None:
    lines = board_lines(dataclasses.replace(BOARD, protocol=protocol), ENTRIES[::2], width=80)
    assert [line for line in lines if "ferbench" in line] == ([said.format(protocol, PROTOCOL_VERSION)] if said else [])


def test_calibration_stands_beside_accuracy() -> None:
    known = {"nll": 1.2345, "brier": 0.5678, "ece": 0.0449, "temperature": 1.5}
    entries = (entry("aaaaaaaaaa", 0.6, **known, calibrated_nll=1.1, calibrated_ece=0.0151), entry("bbbbbbbbbb", 0.5))
    lines = board_lines(BOARD, entries, width=200, view=CALIBRATION)
    header, first = (next(line for line in lines if word in line) for word in ("# ", "aaaaaaaaaa"))
    assert re.split(r"\s{2,}", header)[-6:] == ["NLL", "Brier", "ECE %", "T", "NLL at T", "ECE % at T"]
    assert re.split(r"\s{2,}", first)[-6:] == ["1.23", "0.568", "4.5", "1.50", "1.10", "1.5"]
    assert next(line for line in lines if "bbbbbbbbbb" in line).split()[-6:] == ["–"] * 6
    narrow = squeezed(board_lines(BOARD, entries, width=40, view=CALIBRATION))
    for words in ("Brier 0.568", "T 1.50", "NLL at T 1.10", "ECE at T 1.5 %"):
        assert squeezed([words]) in narrow


def test_colours_change_no_character() -> None:
    plain = board_lines(BOARD, ENTRIES, FAILED, width=80)
    coloured = board_lines(BOARD, ENTRIES, FAILED, width=80, paint=Paint(True))
    assert coloured != plain
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == plain


def test_a_board_without_entries_still_shows_its_majority_line() -> None:
    lines = board_lines(BOARD, (), FAILED, width=80)
    assert any(line.split() == ["majority", "20.0"] for line in lines)
    assert any(line.startswith("failed  dddddddddd") for line in lines)


@given(st.lists(st.lists(st.text("ab ", max_size=9), min_size=3, max_size=3), min_size=1, max_size=5))
def test_columns_stand_below_each_other(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row, line in zip(rows, aligned(rows, ["left", "right", "left"]), strict=True):
        second = widths[0] + 2
        padded = line.ljust(sum(widths) + 4)
        assert padded[: widths[0]] == row[0].ljust(widths[0])
        assert padded[second : second + widths[1]] == row[1].rjust(widths[1])
        assert padded[second + widths[1] + 2 :] == row[2].ljust(widths[2])


# --- plans and progress -----------------------------------------------------------------------------------------------


def stage(name: str, *, images: int = 1_000, seed: int = 0, trainable: str = "all", data: str = "faces") -> Stage:
    part = TrainingPart(data, "tr", "0" * 64, 9)
    recipe = Recipe(images_seen=images, trainable=trainable, image_size=64)
    return Stage(name, 0, "vgg16", RANDOM_WEIGHTS, (part,), ("sad", "happy"), recipe, seed, None)


STAGES = (stage("a"), stage("b", seed=1), stage("c", trainable="head", images=500))
COST = PlanCost(
    *(3, 5, 4, 1, 9_000, 7_000, None, None, 3, {"a": 60.0, "b": 120.0, "c": None}),
    training_seconds={"a": 50.0, "b": 100.0, "c": None},
    shared_by={"a": 2, "b": 2, "c": 1},
    calibrated=frozenset({"a", "b"}),
    kept_checkpoint_bytes=500_000_000,
    peak_checkpoint_bytes=900_000_000,
    critical=CriticalPath(("b",), 1_000, 120.0),
)


def work(seconds: dict[str, float | None]) -> WorkLeft:
    return WorkLeft(training=STAGES, predicting=(), cells=3, done_cells=1, seconds=seconds)


def test_what_is_unknown_is_said_to_be() -> None:
    assert estimate(work({"a": 60.0, "b": 120.0, "c": 72.0})) == "about 4 min 12 s"
    assert estimate(work({"a": 60.0, "b": 120.0, "c": None})) == "over 3 min, 1 stage of unknown speed"
    assert estimate(work({})) == "time unknown, no speed was measured here yet"
    assert estimate(work({"a": 0.1, "b": 0.1, "c": 0.1})) == "under 1 s"


def test_a_plan_in_one_line() -> None:
    line = work_line(work({"a": 60.0, "b": 120.0, "c": 72.0}), COST, "cpu (2 threads)")
    assert line == (
        "3 cells, 1 there already · 3 stages to train (1 more shared, 1 done) · 2,500 images · about 4 min 12 s · "
        "cpu (2 threads)"
    )
    nothing = dataclasses.replace(work({}), training=())
    assert work_line(nothing, COST, "cpu") == "3 cells, 1 there already · nothing to train · cpu"


def test_what_only_has_to_predict_takes_its_time_too() -> None:
    some = dataclasses.replace(work({"a": 60.0, "b": 12.0, "c": 30.0}), training=STAGES[:2], predicting=STAGES[2:])
    assert work_line(some, COST, "cpu") == (
        "3 cells, 1 there already · 2 stages to train (1 more shared, 1 done), 1 to predict · 2,000 images · "
        "about 1 min 42 s · cpu"
    )
    assert "1 done, 2 to train, 1 to predict; 5 if each cell stood alone" in " ".join(plan_lines(some, COST, "cpu"))
    alone = dataclasses.replace(some, training=(), predicting=STAGES[1:])
    assert work_line(alone, COST, "cpu") == "3 cells, 1 there already · 2 stages to predict · about 42 s · cpu"
    assert "time        about 42 s, on cpu" in plan_lines(alone, COST, "cpu")
    unknown = dataclasses.replace(alone, seconds={})
    assert "time        unknown, no speed was measured here yet, on cpu" in plan_lines(unknown, COST, "cpu")


def test_images_that_were_trained_on_before_a_stop_are_left_aside() -> None:
    left = dataclasses.replace(work({"a": 60.0, "b": 120.0, "c": 72.0}), images_done={"b": 900})
    assert "· 1,600 images ·" in work_line(left, COST, "cpu")
    lines = plan_lines(left, COST, "cpu", width=100)
    assert "images      1,600 to train on, 900 were before a stop; 9,000 if each cell stood alone" in lines
    found = plan_json(left, COST)
    assert found["images"] == 9_000 and isinstance(found["left"], list)
    assert [(one["images"], one["images_done"]) for one in found["left"]] == [(1_000, 0), (1_000, 900), (500, 0)]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_plan_puts_alike_stages_together(width: int) -> None:
    lines = plan_lines(work({"a": 60.0, "b": 120.0}), COST, "cpu", width=width)
    assert max(map(len, lines)) <= width
    text = squeezed(lines)
    assert squeezed(["vgg16 · 64 px"]) in text
    for fact in (
        "2 x faces · all layers",
        "1 x faces · head only",
        "~1 min 30 s",
        "~3 min",
        "unknown",
        "longest chain 2 min",
    ):
        assert squeezed([fact]) in text
    assert squeezed(["500 MB of checkpoints to keep, 900 MB at most while it runs"]) in text
    assert ("900MB" in text) and squeezed(["~: from a few steps just now"]) in text


def test_a_plan_is_a_table_where_there_is_room() -> None:
    table = plan_lines(work({"a": 60.0, "b": 120.0, "c": 9.0}), COST, "cpu (2 threads)", width=80)
    assert table == [
        "cells       3, 1 there already",
        "stages      1 done, 3 to train; 5 if each cell stood alone",
        "images      2,500 to train on; 9,000 if each cell stood alone",
        "time        about 3 min 9 s, on cpu (2 threads); longest chain 2 min",
        "disk        500 MB of checkpoints to keep, 900 MB at most while it runs; reduced",
        "            images and stages in the middle come on top",
        "memory      3 B",
        "",
        "     to train            images  cells         each  in all",
        "vgg16 · 64 px",
        "2 x  faces · all layers   1,000      2  ~1 min 30 s  ~3 min",
        "1 x  faces · head only      500      1        9.0 s   9.0 s",
        "",
        "cells: that need each of these stages; ~: from a few steps just now",
    ]


def test_a_plan_tells_recipes_apart_and_knows_nothing_of_disk_where_it_cannot() -> None:
    quick = dataclasses.replace(STAGES[0], fingerprint="d", recipe=dataclasses.replace(STAGES[0].recipe, lr=0.5))
    several = dataclasses.replace(work({}), training=(*STAGES, quick))
    cost = dataclasses.replace(
        COST, shared_by={}, calibrated=frozenset(), kept_checkpoint_bytes=None, critical=CriticalPath((), 0, None)
    )
    lines = plan_lines(several, cost, "cpu", width=80)
    assert "3 x  faces · all layers · 2 recipes   1,000      1  unknown  unknown" in lines
    assert "disk        unknown" in lines
    probe = stage("p", images=9, trainable="head")
    probe = dataclasses.replace(probe, recipe=dataclasses.replace(probe.recipe, augment="none"))
    cached = plan_lines(dataclasses.replace(several, training=(probe,)), COST, "cpu", width=80)
    assert squeezed(["features of frozen parts, reduced images and stages in the middle come"]) in squeezed(cached)
    assert "time        unknown, no speed was measured here yet, on cpu" in lines
    nothing = plan_lines(dataclasses.replace(several, training=()), cost, "cpu", width=80)
    assert nothing[-1] == "time        nothing to train, on cpu"


def test_plan_json_has_the_fields_that_scripts_rely_on() -> None:
    plain = plan_json(work({"a": 60.0, "b": None}), COST)
    left = plain.pop("left")
    assert list(plain.items()) == [
        *(("cells", 3), ("stages", 5), ("unique_stages", 4), ("done_stages", 1), ("images", 9_000)),
        *(("unique_images", 7_000), ("seconds", None), ("checkpoint_bytes", None), ("peak_memory_bytes", 3)),
        *(("kept_checkpoint_bytes", 500_000_000), ("peak_checkpoint_bytes", 900_000_000)),
        ("tries", 0),
        ("critical_path", {"stages": ["b"], "images": 1_000, "seconds": 120.0}),
    ]
    assert isinstance(left, list)
    assert [(one["fingerprint"], one["seconds"], one["shared_by"]) for one in left] == [
        *(("a", 60.0, 2), ("b", None, 2), ("c", None, 1)),
    ]
    assert {name: left[0][name] for name in ("backbone", "datasets", "trained", "image_size", "seed", "images")} == {
        "backbone": "vgg16",
        "datasets": ["faces"],
        "trained": "all",
        "image_size": 64,
        "seed": 0,
        "images": 1_000,
    }
    assert (left[0]["parent"], left[0]["training_seconds"], left[0]["calibrated"]) == (None, 50.0, True)


def test_a_stages_label_names_no_strategy() -> None:
    assert stage_label(STAGES[2]) == "vgg16 · faces · head only · 64 px · seed 0"
    assert stage_label(STAGES[1], seed=False) == "vgg16 · faces · all layers · 64 px"
    cut = dataclasses.replace(STAGES[1], recipe=dataclasses.replace(STAGES[1].recipe, faces="crop"))
    assert stage_label(cut, seed=False) == "vgg16 · faces · all layers · faces crop · 64 px"


def test_time_left_is_corrected_by_what_stages_took() -> None:
    left = TimeLeft(STAGES, {"a": 60.0, "b": 120.0, "c": 30.0})
    left.started(STAGES[0])
    assert left.left(60) == 60 + 150
    left.finished(STAGES[0], 90)  # half as long again as estimated
    left.started(STAGES[1])
    assert left.left(100) == 100 + 1.5 * 30
    left.finished(STAGES[1], 180)
    left.started(STAGES[2])
    assert left.left(5) == 5
    unknown = TimeLeft(STAGES, {"a": 60.0, "b": None, "c": 30.0})
    unknown.started(STAGES[0])
    assert unknown.left(60) is None
    unknown.finished(STAGES[0], 60)
    unknown.started(STAGES[1])
    unknown.finished(STAGES[1], 10)
    assert unknown.left(0) == 30


def test_estimate_and_truth_stand_side_by_side() -> None:
    left = TimeLeft(STAGES, {"a": 60.0, "b": None, "c": 30.0})
    assert truth_line(left) is None
    left.started(STAGES[0])
    # A parent that was lost is trained on the way, and was not estimated.
    left.finished(stage("lost"), 500)
    left.finished(STAGES[0], 90)
    assert truth_line(left) == "1 of 2 stages estimated 1 min, took 1 min 30 s"
    left.started(STAGES[1])
    left.finished(STAGES[1], 7)
    left.started(STAGES[2])
    left.finished(STAGES[2], 30)
    assert truth_line(left) == "2 of 4 stages estimated 1 min 30 s, took 2 min"
    # What had less or more to do than its estimate is of says nothing of the estimates.
    other = TimeLeft(STAGES, {"a": 60.0, "b": 120.0, "c": 30.0})
    other.started(STAGES[0])
    other.finished(STAGES[0], 6, comparable=False)
    other.started(STAGES[1])
    assert other.left(120) == 150 and truth_line(other) is None
    one = TimeLeft(STAGES[:1], {"a": 60.0})
    one.started(STAGES[0])
    one.finished(STAGES[0], 61)
    assert truth_line(one) == "1 stage estimated 1 min, took 1 min 1 s"


RESULT = StageResult(
    *("a", 4_992, 22.0, 226.4, 7, (EpochResult(1, 4_992, 1.6071, 226.0),), "cpu", 2, 32, 9, "sha"), spent_seconds=22.0
)


def test_lines_of_a_stage() -> None:
    assert stage_lines(RESULT, 23.4) == ["trained 4,992 images in 22 s (estimated 23 s), 226 images/s, loss 1.607"]
    assert stage_lines(RESULT, None) == ["trained 4,992 images in 22 s, 226 images/s, loss 1.607"]
    fitted = dataclasses.replace(
        RESULT, history=(), images_per_second=3.21, resumed_at=2_016, notes=("micro-batch 16",)
    )
    assert stage_lines(fitted, None) == [
        "trained 4,992 images in 22 s, 3.2 images/s",
        "went on from image 2,016, where an earlier command had stopped",
        "micro-batch 16",
    ]
    compiled = dataclasses.replace(RESULT, compile_seconds=38.0, spent_seconds=60.0)
    assert stage_lines(compiled, None)[1:] == ["compiling took 38 s more"]


def test_features_that_were_there_are_told_from_those_that_were_computed() -> None:
    fresh = dataclasses.replace(RESULT, feature_seconds=20.0, features_per_second=50.0)
    assert stage_lines(fresh, None)[1:] == ["features of the frozen part took 20 s of it"]
    cached = dataclasses.replace(fresh, spent_seconds=2.1)
    assert stage_lines(cached, None)[1:] == ["features of the frozen part took 20 s of it once, and were there already"]
    # Compiling is spent, but says nothing of features; what an older ferbench stored says nothing at all.
    compiled = dataclasses.replace(cached, spent_seconds=40.1, compile_seconds=38.0)
    assert stage_lines(compiled, None)[1].endswith("were there already")
    old = dataclasses.replace(fresh, spent_seconds=None)
    assert stage_lines(old, None)[1:] == ["features of the frozen part took 20 s of it"]


def test_a_stage_with_less_to_do_than_was_estimated_is_told_apart() -> None:
    fresh = dataclasses.replace(RESULT, feature_seconds=20.0, features_per_second=50.0)
    found = dataclasses.replace(fresh, spent_seconds=2.1)
    paid = dataclasses.replace(COST, feature_seconds={"a": 20.0})
    shared = dataclasses.replace(COST, feature_seconds={"a": 0.0})
    assert as_planned(fresh, paid) and not as_planned(found, paid)
    assert as_planned(found, shared) and as_planned(fresh, shared)
    # A partial checkpoint counts where the plan saw it and training went on from it.
    resumed, seen = dataclasses.replace(RESULT, resumed_at=64), dataclasses.replace(COST, images_done={"a": 64})
    assert as_planned(RESULT, COST) and as_planned(resumed, seen)
    assert not as_planned(resumed, COST) and not as_planned(RESULT, seen)


def test_lines_of_a_stage_fit_a_terminal() -> None:
    long = dataclasses.replace(
        RESULT,
        images_seen=1_000_000,
        train_seconds=754.0,
        feature_seconds=743.0,
        features_per_second=1_346.0,
        spent_seconds=11.0,
        notes=("a note that goes on and on " * 4 + "and ends",),
    )
    assert stage_lines(long, 760.0) == [
        "trained 1,000,000 images in 12 min 34 s (estimated 12 min 40 s), 226 images/s,",
        "  loss 1.607",
        "features of the frozen part took 12 min 23 s of it once, and were there",
        "  already",
        "a note that goes on and on a note that goes on and on a note that goes on and",
        "  on a note that goes on and on and ends",
    ]


def test_a_log_gets_a_line_at_a_sane_rate() -> None:
    def lines(seconds: int) -> int:
        rate = LogRate()
        rate.restart(0.0)
        return sum(rate.due(now, now / seconds) for now in range(1, seconds))

    assert lines(8) == 0
    assert 2 <= lines(40) <= 4
    assert 8 <= lines(1_000) <= 10
    assert lines(36_000) == 119  # ten hours: every five minutes


def test_figures_fit_beside_a_bar() -> None:
    assert figures(1.2345, 812.4, 63, 252) == "loss 1.234  812 images/s  left 1 min 3 s, in all 4 min 12 s"
    assert figures(1.2345, 3.21, 4.2, None) == "loss 1.234  3.2 images/s  left 4 s, in all unknown"
    assert len(figures(12.345, 10_035, 12 * 60 + 30, 12 * 3_600 + 13 * 60)) <= 70


ENVIRONMENT = Environment("cpu", "a processor", 2, "3.11", "2.6", "0.1", "linux")


def run(status: str = "finished", **changes: object) -> Run:
    cell = Cell("vgg16", "auto", "cascade", "film", ("a", "b"), Recipe(), 3)
    fields = {"scores": (Score("accuracy", 0.4567, 10),), "peak_memory_bytes": 1_234_000_000, "error": None, **changes}
    return Run("k", "0123456789abcdef", cell, status, None, RANDOM_WEIGHTS, ENVIRONMENT, **fields)  # type: ignore[arg-type]


def test_lines_of_runs() -> None:
    what = "0123456789  vgg16 · cascade · with a, b · on film · seed 3: "
    assert run_line(run()) == f"finished {what}accuracy 45.7 %"
    assert run_line(run("failed", error="no room")) == f"failed {what}no room"
    assert summary_line([run()], [run("failed")], 2, 252) == (
        "1 finished · 1 failed · 2 there already · wall time 4 min 12 s · peak memory 1.2 GB"
    )
    assert summary_line([], [], 0, 1) == "0 finished · wall time 1.0 s"


# --- predictions ------------------------------------------------------------------------------------------------------


def predictions(*, labels: bool = True, groups: bool = True) -> Predictions:
    rows = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [1 / 3, 1 / 3, 1 / 3]], dtype=np.float32)
    return Predictions(
        "film",
        "val",
        ("plain", 'with "quotes", comma', "zwei\nZeilen", "d"),
        np.array([0, 1, 0, 1]) if labels else None,
        rows,
        ("f1", "f1", "f2", "f2") if groups else None,
    )


@pytest.mark.parametrize("known", [True, False])
def test_csv_can_be_read_back(known: bool) -> None:
    record = predictions(labels=known, groups=known)
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(csv_header(("sad", "happy", "fear")))
    writer.writerows(csv_rows(7, record, ("sad", "happy", "fear")))
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert list(rows[0]) == ["seed", "id", "group", "label", "predicted", "p_sad", "p_happy", "p_fear"]
    assert [row["id"] for row in rows] == list(record.ids)
    assert [row["predicted"] for row in rows] == ["sad", "happy", "happy", "sad"]
    assert [row["label"] for row in rows] == (["sad", "happy", "sad", "happy"] if known else [""] * 4)
    assert [row["group"] for row in rows] == (["f1", "f1", "f2", "f2"] if known else [""] * 4)
    assert rows[3]["p_fear"] == "0.333333"
    assert {row["seed"] for row in rows} == {"7"}


def test_a_summary_by_hand() -> None:
    lines = summary_lines(run(), predictions(), ("sad", "happy", "fear"), width=80)
    words = [line.split() for line in lines]
    assert "2 of 4 right, 50.0 %" in lines
    # sad: truth 0 and 2, predicted 0 and 3; happy: truth 1 and 3, predicted 1 and 2; fear: never.
    assert ["sad", "50.0", "50.0", "50.0", "2"] in words
    assert ["happy", "50.0", "50.0", "50.0", "2"] in words
    assert ["fear", "–", "0.0", "0.0", "0"] in words
    first = words.index(["sad", "1", "1", "0"])
    assert words[first : first + 3] == [["sad", "1", "1", "0"], ["happy", "1", "1", "0"], ["fear", "0", "0", "0"]]


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        (Recipe(), (), "recipe: the default"),
        (Recipe(lr=1e-5, grey=True), (), "recipe: lr 1e-05; grey true"),
        (Recipe(lr=0.5), (StageChange(2, "lr", 0.01),), "recipe: lr 0.5; stage2.lr 0.01"),
    ],
)
def test_a_summary_says_what_is_not_the_default(recipe: Recipe, changes: tuple[StageChange, ...], said: str) -> None:
    cell = Cell("vgg16", "auto", "cascade", "film", ("a", "b"), recipe, 3, changes)
    one = dataclasses.replace(run(), cell=cell)
    assert said in summary_lines(one, predictions(), ("sad", "happy", "fear"), width=80)


def test_a_narrow_confusion_numbers_its_columns() -> None:
    names = ("a-class-with-a-long-name", "another-class-with-one", "and-a-third-one")
    lines = summary_lines(run(), predictions(), names, width=60)
    assert max(map(len, lines)) <= 62
    numbers = [line.split() for line in lines].index(["1", "2", "3"])
    assert lines[numbers + 3].startswith("3 and-a-third-one")


# --- plugins, datasets, doctor ----------------------------------------------------------------------------------------

DATASETS = (
    DatasetView(
        name="film",
        family=False,
        default_for="target",
        embedded=False,
        splits=("Train", "Val"),
        roles={"train": "Train", "report": "Val", "select": "held out of train"},
        licence="a signed agreement with the authors is needed for research that is not commercial",
        citation="",
        steps="ask the authors",
        root=None,
        problem=None,
    ),
    DatasetView("made@", True, None, False, (), {}, "", "", "", None, None, "any number of samples"),
)


@pytest.mark.parametrize("width", WIDTHS)
def test_datasets_at_any_width(width: int) -> None:
    lines = dataset_lines(DATASETS, width=width)
    assert max(map(len, lines)) <= width
    text = squeezed(lines)
    for value in ("film", "not found", "target", "Train (train), Val (report)", "held out of train (select)", "made@…"):
        assert squeezed([value]) in text
    assert squeezed([DATASETS[0].licence]) in text
    places = place_lines(DATASETS, "/data", width=width)
    assert "not found. Ask the authors." in textwrap.dedent("\n".join(places))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_check_shows_what_differs(width: int) -> None:
    split = SplitCheck(
        "Train", ("train",), {"sad": 3, "happy": 1_000}, 0, {"sad": 3, "happy": 1_004}, ("odd",), "short"
    )
    lines = check_lines("film", [split], "/data/film", width=width)
    assert max(map(len, lines)) <= width
    text = squeezed(lines)
    for value in ("Train (train)", "1,000 of 1,004", "1,003 of 1,007", "warning: odd", "fault: short"):
        assert squeezed([value]) in text
    assert "ok:" not in text
    sound = dataclasses.replace(split, published={}, fault=None)
    assert squeezed(["ok: 1 split, read without a fault"]) in squeezed(check_lines("film", [sound], "/", width=width))


@pytest.mark.parametrize("width", WIDTHS)
def test_components_at_any_width(width: int) -> None:
    facts: dict[str, Fact] = {
        "citation": "",
        "image_size": 1_224,
        "classes": ("angry", "sad"),
        "roles": {"train": "Training", "report": "PrivateTest"},
        "recipe": {"lr": 0.003, "grey": True},
    }
    views = [
        ComponentView("dataset", "film", "mine (dist 1.0)", facts),
        ComponentView("strategy", "film", "mine (dist 1.0)", {}),
    ]
    lines = component_lines(views, width=width)
    assert max(map(len, lines)) <= width
    assert lines.count("") == 1
    for value in (
        *("dataset film", "plugin mine (dist 1.0)", "citation not stated", "image size 1,224", "classes angry, sad"),
        *("roles train Training, report PrivateTest", "recipe lr 0.003, grey yes", "strategy film"),
    ):
        assert squeezed([value]) in squeezed(lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_plugins_and_findings_at_any_width(width: int) -> None:
    provides = (
        Provided("backbone", "one", False, ""),
        Provided("backbone", "two", False, ""),
        Provided("dataset", "made@", True, "any number of samples that a user may ask for in words"),
    )
    views = [
        PluginView("good", "dist 1.0", "0123456789abcdef", provides, None),
        PluginView("bad", "dist 1.0", "", (), "plugin bad (dist 1.0) could not be imported: ImportError: nothing"),
        PluginView("watcher", "dist 1.0", "ff" * 32, (), None),
    ]
    lines = plugin_lines(views, width=width)
    assert max(map(len, lines)) <= width
    for value in ("backbone one, two", "dataset made@…: any number", "sha256 0123456789", "ImportError", "observes"):
        assert squeezed([value]) in squeezed(lines)
    findings = finding_lines([Finding("store", "x" * 90), Finding("cache", "full", broken=True)], width=width)
    assert max(map(len, findings)) <= width
    assert squeezed(["store", "x" * 90, "cache broken: full 1 broken"]) == squeezed(findings)
    assert finding_lines([Finding("store", "fine")])[-1] == "nothing is broken"


@pytest.mark.parametrize("kind", [LineReporter, BarReporter])
def test_the_search_for_faces_is_no_part_of_what_a_stage_is_estimated_to_take(
    kind: type[LineReporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("ferbench.cli.progress.time", SimpleNamespace(monotonic=lambda: now))
    stream = io.StringIO()
    reporter = kind(stream)
    reporter.begin(work({"a": 10.0}), dataclasses.replace(COST, training_seconds={"a": 10.0}))
    with reporter:
        reporter.stage_started(STAGES[0], 1, 1)
        now = 600.0
        reporter.stage_progress(STAGES[0], Progress(50, 100, None, 9.0, 600.0, "faces"))
        now = 612.0
        reporter.stage_finished(STAGES[0], dataclasses.replace(RESULT, fingerprint="a"))
    reporter.end()
    assert stream.getvalue().endswith("1 stage estimated 10 s, took 12 s\n")
