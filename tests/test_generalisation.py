"""Rows on further datasets: means by hand, columns at any width, ranked nowhere."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.stats

from ferbench.errors import StoreError
from ferbench.generalisation import as_json, further_entries
from ferbench.publish.boards import board_lines
from ferbench.publish.generalisation import generalisation_view
from ferbench.records import Board, Entry, FurtherScores, Interval, Score

BOARD = Board("b" * 64, "film", "val", 431, "basic7", 1, 0.2)
INTERVAL = Interval(0.5, 0.01, 0.4, 0.6, "t")


def entry(row: str, stages: tuple[str | None, ...], **changes: object) -> Entry:
    values: dict[str, object] = {
        **{"row": row, "rank": 1, "backbone": "vgg16", "strategy": "s", "auxiliaries": (), "weights": "random"},
        **{"image_size": 48, "device": "cpu", "seeds": tuple(range(len(stages))), "accuracy": INTERVAL},
        **{"uar": INTERVAL, "macro_f1": INTERVAL, "images_seen": 10, "train_seconds": 60.0, "final_stages": stages},
    }
    return Entry(**(values | changes))  # type: ignore[arg-type]


def scored(dataset: str, accuracy: float, content: str = "c0ffee00", **changes: object) -> FurtherScores:
    scores = tuple(
        Score(metric, value, 3589, value - 0.02, value + 0.03, "bootstrap")
        for metric, value in (("accuracy", accuracy), ("uar", accuracy / 2), ("macro_f1", accuracy / 4))
    )
    values = {"dataset": dataset, "split": "test", "n": 3589, "content": content, "label_set": "basic7"}
    return FurtherScores(**({"scores": scores} | values | changes))  # type: ignore[arg-type]


STORED = {
    "s0": (scored("fer", 0.40), scored("own", 0.9)),
    "s1": (scored("fer", 0.44, excluded=5),),
    "s2": (scored("fer", 0.45, trained_on=1200),),
    "t0": (scored("fer", 0.3, content="decade00"),),
}


def test_seeds_are_put_together_as_on_the_board() -> None:
    fer, own = further_entries(entry("a", ("s0", "s1", "s2")), STORED)
    low, high = scipy.stats.t.interval(0.95, 2, np.mean([0.4, 0.44, 0.45]), scipy.stats.sem([0.4, 0.44, 0.45]))
    assert (fer.of.dataset, fer.seeds, fer.accuracy.kind) == ("fer", (0, 1, 2), "t")
    assert (fer.accuracy.mean, fer.accuracy.low, fer.accuracy.high) == pytest.approx((0.43, low, high))
    assert (fer.uar.mean, fer.macro_f1.mean) == pytest.approx((0.215, 0.1075))
    assert (own.seeds, own.accuracy) == ((0,), Interval(0.9, None, 0.88, 0.93, "bootstrap"))
    printed = as_json((fer, own))
    assert (printed[0]["dataset"], printed[0]["n"], printed[0]["seeds"]) == ("fer", 3589, [0, 1, 2])
    assert [each["trained_on"] for each in printed] == [1200, 0]
    assert printed[1]["accuracy"] == {"mean": 0.9, "sd": None, "low": 0.88, "high": 0.93, "interval": "bootstrap"}
    assert further_entries(entry("a", (None, "nowhere")), STORED) == ()


def test_scores_that_lack_a_metric_are_named() -> None:
    broken = {"s0": (scored("fer", 0.4, scores=(Score("accuracy", 0.4, 3589),)),)}
    with pytest.raises(StoreError, match="fer test lack uar"):
        further_entries(entry("a", ("s0",)), broken)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_column_for_every_dataset_at_any_width(width: int) -> None:
    entries = (entry("aaaaaaaaaa", ("s0", "s1", "s2")), entry("bbbbbbbbbb", ("t0",), rank=2), entry("cc", ("n",)))
    view = generalisation_view({each.row: further_entries(each, STORED) for each in entries})
    lines = board_lines(BOARD, entries, width=width, view=view)
    assert max(map(len, lines)) <= width
    text = re.sub(r"\s+", "", "".join(lines))
    for fact in ("fer test c0ffee: n 3,589", "43.0 ± 2.6, 1,200 seen", "90.0 (1 of 3 seeds)", "30.0", "own test"):
        assert re.sub(r"\s+", "", fact) in text, fact
    if width == 200:
        header = next(line for line in lines if line.startswith("#"))
        assert re.split(r"\s{2,}", header)[-3:] == ["fer test c0ffee %", "fer test decade %", "own test %"]
        # One name, two contents: two columns, and a dash where a row was not scored.
        row = next(line for line in lines if "bbbbbbbbbb" in line)
        assert re.split(r"\s{2,}", row)[-3:] == ["–", "30.0", "–"]


def test_without_scores_it_says_how_to_have_them() -> None:
    lines = board_lines(BOARD, (entry("a", ("n",)),), width=100, view=generalisation_view({}))
    assert "on further datasets: none yet, see `ferbench run --also-report`" in lines
