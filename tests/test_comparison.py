"""Pairs on one board, against hand calculation, scipy, statsmodels, a literal crossed bootstrap, and simulation."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from ferbench.comparison import Competitor, Samples, compare_pairs, holm
from ferbench.comparison.pairs import majority, mcnemar_p
from ferbench.comparison.spread import Side, Spread, judged, seeds_needed, smallest_difference, spread, units_needed
from ferbench.errors import FerbenchError, UsageError
from ferbench.resampling import drawn_weights

MIRRORED = {"a": "b", "b": "a", "undecided": "undecided"}


def board(labels, groups=None, classes=2):
    return Samples("f" * 64, np.asarray(labels, dtype=np.int64), classes, groups)


def sure(answers, classes=2):
    return np.eye(classes, dtype=np.float32)[np.asarray(answers)]


def row(name, answers, classes=2, block="", stages=None):
    """answers : by seed, the class that each sample is taken for."""
    probabilities = {(block, seed): sure(given, classes) for seed, given in answers.items()}
    return Competitor(name, (name,), probabilities, stages or {key: (f"{name}{key}",) for key in probabilities})


def of_right(name, right):
    """A row on a board whose labels are all 0. right : bool [S, n]."""
    return row(name, {seed: (~np.asarray(each)).astype(int) for seed, each in enumerate(right)})


def noisy_rows(seed, n, names="abc", seeds=3, classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    rows = []
    for k, name in enumerate(names):
        answers = {
            s: np.where(rng.random(n) < 0.4 + 0.1 * k, labels, rng.integers(0, classes, n)) for s in range(seeds)
        }
        rows.append(row(name, answers, classes))
    return board(labels, classes=classes), rows


def test_one_seed_is_a_paired_t_test_over_samples():
    rng = np.random.default_rng(3)
    right_a, right_b = rng.random((1, 400)) < 0.6, rng.random((1, 400)) < 0.5
    (pair,) = compare_pairs(board(np.zeros(400)), [of_right("a", right_a), of_right("b", right_b)])
    expected = scipy.stats.ttest_rel(right_a[0].astype(float), right_b[0].astype(float))
    ends = expected.confidence_interval()
    assert pair.difference == pytest.approx(right_a.mean() - right_b.mean())
    assert (pair.value_a, pair.value_b) == pytest.approx((right_a.mean(), right_b.mean()))
    # The standard error is of 10,000 draws: good to a hundredth.
    assert (pair.low, pair.high) == pytest.approx((ends.low, ends.high), abs=0.03 * (ends.high - ends.low))
    assert pair.p == pytest.approx(expected.pvalue, rel=0.15)
    assert (pair.n, pair.groups, pair.seeds, pair.blocks, pair.left_out) == (400, None, (0,), (), ())
    assert pair.seeds_needed is None
    alone = (int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum()))
    assert pair.discordant == alone
    assert pair.mcnemar_p == pytest.approx(scipy.stats.binomtest(alone[0], sum(alone)).pvalue)
    assert pair.holm_p == pair.p


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (0, 6), (3, 11), (5, 5), (120, 90)])
def test_mcnemar_is_a_binomial_test_of_the_discordant(one, other):
    expected = scipy.stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar_p(one, other) == pytest.approx(expected)
    # By hand: 3 or fewer of 14, and as far on the other side.
    if (one, other) == (3, 11):
        assert expected == pytest.approx(2 * (1 + 14 + 91 + 364) / 2**14)


def test_a_film_counts_once_however_many_pictures_it_has():
    # 12 films of 20 pictures; in each, a and b answer all pictures alike.
    rng = np.random.default_rng(0)
    film_a, film_b = rng.random(12) < 0.7, rng.random(12) < 0.4
    a, b = of_right("a", [np.repeat(film_a, 20)]), of_right("b", [np.repeat(film_b, 20)])
    films = tuple(f"film {i // 20}" for i in range(240))
    (pair,) = compare_pairs(board(np.zeros(240), films), [a, b])
    expected = scipy.stats.ttest_rel(film_a.astype(float), film_b.astype(float))
    assert (pair.groups, pair.n) == (12, 240)
    assert pair.p == pytest.approx(expected.pvalue, rel=0.1)
    ends = expected.confidence_interval()
    assert (pair.low, pair.high) == pytest.approx((ends.low, ends.high), rel=0.06, abs=0.02)
    # All in one film: films can't be drawn, pictures are.
    (pair,) = compare_pairs(board(np.zeros(240), ("film",) * 240), [a, b])
    assert pair.groups is None
    assert pair.p < expected.pvalue


def test_two_films_say_little():
    right = [np.arange(40) % 20 < 18]
    (pair,) = compare_pairs(
        board(np.zeros(40), ("f",) * 20 + ("g",) * 20), [of_right("a", right), of_right("b", [np.arange(40) < 21])]
    )
    # Film f: 18 and 20 of 20; film g: 18 and 1. One degree of freedom.
    expected = scipy.stats.ttest_1samp([-0.1, 0.85], 0)
    assert pair.groups == 2
    assert pair.p == pytest.approx(expected.pvalue, rel=0.05)
    assert (pair.low, pair.high) == (-1.0, 1.0)


def test_seeds_alone_are_a_t_test_over_seeds():
    # b is always wrong; a is right on the first so many pictures of each of 40 films that are all alike.
    seeds = (3, 5, 4, 8)
    right = [np.tile(np.arange(10) < share, 40) for share in seeds]
    films = tuple(f"film {i // 10}" for i in range(400))
    (pair,) = compare_pairs(
        board(np.zeros(400), films), [of_right("a", right), of_right("b", np.zeros((4, 400), dtype=bool))]
    )
    expected = scipy.stats.ttest_1samp(np.array(seeds) / 10, 0)
    assert pair.p == pytest.approx(expected.pvalue)
    assert (pair.low, pair.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert pair.verdict == "a"
    assert pair.samples_needed is not None


def test_samples_and_seeds_add_up_by_hand():
    # Differences of two seeds on three films, without noise of draws: films' means 1, 4, 7 (over 10); seeds' 3 and 5.
    differences = np.array([[0.0, 3.0, 6.0], [2.0, 5.0, 8.0]]) / 10
    drawn = np.array(list(itertools.product(range(3), repeat=2)))
    sides = [Side(differences.mean(axis=1), differences[:, drawn].mean(axis=2).T)]
    found = spread(sides, 3)
    # Of 9 equally likely draws of 2 of 3 films, ddof 1: the films' variance 0.09 over 3, times 9 / 8.
    assert found.over_samples == pytest.approx(0.09 / 3 * 9 / 8)
    assert found.over_seeds == pytest.approx(0.02 / 2)
    assert found.both == pytest.approx(0, abs=1e-15)
    assert found.variance == pytest.approx(0.03375 + 0.01)
    assert found.degrees == pytest.approx(0.04375**2 / (0.03375**2 / 2 + 0.01**2 / 1))
    low, high, p = judged(0.4, found)
    error, critical = math.sqrt(0.04375), scipy.stats.t.ppf(0.975, found.degrees)
    assert (low, high) == pytest.approx((max(-1, 0.4 - critical * error), min(1, 0.4 + critical * error)))
    assert p == pytest.approx(2 * scipy.stats.t.sf(0.4 / error, found.degrees))


def test_the_variance_is_a_crossed_bootstraps_less_what_that_counts_twice_too_often():
    rng = np.random.default_rng(5)
    count, seeds, draws = 150, 4, 20_000
    differences = rng.normal(0.02, 0.03, (seeds, 1)) + rng.normal(0, 0.4, count) + rng.normal(0, 0.6, (seeds, count))
    weights = np.concatenate(list(drawn_weights(count, count - 1, draws))).astype(float)
    drawn = weights @ differences.T / (count - 1)
    found = spread([Side(differences.mean(axis=1), drawn)], count)
    picks = rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=draws) / (seeds - 1)
    literal = (picks * drawn).sum(axis=1).var(ddof=1)
    assert literal - 2 * found.both == pytest.approx(found.variance, rel=0.05)
    # Two-way analysis of variance, from its mean squares.
    residual = differences - differences.mean(axis=0) - differences.mean(axis=1, keepdims=True) + differences.mean()
    between_both = (residual**2).sum() / ((seeds - 1) * (count - 1))
    assert found.both == pytest.approx(between_both / (seeds * count), rel=0.05)
    mean_squares = seeds * differences.mean(axis=0).var(ddof=1) + count * differences.mean(axis=1).var(ddof=1)
    assert found.variance == pytest.approx((mean_squares - between_both) / (seeds * count), rel=0.04)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Latent normal answers with a seed's, a sample's and a free part, so that the true difference is known."""
    rng = np.random.default_rng(8)
    n, seeds, simulated = 300, 3, 300
    mean_a, mean_b, of_seed, of_sample = 0.25, 0.0, 0.12, 0.6
    sd = math.sqrt(1 + of_seed**2 + of_sample**2 + 1)
    truth = float(np.diff(scipy.stats.norm.cdf([mean_b / sd, mean_a / sd]))[0])
    samples, inside, widths = board(np.zeros(n)), 0, []
    for _ in range(simulated):
        common = rng.normal(size=n)
        rows = [
            of_right(
                name,
                common
                + mean
                + rng.normal(0, of_seed, (seeds, 1))
                + rng.normal(0, of_sample, n)
                + rng.normal(0, 1, (seeds, n))
                > 0,
            )
            for name, mean in (("a", mean_a), ("b", mean_b))
        ]
        (pair,) = compare_pairs(samples, rows, draws=300)
        inside += pair.low <= truth <= pair.high
        widths.append(pair.high - pair.low)
    assert 0.90 <= inside / simulated <= 0.98
    assert np.median(widths) < 0.3


