"""Verification: rows as they were recorded verify whole, and whatever is changed afterwards is found and named."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny import CLASSES, Bench, Recorder, bars, matrix, tiny_backbone

from ferbench import network
from ferbench.catalog import Catalog
from ferbench.engine import Engine
from ferbench.ensembles import Method, make_ensemble
from ferbench.matrix import RecipeAxis, Tune
from ferbench.merging import merge
from ferbench.metrics import correctness, scores
from ferbench.prediction_hash import predictions_sha256
from ferbench.records import Predictions
from ferbench.reliability import calibration, reliability_bins
from ferbench.settings import Settings
from ferbench.store import codec, open_store
from ferbench.verification import Check, VerifiedRow, Verifier
from ferbench.verification.again import IN_BF16, OTHER_DEVICE, SAME_DEVICE, tolerance

PLUGIN = """
from tiny import Bench, TinyPlugin, bar_dataset, broken_backbone, tiny_backbone

hooks = TinyPlugin([bar_dataset("big", 1), bar_dataset("small", 2, groups=True)], [tiny_backbone(), broken_backbone()])
ferbench_register_datasets = hooks.ferbench_register_datasets
ferbench_register_backbones = hooks.ferbench_register_backbones
"""

#: Of each row: the cascade on a folder of pictures, a tuned one, their ensemble's, and one that failed.
CASCADE, TUNED, ENSEMBLE, FAILED = range(4)


@dataclass(frozen=True, slots=True)
class Home:
    """A store with its data, weights, plugin and cache; rows by what they are."""

    folder: Path
    settings: Settings
    catalog: Catalog
    rows: tuple[str, ...]

    @property
    def store(self) -> Path:
        return Path(self.settings.store)

    def verified(self, row: str, store: Path | None = None, *, infer: bool = False, **changes: Any) -> VerifiedRow:
        settings = dataclasses.replace(self.settings, **changes)
        with open_store(str(store or self.store), read_only=True) as opened:
            (found,) = Verifier(self.catalog, opened, settings, infer=infer).rows([row])
        return found


def faces(folder: Path) -> Path:
    """A folder of pictures in splits and classes; the test split's first class has one more, and so is the majority."""
    for number, (split, count) in enumerate({"train": 28, "val": 14, "test": 21}.items()):
        images, labels = bars(count, 50 + number)
        for place, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / split / CLASSES[label] / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[:, :, 0]).save(path)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("verified")
    data = faces(folder / "faces")
    (folder / "tiny_plugin.py").write_text(PLUGIN, "utf-8")
    torch.manual_seed(1)
    save_file(tiny_backbone().build(7, 12).state_dict(), folder / "weights.safetensors")
    catalog = Catalog.load((folder / "tiny_plugin.py",))
    settings = Settings(str(folder / "board.sqlite"), folder / "data", folder / "cache", "cpu")
    given: dict[str, Any] = {
        "targets": (f"folder:{data}",),
        "weights": (str(folder / "weights.safetensors"),),
        "recipe": {"images_seen": 64, "batch_size": 8, "image_size": 12, "augment": "none"},
    }
    with open_store(settings.store) as store:
        engine = Engine(catalog, store, settings, Recorder())
        cascade = engine.run(engine.prepare(matrix("cascade", **given, seeds=(0, 1)), calibrate=False)).finished
        assert engine.further_reports(["small"]).score(cascade) == 2
        tuned = matrix("target-only", **given)
        tuned = dataclasses.replace(tuned, axes=(*tuned.axes, RecipeAxis("lr", (0.001, 0.05))), tune=Tune())
        engine.run(engine.prepare_tries(tuned))
        (chosen,) = engine.run(engine.prepare_chosen(tuned)).finished
        ensemble = make_ensemble(store, [cascade[0].row, chosen.row], Method(over_seeds=True))
        broken = engine.prepare(matrix("target-only", backbones=("broken",)), calibrate=False)
        (failed,) = engine.run(broken).failed
    rows = (cascade[0].row, chosen.row, ensemble.row, failed.row)
    return Home(folder, settings, catalog, rows)


@pytest.fixture
def copied(home: Home, tmp_path: Path) -> Path:
    return Path(shutil.copy(home.store, tmp_path / "board.sqlite"))


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def mismatches(found: VerifiedRow) -> list[Check]:
    return [check for check in found.checks if check.ok is False]


