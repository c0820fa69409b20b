"""The engine from matrix to stored runs: sharing, going on, failing, forcing, order of labels, exact numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import accuracy_score, f1_score, recall_score
from tiny import bar_dataset, matrix, tiny_backbone, tiny_catalog

from ferbench import hookimpl
from ferbench.errors import RecipeError, UnknownName, UsageError, WeightsError
from ferbench.leaderboard import leaderboards
from ferbench.matrix import parse_axis
from ferbench.plugin_source import Plugin
from ferbench.records import Run
from ferbench.state_dicts import file_sha256


def score(run: Run, metric: str) -> float:
    return next(s.value for s in run.scores if s.metric == metric)


def report(bench, run: Run):  # type: ignore[no-untyped-def]
    return bench.store.predictions(run.stages[-1], run.board.target, run.board.split, run.board.fingerprint)


def test_a_cascade_ends_in_scores_that_scikit_learn_agrees_with(bench) -> None:
    outcome = bench.run("cascade")
    (run,) = outcome.finished
    predictions = report(bench, run)
    predicted = predictions.probabilities.argmax(axis=1)
    assert run.board.n == len(predictions.ids) == 35
    assert score(run, "accuracy") == pytest.approx(accuracy_score(predictions.labels, predicted))
    assert score(run, "uar") == pytest.approx(recall_score(predictions.labels, predicted, average="macro"))
    expected = f1_score(predictions.labels, predicted, average="macro", labels=np.unique(predictions.labels))
    assert score(run, "macro_f1") == pytest.approx(expected)
    assert run.images_seen == 64 and run.target_images_seen == 32
    assert bench.store.finished([run.key])[run.key] == run


def test_the_loop_learns_what_can_be_learnt(bench) -> None:
    (run,) = bench.run("target-only", recipe={"images_seen": 1200, "lr": 0.05}).finished
    assert score(run, "accuracy") > 0.9


def test_two_stages_shared_by_three_cells_are_trained_once(bench) -> None:
    cells = "cascade cascade+linear-probe cascade+lp-ft"
    prepared = bench.engine.prepare(matrix(cells, auxiliaries=(("big", "other"),)), calibrate=False)
    assert prepared.cost.stages == 3 + 3 + 4
    # The two auxiliary stages are common; cascade adds one, +linear-probe one, +lp-ft two.
    assert prepared.cost.unique_stages == 2 + 1 + 1 + 2
    outcome = bench.engine.run(prepared)
    assert len(outcome.finished) == 3
    names = [stage.fingerprint for stage in bench.reporter.stages]
    assert len(names) == len(set(names)) == 6
    firsts = {run.stages[:2] for run in outcome.finished}
    assert len(firsts) == 1
    trained = sum(stage.recipe.images_seen for stage in bench.reporter.stages)
    assert trained == prepared.cost.unique_images < prepared.cost.images
    # Shared stages are paid once, but every row shows its stand-alone cost.
    assert sum(run.spent_seconds for run in outcome.finished) < sum(run.train_seconds for run in outcome.finished)


def test_source_only_is_the_cascade_without_its_last_stage(bench) -> None:
    cascade, source = bench.run("cascade source-only").finished
    runs = {run.cell.strategy: run for run in (cascade, source)}
    assert runs["source-only"].stages == runs["cascade"].stages[:1]
    assert runs["source-only"].images_seen == 32 and runs["source-only"].target_images_seen == 0


def test_finished_cells_are_not_run_again_unless_forced(make_bench) -> None:
    first = make_bench()
    (run,) = first.run("cascade").finished
    again = make_bench()
    outcome = again.run("cascade")
    assert outcome.finished == () and outcome.skipped == (run,) and again.reporter.stages == []
    forced = make_bench().run("cascade", force=True)
    (second,) = forced.finished
    assert second.key == run.key and second.scores == run.scores
    assert len(first.store.runs()) == 1


def test_an_interrupted_matrix_goes_on_where_it_stopped_with_equal_numbers(make_bench) -> None:
    whole = make_bench("whole")
    expected = {run.cell.strategy: run for run in whole.run("cascade target-only cascade+linear-probe").finished}
    stopped = make_bench("stopped", stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        stopped.run("cascade target-only cascade+linear-probe")
    assert len(stopped.reporter.stages) == 2
    on = make_bench("stopped")
    outcome = on.run("cascade target-only cascade+linear-probe")
    assert len(outcome.finished) + len(outcome.skipped) == 3
    trained = [stage.fingerprint for stage in (*stopped.reporter.stages, *on.reporter.stages)]
    assert len(trained) == len(set(trained)) == len(whole.reporter.stages)
    for run in (*outcome.finished, *outcome.skipped):
        other = expected[run.cell.strategy]
        assert run.key == other.key and run.scores == other.scores
        np.testing.assert_array_equal(report(on, run).probabilities, report(whole, other).probabilities)


def test_one_failing_cell_does_not_take_the_others_down(bench) -> None:
    outcome = bench.run("cascade target-only", backbones=("broken", "tiny"))
    assert {run.cell.backbone for run in outcome.finished} == {"tiny"}
    assert {(run.cell.backbone, run.cell.strategy) for run in outcome.failed} == {
        ("broken", "cascade"),
        ("broken", "target-only"),
    }
    assert all("shapes cannot be multiplied" in (run.error or "") for run in outcome.failed)
    assert len(bench.store.runs(status="failed")) == 2
    # A failed cell is tried again by the next call.
    again = bench.run("target-only", backbones=("broken",))
    assert len(again.failed) == 1 and again.skipped == ()


def test_labels_land_on_the_right_names_whatever_order_a_dataset_has(make_bench) -> None:
    order = ("neutral", "surprise", "sad", "happy", "fear", "disgust", "angry")
    noun = {"angry": "Anger", "happy": "HAPPINESS", "sad": "sadness"}
    permuted = dataclasses.replace(
        bar_dataset("permuted", 2, classes=order, groups=True), classes=tuple(noun.get(name, name) for name in order)
    )
    catalog = tiny_catalog(bar_dataset("plain", 2, groups=True), permuted)
    bench = make_bench(catalog=catalog)
    runs = [
        bench.run("target-only", targets=(name,), recipe={"images_seen": 1200}).finished[0]
        for name in ("plain", "permuted")
    ]
    tables = []
    for run in runs:
        predictions = report(bench, run)
        tables.append(dict(zip(predictions.ids, predictions.labels.tolist(), strict=True)))
    assert tables[0] == tables[1]
    assert all(score(run, "accuracy") > 0.9 for run in runs)


def test_cells_without_use_for_auxiliaries_collapse_and_seeds_stay_apart(bench) -> None:
    outcome = bench.run("target-only cascade", auxiliaries=(("big",), ("other",)), seeds=(0, 1))
    cells = [(run.cell.strategy, run.cell.auxiliaries, run.cell.seed) for run in outcome.finished]
    assert len(cells) == len(set(cells)) == 2 + 4
    entries = {run.entry for run in outcome.finished}
    assert len(entries) == 3
    assert len({run.key for run in outcome.finished}) == 6


def test_rows_say_what_is_synthetic_random_or_never_seen(bench) -> None:
    (run,) = bench.run("target-only").finished
    assert "synthetic faces" in run.notes and "random weights" in run.notes
    (auto,) = bench.run("target-only", weights=("auto",), recipe={"lr": 0.01}).finished
    assert any("no pretrained ones found" in note for note in auto.notes)
    assert any("no pretrained weights of tiny" in line for line in bench.reporter.warnings)


def test_pretrained_weights_that_cannot_be_had_stop_the_command(bench) -> None:
    with pytest.raises(WeightsError, match="tiny"):
        bench.run("target-only", weights=("pretrained",))


def test_weights_from_a_file_are_loaded_and_named_by_hash(bench, tmp_path: Path) -> None:
    module = tiny_backbone().build(1000, 12)
    path = tmp_path / "weights.safetensors"
    save_file(module.state_dict(), path)
    recipe = {"trainable": "head", "augment": "none"}
    (run,) = bench.run("target-only", weights=(str(path),), recipe=recipe).finished
    assert run.weights.sha256 == file_sha256(path)
    state = bench.engine._bench.checkpoints.load(run.stages[-1])
    torch.testing.assert_close(state["0.weight"], module.state_dict()["0.weight"], rtol=0, atol=0)
    torch.testing.assert_close(state["1.running_mean"], module.state_dict()["1.running_mean"], rtol=0, atol=0)


def test_wrong_names_and_values_stop_before_anything_is_trained(bench) -> None:
    with pytest.raises(UnknownName, match="tiny"):
        bench.run("target-only", backbones=("tinny",))
    with pytest.raises(UsageError):
        bench.run("cascade", auxiliaries=((),))
    with pytest.raises(UsageError, match="target and an auxiliary"):
        bench.run("cascade", auxiliaries=(("small",),))
    with pytest.raises(RecipeError, match="smallest is 8"):
        bench.run("target-only", recipe={"image_size": 7})
    with pytest.raises(UsageError, match="training data"):
        bench.run("target-only", targets=("small:tr",))
    assert bench.reporter.stages == [] and bench.store.runs() == []


def test_a_target_may_name_another_split_and_has_a_board_of_its_own(bench) -> None:
    (default,) = bench.run("target-only").finished
    (other,) = bench.run("target-only", targets=("small:va",)).finished
    assert other.board.split == "va" and other.board.n == 21
    assert other.board.fingerprint != default.board.fingerprint
    assert other.stages == default.stages


def test_an_auxiliary_may_use_its_select_split_up(bench) -> None:
    outcome = bench.run("cascade", auxiliaries=(("big",), ("big:train+select",)))
    counts = {s.parts[0].count for s in bench.reporter.stages if s.parts[0].dataset.startswith("big")}
    assert counts == {56, 77}
    assert len({run.entry for run in outcome.finished}) == 2


def test_epochs_are_passes_over_target_and_auxiliaries(bench) -> None:
    prepared = bench.engine.prepare(matrix("cascade target-only", epochs=2), calibrate=False)
    # 56 + 56 training images, twice, in full batches of 8.
    assert {cell.images_seen for cell in prepared.plan.cells} == {224}


def test_best_on_select_keeps_the_best_epoch_and_says_so_when_it_is_reported_on(bench) -> None:
    recipe = {"checkpoint": "best-on-select", "images_seen": 280, "lr": 0.5}
    (run,) = bench.run("target-only", recipe=recipe).finished
    result = bench.store.stage_result(run.stages[-1])
    chosen = bench.store.predictions(run.stages[-1], "small", "va", bench.engine._roles.select("small").content)
    accuracy = float((chosen.probabilities.argmax(axis=1) == chosen.labels).mean())
    assert accuracy == pytest.approx(max(epoch.select_accuracy for epoch in result.history))
    assert len(result.history) == 5
    (leaky,) = bench.run("target-only", recipe=recipe, targets=("small:select",)).finished
    assert "selected on the reported split" in leaky.notes


def test_a_loss_that_is_not_finite_fails_the_cell_with_advice(bench) -> None:
    (run,) = bench.run("target-only", recipe={"lr": 1000.0, "images_seen": 640}).failed
    assert "smaller --set lr" in (run.error or "")


def test_the_parents_checkpoint_goes_when_no_child_waits_for_it(bench) -> None:
    (run,) = bench.run("cascade").finished
    assert not bench.engine._bench.checkpoints.holds(run.stages[0])
    assert bench.engine._bench.checkpoints.holds(run.stages[1])
    # A later cell that needs it again trains it again, to the same bits.
    before = bench.store.stage_result(run.stages[0])
    bench.run("cascade+linear-probe")
    assert bench.store.stage_result(run.stages[0]).checkpoint_sha256 == before.checkpoint_sha256


def test_a_parent_that_an_earlier_row_ends_with_stays(bench) -> None:  # type: ignore[no-untyped-def]
    (source,) = bench.run("source-only").finished
    bench.run("cascade", force=True)
    assert bench.engine._bench.checkpoints.holds(source.stages[-1])


def test_a_stage_is_either_stored_or_gone_on_with(make_bench, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from ferbench.fitting import Fitting

    bench = make_bench("killed")
    bench.engine._bench.keep_every_seconds = 0.0
    with monkeypatch.context() as patched:
        patched.setattr(Fitting, "predicted", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            bench.run("target-only")
    assert bench.store.speeds() == []
    on = make_bench("killed")
    (run,) = on.run("target-only").finished
    result = on.store.stage_result(run.stages[0])
    assert result is not None and 0 < result.resumed_at < result.images_seen
    assert list(on.engine._bench.partials.folder.iterdir()) == []


def test_what_a_stopped_command_has_spent_is_on_the_row_that_it_was_for(make_bench) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(KeyboardInterrupt):
        make_bench("stopped", stop_after=1).run("cascade")
    (run,) = make_bench("stopped").run("cascade").finished
    assert run.spent_seconds == pytest.approx(run.train_seconds)
    # What a finished run has paid for, no failed one that shares it charges again.
    failed = dataclasses.replace(run, key="0" * 64, entry="0" * 64, status="failed", scores=(), error="no memory")
    make_bench("stopped").store.save_run(failed, None)
    (other,) = make_bench("stopped").run("source-only").finished
    assert other.train_seconds > 0 == other.spent_seconds


def test_observers_are_told_and_a_failing_one_is_one_warning(make_bench) -> None:
    told: list[str] = []

    class Watching:
        @hookimpl
        def ferbench_stage_finished(self, stage, result) -> None:  # type: ignore[no-untyped-def]
            told.append(stage.fingerprint)

        @hookimpl
        def ferbench_run_finished(self, run) -> None:  # type: ignore[no-untyped-def]
            raise RuntimeError("observer broke")

    catalog = tiny_catalog()
    catalog.add(Plugin("watching", "tests", Watching()))
    bench = make_bench(catalog=catalog)
    outcome = bench.run("cascade target-only")
    assert len(outcome.finished) == 2 and len(told) == 3
    assert sum("observer broke" in line for line in bench.reporter.warnings) == 1


def test_a_parents_checkpoint_that_another_process_took_away_is_trained_again(make_bench) -> None:
    whole = make_bench("whole")
    (expected,) = whole.run("cascade").finished
    bench = make_bench("shared")
    bench.run("source-only")
    prepared = bench.engine.prepare(matrix("cascade"), calibrate=False)
    _, task = prepared.tasks
    bench.engine._bench.checkpoints.remove(task.stage.parent)
    (run,) = bench.engine.run(prepared).finished
    assert run.scores == expected.scores
    assert [stage.fingerprint for stage in bench.reporter.stages] == [run.stages[0], run.stages[0], run.stages[1]]


@pytest.mark.parametrize("damage", [b"x", b""])
def test_a_damaged_checkpoint_counts_as_missing(bench, damage: bytes) -> None:
    (source,) = bench.run("source-only").finished
    bench.engine._bench.checkpoints.path(source.stages[0]).write_bytes(damage)
    outcome = bench.run("cascade")
    assert len(outcome.finished) == 1 and outcome.failed == ()


def test_a_damaged_final_checkpoint_is_trained_again_for_another_board(bench) -> None:
    (first,) = bench.run("target-only").finished
    bench.engine._bench.checkpoints.path(first.stages[0]).write_bytes(b"x")
    (second,) = bench.run("target-only", targets=("small:va",)).finished
    assert second.stages == first.stages and second.board != first.board
    assert len(bench.reporter.stages) == 2


def test_a_finals_checkpoint_of_an_earlier_command_stays(bench) -> None:
    (source,) = bench.run("source-only").finished
    bench.run("cascade")
    assert bench.engine._bench.checkpoints.holds(source.stages[-1])


@pytest.mark.parametrize("order", [("small", "there"), ("there", "small")])
def test_real_data_never_starts_from_random_weights_unasked(make_bench, order: tuple[str, str], tmp_path: Path) -> None:
    there = dataclasses.replace(
        bar_dataset("there", 5), embedded=False, identity=None, locate=lambda folder: tmp_path / "there"
    )
    (tmp_path / "there").mkdir()
    bench = make_bench(catalog=tiny_catalog(there))
    with pytest.raises(WeightsError, match="there is real data"):
        bench.run("target-only", weights=("auto",), targets=order)
    with pytest.raises(WeightsError, match="there is real data"):
        bench.run("cascade", weights=("auto",), auxiliaries=(("big",), ("there",)))
    assert len(bench.run("target-only", weights=("random",), targets=order).finished) == 2


def test_select_predictions_are_kept_apart_where_the_board_is_the_select_split(bench) -> None:
    (run,) = bench.run("target-only", targets=("small:va",)).finished
    select = bench.engine._roles.select("small:va")
    assert bench.store.predictions(run.stages[-1], "small", "va", select.content) is not None
    assert report(bench, run) is not None


def test_a_file_of_another_network_is_refused_before_anything_is_stored(bench, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="do not fit"):
        bench.run("target-only", weights=(str(path),))
    assert bench.store.runs() == []


def test_one_stage_that_selects_on_the_reported_split_is_enough_to_say_so(bench) -> None:
    selecting = parse_axis("stage2.checkpoint=best-on-select")
    wanted = dataclasses.replace(matrix("cascade", targets=("small:select",)), axes=(selecting,))
    (run,) = bench.engine.run(bench.engine.prepare(wanted, calibrate=False)).finished
    assert "selected on the reported split" in run.notes


def test_rows_say_how_the_head_was_fitted_and_failures_what_they_differ_in(bench) -> None:
    (svm,) = bench.run("linear-probe", recipe={"head_fit": "svm"}).finished
    assert "head fitted by svm" in svm.notes and svm.images_seen == 56
    (sgd,) = bench.run("linear-probe").finished
    assert not any("head fitted" in note for note in sgd.notes) and sgd.entry != svm.entry
    for lr, fractions in ((1000.0, (1.0, 0.5)), (999.0, (1.0,))):
        bench.run("target-only", recipe={"lr": lr, "images_seen": 640}, train_fractions=fractions)
    (table,) = leaderboards(bench.store.leaderboard_rows())
    # Otherwise named alike are those of one part of train; the half stands alone among its like.
    assert sorted((failure.train_fraction, failure.difference) for failure in table.failed) == [
        # Whole films: 27 of 56.
        *((27 / 56, ""), (1.0, "lr 1000.0"), (1.0, "lr 999.0")),
    ]


def test_rows_show_the_part_of_train_that_is_there(bench) -> None:
    outcome = bench.run("target-only source-only", train_fractions=(0.1, 0.02))
    # Whole films: both parts are one film, and equal work is one row, under what it really is.
    assert sorted((run.cell.strategy, run.train_fraction) for run in outcome.finished) == [
        *(("source-only", 0.0), ("target-only", 9 / 56)),
    ]
    (told, _) = [line for line in bench.reporter.warnings if "were asked for" in line]
    assert (
        "small: 10 % of its train samples were asked for" in told
        and "whole films or people make it 16.1 % (9 of 56)" in told
    )


def test_reported_pictures_that_are_trained_on_are_said(make_bench) -> None:  # type: ignore[no-untyped-def]
    small, other = bar_dataset("small", 2), bar_dataset("copies", 3)
    load = other.load

    def with_copies(split, root):  # type: ignore[no-untyped-def]
        """Three pictures of what is reported on among those that are passed through, under other labels."""
        samples, reported = load(split, root), small.load("te", root)
        samples.images[:3] = reported.images[:3]
        return samples

    bench = make_bench(catalog=tiny_catalog(dataclasses.replace(other, load=with_copies)))
    cascade, alone = bench.run("cascade target-only", auxiliaries=(("copies",),)).finished
    assert "3 of 35 reported pictures are among those trained on, in copies tr" in cascade.notes
    assert not any("reported pictures" in note for note in alone.notes)


def test_a_backbone_without_weights_has_one_row_whatever_weights_are_asked_for(make_bench) -> None:  # type: ignore[no-untyped-def]
    bare = dataclasses.replace(tiny_backbone("bare"), weightless=True)
    bench = make_bench(catalog=tiny_catalog(bare))
    axes = {"backbones": ("bare",), "recipe": {"head_fit": "svm"}}
    (run,) = bench.run("linear-probe", weights=("auto", "random", "pretrained"), **axes).finished
    assert (run.weights.sha256, run.weights.source) == ("none", "none")
    assert not any("random" in note for note in run.notes) and not any("weights" in w for w in bench.reporter.warnings)
