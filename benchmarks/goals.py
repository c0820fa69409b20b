"""The figures to reach, and in words whether they are. A goal that is missed is shown as missed; it fails no test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from peers.race import Pairs
from peers.torch_loops import BARE


@dataclass(frozen=True)
class Goal:
    """A bound on one figure.

    name : as the summary and README.md have it
    sign : whether the figure has to be at least or at most the bound
    unit : "s" for seconds, nothing for ratios
    """

    name: str
    sign: Literal[">=", "<="]
    bound: float
    unit: Literal["", "s"] = ""

    def is_reached(self, figure: float) -> bool:
        return figure >= self.bound if self.sign == ">=" else figure <= self.bound

    def verdict(self, figure: float) -> str:
        """The goal and `reached` or `missed`, such as "P5 <= 0.2 s reached"."""
        return f"{self.name} {self.sign} {self.told(self.bound)} {'reached' if self.is_reached(figure) else 'missed'}"

    def told(self, figure: float) -> str:
        """A figure in the goal's unit."""
        return f"{figure:.4g}{self.unit and ' '}{self.unit}"


BARE_LOOP = Goal("P1", ">=", 0.98)
BEST_PEER = Goal("P2", ">=", 1.0)
#: The wall time of a whole matrix over the peer's.
MATRIX = Goal("P2b", "<=", 0.5)
UNIQUE_STAGES = Goal("P3", "<=", 1.05)
FEATURES = Goal("P4", ">=", 10)
HELP = Goal("P5", "<=", 0.2, "s")
LEADERBOARD = Goal("P5", "<=", 1, "s")
PLAN = Goal("P5", "<=", 2, "s")
FINISHED = Goal("P6", "<=", 2, "s")
FIRST_LOAD = Goal("P7", ">=", 3)
CACHED_LOAD = Goal("P7", "<=", 0.2, "s")
UTILISATION = Goal("P8", ">=", 0.5)

#: A command that takes so many times its goal's seconds is broken, on a slow machine as well.
FAR_TOO_SLOW = 3


def loop_goals(found: Sequence[Pairs]) -> dict[str, Goal]:
    """Goals by peer: the bare loop has one, and of all others the best, which is where ferbench's ratio is least."""
    goals = {pairs.peer: BARE_LOOP for pairs in found if pairs.peer == BARE}
    others = [pairs for pairs in found if pairs.peer != BARE]
    if others:
        goals[min(others, key=lambda pairs: pairs.ratio).peer] = BEST_PEER
    return goals
