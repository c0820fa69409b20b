"""The frozen records of a comparison: what is compared, and what came out of a pair and of several boards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


#: Stands in a competitor's keys for the seed of what has none, an ensemble over seeds; no outcome names it.
OVER_SEEDS = -1


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of one board, in its order.

    board : its fingerprint
    labels : int64 [n], each from 0 to classes - 1
    groups : film or person of each sample, or None
    """

    board: str
    labels: NDArray[np.int64]
    classes: int
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Competitor:
    """One row, or several rows that differ only in what is averaged over.

    name : how it is shown, such as ROW or `cascade`
    answers : probabilities float32 [n, C] by (block, seed), in the order of the board. The block is empty for a single
        row, else what rows of both sides are matched by, such as `vgg16 · random`; the seed is OVER_SEEDS for an
        ensemble over seeds
    stages : by the same keys, the chain's fingerprints, to tell what two competitors share
    """

    name: str
    rows: tuple[str, ...]
    answers: Mapping[tuple[str, int], NDArray[np.float32]]
    stages: Mapping[tuple[str, int], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Pair:
    """How a differs from b on one board, a minus b, as fractions.

    n : samples of the board
    groups : films or people that were drawn; None where samples were
    seeds : that were compared: those of both where `paired_seeds`, else those of either side; none of an ensemble over
        seeds
    seeds_a, seeds_b : those of each side; empty for an ensemble over seeds, which is one run
    seeds_known : whether each side has two seeds or more, so that anything is known of how seeds differ
    blocks : that were averaged over, empty for two single rows
    left_out : in words, seeds and blocks that were not compared
    paired_seeds : False where the two have no seed in common, and each side's seeds were taken by themselves
    metric : accuracy, uar or macro_f1
    value_a, value_b : means over the blocks and seeds that were compared
    difference, low, high : a minus b, and its 95 % interval
    p : two-sided, of no difference
    holm_p : p after Holm's correction for the pairs that were asked about together
    mcnemar_p : exact, of the majority votes over seeds; None for another metric than accuracy and for several blocks
    discordant : samples where the vote of a is right and that of b wrong, and the other way round; None likewise
    verdict : who is ahead, where holm_p is below 5 %
    shared_stages : stages that both have in each seed, fewest over the seeds
    stages : of a
    smallest_difference : that such a comparison would tell with a power of 80 %, the pair by itself, not corrected for
        others; 1 where none would
    seeds_needed : seeds in all with which a difference as large as the one seen would be told with a power of 80 %, the
        pair by itself. None where no number of them is enough on these samples, and where not `seeds_known`
    samples_needed : samples in all, likewise; None where no number of them is enough with these seeds
    error, degrees : standard error of the difference and its degrees of freedom; None where there is no spread to go by
    """

    a: str
    b: str
    board: str
    n: int
    groups: int | None
    seeds: tuple[int, ...]
    seeds_a: tuple[int, ...]
    seeds_b: tuple[int, ...]
    seeds_known: bool
    blocks: tuple[str, ...]
    left_out: tuple[str, ...]
    paired_seeds: bool
    metric: str
    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    p: float
    holm_p: float
    mcnemar_p: float | None
    discordant: tuple[int, int] | None
    verdict: Literal["a", "b", "undecided"]
    shared_stages: int
    stages: int
    smallest_difference: float
    seeds_needed: int | None
    samples_needed: int | None
    error: float | None = None
    degrees: float | None = None


@dataclass(frozen=True, slots=True)
class AcrossBoards:
    """Competitors ranked on each of several boards, and which of them that tells apart (Demšar 2006).

    average_ranks : of `competitors`, in their order; 1 is best
    friedman_statistic, friedman_p : of no difference between any of them; corrected for ties
    critical_difference : of two average ranks, by Nemenyi at 5 %; None over fewer than six boards
    nemenyi : first competitor, second, p; empty likewise
    groups : maximal sets whose average ranks lie within the critical difference, best first; sets of one included;
        all in one where Friedman's test tells nothing; empty likewise
    friedman_method : where friedman_p is from: all permutations of ranks within boards, drawn ones, or chi-squared
    """

    metric: str
    boards: int
    competitors: tuple[str, ...]
    average_ranks: tuple[float, ...]
    friedman_statistic: float
    friedman_p: float
    critical_difference: float | None
    nemenyi: tuple[tuple[str, str, float], ...]
    groups: tuple[tuple[str, ...], ...]
    friedman_method: Literal["exact", "permutation", "chi-squared"] = "chi-squared"
