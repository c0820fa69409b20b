"""How much a difference would vary with other samples and other seeds, in parts, and what follows from that."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ferbench.metrics import wilson

#: Of a two-sided test at 5 %, and of being found with 80 %.
LEVEL, POWER = 0.05, 0.8


@dataclass(frozen=True, slots=True)
class Spread:
    """The variance of a mean difference, by where it comes from.

    over_samples : of the mean over seeds, as drawn samples or groups make it vary; None where nothing can be drawn
    over_seeds : of the mean over seeds, as the seeds' own values tell; 0 for one seed, which tells nothing
    both : of that, what samples and seeds make vary together. It is in either of the two parts, and counted once
    units : samples or groups that were drawn from
    seeds : of the side with the fewest, sides of one seed left out; 1 where there is no other side
    seeds_known : whether each side has two seeds or more
    """

    over_samples: float | None
    over_seeds: float
    both: float
    units: int
    seeds: int
    seeds_known: bool

    @property
    def variance(self) -> float:
        """As two-way clusters have it (Cameron, Gelbach and Miller 2011), and never below either of its parts.

        A bootstrap that draws samples and seeds at once has `both` three times in its variance (Owen 2007); here it is
        in once, as in that of the mean itself.
        """
        samples = self.over_samples or 0.0
        return max(samples, self.over_seeds, samples + self.over_seeds - self.both)

    @property
    def known(self) -> bool:
        """Whether there is any spread to judge a difference by."""
        return self.over_samples is not None and self.variance > 0

    @property
    def degrees(self) -> float:
        """Satterthwaite's degrees of freedom: few seeds are little to know a spread by."""
        parts = [(self.over_samples or 0.0, self.units - 1)]
        if self.seeds > 1:
            parts += [(self.over_seeds, self.seeds - 1), (self.both, (self.seeds - 1) * (self.units - 1))]
        return float(self.variance**2 / sum(part**2 / degrees for part, degrees in parts if part))

    def with_seeds(self, seeds: int) -> Spread:
        """What it would be with so many seeds."""
        samples, factor = self.over_samples or 0.0, self.seeds / seeds
        alone = max(0.0, samples - self.both)
        return replace(
            self,
            over_samples=alone + self.both * factor,
            over_seeds=self.over_seeds * factor,
            both=self.both * factor,
            seeds=seeds,
        )

    def with_units(self, units: int) -> Spread:
        """What it would be with so many samples or groups."""
        factor = self.units / units
        alone = max(0.0, self.over_seeds - self.both)
        return replace(
            self,
            over_samples=(self.over_samples or 0.0) * factor,
            over_seeds=alone + self.both * factor,
            both=self.both * factor,
            units=units,
        )


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison, or both where they are paired: values on all samples and on draws, by seed.

    observed : float64 [S]
    drawn : float64 [draws, S]
    """

    observed: NDArray[np.float64]
    drawn: NDArray[np.float64]


def spread(sides: list[Side], units: int) -> Spread:
    """The spread of the sum of the sides' means over seeds.

    sides : one, of the paired differences, or two, of which the second has its sign turned
    units : samples or groups that were drawn from; below 2 none could be
    """
    counts = [len(side.observed) for side in sides]
    several = [side for side in sides if len(side.observed) > 1]
    seeds, known = min((len(side.observed) for side in several), default=1), min(counts) > 1
    # S - 1 of S seeds drawn with replacement have a mean of just this variance (Rao and Wu 1988).
    over_seeds = _real(math.fsum(float(side.observed.var(ddof=1)) / len(side.observed) for side in several))
    if units < 2:
        return Spread(None, over_seeds, 0.0, units, seeds, known)
    mean = np.sum([side.drawn.mean(axis=1) for side in sides], axis=0)
    over_samples = _real(float(mean.var(ddof=1)))
    both = _real(math.fsum(_together(side.drawn) for side in several))
    return Spread(over_samples, over_seeds, min(both, over_samples), units, seeds, known)


def _together(drawn: NDArray[np.float64]) -> float:
    """What samples and seeds make vary together, of the mean over seeds: what one seed's draws have of their own."""
    each = float(drawn.var(axis=0, ddof=1).mean())
    mean = float(drawn.mean(axis=1).var(ddof=1))
    # A seed by itself has S times as much of it as the mean of S seeds, and as much of the rest.
    together = (each - mean) / (drawn.shape[1] - 1)
    return max(0.0, float(together))


def _real(variance: float) -> float:
    """A variance, or 0 where it is rounding: a standard error below one in 10 ** 9."""
    return variance if variance > 1e-18 else 0.0


def judged(difference: float, found: Spread) -> tuple[float, float, float]:
    """Low and high end of the 95 % interval of a difference of shares, and p of no difference, two-sided."""
    if found.over_samples is None:
        return -1.0, 1.0, 1.0
    if not found.known:
        return _without_spread(difference, found.units)
    from scipy.special import stdtr

    error = math.sqrt(found.variance)
    half = _t(found.degrees, 1 - LEVEL / 2) * error
    p = min(1.0, 2 * float(stdtr(found.degrees, -abs(difference) / error)))
    return max(-1.0, difference - half), min(1.0, difference + half), p


def _without_spread(difference: float, units: int) -> tuple[float, float, float]:
    """Where all samples say the same: that both answer alike, or that one side is right everywhere.

    That is little to know where there are few of them: the interval is Wilson's, and p that of a sign test.
    """
    low, high = wilson(abs(difference) * units, units)
    if difference == 0:
        return -high, high, 1.0
    p = min(1.0, 2 * 0.5**units)
    return (low, high, p) if difference > 0 else (-high, -low, p)


def smallest_difference(found: Spread) -> float:
    """The smallest difference that is told with 80 % power; 1, which is more than any, where there is no spread."""
    return min(1.0, _told(found)) if found.known else 1.0


def seeds_needed(difference: float, found: Spread) -> int | None:
    """Seeds in all that tell the difference with 80 % power; None where samples alone keep it from being told."""
    if not found.seeds_known or not found.known or difference == 0:
        return None
    return _fewest(abs(difference), found.with_seeds)


def units_needed(difference: float, found: Spread) -> int | None:
    """Samples or groups in all, likewise; None where seeds alone keep the difference from being told."""
    if not found.known or difference == 0:
        return None
    return _fewest(abs(difference), found.with_units)


#: Numbers of seeds or samples above this are as good as none.
_MOST = 1_000_000

#: Numbers that are tried, each a tenth above the one before.
_TRIED = sorted({min(_MOST, math.ceil(2 * 1.1**power)) for power in range(140)})


def _fewest(difference: float, at: Callable[[int], Spread]) -> int | None:
    """The smallest number from 2 on with which the difference is told."""

    def told(number: int) -> bool:
        return _told(at(number)) <= difference

    # Not all above it tell: with more samples, few seeds come to be what the spread is known by.
    first = next((place for place, number in enumerate(_TRIED) if told(number)), None)
    if first is None:
        return None
    below = _TRIED[first - 1] if first else 2
    return bisect.bisect_left(range(_TRIED[first] + 1), True, lo=below, key=told)


def _told(found: Spread) -> float:
    return (_t(found.degrees, 1 - LEVEL / 2) + _t(found.degrees, POWER)) * math.sqrt(found.variance)


def _t(degrees: float, share: float) -> float:
    # scipy.stats would cost a second of import for the same number.
    from scipy.special import stdtrit

    return float(stdtrit(degrees, share))
