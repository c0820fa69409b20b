"""What a plan costs, with sums by hand."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection

import pytest
from tiny import tiny_catalog

from ferbench.costs import plan_cost, speed_key
from ferbench.matrix import Matrix, RecipeAxis, unrolled
from ferbench.plan import Plan, PlanInputs, make_plan
from ferbench.records import Board, Speed, SpeedKey
from ferbench.stages import RANDOM_WEIGHTS, TrainingPart


def plan(strategies: tuple[str, ...], seeds: int = 1) -> Plan:
    catalog = tiny_catalog()
    axes = (RecipeAxis("images_seen", (800,)),)
    matrix = Matrix(("tiny",), strategies, ("small",), (("big",),), tuple(range(seeds)), ("random",), axes)
    inputs = PlanInputs(
        training_part=lambda name, labels, fraction: TrainingPart(name, "tr", name, 50),
        select_content=lambda name, labels: name,
        board=lambda name, labels: Board("b", name, "te", 35, labels, 1, 0.2),
        weights=lambda backbone, policy: RANDOM_WEIGHTS,
        precision="fp32",
        device_kind="cpu",
    )
    return make_plan(unrolled(matrix, catalog), catalog, inputs)


SHARED = plan(("cascade", "cascade+linear-probe", "source-only"))
FULL = SpeedKey("tiny", 12, "all", "fp32", 8, "cpu", 2)
HEAD = dataclasses.replace(FULL, trainable="head")


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
    cost = plan_cost(SHARED, [first], measured, "cpu", 2, dict.fromkeys(others, 300) | {first: 10_000})
    assert cost.done_stages == 1 and set(cost.stage_seconds) == set(others)
    assert cost.seconds == pytest.approx(500 / 100 + 500 / 400)
    nothing = plan_cost(SHARED, [first, *others], {}, "cpu", 2, {})
    assert (nothing.seconds, nothing.checkpoint_bytes, nothing.peak_memory_bytes) == (0.0, 0, 0)


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
    assert (cost.peak_memory_bytes, cost.checkpoint_bytes) == (700, 4 * 160)


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
