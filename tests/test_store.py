"""The store: what goes in comes out, several processes at once, killed writers, and files that are no store."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from ferbench.errors import StoreError, StoreOutdated, UnknownName, UsageError
from ferbench.evidence import Forgetting
from ferbench.fingerprints import fingerprint
from ferbench.metrics import correctness, scores
from ferbench.prediction_hash import predictions_sha256
from ferbench.recipes import Recipe
from ferbench.records import (
    Board,
    Environment,
    EpochResult,
    Predictions,
    Run,
    RunSummary,
    Speed,
    SpeedKey,
    SpeedMeasurement,
    Spread,
    StageResult,
    Training,
)
from ferbench.stages import RANDOM_WEIGHTS, Cell, InitialWeights, Stage, StageChange, TrainingPart
from ferbench.store import KeptRun, codec, connection, migrations, open_store
from ferbench.store.filesystem import file_system
from ferbench.store.outdated import copy_of
from ferbench.store.schema import metadata

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
BOARD = Board(fingerprint("board"), "sfew", "val", 20, "basic7", 1, 0.25, excluded=2, synthetic=True)
ENVIRONMENT = Environment("cpu", "a processor", 2, "3.11", "2.14", "0.1", "Linux", (("timm", "1.0"),), "abc123")
FINAL = fingerprint("final stage")


def make_stage(name="final stage", **recipe):
    return Stage(
        fingerprint=fingerprint(name),
        index=1,
        backbone="vgg16",
        weights=InitialWeights("ab" * 32, "a file", "/data/weights.safetensors"),
        parts=(TrainingPart("sfew", "train", fingerprint("content"), 891),),
        classes=CLASSES,
        recipe=Recipe(image_size=48, **recipe),
        seed=3,
        parent=fingerprint("parent"),
    )


def make_result(name="final stage", images_per_second=123.5):
    return StageResult(
        fingerprint=fingerprint(name),
        images_seen=1000,
        train_seconds=8.1,
        images_per_second=images_per_second,
        peak_memory_bytes=2**31,
        history=(EpochResult(1, 500, 1.9, 120.0, 0.3), EpochResult(2, 1000, 1.5, 127.0)),
        device="cpu",
        threads=2,
        micro_batch=32,
        parameters=134_000_000,
        checkpoint_sha256="cd" * 32,
        absent_classes=("disgust",),
    )


def make_predictions(seed=0, n=BOARD.n):
    rng = np.random.default_rng(seed)
    return Predictions(
        dataset="sfew",
        split="val",
        ids=tuple(f"Überfall/Szene {i}.png" for i in range(n)),
        labels=rng.integers(0, len(CLASSES), n),
        probabilities=rng.dirichlet(np.ones(len(CLASSES)), n).astype(np.float32),
        groups=tuple(f"film {i % 3}" for i in range(n)),
    )


def make_run(name="a", seed=0, predictions=None, **changes):
    """A finished run and its correctness."""
    predictions = predictions or make_predictions(seed)
    cell = Cell("vgg16", "auto", "cascade", "sfew", ("fer2013",), Recipe(), seed, (StageChange(2, "lr", 0.1),))
    run = Run(
        key=fingerprint([name, seed]),
        entry=fingerprint(name),
        cell=cell,
        status="finished",
        board=BOARD,
        weights=RANDOM_WEIGHTS,
        environment=ENVIRONMENT,
        stages=(fingerprint("parent"), FINAL),
        scores=scores(predictions, CLASSES),
        images_seen=1000,
        target_images_seen=500,
        train_seconds=12.5,
        notes=("random weights",),
        finished_at="2025-01-01T00:00:00Z",
    )
    return dataclasses.replace(run, **changes), correctness(predictions)


def make_failed(name="a", seed=0, error="loss is not finite"):
    run, _ = make_run(name, seed)
    return dataclasses.replace(run, status="failed", scores=(), stages=(), error=error)


def assert_same(got, expected):
    assert (got.dataset, got.split, got.ids, got.groups) == (
        *(expected.dataset, expected.split, expected.ids, expected.groups),
    )
    np.testing.assert_array_equal(got.probabilities, expected.probabilities)
    assert got.probabilities.dtype == np.float32
    if expected.labels is None:
        assert got.labels is None
    else:
        np.testing.assert_array_equal(got.labels, expected.labels)
        assert got.labels.dtype == np.int64


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "leaderboard.sqlite"


@pytest.fixture
def store(path):
    with open_store(str(path)) as opened:
        yield opened


@pytest.fixture
def ordinary_user():
    """Whoever runs the tests, as one whom file modes bind: root steps down for the test."""
    folder = Path(tempfile.mkdtemp(prefix="ferbench-store-"))
    folder.chmod(0o777)
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o777)
        shutil.rmtree(folder)


# Round trips


def test_a_stage_comes_back_as_it_was(store):
    store.save_stage(make_stage(), make_result())
    assert store.stage(FINAL) == make_stage()
    assert store.stage_result(FINAL) == make_result()
    assert store.stage(fingerprint("another")) is None
    assert store.stage_result(fingerprint("another")) is None


def test_a_stage_trained_again_takes_the_place_of_the_first(store):
    store.save_stage(make_stage(), make_result())
    store.save_stage(make_stage(), make_result())
    store.save_stage(make_stage(), dataclasses.replace(make_result(), checkpoint_sha256="ef" * 32))
    assert store.stage_result(FINAL).checkpoint_sha256 == "ef" * 32
    assert len(store.speeds()) == 1


def test_a_stage_with_anothers_result_is_refused(store):
    with pytest.raises(StoreError, match="came with the result of"):
        store.save_stage(make_stage(), make_result("parent"))


def test_speeds_are_newest_first(store):
    for number, batch_size in enumerate((8, 16, 32)):
        name = f"stage {number}"
        store.save_stage(make_stage(name, batch_size=batch_size, trainable="head"), make_result(name, 10.0 * number))
    store.save_stage(make_stage("stage 1", batch_size=16, trainable="head"), make_result("stage 1", 99.0))
    assert [(speed.key.batch_size, speed.images_per_second) for speed in store.speeds()] == [(16, 99), (32, 20), (8, 0)]
    made = make_result()
    key = SpeedKey("vgg16", 48, "head", "auto", 16, "cpu", 2)
    newest = Speed(key, 99.0, made.peak_memory_bytes, made.parameters)
    assert store.speeds(limit=1)[0] == newest


def test_a_thousand_stages_of_one_kind_hide_no_other_kind(store):
    slow = dataclasses.replace(make_result("slow", 1.5), features_per_second=70.0)
    store.save_stage(make_stage("slow", batch_size=64, trainable="head"), slow)
    for number in range(40):
        store.save_stage(make_stage(f"fast {number}"), make_result(f"fast {number}", 100.0 + number))
    speeds = store.speeds(limit=3)
    assert [speed.images_per_second for speed in speeds] == [139.0, 138.0, 137.0, 1.5]
    assert [speed.features_per_second for speed in speeds] == [None, None, None, 70.0]


def test_every_training_is_logged_and_images_add_up(store):
    assert (store.images_trained(), store.trainings()) == (0, [])
    before = time.time()
    for name, images, spent in (("a", 640, 9.5), ("b", 1_000, None), ("a", 640, 7.5)):
        result = dataclasses.replace(make_result(name), images_seen=images, spent_seconds=spent)
        store.save_stage(make_stage(name), result)
    logged = store.trainings()
    assert [(log.stage, log.images, log.spent_seconds) for log in logged] == [
        (fingerprint("a"), 640, 9.5),
        (fingerprint("b"), 1_000, None),
        (fingerprint("a"), 640, 7.5),
    ]
    assert store.images_trained() == 640 + 1_000 + 640
    assert logged[0] == Training(fingerprint("a"), 640, 8.1, 9.5, 32, "cpu", 2, logged[0].saved_at)
    assert before <= logged[0].saved_at <= logged[2].saved_at <= time.time()


def test_a_row_whose_final_checkpoint_is_pruned_says_so_until_it_is_trained_again(store):
    run, correct = make_run()
    store.save_stage(make_stage(), make_result())
    store.save_stage(make_stage("parent"), make_result("parent"))
    store.save_run(run, correct)
    store.mark_pruned([fingerprint("parent"), fingerprint("one that was never there")])
    (summary,) = store.leaderboard_rows()
    assert summary.notes == ("random weights",)
    store.mark_pruned([FINAL])
    (summary,) = store.leaderboard_rows()
    assert summary.notes == ("random weights", "checkpoint pruned")
    assert store.runs() == [run]
    store.save_stage(make_stage(), make_result())
    (summary,) = store.leaderboard_rows()
    assert summary.notes == ("random weights",)


def make_measurement(**changes):
    made = SpeedMeasurement(
        backbone="vgg16",
        image_size=48,
        batch_size=64,
        precision="fp32",
        device="cpu",
        threads=2,
        compiled=False,
        processor="a processor",
        torch="2.14",
        ferbench="0.1",
        training_images_per_second=Spread(31.0, 30.0, 32.5),
        inference_images_per_second=Spread(91.0, 90.0, 92.5),
        latency_p50_seconds=0.02,
        latency_p95_seconds=0.03,
        peak_memory_bytes=2**33,
        parameters=134_000_000,
        forward_flops=31 * 10**9,
        matrix_flops_per_second=1.5e11,
        training_mfu=0.4,
        inference_mfu=0.5,
        compile_seconds=0.0,
        repeats=5,
        measured_at="2025-01-01T00:00:00Z",
        notes=("busy machine",),
    )
    return dataclasses.replace(made, **changes)


def test_the_newest_measurement_of_a_speed_stays(store):
    assert store.speed_measurements() == []
    first, faster, other = make_measurement(), make_measurement(repeats=9, notes=()), make_measurement(compiled=True)
    for measurement in (first, other, faster):
        store.save_speed_measurement(measurement)
    assert store.speed_measurements() == [faster, other]
    for change in (
        *({"threads": 1}, {"device": "cuda"}, {"precision": "bf16"}, {"batch_size": 1}, {"image_size": 64}),
        *({"processor": "another machine's"}, {"torch": "2.15"}),
    ):
        store.save_speed_measurement(make_measurement(**change))
    assert len(store.speed_measurements()) == 9


@pytest.mark.parametrize("changes", [{}, {"labels": None}, {"groups": None}])
def test_predictions_come_back_as_they_were(store, changes):
    expected = dataclasses.replace(make_predictions(), **changes)
    store.save_stage(make_stage(), make_result())
    store.save_predictions(FINAL, "content", make_predictions(9))
    store.save_predictions(FINAL, "content", expected)
    assert_same(store.predictions(FINAL, "sfew", "val", "content"), expected)
    assert store.predictions(FINAL, "sfew", "val", "other content") is None


def test_predictions_before_their_stage_are_refused(store):
    with pytest.raises(StoreError, match="came before the stage"):
        store.save_predictions(FINAL, "content", make_predictions())


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=8),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
def test_any_predictions_survive_their_row(ids, classes, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.standard_normal((len(ids), classes)).astype(np.float32)
    expected = Predictions("d", "s", tuple(ids), rng.integers(0, 2**62, len(ids)), probabilities, tuple(reversed(ids)))
    row = type("Row", (), codec.predictions_columns("f", "c", expected))
    assert_same(codec.predictions_from_row(row), expected)


def test_a_run_comes_back_as_it_was(store):
    run, correct = make_run()
    store.save_run(run, correct)
    failed = dataclasses.replace(make_failed("b"), board=None)
    store.save_run(failed, None)
    assert store.finished([run.key, failed.key, "unknown"]) == {run.key: run}
    assert store.runs() == [run, failed]
    assert store.runs(status="failed") == [failed]
    assert store.runs(board=BOARD.fingerprint) == [run]
    assert store.runs(row=run.row) == [run]
    assert store.boards() == {BOARD.fingerprint: BOARD}


def test_numpys_numbers_are_kept_as_numbers(store):
    run, correct = make_run()
    store.save_run(dataclasses.replace(run, images_seen=np.int64(7), train_seconds=np.float32(0.5)), correct)
    (got,) = store.runs()
    assert (got.images_seen, got.train_seconds) == (7, 0.5)
    assert store.leaderboard_rows()[0].images_seen == 7


def test_summaries_are_those_of_the_runs(store):
    other = dataclasses.replace(BOARD, fingerprint=fingerprint("other"), n=9)
    small = make_predictions(5, n=9)
    lines = [
        make_run("a", 0),
        make_run("a", 1),
        (make_failed("a", 2), None),
        make_run("b", 0, predictions=small, board=other),
        (dataclasses.replace(make_failed("c"), board=None), None),
    ]
    for run, correct in lines:
        store.save_run(run, correct)
    got = store.leaderboard_rows()
    assert got == [RunSummary.of(run, correct) for run, correct in lines]
    for summary, (_, correct) in zip(got, lines, strict=True):
        np.testing.assert_array_equal(summary.correct, correct)


def test_a_summary_tells_the_last_stages_precision(store):
    store.save_stage(make_stage(precision="bf16"), make_result())
    store.save_stage(make_stage("parent", precision="fp32"), make_result("parent"))
    run, correct = make_run("a")
    assert run.cell.recipe.precision == "auto"
    store.save_run(run, correct)
    store.save_run(dataclasses.replace(make_failed("b"), stages=run.stages), None)
    store.save_run(*make_run("c", stages=(fingerprint("of another store"),)))
    assert [(row.precision, row.threads) for row in store.leaderboard_rows()] == [("bf16", 2), (None, None), (None, 2)]
    store.save_stage(make_stage(precision="fp32"), make_result())
    store.save_run(run, correct)
    assert store.leaderboard_rows()[0].precision == "bf16"
    store.save_run(run, correct, force=True)
    assert store.leaderboard_rows()[0].precision == "fp32"


def test_summaries_carry_the_recipe_and_the_last_stages_image_size(store):
    recipe = Recipe(image_size=48, lr=1.0, grey=True)
    changes = (StageChange(1, "image_size", 32), StageChange(2, "image_size", 64), StageChange(2, "lr", 1e-5))
    chain = (fingerprint("parent"), FINAL)
    for name, stages, own in (("a", chain, changes), ("b", chain, changes[:1]), ("c", chain[1:], changes[:1])):
        run, correct = make_run(name, stages=stages)
        cell = dataclasses.replace(run.cell, recipe=recipe, stage_changes=own)
        store.save_run(dataclasses.replace(run, cell=cell), correct)
    got = store.leaderboard_rows()
    assert [summary.image_size for summary in got] == [64, 48, 32]
    plain = dataclasses.asdict(recipe)
    for summary, own in zip(got, (changes, changes[:1], changes[:1]), strict=True):
        assert dict(summary.recipe) == plain | {f"stage{each.stage}.{each.key}": each.value for each in own}
        for key, value in plain.items():
            assert type(dict(summary.recipe)[key]) is type(value)


def test_a_field_added_to_a_record_leaves_stored_ones_readable():
    text_of_old = codec.to_json(BOARD).replace(',"synthetic":true', ',"gone":[1]')
    assert codec.from_json(Board, text_of_old) == dataclasses.replace(BOARD, synthetic=False)
    with pytest.raises(StoreError, match="broken Board"):
        codec.from_json(Board, '{"fingerprint":"x"}')
    with pytest.raises(StoreError, match="broken Board"):
        codec.from_json(Board, "not json")


# What replaces what


@pytest.mark.parametrize(
    ("first", "second", "force", "kept"),
    [
        ("failed", "finished", False, "second"),
        ("failed", "failed", False, "second"),
        ("finished", "finished", False, "first"),
        ("finished", "finished", True, "second"),
        ("finished", "failed", False, "first"),
        ("finished", "failed", True, "first"),
    ],
)
def test_one_row_per_key(store, first, second, force, kept):
    runs = {}
    for order, status in (("first", first), ("second", second)):
        run, correct = (make_failed(error=order), None) if status == "failed" else make_run()
        runs[order] = dataclasses.replace(run, notes=(order,))
        store.save_run(runs[order], correct, force=force and order == "second")
    assert store.runs() == [runs[kept]]
    assert store.leaderboard_rows()[0].notes == (kept,)


def test_a_finished_run_must_be_whole(store):
    run, correct = make_run()
    with pytest.raises(StoreError, match="no board or no correctness"):
        store.save_run(run, None)
    with pytest.raises(StoreError, match="no board or no correctness"):
        store.save_run(dataclasses.replace(run, board=None), correct)
    with pytest.raises(StoreError, match="for a board of 20 samples"):
        store.save_run(run, correct[:-1])
    with pytest.raises(StoreError, match="has no macro_f1"):
        store.save_run(dataclasses.replace(run, scores=run.scores[:2]), correct)
    with pytest.raises(StoreError, match="claims an accuracy of"):
        store.save_run(run, ~correct)
    with pytest.raises(StoreError, match="failed, so it has no correctness"):
        store.save_run(make_failed(), correct)
    assert store.runs() == []


def test_predictions_that_a_finished_run_stands_on_stay(store):
    parent = fingerprint("parent")
    lost = Forgetting("fer2013", "test", BOARD.n, "auxiliary", parent, 0.5, 0.4)
    first, second = make_predictions(1), make_predictions(2)
    run, correct = make_run("a", 1, select_content="select", forgetting=(lost,))
    run = dataclasses.replace(run, predictions_sha256=predictions_sha256(first))
    named = [(FINAL, BOARD.fingerprint), (FINAL, "select"), (FINAL, "auxiliary"), (parent, "auxiliary")]
    free = [(FINAL, "further"), (parent, BOARD.fingerprint), (parent, "select")]

    def save(predictions, **given):
        for stage, content in (*named, *free):
            store.save_predictions(stage, content, predictions, **given)

    def of_first():
        hashes = {key: predictions_sha256(store.stored_predictions(*key)[0]) for key in (*named, *free)}
        return [key for key, found in hashes.items() if found == predictions_sha256(first)]

    for name in ("parent", "final stage"):
        store.save_stage(make_stage(name), make_result(name))
    save(second)
    save(first)
    assert of_first() == [*named, *free]
    # As long as no finished run names them, the last ones stay; a run of others is refused.
    store.save_run(make_failed("a", 1), None)
    save(second)
    with pytest.raises(StoreError, match=r"other predictions of row .* from another process meanwhile"):
        store.save_run(run, correct)
    save(first)
    store.save_run(run, correct)
    # A second writer of the cell, or whoever trains its stages again, replaces none of them.
    save(second)
    assert of_first() == named
    other, other_correct = make_run("a", 2)
    other = dataclasses.replace(other, key=run.key, predictions_sha256=predictions_sha256(second))
    store.save_run(other, other_correct)
    assert store.runs() == [run]
    # Computed anew, it keeps nothing; another run that shares the parent keeps what it stands on there.
    sharing, its_correct = make_run("b", 1, stages=(parent, fingerprint("b")), forgetting=(lost,))
    store.save_run(sharing, its_correct)
    save(second, again=[run.key])
    assert of_first() == [(parent, "auxiliary")]
    store.save_run(other, other_correct, force=True)
    assert store.finished([run.key]) == {run.key: other}


def test_of_rows_that_name_no_select_samples_all_of_the_target_stay(store):
    store.save_stage(make_stage(), make_result())
    store.save_run(*make_run())
    for content, dataset, kept in (("select", "sfew", 1), ("auxiliary", "fer2013", 2)):
        for seed in (1, 2):
            said = dataclasses.replace(make_predictions(seed), dataset=dataset)
            store.save_predictions(FINAL, content, said)
        assert_same(
            store.stored_predictions(FINAL, content)[0], dataclasses.replace(make_predictions(kept), dataset=dataset)
        )


def test_a_board_of_failed_runs_alone_gives_way_to_the_first_finished_one(store):
    wrong = dataclasses.replace(BOARD, n=21, target="a guess")
    store.save_run(dataclasses.replace(make_failed("b"), board=wrong), None)
    assert store.boards() == {BOARD.fingerprint: wrong}
    store.save_run(*make_run())
    store.save_run(dataclasses.replace(make_failed("c"), board=wrong), None)
    run, correct = make_run("d", board=dataclasses.replace(BOARD, target="another name"))
    store.save_run(run, correct)
    assert store.boards() == {BOARD.fingerprint: BOARD}


def test_what_another_writer_has_put_in_meanwhile_is_not_merged_over(store):
    report = make_predictions(1)
    run, _ = make_run("a", 1, stages=(FINAL,), predictions_sha256=predictions_sha256(report))
    kept = KeptRun(run, ((make_stage(), make_result()),), {(FINAL, BOARD.fingerprint): report})
    trained = dataclasses.replace(make_result(), checkpoint_sha256="ef" * 32)
    store.save_stage(make_stage(), trained)
    with pytest.raises(StoreError, match=f"got stage {FINAL[:10]} with another checkpoint from another process"):
        store.add([kept])
    assert store.runs() == [] and store.stage_result(FINAL) == trained
    # Of no run's predictions nothing stays; those of another finished run do, and this one is not taken in.
    store.save_stage(make_stage(), make_result())
    store.save_predictions(FINAL, BOARD.fingerprint, make_predictions(2))
    own, own_correct = make_run("b", 2, stages=(FINAL,), predictions_sha256=predictions_sha256(make_predictions(2)))
    store.save_run(own, own_correct)
    with pytest.raises(StoreError, match=f"got other predictions of row {run.row}, seed 1 from another process"):
        store.add([kept])
    assert store.runs() == [own]


def test_leftover_predictions_give_way_to_those_of_a_merged_run(store):
    report = make_predictions(1)
    run, _ = make_run("a", 1, stages=(FINAL,), predictions_sha256=predictions_sha256(report))
    store.save_stage(make_stage(), make_result())
    store.save_predictions(FINAL, BOARD.fingerprint, make_predictions(2))
    store.add([KeptRun(run, ((make_stage(), make_result()),), {(FINAL, BOARD.fingerprint): report})])
    assert_same(store.run_predictions(run.row)[0][1], report)


def test_the_tables_hold_what_python_promises(store, path):
    run, correct = make_run()
    store.save_stage(make_stage(), make_result())
    store.save_predictions(FINAL, "content", make_predictions())
    store.save_run(run, correct)
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA foreign_keys = ON")
        for table in ("runs", "stages", "predictions"):
            columns = [row[1] for row in raw.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
            names = ", ".join(f'"{column}"' for column in columns)
            with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
                raw.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {table}")
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            raw.execute("DELETE FROM boards")
        with pytest.raises(sqlite3.IntegrityError, match="finished_is_complete"):
            raw.execute("UPDATE runs SET correct = NULL")
    raw.close()


# ROW


def test_predictions_of_a_row_by_seed(store):
    for seed in (2, 0, 1):
        final = f"final {seed}"
        predictions = make_predictions(seed)
        run, correct = make_run("a", seed, predictions, stages=(fingerprint("parent"), fingerprint(final)))
        store.save_stage(make_stage(final), make_result(final))
        store.save_predictions(fingerprint(final), BOARD.fingerprint, predictions)
        store.save_predictions(fingerprint(final), "forgetting", make_predictions(77))
        store.save_run(run, correct)
    store.save_run(make_failed("a", 3), None)
    for row in (fingerprint("a")[:4], fingerprint("a")[:10].upper(), fingerprint("a")):
        found = store.run_predictions(row)
        assert [run.cell.seed for run, _ in found] == [0, 1, 2]
        for seed, (_, predictions) in enumerate(found):
            assert_same(predictions, make_predictions(seed))


def test_a_row_without_its_predictions_says_so(store):
    store.save_run(*make_run())
    with pytest.raises(StoreError, match=r"holds no predictions of row .*, seed 0"):
        store.run_predictions(fingerprint("a"))
    store.save_run(make_failed("b"), None)
    with pytest.raises(StoreError, match="has no finished run"):
        store.run_predictions(fingerprint("b"))


def test_rows_that_name_nothing_or_too_much(store):
    for entry in ("abcd11", "abcd22"):
        run, correct = make_run(entry, entry=entry.ljust(64, "0"))
        store.save_run(run, correct)
    with pytest.raises(UsageError, match=r"start of 2 rows \(abcd110000, abcd220000\)"):
        store.run_predictions("abcd")
    with pytest.raises(UsageError, match="at least 4"):
        store.runs(row="abc")
    with pytest.raises(UnknownName, match="did you mean abcd110000"):
        store.runs(row="abce110000")
    with pytest.raises(UsageError, match="lists the 2 rows"):
        store.runs(row="100%_")
    assert len(store.runs(row="abcd1")) == 1


# Opening


@pytest.mark.parametrize(
    "name", ["plain.sqlite", "mit Leerzeichen/Ergebnisse ä ß 表情.sqlite", "a?b#c%20d&mode=ro.sqlite"]
)
def test_any_path_will_do(tmp_path, name):
    place = tmp_path / name
    with open_store(str(place)) as store:
        store.save_run(*make_run())
        assert store.location == str(place)
        assert store.journal in ("wal", "delete")
    assert place.is_file()
    with open_store(str(place), read_only=True) as store:
        assert len(store.leaderboard_rows()) == 1


def test_a_sqlite_url_is_its_path(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/by url.sqlite") as store:
        assert store.location == f"{tmp_path}/by url.sqlite"
    assert (tmp_path / "by url.sqlite").exists()


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("sqlite://", "names no file"),
        ("mysql://user:secret@host/db", r"mysql://user:\*\*\*@host/db is no kind of store"),
        ("://", "is not a store's address"),
    ],
)
def test_addresses_that_are_none(address, line):
    with pytest.raises(StoreError, match=line):
        open_store(address)


def test_files_that_are_no_store(tmp_path):
    text_file = tmp_path / "notes.txt"
    text_file.write_text("not a database " * 100)
    with pytest.raises(StoreError, match=r"notes.txt is not an SQLite database"):
        open_store(str(text_file))
    with pytest.raises(StoreError, match="is a folder"):
        open_store(str(tmp_path))
    with pytest.raises(StoreError, match="there is no store at"):
        open_store(str(tmp_path / "missing.sqlite"), read_only=True)
    assert not (tmp_path / "missing.sqlite").exists()
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(StoreError, match="is empty"):
        open_store(str(tmp_path / "empty.sqlite"), read_only=True)
    with pytest.raises(StoreError, match=r"notes.txt is a file and no folder"):
        open_store(str(text_file / "below.sqlite"))


@pytest.mark.parametrize("read_only", [False, True])
def test_another_programs_database_is_left_alone(tmp_path, read_only):
    place = tmp_path / "other.sqlite"
    with sqlite3.connect(place) as raw:
        raw.execute("CREATE TABLE bookmarks (url TEXT)")
    raw.close()
    before = place.read_bytes()
    with pytest.raises(StoreError, match=r"of another program.*'bookmarks'"):
        open_store(str(place), read_only=read_only)
    assert place.read_bytes() == before


def test_a_store_of_a_newer_ferbench_is_refused(path, store):
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE schema_version SET version = 99")
    raw.close()
    for read_only in (False, True):
        with pytest.raises(StoreError, match=r"newer ferbench \(schema 99, this one knows \d+\)") as caught:
            open_store(str(path), read_only=read_only)
        assert "\n" not in caught.value.line


def test_an_older_store_is_migrated_once_and_keeps_its_rows(path, store, monkeypatch):
    run, correct = make_run()
    store.save_run(run, correct)
    calls = []

    def add_folds(opened):
        calls.append(1)
        opened.execute(text("ALTER TABLE runs ADD COLUMN fold INTEGER"))

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, add_folds))
    for _ in range(2):
        with open_store(str(path)) as again:
            assert again.runs() == [run]
    assert calls == [1]
    with open_store(str(path), read_only=True) as again:
        assert again.runs() == [run]


def make_old_run(**changes):
    """A run as an earlier ferbench made it: all of its intervals are Wilson's."""
    run, correct = make_run(**changes)
    scores = tuple(dataclasses.replace(each, interval="wilson") for each in run.scores)
    return dataclasses.replace(run, scores=scores), correct


