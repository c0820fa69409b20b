"""Paired statistics, pure: answers of several competitors to the same samples in, differences with intervals out."""

from ferbench.comparison.boards import FEWEST_BOARDS, across_boards
from ferbench.comparison.pairs import compare_pairs, holm
from ferbench.comparison.records import OVER_SEEDS, AcrossBoards, Competitor, Pair, Samples

__all__ = [
    "FEWEST_BOARDS",
    "OVER_SEEDS",
    "AcrossBoards",
    "Competitor",
    "Pair",
    "Samples",
    "across_boards",
    "compare_pairs",
    "holm",
]
