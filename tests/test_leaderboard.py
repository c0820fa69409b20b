"""Ranks against hand-made boards and scipy's paired test."""

from __future__ import annotations

import dataclasses
import json
import random

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.errors import StoreError
from ferbench.fingerprints import PROTOCOL_VERSION
from ferbench.leaderboard import as_json, failures_without_board, leaderboards, ranks
from ferbench.metrics import wilson
from ferbench.records import Board, RunSummary, Score, SpeedMeasurement, Spread

BOARD = Board("b" * 64, "sfew", "val", 200, "basic7", 1, majority=0.2)
OTHER = Board("c" * 64, "fer2013", "test", 200, "basic7", 1, majority=0.25)


def answers(first_right, last_right=0, n=200):
    """bool [n]: the first and the last so many are right."""
    right = np.zeros(n, dtype=bool)
    right[:first_right] = True
    right[n - last_right :] = True
    return right


def finished(entry, correct, seed=0, board=BOARD, **changes):
    share = float(correct.mean())
    values = {
        "entry": entry * 64 if len(entry) == 1 else entry,
        "status": "finished",
        "board": board,
        "backbone": "vgg16",
        "strategy": "cascade",
        "target": board.target,
        "auxiliaries": ("fer2013",),
        "weights": "random",
        "image_size": 48,
        "device": "cpu",
        "seed": seed,
        "images_seen": 1000,
        "train_seconds": 10.0 + seed,
        "accuracy": Score("accuracy", share, board.n, *wilson(share * board.n, board.n)),
        "uar": Score("uar", share / 2, board.n, share / 2 - 0.05, share / 2 + 0.07),
        "macro_f1": Score("macro_f1", share / 3, board.n),
        "correct": correct,
        **{"processor": "x", "threads": 2, "precision": "fp32"},
    }
    return RunSummary(**(values | changes))


def failed(entry, seed=0, board=BOARD, error="out of memory"):
    nothing = {"accuracy": None, "uar": None, "macro_f1": None, "correct": None}
    run = finished(entry, answers(0), seed, status="failed", error=error)
    return dataclasses.replace(run, board=board, **nothing)


def test_known_ranks():
    # 120 right of 200; 118, two of them lost (not significant); 60 (significant); 20 (below all)
    table = leaderboards(
        [
            finished("d", answers(20)),
            finished("b", answers(118)),
            finished("a", answers(120)),
            finished("c", answers(60)),
        ]
    )[0]
    assert [(entry.row[0], entry.rank) for entry in table.entries] == [("a", 1), ("b", 1), ("c", 3), ("d", 4)]


def test_pairing_counts_and_not_the_means_alone():
    # 10 samples apart: all the worse one's answers within the better one's (10:0), then mostly elsewhere (100:90).
    nested = ranks([answers(100)[None], answers(90)[None]])
    crossed = ranks([answers(100)[None], answers(0, 90)[None]])
    assert nested.tolist() == [1, 2]
    assert crossed.tolist() == [1, 1]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("n", [2, 30, 431])
def test_ranks_agree_with_scipys_paired_test(seeds, n):
    rng = np.random.default_rng(n + seeds)
    difficulty = rng.normal(size=n)
    correct = [rng.normal(size=(seeds, n)) + skill > difficulty for skill in np.linspace(-1, 1, 30)]
    correct += [np.ones((seeds, n), dtype=bool), np.zeros((seeds, n), dtype=bool), correct[4].copy()]
    means = [rows.mean(axis=0) for rows in correct]
    expected = []
    for worse in means:
        better = 0
        for other in means:
            if other.mean() <= worse.mean():
                continue
            difference = other - worse
            if np.ptp(difference) < 1e-12:
                better += 1
            else:
                better += scipy.stats.ttest_rel(other, worse).pvalue < 0.05
        expected.append(1 + better)
    assert ranks(correct).tolist() == expected


def test_long_boards_are_ranked_as_short_ones():
    # More entries than a block, over the whole range, so that most pairs are decided without a product.
    rng = np.random.default_rng(1)
    correct = [rng.random((1 + i % 3, 97)) < share for i, share in enumerate(rng.uniform(0, 1, 300))]
    means = np.stack([rows.mean(axis=0) for rows in correct])
    difference = means[:, None, :] - means[None, :, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = difference.mean(axis=2) / (difference.std(axis=2, ddof=1) / np.sqrt(97))
    expected = 1 + (t > scipy.stats.t.ppf(0.975, 96)).sum(axis=0)
    assert ranks(correct).tolist() == expected.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 3))
