"""Snapshots: what goes in comes out in six digits, the same bytes every time; hostile ones are named and refused."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import sqlite3
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from kept_rows import BOARD, failed_run, kept_run, save

from ferbench.components import PERMITS
from ferbench.errors import StoreError
from ferbench.fingerprints import fingerprint
from ferbench.merging import merge
from ferbench.snapshot import Found, read_snapshot, read_store, write_snapshot
from ferbench.snapshot.checking import Samples
from ferbench.snapshot.derived import derived
from ferbench.snapshot.layout import COLUMNS
from ferbench.snapshot.limits import Limits
from ferbench.snapshot.redaction import published, without_folders, without_location
from ferbench.snapshot.rounding import six_digits, spelled
from ferbench.store import KeptRun, open_store
from ferbench.store.foreign import open_foreign

FILES = ("runs.jsonl", "predictions.csv.gz")


def content(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def same(one: KeptRun, other: KeptRun) -> None:
    assert (one.run, one.stages, one.further) == (other.run, other.stages, other.further)
    assert one.predictions.keys() == other.predictions.keys()
    for name, own in one.predictions.items():
        theirs = other.predictions[name]
        assert (own.dataset, own.split, own.ids, own.groups) == (
            theirs.dataset,
            theirs.split,
            theirs.ids,
            theirs.groups,
        )
        np.testing.assert_array_equal(own.probabilities, theirs.probabilities)
        assert (own.labels is None) == (theirs.labels is None)
        np.testing.assert_array_equal(own.labels, theirs.labels)  # type: ignore[arg-type]


# Six digits


@given(arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32)), st.booleans())
def test_six_digits_keep_answers_and_are_spelled_the_same_again(table: np.ndarray, apart: bool) -> None:
    # The last row has two classes that only the seventh digit tells apart.
    table[3, 4] = np.nextafter(table[3].max(), np.float32(2)) if apart else table[3].max()
    texts = spelled(table)
    read = np.array(texts, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(read.argmax(axis=1), table.argmax(axis=1))
    assert spelled(read) == texts
    # Half a unit of the sixth digit, and one more for a winner that is raised.
    np.testing.assert_allclose(read, table, rtol=1.6e-5, atol=0)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Zl", "Zp")), max_size=12)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    kept = kept_run(further=data.draw(st.booleans()))
    known = dict(kept.predictions)
    texts: dict[str, Any] = {}
    for name, each in known.items():
        n = len(each.ids)
        if name[1] not in texts:
            ids = tuple(data.draw(st.lists(WORDS, min_size=n, max_size=n)))
            texts[name[1]] = ids, data.draw(st.none() | st.just(ids[::-1]))
        ids, groups = texts[name[1]]
        known[name] = dataclasses.replace(each, ids=ids, groups=groups)
    run = dataclasses.replace(kept.run, notes=(data.draw(WORDS),))
    select = run.stages[-1], run.select_content
    if data.draw(st.booleans()):
        known[select] = dataclasses.replace(known[select], labels=None)
        run = dataclasses.replace(run, select_accuracy=None, calibration=None)
    folder = tmp_path_factory.mktemp("snapshot")
    kept = dataclasses.replace(kept, run=run, predictions=known)
    write_snapshot(folder, [kept, failed_run("other", 3)], lambda dataset: PERMITS)
    found = read_snapshot(folder)
    assert not found.refused
    public = published(kept)
    six = {name: six_digits(each) for name, each in public.predictions.items()}
    expected = derived(dataclasses.replace(public, predictions=six))
    by_strategy = {each.run.cell.strategy: each for each in found.runs}
    same(by_strategy["cascade"], expected)
    same(by_strategy["other"], published(failed_run("other", 3)))


def test_the_same_rows_give_the_same_bytes_from_any_store(tmp_path: Path) -> None:
    runs = [kept_run(seed=1, further=True), kept_run(seed=0), kept_run("other", first="cascade"), failed_run("lost")]
    for name, order in (("one", runs), ("two", runs[::-1])):
        with open_store(str(tmp_path / f"{name}.sqlite")) as store:
            save(store, *order)
            found = read_store(store)
        assert not found.refused
        time.sleep(0.01)
        write_snapshot(tmp_path / name, found.runs)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    write_snapshot(tmp_path / "one", [])
    assert len(content(tmp_path / "one")[0].splitlines()) == 1
    assert {path.name for path in (tmp_path / "one").iterdir()} == set(FILES)

    runs_text, packed = content(tmp_path / "two")
    assert packed[3:8] == bytes(5)
    # Neither folders of this machine nor what the store alone knows.
    for text in (runs_text, gzip.decompress(packed)):
        assert b"someone" not in text and b"saved_at" not in text
    lines = [json.loads(line) for line in runs_text.splitlines()]
    assert {**lines[0], "withheld": 0} == {"format": 1, "kind": "snapshot", "withheld": 0}
    assert [line["kind"] for line in lines if line["kind"] != "predictions"] == [
        *("snapshot", "board", *["stage"] * 5, *["run"] * 4, "further"),
    ]
    # A first stage that rows share is predicted from once.
    assert sum(line["kind"] == "predictions" for line in lines) == 3 * 4 + 1 - 1


def test_pandas_computes_the_published_figures_from_the_published_answers(tmp_path: Path) -> None:
    write_snapshot(tmp_path, [kept_run(seed=seed) for seed in (0, 1)])
    table = pd.read_csv(tmp_path / FILES[1], dtype={"row": str})
    assert list(table.columns[:10]) == list(COLUMNS)
    probabilities = table.filter(like="p_")
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert (probabilities.idxmax(axis=1).str.removeprefix("p_") == table.predicted).all()
    lines = [json.loads(line) for line in (tmp_path / FILES[0]).read_text("utf-8").splitlines()]
    for run in (line["run"] for line in lines if line["kind"] == "run"):
        own = table[(table.seed == run["cell"]["seed"]) & (table.content == BOARD.fingerprint[:10])]
        claimed = {score["metric"]: score["value"] for score in run["scores"]}
        right = own.label == own.predicted
        assert claimed["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
        assert claimed["uar"] == pytest.approx(right.groupby(own.label).mean().mean(), abs=1e-6)
        truth = [line[f"p_{line['label']}"] for _, line in own.iterrows()]
        assert claimed["nll"] == pytest.approx(-np.log(truth).mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("folder:/home/me/data/faces", "folder:…/faces"),
        ("folder:/home/me", "folder:~"),
        ("hf//srv/models/face", "hf/…/face"),
        ("~/data/x.csv:train", "…/x.csv:train"),
        (r"C:\Users\me\w.pt is gone", "…/w.pt is gone"),
        (r"\\server\share\w.pt", "…/w.pt"),
        ("cannot read (/mnt/d/x.png), 3 images/s", "cannot read (…/x.png), 3 images/s"),
        ("timm/resnet50 of https://example.org/a/b", "timm/resnet50 of https://example.org/a/b"),
    ],
)
def test_folders_are_not_published(text: str, left: str) -> None:
    assert without_folders(text) == left == without_folders(left)


# Hostile ones


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of one board: `cascade`, which is tampered with, and `other`, which must come through."""
    folder = tmp_path_factory.mktemp("honest")
    write_snapshot(folder, [kept_run(further=True), kept_run("other")])
    return folder


