"""From a matrix to what is left to do, over the tiny components."""

from __future__ import annotations

import dataclasses
import math

import pytest
from tiny import bar_dataset, matrix, tiny_backbone, tiny_catalog

from ferbench import preparation
from ferbench.components import Dataset
from ferbench.errors import DatasetError, DatasetMissing, RecipeError, UsageError, WeightsError
from ferbench.matrix import RecipeAxis


def prepared(bench, strategies: str, *, force: bool = False, calibrate: bool = False, **axes: object):  # type: ignore[no-untyped-def]
    return bench.engine.prepare(matrix(strategies, **axes), force=force, calibrate=calibrate)


def names(tasks) -> list[str]:  # type: ignore[no-untyped-def]
    return [task.stage.fingerprint for task in tasks]


# --- what is left to do -----------------------------------------------------------------------------------------------


def test_a_fresh_matrix_is_trained_stage_by_stage(bench) -> None:  # type: ignore[no-untyped-def]
    found = prepared(bench, "cascade source-only")
    assert [cell.cell.strategy for cell in found.pending] == ["cascade", "source-only"] and found.finished == {}
    assert names(found.tasks) == list(found.pending[0].stages)
    assert all(task.trained is None for task in found.tasks)
    # Both stages are some cell's last one, hence both predict select and report of the target; and the auxiliary, for
    # what the chain forgets of it.
    for task in found.tasks:
        asked = [(e.reference, e.role) for e in task.evaluations]
        assert asked == [("small", "select"), ("small", "report"), ("big", "report")]
    assert found.synthetic and found.known == {}


def test_stages_in_the_middle_predict_their_own_report_split_alone(bench) -> None:  # type: ignore[no-untyped-def]
    first, second = prepared(bench, "cascade").tasks
    assert [(e.reference, e.role) for e in first.evaluations] == [("big", "report")] and len(second.evaluations) == 3
    assert [[part.dataset for part in task.stage.parts] for task in (first, second)] == [["big"], ["small"]]


def test_a_finished_matrix_has_nothing_left(bench) -> None:  # type: ignore[no-untyped-def]
    (run,) = bench.run("cascade").finished
    found = prepared(bench, "cascade")
    assert found.tasks == () and found.pending == () and found.finished == {run.key: run}
    assert (found.cost.seconds, found.cost.done_stages) == (0.0, 2)
    forced = prepared(bench, "cascade", force=True)
    assert len(forced.tasks) == 2 and len(forced.pending) == 1 and forced.finished == {}


def test_a_stored_parent_is_not_trained_again_while_its_checkpoint_is_there(bench) -> None:  # type: ignore[no-untyped-def]
    (run,) = bench.run("source-only").finished
    parent, task = prepared(bench, "cascade").tasks
    assert task.stage.parent == parent.stage.fingerprint == run.stages[0] and parent.trained is not None
    bench.engine._bench.checkpoints.remove(run.stages[0])
    both = prepared(bench, "cascade").tasks
    assert names(both) == [run.stages[0], task.stage.fingerprint] and both[0].trained is None


def test_predictions_of_another_board_are_made_from_the_checkpoint(bench) -> None:  # type: ignore[no-untyped-def]
    (run,) = bench.run("target-only").finished
    (task,) = prepared(bench, "target-only", targets=("small:va",)).tasks
    assert task.stage.fingerprint == run.stages[0]
    assert task.trained == bench.store.stage_result(run.stages[0])
    # Without the checkpoint it has to be trained again.
    bench.engine._bench.checkpoints.remove(run.stages[0])
    (task,) = prepared(bench, "target-only", targets=("small:va",)).tasks
    assert task.trained is None


# --- budget -----------------------------------------------------------------------------------------------------------


def test_epochs_are_passes_over_what_the_label_set_leaves(bench) -> None:  # type: ignore[no-untyped-def]
    axes = (RecipeAxis("label_set", ("basic7", "happy/sad")),)
    whole = dataclasses.replace(matrix("cascade target-only", epochs=3), axes=axes)
    found = bench.engine.prepare(whole, calibrate=False)
    # Of 56 + 56 training images, 16 + 16 are happy or sad.
    budgets = {(cell.cell.recipe.label_set, cell.cell.recipe.images_seen) for cell in found.plan.cells}
    assert budgets == {("basic7", 336), ("happy/sad", 96)}


def test_epochs_are_counted_for_each_target_by_itself(make_bench) -> None:  # type: ignore[no-untyped-def]
    catalog = tiny_catalog(bar_dataset("third", 4, counts=(28, 7, 7)))
    bench = make_bench(catalog=catalog)
    found = bench.engine.prepare(matrix("cascade", targets=("small", "third"), epochs=1), calibrate=False)
    assert [cell.cell.recipe.images_seen for cell in found.plan.cells] == [112, 84]