def test_someone_is_first_and_the_order_of_rows_changes_nothing(seed, entries, seeds):
    rng = np.random.default_rng(seed)
    runs = [
        finished(format(entry, "064x"), rng.random(200) < rng.uniform(0.1, 0.9), number, board)
        for board in (BOARD, OTHER)
        for entry in range(entries)
        for number in range(seeds)
    ]
    tables = leaderboards(runs)
    assert [table.board for table in tables] == [OTHER, BOARD]
    for table in tables:
        found = [entry.rank for entry in table.entries]
        assert found[0] == 1
        assert found == sorted(found)
        best = max(table.entries, key=lambda entry: entry.accuracy.mean)
        assert best.rank == 1
    random.Random(seed).shuffle(runs)
    assert leaderboards(runs) == tables


def test_one_seed_shows_the_runs_own_interval():
    entry = leaderboards([finished("a", answers(90))])[0].entries[0]
    assert (entry.accuracy.mean, entry.accuracy.sd, entry.accuracy.kind) == (0.45, None, "wilson")
    expected = scipy.stats.binomtest(90, 200).proportion_ci(method="wilson")
    assert (entry.accuracy.low, entry.accuracy.high) == pytest.approx((expected.low, expected.high))
    assert (entry.uar.low, entry.uar.high) == pytest.approx((0.175, 0.295))
    assert (entry.macro_f1.low, entry.macro_f1.high) == pytest.approx(wilson(30, 200))
    assert "1 seed" in entry.notes


@pytest.mark.parametrize("kind", ["bootstrap", "cluster-bootstrap"])
def test_one_seeds_interval_says_how_it_was_computed(kind):
    uar = Score("uar", 0.2, 200, 0.1, 0.3, kind)
    entry = leaderboards([finished("a", answers(90), uar=uar)])[0].entries[0]
    assert (entry.uar.low, entry.uar.high, entry.uar.kind) == (0.1, 0.3, kind)
    assert as_json(leaderboards([finished("a", answers(90), uar=uar)]))["boards"][0]["entries"][0]["uar"] == {
        **{"mean": 0.2, "sd": None, "low": 0.1, "high": 0.3, "interval": kind}
    }
    two = [finished("a", answers(90), seed, uar=uar) for seed in (0, 1)]
    assert leaderboards(two)[0].entries[0].uar.kind == "t"


def test_seeds_are_put_together_by_t():
    runs = [finished("a", answers(right), seed) for seed, right in ((2, 96), (0, 90), (1, 84))]
    entry = leaderboards(runs)[0].entries[0]
    shares = [0.45, 0.42, 0.48]
    expected = scipy.stats.t.interval(0.95, 2, loc=np.mean(shares), scale=scipy.stats.sem(shares))
    assert entry.seeds == (0, 1, 2)
    assert entry.accuracy.kind == "t"
    assert (entry.accuracy.low, entry.accuracy.high) == pytest.approx(expected)
    assert entry.accuracy.sd == pytest.approx(0.03)
    assert entry.train_seconds == pytest.approx(11.0)
    assert "1 seed" not in entry.notes


def test_an_interval_over_seeds_stays_a_fraction():
    entry = leaderboards([finished("a", answers(right), seed) for seed, right in enumerate((200, 120))])[0].entries[0]
    assert (entry.accuracy.low, entry.accuracy.high) == (0.0, 1.0)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("right", "said"), [(39, True), (40, True), (41, False)])
def test_the_majority_line_must_be_beaten(right, said, seeds):
    # Three times 0.2 has a mean of 0.20000000000000004.
    entry = leaderboards([finished("a", answers(right), seed) for seed in range(seeds)])[0].entries[0]
    assert ("does not beat the majority line" in entry.notes) is said


def test_failed_runs_are_counted_and_never_averaged():
    runs = [finished("a", answers(90), 0), failed("a", 1), failed("a", 2), failed("e", 0, error="loss is not finite")]
    table = leaderboards(runs)[0]
    assert [entry.row for entry in table.entries] == ["a" * 10]
    assert table.entries[0].accuracy.mean == 0.45
    assert "2 runs failed: out of memory" in table.entries[0].notes
    assert [(f.row[0], f.seeds, f.error) for f in table.failed] == [
        ("a", (1, 2), "out of memory"),
        ("e", (0,), "loss is not finite"),
    ]