def tampered(honest: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Found:
    """Read a snapshot whose lines about `cascade` were changed."""
    runs, packed = content(honest)
    lines = [json.loads(line) for line in runs.decode().splitlines()]
    own = next(line["run"] for line in lines if line["kind"] == "run" and line["run"]["cell"]["strategy"] == "cascade")
    stage = next(line for line in lines if line["kind"] == "stage" and line["stage"]["fingerprint"] == own["stages"][1])
    parts = {"run": own, "stage": stage["stage"], "result": stage["result"]}
    parts |= {line["kind"]: line[line["kind"]] for line in lines if line["kind"] in ("board", "further")}
    change(parts)
    (folder / FILES[0]).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    (folder / FILES[1]).write_bytes(packed)
    return read_snapshot(folder)


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Put a value at a dotted path, such as `run.cell.seed`."""

    def change(parts: dict[str, Any]) -> None:
        *ways, last = path.split(".")
        place: Any = parts
        for way in ways:
            place = place[int(way)] if isinstance(place, list) else place[way]
        place[int(last) if isinstance(place, list) else last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("run.scores.0.value", 0.99, "scores.accuracy: 0.990000 is claimed, its predictions give"),
        ("run.scores.3.value", 0.1, "scores.nll: 0.100000 is claimed"),
        ("run.scores.1.n", 31, "scores.uar.n: 31 is claimed"),
        ("run.calibration.ece", 0.0, "calibration.ece: 0.000000 is claimed"),
        ("run.forgetting.0.before", 1.0, "forgetting.before: 1.000000 is claimed"),
        ("run.select_accuracy", 1, "select_accuracy: 1.000000 is claimed"),
        ("further.scores.0.value", 1.0, "further scores.accuracy: 1.000000 is claimed"),
        ("run.predictions_sha256", "ab" * 32, "predictions_sha256: it is not the hash"),
        ("run.select_sha256", "ab" * 32, "select_sha256: it is not the hash"),
        ("run.forgetting.0.after_sha256", "ab" * 32, "after_sha256: it is not the hash"),
        ("run.key", "ab" * 32, "key: it is not the hash of entry and seed"),
        ("run.stages.1", "ab" * 32, "stages: its stages did not come with it"),
        ("run.images_seen", 10**6, "images_seen: 1,000,000 is not what its stages saw"),
        ("run.hardware", "a fast machine", "hardware: it is not that of its environment"),
        ("run.cell.seed", 2**63, "run.cell.seed: it lies between 0 and"),
        ("run.cell.seed", 10**4000, "run.cell.seed: it lies between 0 and"),
        ("run.cell.seed", True, "run.cell.seed: a whole number is needed"),
        ("run.cell.seed", "0", "run.cell.seed: a whole number is needed"),
        ("run.cell.recipe.lr", -1, "run.cell.recipe.lr: it lies between 0 and"),
        ("run.cell.recipe.optimizer", "magic", "run.cell.recipe.optimizer: 'magic' is no value"),
        ("run.cell.recipe.label_set", "basic9", "label set"),
        ("run.cell.recipe", [], "run.cell.recipe: an object is needed"),
        ("run.stages", "abc", "run.stages: a list is needed"),
        ("run.notes", ["x" * 5000], "run.notes[1]: it has 5,000 characters"),
        ("run.notes", ["\x1b[31mbest\x1b[0m"], "run.notes[1]: it holds the character U+001B"),
        ("run.notes", ["\u202etsrif"], "run.notes[1]: it holds the character U+202E"),
        ("run.notes", ["\ud800"], "run.notes[1]: it holds the character U+D800"),
        ("run.cell.backbone", "a\nb", "run.cell.backbone: it holds the character U+000A"),
        ("run.train_seconds", 1e300, "run.train_seconds: it lies between 0 and"),
        ("run.best", True, "run: field 'best' is not known"),
        ("run.status", "won", "run.status: it is one of finished, failed"),
        ("run.status", "failed", "status: a failed run has an error and no scores"),
        ("run.board", "ab" * 32, "run.board: no such board stands before it"),
        ("stage.recipe.images_seen", 1.5, "stage.recipe.images_seen: a whole number is needed"),
        ("stage.parent", None, "stage 2.parent: None, by its row it is"),
        ("stage.weights.sha256", "ef" * 32, "stage 2.weights.sha256"),
        ("result.threads", 2**31, "result.threads: it lies between 0 and 2147483647"),
        ("result.checkpoint_sha256", "", "stage 2.result.checkpoint_sha256"),
    ],
)
def test_a_row_that_does_not_hold_is_named_and_the_others_are_read(
    honest: Path, tmp_path: Path, path: str, value: Any, said: str
) -> None:
    found = tampered(honest, tmp_path, put(path, value))
    assert [kept.run.cell.strategy for kept in found.runs] == ["other"]
    reasons = [refused.reason for refused in found.refused]
    assert any(said in reason for reason in reasons), reasons
    assert all(reason.isprintable() for reason in reasons)
    if "run.board" not in said:
        assert kept_run().run.row in {refused.row for refused in found.refused}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"kind": "run", "run": ' + "[" * 100_000, "it is nested too deeply"),
        ('{"kind": "run", "run": NaN}', "NaN is no number"),
        ('{"kind": "run", "run": 1e999}', "is too large"),
        ('{"kind": "run", "kind": "board"}', "a key stands twice"),
        ('{"kind": "spell"}', "kind: 'spell' is none"),
        ("[]", "kind: None is none"),
        ('{"kind": "run", "run": 7}', "run: an object is needed"),
        ('{"kind": "board", "board": {"fingerprint": "x"}}', "board."),
        ('{"kind": "stage", "stage": {"fingerprint": "x"}}', "stage: its stage has no SHA-256"),
        ("\udcff", "a line is no UTF-8"),
    ],
)
def test_a_line_that_is_none_is_named_by_its_number(honest: Path, tmp_path: Path, line: str, said: str) -> None:
    runs, packed = content(honest)
    (tmp_path / FILES[0]).write_bytes(runs + line.encode("utf-8", "surrogateescape") + b"\n")
    (tmp_path / FILES[1]).write_bytes(packed)
    found = read_snapshot(tmp_path)
    [refused] = found.refused
    assert refused.reason.startswith(f"runs.jsonl line {len(runs.splitlines()) + 1}: ") and said in refused.reason
    assert len(found.runs) == 2


Change = Callable[[pd.DataFrame, Any], pd.DataFrame]


def rewritten(honest: Path, folder: Path, change: Change) -> Found:
    """Read a snapshot in whose predictions the lines of `cascade` on its board were changed."""
    runs, packed = content(honest)
    table = pd.read_csv(io.BytesIO(gzip.decompress(packed)), dtype=str, keep_default_na=False)
    row = kept_run().run.row
    table = change(table, table.index[(table.row == row) & (table.content == BOARD.fingerprint[:10])])
    (folder / FILES[0]).write_bytes(runs)
    (folder / FILES[1]).write_bytes(gzip.compress(table.to_csv(index=False, lineterminator="\n").encode()))
    return read_snapshot(folder)


def _set(column: str, value: str) -> Change:
    return lambda table, own: table.assign(**{column: table[column].where(table.index != own[3], value)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("p_angry", "nan"), "not the most probable class"),
        (_set("p_angry", "1.5"), "not the most probable class"),
        (_set("p_angry", "-0.1"), "no distribution"),
        (_set("p_angry", "much"), "a probability is no number"),
        (_set("predicted", "happiest"), "not the most probable class"),
        (_set("label", "bored"), "a label is no class"),
        (_set("label", ""), "a label is no class"),
        (_set("id", "\x1b]0;x\x07"), "ids 4: it holds the character U+001B"),
        (_set("id", "x" * 2000), "ids 4: it has 2,000 characters"),
        (lambda table, own: table.drop(own[3]), "not the 30 that runs.jsonl announces"),
        (lambda table, own: table.drop(own), "those of the board are not there"),
    ],
)
def test_predictions_that_do_not_hold_take_their_row_down_alone(
    honest: Path, tmp_path: Path, change: Change, said: str
) -> None:
    found = rewritten(honest, tmp_path, change)
    assert [kept.run.cell.strategy for kept in found.runs] == ["other"]
    [refused] = found.refused
    assert (refused.row, refused.seed) == (kept_run().run.row, 0) and said in refused.reason


def test_answers_and_labels_that_were_changed_are_found(honest: Path, tmp_path: Path) -> None:
    def better(table: pd.DataFrame, own: Any) -> pd.DataFrame:
        # Consistent in itself: every answer is the truth.
        for index in own:
            table.loc[index, "predicted"] = table.loc[index, "label"]
            table.loc[index, [name for name in table if name.startswith("p_")]] = "0"
            table.loc[index, f"p_{table.loc[index, 'label']}"] = "1"
        return table

    def easier(table: pd.DataFrame, own: Any) -> pd.DataFrame:
        table.loc[own, "label"] = table.loc[own, "predicted"]
        return table

    for change in (better, easier):
        found = rewritten(honest, tmp_path, change)
        assert [kept.run.cell.strategy for kept in found.runs] == ["other"]
        assert found.refused[0].reason.startswith("scores.accuracy: ")


def test_rows_that_disagree_on_the_truth_are_all_refused_unless_it_is_here(tmp_path: Path) -> None:
    honest, cheat = kept_run("honest"), kept_run()
    name = cheat.run.stages[-1], BOARD.fingerprint
    easy = dataclasses.replace(cheat.report, labels=cheat.report.probabilities.argmax(axis=1))
    write_snapshot(
        tmp_path, [honest, derived(dataclasses.replace(cheat, predictions={**cheat.predictions, name: easy}))]
    )
    found = read_snapshot(tmp_path)
    assert not found.runs
    assert ["disagree on labels" in refused.reason for refused in found.refused] == [True, True]
    samples = Samples()
    samples.learn(BOARD.fingerprint, "basic7", kept_run("third").report)
    found = read_snapshot(tmp_path, samples)
    assert [kept.run.cell.strategy for kept in found.runs] == ["honest"]
    assert "its labels are not those that are here" in found.refused[0].reason


def test_bombs_are_read_no_further_than_they_may_be_long(honest: Path, tmp_path: Path) -> None:
    runs, packed = content(honest)
    squeezed = zlib.compressobj(9, wbits=31)
    zeros = bytes(2**20)
    bomb = b"".join([squeezed.compress(zeros) for _ in range(300)]) + squeezed.flush()
    assert len(bomb) < 2**20
    (tmp_path / FILES[0]).write_bytes(runs)
    (tmp_path / FILES[1]).write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(StoreError, match="line of more than 16,384 bytes"):
        read_snapshot(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    # Many short lines, of a run that announces few, and of none.
    header = gzip.decompress(packed).partition(b"\n")[0]
    lines = gzip.decompress(packed).splitlines()
    for line in (lines[1], b"x" + lines[1]):
        (tmp_path / FILES[1]).write_bytes(gzip.compress(header + b"\n" + (line + b"\n") * 20_000))
        with pytest.raises(StoreError, match="unpacks to more than 1,000,000 bytes"):
            read_snapshot(tmp_path, limits=Limits(unpacked_bytes=10**6))
    (tmp_path / FILES[1]).write_bytes(packed)
    with pytest.raises(StoreError, match="a block holds more than 100 fields"):
        read_snapshot(tmp_path, limits=Limits(fields=100))
    with pytest.raises(StoreError, match="more than 3 lines"):
        read_snapshot(honest, limits=Limits(runs=3))


def test_what_is_no_snapshot_is_one_line(honest: Path, tmp_path: Path) -> None:
    runs, packed = content(honest)

    def refuses(said: str, *files: bytes) -> None:
        for name, data in zip(FILES, files, strict=False):
            (tmp_path / name).write_bytes(data)
        with pytest.raises(StoreError, match=said):
            read_snapshot(tmp_path)

    refuses("no predictions.csv.gz", runs)
    refuses("cannot be read", runs, packed[:-20])
    refuses("cannot be read", runs, b"no gzip")
    refuses("header", runs, gzip.compress(b"a,b\n"))
    refuses("no UTF-8", runs, gzip.compress(b"\xff\n"))
    refuses(
        "line 3 has 1 columns", runs, gzip.compress(b"\n".join(gzip.decompress(packed).splitlines()[:2]) + b"\nx\n")
    )
    refuses("has format 2, this ferbench knows 1", b'{"kind": "snapshot", "format": 2}\n')
    refuses("names no format", b'{"kind": "snapshot", "format": "1"}\n')
    refuses("first line does not say so", b'{"kind": "run"}\n')
    (tmp_path / FILES[0]).unlink()
    os.mkfifo(tmp_path / FILES[0])
    with pytest.raises(StoreError, match="is no file"):
        read_snapshot(tmp_path)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "other.sqlite"
    with open_store(str(path)) as store:
        save(store, kept_run(), kept_run("other"))
    return path


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TRIGGER t AFTER UPDATE ON runs BEGIN DELETE FROM runs; END", "'trigger'"),
        ("ALTER TABLE runs RENAME TO r; CREATE VIEW runs AS SELECT * FROM r", "'view'"),
        ("ALTER TABLE stages ADD COLUMN x TEXT AS (hex(stage))", "computed column"),
        ("CREATE INDEX i ON runs (lower(record))", "index of expressions"),
        ("CREATE INDEX i ON runs (record) WHERE seed > 0", "index of some rows"),
        ("CREATE VIRTUAL TABLE v USING fts5(a)", "virtual table"),
    ],
)
def test_a_database_that_would_run_code_is_not_read(stored: Path, statement: str, said: str) -> None:
    connection = sqlite3.connect(stored)
    connection.executescript(statement)
    connection.close()
    with pytest.raises(StoreError, match=f"was not written by ferbench.*{said}"):
        open_foreign(str(stored))


@pytest.mark.parametrize(
    ("statement", "values", "said"),
    [
        ("UPDATE runs SET record = ? WHERE strategy = 'cascade'", (b"x",), "its record is no text"),
        (
            "UPDATE runs SET record = CAST(? AS TEXT) WHERE strategy = 'cascade'",
            (b'"\xff"',),
            "run: an object is needed",
        ),
        (
            'UPDATE runs SET record = replace(record, \'"accuracy","value":0\', \'"accuracy","value":1\')',
            (),
            "scores.acc",
        ),
        ("UPDATE predictions SET n = 'many'", (), "predictions.n: a whole number"),
        ("UPDATE predictions SET n = 10000000000", (), "predictions.n: a whole number"),
        ("UPDATE predictions SET probabilities = ?", (zlib.compress(bytes(10**8)),), "bytes where 840 are needed"),
        ("UPDATE predictions SET probabilities = ?", (b"no zlib",), "cannot be unpacked"),
        ("UPDATE predictions SET ids = ?", (zlib.compress(b"[1]"),), "a list of texts"),
        ("UPDATE predictions SET ids = ?", (zlib.compress(b"[" * 10**5),), "nested too deeply"),
        ("UPDATE predictions SET labels = ?", (zlib.compress(np.full(30, 7).tobytes()),), "labels that are none of 7"),
        ("UPDATE predictions SET labels = NULL", (), "labels are withheld"),
        ("UPDATE stages SET result = '{}'", (), "result."),
    ],
)
def test_a_database_with_hostile_rows_is_refused_row_by_row(
    stored: Path, statement: str, values: tuple[Any, ...], said: str
) -> None:
    board = f" WHERE content = '{BOARD.fingerprint}' AND stage = '{fingerprint(['cascade', 0, 2])}'"
    if "predictions SET" in statement:
        statement += board
    elif "stages SET" in statement:
        statement += f" WHERE fingerprint = '{fingerprint(['cascade', 0, 2])}'"
    elif "strategy" not in statement:
        statement += " WHERE strategy = 'cascade'"
    with sqlite3.connect(stored) as connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()
    with open_foreign(str(stored)) as store:
        found = read_store(store)
    assert [kept.run.cell.strategy for kept in found.runs] == ["other"]
    [refused] = found.refused
    assert said in refused.reason


def test_where_weights_lay_elsewhere_is_not_kept(stored: Path, tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store.sqlite")) as store:
        assert len(merge(store, str(stored)).merged) == 2
        for run in store.runs():
            assert run.weights.path is None and run.cell.weights == "…/vgg.pt"
            assert all(store.stage(name).weights.path is None for name in run.stages)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("reference", "left"),
    [
        ("folder:/srv/anna/faces", "folder:…/faces"),
        ("manifest:/srv/anna/faces.csv:train", "manifest:…/faces.csv:train"),
        ("folder:../../anna/faces", "folder:…/faces"),
        ("folder:a/..", "folder:…/"),
        ("fer2013:train+select", "fer2013:train+select"),
        ("hfds:user/data", "hfds:user/data"),
    ],
)
def test_datasets_that_lie_elsewhere_are_not_opened(reference: str, left: str) -> None:
    assert without_location(reference) == left == without_location(left)


@pytest.mark.parametrize("value", ["'x'", "-1", "1.5"])
def test_a_schema_version_that_is_none_is_one_line(stored: Path, value: str) -> None:
    with sqlite3.connect(stored) as connection:
        connection.execute(f"UPDATE schema_version SET version = {value}")
    connection.close()
    with pytest.raises(StoreError, match="says no version of its schema"):
        open_foreign(str(stored))