def test_epochs_work_with_classes_that_are_no_basic_expressions(make_bench) -> None:  # type: ignore[no-untyped-def]
    own = bar_dataset("own", 7)
    own = dataclasses.replace(own, classes=("angry", "contempt", "fear", "happy", "sad", "surprise", "neutral"))
    bench = make_bench(catalog=tiny_catalog(own))
    recipe = (RecipeAxis("label_set", ("basic8",)),)
    asked = dataclasses.replace(matrix("target-only", targets=("own",), auxiliaries=((),), epochs=1), axes=recipe)
    (cell,) = bench.engine.prepare(asked, calibrate=False).plan.cells
    assert cell.cell.recipe.images_seen == 56


# --- boards -----------------------------------------------------------------------------------------------------------


def board(bench, **axes: object):  # type: ignore[no-untyped-def]
    (cell,) = prepared(bench, "target-only", **axes).plan.cells
    return cell.board


def test_a_board_counts_what_it_is_measured_on(bench) -> None:  # type: ignore[no-untyped-def]
    found = board(bench)
    assert (found.target, found.split, found.n, found.excluded) == ("small", "te", 35, 0)
    assert (found.label_set, found.majority, found.synthetic) == ("basic7", pytest.approx(1 / 7), True)
    few = board(bench, recipe={"label_set": "happy/sad"})
    assert (few.n, few.excluded, few.majority) == (10, 25, 0.5)


def test_boards_differ_by_report_data_and_label_set_and_by_nothing_of_training(bench) -> None:  # type: ignore[no-untyped-def]
    base = board(bench).fingerprint
    different = [
        board(bench, targets=("big",), auxiliaries=((),)),
        board(bench, targets=("small:va",)),
        board(bench, recipe={"label_set": "happy/sad"}),
        board(bench, recipe={"label_set": "sad/happy"}),
        board(bench, recipe={"label_set": "gloomy=sad+fear/happy"}),
        board(bench, recipe={"label_set": "gloomy=sad+disgust/happy"}),
    ]
    assert len({found.fingerprint for found in different} | {base}) == 7
    for equal in ({"recipe": {"lr": 0.9}}, {"seeds": (5,)}, {"auxiliaries": (("other",),)}):
        assert board(bench, **equal).fingerprint == base
    assert board(bench, recipe={"label_set": "Basic7"}).fingerprint == base


def test_a_target_without_labels_is_refused(make_bench) -> None:  # type: ignore[no-untyped-def]
    secret = bar_dataset("secret", 6)
    load = secret.load

    def withheld(split: str, root):  # type: ignore[no-untyped-def]
        samples = load(split, root)
        return dataclasses.replace(samples, labels=None) if split == "te" else samples

    bench = make_bench(catalog=tiny_catalog(dataclasses.replace(secret, load=withheld)))
    with pytest.raises(UsageError, match="target secret: the labels of te are withheld, name another split"):
        prepared(bench, "target-only", targets=("secret",))
    assert board(bench, targets=("secret:va",)).n == 21


# --- refusals and warnings --------------------------------------------------------------------------------------------


def real(name: str, **changes: object) -> Dataset:
    plain = dataclasses.replace(bar_dataset(name, 8), embedded=False, identity=None, steps="ask for it")
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_splits_that_would_leak_are_refused_before_anything_is_read(bench) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="would report on training data"):
        prepared(bench, "cascade", targets=("small:train+report",))
    with pytest.raises(UsageError, match="'small' is the target and an auxiliary at once"):
        prepared(bench, "cascade", auxiliaries=(("small:train+report",),))
    with pytest.raises(UsageError, match=r"auxiliary big:select leaves out .* write big:train\+select"):
        prepared(bench, "cascade", auxiliaries=(("big:select",),))
    with pytest.raises(UsageError, match=r"big:train\+select trains on the select part of big"):
        prepared(bench, "cascade", auxiliaries=(("big:train+select",),), recipe={"checkpoint": "best-on-select"})