def test_failures_that_never_saw_their_board_are_listed_apart():
    runs = [failed("a", 3, board=None), finished("b", answers(50))]
    assert [table.board for table in leaderboards(runs)] == [BOARD]
    assert leaderboards(runs)[0].failed == ()
    assert [(f.row[0], f.target, f.seeds) for f in failures_without_board(runs)] == [("a", "sfew", (3,))]


def test_a_board_of_failures_alone_has_no_entries():
    (table,) = leaderboards([failed("a")])
    assert table.entries == ()
    assert len(table.failed) == 1


def test_notes_are_those_of_the_runs_each_once():
    runs = [finished("a", answers(90), seed, notes=notes) for seed, notes in enumerate([("x", "y"), ("y", "z")])]
    assert leaderboards(runs)[0].entries[0].notes == ("x", "y", "z")


def test_one_entry_on_two_boards_is_two_rows():
    tables = leaderboards([finished("a", answers(90)), finished("a", answers(120), board=OTHER)])
    assert [(table.board.target, table.entries[0].accuracy.mean) for table in tables] == [
        ("fer2013", 0.6),
        ("sfew", 0.45),
    ]


def test_answers_of_another_length_are_refused():
    with pytest.raises(StoreError, match="not of the 200 samples of sfew val"):
        leaderboards([finished("a", np.ones(199, dtype=bool))])
    with pytest.raises(StoreError, match="without uar"):
        leaderboards([finished("a", answers(3), uar=None)])


EVIDENCE = ("nll", "brier", "ece", "select_accuracy", "forgotten", "temperature", "calibrated_nll", "calibrated_ece")


def test_evidence_is_the_seeds_mean_and_none_where_one_seed_has_none():
    known = [dict(zip(EVIDENCE, np.arange(1, 9) / 8 + seed, strict=True)) for seed in (0, 1)]
    runs = [
        *(finished("a", answers(90), seed, **known[seed], tries=6, final_stage=f"stage {seed}") for seed in (0, 1)),
        *(finished("b", answers(30), seed, **(known[0] if seed else {}), members=3) for seed in (0, 1)),
    ]
    first, second = leaderboards(runs)[0].entries
    assert [getattr(first, name) for name in EVIDENCE] == pytest.approx(np.arange(1, 9) / 8 + 0.5)
    assert [getattr(second, name) for name in EVIDENCE] == [None] * 8
    assert (first.tries, first.members, first.final_stages) == (6, 0, ("stage 0", "stage 1"))
    assert (second.tries, second.members) == (0, 3)
    printed = as_json(leaderboards(runs))["boards"][0]["entries"][0]
    assert {name: printed[name] for name in EVIDENCE} == {name: getattr(first, name) for name in EVIDENCE}
    assert (printed["tries"], printed["final_stages"]) == (6, ["stage 0", "stage 1"])


def test_boards_of_an_older_protocol_come_last_and_are_named_stale():
    old = dataclasses.replace(BOARD, fingerprint="0" * 64, target="a", protocol=PROTOCOL_VERSION - 1)
    new = dataclasses.replace(BOARD, fingerprint="1" * 64, target="z", protocol=PROTOCOL_VERSION + 1)
    boards = (old, new, dataclasses.replace(BOARD, protocol=PROTOCOL_VERSION))
    tables = leaderboards([finished("a", answers(90), board=board) for board in boards])
    assert [(table.board.target, table.stale) for table in tables] == [("sfew", False), ("z", False), ("a", True)]
    assert [board["stale"] for board in as_json(tables)["boards"]] == [False, False, True]
    assert [len(table.entries) for table in tables] == [1, 1, 1]


def test_json_is_what_scripts_rely_on():
    runs = [finished("a", answers(90), 0), finished("b", answers(30), 4), failed("e")]
    plain = as_json(leaderboards(runs))
    (board,) = plain["boards"]
    assert {"target", "split", "n", "label_set", "protocol", "fingerprint", "majority", "entries"} <= board.keys()
    entry = board["entries"][0]
    assert {
        *("row", "rank", "backbone", "strategy", "auxiliaries", "weights", "image_size", "device", "seeds"),
        *("accuracy", "uar", "macro_f1", "images_seen", "train_seconds", "notes"),
    } <= entry.keys()
    for metric in ("accuracy", "uar", "macro_f1"):
        assert entry[metric].keys() == {"mean", "sd", "low", "high", "interval"}
    assert entry["accuracy"]["interval"] == "wilson"
    assert entry["auxiliaries"] == ["fer2013"]
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def notes_by_row(runs):
    """The notes on recipes, which stand before all others."""
    (table,) = leaderboards(runs)
    return {entry.row[0]: [note for note in entry.notes if note != "1 seed"] for entry in table.entries}


