"""Parts of a split: whole groups, every class, one part within the next."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny import CLASSES

from ferbench.data.split_cache import StoredSplit
from ferbench.data.subsets import _balanced_order, held_out, nested_part

FRACTIONS = (0.01, 0.1, 0.25, 0.5, 0.75, 0.99, 1.0)


def held_of(split: StoredSplit, share: Fraction = Fraction(15, 100)) -> NDArray[np.int64]:
    return held_out(split, np.arange(len(split.ids)), share)


def stored(groups: list[str] | None, names: list[str], seed: int = 0) -> StoredSplit:
    digests = tuple(f"{value:016x}" for value in np.random.default_rng(seed).integers(0, 2**60, len(names)))
    return StoredSplit(
        pixels=np.zeros(len(names), np.uint8),
        shapes=np.ones((len(names), 3), np.int64),
        class_names=tuple(names),
        ids=tuple(map(str, range(len(names)))),
        groups=None if groups is None else tuple(groups),
        digests=digests,
        pictures=digests,
        warnings=(),
    )


@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_films_are_parted_whole_neither_side_empty(sizes: list[int]) -> None:
    groups = [f"film{number}" for number, size in enumerate(sizes) for _ in range(size)]
    held = held_of(stored(groups, ["happy"] * len(groups)))
    chosen = {groups[index] for index in held}
    assert 0 < len(chosen) < len(sizes)
    assert len(held) == sum(groups.count(group) for group in chosen)
    # As near to 15 % as one film more or less allows, but where the smallest film is larger than that.
    assert abs(len(held) - 0.15 * len(groups)) <= max(sizes)


@given(counts=st.lists(st.integers(0, 40), min_size=2, max_size=7).filter(lambda counts: sum(counts) > 1))
@settings(max_examples=100, deadline=None)
def test_any_classes_are_parted_neither_side_empty(counts: list[int]) -> None:
    names = [CLASSES[number] for number, count in enumerate(counts) for _ in range(count)]
    held = held_of(stored(None, names))
    assert 0 < len(held) < len(names) and len(set(held.tolist())) == len(held)
    for number, count in enumerate(counts):
        own = sum(names[index] == CLASSES[number] for index in held)
        assert abs(own - 0.15 * count) <= 0.5 or (own == 1 and len(held) == 1)


def test_one_film_alone_is_parted_by_class() -> None:
    held = held_of(stored(["film"] * 40, ["happy"] * 20 + ["sad"] * 20))
    assert Counter(index // 20 for index in held.tolist()) == {0: 3, 1: 3}


def test_a_part_of_a_part_is_held_out_of_it_alone() -> None:
    split = stored(None, ["happy"] * 50 + ["sad"] * 50)
    first = held_of(split, Fraction(1, 5))
    rest = np.setdiff1d(np.arange(100), first)
    second = held_out(split, rest, Fraction(15, 100))
    assert len(first) == 20 and len(second) == 12 and not set(first.tolist()) & set(second.tolist())


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=200),
    films=st.none() | st.integers(1, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_parts_are_nested_and_of_about_their_size(labels: list[int], films: int | None, seed: int) -> None:
    drawn = np.random.default_rng(seed).integers(0, films or 1, len(labels))
    groups = None if films is None else [f"film {number}" for number in drawn]
    parts = [nested_part(labels, groups, fraction) for fraction in FRACTIONS]
    assert parts[-1] == list(range(len(labels))) and parts[0]
    for smaller, larger in itertools.pairwise(parts):
        assert set(smaller) <= set(larger)
        assert smaller == sorted(set(smaller))
    if groups is not None and len(set(groups)) > 1:
        largest = max(Counter(groups).values())
        for part, fraction in zip(parts, FRACTIONS, strict=True):
            within = {groups[index] for index in part}
            assert sorted(part) == [index for index, group in enumerate(groups) if group in within]
            assert abs(len(part) - fraction * len(labels)) <= largest
    else:
        for part, fraction in zip(parts, FRACTIONS, strict=True):
            for label, count in Counter(labels).items():
                own = sum(labels[index] == label for index in part)
                assert abs(own - fraction * count) <= 0.5 or own == 1


def test_without_groups_the_first_of_each_class_are_taken() -> None:
    labels = [0, 1, 0, 1, 0, 0, 1, 1, 0, 0]
    assert nested_part(labels, None, 0.5) == [0, 1, 2, 3, 4]
    assert nested_part(labels, None, 0.01) == [0, 1]


def test_films_that_keep_the_classes_balanced_come_first() -> None:
    # Two films of both classes, two of one class each; all of one size.
    labels = [0, 1, 0, 1, 0, 0, 1, 1]
    groups = ["both 1"] * 2 + ["both 2"] * 2 + ["angry"] * 2 + ["sad"] * 2
    assert nested_part(labels, groups, 0.5) == [0, 1, 2, 3]


def test_one_large_film_is_not_the_smallest_part() -> None:
    groups = ["long"] * 100 + [f"short {number // 5}" for number in range(100)]
    labels = [number % 2 for number in range(200)]
    part = nested_part(labels, groups, 0.1)
    assert len(part) == 20 and "long" not in {groups[index] for index in part}


def test_many_groups_of_one_are_nested_and_keep_their_classes() -> None:
    # Each person once, as in data of the web; 64 candidates are enough to keep the classes in step.
    labels = np.random.default_rng(3).choice(7, 20_000, p=[0.3, 0.25, 0.2, 0.1, 0.08, 0.05, 0.02]).tolist()
    groups = [f"person {number}" for number in range(len(labels))]
    parts = [set(nested_part(labels, groups, fraction)) for fraction in FRACTIONS]
    whole = Counter(labels)
    for smaller, larger in itertools.pairwise(parts):
        assert smaller < larger
    for part, fraction in zip(parts, FRACTIONS, strict=True):
        assert len(part) == round(fraction * len(labels))
        own = Counter(labels[index] for index in part)
        assert all(abs(own[label] - fraction * count) <= 20 for label, count in whole.items())


@given(counts=st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any), min_size=2, max_size=150))
@settings(max_examples=100, deadline=None)
def test_the_order_of_groups_is_that_of_its_rule(counts: list[list[int]]) -> None:
    table = [[Fraction(count) for count in row] for row in counts]
    whole = [sum(column) for column in zip(*table, strict=True)]
    share = [value / sum(whole) for value in whole]
    median = float(np.median([float(sum(row)) for row in table]))
    left, taken, expected = list(range(len(table))), [Fraction(0)] * 3, []
    while left:
        allowed = [row for row in left if sum(table[row]) <= max(median, sum(taken))] or left
        distances = []
        for row in allowed[:64]:
            joined = [one + other for one, other in zip(taken, table[row], strict=True)]
            distances.append((sum(abs(v / sum(joined) - s) for v, s in zip(joined, share, strict=True)), row))
        chosen = min(distances)[1]
        taken = [one + other for one, other in zip(taken, table[chosen], strict=True)]
        left.remove(chosen)
        expected.append(chosen)
    assert _balanced_order(np.array(counts)) == expected


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_the_order_of_groups_does_not_depend_on_names_in_the_list(fraction: float) -> None:
    labels = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    groups = ["a", "a", "a", "b", "b", "b", "c", "c", "c", "d", "d", "d"]
    turned = nested_part(labels[::-1], groups[::-1], fraction)
    assert {groups[::-1][i] for i in turned} == {groups[i] for i in nested_part(labels, groups, fraction)}