def into_version_2(path):
    """Take from a store what came after version 2."""
    later = ("feature_seconds", "features_per_second", "spent_seconds", "compile_seconds")
    with sqlite3.connect(path) as raw:
        for statement in (
            "DROP TABLE further_scores",
            "ALTER TABLE stages DROP COLUMN merged",
            *(f"ALTER TABLE runs DROP COLUMN {name}" for name in ("interval", *codec.EVIDENCE_COLUMNS)),
            "DROP TABLE trainings",
            "DROP TABLE speed_measurements",
            "DROP INDEX stages_by_kind",
            "DROP INDEX stages_by_pruned",
            "ALTER TABLE stages DROP COLUMN features_per_second",
            "ALTER TABLE stages DROP COLUMN pruned",
            "ALTER TABLE runs DROP COLUMN spent_seconds",
            "ALTER TABLE runs DROP COLUMN peak_memory_bytes",
            "ALTER TABLE runs DROP COLUMN parameters",
            "ALTER TABLE runs DROP COLUMN processor",
            "ALTER TABLE runs DROP COLUMN threads",
            "ALTER TABLE runs DROP COLUMN precision",
            "UPDATE schema_version SET version = 2",
        ):
            raw.execute(statement)
        for row, record in raw.execute("SELECT id, result FROM stages").fetchall():
            old = {key: value for key, value in json.loads(record).items() if key not in later}
            assert len(old) == len(json.loads(record)) - len(later)
            raw.execute("UPDATE stages SET result = ? WHERE id = ?", (json.dumps(old), row))
    raw.close()


