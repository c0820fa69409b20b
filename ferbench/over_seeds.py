"""What seeds are put together to: one interval of their scores, one mean of what they cost. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ferbench.metrics import t_interval, wilson
from ferbench.records import Interval, Score


def interval_over_seeds(scores: Sequence[Score]) -> Interval:
    """Of one seed the run's own interval, of several Student's t, cut to what a fraction can be.

    A score without an interval of its own gets Wilson's, as if it were a share of its n samples.
    """
    if len(scores) == 1:
        (score,) = scores
        if score.low is not None and score.high is not None:
            return Interval(score.value, None, score.low, score.high, score.interval)
        return Interval(score.value, None, *wilson(score.value * score.n, score.n), "wilson")
    mean, sd, low, high = t_interval([score.value for score in scores])
    return Interval(mean, sd, max(0.0, low), min(1.0, high), "t")


def mean_over_seeds(values: Sequence[float | None]) -> float | None:
    """None where one of the seeds has none: a mean over some of them would be of other runs than its neighbours."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def interval_json(interval: Interval) -> dict[str, Any]:
    """An interval in JSON, wherever one is printed."""
    return {
        "mean": interval.mean,
        "sd": interval.sd,
        "low": interval.low,
        "high": interval.high,
        "interval": interval.kind,
    }
