"""Auxiliaries first, the target last: the method of Ng et al., ICMI 2015 (doi 10.1145/2818346.2830593)."""

from __future__ import annotations

from ferbench import Recipe, StageSpec, Strategy, hookimpl
from ferbench.errors import RecipeError, UsageError


def stages(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
    """The auxiliaries in order with equal parts of 1 - target_share, then the target with target_share."""
    if not auxiliaries:
        raise UsageError("cascade passes through auxiliaries: name one with -a, or take target-only")
    if not 0 < recipe.target_share < 1:
        raise RecipeError(f"cascade needs a target_share between 0 and 1, not {recipe.target_share:g}")
    share = (1 - recipe.target_share) / len(auxiliaries)
    return (*(StageSpec((name,), share) for name in auxiliaries), StageSpec((target,), recipe.target_share))


@hookimpl
def ferbench_register_strategies() -> list[Strategy]:
    return [
        Strategy(
            name="cascade",
            stages=stages,
            summary="one auxiliary after another, then the target",
            citation="Ng et al., ICMI 2015, doi 10.1145/2818346.2830593",
        )
    ]