def into_version_1(path):
    """Take from a store what came after version 1."""
    into_version_2(path)
    with sqlite3.connect(path) as raw:
        raw.execute("ALTER TABLE runs DROP COLUMN train_fraction")
        raw.execute("UPDATE schema_version SET version = 1")
        # Records and recipes of version 1 lack the fields that came later.
        for column, cut in (("record", ',"train_fraction":1.0'), ("record", ',"head_fit":"sgd"')):
            assert all(cut in text for (text,) in raw.execute(f"SELECT {column} FROM runs"))
            raw.execute(f"UPDATE runs SET {column} = replace({column}, ?, '')", (cut,))
        raw.execute("UPDATE runs SET recipe = replace(recipe, ',\"head_fit\":\"sgd\"', '')")
    raw.close()


def tables_of(path):
    raw = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return list(raw.iterdump())
    finally:
        raw.close()


def test_a_store_of_version_1_comes_up_to_date_with_its_rows(path, store):
    run, correct = make_old_run()
    store.save_run(run, correct)
    store.close()
    into_version_1(path)
    with open_store(str(path)) as again:
        assert again.runs() == [run]
        (summary,) = again.leaderboard_rows()
        assert summary == RunSummary.of(run, correct)
        assert summary.train_fraction == 1.0 and ("head_fit", "sgd") in summary.recipe


