"""Merging: what comes in, under which name, and that nothing else changes, whatever the order."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from kept_rows import FURTHER, failed_run, kept_run, rows_of, save
from tiny import Bench

from ferbench.ensembles import Method, make_ensemble
from ferbench.errors import StoreError, UsageError
from ferbench.fingerprints import fingerprint
from ferbench.leaderboard import as_json, leaderboards
from ferbench.merging import Merge, merge
from ferbench.snapshot import read_store, write_snapshot
from ferbench.snapshot.derived import derived
from ferbench.store import KeptRun, Store, open_store

A, B = "processor A", "processor B"

MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    opened: list[Store] = []

    def make(name: str, *runs: KeptRun) -> Store:
        store = open_store(str(tmp_path / f"{name}.sqlite"))
        opened.append(store)
        save(store, *runs)
        return store

    yield make
    for store in opened:
        store.close()


def told(merged: Merge) -> tuple[int, int, int, int]:
    return len(merged.merged), merged.already_there, len(merged.conflicts), len(merged.refused)


def merged_from(store: Store, other: Store) -> tuple[int, int, int, int]:
    return told(merge(store, other.location))


def names(store: Store) -> set[tuple[str, int, str]]:
    return {(run.entry, run.cell.seed, run.hardware) for run in store.runs()}


def table(store: Store) -> dict[str, object]:
    return as_json(leaderboards(store.leaderboard_rows()))


def test_store_snapshot_store_is_the_same_board_and_the_same_bytes(
    bench: Bench, make_store: MakeStore, tmp_path: Path
) -> None:
    rows = [run.row for run in bench.run("cascade source-only target-only", seeds=(0, 1)).finished]
    bench.run("target-only", backbones=("broken",))
    make_ensemble(bench.store, sorted(set(rows)), Method())
    found = read_store(bench.store)
    assert not found.refused and len(found.runs) == 9
    assert any(kept.run.forgetting for kept in found.runs)
    write_snapshot(tmp_path / "first", found.runs)

    store = make_store("merged")
    outcome = merge(store, str(tmp_path / "first"))
    assert told(outcome) == (9, 0, 0, 0)
    assert not store.trainings() and not store.speeds()
    [before], [after] = table(bench.store)["boards"], table(store)["boards"]  # type: ignore[misc]
    # Why a run failed may name a sample, which a snapshot does not where a licence is not known to permit it.
    withheld = {"error": "withheld: it may name a sample (see the store that it comes from)"}
    assert [{**failed, **withheld} for failed in before["failed"]] == after["failed"]
    for own, other in zip(before["entries"], after["entries"], strict=True):
        assert own.keys() == other.keys()
        for name, value in own.items():
            if isinstance(value, dict) and "mean" in value:
                assert other[name] == pytest.approx(value, abs=1e-6), name
            elif not isinstance(value, float):
                assert other[name] == value, name
    for run in bench.store.runs(status="finished"):
        here = {score.metric: score.value for score in store.finished([run.key])[run.key].scores}
        assert here == pytest.approx({score.metric: score.value for score in run.scores}, abs=1e-6)

    write_snapshot(tmp_path / "second", read_store(store).runs)
    for name in ("runs.jsonl", "predictions.csv.gz"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    # The store itself has more digits of the same runs, and the snapshot fewer than the store.
    kept = rows_of(Path(store.location))
    assert told(merge(store, str(tmp_path / "first"))) == (0, 9, 0, 0)
    assert merged_from(store, bench.store) == (0, 9, 0, 0)
    assert merged_from(bench.store, store) == (0, 9, 0, 0)
    assert rows_of(Path(store.location)) == kept


def test_what_comes_from_other_hardware_is_a_row_of_its_own_in_every_order(make_store: MakeStore) -> None:
    ours = make_store("a", *(kept_run(seed=seed, processor=A) for seed in range(3)))
    theirs = make_store("b", *(kept_run(seed=seed, processor=B, further=True) for seed in range(5)))
    entry, hardware = kept_run().run.entry, f"cpu, {B}"
    other = fingerprint([entry, hardware])
    store = make_store("store")
    assert merged_from(store, ours) == (3, 0, 0, 0)
    outcome = merge(store, theirs.location)
    assert told(outcome) == (5, 0, 0, 0)
    assert {(run.named, run.hardware) for run in outcome.merged} == {(other[:10], hardware)}
    expected = {(entry, seed, "") for seed in range(3)} | {(other, seed, hardware) for seed in range(5)}
    assert names(store) == expected

    kept = rows_of(Path(store.location))
    for again, count in ((theirs, 5), (ours, 3), (theirs, 5)):
        assert merged_from(store, again) == (0, count, 0, 0)
    assert rows_of(Path(store.location)) == kept

    # Every name follows, and what the row says of itself is still what its predictions give.
    run = store.runs(row=other)[2]
    assert run.key == fingerprint([other, 2])
    theirs_2 = kept_run(seed=2, processor=B, further=True)
    assert run.stages == tuple(fingerprint([name, hardware]) for name in theirs_2.run.stages)
    assert [each.stage for each in run.forgetting] == [run.stages[0]]
    assert run.notes[-1] == f"computed on {hardware} (merged)"
    assert [store.stage(name).parent for name in run.stages] == [None, run.stages[0]]  # type: ignore[union-attr]
    assert store.further_scores(run.stages[1])[run.stages[1]][0].content == FURTHER
    assert not read_store(store).refused

    # Seeds that come later go where the others of their hardware are, also without the row that was here first.
    later = make_store("later", kept_run(seed=7, processor=B))
    assert merged_from(store, later) == (1, 0, 0, 0)
    assert (other, 7, hardware) in names(store)
    few = make_store("few", kept_run(seed=0, processor=A))
    assert merged_from(few, make_store("more", *(kept_run(seed=seed, processor=B) for seed in (3, 4)))) == (2, 0, 0, 0)
    assert names(few) == {(entry, 0, ""), (other, 3, hardware), (other, 4, hardware)}


def test_two_stores_that_merge_each_other_know_their_own_rows_again(make_store: MakeStore) -> None:
    ours, theirs = make_store("a", kept_run(processor=A)), make_store("b", kept_run(processor=B))
    assert merged_from(ours, theirs) == (1, 0, 0, 0)
    assert merged_from(theirs, ours) == (1, 1, 0, 0)
    assert len(names(theirs)) == 2
    for _ in range(2):
        assert merged_from(ours, theirs) == (0, 2, 0, 0)
        assert merged_from(theirs, ours) == (0, 2, 0, 0)
    assert len(names(ours)) == len(names(theirs)) == 2
    third = make_store("third")
    assert merged_from(third, theirs) == (2, 0, 0, 0)
    # There theirs came first: ours is known there by its hardware's name alone.
    assert merged_from(third, make_store("c", kept_run(processor=A))) == (0, 1, 0, 0)
    assert names(third) == names(theirs)


def test_a_row_on_another_machines_training_of_a_stage_gets_its_own_name(make_store: MakeStore) -> None:
    ours = make_store("a", kept_run("cascade", processor=A, first="shared"))
    theirs = make_store("b", *(kept_run("other", seed, processor=B, first="shared") for seed in (0, 1)))
    kept = rows_of(Path(ours.location), ("stages",))["stages"]
    assert merged_from(ours, theirs) == (2, 0, 0, 0)
    assert merged_from(ours, theirs) == (0, 2, 0, 0)
    assert set(kept) < set(rows_of(Path(ours.location), ("stages",))["stages"])
    assert {hardware for _, _, hardware in names(ours)} == {"", f"cpu, {B}"}
    # On the same machine one of the two was tampered with, or trained with other versions.
    same = make_store("c", _other_checkpoint(kept_run("third", processor=A, first="shared")))
    assert [each.differs[:40] for each in merge(ours, same.location).conflicts] == [
        "stage 1 has another checkpoint here (" + fingerprint(["shared", 0, 1])[:3]
    ]


def _other_checkpoint(kept: KeptRun, stage: int = 0) -> KeptRun:
    stages = list(kept.stages)
    stages[stage] = (stages[stage][0], dataclasses.replace(stages[stage][1], checkpoint_sha256="ee" * 32))
    return dataclasses.replace(kept, stages=tuple(stages))


def _other_answers(kept: KeptRun, digits: float = 0.2) -> KeptRun:
    """The first two samples' probabilities of the first two classes exchanged, or changed a little."""
    name = kept.run.stages[-1], kept.run.board.fingerprint  # type: ignore[union-attr]
    probabilities = kept.predictions[name].probabilities.copy()
    if digits == 0.2:
        answers = probabilities.argmax(axis=1)
        for row in (0, 1):
            probabilities[row, [answers[row], answers[row] - 1]] = probabilities[row, [answers[row] - 1, answers[row]]]
    else:
        probabilities[0, 0] += digits
    changed = {name: dataclasses.replace(kept.predictions[name], probabilities=probabilities)}
    return derived(dataclasses.replace(kept, predictions={**kept.predictions, **changed}))