def test_power_by_hand_and_by_simulation():
    # Samples alone, many degrees of freedom: (1.96 + 0.84) standard errors.
    found = Spread(over_samples=0.0004, over_seeds=0.0, both=0.0, units=4000, seeds=1, seeds_known=False)
    assert smallest_difference(found) == pytest.approx((1.95996 + 0.84162) * 0.02, rel=1e-3)
    assert units_needed(0.02, found) == pytest.approx(4000 * ((1.95996 + 0.84162) * 0.02 / 0.02) ** 2, rel=1e-3)
    assert seeds_needed(0.02, found) is None
    # A paired t test with that many samples finds the difference in 80 % of cases.
    rng = np.random.default_rng(0)
    number = units_needed(0.5, Spread(1 / 20, 0.0, 0.0, 20, 1, False))
    p = scipy.stats.ttest_1samp(rng.normal(0.5, 1, (4000, number)), 0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_what_more_seeds_or_more_samples_alone_would_never_tell():
    half = Spread(over_samples=0.0002, over_seeds=0.0002, both=0.0001, units=1000, seeds=5, seeds_known=True)
    # In the limit of seeds, the samples' own 0.0001 stays: 2.8 * 0.01.
    assert seeds_needed(0.0279, half) is None
    enough = seeds_needed(0.029, half)
    assert enough is not None
    for number, told in ((enough, True), (enough - 1, False)):
        assert (smallest_difference(half.with_seeds(number)) <= 0.029) is told
    # In the limit of samples, the seeds' own 0.0001 stays, known by 4 degrees of freedom.
    critical = scipy.stats.t.ppf(0.975, 4) + scipy.stats.t.ppf(0.8, 4)
    assert units_needed(0.9 * critical * 0.01, half) is None
    enough = units_needed(1.05 * critical * 0.01, half)
    assert smallest_difference(half.with_units(enough)) <= 1.05 * critical * 0.01
    assert smallest_difference(half.with_units(enough - 1)) > 1.05 * critical * 0.01
    assert half.with_units(2000).variance == pytest.approx(0.0001 + 0.0001 / 2 + 0.0001 / 2)
    assert half.with_seeds(10).variance == pytest.approx(0.0001 + 0.0001 / 2 + 0.0001 / 2)


def test_samples_needed_is_told_in_pictures_where_films_are_drawn():
    samples, rows = noisy_rows(1, 120, "ab")
    (pictures,) = compare_pairs(samples, rows)
    (films,) = compare_pairs(replace(samples, groups=tuple(f"f{i // 3}" for i in range(120))), rows)
    assert films.groups == 40
    assert films.samples_needed % 3 == 0
    assert pictures.samples_needed > 1
    assert pictures.smallest_difference == pytest.approx(films.smallest_difference, rel=0.5)


@pytest.mark.parametrize("metric", ["accuracy", "uar", "macro_f1"])
def test_identical_answers_are_no_difference_and_no_certainty(metric):
    samples, (first, second) = noisy_rows(2, 100, "ab")
    (pair,) = compare_pairs(samples, [first, replace(second, answers=first.answers)], metric)
    assert (pair.difference, pair.p, pair.holm_p, pair.verdict) == (0.0, 1.0, 1.0, "undecided")
    # Wilson's bound of none in 100: 1.96 ** 2 / (100 + 1.96 ** 2).
    assert (pair.low, pair.high) == pytest.approx((-0.037, 0.037), abs=1e-3)
    assert (pair.seeds_needed, pair.samples_needed) == (None, None)
    if metric == "accuracy":
        assert (pair.discordant, pair.mcnemar_p) == ((0, 0), 1.0)
    else:
        assert (pair.discordant, pair.mcnemar_p) == (None, None)


@pytest.mark.parametrize("n", [1, 4, 30])
def test_right_everywhere_against_wrong_everywhere_is_as_certain_as_n_allows(n):
    right = np.ones((2, n), dtype=bool)
    pairs = compare_pairs(board(np.zeros(n)), [of_right("a", right), of_right("b", ~right)])
    pairs += compare_pairs(board(np.zeros(n)), [of_right("b", ~right), of_right("a", right)])
    assert [pair.difference for pair in pairs] == [1.0, -1.0]
    assert [pair.p for pair in pairs] == [min(1.0, 2 * 0.5**n)] * 2
    assert [pair.p for pair in pairs] == [pair.mcnemar_p for pair in pairs]
    assert [pair.verdict for pair in pairs] == (["a", "b"] if n == 30 else ["undecided"] * 2)
    low = -1.0 if n == 1 else scipy.stats.binomtest(n, n).proportion_ci(method="wilson").low
    assert (pairs[0].low, pairs[0].high) == pytest.approx((low, 1.0))
    assert (pairs[1].low, pairs[1].high) == pytest.approx((-1.0, -low))


def test_films_that_all_differ_by_the_same_are_no_certainty():
    # 0.7 - 0.4 in each of three films; rounding must not pass for a spread.
    a, b = (of_right(name, [np.tile(np.arange(10) < share, 3)]) for name, share in (("a", 7), ("b", 4)))
    (pair,) = compare_pairs(board(np.zeros(30), tuple(f"f{i // 10}" for i in range(30))), [a, b])
    assert pair.p == 2 * 0.5**3
    assert 0 < pair.low < 0.3 < pair.high
    assert pair.verdict == "undecided"


def test_constant_answers_on_films_of_equal_classes_are_no_certainty():
    # One says 0 and the other 1 of 12 films with 4 and 3 of each: every film differs by the same.
    labels = np.tile([0, 0, 0, 0, 1, 1, 1, 2], 12)
    films = tuple(f"f{i // 8}" for i in range(96))
    sides = [row(name, {0: np.full(96, answer)}, classes=3) for name, answer in (("a", 0), ("b", 1))]
    (pair,) = compare_pairs(board(labels, films, classes=3), sides)
    assert pair.difference == pytest.approx(1 / 8) and pair.verdict == "undecided"
    d = (labels == 0).astype(float) - (labels == 1)
    assert pair.error == pytest.approx(d.std(ddof=1) / np.sqrt(96), rel=0.03) and pair.groups is None


def test_seeds_are_paired_where_both_have_them():
    samples, (first, second) = noisy_rows(4, 80, "ab", seeds=4)
    less = replace(second, answers={key: found for key, found in second.answers.items() if key[1] in (1, 3)})
    (pair,) = compare_pairs(samples, [first, less])
    assert (pair.seeds, pair.paired_seeds, pair.left_out) == ((1, 3), True, ("a: seeds 0, 2",))
    right = [first.answers["", seed].argmax(axis=1) == samples.labels for seed in (1, 3)]
    assert pair.value_a == pytest.approx(np.mean(right))


def test_seeds_that_none_shares_are_taken_by_themselves():
    samples, (first, second) = noisy_rows(4, 200, "ab", seeds=3)
    others = {("", seed + 10): found for (_, seed), found in second.answers.items()}
    other = replace(second, answers=others, stages=dict.fromkeys(others, ("x",)))
    (pair,), (mirrored,) = compare_pairs(samples, [first, other]), compare_pairs(samples, [other, first])
    assert (pair.paired_seeds, pair.seeds, pair.shared_stages) == (False, (0, 1, 2, 10, 11, 12), 0)
    assert (pair.difference, pair.low, pair.high, pair.p) == pytest.approx(
        (-mirrored.difference, -mirrored.high, -mirrored.low, mirrored.p)
    )
    by_seed = [
        [float((each.answers[key].argmax(axis=1) == samples.labels).mean()) for key in each.answers]
        for each in (first, other)
    ]
    assert pair.difference == pytest.approx(np.mean(by_seed[0]) - np.mean(by_seed[1]))
    # Never surer than the seeds of either side by themselves allow.
    assert (pair.high - pair.low) / 2 > 1.96 * math.sqrt(sum(np.var(each, ddof=1) / 3 for each in by_seed))
    # One seed on each side: nothing is known of seeds.
    single = [replace(each, answers=dict([next(iter(each.answers.items()))])) for each in (first, other)]
    (pair,) = compare_pairs(samples, single)
    assert (pair.paired_seeds, pair.seeds, pair.seeds_needed) == (False, (0, 10), None)


def test_blocks_are_matched_and_averaged_and_what_has_no_match_is_named():
    samples, (a1, a2, b1, b2) = noisy_rows(6, 90, "abcd", seeds=3)

    def over(name, **blocks):
        answers = {(block, seed): found for block, each in blocks.items() for (_, seed), found in each.answers.items()}
        return Competitor(name, tuple(blocks), answers, dict.fromkeys(answers, ("s", name)))

    cascade, single = over("cascade", vgg16=a1, alexnet=a2, resnet=a1), over("single-stage", vgg16=b1, alexnet=b2)
    (pair,) = compare_pairs(samples, [cascade, single])
    assert (pair.blocks, pair.seeds) == (("alexnet", "vgg16"), (0, 1, 2))
    assert pair.left_out == ("cascade: resnet",)
    assert (pair.mcnemar_p, pair.discordant) == (None, None)
    right = [np.mean(found.argmax(axis=1) == samples.labels) for each in (a1, a2) for found in each.answers.values()]
    assert pair.value_a == pytest.approx(np.mean(right))
    assert (pair.shared_stages, pair.stages) == (1, 2)

    # One block with a single seed does not cost the others theirs.
    del cascade.answers["alexnet", 1], cascade.answers["alexnet", 2]
    (pair,) = compare_pairs(samples, [cascade, single])
    assert (pair.blocks, pair.seeds) == (("vgg16",), (0, 1, 2))
    assert pair.left_out == ("cascade: alexnet, resnet", "single-stage: alexnet")
    with pytest.raises(UsageError, match="x and y have nothing in common"):
        compare_pairs(samples, [over("x", vgg16=a1), over("y", alexnet=a2)])


def test_shared_stages_are_the_fewest_over_seeds():
    samples, (first, second) = noisy_rows(7, 30, "ab", seeds=2)
    first = replace(first, stages={("", 0): ("p", "q", "r"), ("", 1): ("p", "q", "r")})
    second = replace(second, stages={("", 0): ("p", "q", "x"), ("", 1): ("p", "y")})
    (pair,) = compare_pairs(samples, [first, second])
    assert (pair.shared_stages, pair.stages) == (1, 3)


def test_the_majority_is_of_votes_then_of_probabilities():
    answers = np.array([[[0.4, 0.3, 0.3]], [[0.35, 0.34, 0.31]], [[0.0, 0.0, 1.0]]], dtype=np.float32)
    assert majority(list(answers)).tolist() == [0]
    assert majority(list(answers[1:])).tolist() == [2]
    assert majority(list(answers[:1])).tolist() == [0]


def test_holm_by_hand_and_as_statsmodels_has_it():
    samples, rows = noisy_rows(10, 150, "abcd")
    pairs = compare_pairs(samples, rows)
    assert [(pair.a, pair.b) for pair in pairs] == list(itertools.combinations("abcd", 2))
    given_p = [pair.p for pair in pairs]
    assert [pair.holm_p for pair in pairs] == pytest.approx(list(multipletests(given_p, method="holm")[1]))
    assert [pair.holm_p for pair in pairs] == pytest.approx(holm_by_hand(given_p))
    assert all(pair.verdict == "undecided" for pair in pairs if pair.holm_p >= 0.05)

    made = [replace(pairs[0], p=p, difference=-0.1) for p in (0.01, 0.02, 0.04)]
    assert [pair.holm_p for pair in holm(made)] == pytest.approx([0.03, 0.04, 0.04])
    assert [pair.verdict for pair in holm(made)] == ["b"] * 3
    assert holm([]) == ()
    (alone,) = holm([made[2]])
    assert (alone.holm_p, alone.verdict) == (0.04, "b")


def holm_by_hand(given_p):
    corrected, highest = [0.0] * len(given_p), 0.0
    for rank, at in enumerate(sorted(range(len(given_p)), key=lambda at: given_p[at])):
        highest = max(highest, min(1.0, (len(given_p) - rank) * given_p[at]))
        corrected[at] = highest
    return corrected


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_never_below_p_and_keeps_its_order(given_p):
    samples, rows = noisy_rows(11, 12, "ab", seeds=1)
    (pair,) = compare_pairs(samples, rows, draws=2)
    corrected = [each.holm_p for each in holm([replace(pair, p=p) for p in given_p])]
    assert corrected == pytest.approx(holm_by_hand(given_p))
    assert all(p <= q <= 1 for p, q in zip(given_p, corrected, strict=True))
    order = sorted(range(len(given_p)), key=lambda at: given_p[at])
    assert [corrected[at] for at in order] == sorted(corrected)


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.sampled_from(["accuracy", "uar", "macro_f1"]),
    st.sampled_from([None, 1, 2, 5]),
    st.integers(1, 3),
)
def test_a_pair_turned_round_and_rows_in_another_order_say_the_same(seed, n, metric, films, seeds):
    samples, rows = noisy_rows(seed, n, seeds=seeds)
    if films:
        samples = replace(samples, groups=tuple(f"film {i % films}" for i in range(n)))
    pairs = {(pair.a, pair.b): pair for pair in compare_pairs(samples, rows, metric, draws=50)}
    turned = {(pair.a, pair.b): pair for pair in compare_pairs(samples, rows[::-1], metric, draws=50)}
    for (a, b), pair in pairs.items():
        other = turned[b, a]
        assert (pair.value_a, pair.value_b) == (other.value_b, other.value_a)
        assert (pair.difference, pair.low, pair.high) == (-other.difference, -other.high, -other.low)
        assert (pair.p, pair.holm_p, pair.mcnemar_p) == (other.p, other.holm_p, other.mcnemar_p)
        assert (pair.smallest_difference, pair.seeds_needed, pair.samples_needed) == (
            other.smallest_difference,
            other.seeds_needed,
            other.samples_needed,
        )
        assert pair.verdict == MIRRORED[other.verdict]
        assert -1 <= pair.low <= pair.difference <= pair.high <= 1
        assert 0 <= pair.p <= pair.holm_p <= 1
        # Who else is compared matters to the correction alone.
        (alone,) = compare_pairs(samples, [each for each in rows if each.name in (a, b)], metric, draws=50)
        assert replace(alone, holm_p=pair.holm_p, verdict=pair.verdict) == pair