@pytest.mark.parametrize("into", [into_version_2, into_version_1])
@pytest.mark.parametrize("read_only", [False, True])
def test_an_older_store_logs_one_training_of_each_stage(path, store, into, read_only):
    run, correct = make_old_run()
    store.save_run(run, correct)
    for name in ("final stage", "parent", "broken", "final stage"):
        store.save_stage(make_stage(name, precision="bf16"), make_result(name, 77.0))
    store.close()
    into(path)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE stages SET result = '[]' WHERE fingerprint = ?", (fingerprint("broken"),))
    raw.close()
    with open_store(str(path), read_only=read_only) as again:
        logged = again.trainings()
        # Ordered by when they were saved last; what stands before is the stage that was not trained again.
        assert [log.stage for log in logged] == [fingerprint("parent"), FINAL]
        assert [(log.images, log.spent_seconds, log.micro_batch) for log in logged] == [(1000, None, 32)] * 2
        assert again.images_trained() == 2000
        assert again.stage_result(FINAL) == make_result(images_per_second=77.0)
        assert again.speed_measurements() == []
        assert {speed.features_per_second for speed in again.speeds()} == {None}
        assert again.leaderboard_rows() == [dataclasses.replace(RunSummary.of(run, correct), precision="bf16")]
        assert (again.leaderboard_rows()[0].processor, again.leaderboard_rows()[0].threads) == ("a processor", 2)
        if not read_only:
            again.mark_pruned([FINAL])
            assert again.leaderboard_rows()[0].notes[-1] == "checkpoint pruned"
            again.save_speed_measurement(make_measurement())
            again.save_stage(make_stage(), make_result())
            assert again.images_trained() == 3000


