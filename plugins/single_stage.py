"""All data at once: the rival of the cascade in Ng et al., ICMI 2015 (doi 10.1145/2818346.2830593)."""

from __future__ import annotations

from ferbench import Recipe, StageSpec, Strategy, hookimpl
from ferbench.errors import UsageError


def stages(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
    """One stage with the whole budget on target and auxiliaries together, mixed as `recipe.mixing` says."""
    if not auxiliaries:
        raise UsageError("single-stage mixes the target with auxiliaries: name one with -a, or take target-only")
    return (StageSpec((target, *auxiliaries), 1.0),)


@hookimpl
def ferbench_register_strategies() -> list[Strategy]:
    return [
        Strategy(
            name="single-stage",
            stages=stages,
            summary="target and auxiliaries together in one stage",
            citation="Ng et al., ICMI 2015, doi 10.1145/2818346.2830593",
        )
    ]