def test_the_order_of_samples_matters_no_more_than_the_draws():
    samples, rows = noisy_rows(12, 300, "ab")
    order = np.random.default_rng(0).permutation(300)
    mixed = [replace(each, answers={key: found[order] for key, found in each.answers.items()}) for each in rows]
    (pair,), (other,) = (
        compare_pairs(samples, rows),
        compare_pairs(replace(samples, labels=samples.labels[order]), mixed),
    )
    assert other.difference == pytest.approx(pair.difference)
    assert (other.low, other.high) == pytest.approx((pair.low, pair.high), abs=0.03 * (pair.high - pair.low))
    # Films go by their names: there the order changes nothing at all.
    films = np.array([f"film {i % 17}" for i in range(300)])
    (pair,) = compare_pairs(replace(samples, groups=tuple(films)), rows)
    (other,) = compare_pairs(replace(samples, labels=samples.labels[order], groups=tuple(films[order])), mixed)
    assert other == pair


def test_all_against_one():
    samples, rows = noisy_rows(13, 60, "abcd")
    pairs = compare_pairs(samples, rows, against="c", draws=50)
    assert [(pair.a, pair.b) for pair in pairs] == [("a", "c"), ("b", "c"), ("d", "c")]
    assert [pair.holm_p for pair in pairs] == pytest.approx(holm_by_hand([pair.p for pair in pairs]))
    with pytest.raises(UsageError, match="no competitor named 'cc': did you mean c"):
        compare_pairs(samples, rows, against="cc")