def with_recipe(entry, recipe, **changes):
    values = {"images_seen": 1000, "lr": 0.01, "image_size": 48, "grey": False, "precision": "auto"} | recipe
    return finished(entry, answers(90), recipe=tuple(values.items()), **changes)


def test_rows_that_differ_in_the_recipe_alone_say_how():
    runs = [
        with_recipe("a", {}),
        with_recipe("b", {"lr": 0.001, "stage2.lr": 0.0001}),
        with_recipe("c", {"grey": True, "precision": "bf16", "images_seen": 2000, "image_size": 64}, image_size=64),
        # Alone of its kind each: by backbone, strategy, auxiliaries, weights.
        with_recipe("d", {"lr": 0.5}, backbone="resnet18"),
        with_recipe("e", {"lr": 0.6}, strategy="target-only"),
        with_recipe("f", {"lr": 0.7}, auxiliaries=()),
        with_recipe("0", {"lr": 0.8}, weights="imagenet"),
    ]
    assert notes_by_row(runs) == {
        "a": ["lr 0.01; grey false; precision auto"],
        "b": ["lr 0.001; grey false; precision auto; stage2.lr 0.0001"],
        "c": ["lr 0.01; grey true; precision bf16"],
        **{row: [] for row in "def0"},
    }


def test_seeds_of_one_row_and_rows_of_other_boards_are_no_difference():
    runs = [with_recipe("a", {}), with_recipe("a", {}, seed=1), with_recipe("b", {}, device="a GPU")]
    assert notes_by_row(runs) == {"a": [], "b": []}
    tables = leaderboards([with_recipe("a", {}), with_recipe("b", {"lr": 0.1}, board=OTHER)])
    assert [table.entries[0].notes for table in tables] == [("1 seed",), ("1 seed",)]


def test_the_image_size_is_said_where_its_column_does_not_tell():
    runs = [
        with_recipe("a", {"image_size": 64}, image_size=64),
        with_recipe("b", {"stage2.image_size": 64}, image_size=64),
        with_recipe("c", {"image_size": 64, "stage1.image_size": 32}, image_size=64),
    ]
    assert notes_by_row(runs) == {
        "a": ["image_size 64"],
        "b": ["image_size 48; stage2.image_size 64"],
        "c": ["image_size 64; stage1.image_size 32"],
    }
    assert notes_by_row([runs[0], with_recipe("c", {})]) == {"a": [], "c": []}


def test_json_gives_the_whole_recipe_and_stage_changes_apart():
    run = with_recipe("a", {"stage2.lr": 0.0001, "stage1.augment": "flip"})
    (entry,) = as_json(leaderboards([run]))["boards"][0]["entries"]
    assert entry["recipe"] == {"images_seen": 1000, "lr": 0.01, "image_size": 48, "grey": False, "precision": "auto"}
    assert entry["stage_changes"] == {"stage2.lr": 0.0001, "stage1.augment": "flip"}


def test_no_runs_no_boards():
    assert leaderboards([]) == ()
    assert ranks([]).tolist() == []
    assert as_json([]) == {"boards": []}


# --- cost -------------------------------------------------------------------------------------------------------------


def measured(backbone="vgg16", image_size=48, device="cpu", rate=400.0, at="2026-01-01", **changes):
    values = {
        **{"backbone": backbone, "image_size": image_size, "batch_size": 32, "precision": "fp32", "device": device},
        **{"threads": 2, "compiled": False, "processor": "x", "torch": "2", "ferbench": "0", "repeats": 5},
        "training_images_per_second": Spread(rate / 4, rate / 5, rate / 3),
        "inference_images_per_second": Spread(rate, rate - 1, rate + 1),
        **{"latency_p50_seconds": 1 / rate, "latency_p95_seconds": 2 / rate, "peak_memory_bytes": 1, "parameters": 2},
        **{"forward_flops": 1648, "matrix_flops_per_second": 1e9, "training_mfu": 0.1, "inference_mfu": 0.1},
        **{"compile_seconds": 0.0, "measured_at": at},
    }
    return SpeedMeasurement(**(values | changes))


