"""Competitors over several boards: Friedman's test, Nemenyi's, and who can't be told apart (Demšar 2006, JMLR 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from ferbench.comparison.friedman import friedman_p
from ferbench.comparison.records import AcrossBoards
from ferbench.comparison.spread import LEVEL
from ferbench.errors import UsageError

#: Nemenyi's test is one of many boards: over fewer it tells apart what cannot be told.
FEWEST_BOARDS = 6


def across_boards(scores: Mapping[str, Mapping[str, float]], metric: str = "accuracy") -> AcrossBoards:
    """Competitors by their ranks on each board; equal scores share the mean of their ranks.

    Over fewer than FEWEST_BOARDS boards there are ranks and Friedman's p alone.

    scores : mean score of each competitor, where more is better, by board and by competitor

    Raises
    ------
    UsageError : fewer than two boards or two competitors, a board that lacks a competitor, a score that is no number
    """
    names = _checked(scores)
    from scipy.stats import rankdata

    table = np.array([[board[name] for name in names] for board in scores.values()])
    boards, count = table.shape
    ranks = rankdata(-table, axis=1)
    average = ranks.mean(axis=0)
    # Friedman's statistic corrected for ties; without ties it is the textbook's.
    spread = float((ranks**2).sum()) - boards * count * (count + 1) ** 2 / 4
    statistic = (
        boards**2 * (count - 1) * float(((average - (count + 1) / 2) ** 2).sum()) / spread if spread > 0 else 0.0
    )
    p, method = friedman_p(ranks, statistic)
    enough = boards >= FEWEST_BOARDS
    critical, pairs = _nemenyi(names, average.tolist(), boards) if enough else (None, ())
    return AcrossBoards(
        metric=metric,
        boards=boards,
        competitors=names,
        average_ranks=tuple(float(rank) for rank in average),
        friedman_statistic=statistic,
        friedman_p=p,
        critical_difference=critical,
        nemenyi=pairs,
        # Friedman's test comes first: where it tells nothing, nobody is told apart.
        groups=() if critical is None else _cliques(names, average.tolist(), critical if p < LEVEL else math.inf),
        friedman_method=method,
    )


def _nemenyi(
    names: Sequence[str], average: Sequence[float], boards: int
) -> tuple[float, tuple[tuple[str, str, float], ...]]:
    """The critical difference of average ranks, and p of each pair."""
    from scipy.stats import studentized_range

    count = len(names)
    error = math.sqrt(count * (count + 1) / (6 * boards))
    critical = float(studentized_range.ppf(1 - LEVEL, count, math.inf)) / math.sqrt(2) * error
    pairs = list(combinations(range(count), 2))
    gaps = np.array([abs(average[i] - average[j]) for i, j in pairs]) / error * math.sqrt(2)
    ps = np.clip(studentized_range.sf(gaps, count, math.inf), 0.0, 1.0)
    return critical, tuple((names[i], names[j], float(p)) for (i, j), p in zip(pairs, ps, strict=True))


def _checked(scores: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for board in scores.values() for name in board))
    if len(scores) < 2:
        raise UsageError("ranks over boards need at least two boards: compare the pairs of one board")
    if len(names) < 2:
        raise UsageError("ranks over boards need at least two rows to compare")
    for board, found in scores.items():
        missing = [name for name in names if name not in found]
        if missing:
            raise UsageError(f"board {board} has no score of {', '.join(missing)}: run it there, or leave either out")
        broken = [name for name in names if not math.isfinite(found[name])]
        if broken:
            raise UsageError(f"board {board} has a score of {broken[0]} that is no number: run it again with --force")
    return names


def _cliques(names: Sequence[str], ranks: Sequence[float], critical: float) -> tuple[tuple[str, ...], ...]:
    """Runs of neighbours by rank that lie within the critical difference and in no longer such run."""
    order = sorted(range(len(names)), key=lambda at: (ranks[at], at))
    found: list[tuple[str, ...]] = []
    reached = 0
    for start in range(len(order)):
        end = start
        while end < len(order) and ranks[order[end]] - ranks[order[start]] < critical:
            end += 1
        if end > reached:
            found.append(tuple(names[at] for at in order[start:end]))
            reached = end
    return tuple(found)