def test_what_cannot_be_compared_is_said_in_one_line():
    samples, rows = noisy_rows(14, 20, "ab")
    a, b = rows
    refused = [
        (UsageError, "at least two rows", samples, [a], {}),
        (UsageError, "a is named twice", samples, [a, a], {}),
        (UsageError, "no metric to compare by named 'nll'", samples, rows, {"metric": "nll"}),
        (UsageError, "1 draws are too few", samples, rows, {"draws": 1}),
        (FerbenchError, "has no sample", board([], classes=4), rows, {}),
        (FerbenchError, "20 labels and the groups of 2 samples", replace(samples, groups=("f", "g")), rows, {}),
        (FerbenchError, "a label outside its 2 classes", replace(samples, classes=2), rows, {}),
        (FerbenchError, "b has no stored answers on board ffffffffff", samples, [a, replace(b, answers={})], {}),
        (
            FerbenchError,
            r"b, seed 0 has answers of shape \(19, 4\) for the 20 samples and 4 classes of board ffffffffff",
            samples,
            [a, replace(b, answers={key: found[1:] for key, found in b.answers.items()})],
            {},
        ),
        (
            FerbenchError,
            r"b \(vgg16\), seed 1 has probabilities that are not finite",
            samples,
            [a, replace(b, answers={("vgg16", 1): np.full((20, 4), math.nan, dtype=np.float32)})],
            {},
        ),
    ]
    for kind, line, given_samples, given_rows, options in refused:
        with pytest.raises(kind, match=line) as error:
            compare_pairs(given_samples, given_rows, **options)
        assert error.value.line == str(error.value)