def test_costs_are_the_seeds_means_and_the_most_memory():
    runs = [
        finished("a", answers(50), seed=0, spent_seconds=9.0, peak_memory_bytes=100, parameters=7),
        finished("a", answers(60), seed=1, spent_seconds=0.0, peak_memory_bytes=300, parameters=7),
        finished("b", answers(50), seed=0),
        finished("b", answers(50), seed=1, spent_seconds=1.0, train_seconds=0.0),
        finished("c", answers(50), train_seconds=0.0),
    ]
    by_row = {entry.row[0]: entry for entry in leaderboards(runs)[0].entries}
    # 1,000 images in 10 and in 11 seconds.
    assert by_row["a"].images_per_second == pytest.approx(1000 / 10.5)
    assert (by_row["a"].spent_seconds, by_row["a"].peak_memory_bytes, by_row["a"].parameters) == (4.5, 300, 7)
    assert (by_row["b"].spent_seconds, by_row["b"].peak_memory_bytes, by_row["b"].parameters) == (None, None, None)
    assert by_row["c"].images_per_second is None


def test_speeds_are_those_of_the_same_backbone_size_and_device():
    runs = [
        finished("a", answers(50)),
        finished("b", answers(50), image_size=64),
        finished("c", answers(50), device="NVIDIA H100"),
        finished("d", answers(50), backbone="alexnet"),
    ]
    speeds = [
        measured(rate=500.0, at="2026-01-03"),
        measured(rate=900.0, at="2026-01-04", compiled=True),
        measured(rate=400.0, at="2026-01-02"),
        measured(image_size=112, rate=1.0, forward_flops=3),
    ]
    for order in (speeds, speeds[::-1]):
        by_row = {entry.row[0]: entry for entry in leaderboards(runs, order)[0].entries}
        costs = {
            row: (entry.forward_flops, entry.inference_images_per_second, entry.latency_p50_seconds)
            for row, entry in by_row.items()
        }
        # What compiling gives is no run's cost on a CPU; FLOPs do not depend on the device.
        assert costs == {
            "a": (1648, 500.0, 0.002),
            "b": (None, None, None),
            "c": (1648, None, None),
            "d": (None, None, None),
        }
    fields = json.loads(json.dumps(as_json(leaderboards(runs, speeds))))["boards"][0]["entries"][0]
    assert {"images_per_second", "spent_seconds", "peak_memory_bytes", "parameters", "forward_flops"} <= fields.keys()
    assert (fields["inference_images_per_second"], fields["latency_p50_seconds"]) == (500.0, 0.002)


def inferred(run, *speeds):
    (entry,) = leaderboards([run], speeds)[0].entries
    return entry.inference_images_per_second


def test_another_precision_another_processor_or_other_threads_are_no_speed_of_a_cpus_row():
    run = finished("a", answers(50))
    own = measured(rate=400.0, at="2026-01-01")
    others = [
        measured(rate=900.0, at="2026-01-02", precision="bf16"),
        measured(rate=800.0, at="2026-01-03", threads=16),
        measured(rate=700.0, at="2026-01-04", processor="y"),
    ]
    for other in others:
        assert inferred(run, other) is None
    for order in ([own, *others], [*others, own]):
        assert inferred(run, *order) == 400.0
    # FLOPs are the same everywhere; a row that does not know its precision has no speed.
    assert leaderboards([run], others)[0].entries[0].forward_flops == 1648
    assert inferred(dataclasses.replace(run, precision=None), own, *others) is None
    assert inferred(dataclasses.replace(run, precision="bf16"), own, *others) == 900.0


def test_beside_an_accelerator_equal_threads_are_better_and_others_will_do():
    run = finished("a", answers(50), device="NVIDIA H100", precision="bf16")
    other = measured(device="NVIDIA H100", precision="bf16", rate=800.0, at="2026-01-03", threads=16)
    own = measured(device="NVIDIA H100", precision="bf16", rate=700.0, at="2026-01-02")
    assert inferred(run, other) == 800.0
    assert inferred(run, own, other) == inferred(run, other, own) == 700.0
    assert inferred(run, measured(device="NVIDIA H100", rate=100.0)) is None
