"""A linear classifier on frozen features of the target."""

from __future__ import annotations

from ferbench import Recipe, StageSpec, Strategy, hookimpl


def stages(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
    """One stage that trains the head alone, without augmentation: every image then has one feature vector."""
    return (StageSpec((target,), 1.0, (("trainable", "head"), ("augment", "none"))),)


@hookimpl
def ferbench_register_strategies() -> list[Strategy]:
    return [Strategy(name="linear-probe", stages=stages, summary="the head alone, on the target's frozen features")]
