"""Time to an accuracy over seeds, by hand, and its column."""

from __future__ import annotations

import dataclasses
import re

import pytest

from ferbench.evidence import Member
from ferbench.publish.board_columns import ACCURACY, with_reach
from ferbench.publish.boards import board_lines
from ferbench.reach import Reach, as_json, reaches
from ferbench.recipes import Recipe
from ferbench.records import Board, Entry, Environment, EpochResult, Interval, Run, StageResult
from ferbench.stages import RANDOM_WEIGHTS, Cell

ENVIRONMENT = Environment("cpu", "a processor", 1, "3.11", "2.14", "0.1", "Linux")


def run(row: str, seed: int, stages: tuple[str, ...], select: float | None) -> Run:
    cell = Cell("net", "random", "s", "film", (), Recipe(), seed)
    board = Board("b" * 64, "film", "val", 431, "basic7", 1, 0.2)
    return Run(
        *(f"{row}{seed}", row * 64, cell, "finished", board, RANDOM_WEIGHTS, ENVIRONMENT, stages),
        select_content="select",
        select_accuracy=select,
    )


def result(stage: str, seconds: float, *tracked: float) -> StageResult:
    epochs = tuple(
        EpochResult(number, 100 * number, 1.0, 1.0, target_accuracy=accuracy)
        for number, accuracy in enumerate(tracked, 1)
    )
    images = 100 * max(1, len(tracked))
    values = (stage, images, seconds, 1.0, 1, epochs, "cpu", 1, 1, 1, "")
    return StageResult(*values, tracked="select" if tracked else "")


RESULTS = {
    each.fingerprint: each
    for each in (
        *(result("aux", 5.0), result("t0", 20.0, 0.3, 0.5, 0.6, 0.7), result("t1", 20.0, 0.1, 0.2)),
        *(result("plain", 9.0), result("mean", 0.0)),
    )
}


def test_rows_have_the_mean_over_the_seeds_that_reached_it() -> None:
    runs = [
        *(run("a", 0, ("aux", "t0"), 0.7), run("a", 1, ("aux", "t1"), 0.2)),
        *(run("b", 0, ("t1",), 0.6), run("b", 1, ("t0",), 0.7)),
        *(run("c", 0, ("aux", "gone"), 0.9), run("d", 0, ("t1",), None)),
        run("e", 0, ("plain",), 0.4),
        dataclasses.replace(run("f", 0, ("mean",), 0.9), members=(Member("a" * 64, 0, "t0", 1.0),)),
    ]
    found = reaches(runs, RESULTS, 0.5)
    # a: the auxiliary's 5 s and two of four epochs of 20 s. b: one seed only at its end, the other after 10 s.
    assert found["a" * 10] == Reach(15.0, 1, 2)
    assert found["b" * 10] == Reach(pytest.approx((20 + 10) / 2), 2, 2)  # type: ignore[arg-type]
    # d was looked at and never reached it. Of c a stage is gone, and e may have reached it on its way.
    assert found["d" * 10] == Reach(None, 0, 1)
    assert found["c" * 10] == found["e" * 10] == Reach(None, None, 1)
    # What stands for an ensemble's stage took no time, and that says nothing.
    assert found["f" * 10] == Reach(None, None, 1)
    assert as_json(found["a" * 10], 0.5) == {"accuracy": 0.5, "train_seconds": 15.0, "reached": 1, "seeds": 2}
    assert as_json(found["e" * 10], 0.5) == {"accuracy": 0.5, "train_seconds": None, "reached": None, "seeds": 1}
    assert as_json(None, 0.5) == {"accuracy": 0.5, "train_seconds": None, "reached": None, "seeds": None}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_column_says_how_many_seeds_reached_it(width: int) -> None:
    interval = Interval(0.5, 0.01, 0.4, 0.6, "t")
    entries = [
        Entry(row, 1, "net", "s", (), "random", 48, "cpu", (0, 1), interval, interval, interval, 10, 60.0)
        for row in ("aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc")
    ]
    view = with_reach(ACCURACY, 50.0, {"a" * 10: Reach(15.0, 1, 2), "b" * 10: Reach(30.0, 2, 2)})
    assert "t over seeds, which speaks of seeds on these very samples and not of other samples" in view.legend
    assert "w Wilson's over samples, films not regarded" in view.legend
    assert "and for ensembles" in view.legend
    lines = board_lines(Board("b" * 64, "film", "val", 431, "basic7", 1, 0.2), entries, width=width, view=view)
    assert max(map(len, lines)) <= width
    if width >= 80:
        last = [re.split(r"\s{2,}", line)[-1] for line in lines if re.match(r"(#|1) ", line)]
        assert last == ["to 50 %", "15 s (1 of 2 seeds)", "30 s", "–"]
    else:
        assert "15 s (1 of 2 seeds)" in " ".join(lines)