def test_a_run_with_other_content_is_named_and_left_out(make_store: MakeStore) -> None:
    store = make_store("store", *(kept_run(seed=seed) for seed in range(4)))
    other = make_store(
        "other",
        _other_answers(kept_run(seed=0)),
        _other_answers(kept_run(seed=1), 0.0001),
        _other_checkpoint(kept_run(seed=2), stage=1),
        _other_answers(kept_run(seed=3), 1e-7),
        kept_run("new"),
    )
    kept = rows_of(Path(store.location))
    outcome = merge(store, other.location)
    assert told(outcome) == (1, 1, 3, 0)
    row = kept_run().run.row
    assert [(each.row, each.seed) for each in outcome.conflicts] == [(row, 0), (row, 1), (row, 2)]
    assert [each.differs.partition("(")[0] for each in outcome.conflicts] == [
        "2 of 30 answers are others",
        "probabilities of 1 of 30 samples are others, by up to 0.000100",
        "its last stage has another checkpoint ",
    ]
    after = rows_of(Path(store.location))
    assert all(set(kept[name]) <= set(after[name]) for name in kept)
    assert told(merge(store, other.location)) == (0, 2, 3, 0)
    assert rows_of(Path(store.location)) == after


def test_failed_runs_replace_nothing_and_give_way(make_store: MakeStore) -> None:
    store = make_store("store", kept_run(seed=0), failed_run(seed=1), failed_run("lost"))
    other = make_store("other", failed_run(seed=0), kept_run(seed=1), failed_run(seed=2), failed_run("lost"))
    assert merged_from(store, other) == (2, 2, 0, 0)
    assert {(run.cell.strategy, run.cell.seed, run.status) for run in store.runs()} == {
        *(("cascade", 0, "finished"), ("cascade", 1, "finished"), ("cascade", 2, "failed"), ("lost", 0, "failed")),
    }
    assert merged_from(store, other) == (0, 4, 0, 0)
    # What a failed run says of its board is not held against those who computed it.
    lost = failed_run("stranger").run
    board = dataclasses.replace(lost.board, excluded=7, target="other name")  # type: ignore[type-var]
    early = make_store("early", KeptRun(dataclasses.replace(lost, board=board)))
    assert merged_from(early, make_store("finished", kept_run())) == (1, 0, 0, 0)
    assert early.boards() == {kept_run().run.board.fingerprint: kept_run().run.board}  # type: ignore[union-attr]
    # Failed elsewhere, where it is finished here, is no second row; beside finished runs of that machine it is told of.
    foreign = make_store("foreign", failed_run(seed=0, processor=B))
    assert merged_from(store, foreign) == (0, 1, 0, 0)
    save(foreign, kept_run(seed=1, processor=B))
    assert merged_from(store, foreign) == (2, 0, 0, 0)
    assert merged_from(store, foreign) == (0, 2, 0, 0)


