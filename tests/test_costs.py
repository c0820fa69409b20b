"""What a plan costs, with sums by hand."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection

import pytest
from tiny import tiny_catalog

from ferbench.costs import plan_cost, speed_key, typical_speeds
from ferbench.matrix import Matrix, RecipeAxis, unrolled
from ferbench.plan import Plan, PlanInputs, make_plan
from ferbench.records import Board, Speed, SpeedKey
from ferbench.stages import NO_WEIGHTS, RANDOM_WEIGHTS, InitialWeights, TrainingPart


def plan(
    strategies: tuple[str, ...],
    seeds: int = 1,
    weights: InitialWeights = RANDOM_WEIGHTS,
    axes: tuple[RecipeAxis, ...] = (),
) -> Plan:
    catalog = tiny_catalog()
    axes = (RecipeAxis("images_seen", (800,)), *axes)
    matrix = Matrix(("tiny",), strategies, ("small",), (("big",),), tuple(range(seeds)), ("random",), axes)
    inputs = PlanInputs(
        training_part=lambda name, labels, fraction: TrainingPart(name, "tr", name, 50),
        select_content=lambda name, labels: name,
        board=lambda name, labels: Board("b", name, "te", 35, labels, 1, 0.2),
        weights=lambda backbone, policy: weights,
        precision="fp32",
        device_kind="cpu",
    )
    return make_plan(unrolled(matrix, catalog), catalog, inputs)


SHARED = plan(("cascade", "cascade+linear-probe", "source-only"))
FULL = SpeedKey("tiny", 12, "all", "fp32", 8, "cpu", 2)
HEAD = dataclasses.replace(FULL, trainable="head on features")


def test_totals_stand_alone_and_shared() -> None:
    cost = plan_cost(SHARED, [], {FULL: Speed(FULL, 100.0), HEAD: Speed(HEAD, 400.0)}, "cpu", 2, {})
    # Two stages of 400 for each of two cells, and one of 400: five that stand alone, three that are trained.
    assert (cost.cells, cost.stages, cost.unique_stages, cost.done_stages) == (3, 5, 3, 0)
    assert (cost.images, cost.unique_images) == (2000, 1200)
    assert cost.seconds == pytest.approx(400 / 100 + 400 / 100 + 400 / 400)
    assert len(cost.stage_seconds) == 3 and sum(filter(None, cost.stage_seconds.values())) == pytest.approx(
        cost.seconds
    )


def test_what_is_done_costs_nothing_and_evaluation_a_third() -> None:
    first, *others = (stage.fingerprint for stage in SHARED.stages)
    measured = {FULL: Speed(FULL, 100.0), HEAD: Speed(HEAD, 400.0)}
    predicted = {name: {"a": 100, "b": 200} for name in others}
    cost = plan_cost(SHARED, [first], measured, "cpu", 2, predicted)
    assert cost.done_stages == 1 and set(cost.stage_seconds) == set(others)
    # Where everything is trained a forward pass is a third of a step, with a frozen part all of it.
    assert cost.seconds == pytest.approx((400 + 100) / 100 + (400 + 300) / 400)
    assert sum(filter(None, cost.training_seconds.values())) == pytest.approx(400 / 100 + 400 / 400)
    nothing = plan_cost(SHARED, [first, *others], {}, "cpu", 2, {})
    assert (nothing.seconds, nothing.checkpoint_bytes, nothing.peak_memory_bytes) == (0.0, 0, 0)


def test_what_is_left_of_a_stage_in_the_middle_is_estimated_and_the_whole_beside_the_truth() -> None:
    first, *_ = (stage.fingerprint for stage in SHARED.stages)
    measured = {FULL: Speed(FULL, 100.0), HEAD: Speed(HEAD, 400.0)}
    cost = plan_cost(SHARED, [], measured, "cpu", 2, {}, steps_done={first: 40})
    # 40 steps of 8 images are done; what the totals of the plan count does not change.
    assert (cost.stage_seconds[first], cost.training_seconds[first]) == (0.8, 4.0)
    assert cost.seconds == pytest.approx(0.8 + 4.0 + 1.0)
    assert cost.images_done == {first: 320} and (cost.images, cost.unique_images) == (2000, 1200)
    assert cost.critical.seconds == pytest.approx(4.8)
    more = plan_cost(SHARED, [], measured, "cpu", 2, {}, steps_done={first: 10**6})
    assert (more.stage_seconds[first], more.images_done) == (0.0, {first: 400})


def test_a_stage_in_the_middle_has_its_features() -> None:
    (probe,) = plan(("linear-probe",)).stages
    name, measured = probe.fingerprint, {HEAD: Speed(HEAD, 8_000.0, features_per_second=25.0)}
    cost = plan_cost(plan(("linear-probe",)), [], measured, "cpu", 2, {name: {"a": 50}}, steps_done={name: 50})
    # 400 of 800 images at 8,000 are left; of the features those that are predicted, 50 at 25.
    assert cost.stage_seconds[name] == pytest.approx(0.05 + 2.0) and cost.feature_seconds == {name: 0.0}
    assert cost.training_seconds[name] == pytest.approx(0.1 + 2.0)
    fresh = plan_cost(plan(("linear-probe",)), [], measured, "cpu", 2, {})
    assert fresh.feature_seconds == pytest.approx({name: 2.0}) and fresh.images_done == {}


def test_select_samples_are_predicted_after_every_epoch() -> None:
    (stage,) = plan(("target-only",)).stages
    name, measured = stage.fingerprint, {FULL: Speed(FULL, 100.0), HEAD: Speed(HEAD, 8_000.0, features_per_second=25.0)}
    select = {name: {"va": 30}}
    # 100 steps of 8; an epoch of 50 images is 6 steps, so there are 16 of them and four steps more.
    cost = plan_cost(plan(("target-only",)), [], measured, "cpu", 2, {}, selected=select)
    assert cost.stage_seconds[name] == pytest.approx(8.0 + 17 * 30 / 3 / 100)
    assert cost.training_seconds[name] == 8.0
    later = plan_cost(plan(("target-only",)), [], measured, "cpu", 2, {}, selected=select, steps_done={name: 95})
    assert later.stage_seconds[name] == pytest.approx(0.4 + 2 * 30 / 3 / 100)
    # Behind a frozen part their features are computed once, for the last prediction too.
    (probe,) = plan(("linear-probe",)).stages
    asked = {probe.fingerprint: {"va": 30}}
    found = plan_cost(plan(("linear-probe",)), [], measured, "cpu", 2, asked, selected=asked)
    assert found.seconds == pytest.approx(2.1 + 30 / 25 + 17 * 30 / 3 / 8_000)


def test_what_is_trained_and_has_to_predict_is_counted() -> None:
    first, second, third = (stage.fingerprint for stage in SHARED.stages)
    measured = {FULL: Speed(FULL, 100.0), HEAD: Speed(HEAD, 8_000.0, features_per_second=25.0)}
    asked = {first: {"a": 300}, third: {"a": 50}}
    cost = plan_cost(SHARED, [first, second, third], measured, "cpu", 2, asked)
    assert cost.predicting_seconds == pytest.approx({first: 1.0, third: 2.0}) and cost.seconds == pytest.approx(3.0)
    assert cost.stage_seconds == {} and cost.critical.stages == ()
    unknown = plan_cost(SHARED, [first, second, third], {HEAD: measured[HEAD]}, "cpu", 2, asked)
    assert unknown.seconds is None and unknown.predicting_seconds[first] is None


def test_what_is_not_known_is_none() -> None:
    partly = plan_cost(SHARED, [], {FULL: Speed(FULL, 100.0, 7, 9)}, "cpu", 2, {})
    assert (partly.seconds, partly.checkpoint_bytes, partly.peak_memory_bytes) == (None, None, None)
    assert sorted(partly.stage_seconds.values(), key=str) == [4.0, 4.0, None]
    for other in (
        {"device": "NVIDIA H100"},
        {"threads": 1},
        {"batch_size": 16},
        {"precision": "bf16"},
        {"image_size": 24},
    ):
        key = dataclasses.replace(FULL, **other)  # type: ignore[arg-type]
        assert plan_cost(plan(("cascade",)), [], {key: Speed(key, 100.0)}, "cpu", 2, {}).seconds is None


def test_memory_is_the_largest_and_disk_the_sum() -> None:
    measured = {FULL: Speed(FULL, 100.0, 700, 50), HEAD: Speed(HEAD, 400.0, 300, 60)}
    cost = plan_cost(SHARED, [], measured, "cpu", 2, {})
    # Every stage is some cell's last one: source-only ends with the parent of the other two.
    assert (cost.peak_memory_bytes, cost.checkpoint_bytes) == (700, 4 * 160)
    assert (cost.kept_checkpoint_bytes, cost.peak_checkpoint_bytes) == (4 * 160, 4 * 160)


def test_parents_lie_there_until_their_last_child_is_trained() -> None:
    both = plan(("cascade", "cascade+linear-probe"), seeds=2)
    measured = {FULL: Speed(FULL, 100.0, 700, 50), HEAD: Speed(HEAD, 400.0, 300, 60)}
    cost = plan_cost(both, [], measured, "cpu", 2, {})
    # Parent 50, children 50 and 60; the parent goes before the second seed's comes.
    assert cost.checkpoint_bytes == 2 * 4 * 160
    assert cost.kept_checkpoint_bytes == 2 * 4 * 110
    assert cost.peak_checkpoint_bytes == 4 * (110 + 160)
    # A parent that is trained already is not written by this command.
    parents = [stage.fingerprint for stage in both.stages if stage.parent is None]
    assert plan_cost(both, parents, measured, "cpu", 2, {}).peak_checkpoint_bytes == 2 * 4 * 110


def test_cells_that_share_a_stage_are_counted_and_the_longest_chain_is_found() -> None:
    cost = plan_cost(SHARED, [], {FULL: Speed(FULL, 100.0), HEAD: Speed(HEAD, 400.0)}, "cpu", 2, {})
    first, second, _ = (stage.fingerprint for stage in SHARED.stages)
    assert sorted(cost.shared_by.values()) == [1, 1, 3] and cost.shared_by[first] == 3
    assert (cost.critical.stages, cost.critical.images) == ((first, second), 800)
    assert cost.critical.seconds == pytest.approx(8.0)


def test_features_are_paid_for_once_by_all_that_can_share_them() -> None:
    measured = {HEAD: Speed(HEAD, 8_000.0, features_per_second=25.0), FULL: Speed(FULL, 100.0)}
    # 50 images, one view, at 25 a second; 800 images of steps at 8,000.
    probe = plan_cost(plan(("linear-probe",)), [], measured, "cpu", 2, {})
    assert probe.seconds == pytest.approx(2.0 + 0.1)
    # Random weights are of the seed, so each seed has features of its own ...
    assert plan_cost(plan(("linear-probe",), seeds=3), [], measured, "cpu", 2, {}).seconds == pytest.approx(3 * 2.1)
    # ... a file's are not.
    file = InitialWeights("f" * 64, "a file", "w.safetensors")
    same = plan_cost(plan(("linear-probe",), seeds=3, weights=file), [], measured, "cpu", 2, {})
    assert same.seconds == pytest.approx(2.0 + 3 * 0.1)
    assert sorted(same.stage_seconds.values(), key=lambda value: value or 0) == pytest.approx([0.1, 0.1, 2.1])
    # Each row's own cost has them all the same, which is what its training time is set beside.
    assert list(same.training_seconds.values()) == pytest.approx([2.1] * 3)
    # A backbone without weights is drawn by the seed.
    drawn = plan(("linear-probe",), seeds=3, weights=NO_WEIGHTS)
    assert plan_cost(drawn, [], measured, "cpu", 2, {}).seconds == pytest.approx(3 * 2.1)
    # Two learning rates share them, two image sizes or two parents do not.
    rates = RecipeAxis("lr", (0.1, 0.2))
    assert plan_cost(plan(("linear-probe",), axes=(rates,)), [], measured, "cpu", 2, {}).seconds == pytest.approx(2.2)
    chains = plan(("cascade+linear-probe",), axes=(RecipeAxis("lr", (0.1, 0.2), stage=1),))
    assert plan_cost(chains, [], measured, "cpu", 2, {}).seconds == pytest.approx(2 * (4.0 + 2.0 + 0.05))
    # What is predicted goes through the frozen part too.
    (stage,) = plan(("linear-probe",)).stages
    found = plan_cost(plan(("linear-probe",)), [], measured, "cpu", 2, {stage.fingerprint: {"a": 40, "b": 60}})
    assert found.seconds == pytest.approx(2.1 + 100 / 25)
    # ... once for all, too, and what was trained on is there already.
    (part,) = stage.parts
    two = plan(("linear-probe",), axes=(rates,))
    asked = {one.fingerprint: {"a": 40, part.content: 50} for one in two.stages}
    assert plan_cost(two, [], measured, "cpu", 2, asked).seconds == pytest.approx(2.2 + 40 / 25)


def test_two_views_are_twice_the_features() -> None:
    axes = (RecipeAxis("augment", ("flip",)), RecipeAxis("trainable", ("head",)))
    measured = {HEAD: Speed(HEAD, 8_000.0, features_per_second=25.0)}
    cost = plan_cost(plan(("target-only",), axes=axes), [], measured, "cpu", 2, {})
    assert cost.seconds == pytest.approx(2 * 2.0 + 0.1)


def test_a_head_fitted_by_svm_takes_a_time_that_is_not_known() -> None:
    svm = plan(("linear-probe",), axes=(RecipeAxis("head_fit", ("svm",)),))
    key = speed_key(svm.stages[0], "cpu", 2)
    cost = plan_cost(svm, [], {key: Speed(key, 100.0, 7, 9)}, "cpu", 2, {})
    assert key.trainable == "svm"
    assert (cost.seconds, cost.peak_memory_bytes, cost.checkpoint_bytes) == (None, None, None)


def test_speeds_of_one_kind_are_put_together() -> None:
    found = typical_speeds(
        [
            Speed(FULL, 90.0, 500, 40),
            Speed(HEAD, 8_000.0, 300, 40, 25.0),
            Speed(FULL, 3.0, None, None),
            Speed(FULL, 100.0, 700, 50),
            Speed(HEAD, 9_000.0, 300, 40, 25.0),
        ]
    )
    assert found == {FULL: Speed(FULL, 90.0, 700, 40), HEAD: Speed(HEAD, 8_500.0, 300, 40, 25.0)}


def test_a_kind_that_ran_on_features_and_without_is_not_known() -> None:
    # Features of more images were too large to be kept: every step then goes through the whole network.
    both = [Speed(HEAD, 8_000.0, 300, 40, 25.0), Speed(HEAD, 60.0, 300, 40, None), Speed(FULL, 9.0)]
    assert typical_speeds(both) == {FULL: Speed(FULL, 9.0)}
    without = typical_speeds([Speed(HEAD, 60.0), Speed(HEAD, 70.0)])
    assert without == {HEAD: Speed(HEAD, 65.0)}
    cost = plan_cost(plan(("linear-probe",)), [], without, "cpu", 2, {})
    assert cost.seconds == pytest.approx(800 / 65) and set(cost.feature_seconds.values()) == {0.0}


def test_what_was_measured_just_now_is_told_from_history() -> None:
    measured = {FULL: Speed(FULL, 100.0), HEAD: Speed(HEAD, 400.0)}
    cost = plan_cost(SHARED, [], measured, "cpu", 2, {}, calibrated={HEAD})
    assert cost.calibrated == {SHARED.stages[2].fingerprint}


def test_the_key_is_read_from_the_stage() -> None:
    assert [speed_key(stage, "cpu", 2) for stage in SHARED.stages] == [FULL, FULL, HEAD]


def test_a_long_list_of_what_is_done_is_not_searched_again_and_again() -> None:
    many = plan(("cascade", "lp-ft"), seeds=1500)
    done = [stage.fingerprint for stage in many.stages][::2]

    def seconds(kind: Callable[[list[str]], Collection[str]]) -> float:
        names, start = kind(done), time.perf_counter()
        assert plan_cost(many, names, {}, "cpu", 2, {}).done_stages == 3000
        return time.perf_counter() - start

    # Searching a list for each stage takes some thirty times as long.
    assert min(seconds(list) for _ in range(3)) < 5 * min(seconds(frozenset) for _ in range(3))
