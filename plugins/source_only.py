"""Auxiliaries without the target: how far they carry by themselves, scored on the target."""

from __future__ import annotations

from ferbench import Recipe, StageSpec, Strategy, hookimpl
from ferbench.errors import RecipeError, UsageError


def stages(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
    """A cascade's stages less the last one; the target's part of the budget stays unspent.

    The shares are a cascade's to the digit, so that the stages of both are trained once.
    """
    if not auxiliaries:
        raise UsageError("source-only trains on auxiliaries: name one with -a")
    if not 0 < recipe.target_share < 1:
        raise RecipeError(f"source-only needs a target_share between 0 and 1, not {recipe.target_share:g}")
    share = (1 - recipe.target_share) / len(auxiliaries)
    return tuple(StageSpec((name,), share) for name in auxiliaries)


@hookimpl
def ferbench_register_strategies() -> list[Strategy]:
    return [Strategy(name="source-only", stages=stages, summary="the auxiliaries alone, scored on the target")]