def test_ensembles_come_with_their_members_or_not_at_all(bench: Bench, make_store: MakeStore, tmp_path: Path) -> None:
    rows = sorted({run.row for run in bench.run("cascade target-only").finished})
    ensemble = make_ensemble(bench.store, rows, Method())
    found = read_store(bench.store).runs
    alone = [kept for kept in found if kept.run.members]
    write_snapshot(tmp_path / "alone", alone)
    store = make_store("store")
    [refused] = merge(store, str(tmp_path / "alone")).refused
    assert (refused.row, refused.seed) == (ensemble.row, 0) and "was not taken in with it" in refused.reason

    # Another machine's rows were here: members and ensemble are called otherwise, and still belong together.
    def elsewhere(kept: KeptRun) -> KeptRun:
        environment = dataclasses.replace(kept.run.environment, processor=B)
        result = [(stage, dataclasses.replace(own, checkpoint_sha256="ee" * 32)) for stage, own in kept.stages]
        return KeptRun(dataclasses.replace(kept.run, environment=environment), tuple(result), kept.predictions)

    store.add([elsewhere(kept) for kept in found if not kept.run.members])
    hardware = f"cpu, {bench.engine.environment.processor}"
    assert merged_from(store, bench.store) == (3, 0, 0, 0)
    assert merged_from(store, bench.store) == (0, 3, 0, 0)
    [run] = store.runs(row=fingerprint([ensemble.runs[0].entry, hardware]))
    members = {(member.entry, member.stage) for member in run.members}
    assert members == {
        (fingerprint([kept.run.entry, hardware]), fingerprint([kept.run.stages[-1], hardware]))
        for kept in found
        if not kept.run.members
    }
    assert members <= {(each.entry, each.stages[-1]) for each in store.runs()}
    assert told(merge(store, str(tmp_path / "alone"))) == (0, 1, 0, 0)

    forged = dataclasses.replace(alone[0].report, probabilities=np.roll(alone[0].report.probabilities, 1, axis=0))
    name = alone[0].run.stages[-1], alone[0].run.board.fingerprint  # type: ignore[union-attr]
    write_snapshot(
        tmp_path / "forged",
        [derived(dataclasses.replace(alone[0], predictions={**alone[0].predictions, name: forged}))],
    )
    with open_store(str(tmp_path / "members.sqlite")) as fresh:
        fresh.add([kept for kept in found if not kept.run.members])
        [refused] = merge(fresh, str(tmp_path / "forged")).refused
    assert refused.reason == "members: their mean is not what it says"


