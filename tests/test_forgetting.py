"""Forgetting: what a chain passed through, measured right after it and at the end, without training anything for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from tiny import Bench, bar_dataset, matrix, tiny_catalog

from ferbench.data.roles import LabelledImages
from ferbench.engine import Engine
from ferbench.fitting import Fitting
from ferbench.prediction_hash import predictions_sha256
from ferbench.records import Predictions, Run
from ferbench.settings import Settings


def engine(bench: Bench, **given: bool) -> Engine:
    """Another command over the same store and cache."""
    settings = Settings("", bench.folder / "data", bench.folder / "cache", "cpu")
    return Engine(bench.catalog, bench.store, settings, bench.reporter, **given)


def stored(bench: Bench, run: Run, dataset: str, stage: str):  # type: ignore[no-untyped-def]
    samples = bench.engine._roles.report(dataset)
    return bench.store.predictions(stage, samples.dataset, samples.splits, samples.content)


def test_accuracies_of_every_auxiliary_before_and_after_are_what_scikit_learn_finds(bench: Bench) -> None:
    chain = {"auxiliaries": (("big", "other"),), "recipe": {"images_seen": 640}}
    outcome = bench.run("cascade cascade+linear-probe source-only target-only", **chain)
    runs = {run.cell.strategy: run for run in outcome.finished}
    for run in (runs["cascade"], runs["cascade+linear-probe"]):
        assert [each.dataset for each in run.forgetting] == ["big", "other"]
        for position, each in enumerate(run.forgetting):
            assert each.stage == run.stages[position] and each.split == "te"
            before = stored(bench, run, each.dataset, each.stage)
            after = stored(bench, run, each.dataset, run.stages[-1])
            assert each.before == pytest.approx(accuracy_score(before.labels, before.probabilities.argmax(axis=1)))
            assert each.after == pytest.approx(accuracy_score(after.labels, after.probabilities.argmax(axis=1)))
            assert each.n == len(before.ids) == 35
            assert each.content == bench.engine._roles.report(each.dataset).content
        summary = next(row for row in bench.store.leaderboard_rows() if row.entry == run.entry)
        assert summary.forgotten == pytest.approx(np.mean([each.lost for each in run.forgetting]))
    # The first auxiliary is passed through on the way to the second, which source-only ends with.
    source = runs["source-only"]
    assert [(each.dataset, each.stage) for each in source.forgetting] == [("big", source.stages[0])]
    assert runs["target-only"].forgetting == ()
    # Its own board has no entry: what is said of it lies under the samples' hash.
    assert {board.target for board in bench.store.boards().values()} == {"small"}


def test_one_auxiliary_alone_is_not_forgotten_by_what_ends_with_it(bench: Bench) -> None:
    assert [run.forgetting for run in bench.run("source-only single-stage").finished] == [(), ()]


def test_shared_stages_predict_once_and_the_plan_counts_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    predicted = Fitting.predicted
    monkeypatch.setattr(
        Fitting,
        "predicted",
        lambda self, samples: (
            asked.append((self._stage.fingerprint, f"{samples.dataset} {samples.splits}")) or predicted(self, samples)
        ),
    )
    found = bench.engine.prepare(matrix("cascade cascade+linear-probe"), calibrate=False)
    first = found.tasks[0].stage.fingerprint
    assert [e.reference for task in found.tasks for e in task.evaluations].count("big") == 3
    bench.engine.run(found)
    assert asked.count((first, "big te")) == 1 and len(asked) == len(set(asked)) == 7


def test_what_is_trained_is_the_same_without_it(make_bench: Callable[..., Bench]) -> None:
    with_it, without = make_bench("with"), make_bench("without")
    (run,) = with_it.run("cascade+lp-ft").finished
    plain = engine(without, forgetting=False)
    (other,) = plain.run(plain.prepare(matrix("cascade+lp-ft"), calibrate=False)).finished
    assert run.forgetting and other.forgetting == ()
    assert (run.key, run.stages, run.scores) == (other.key, other.stages, other.scores)
    for name in run.stages:
        ours, theirs = with_it.store.stage_result(name), without.store.stage_result(name)
        assert ours is not None and theirs is not None and ours.checkpoint_sha256 == theirs.checkpoint_sha256
    # A row that was finished without it stays as it is, and nothing is done for it.
    again = engine(without).prepare(matrix("cascade+lp-ft"), calibrate=False)
    assert again.tasks == () and again.finished[other.key].forgetting == ()


def test_known_stages_predict_from_their_checkpoint_or_not_at_all(bench: Bench) -> None:
    plain = engine(bench, forgetting=False)
    (source,) = plain.run(plain.prepare(matrix("source-only"), calibrate=False)).finished
    first = source.stages[0]
    trained = bench.store.images_trained()
    # Its checkpoint is there: it predicts, and is not trained.
    (cascade,) = bench.run("cascade").finished
    assert cascade.forgetting[0].stage == first and bench.store.images_trained() == trained + 32
    # As left by an earlier ferbench: both stages trained, the first one's checkpoint dropped, its prediction unknown.
    (seed,) = plain.run(plain.prepare(matrix("cascade", seeds=(1,)), calibrate=False)).finished
    assert not bench.engine._bench.checkpoints.holds(seed.stages[0])
    trained = bench.store.images_trained()
    (board,) = bench.run("cascade", targets=("small:va",), seeds=(1,)).finished
    assert board.forgetting == () and board.stages == seed.stages and bench.store.images_trained() == trained
    # What was there when the work was planned, and is gone when it is needed, is done without.
    first, last = plain.run(plain.prepare(matrix("source-only cascade", seeds=(2,)), calibrate=False)).finished
    planned = bench.engine.prepare(matrix("cascade", targets=("small:va",), seeds=(2,)), calibrate=False)
    assert [task.optional for task in planned.tasks] == [True, False]
    bench.engine._bench.checkpoints.remove(first.stages[0])
    trained = bench.store.images_trained()
    (board,) = bench.engine.run(planned).finished
    assert board.stages == last.stages and board.forgetting == () and bench.store.images_trained() == trained


def test_what_a_finished_row_stands_on_stays_when_its_stage_is_trained_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cascade,) = bench.run("cascade").finished
    first = cascade.stages[0]
    assert not bench.engine._bench.checkpoints.holds(first)
    predicted = Fitting.predicted

    def elsewhere(self: Fitting, samples: LabelledImages) -> Predictions:
        """As other hardware would have it."""
        found = predicted(self, samples)
        return dataclasses.replace(found, probabilities=found.probabilities[:, ::-1].copy())

    monkeypatch.setattr(Fitting, "predicted", elsewhere)

    def before() -> str:
        found = stored(bench, cascade, "big", first)
        assert found is not None
        return predictions_sha256(found)

    trained = bench.store.images_trained()
    (probe,) = bench.run("cascade+linear-probe").finished
    assert probe.stages[0] == first and bench.store.images_trained() == trained + 64
    assert cascade.forgetting[0].before_sha256 == probe.forgetting[0].before_sha256 == before()
    # Computed anew, a row gets predictions of its own, and takes none that another row stands on.
    (again,) = bench.run("cascade", force=True).finished
    assert again.predictions_sha256 != cascade.predictions_sha256
    assert again.forgetting[0].before_sha256 == before() == cascade.forgetting[0].before_sha256
    assert again.forgetting[0].after_sha256 != cascade.forgetting[0].after_sha256
    # With both of them, nothing is left that would keep it.
    bench.run("cascade cascade+linear-probe", force=True)
    assert before() != cascade.forgetting[0].before_sha256


def test_nothing_is_said_of_what_has_no_report_split_of_its_own(make_bench: Callable[..., Bench]) -> None:
    bare = bar_dataset("bare", 7, roles={"train": "tr", "select": "va"})
    hidden = bar_dataset("hidden", 8)
    load = hidden.load

    def without_labels(split, root):  # type: ignore[no-untyped-def]
        samples = load(split, root)
        return dataclasses.replace(samples, labels=None) if split == "te" else samples

    bench = make_bench(catalog=tiny_catalog(bare, dataclasses.replace(hidden, load=without_labels)))
    chains = (("bare",), ("hidden",), ("big:train+report",))
    outcome = bench.run("cascade", auxiliaries=chains, recipe={"images_seen": 32})
    assert [run.forgetting for run in outcome.finished] == [(), (), ()] and outcome.failed == ()
    assert not any("forgetting" in line for line in bench.reporter.warnings)


def test_a_stage_that_ends_one_row_on_what_another_passes_through_keeps_both(bench: Bench) -> None:
    """`big` is a target of its own here, trained on by the very stage that a cascade begins with."""
    (own,) = bench.run("target-only", targets=("big",), auxiliaries=((),), recipe={"images_seen": 32}).finished
    # Once the target's recipe is the same, so is the stage.
    (cascade,) = bench.run("cascade").finished
    assert cascade.stages[0] == own.stages[0]
    (lost,) = cascade.forgetting
    assert lost.before == next(score.value for score in own.scores if score.metric == "accuracy")
    assert (
        lost.content != own.board.fingerprint and len(bench.store.stored_predictions(own.stages[0], lost.content)) == 1
    )