@pytest.mark.parametrize(
    "record",
    ["[" * 10**5, '{"target_images_seen":0,"x":"\\ud800"}', f'{{"spent_seconds":{2**70}}}', '{"spent_seconds":{}}'],
)
def test_hostile_records_of_an_older_store_are_passed_over(path, store, record):
    store.save_run(*make_old_run())
    store.save_stage(make_stage(), make_result())
    store.close()
    into_version_1(path)
    with sqlite3.connect(path) as raw:
        costs = ',"peak_memory_bytes":1,"parameters":1,"environment":{"processor":"a","threads":1}}'
        raw.execute("UPDATE runs SET record = ?", (record[:-1] + costs if record[0] == "{" else record,))
        raw.execute("UPDATE stages SET result = ?", (f'{{"images_seen":{2**63},"train_seconds":1,"micro_batch":1}}',))
    raw.close()
    with open_store(str(path), read_only=True) as again:
        assert again.trainings() == []


def test_a_migrated_store_has_the_tables_of_a_new_one(path, store, tmp_path):
    """Columns, indexes and constraints, whatever their order."""
    store.close()
    into_version_1(path)
    open_store(str(path)).close()

    def shape(place):
        engine = create_engine(f"sqlite:///{place}")
        looked = inspect(engine)
        found = {
            table: (
                {c["name"]: (str(c["type"]), c["nullable"]) for c in looked.get_columns(table)},
                {i["name"]: (tuple(i["column_names"]), i["unique"]) for i in looked.get_indexes(table)},
                {tuple(u["column_names"]) for u in looked.get_unique_constraints(table)},
            )
            for table in looked.get_table_names()
        }
        engine.dispose()
        return found

    open_store(str(tmp_path / "new.sqlite")).close()
    migrated, new = shape(path), shape(tmp_path / "new.sqlite")
    assert migrated.keys() == new.keys()
    for table in new:
        old_columns, *old = migrated[table]
        columns, *rest = new[table]
        assert old == rest, table
        assert {name: nullable for name, (_, nullable) in old_columns.items()} == {
            name: nullable for name, (_, nullable) in columns.items()
        }, table


