"""The order of stages, against a slow reference and by hand."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from ferbench.recipes import Recipe
from ferbench.schedule import critical_path, longest_first
from ferbench.stages import RANDOM_WEIGHTS, Stage


def stage(name: str, parent: str | None = None, images: int = 100) -> Stage:
    return Stage(name, 0, "tiny", RANDOM_WEIGHTS, (), ("sad",), Recipe(images_seen=images), 0, parent)


@st.composite
def forests(draw: st.DrawFn) -> tuple[Stage, ...]:
    """Stages with parents before children; some parents are trained already and not among them."""
    stages: list[Stage] = []
    for number in range(draw(st.integers(0, 9))):
        parent = draw(st.sampled_from([None, "elsewhere", *(one.fingerprint for one in stages)]))
        stages.append(stage(f"s{number}", parent, draw(st.sampled_from([100, 100, 200, 700]))))
    return tuple(stages)


def times(stages: Sequence[Stage], data: st.DataObject) -> dict[str, float | None]:
    """Some are known, some unknown, and some are of stages that are only to be predicted and stand in no table."""
    value = st.sampled_from([0.0, 0.5, 1.0, 1.0, 7.25])
    if not data.draw(st.booleans()):
        value = st.one_of(st.none(), value)  # type: ignore[arg-type]
    return {one.fingerprint: data.draw(value) for one in stages if data.draw(st.integers(0, 4))}


def paths(stages: Sequence[Stage], start: Stage) -> list[list[Stage]]:
    """Every path from a stage down to a leaf, one after the other."""
    children = [one for one in stages if one.parent == start.fingerprint]
    return [[start, *path] for child in children for path in paths(stages, child)] or [[start]]


def reference(stages: Sequence[Stage], seconds: Mapping[str, float | None]) -> list[Stage]:
    """The same order by trying every path, as often as need be."""
    unknown = any(seconds.get(one.fingerprint, 0.0) is None for one in stages)

    def cost(one: Stage) -> float:
        if one.fingerprint not in seconds:
            return 0.0
        return one.recipe.images_seen if unknown else seconds[one.fingerprint] or 0.0

    def walk(ready: list[Stage]) -> list[Stage]:
        if not ready:
            return []
        longest = [max(sum(map(cost, path)) for path in paths(stages, one)) for one in ready]
        first = ready[longest.index(max(longest))]
        below = walk([one for one in stages if one.parent == first.fingerprint])
        return [first, *below, *walk([one for one in ready if one is not first])]

    there = {one.fingerprint for one in stages}
    return walk([one for one in stages if one.parent not in there])


@given(forests(), st.data())
def test_the_order_is_that_of_the_slow_reference(stages: tuple[Stage, ...], data: st.DataObject) -> None:
    seconds = times(stages, data)
    order = longest_first(stages, seconds)
    assert list(order) == reference(stages, seconds)
    assert order == longest_first(stages, seconds)


@given(forests(), st.data())
def test_every_stage_comes_once_and_after_its_parent(stages: tuple[Stage, ...], data: st.DataObject) -> None:
    order = [one.fingerprint for one in longest_first(stages, times(stages, data))]
    assert sorted(order) == sorted(one.fingerprint for one in stages)
    for one in stages:
        if one.parent in order:
            assert order.index(one.parent) < order.index(one.fingerprint)


@given(forests(), st.data())
def test_the_critical_path_is_the_longest_of_all(stages: tuple[Stage, ...], data: st.DataObject) -> None:
    seconds = {name: value or 0.0 for name, value in times(stages, data).items()}
    there = {one.fingerprint for one in stages}
    every = [path for one in stages if one.parent not in there for path in paths(stages, one)]
    longest = max((sum(seconds.get(one.fingerprint, 0.0) for one in path) for path in every), default=0.0)
    found = critical_path(stages, dict(seconds))
    assert found.seconds == longest
    assert list(found.stages) in [[one.fingerprint for one in path] for path in every] or not stages


def test_the_longest_chain_comes_first_and_equal_ones_as_they_came() -> None:
    single, auxiliary, target = stage("single", None, 9_984), stage("aux", None, 4_992), stage("target", "aux", 4_992)
    # As in the README: one stage of 9,984 images against two of 4,992 at one speed, which no ulp may turn round.
    rate = 221.7
    seconds = {"single": (9_984 + 140) / rate, "aux": 4_992 / rate, "target": (4_992 + 140) / rate}
    assert longest_first((single, auxiliary, target), dict(seconds)) == (single, auxiliary, target)
    longer = {**seconds, "target": 100.0}
    assert longest_first((single, auxiliary, target), longer) == (auxiliary, target, single)


def test_where_one_time_is_unknown_images_decide() -> None:
    slow, many = stage("slow", None, 10), stage("many", None, 1_000)
    assert longest_first((slow, many), {"slow": 60.0, "many": 1.0}) == (slow, many)
    assert longest_first((slow, many), {"slow": 60.0, "many": None}) == (many, slow)
    # What is only to be predicted is no reason to doubt the times of the others.
    assert longest_first((slow, many, stage("done", None, 99_999)), {"slow": 60.0, "many": 1.0})[0] == slow
    assert critical_path((slow, many), {"slow": 60.0, "many": None}).seconds is None
    assert critical_path((slow, many), {"slow": 60.0, "many": None}).images == 1_000


def test_a_parent_is_not_needed_for_longer_than_its_children_take() -> None:
    chains = [(stage(f"p{n}"), stage(f"c{n}", f"p{n}"), stage(f"d{n}", f"p{n}", 10)) for n in range(3)]
    # As planned over seeds: strategy by strategy.
    planned = [one for chain in chains for one in chain[:2]] + [chain[2] for chain in chains]
    order = longest_first(planned, dict.fromkeys((one.fingerprint for one in planned), None))
    assert order == tuple(one for chain in chains for one in chain)


def test_ten_thousand_stages_are_ordered_at_once() -> None:
    chains = [(stage(f"p{n}"), stage(f"c{n}", f"p{n}")) for n in range(5_000)]
    began = time.perf_counter()
    assert len(longest_first([one for chain in chains for one in chain], {})) == 10_000
    assert time.perf_counter() - began < 2