def details(found: VerifiedRow, ok: bool | None) -> list[str]:
    return [f"{check.name} {check.seed}: {check.detail}" for check in found.checks if check.ok is ok]


# --- whole ------------------------------------------------------------------------------------------------------------


def test_a_fresh_row_verifies_whole_with_and_without_predicting_again(home: Home) -> None:
    for infer in (False, True):
        found = home.verified(home.rows[CASCADE], infer=infer)
        assert found.ok and found.seeds == (0, 1) and found.row == home.rows[CASCADE]
        assert details(found, False) == details(found, None) == []
        names = ["record", "predictions", "scores", "stages", "board", "data", "weights", "sources", "checkpoint"]
        assert [check.name for check in found.checks if check.seed == 1] == names + (["infer"] if infer else [])
    said = {check.name: check.detail for check in found.checks if check.seed == 0}
    assert said["scores"] == (
        "6 scores, 21 answers, reliability, accuracy on select, calibration, forgetting of big te, small te: 6 scores"
    )
    assert said["stages"] == "2 stages, entry and key, cost, notes"
    assert said["sources"] == "cascade, class_folders, tiny_plugin" and said["weights"] == "weights.safetensors"
    assert "report: probabilities at most" in said["infer"] and "0 of 21 answers change" in said["infer"]


def test_tuned_rows_ensembles_and_failed_rows_verify_whole(home: Home) -> None:
    tuned = home.verified(home.rows[TUNED], infer=True)
    assert details(tuned, False) == details(tuned, None) == []
    assert "2 tries" in next(check.detail for check in tuned.checks if check.name == "stages")
    ensemble = home.verified(home.rows[ENSEMBLE], infer=True)
    assert details(ensemble, False) == []
    assert details(ensemble, None) == ["infer 0: an ensemble has no checkpoint: verify its members"]
    assert "mean of 3 members" in [check.detail for check in ensemble.checks]
    failed = home.verified(home.rows[FAILED])
    assert details(failed, False) == [] and failed.seeds == (0,)
    with open_store(str(home.store), read_only=True) as store:
        verifier = Verifier(home.catalog, store, home.settings)
        named = [found.row for found in verifier.rows([home.rows[ENSEMBLE]] * 2, members=True)]
    assert named == [home.rows[ENSEMBLE], *sorted(home.rows[:2])]


def test_what_is_not_here_is_neither_right_nor_wrong(home: Home, copied: Path, tmp_path: Path) -> None:
    aside = home.folder / "elsewhere"
    (home.folder / "faces").rename(aside)
    (home.folder / "weights.safetensors").rename(home.folder / "gone")
    try:
        # A catalog remembers what it has found once.
        elsewhere = dataclasses.replace(home, catalog=Catalog.load((home.folder / "tiny_plugin.py",)))
        found = elsewhere.verified(home.rows[CASCADE], infer=True, cache_folder=tmp_path / "empty")
    finally:
        aside.rename(home.folder / "faces")
        (home.folder / "gone").rename(home.folder / "weights.safetensors")
    assert details(found, False) == []
    unknown = [check.name for check in found.checks if check.ok is None and check.seed == 0]
    assert set(unknown) == {"predictions", "stages", "board", "data", "weights", "checkpoint", "infer"}
    with database(copied) as connection:
        connection.execute("UPDATE stages SET pruned = 1")
    pruned = home.verified(home.rows[CASCADE], copied, cache_folder=tmp_path / "empty")
    assert [line for line in details(pruned, None) if line.startswith("checkpoint 0")] == [
        "checkpoint 0: its last stage's: it was pruned"
    ]


def test_rows_of_an_older_ferbench_are_checked_as_far_as_they_go(home: Home, copied: Path) -> None:
    later = {
        **dict.fromkeys(("predictions_sha256", "select_content"), ""),
        **{name: [] for name in ("reliability", "forgetting", "sources")},
        **dict.fromkeys(("calibration", "select_accuracy")),
    }

    def aged(record: dict[str, Any]) -> None:
        record |= later
        for score in record["scores"][1:3]:
            score |= {"low": score["value"] - 0.1, "high": score["value"] + 0.1, "interval": "wilson"}

    with database(copied) as connection:
        columns = ("select_accuracy", "forgotten", "temperature", "calibrated_nll", "calibrated_ece", "interval")
        connection.execute(f"UPDATE runs SET {', '.join(f'{name} = NULL' for name in columns)}")
        connection.execute("UPDATE runs SET uar_low = uar - 0.1, uar_high = uar + 0.1")
        connection.execute("UPDATE runs SET macro_f1_low = macro_f1 - 0.1, macro_f1_high = macro_f1 + 0.1")
        edit(connection, "runs", "record", aged)
    found = home.verified(home.rows[CASCADE], copied)
    assert details(found, False) == []
    assert [line for line in details(found, None) if " 0: " in line] == [
        "predictions 0: their hash: an older ferbench kept none",
        "scores 0: interval of uar: an older ferbench computed it in another way",
        "scores 0: interval of macro_f1: an older ferbench computed it in another way",
        "scores 0: calibration: an older ferbench computed none",
        "sources 0: an older ferbench kept no hashes of plugins",
    ]