def test_migration_1_tells_chains_that_saw_none_of_the_target(path, store):
    run, correct = make_old_run()
    cases = [("on it", "finished", 5, 1.0), ("not on it", "finished", 0, 0.0), ("failed", "failed", 0, 1.0)]
    for name, status, seen, _ in cases:
        own = dataclasses.replace(run, key=fingerprint(name), target_images_seen=seen, status=status)
        store.save_run(own, correct if status == "finished" else None)
    store.save_run(dataclasses.replace(run, key=fingerprint("broken"), target_images_seen=0), correct)
    store.close()
    into_version_1(path)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE runs SET record = 'no JSON' WHERE key = ?", (fingerprint("broken"),))
    raw.close()
    with open_store(str(path), read_only=True) as again:
        assert [row.train_fraction for row in again.leaderboard_rows()] == [1.0, 0.0, 1.0, 1.0]
    with sqlite3.connect(path) as raw:
        raw.execute("DELETE FROM runs WHERE record = 'no JSON'")
    raw.close()
    with open_store(str(path)) as again:
        assert {run.key: run.train_fraction for run in again.runs()} == {
            fingerprint(name): fraction for name, *_, fraction in cases
        }


def test_an_outdated_file_is_read_from_a_copy_and_stays_as_it_is(path, store, tmp_path, monkeypatch):
    run, correct = make_old_run()
    store.save_run(run, correct)
    store.close()
    into_version_1(path)
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    before, tables = path.read_bytes(), tables_of(path)
    with open_store(str(path), read_only=True) as reader:
        assert reader.location == str(path) and reader.journal is None
        assert reader.runs() == [run]
        assert reader.leaderboard_rows() == [RunSummary.of(run, correct)]
        with pytest.raises(StoreError, match="open for reading only"):
            reader.save_run(run, correct)
        assert len(list(copies.iterdir())) == 1
    assert list(copies.iterdir()) == []
    assert path.read_bytes() == before and tables_of(path) == tables


