"""How rows are put together."""

from __future__ import annotations

from dataclasses import dataclass

#: Members that greedy selection takes at most, unless told otherwise.
GREEDY_STEPS = 25

#: The seed of an ensemble over seeds, which has none of its own; comparisons pair it with no other row's seed.
SEED_OVER_SEEDS = 0


@dataclass(frozen=True, slots=True)
class Method:
    """How rows are put together.

    over_seeds : all runs of all rows in one mean; else one mean for each seed that all rows have
    greedy : members chosen on select (averaging.greedy_counts), by `metric`, `steps` of them at most
    """

    over_seeds: bool = False
    greedy: bool = False
    metric: str = "nll"
    steps: int = GREEDY_STEPS