def test_rows_that_were_merged_verify_under_the_names_of_their_hardware(home: Home, copied: Path) -> None:
    def elsewhere(record: Any) -> None:
        record["environment"]["processor"] = "Another"

    other = copied.with_name("other.sqlite")
    shutil.copy(home.store, other)
    with database(other) as connection:
        edit(connection, "runs", "record", elsewhere)
        connection.execute("UPDATE runs SET processor = 'Another' WHERE status = 'finished'")
    with open_store(str(copied)) as store:
        named = {run.row: run.named for run in merge(store, str(other)).merged}
    for row in home.rows[:3]:
        assert named[row] != row
        found = home.verified(named[row], copied)
        assert details(found, False) == []
        unknown = {check.name for check in found.checks if check.ok is None}
        assert unknown <= {"checkpoint", "weights", "members", "stages", "board", "data", "predictions"}
    with open_store(str(copied), read_only=True) as store:
        merged = store.runs(row=named[home.rows[CASCADE]])[0]
        assert (merged.cell.target, merged.board.target) == ("folder:…/faces",) * 2  # type: ignore[union-attr]
    with database(copied) as connection:
        edit(connection, "runs", "record", put("hardware", "cpu, A third"), "json_extract(record, '$.hardware') != ''")
    said = details(home.verified(named[home.rows[CASCADE]], copied), False)
    assert any("its hardware is 'cpu, A third', by its environment it is 'cpu, Another'" in line for line in said)


# --- changed in the store ---------------------------------------------------------------------------------------------


Change = Callable[[sqlite3.Connection], None]


def edit(
    connection: sqlite3.Connection, table: str, column: str, change: Callable[[Any], None], where: str = "1"
) -> None:
    """Change JSON in place."""
    for row, text in connection.execute(f"SELECT id, {column} FROM {table} WHERE {where}").fetchall():
        record = json.loads(text)
        change(record)
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (json.dumps(record), row))


def edit_run(change: Callable[[Any], None]) -> Change:
    return lambda connection: edit(connection, "runs", "record", change, FIRST)


def edit_stage(change: Callable[[Any], None], column: str = "stage") -> Change:
    final = f"fingerprint = (SELECT final_stage FROM runs WHERE {FIRST})"
    return lambda connection: edit(connection, "stages", column, change, final)


def statement(text: str) -> Change:
    def run(connection: sqlite3.Connection) -> None:
        assert connection.execute(text).rowcount > 0

    return run


def set_column(text: str) -> Change:
    """Of the first run."""
    return statement(f"UPDATE runs SET {text} WHERE {FIRST}")


def edit_predictions(column: str, change: Callable[[np.ndarray[Any, Any]], None], content: str = "board") -> Change:
    """Change the array of one column of the first run's predictions; texts are an array of objects."""
    kinds: dict[str, Any] = {"probabilities": "<f4", "labels": "<i8"}

    def run(connection: sqlite3.Connection) -> None:
        row, packed, classes = connection.execute(
            f"SELECT p.id, p.{column}, p.classes FROM predictions p JOIN runs r ON p.stage = r.final_stage "
            f"WHERE r.{FIRST} AND p.content = {CONTENTS[content]}"
        ).fetchone()
        raw = zlib.decompress(packed)
        if column in kinds:
            values = np.frombuffer(raw, kinds[column]).copy()
            values = values.reshape(-1, classes) if column == "probabilities" else values
            change(values)
            raw = values.tobytes()
        else:
            words = np.array(json.loads(raw), dtype=object)
            change(words)
            raw = json.dumps(words.tolist()).encode()
        connection.execute(f"UPDATE predictions SET {column} = ? WHERE id = ?", (zlib.compress(raw), row))

    return run


