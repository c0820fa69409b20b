"""Rows out of rows: against numpy and scikit-learn on the stored predictions, and by what the store then holds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, recall_score
from tiny import Bench

from ferbench.ensembles import Ensemble, Method, make_ensemble
from ferbench.ensembles.making import same_select
from ferbench.ensembles.pool import Source
from ferbench.errors import StoreError, UsageError
from ferbench.inference import Inference
from ferbench.leaderboard import leaderboards
from ferbench.metrics import correctness
from ferbench.records import Run
from ferbench.settings import Settings

#: The first stage of the cascade is all of source-only.
STRATEGIES = "cascade source-only target-only"


def rows_of(bench: Bench, seeds: tuple[int, ...] = (0, 1)) -> dict[str, str]:
    """Runs the strategies; ROW of each by its name."""
    return {run.cell.strategy: run.row for run in bench.run(STRATEGIES, seeds=seeds).finished}


def made(bench: Bench, *rows: str, **method: object) -> Ensemble:
    return make_ensemble(bench.store, rows, Method(**method))  # type: ignore[arg-type]


def told(bench: Bench, row: str) -> dict[int, np.ndarray]:
    """What a row says of the board, by seed."""
    found = bench.store.run_predictions(row)
    return {run.cell.seed: predictions.probabilities.astype(np.float64) for run, predictions in found}


def select_of(bench: Bench, run: Run) -> tuple[np.ndarray, np.ndarray]:
    found = bench.store.select_predictions(run)
    assert found is not None and found.labels is not None
    return found.labels, found.probabilities.astype(np.float64)


def test_the_mean_of_three_rows_is_a_row_with_their_seeds(bench: Bench) -> None:
    rows = rows_of(bench)
    store = bench.store
    trainings, speeds = store.trainings(), store.speeds()
    found = made(bench, *rows.values())
    assert found.made == (0, 1) and not found.there_already and not found.left_out

    known = {row: told(bench, row) for row in (*rows.values(), found.row)}
    for seed, (run, report) in enumerate(store.run_predictions(found.row)):
        by_hand = sum(known[row][seed] for row in rows.values()) / 3
        assert report.probabilities == pytest.approx(by_hand, abs=1e-7)
        scores = {score.metric: score.value for score in run.scores}
        answers = report.probabilities.argmax(axis=1)
        assert scores["accuracy"] == accuracy_score(report.labels, answers)
        assert scores["uar"] == pytest.approx(recall_score(report.labels, answers, average="macro"))
        assert scores["nll"] == pytest.approx(log_loss(report.labels, report.probabilities), abs=1e-5)

        labels, of_select = select_of(bench, run)
        members = [store.runs(row=row)[seed] for row in rows.values()]
        assert of_select == pytest.approx(sum(select_of(bench, each)[1] for each in members) / 3, abs=1e-7)
        assert run.select_accuracy == accuracy_score(labels, of_select.argmax(axis=1))
        assert run.calibration is not None and run.calibration.select_n == len(labels)
        assert sum(each.count for each in run.reliability) == len(answers)

        assert {(each.row, each.seed) for each in run.members} == {(row, seed) for row in rows.values()}
        assert [each.weight for each in run.members] == pytest.approx([1 / 3] * 3)
        # The stage that cascade and source-only share is paid for once.
        stages = {name for each in members for name in each.stages}
        assert len(stages) == 3
        assert run.images_seen == sum(result.images_seen for result in store.stage_results(stages).values())
        assert run.train_seconds == pytest.approx(
            sum(each.train_seconds for each in store.stage_results(stages).values())
        )
        alone = {each.cell.strategy: each for each in members}
        assert run.images_seen == alone["cascade"].images_seen + alone["target-only"].images_seen
        assert run.target_images_seen == sum(each.target_images_seen for each in members)
        assert run.parameters == 3 * members[0].parameters and run.spent_seconds == 0
        assert f"mean of 3 rows: {', '.join(sorted(rows.values()))}" in run.notes
        assert {"synthetic faces", "random weights"} <= set(run.notes)
        assert not any(note.startswith("never trained on") for note in run.notes)
        stage = store.stage(run.stages[-1])
        assert stage is not None and {part.dataset for part in stage.parts} == {"big", "small"}

    (table,) = leaderboards(store.leaderboard_rows())
    entry = next(entry for entry in table.entries if entry.row == found.row)
    assert (entry.backbone, entry.strategy, entry.seeds, entry.weights) == ("3 x tiny", "ensemble", (0, 1), "random")
    assert entry.image_size == 12 and entry.auxiliaries == ("big",)
    # Nothing was trained, so nothing is logged, and no estimate is spoilt.
    assert (store.trainings(), store.speeds()) == (trainings, speeds)
    needs = store.checkpoint_needs()
    for run in found.runs:
        assert run.stages[-1] not in needs.finals
        assert all(found.row in needs.finals[member.stage] for member in run.members)


def test_the_same_ensemble_is_there_already_however_its_rows_are_named(bench: Bench) -> None:
    cascade, _, target_only = rows = list(rows_of(bench, (0, 1, 2)).values())
    first = made(bench, *rows)
    count = len(bench.store.runs())
    again = made(bench, *reversed(rows), cascade[:6])
    assert again.there_already == (0, 1, 2) and not again.made and again.runs == first.runs
    assert len(bench.store.runs()) == count
    other = made(bench, cascade, target_only)
    assert other.row != first.row

    # More seeds: the row grows. A member that was trained again, with other answers: it is made again.
    bench.run(STRATEGIES, seeds=(3,))
    assert made(bench, *rows).made == (3,)
    run, report = bench.store.run_predictions(cascade)[1]
    turned = dataclasses.replace(report, probabilities=report.probabilities[:, ::-1].copy())
    assert run.board is not None
    bench.store.save_predictions(run.stages[-1], run.board.fingerprint, turned, again=[run.key])
    changed = made(bench, *rows)
    assert (changed.made, changed.made_again, changed.there_already) == ((1,), (1,), (0, 2, 3))
    by_hand = sum(told(bench, row)[1] for row in rows) / 3
    assert told(bench, first.row)[1] == pytest.approx(by_hand, abs=1e-7)


def test_over_seeds_and_ensembles_of_ensembles(bench: Bench) -> None:
    rows = rows_of(bench)
    cascade, target_only = rows["cascade"], rows["target-only"]
    alone = made(bench, cascade)
    assert [run.cell.seed for run in alone.runs] == [0]
    assert told(bench, alone.row)[0] == pytest.approx(sum(told(bench, cascade).values()) / 2, abs=1e-7)
    assert f"mean of row {cascade} over seeds 0-1" in alone.runs[0].notes

    every = made(bench, cascade, target_only, over_seeds=True)
    four = [table for row in (cascade, target_only) for table in told(bench, row).values()]
    assert told(bench, every.row)[0] == pytest.approx(sum(four) / 4, abs=1e-7)
    assert every.runs[0].cell.backbone == "4 x tiny" and len(every.runs[0].members) == 4

    # Each seed of the pair counts a quarter, source-only's a half; members are trained runs.
    pair = made(bench, cascade, target_only)
    nested = made(bench, pair.row, rows["source-only"])
    assert nested.made == (0, 1)
    weights = {member.row: member.weight for member in nested.runs[1].members}
    assert weights == pytest.approx({cascade: 0.25, target_only: 0.25, rows["source-only"]: 0.5})
    by_hand = (told(bench, pair.row)[1] + told(bench, rows["source-only"])[1]) / 2
    assert told(bench, nested.row)[1] == pytest.approx(by_hand, abs=1e-6)
    # A member that is in it twice has both weights.
    twice = made(bench, pair.row, cascade).runs[0]
    assert {member.row: member.weight for member in twice.members} == pytest.approx({cascade: 0.75, target_only: 0.25})


def test_members_are_chosen_on_select_for_each_seed(bench: Bench) -> None:
    rows = sorted(rows_of(bench).values())
    found = made(bench, *rows, greedy=True, steps=4)
    for seed, run in enumerate(found.runs):
        members = [bench.store.runs(row=row)[seed] for row in rows]
        labels = select_of(bench, members[0])[0]
        pool = [select_of(bench, each)[1] for each in members]

        def loss(chosen: list[int], pool: list[np.ndarray] = pool, labels: np.ndarray = labels) -> float:
            mean = np.sum([pool[place] for place in chosen], axis=0)
            return float(log_loss(labels, mean / mean.sum(axis=1, keepdims=True)))

        way: list[list[int]] = [[]]
        for _ in range(4):
            way.append(min(([*way[-1], place] for place in range(3)), key=loss))
        best = min(way[1:], key=loss)
        expected = {rows[place]: best.count(place) / len(best) for place in set(best)}
        assert {each.row: each.weight for each in run.members} == pytest.approx(expected)
        assert loss(best) <= min(loss([place]) for place in range(3))
        by_hand = sum(told(bench, rows[place])[seed] for place in best) / len(best)
        assert told(bench, found.row)[seed] == pytest.approx(by_hand, abs=1e-6)
        assert run.cell.strategy == "greedy-ensemble" and run.cell.backbone == "3 x tiny"
        (note,) = [
            note for note in run.notes if note.startswith(f"members chosen on select by nll of 3 rows (seed {seed})")
        ]
        assert all(row in note for row in expected)
    assert made(bench, *rows, greedy=True, steps=4).there_already == (0, 1)
    over = made(bench, *rows, greedy=True, metric="accuracy", over_seeds=True)
    assert over.row != found.row
    singles = [run.select_accuracy for row in rows for run in bench.store.runs(row=row)]
    assert over.runs[0].select_accuracy is not None and over.runs[0].select_accuracy >= max(filter(None, singles))


def test_members_are_not_chosen_on_different_select_samples(bench: Bench) -> None:
    """Two halves of a split may have the same labels in the same order."""
    rows = rows_of(bench, (0,))
    cascade, other = rows["cascade"], rows["target-only"]
    ((run, report),) = bench.store.run_predictions(other)
    select = bench.store.select_predictions(run)
    assert select is not None
    refused = "row {1}, seed 0 has other select samples than row {0}, seed 0".format(*sorted((cascade, other)))

    def becomes(content: str, ids: tuple[str, ...]) -> None:
        bench.store.save_predictions(run.stages[-1], content, dataclasses.replace(select, ids=ids))
        changed = dataclasses.replace(run, select_content=content)
        bench.store.save_run(changed, correctness(report), force=True)

    turned = tuple(f"of another half/{name}" for name in select.ids)
    becomes("another content", select.ids)
    with pytest.raises(UsageError, match=refused):
        made(bench, cascade, other, greedy=True)
    # One picture has two names in two copies of a dataset.
    becomes(run.select_content, turned)
    assert made(bench, cascade, other, greedy=True).made == (0,)
    # Where one row is too old to have a hash, names decide.
    source = Source(run, report, select)
    old = Source(dataclasses.replace(run, select_content=""), report, select)
    renamed = dataclasses.replace(old, select=dataclasses.replace(select, ids=turned))
    assert same_select(source, old)
    assert not same_select(source, renamed)


def test_what_cannot_be_put_together(bench: Bench) -> None:
    rows = rows_of(bench, (0,))
    cascade = rows["cascade"]
    with pytest.raises(UsageError, match=f"row {cascade} has one seed, so there is nothing to average"):
        made(bench, cascade)
    elsewhere = bench.run("target-only", targets=("other",)).finished[0].row
    with pytest.raises(UsageError, match=r"rows of one board, and these are of 2: .* on other te"):
        made(bench, cascade, elsewhere)
    late = bench.run("single-stage", seeds=(1, 2)).finished[0].row
    with pytest.raises(UsageError, match=f"no seed in common .*{cascade} has 0.*--over-seeds"):
        made(bench, cascade, late)
    assert len(made(bench, cascade, late, over_seeds=True).runs[0].members) == 3
    bench.run("cascade", seeds=(1,))
    partly = made(bench, cascade, late)
    assert [run.cell.seed for run in partly.runs] == [1]
    assert f"row {cascade}: seed 0 left out, which not all rows have" in partly.left_out
    failed = bench.run("target-only", backbones=("broken",)).failed[0].row
    with pytest.raises(StoreError, match="no finished run"):
        made(bench, cascade, failed)


def test_rows_selected_on_what_they_report_say_so_and_have_no_temperature(bench: Bench) -> None:
    rows = [run.row for run in bench.run("cascade target-only", targets=("small:select",)).finished]
    (run,) = made(bench, *rows, greedy=True).runs
    assert "selected on the reported split" in run.notes and run.calibration is None
    (plain,) = made(bench, *rows).runs
    assert "selected on the reported split" not in plain.notes and plain.calibration is None


def test_an_ensemble_predicts_other_splits_by_its_members(bench: Bench) -> None:
    rows = rows_of(bench, (0,))
    (run,) = made(bench, rows["cascade"], rows["source-only"]).runs
    inference = Inference(bench.catalog, Settings("", bench.folder / "data", bench.folder / "cache", "cpu"))
    members = [bench.store.runs(row=rows[name])[0] for name in ("cascade", "source-only")]
    for split in ("tr", "select"):
        found = inference.predictions(run, split, bench.store)
        alone = [inference.predictions(each, split, bench.store) for each in members]
        by_hand = sum(each.predictions.probabilities.astype(np.float64) for each in alone) / 2
        assert found.predictions.probabilities == pytest.approx(by_hand, abs=1e-7)
        assert found.trained_on == alone[0].trained_on == (56 if split == "tr" else 0)