def test_the_copy_holds_what_a_writer_has_only_in_its_log(path, store):
    first, correct = make_old_run()
    store.save_run(first, correct)
    store.close()
    into_version_1(path)
    writer = sqlite3.connect(path)
    try:
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE runs SET seed = 77")
        writer.commit()
        before = path.read_bytes()
        with open_store(str(path), read_only=True) as reader:
            assert [row.seed for row in reader.leaderboard_rows()] == [77]
        assert path.read_bytes() == before
        assert path.with_name(path.name + "-wal").stat().st_size
    finally:
        writer.close()


def test_an_outdated_file_that_nobody_may_write_is_read(ordinary_user):
    place = ordinary_user / "leaderboard.sqlite"
    run, correct = make_old_run()
    with open_store(str(place)) as store:
        store.save_run(run, correct)
    into_version_1(place)
    place.chmod(0o444)
    ordinary_user.chmod(0o555)
    before = place.read_bytes()
    with open_store(str(place), read_only=True) as reader:
        assert reader.runs() == [run]
    assert place.read_bytes() == before and [file.name for file in ordinary_user.iterdir()] == [place.name]
    with pytest.raises(StoreError, match="writable, or choose another store"):
        open_store(str(place))


def test_an_outdated_file_without_room_for_its_copy_is_one_line(path, store, tmp_path, monkeypatch):
    store.close()
    into_version_1(path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(StoreError, match=r"is read from a copy, but the folder .* takes none \(No such file.*TMPDIR"):
        open_store(str(path), read_only=True)


def test_a_copy_does_not_wait_for_a_writer_for_ever(path, store):
    store.close()
    holder = sqlite3.connect(path, isolation_level=None)
    try:
        holder.execute("PRAGMA journal_mode = DELETE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            copy_of(lambda: sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.05), "copy", str(path))
    finally:
        holder.close()


def test_a_servers_outdated_store_is_refused_when_it_is_only_read(path, store):
    store.close()
    into_version_1(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as opened, pytest.raises(StoreOutdated, match=r"schema 1, older than .* `ferbench run`"):
        migrations.require_newest(opened, "postgresql://host/name")
    engine.dispose()


def test_a_failed_migration_changes_nothing(path, store, monkeypatch):
    def break_down(opened):
        opened.execute(text("ALTER TABLE runs ADD COLUMN fold INTEGER"))
        opened.execute(text("no SQL at all"))

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, break_down))
    with pytest.raises(StoreError, match="cannot be used"):
        open_store(str(path))
    monkeypatch.undo()
    with sqlite3.connect(path) as raw:
        assert "fold" not in [row[1] for row in raw.execute("PRAGMA table_info(runs)")]
    raw.close()
    with open_store(str(path)) as again:
        assert again.runs() == []


def test_read_only_writes_nothing(path, store):
    with open_store(str(path), read_only=True) as reader, pytest.raises(StoreError, match="open for reading only"):
        reader.save_run(*make_run())


def test_a_read_only_folder_can_be_read_and_not_written(ordinary_user):
    place = ordinary_user / "leaderboard.sqlite"
    run, correct = make_run()
    with open_store(str(place)) as store:
        store.save_run(run, correct)
    ordinary_user.chmod(0o555)
    with open_store(str(place), read_only=True) as store:
        assert store.runs() == [run]
    with pytest.raises(StoreError, match="writable, or choose another store"):
        open_store(str(place))
    with pytest.raises(StoreError, match="writable, or choose another store"):
        open_store(str(ordinary_user / "new.sqlite"))
    with pytest.raises(StoreError, match=r"cannot be made \(Permission denied\)"):
        open_store(str(ordinary_user / "below" / "new.sqlite"))
    ordinary_user.chmod(0o777)
    place.chmod(0o444)
    with pytest.raises(StoreError, match="make the file and its folder writable"):
        open_store(str(place))


def test_a_log_that_cannot_be_read_is_not_passed_over(ordinary_user):
    # A killed writer's last rows are in the -wal file alone; reading on without them would show an older board.
    place = ordinary_user / "leaderboard.sqlite"
    with open_store(str(place)) as store:
        store.save_run(*make_run())
        copies = {
            name: (ordinary_user / name).read_bytes() for name in ("leaderboard.sqlite", "leaderboard.sqlite-wal")
        }
    for name, content in copies.items():
        (ordinary_user / name).write_bytes(content)
    ordinary_user.chmod(0o555)
    with pytest.raises(StoreError, match="unfinished business in leaderboard"):
        open_store(str(place), read_only=True)


def test_a_damaged_file_is_one_line_with_what_to_do(path):
    with open_store(str(path)) as store:
        store.save_run(*make_run())
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with (
        pytest.raises(
            StoreError, match=r"is damaged: put a copy of it in its place, or name another store with --store"
        ),
        open_store(str(path), read_only=True) as store,
    ):
        store.runs()


def test_damage_is_one_line(path, store):
    store.save_stage(make_stage(), make_result())
    store.save_predictions(FINAL, "content", make_predictions())
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE predictions SET probabilities = x'0011'")
    raw.close()
    with pytest.raises(StoreError, match="broken predictions on sfew val"):
        store.predictions(FINAL, "sfew", "val", "content")
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TABLE runs")
    raw.close()
    with pytest.raises(StoreError, match="no such table: runs"):
        store.runs()


# File systems and servers

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw shared:2 - nfs4 server:/home rw
31 30 8:2 / /home/local\\040disk rw - xfs /dev/sdb1 rw
40 22 0:50 / /mnt rw - fuse.sshfs me@there: rw
41 22 8:3 / /mnt rw - btrfs /dev/sdc1 rw
a line that is none
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/var/results.sqlite", "ext4"),
        ("/home/me/results.sqlite", "nfs4"),
        ("/homework/results.sqlite", "ext4"),
        ("/home/local disk/results.sqlite", "xfs"),
        ("/mnt/results.sqlite", "btrfs"),
    ],
)
def test_the_file_system_of_a_path(place, kind):
    assert file_system(Path(place), MOUNTS) == kind
    assert file_system(Path(place), "") == ""