def test_further_scores_come_to_rows_that_are_here(make_store: MakeStore) -> None:
    store, other = make_store("store", kept_run()), make_store("other", kept_run(further=True))
    outcome = merge(store, other.location, dry_run=True)
    assert (told(outcome), outcome.further) == ((0, 1, 0, 0), 1)
    assert not store.further_scores()
    assert merge(store, other.location).further == 1
    assert store.further_scores() == other.further_scores()
    assert merge(store, other.location).further == 0
    assert not read_store(store).refused


def test_further_scores_on_a_folder_come_once(make_store: MakeStore) -> None:
    kept = kept_run(further=True)
    named = dataclasses.replace(kept.further[0][1], dataset="folder:/srv/anna/faces")
    kept = dataclasses.replace(kept, further=((kept.further[0][0], named),))
    store, other = make_store("store", kept), make_store("other", kept)
    assert merge(store, other.location).further == 0
    fresh = make_store("fresh", kept_run())
    assert [merge(fresh, each.location).further for each in (other, store)] == [1, 0]
    assert {each.dataset for found in fresh.further_scores().values() for each in found} == {"folder:…/faces"}
    assert merge(store, fresh.location).further == 0


def test_a_row_that_answers_another_question_is_refused(make_store: MakeStore) -> None:
    honest = kept_run("honest")
    report = honest.report
    name = honest.run.stages[-1], honest.run.board.fingerprint  # type: ignore[union-attr]
    easy = dataclasses.replace(report, labels=report.probabilities.argmax(axis=1))
    cheat = derived(dataclasses.replace(honest, predictions={**honest.predictions, name: easy}))
    assert {score.metric: score.value for score in cheat.run.scores}["accuracy"] == 1
    store, other = make_store("store", kept_run()), make_store("other", cheat)
    outcome = merge(store, other.location)
    assert told(outcome) == (0, 0, 0, 1) and "labels are not those that are here" in outcome.refused[0].reason
    board = dataclasses.replace(honest.run.board, excluded=0)  # type: ignore[type-var]
    other = make_store("board", dataclasses.replace(honest, run=dataclasses.replace(honest.run, board=board)))
    assert merge(store, other.location).refused[0].reason == "board.excluded: 0, here it is 2"


KILLED = """
import os, signal, sys
from ferbench.merging import merge
from ferbench.store import codec, open_store

written = codec.run_columns
def killed(run, correct):
    killed.count += 1
    if killed.count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return written(run, correct)
killed.count = 0
codec.run_columns = killed
with open_store(sys.argv[1]) as store:
    merge(store, sys.argv[2])
"""


def test_a_merge_that_is_killed_leaves_the_store_as_it_was(make_store: MakeStore) -> None:
    store = make_store("store", kept_run("old"))
    other = make_store("other", *(kept_run(seed=seed) for seed in range(4)))
    kept = rows_of(Path(store.location))
    command = [sys.executable, "-c", KILLED, store.location, other.location]
    done = subprocess.run(command, check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    assert rows_of(Path(store.location)) == kept
    assert merged_from(store, other) == (4, 0, 0, 0)


def test_what_is_no_other_store_is_one_line(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store("store", kept_run())
    (tmp_path / "link.sqlite").symlink_to(store.location)
    for own in (store.location, str(tmp_path / "link.sqlite"), f"sqlite:///{store.location}"):
        with pytest.raises(UsageError, match="is the store that is merged into"):
            merge(store, own)
    (tmp_path / "notes.txt").write_text("no store")
    for other, said in (
        (tmp_path, "without a snapshot"),
        (tmp_path / "no", "no store at"),
        (tmp_path / "notes.txt", "not an SQLite"),
    ):
        with pytest.raises(StoreError, match=said):
            merge(store, str(other))
