"""Strategies from strategies: two behind one another by name, and what a strategy asks for, checked."""

from __future__ import annotations

import math
from dataclasses import replace

from ferbench.components import Strategy
from ferbench.contract import stage_faults
from ferbench.errors import FerbenchError, PluginError, RecipeError
from ferbench.recipes import Recipe
from ferbench.stages import StageSpec

#: Between the names of strategies that are composed.
JOIN = "+"

_NOTHING = 1e-9


def compose(first: Strategy, second: Strategy) -> Strategy:
    """The strategy `first+second`: second's stages behind first's.

    Where first has more than one stage and the last trains on the target alone, that stage is dropped, since second
    takes its place. Second's stages are scaled to the budget that is left then. If nothing is left, first's stages are
    scaled to 1 - target_share and second's to target_share. So the leading stages of `cascade+linear-probe` are those
    of `cascade` to the digit, and are trained once for both.
    """

    def stages(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
        before = stages_of(first, target, auxiliaries, recipe)
        if len(before) > 1 and before[-1].datasets == (target,):
            before = before[:-1]
        left = 1 - math.fsum(spec.share for spec in before)
        if left <= _NOTHING:
            left = recipe.target_share
            if not 0 < left < 1:
                raise RecipeError(
                    f"target_share={left:g} leaves nothing for a part of {first.name}{JOIN}{second.name}: "
                    "take one between 0 and 1"
                )
            before = _scaled(before, 1 - left)
        return before + _scaled(stages_of(second, target, auxiliaries, recipe), left)

    return Strategy(
        name=f"{first.name}{JOIN}{second.name}",
        stages=stages,
        summary=f"{first.name}, then {second.name}",
        citation="; ".join(filter(None, (first.citation, second.citation))),
    )


def stages_of(strategy: Strategy, target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
    """What a strategy asks for, checked: at least one stage, shares above 0 that sum to at most 1, known recipe keys.

    Raises
    ------
    UsageError : from the strategy itself, where it cannot do with these datasets or this recipe
    PluginError : where it breaks the contract or fails
    """
    try:
        specs = strategy.stages(target, auxiliaries, recipe)
    except FerbenchError:
        raise
    except Exception as error:
        raise PluginError(f"strategy {strategy.name!r} failed: {type(error).__name__}: {error}") from error
    if faults := stage_faults(specs, target, auxiliaries):
        raise PluginError(f"strategy {strategy.name!r}: {faults[0]}")
    return specs


def _scaled(specs: tuple[StageSpec, ...], factor: float) -> tuple[StageSpec, ...]:
    total = math.fsum(spec.share for spec in specs)
    return tuple(replace(spec, share=spec.share / total * factor) for spec in specs)
