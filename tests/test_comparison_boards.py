"""Ranks over boards against Demšar's published example, scipy, scikit-posthocs and autorank."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from ferbench.comparison import across_boards
from ferbench.errors import UsageError

NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")

#: AUC of four variants of C4.5 on 14 datasets: Demšar 2006 (JMLR 7), table 6. "voting" is ranked 2 and 3 there where
#: three digits are equal: the fourth is made up.
DEMSAR = {
    "adult": (0.763, 0.768, 0.771, 0.798),
    "breast cancer": (0.599, 0.591, 0.590, 0.569),
    "breast cancer wisconsin": (0.954, 0.971, 0.968, 0.967),
    "cmc": (0.628, 0.661, 0.654, 0.657),
    "ionosphere": (0.882, 0.888, 0.886, 0.898),
    "iris": (0.936, 0.931, 0.916, 0.931),
    "liver disorders": (0.661, 0.668, 0.609, 0.685),
    "lung cancer": (0.583, 0.583, 0.563, 0.625),
    "lymphography": (0.775, 0.838, 0.866, 0.875),
    "mushroom": (1.000, 1.000, 1.000, 1.000),
    "primary tumor": (0.940, 0.962, 0.965, 0.962),
    "rheum": (0.619, 0.666, 0.614, 0.669),
    "voting": (0.972, 0.981, 0.9751, 0.975),
    "wine": (0.957, 0.978, 0.946, 0.970),
}


def named(table, names=NAMES):
    return {board: dict(zip(names, row, strict=True)) for board, row in table.items()}


def test_demsars_example():
    found = across_boards(named(DEMSAR))
    assert (found.metric, found.boards, found.competitors) == ("accuracy", 14, NAMES)
    assert found.average_ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    # The paper's statistic, 9.28, is without the correction for ties.
    ranks = np.array(found.average_ranks)
    assert 12 * 14 / (4 * 5) * ((ranks**2).sum() - 4 * 25 / 4) == pytest.approx(9.28, abs=5e-3)
    expected = scipy.stats.friedmanchisquare(*np.array(list(DEMSAR.values())).T)
    assert found.friedman_statistic == pytest.approx(expected.statistic)
    # Chi-squared is only near to what is drawn from fourteen boards.
    assert (found.friedman_p, found.friedman_method) == (pytest.approx(expected.pvalue, abs=0.005), "permutation")
    assert found.friedman_p < 0.05
    # No two ranks are 1.25 apart, as the paper has it.
    assert found.groups == (("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"),)


@pytest.mark.parametrize(("boards", "count"), [(6, 2), (6, 3), (9, 6), (30, 5)])
def test_as_scikit_posthocs_and_scipy_have_it(boards, count):
    import scikit_posthocs

    rng = np.random.default_rng(boards)
    # Two digits make ties.
    table = (rng.random((boards, count)) + 0.15 * np.arange(count)).round(1 if count > 2 else 6)
    names = tuple("abcdef"[:count])
    found = across_boards(named(dict(zip(map(str, range(boards)), table, strict=True)), names))
    nemenyi = scikit_posthocs.posthoc_nemenyi_friedman(-table).to_numpy()
    for (a, b, p), (i, j) in zip(found.nemenyi, itertools.combinations(range(count), 2), strict=True):
        assert (a, b) == (names[i], names[j])
        assert p == pytest.approx(nemenyi[i, j], abs=1e-6)
    if count > 2:
        expected = scipy.stats.friedmanchisquare(*table.T)
        assert found.friedman_statistic == pytest.approx(expected.statistic)
        # From 30 boards on it is the same distribution; below, what that one only comes near to.
        assert found.friedman_p == pytest.approx(expected.pvalue, abs=1e-12 if boards == 30 else 0.03)
        assert found.friedman_method == {6: "exact", 9: "permutation", 30: "chi-squared"}[boards]
    # Nemenyi's p and the critical difference are one test.
    ranks = dict(zip(found.competitors, found.average_ranks, strict=True))
    for a, b, p in found.nemenyi:
        assert (p < 0.05) == (abs(ranks[a] - ranks[b]) > found.critical_difference)
        together = any(a in group and b in group for group in found.groups)
        assert together == (p >= 0.05 or found.friedman_p >= 0.05)


def test_as_autorank_has_it():
    import autorank
    import pandas

    table = np.random.default_rng(3).random((30, 5)) + 0.1 * np.arange(5)
    found = across_boards(named({str(i): row for i, row in enumerate(table)}, tuple("abcde")))
    expected = autorank.autorank(
        pandas.DataFrame(table, columns=list("abcde")), force_mode="nonparametric", order="descending"
    )
    assert found.critical_difference == pytest.approx(expected.cd, rel=1e-4)
    assert found.friedman_p == pytest.approx(expected.pvalue)
    ranks = expected.rankdf["meanrank"]
    assert found.average_ranks == pytest.approx([ranks[name] for name in "abcde"])


def test_groups_are_maximal_and_overlap():
    # Always in the same order: ranks 1 to 8 on 6 boards; neighbours up to 4 apart can't be told apart.
    names = tuple("abcdefgh")
    found = across_boards(named({str(i): range(8, 0, -1) for i in range(6)}, names))
    assert found.average_ranks == tuple(range(1, 9))
    assert found.friedman_statistic == pytest.approx(6 * 7)
    # Demšar's table 5 has q = 3.031 for eight.
    assert found.critical_difference == pytest.approx(3.031 * math.sqrt(8 * 9 / 36), abs=2e-3)
    assert found.groups == (tuple("abcde"), tuple("bcdef"), tuple("cdefg"), tuple("defgh"))
    apart = across_boards(named({str(i): (3, 2, 1) for i in range(60)}, ("x", "y", "z")), "uar")
    assert apart.groups == (("x",), ("y",), ("z",))
    assert apart.metric == "uar"


def test_all_alike_is_no_difference():
    found = across_boards(named({str(i): (i / 10, i / 10) for i in range(6)}, ("a", "b")))
    assert (found.average_ranks, found.friedman_statistic, found.friedman_p) == ((1.5, 1.5), 0.0, 1.0)
    assert found.nemenyi == (("a", "b", 1.0),)
    assert found.groups == (("a", "b"),)


@pytest.mark.parametrize("boards", [2, 5, 8, 20])
def test_two_competitors_are_a_sign_test(boards):
    for wins in {boards, boards - 1, boards // 2}:
        found = across_boards(named({str(i): (int(i < wins), int(i >= wins)) for i in range(boards)}, ("a", "b")))
        assert found.friedman_p == pytest.approx(scipy.stats.binomtest(wins, boards).pvalue)
        assert found.friedman_method == "exact"


def test_exact_p_counts_all_ways_to_deal_out_the_ranks():
    # Ties on two of the boards.
    ranks = np.array([(1, 2, 3), (1.5, 1.5, 3), (2, 1, 3), (1, 2.5, 2.5)])
    sums = [np.sum(deal, axis=0) for deal in itertools.product(*(list(itertools.permutations(row)) for row in ranks))]
    squares = np.array([((each - 8) ** 2).sum() for each in sums])
    found = across_boards(named({str(i): -row for i, row in enumerate(ranks)}, ("a", "b", "c")))
    assert found.friedman_p == pytest.approx(np.mean(squares >= ((ranks.sum(axis=0) - 8) ** 2).sum()))
    assert (len(sums), found.friedman_method) == (6**4, "exact")


def test_drawn_permutations_come_near_the_exact_p_and_are_the_same_every_time(monkeypatch):
    table = named({str(i): row for i, row in enumerate(np.random.default_rng(6).random((5, 4)))})
    exact = across_boards(table)
    monkeypatch.setattr("ferbench.comparison.friedman._COUNTED", 1)
    drawn = across_boards(table)
    assert (exact.friedman_method, drawn.friedman_method) == ("exact", "permutation")
    assert drawn.friedman_p == pytest.approx(exact.friedman_p, abs=0.006)
    assert across_boards(table) == drawn
    # What no draw comes up to has the smallest p that there is.
    clear = across_boards(named({str(i): range(9) for i in range(8)}, tuple("abcdefghi")))
    assert clear.friedman_p == pytest.approx(1 / 100_001)


def test_few_boards_tell_no_groups_apart():
    five, six = (across_boards(named({str(i): (2, 1) for i in range(n)}, ("a", "b"))) for n in (5, 6))
    assert five.friedman_p == pytest.approx(2 / 2**5)
    assert (five.average_ranks, five.critical_difference, five.nemenyi, five.groups) == ((1.0, 2.0), None, (), ())
    assert six.critical_difference is not None
    assert six.groups == (("a",), ("b",))
    # Seven of eight: Nemenyi's p is below 5 %, as normal numbers have it, and that of the sign test is not.
    eight = across_boards(named({str(i): (int(i > 0), int(i == 0)) for i in range(8)}, ("a", "b")))
    assert eight.friedman_p == pytest.approx(18 / 2**8)
    assert eight.nemenyi[0][2] < 0.05
    assert eight.groups == (("a", "b"),)


def test_what_cannot_be_ranked_is_said_in_one_line():
    for line, scores in [
        ("at least two boards", {"one": {"a": 0.1, "b": 0.2}}),
        ("at least two boards", {}),
        ("at least two rows", {"one": {"a": 0.1}, "two": {"a": 0.2}}),
        ("board two has no score of b", {"one": {"a": 0.1, "b": 0.2}, "two": {"a": 0.2}}),
        ("board two has a score of a that is no number", named({"one": (0, 1), "two": (math.nan, 1)}, ("a", "b"))),
    ]:
        with pytest.raises(UsageError, match=line):
            across_boards(scores)
