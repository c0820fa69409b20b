"""The p of Friedman's test: exact where that can be counted, drawn where it cannot, chi-squared from many boards on."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: How a p was come by.
Method = Literal["exact", "permutation", "chi-squared"]

#: From so many boards on, the statistic is taken to be distributed as chi-squared.
_MANY = 30

#: Sums of ranks that are counted at once, at most.
_COUNTED = 200_000

#: Permutations that are drawn where they cannot be counted; the smallest p is one in one more.
_DRAWS = 100_000

#: Where every draw begins.
_SEED = 20060131


def friedman_p(ranks: NDArray[np.float64], statistic: float) -> tuple[float, Method]:
    """How likely a statistic at least as large is, were each board's ranks dealt out by chance.

    Parameters
    ----------
    ranks : float64 [boards, competitors], equal scores sharing the mean of their ranks
    statistic : Friedman's, corrected for ties
    """
    from scipy.stats import chi2

    boards, count = ranks.shape
    # Twice a rank is a whole number, ties included, so that equal statistics are equal. Those of a board are about 0.
    whole = np.rint(2 * ranks).astype(np.int64) - (count + 1)
    if not whole.any():
        return 1.0, "exact"
    if boards < _MANY:
        exact = _exact(whole)
        return (exact, "exact") if exact is not None else (_drawn(whole), "permutation")
    return float(chi2.sf(statistic, count - 1)), "chi-squared"


def _exact(whole: NDArray[np.int64]) -> float | None:
    """Of all ways to deal out each board's ranks; None where they are too many.

    Boards come one after the other. What the sums of ranks may be so far is counted but for their order, which the next
    board, dealt out by chance, makes no difference to: nor does it to the statistic, which goes by the sum of squares.
    """
    count = whole.shape[1]
    ways = math.factorial(count)
    if ways > _COUNTED:
        return None
    orders = np.array(list(permutations(range(count))))
    sums = np.sort(whole[:1], axis=1)
    shares: NDArray[np.float64] = np.ones(1)
    for board in whole[1:]:
        if len(sums) * ways > _COUNTED:
            return None
        dealt = np.sort((sums[:, None, :] + board[orders]).reshape(-1, count), axis=1)
        sums, where = np.unique(dealt, axis=0, return_inverse=True)
        shares = np.bincount(where.ravel(), weights=np.repeat(shares / ways, ways)).astype(np.float64)
    return min(1.0, math.fsum(shares[(sums**2).sum(axis=1) >= (whole.sum(axis=0) ** 2).sum()]))


def _drawn(whole: NDArray[np.int64]) -> float:
    """Of ways that are drawn, the one that was seen among them (Phipson and Smyth 2010)."""
    # A generator whose numbers are promised never to change.
    stream = np.random.RandomState(_SEED)
    seen, more, some = (whole.sum(axis=0) ** 2).sum(), 0, _DRAWS // 10
    for _ in range(0, _DRAWS, some):
        sums = np.zeros((some, whole.shape[1]), dtype=np.int64)
        for board in whole:
            sums += board[stream.random_sample(sums.shape).argsort(axis=1)]
        more += int(((sums**2).sum(axis=1) >= seen).sum())
    return (1 + more) / (1 + _DRAWS)