def test_missing_data_stops_the_command_with_the_steps(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(catalog=tiny_catalog(real("gated")))
    with pytest.raises(DatasetMissing, match=r"'gated' was not found .*: ask for it"):
        prepared(bench, "target-only", targets=("gated",))
    with pytest.raises(DatasetError):
        prepared(bench, "cascade", auxiliaries=(("gated",),))


def test_weights_that_cannot_be_had_are_a_warning_on_embedded_data_and_an_error_on_real(make_bench, tmp_path) -> None:  # type: ignore[no-untyped-def]
    asked: list[str] = []
    backbone = tiny_backbone("asking", asked.append)  # type: ignore[arg-type, func-returns-value]
    (tmp_path / "faces").mkdir()
    there = real("there", locate=lambda folder: tmp_path / "faces")
    bench = make_bench(catalog=tiny_catalog(backbone, there))
    found = prepared(bench, "cascade target-only", backbones=("asking",), weights=("auto",))
    assert all(cell.weights.is_random for cell in found.plan.cells)
    told = [line for line in bench.reporter.warnings if "asking" in line]
    # Looked for once, told once, however many cells there are.
    assert asked == ["auto"] and len(told) == 1 and "the row will say so" in told[0]
    other = make_bench("other", catalog=tiny_catalog(backbone, there))
    with pytest.raises(
        WeightsError,
        match=r"^there is real data, .*: pretrained weights of asking cannot be had: .*--weights random",
    ):
        prepared(other, "target-only", backbones=("asking",), weights=("auto",), targets=("there",))
    assert not prepared(other, "target-only", backbones=("asking",), targets=("there",)).synthetic


def test_a_readers_warnings_are_told_once(make_bench) -> None:  # type: ignore[no-untyped-def]
    noisy = bar_dataset("noisy", 9)
    load = noisy.load
    warned = dataclasses.replace(
        noisy, load=lambda split, root: dataclasses.replace(load(split, root), warnings=(f"odd files in {split}",))
    )
    bench = make_bench(catalog=tiny_catalog(warned))
    prepared(bench, "cascade target-only", targets=("noisy",), seeds=(0, 1))
    assert sorted(line for line in bench.reporter.warnings if "odd files" in line) == [
        "noisy: odd files in te",
        "noisy: odd files in tr",
    ]


# --- estimates --------------------------------------------------------------------------------------------------------


def test_speeds_are_measured_where_a_stage_is_long_enough_and_taken_from_the_store_later(bench) -> None:  # type: ignore[no-untyped-def]
    assert prepared(bench, "target-only").cost.seconds is None
    short = prepared(bench, "target-only", calibrate=True)
    assert short.cost.seconds is None
    long = prepared(bench, "target-only", calibrate=True, recipe={"images_seen": 8000})
    assert long.cost.seconds is not None and 0 < long.cost.seconds < math.inf
    (run,) = bench.run("target-only", recipe={"lr": 0.01}).finished
    speed = bench.store.stage_result(run.stages[0]).images_per_second
    stored = prepared(bench, "target-only").cost
    # 64 images, and a third of the 21 + 35 that are predicted.
    assert stored.seconds == pytest.approx((64 + 56 / 3) / speed)


def test_a_stage_that_cannot_be_measured_is_left_to_fail_by_itself(bench) -> None:  # type: ignore[no-untyped-def]
    found = prepared(bench, "target-only", backbones=("broken",), calibrate=True, recipe={"images_seen": 8000})
    assert found.cost.seconds is None and len(found.tasks) == 1


def test_no_more_is_calibrated_once_that_has_taken_long(bench, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    axes = (RecipeAxis("images_seen", (8000,)), RecipeAxis("image_size", (8, 10, 12)))
    asked = dataclasses.replace(matrix("target-only"), axes=axes)
    monkeypatch.setattr(preparation, "_CALIBRATION_SECONDS", -1.0)
    nothing = bench.engine.prepare(asked).cost
    assert set(nothing.stage_seconds.values()) == {None} and nothing.calibrated == frozenset()
    monkeypatch.undo()
    found = bench.engine.prepare(asked).cost
    assert found.calibrated == set(found.stage_seconds) and None not in found.stage_seconds.values()
    assert found.peak_memory_bytes is not None and found.kept_checkpoint_bytes is not None


def test_what_was_measured_on_stages_is_not_called_calibrated(bench) -> None:  # type: ignore[no-untyped-def]
    bench.run("target-only")
    found = prepared(bench, "target-only", calibrate=True, recipe={"lr": 0.2, "images_seen": 8000}).cost
    assert found.seconds is not None and found.calibrated == frozenset()


def test_features_of_a_stage_that_was_trained_are_part_of_the_next_estimate(bench) -> None:  # type: ignore[no-untyped-def]
    (run,) = bench.run("linear-probe", recipe={"images_seen": 640}).finished
    result = bench.store.stage_result(run.stages[0])
    assert result.features_per_second is not None
    cost = prepared(bench, "linear-probe", recipe={"images_seen": 1280}, seeds=(1,)).cost
    # 56 images are trained on; 21 and 35 are predicted.
    expected = 1280 / result.images_per_second + (56 + 21 + 35) / result.features_per_second
    assert cost.seconds == pytest.approx(expected)


def test_a_stage_that_was_stopped_is_estimated_from_where_it_stands(bench) -> None:  # type: ignore[no-untyped-def]
    (run,) = bench.run("target-only").finished
    speed = bench.store.stage_result(run.stages[0]).images_per_second
    asked = {"recipe": {"images_seen": 640}}
    (task,) = prepared(bench, "target-only", **asked).tasks
    prepare = bench.engine.prepare(matrix("target-only", **asked), calibrate=False)
    looks = iter(range(10**6))
    with pytest.raises(KeyboardInterrupt):
        bench.engine.run(prepare, stop=lambda: next(looks) == 30)
    cost, name = prepared(bench, "target-only", **asked).cost, task.stage.fingerprint
    kept = bench.engine._bench.partials.load(name)
    assert kept.partial.step in (30, 31)
    done = 8 * kept.partial.step
    assert cost.images_done == {name: done} and cost.unique_images == 640
    assert cost.stage_seconds[name] == pytest.approx((640 - done + 56 / 3) / speed)
    assert cost.training_seconds[name] == pytest.approx(640 / speed)
    (again,) = bench.run("target-only", **asked).finished
    assert bench.store.stage_result(again.stages[0]).resumed_at == done


def test_looks_at_the_select_split_are_counted_as_often_as_they_are_made(bench) -> None:  # type: ignore[no-untyped-def]
    asked = {"recipe": {"images_seen": 320, "checkpoint": "best-on-select"}}
    (run,) = bench.run("target-only", **asked).finished
    result = bench.store.stage_result(run.stages[0])
    cost = prepared(bench, "target-only", seeds=(1,), **asked).cost
    # 21 select samples after each epoch; these and 35 more in the end.
    expected = (320 + (21 * len(result.history) + 21 + 35) / 3) / result.images_per_second
    assert len(result.history) == 6 and cost.seconds == pytest.approx(expected)


def test_missing_predictions_are_estimated(bench) -> None:  # type: ignore[no-untyped-def]
    (run,) = bench.run("target-only").finished
    speed = bench.store.stage_result(run.stages[0]).images_per_second
    cost = prepared(bench, "target-only", targets=("small:va",)).cost
    assert cost.stage_seconds == {} and list(cost.predicting_seconds) == list(run.stages)
    # The select samples are this board's, too: one set of 21.
    assert cost.seconds == pytest.approx(21 / 3 / speed)


def test_of_a_kind_the_stage_with_most_features_is_measured(bench, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    seen: list[int] = []
    measured = preparation.measured_speed

    def watched(stage, *others, **named):  # type: ignore[no-untyped-def]
        seen.append(stage.feature_images)
        return measured(stage, *others, **named)

    monkeypatch.setattr(preparation, "measured_speed", watched)
    probe = matrix("linear-probe", recipe={"images_seen": 8000})
    small = dataclasses.replace(probe, train_fractions=(0.5, 1.0))
    bench.engine.prepare(small)
    assert seen == [56]


# --- order ------------------------------------------------------------------------------------------------------------


def test_the_longest_chain_comes_first_and_its_stages_follow_each_other(bench) -> None:  # type: ignore[no-untyped-def]
    found = prepared(bench, "target-only cascade lp-ft", seeds=(0, 1))
    asked = [cell for cell in found.plan.cells if cell.cell.strategy != "target-only"]
    # All chains see 64 images: a tie, so they come as they were asked for, and no chain is broken off.
    order = names(found.tasks)
    assert order == [name for cell in found.plan.cells for name in cell.stages]
    assert len(asked) == 4
    longer = bench.engine.prepare(
        dataclasses.replace(
            matrix("target-only", recipe={"images_seen": 64}), also=(matrix("cascade", recipe={"images_seen": 640}),)
        ),
        calibrate=False,
    )
    first, second = longer.plan.cells
    assert names(longer.tasks) == [*second.stages, *first.stages]


def test_a_part_that_no_module_is_is_refused_with_a_suggestion(bench) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RecipeError, match="backbone tiny: trainable=heads: it is all, head or a module of the"):
        prepared(bench, "target-only", recipe={"trainable": "heads"})
    # Though the strategy has a word of its own for its stage.
    with pytest.raises(RecipeError, match="trainable=heads"):
        prepared(bench, "linear-probe", recipe={"trainable": "heads"})
    with pytest.raises(RecipeError, match="trainable=nowhere"):
        second = dataclasses.replace(matrix("cascade"), axes=(RecipeAxis("trainable", ("nowhere",), stage=2),))
        bench.engine.prepare(second, calibrate=False)
    assert len(prepared(bench, "target-only", recipe={"trainable": "3"}).tasks) == 1