#: The cascade's run of seed 0.
FIRST = "id = (SELECT min(id) FROM runs)"

CONTENTS = {
    "board": "r.board",
    "select": "json_extract(r.record, '$.select_content')",
    "forgetting": "json_extract(r.record, '$.forgetting[0].content')",
    "further": "(SELECT content FROM further_scores f WHERE f.stage = r.final_stage)",
}


def put(key: str, value: Any, *path: Any) -> Callable[[Any], None]:
    """Put a value into a record, below a path of keys."""

    def change(record: Any) -> None:
        for step in path:
            record = record[step]
        assert record[key] != value
        record[key] = value

    return change


def least_step(values: np.ndarray[Any, Any]) -> None:
    values[3, 2] = np.nextafter(values[3, 2], np.float32(1))


def swap(values: np.ndarray[Any, Any]) -> None:
    values[[0, 1]] = values[[1, 0]]


def other(values: np.ndarray[Any, Any]) -> None:
    values[4] = "another" if values.dtype == object else (values[4] + 1) % 7


def turn(values: np.ndarray[Any, Any]) -> None:
    """Every answer becomes another."""
    values[:] = np.roll(values, 1, axis=1)


def flip_bit(connection: sqlite3.Connection) -> None:
    (packed,) = connection.execute(f"SELECT correct FROM runs WHERE {FIRST}").fetchone()
    connection.execute(f"UPDATE runs SET correct = ? WHERE {FIRST}", (bytes([packed[0] ^ 4]) + packed[1:],))


def with_column(text: str, change: Callable[[Any], None]) -> Change:
    """A column and the record, so that they agree."""

    def run(connection: sqlite3.Connection) -> None:
        statement(f"UPDATE runs SET {text} WHERE {FIRST}")(connection)
        edit_run(change)(connection)

    return run


