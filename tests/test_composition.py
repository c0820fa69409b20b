"""Strategies composed by name."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.components import Strategy
from ferbench.composition import compose, stages_of
from ferbench.errors import PluginError, RecipeError, UsageError
from ferbench.recipes import Recipe
from ferbench.stages import StageSpec

HEAD = (("trainable", "head"),)


def fixed(name: str, *stages: tuple[str, float]) -> Strategy:
    """A strategy of fixed shares; the letter t stands for the target, other letters for auxiliaries by place."""

    def build(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
        names = {"t": target, **dict(zip("abc", auxiliaries, strict=False))}
        return tuple(StageSpec(tuple(names[letter] for letter in on), share) for on, share in stages)

    return Strategy(name, build)


PROBE = Strategy("probe", lambda target, auxiliaries, recipe: (StageSpec((target,), 1.0, HEAD),))


def shares(strategy: Strategy, target_share: float = 0.5) -> list[tuple[str, float]]:
    specs = stages_of(strategy, "T", ("A", "B"), Recipe(target_share=target_share))
    return [("".join(spec.datasets), spec.share) for spec in specs]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ([("a", 0.3), ("b", 0.3), ("t", 0.4)], [("A", 0.3), ("B", 0.3), ("T", 0.4)]),
        ([("a", 0.3), ("b", 0.3)], [("A", 0.3), ("B", 0.3), ("T", 0.4)]),
        ([("a", 0.3), ("ta", 0.3)], [("A", 0.3), ("TA", 0.3), ("T", 0.4)]),
        ([("t", 0.3), ("a", 0.5)], [("T", 0.3), ("A", 0.5), ("T", 0.2)]),
        ([("t", 1.0)], [("T", 0.75), ("T", 0.25)]),
        ([("tab", 1.0)], [("TAB", 0.75), ("T", 0.25)]),
        ([("t", 0.5)], [("T", 0.5), ("T", 0.5)]),
        ([("a", 0.4), ("b", 0.6)], [("A", 0.3), ("B", 0.45), ("T", 0.25)]),
    ],
)
def test_shares_by_hand(first: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    composed = shares(compose(fixed("f", *first), PROBE), target_share=0.25)
    assert [name for name, _ in composed] == [name for name, _ in expected]
    assert [share for _, share in composed] == pytest.approx([share for _, share in expected])


def test_the_second_keeps_its_proportions_and_its_changes() -> None:
    second = Strategy(
        "second", lambda target, auxiliaries, recipe: (StageSpec((target,), 0.2, HEAD), StageSpec((target,), 0.6))
    )
    composed = stages_of(compose(fixed("f", ("a", 0.6), ("t", 0.4)), second), "T", ("A",), Recipe())
    assert [spec.share for spec in composed] == pytest.approx([0.6, 0.1, 0.3])
    assert [spec.changes for spec in composed] == [(), HEAD, ()]


def test_names_and_citations_are_put_together() -> None:
    first = Strategy("f", PROBE.stages, citation="one")
    assert (compose(first, PROBE).name, compose(first, PROBE).citation) == ("f+probe", "one")
    assert compose(compose(first, PROBE), first).name == "f+probe+f"


@pytest.mark.parametrize("target_share", [0.0, 1.0])
def test_a_target_share_that_leaves_a_part_without_budget_is_refused(target_share: float) -> None:
    with pytest.raises(RecipeError, match=r"target_share=\d leaves nothing for a part of f\+probe"):
        shares(compose(fixed("f", ("t", 1.0)), PROBE), target_share)


def test_refusals_and_faults_of_either_part_come_through() -> None:
    def refuse(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
        raise UsageError("not today")

    with pytest.raises(UsageError, match="not today"):
        shares(compose(Strategy("no", refuse), PROBE))
    with pytest.raises(UsageError, match="not today"):
        shares(compose(PROBE, Strategy("no", refuse)))
    with pytest.raises(PluginError, match="strategy 'greedy': the stages' shares sum to 2"):
        shares(compose(fixed("greedy", ("t", 1.0), ("a", 1.0)), PROBE))


STAGES = st.lists(
    st.tuples(st.sampled_from(["t", "a", "b", "ta", "ab"]), st.floats(1e-3, 1.0)), min_size=1, max_size=5
).map(lambda stages: [(on, share / max(1.0, sum(s for _, s in stages))) for on, share in stages])


@given(first=STAGES, second=STAGES, target_share=st.floats(0.01, 0.99))
def test_a_composition_is_a_strategy_whatever_its_parts(
    first: list[tuple[str, float]], second: list[tuple[str, float]], target_share: float
) -> None:
    composed = shares(compose(fixed("f", *first), fixed("s", *second)), target_share)
    assert math.fsum(share for _, share in composed) == pytest.approx(1)
    assert [name for name, _ in composed][-len(second) :] == [on.upper() for on, _ in second]
