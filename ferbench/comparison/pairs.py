"""Every pair of competitors of one board: the difference, its interval, whether it holds, and what would tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ferbench.comparison.matching import Matched, match
from ferbench.comparison.records import OVER_SEEDS, Competitor, Pair, Samples
from ferbench.comparison.spread import LEVEL, Side, judged, seeds_needed, smallest_difference, spread, units_needed
from ferbench.errors import FerbenchError, UnknownName, UsageError
from ferbench.resampling import RESAMPLED, group_numbers, replicates, tally, values

#: Competitor, block and seed.
_Key = tuple[str, str, int]


def compare_pairs(
    samples: Samples,
    competitors: Sequence[Competitor],
    metric: str = "accuracy",
    draws: int = 10_000,
    against: str | None = None,
    *,
    corrected: bool = True,
) -> tuple[Pair, ...]:
    """Every competitor with every later one, or all others with `against`, which is then b.

    A hierarchical bootstrap over groups and seeds, crossed. Groups of samples, or samples where there are no groups or
    one alone, are drawn with replacement, one fewer than there are (Rao and Wu 1988), the same for all competitors and
    seeds. What drawn seeds add to the variance is summed exactly instead of drawn, and what samples and seeds make vary
    together is counted once (`spread.Spread.variance`). Interval and p are Student's t at the standard error so found,
    with Satterthwaite's degrees of freedom, so that few seeds or films are taken for the little that they tell; then
    comes Holm's correction over all pairs. Where groups show no spread at all, samples are drawn too, and what they
    tell holds where it is less. Blocks are fixed. One seed tells nothing of seeds: the interval is then of samples
    alone.

    Parameters
    ----------
    metric : accuracy, uar or macro_f1
    draws : at least 2
    corrected : False leaves Holm's correction to the caller, who has pairs of other boards too

    Raises
    ------
    FerbenchError : answers that do not fit the samples
    UsageError : fewer than two competitors, two of one name, none named `against`, another metric, nothing in common
    """
    _check(samples, competitors, metric, draws)
    if against is None:
        wanted = list(combinations(competitors, 2))
    else:
        by_name = {each.name: each for each in competitors}
        if against not in by_name:
            raise UnknownName("competitor", against, by_name)
        wanted = [(each, by_name[against]) for each in competitors if each.name != against]
    board = _Board(samples, competitors, metric, draws)
    found = tuple(board.pair(a, b) for a, b in wanted)
    return holm(found) if corrected else found


def holm(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The same pairs, corrected together for how many there are (Holm 1979); they may be of several boards."""
    corrected = [pair.p for pair in pairs]
    # One pair needs no correction, and no second of import.
    if len(pairs) > 1:
        from statsmodels.stats.multitest import multipletests

        corrected = multipletests(corrected, alpha=LEVEL, method="holm")[1]
    return tuple(
        replace(pair, holm_p=float(p), verdict=_verdict(pair.difference, float(p)))
        for pair, p in zip(pairs, corrected, strict=True)
    )


def _verdict(difference: float, p: float) -> Literal["a", "b", "undecided"]:
    if p >= LEVEL or difference == 0:
        return "undecided"
    return "a" if difference > 0 else "b"


def _check(samples: Samples, competitors: Sequence[Competitor], metric: str, draws: int) -> None:
    names = [each.name for each in competitors]
    if len(names) < 2:
        raise UsageError("a comparison needs at least two rows: name another one")
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{double} is named twice: a row is compared with others")
    if metric not in RESAMPLED:
        raise UnknownName("metric to compare by", metric, RESAMPLED)
    if draws < 2:
        raise UsageError(f"{draws} draws are too few to tell a spread: take 2 or more, 10,000 if in doubt")
    n, board = len(samples.labels), f"board {samples.board[:10]}"
    if n == 0:
        raise FerbenchError(f"{board} has no sample: check the split and the label set")
    if samples.groups is not None and len(samples.groups) != n:
        raise FerbenchError(f"{board} has {n} labels and the groups of {len(samples.groups)} samples: verify its rows")
    if samples.labels.min() < 0 or samples.labels.max() >= samples.classes:
        raise FerbenchError(f"{board} has a label outside its {samples.classes} classes: verify its rows")
    for each in competitors:
        if not each.answers:
            raise FerbenchError(f"{each.name} has no stored answers on {board}: run it again with --force")
        for (block, seed), found in each.answers.items():
            place = f"{each.name}{f' ({block})' if block else ''}, seed {seed}"
            if found.shape != (n, samples.classes):
                raise FerbenchError(
                    f"{place} has answers of shape {found.shape} for the {n} samples and {samples.classes} classes of "
                    f"{board}: only rows of one board are compared"
                )
            if not np.isfinite(found).all():
                raise FerbenchError(f"{place} has probabilities that are not finite: verify the row")


@dataclass(frozen=True, slots=True)
class _Drawn:
    """All runs' values: on all samples, float64 [R], and on each draw, float64 [draws, R]."""

    at: Mapping[_Key, int]
    observed: NDArray[np.float64]
    replicates: NDArray[np.float64]

    def side(self, competitor: Competitor, blocks: Sequence[str], seeds: Sequence[int]) -> Side:
        """By seed, means over blocks."""
        columns = [[self.at[competitor.name, block, seed] for seed in seeds] for block in blocks]
        observed = np.mean([self.observed[each] for each in columns], axis=0)
        # One block after another: all at once would be as large as the replicates themselves.
        drawn = np.zeros((len(self.replicates), len(seeds)))
        for each in columns:
            drawn += self.replicates[:, each]
        drawn /= len(columns)
        return Side(observed, drawn)


