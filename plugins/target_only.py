"""Straight from the initial weights to the target: what any auxiliary has to beat."""

from __future__ import annotations

from ferbench import Recipe, StageSpec, Strategy, hookimpl


def stages(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
    """One stage with the whole budget on the target."""
    return (StageSpec((target,), 1.0),)


@hookimpl
def ferbench_register_strategies() -> list[Strategy]:
    return [Strategy(name="target-only", stages=stages, summary="the target alone, auxiliaries ignored")]