#: What is changed, the check that finds it, and words of what it says.
CHANGED: dict[str, tuple[Change, str, str]] = {
    # columns without their record, and records without their columns
    "column accuracy": (
        set_column("accuracy = 0.9"),
        "record",
        "column accuracy holds 0.9",
    ),
    "column uar_high": (
        set_column("uar_high = 1"),
        "record",
        "column uar_high holds 1.0",
    ),
    "column interval": (set_column("interval = 'none'"), "record", "column interval"),
    "column nll": (set_column("nll = 0"), "record", "column nll holds 0.0"),
    "column notes": (statement(f"UPDATE runs SET notes = '[\"fine\"]' WHERE {FIRST}"), "record", "column notes"),
    "column seed": (set_column("seed = 7"), "record", "column seed holds 7"),
    "column key": (set_column("key = 'a'"), "record", "column key holds 'a'"),
    "column recipe": (
        set_column("recipe = json_set(recipe, '$.lr', 0.7)"),
        "record",
        "column recipe",
    ),
    "a recipe that is none": (set_column("recipe = 'x'"), "record", "column recipe holds 'x'"),
    "column interval taken away": (set_column("interval = NULL"), "record", "column interval holds None"),
    "column precision taken away": (set_column("precision = NULL"), "record", "column precision holds None"),
    "column tries": (set_column("tries = 9"), "record", "column tries holds 9"),
    "column precision": (set_column("precision = 'bf16'"), "record", "column precision"),
    "a correctness bit": (flip_bit, "scores", "column correct counts 1 answer otherwise"),
    "the board's n": (statement("UPDATE boards SET n = 22"), "record", "the board's column n holds 22"),
    "the board's majority": (
        statement("UPDATE boards SET majority = 0.1"),
        "record",
        "the board's column majority holds 0.1",
    ),
    "the board's name": (statement("UPDATE boards SET target = 'fer'"), "record", "the board's columns name it 'fer'"),
    "a stage's column": (statement("UPDATE stages SET parameters = 1"), "stages", "column parameters holds 1"),
    "a score in the record": (edit_run(put("value", 0.99, "scores", 0)), "scores", "accuracy is 0.99, by the stored"),
    "an interval": (edit_run(put("high", 0.99, "scores", 2)), "scores", "the interval of macro_f1 is"),
    "n of a score": (edit_run(put("n", 20, "scores", 3)), "scores", "nll's n is 20"),
    # both, so that they agree
    "a note": (
        with_column("notes = '[\"state of the art\"]'", put("notes", ["state of the art"])),
        "stages",
        "has, without reason, the note 'state of the art'",
    ),
    "a score and its column": (
        with_column("nll = 0.5", put("value", 0.5, "scores", 3)),
        "scores",
        "nll is 0.5, by the stored predictions it is",
    ),
    "the board's majority twice": (
        with_column("board = board", put("majority", 0.1, "board")),
        "board",
        "the board's majority is 0.1, by the data here it is",
    ),
    "the key": (with_column(f"key = '{'a' * 64}'", put("key", "a" * 64)), "stages", "its key is aaaaaaaaaaaa"),
    "the seed": (with_column("seed = 5", put("seed", 5, "cell")), "stages", "its seed is 0, in the row's cell it is 5"),
    "the recipe of the cell": (
        with_column("recipe = json_set(recipe, '$.lr', 0.7)", put("lr", 0.7, "cell", "recipe")),
        "stages",
        "stage 1: lr is 0.01, by the row's cell it is 0.7",
    ),
    "the strategy": (
        with_column("strategy = 'target-only'", put("strategy", "target-only", "cell")),
        "stages",
        "its name is",
    ),
    "a strategy that nobody has": (
        with_column("strategy = 'my-clever-method'", put("strategy", "my-clever-method", "cell")),
        "stages",
        "its name is",
    ),
    "a backbone that nobody has": (
        with_column("backbone = 'super-net'", put("backbone", "super-net", "cell")),
        "stages",
        "stage 1: its backbone is 'tiny', in the row's cell it is 'super-net'",
    ),
    "images seen": (with_column("images_seen = 1", put("images_seen", 1)), "stages", "images_seen is 1, by its cell"),
    "seconds": (with_column("train_seconds = 0.5", put("train_seconds", 0.5)), "stages", "train_seconds is 0.5"),
    "weights": (
        with_column("weights = 'random'", put("weights", {"sha256": "random", "source": "random", "path": None})),
        "stages",
        "stage 1: its weights is",
    ),
    # further in the record
    "the hash": (edit_run(put("predictions_sha256", "b" * 64)), "predictions", "in its record it is bbbbbbbbbbbb"),
    "a hash that was taken away": (edit_run(put("predictions_sha256", "")), "predictions", "in its record it is ''"),
    "a reliability bin": (edit_run(put("count", 99, "reliability", 4)), "scores", ": count of bin 5 is 99 for "),
    "the temperature": (
        with_column("temperature = 1.5", put("temperature", 1.5, "calibration")),
        "scores",
        "calibration: temperature is 1.5",
    ),
    "accuracy on select": (
        with_column("select_accuracy = 0.97", put("select_accuracy", 0.97)),
        "scores",
        "the accuracy on select is 0.97",
    ),
    "forgetting": (
        edit_run(put("after", 0.97, "forgetting", 0)),
        "scores",
        "forgetting of big te: accuracy after is 0.97",
    ),
    "a source": (edit_run(put("sources", [["cascade", "c" * 64]])), "sources", "plugin tiny_plugin, which its parts"),
    # stages
    "a stage's recipe": (edit_stage(put("lr", 0.7, "recipe")), "stages", "stage 2 is named"),
    "a stage's classes": (edit_stage(put("classes", ["a", "b"])), "stages", "stage 2: its classes is ('a', 'b')"),
    "a stage's history": (
        edit_stage(put("images_seen", 5, "history", -1), "result"),
        "stages",
        "stage 2: images at the end of its history is 5, in its result it is",
    ),
    "a stage's data": (
        edit_stage(put("content", "d" * 64, "parts", 0)),
        "data",
        "the train samples' hash is dddddddddddd",
    ),
    "a stage's parent": (edit_stage(put("parent", None)), "stages", "stage 2: its parent is None"),
    "a stage's result": (
        edit_stage(put("checkpoint_sha256", "e" * 64), "result"),
        "checkpoint",
        "the hash of the checkpoint of its last stage is",
    ),
    # predictions
    "a probability by the least step": (
        edit_predictions("probabilities", least_step),
        "predictions",
        "the hash of the",
    ),
    "an answer": (edit_predictions("probabilities", turn), "scores", "answers otherwise than the stored"),
    "two samples swapped": (edit_predictions("probabilities", swap), "predictions", "the hash of the predictions"),
    "an id": (edit_predictions("ids", other), "predictions", "1 id not as in the data, the first of sample 5"),
    "what samples are called": (
        statement("UPDATE predictions SET dataset = 'fer', split = 'x' WHERE content = (SELECT board FROM runs)"),
        "record",
        "its predictions are stored as of 'fer' 'x', its board is",
    ),
    "two ids swapped": (edit_predictions("ids", swap), "predictions", "2 id"),
    "a label": (edit_predictions("labels", other), "predictions", "1 label not as in the data"),
    "a probability of select by the least step": (
        edit_predictions("probabilities", least_step, "select"),
        "predictions",
        "the hash of the predictions",
    ),
    "a probability of an auxiliary by the least step": (
        edit_predictions("probabilities", least_step, "forgetting"),
        "scores",
        "forgetting of big te: the hash after",
    ),
    "answers of select": (
        edit_predictions("probabilities", turn, "select"),
        "scores",
        "calibration: temperature",
    ),
    "an id of select": (edit_predictions("ids", other, "select"), "predictions", "1 id not as in the data"),
    "a label of an auxiliary": (
        edit_predictions("labels", other, "forgetting"),
        "scores",
        "forgetting of big te: accuracy",
    ),
    "a probability of a further dataset": (
        edit_predictions("probabilities", least_step, "further"),
        "scores",
        "small te: ",
    ),
    "a further score": (
        lambda connection: edit(connection, "further_scores", "record", put("value", 0.98, "scores", 1)),
        "scores",
        "small te: uar is 0.98",
    ),
    # damage
    "predictions that cannot be read": (
        statement("UPDATE predictions SET probabilities = x'00'"),
        "predictions",
        "broken predictions",
    ),
    "predictions that are gone": (
        statement("DELETE FROM predictions"),
        "predictions",
        "has no predictions of its board",
    ),
    "a stage that is gone": (
        statement(f"DELETE FROM stages WHERE fingerprint = (SELECT final_stage FROM runs WHERE {FIRST})"),
        "stages",
        "stages that the store lacks",
    ),
    "a record of no JSON": (statement(f"UPDATE runs SET record = '{{' WHERE {FIRST}"), "record", "cannot be read"),
    "a record nested too deeply": (set_column(f"record = '{'[' * 10**5}'"), "record", "cannot be read"),
    "ids that are no bytes": (statement("UPDATE predictions SET ids = 'x'"), "predictions", "broken predictions"),
    "a record of another shape": (edit_run(put("scores", 3)), "record", "cannot be read"),
    "a stage of no JSON": (statement("UPDATE stages SET stage = 'x'"), "stages", "its record cannot be read"),
    "words in the place of numbers": (edit_run(put("value", "high", "scores", 0)), "scores", "accuracy is 'high'"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_is_changed_in_the_store_is_found_and_named(home: Home, copied: Path, what: str) -> None:
    change, name, words = CHANGED[what]
    with database(copied) as connection:
        change(connection)
    found = home.verified(home.rows[CASCADE], copied)
    assert not found.ok
    said = [check.detail for check in mismatches(found) if check.name == name]
    assert any(words in detail for detail in said), details(found, False)
    # Nothing is taken for a fault of ferbench.
    assert not any("unexpected" in line for line in details(found, False))
    assert all("\n" not in check.detail for check in found.checks)


def test_a_run_that_was_not_touched_stays_whole_beside_one_that_was(home: Home, copied: Path) -> None:
    with database(copied) as connection:
        edit_run(put("value", 0.99, "scores", 0))(connection)
    assert {check.seed for check in mismatches(home.verified(home.rows[CASCADE], copied))} == {0}


def test_a_stage_that_was_trained_again_makes_no_cost_wrong(home: Home, copied: Path) -> None:
    final = f"(SELECT final_stage FROM runs WHERE {FIRST})"
    with database(copied) as connection:
        edit_stage(put("train_seconds", 9.5), "result")(connection)
        statement(f"UPDATE trainings SET train_seconds = 9.5 WHERE stage = {final}")(connection)
    (wrong,) = mismatches(home.verified(home.rows[CASCADE], copied))
    assert wrong.detail.startswith("train_seconds is ")
    with database(copied) as connection:
        statement(f"UPDATE trainings SET saved_at = saved_at + 60 WHERE stage = {final}")(connection)
    found = home.verified(home.rows[CASCADE], copied)
    assert details(found, False) == []
    assert details(found, None) == [
        "stages 0: train_seconds: a stage of its chain was trained again since, or elsewhere"
    ]


def test_samples_that_another_row_asked_for_first_keep_its_name_for_them(home: Home, copied: Path) -> None:
    with database(copied) as connection:
        statement("UPDATE predictions SET split = 'report' WHERE content = (SELECT board FROM runs)")(connection)
        # Another row, which called them so.
        edit(connection, "runs", "record", put("split", "report", "board"), "tries > 0")
    said = details(home.verified(home.rows[CASCADE], copied), None)
    assert any(line.startswith("record 0: what its samples are called: its predictions are stored as") for line in said)


def test_two_names_of_one_dataset_share_stages_and_both_rows_verify(bench: Bench) -> None:
    for target in ("small", "small:va"):
        bench.run("target-only", targets=(target,))
    settings = Settings(bench.store.location, bench.folder / "data", bench.folder / "cache", "cpu")
    for run in bench.store.runs(status="finished"):
        (found,) = Verifier(bench.catalog, bench.store, settings).rows([run.row])
        assert found.ok, mismatches(found)


def test_predictions_whose_name_lost_its_folders_are_the_boards_all_the_same(home: Home, copied: Path) -> None:
    with database(copied) as connection:
        statement("UPDATE predictions SET dataset = 'folder:…/faces' WHERE content = (SELECT board FROM runs)")(
            connection
        )
    found = home.verified(home.rows[CASCADE], copied)
    assert not any("are stored as" in check.detail for check in mismatches(found))
    assert any("are stored as of folder:…/faces" in line for line in details(found, None))


def test_weights_are_not_asked_of_the_network(home: Home, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def resolve(backbone: Any, policy: str) -> None:
        asked.append(network.network_reachable("localhost"))

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("ferbench.network._PROBE", network.NetworkProbe())
    monkeypatch.setattr("ferbench.network._connects", lambda *address: True)
    monkeypatch.setattr("ferbench.verification.given.resolve_weights", resolve)
    with database(copied) as connection:
        edit_run(put("path", None, "weights"))(connection)
    said = details(home.verified(home.rows[CASCADE], copied), None)
    assert asked == [False] and network.network_reachable("a host")
    assert any("weights are not looked for on the network" in line for line in said)


def test_tries_and_members_that_were_changed_are_found(home: Home, copied: Path) -> None:
    def better(record: Any) -> None:
        record["cell"]["tuning"]["tries"][0]["score"] = 1.0

    with database(copied) as connection:
        edit(connection, "runs", "record", better, "tries > 0")
        edit(connection, "runs", "record", put("weight", 0.5, "members", 0), "members > 0")
    tuned = " ".join(details(home.verified(home.rows[TUNED], copied), False))
    assert "the try that was chosen is" in tuned and "accuracy of try 1 is 1.0, by its predictions on select" in tuned
    ensemble = " ".join(details(home.verified(home.rows[ENSEMBLE], copied), False))
    assert "the weights of its members sum to" in ensemble and "the name of its predictions is" in ensemble
    shutil.copy(home.store, copied)
    with database(copied) as connection:
        edit_predictions("probabilities", least_step)(connection)
    said = details(home.verified(home.rows[ENSEMBLE], copied), False)
    assert any("seed 0: the hash of its predictions is" in line for line in said)
    shutil.copy(home.store, copied)
    with database(copied) as connection:
        connection.execute(f"DELETE FROM runs WHERE {FIRST}")
    assert [line for line in details(home.verified(home.rows[ENSEMBLE], copied), False) if "no such run" in line]


# --- changed on disk --------------------------------------------------------------------------------------------------


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    assert content != before
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def flipped(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    return bytes(content)


def test_a_byte_of_a_checkpoint_of_the_weights_and_of_a_plugin(home: Home) -> None:
    with open_store(str(home.store), read_only=True) as store:
        run = store.runs(row=home.rows[CASCADE])[0]
    checkpoint = home.settings.cache_folder / "checkpoints" / f"{run.stages[-1]}.safetensors"
    for path, name, words in (
        (checkpoint, "checkpoint", "the hash of the checkpoint of its last stage"),
        (home.folder / "weights.safetensors", "weights", "the hash of weights.safetensors"),
        (home.folder / "tiny_plugin.py", "sources", "the source of plugin tiny_plugin"),
    ):
        with changed(path, flipped(path)):
            found = home.verified(home.rows[CASCADE], infer=True)
        wrong = mismatches(found)
        assert {check.name for check in wrong} == {name} and all(words in check.detail for check in wrong)


@pytest.mark.parametrize(("split", "name"), [("test", "board"), ("train", "data"), ("val", "data")])
def test_a_pixel_of_the_data(home: Home, split: str, name: str) -> None:
    path = home.folder / "faces" / split / "happy" / "3.png"
    before = path.read_bytes()
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 1
    try:
        Image.fromarray(pixels).save(path)
        found = home.verified(home.rows[CASCADE])
    finally:
        path.write_bytes(before)
    assert name in {check.name for check in mismatches(found)}
    said = " ".join(check.detail for check in mismatches(found))
    assert ("is board" if split == "test" else "samples' hash") in said


# --- forged together --------------------------------------------------------------------------------------------------


def forged(store: Path, row: str, folder: Path) -> None:
    """Better answers of one run, with all that follows from them: only the checkpoint knows better."""
    with open_store(str(store)) as opened:
        run, report = next((run, found) for run, found in opened.run_predictions(row) if run.cell.seed == 0)
        select = opened.select_predictions(run)
        assert report.labels is not None and select is not None
        probabilities = report.probabilities.copy()
        wrong = int(np.flatnonzero(~correctness(report))[0])
        best = probabilities[wrong].argmax()
        label = report.labels[wrong]
        probabilities[wrong, [best, label]] = probabilities[wrong, [label, best]]
        better: Predictions = dataclasses.replace(report, probabilities=probabilities)
        run = dataclasses.replace(
            run,
            scores=scores(better, CLASSES),
            predictions_sha256=predictions_sha256(better),
            reliability=reliability_bins(better),
            calibration=calibration(select, better),
        )
        assert run.board is not None
        opened.save_predictions(run.stages[-1], run.board.fingerprint, better, again=[run.key])
        opened.save_run(run, correctness(better), force=True)


def test_what_is_forged_together_is_found_by_predicting_again_alone(home: Home, copied: Path, tmp_path: Path) -> None:
    forged(copied, home.rows[CASCADE], tmp_path)
    assert home.verified(home.rows[CASCADE], copied).ok
    (wrong,) = mismatches(home.verified(home.rows[CASCADE], copied, infer=True))
    assert (wrong.name, wrong.seed) == ("infer", 0)
    assert "report: the checkpoint gives other probabilities" in wrong.detail
    assert "1 samples are, and 1 of 21 answers change" in wrong.detail


def test_how_far_off_probabilities_may_be() -> None:
    assert tolerance("fp32", "cpu", "cpu") == SAME_DEVICE < tolerance("fp32", "cpu", "NVIDIA H100") == OTHER_DEVICE
    assert tolerance("bf16", "NVIDIA H100", "NVIDIA H100") == IN_BF16


# --- versions ---------------------------------------------------------------------------------------------------------


def test_another_version_of_a_plugin_is_told_and_an_absent_one_is_not_checked(home: Home) -> None:
    newer = home.folder / "newer" / "tiny_plugin.py"
    newer.parent.mkdir(exist_ok=True)
    newer.write_text(
        "import dataclasses" + PLUGIN.replace("[tiny_backbone(),", "[dataclasses.replace(tiny_backbone(), version=3),"),
        "utf-8",
    )
    found = dataclasses.replace(home, catalog=Catalog.load((newer,))).verified(home.rows[CASCADE])
    assert {check.name for check in mismatches(found)} == {"sources"}
    assert (
        "stages 0: what is computed now: backbone tiny has version 3 here, the row was trained with version 1"
        in details(found, None)
    )
    bare = dataclasses.replace(home, catalog=Catalog.load()).verified(home.rows[CASCADE])
    assert details(bare, False) == []
    said = details(bare, None)
    assert "stages 0: names of stages: no plugin here provides backbone 'tiny'" in said
    assert "sources 0: plugin tiny_plugin is not installed here" in said


def test_the_store_is_left_as_it_is(home: Home, copied: Path) -> None:
    before = copied.read_bytes()
    home.verified(home.rows[CASCADE], copied, infer=True)
    assert copied.read_bytes() == before


def test_codec_and_store_agree_on_what_a_record_gives(home: Home) -> None:
    """Every column that the store has of a run is either derived from its record or named as none of it."""
    with open_store(str(home.store), read_only=True) as store:
        run = store.runs(row=home.rows[CASCADE])[0]
    derived = set(codec.run_columns(run, None))
    with database(home.store) as connection:
        columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(runs)")}
    assert columns - derived == {"id", "precision"}