class _Board:
    """One board's competitors on the same draws."""

    def __init__(self, samples: Samples, competitors: Sequence[Competitor], metric: str, draws: int) -> None:
        self._samples, self._metric = samples, metric
        self._competitors, self._draws = competitors, draws
        self._ungrouped: _Board | None = None
        numbers, units = group_numbers(samples.groups, len(samples.labels))
        self._grouped = samples.groups is not None and units > 1
        if not self._grouped:
            numbers, units = group_numbers(None, len(samples.labels))
        self._units = units
        keys = [(each.name, *key) for each in competitors for key in each.answers]
        answers = np.stack([found.argmax(axis=1) for each in competitors for found in each.answers.values()])
        counted = tally(metric, samples.labels, answers, samples.classes, numbers, units)
        drawn = replicates(counted, draws) if units > 1 else np.empty((0, len(keys)))
        self._drawn = _Drawn({key: at for at, key in enumerate(keys)}, values(counted), drawn)

    def _sample_by_sample(self) -> _Board:
        if self._ungrouped is None:
            self._ungrouped = _Board(replace(self._samples, groups=None), self._competitors, self._metric, self._draws)
        return self._ungrouped

    def pair(self, a: Competitor, b: Competitor) -> Pair:
        """Not yet corrected for the number of pairs."""
        found = self._pair(a, b)
        if not self._grouped or found.error is not None:
            return found
        # Films that all hold as much of each class differ in nothing where answers are constant; their samples do.
        alone = self._sample_by_sample().pair(a, b)
        return alone if alone.p > found.p else found

    def _pair(self, a: Competitor, b: Competitor) -> Pair:
        matched = match(a, b)
        side_a = self._drawn.side(a, matched.blocks, matched.seeds_a)
        side_b = self._drawn.side(b, matched.blocks, matched.seeds_b)
        value_a, value_b = float(side_a.observed.mean()), float(side_b.observed.mean())
        if matched.paired:
            sides = [Side(side_a.observed - side_b.observed, side_a.drawn - side_b.drawn)]
        else:
            sides = [side_a, Side(-side_b.observed, -side_b.drawn)]
        found = spread(sides, self._units)
        difference = value_a - value_b
        low, high, p = judged(difference, found)
        discordant = self._discordant(a, b, matched)
        units = units_needed(difference, found)
        n = len(self._samples.labels)
        return Pair(
            a=a.name,
            b=b.name,
            board=self._samples.board,
            n=n,
            groups=self._units if self._grouped else None,
            seeds=_own_seeds({*matched.seeds_a, *matched.seeds_b}),
            seeds_a=_own_seeds(matched.seeds_a),
            seeds_b=_own_seeds(matched.seeds_b),
            seeds_known=found.seeds_known,
            blocks=() if matched.blocks == ("",) else matched.blocks,
            left_out=matched.left_out,
            paired_seeds=matched.paired,
            metric=self._metric,
            value_a=value_a,
            value_b=value_b,
            difference=difference,
            low=low,
            high=high,
            p=p,
            holm_p=p,
            mcnemar_p=None if discordant is None else mcnemar_p(*discordant),
            discordant=discordant,
            verdict=_verdict(difference, p),
            shared_stages=_shared_stages(a, b, matched),
            stages=max((len(chain) for chain in a.stages.values()), default=0),
            smallest_difference=smallest_difference(found),
            seeds_needed=seeds_needed(difference, found),
            samples_needed=None if units is None else -(-n * units // self._units),
            error=math.sqrt(found.variance) if found.known else None,
            degrees=found.degrees if found.known else None,
        )

    def _discordant(self, a: Competitor, b: Competitor, matched: Matched) -> tuple[int, int] | None:
        if self._metric != "accuracy" or len(matched.blocks) > 1:
            return None
        block = matched.blocks[0]
        right_a = majority([a.answers[block, seed] for seed in matched.seeds_a]) == self._samples.labels
        right_b = majority([b.answers[block, seed] for seed in matched.seeds_b]) == self._samples.labels
        return int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())


def _own_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(seeds) - {OVER_SEEDS}))


def majority(answers: Sequence[NDArray[np.float32]]) -> NDArray[np.int64]:
    """The class that most seeds take each sample for, int64 [n]; of as many, the one of the higher mean probability."""
    stacked = np.stack(answers).astype(np.float64)
    classes = stacked.shape[2]
    votes = np.eye(classes)[stacked.argmax(axis=2)].sum(axis=0)
    # A mean probability is at most 1, so that it never outweighs a vote.
    most: NDArray[np.int64] = (2 * votes + stacked.mean(axis=0)).argmax(axis=1)
    return most


def mcnemar_p(a_alone: int, b_alone: int) -> float:
    """McNemar's exact two-sided p of samples that a alone and b alone got right (McNemar 1947); 1 without any."""
    if a_alone + b_alone == 0:
        return 1.0
    from statsmodels.stats.contingency_tables import mcnemar

    return min(1.0, float(mcnemar([[0, a_alone], [b_alone, 0]], exact=True).pvalue))


def _shared_stages(a: Competitor, b: Competitor, matched: Matched) -> int:
    """Stages that the chains of both begin with, in each block and seed."""
    if not matched.paired:
        return 0
    return min(
        _common_start(a.stages.get((block, seed), ()), b.stages.get((block, seed), ()))
        for block in matched.blocks
        for seed in matched.seeds_a
    )


def _common_start(first: Sequence[str], second: Sequence[str]) -> int:
    same = [one == other for one, other in zip(first, second, strict=False)]
    return same.index(False) if False in same else len(same)
