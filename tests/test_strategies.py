"""The built-in strategies: what they ask for, by hand and as properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.catalog import Catalog
from ferbench.errors import RecipeError, UsageError
from ferbench.recipes import Recipe
from ferbench.stages import StageSpec

CATALOG = Catalog.load()
PROBE = (("trainable", "head"), ("augment", "none"))

SINGLE = ("single-stage", "cascade", "target-only", "source-only", "linear-probe", "lp-ft")
COMPOSED = tuple(f"{first}+{second}" for first in SINGLE for second in SINGLE)
NEED_AUXILIARIES = ("single-stage", "cascade", "source-only")

auxiliary_chains = st.lists(st.text("abcdef", min_size=1, max_size=3), max_size=5, unique=True).map(tuple)
target_shares = st.floats(0.001, 0.999)


def stages(name: str, *auxiliaries: str, target_share: float = 0.5) -> tuple[StageSpec, ...]:
    return CATALOG.strategy(name).stages("T", auxiliaries, Recipe(target_share=target_share))


def test_these_are_all_the_built_in_strategies() -> None:
    assert {each.name for each in CATALOG.strategies()} == set(SINGLE)


@pytest.mark.parametrize(
    ("name", "auxiliaries", "target_share", "expected"),
    [
        ("single-stage", "AB", 0.5, [("TAB", 1.0, ())]),
        ("cascade", "A", 0.5, [("A", 0.5, ()), ("T", 0.5, ())]),
        ("cascade", "BA", 0.2, [("B", 0.4, ()), ("A", 0.4, ()), ("T", 0.2, ())]),
        ("target-only", "", 0.2, [("T", 1.0, ())]),
        ("target-only", "AB", 0.2, [("T", 1.0, ())]),
        ("source-only", "BA", 0.2, [("B", 0.4, ()), ("A", 0.4, ())]),
        ("linear-probe", "", 0.2, [("T", 1.0, PROBE)]),
        ("lp-ft", "", 0.2, [("T", 0.5, PROBE), ("T", 0.5, ())]),
        ("cascade+linear-probe", "BA", 0.2, [("B", 0.4, ()), ("A", 0.4, ()), ("T", 0.2, PROBE)]),
        ("cascade+lp-ft", "BA", 0.2, [("B", 0.4, ()), ("A", 0.4, ()), ("T", 0.1, PROBE), ("T", 0.1, ())]),
        ("single-stage+linear-probe", "A", 0.2, [("TA", 0.8, ()), ("T", 0.2, PROBE)]),
        ("target-only+linear-probe", "", 0.2, [("T", 0.8, ()), ("T", 0.2, PROBE)]),
    ],
)
def test_stages_by_hand(
    name: str, auxiliaries: str, target_share: float, expected: list[tuple[str, float, tuple[tuple[str, str], ...]]]
) -> None:
    found = stages(name, *auxiliaries, target_share=target_share)
    assert [(spec.datasets, spec.changes) for spec in found] == [(tuple(on), changes) for on, _, changes in expected]
    assert [spec.share for spec in found] == pytest.approx([share for _, share, _ in expected])


@pytest.mark.parametrize("name", NEED_AUXILIARIES)
def test_what_needs_auxiliaries_says_so_in_one_line(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} .*-a") as caught:
        stages(name)
    assert caught.value.line == str(caught.value)


@pytest.mark.parametrize("name", ["cascade", "source-only", "single-stage+linear-probe"])
@pytest.mark.parametrize("target_share", [0.0, 1.0])
def test_a_share_that_leaves_a_stage_nothing_is_refused(name: str, target_share: float) -> None:
    with pytest.raises(RecipeError, match=r"target_share.*between 0 and 1"):
        stages(name, "A", target_share=target_share)


@pytest.mark.parametrize("name", ["target-only", "linear-probe", "lp-ft"])
@given(chain=auxiliary_chains, target_share=target_shares)
def test_what_ignores_auxiliaries_gives_the_same_without_them(
    name: str, chain: tuple[str, ...], target_share: float
) -> None:
    assert stages(name, *chain, target_share=target_share) == stages(name, target_share=target_share)


@pytest.mark.parametrize("name", [*SINGLE, *COMPOSED])
@settings(max_examples=20)
@given(chain=auxiliary_chains, target_share=target_shares)
def test_shares_are_positive_and_sum_to_one_at_most(name: str, chain: tuple[str, ...], target_share: float) -> None:
    if not chain and not set(NEED_AUXILIARIES).isdisjoint(name.split("+")):
        with pytest.raises(UsageError):
            stages(name, *chain, target_share=target_share)
        return
    found = stages(name, *chain, target_share=target_share)
    total = math.fsum(spec.share for spec in found)
    assert all(spec.share > 0 for spec in found)
    assert total == pytest.approx(1 - target_share if name == "source-only" else 1)


@given(chain=auxiliary_chains.filter(bool), target_share=target_shares)
def test_chains_that_start_alike_can_share_their_stages(chain: tuple[str, ...], target_share: float) -> None:
    cascade = stages("cascade", *chain, target_share=target_share)
    assert stages("source-only", *chain, target_share=target_share) == cascade[:-1]
    for composed in ("cascade+linear-probe", "cascade+lp-ft", "source-only+linear-probe"):
        assert stages(composed, *chain, target_share=target_share)[: len(chain)] == cascade[:-1]


@given(chain=auxiliary_chains.filter(bool), target_share=target_shares)
def test_the_auxiliaries_alone_lead_to_a_probe_as_the_cascade_does(chain: tuple[str, ...], target_share: float) -> None:
    by_cascade = stages("cascade+linear-probe", *chain, target_share=target_share)
    assert stages("source-only+linear-probe", *chain, target_share=target_share) == by_cascade


@given(chain=auxiliary_chains.filter(bool), target_share=target_shares)
def test_the_target_sees_as_much_after_a_probe_as_in_the_cascade(chain: tuple[str, ...], target_share: float) -> None:
    for name in ("cascade", "cascade+linear-probe", "cascade+lp-ft"):
        found = stages(name, *chain, target_share=target_share)
        on_target = math.fsum(spec.share for spec in found if spec.datasets == ("T",))
        assert on_target == pytest.approx(target_share, abs=1e-12)