def test_network_file_systems_get_the_rollback_journal(path, monkeypatch):
    with open_store(str(path)) as store:
        store.save_run(*make_run())
    monkeypatch.setattr("ferbench.store.filesystem.file_system", lambda *_: "nfs4")
    with open_store(str(path)) as store:
        assert store.journal == "delete"
        store.save_run(*make_run("b"))
        assert not path.with_name(path.name + "-wal").exists()
        assert len(store.runs()) == 2
    monkeypatch.undo()
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    raw.close()


def test_postgresql_understands_the_tables():
    dialect = postgresql.dialect()
    tables = {table.name: str(CreateTable(table).compile(dialect=dialect)) for table in metadata.sorted_tables}
    assert "BYTEA" in tables["runs"]
    assert "id SERIAL NOT NULL" in tables["runs"]
    assert "FOREIGN KEY(stage) REFERENCES stages (fingerprint)" in tables["predictions"]


# Several processes

WRITER = """
import sys
import test_store
from ferbench.store import open_store

path, worker, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open_store(path) as store:
    for number in range(count):
        name = f"{worker}/{number}"
        store.save_stage(test_store.make_stage(name), test_store.make_result(name))
        store.save_predictions(test_store.fingerprint(name), "content", test_store.make_predictions(number))
        for key in (name, f"shared {number}"):
            store.save_run(*test_store.make_run(key, number))
        store.leaderboard_rows()
        print(name, flush=True)
"""


def start_writer(path, worker, count):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(worker), str(count)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_whole(path):
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    raw.close()


@pytest.mark.parametrize(("writers", "count"), [(2, 30), (8, 8)])
def test_writers_at_once_lose_nothing(path, writers, count):
    """All of them make the store at the same moment, too."""
    processes = [start_writer(path, worker, count) for worker in range(writers)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    check_whole(path)
    with open_store(str(path)) as store:
        keys = [fingerprint([f"{worker}/{number}", number]) for worker in range(writers) for number in range(count)]
        shared = [fingerprint([f"shared {number}", number]) for number in range(count)]
        assert set(store.finished(keys + shared)) == {*keys, *shared}
        assert len(store.runs()) == len(keys) + count
        assert len(store.speeds(limit=1_000)) == len(keys)
        assert sorted(log.stage for log in store.trainings()) == sorted(
            fingerprint(f"{worker}/{number}") for worker in range(writers) for number in range(count)
        )
        assert store.images_trained() == 1000 * len(keys)


def test_a_killed_writer_leaves_every_row_that_it_had_saved(path):
    process = start_writer(path, 0, 100_000)
    said = [process.stdout.readline().strip() for _ in range(15)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=60)
    said += [line for line in rest.split("\n")[:-1] if line]
    assert process.returncode == -signal.SIGKILL
    with open_store(str(path)) as store:
        keys = {fingerprint([name, int(name.split("/")[1])]) for name in said}
        assert set(store.finished(keys)) == keys
        assert all(store.predictions(fingerprint(name), "sfew", "val", "content") for name in said)
        store.save_run(*make_run("afterwards"))
    check_whole(path)


def test_readers_do_not_wait_for_a_writer(store, path):
    store.save_run(*make_run())
    database = connection.open_database(str(path), read_only=False)
    with database.writing() as writing:
        writing.execute(text("DELETE FROM runs"))
        seen = []
        reader = threading.Thread(target=lambda: seen.extend(store.runs()))
        reader.start()
        reader.join(timeout=20)
        assert len(seen) == 1
        writing.rollback()
    database.close()
