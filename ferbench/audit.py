"""What a copy of a dataset holds: sizes, balance, groups, and what is in it twice. Nothing is read or changed here.

Pictures are the same if they have the same shape and the same pixels, as `data.split_cache` keeps them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ferbench.data.split_cache import StoredSplit


@dataclass(frozen=True, slots=True)
class Sizes:
    """Pictures of one split; each size is width and height in pixels, ordered by area.

    distinct : how many sizes there are
    grey, coloured : how many pictures have one channel and how many have three
    """

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    distinct: int
    grey: int
    coloured: int


@dataclass(frozen=True, slots=True)
class Balance:
    """How evenly the classes are filled.

    largest, smallest : the classes with the most and the fewest samples, the first of several
    largest_share : of all samples, 0 to 1
    imbalance : the largest class over the smallest; None where a class is empty
    empty : classes without a sample
    """

    largest: str
    largest_share: float
    smallest: str
    imbalance: float | None
    empty: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """How many films or subjects there are, and the one with the most samples."""

    number: int
    largest: str
    largest_count: int


@dataclass(frozen=True, slots=True)
class Place:
    """A sample, or a group, of one split; `label` is the sample's class where that matters. Its `str` is SPLIT:NAME."""

    split: str
    name: str
    label: str = ""

    def __str__(self) -> str:
        return f"{self.split}:{self.name}"


Pair = tuple[Place, Place]


@dataclass(frozen=True, slots=True)
class Overlaps:
    """What is in a dataset more than once.

    copies : samples whose picture another sample of the dataset has already; less them, each picture is there once
    exact : within a split: the first sample of a picture, and each further one; so many are copies
    across_splits : for two splits: the first sample of a picture in the earlier one, and each in the later
    label_conflicts : the first labelled sample of a picture, and each of another class, in whatever split
    groups_across_splits : a group in two splits, once for each two
    """

    copies: int
    exact: tuple[Pair, ...]
    across_splits: tuple[Pair, ...]
    label_conflicts: tuple[Pair, ...]
    groups_across_splits: tuple[Pair, ...]

    @property
    def any(self) -> bool:
        return bool(self.copies or self.groups_across_splits)


def sizes_of(stored: StoredSplit) -> Sizes:
    """The sizes of a split with at least one picture."""
    sizes = sorted((height * width, width, height) for height, width, _ in stored.shapes.tolist())
    coloured = int(np.count_nonzero(stored.shapes[:, 2] == 3))
    return Sizes(
        smallest=sizes[0][1:],
        median=sizes[(len(sizes) - 1) // 2][1:],
        largest=sizes[-1][1:],
        distinct=len(set(sizes)),
        grey=len(sizes) - coloured,
        coloured=coloured,
    )


def balance_of(counts: Mapping[str, int]) -> Balance | None:
    """How evenly classes are filled; None without samples."""
    total = sum(counts.values())
    if not total:
        return None
    largest = max(counts, key=counts.__getitem__)
    smallest = min(counts, key=counts.__getitem__)
    return Balance(
        largest=largest,
        largest_share=counts[largest] / total,
        smallest=smallest,
        imbalance=counts[largest] / counts[smallest] if counts[smallest] else None,
        empty=tuple(name for name, count in counts.items() if not count),
    )


def groups_of(stored: StoredSplit) -> Groups | None:
    """The groups of a split; None where it has none."""
    if not stored.groups:
        return None
    counts = Counter(stored.groups)
    largest = max(sorted(counts), key=counts.__getitem__)
    return Groups(len(counts), largest, counts[largest])


def overlaps_of(splits: Mapping[str, StoredSplit]) -> Overlaps:
    """What is in the splits of one dataset more than once; they are earlier and later in the order given.

    In every list pairs are in order of their first sample; of samples with one picture the first is the one with the
    smallest id, so that it does not depend on the order of the files.
    """
    copies = 0
    exact: list[Pair] = []
    across: list[Pair] = []
    conflicts: list[Pair] = []
    for same in _same_pictures(splits):
        copies += len(same) - 1
        by_split: dict[str, list[Place]] = {}
        for place, _ in same:
            by_split.setdefault(place.split, []).append(place)
        for places in by_split.values():
            exact += [(places[0], other) for other in places[1:]]
        for earlier, later in combinations(by_split.values(), 2):
            across += [(earlier[0], other) for other in later]
        conflicts += _conflicts(same)
    rank = {split: number for number, split in enumerate(splits)}

    def order(pair: Pair) -> list[tuple[int, str]]:
        return [(rank[place.split], place.name) for place in pair]

    return Overlaps(
        copies=copies,
        exact=tuple(sorted(exact, key=order)),
        across_splits=tuple(sorted(across, key=order)),
        label_conflicts=tuple(sorted(conflicts, key=order)),
        groups_across_splits=tuple(_shared_groups(splits)),
    )


_Labelled = tuple[Place, str | None]


def _same_pictures(splits: Mapping[str, StoredSplit]) -> Iterator[list[_Labelled]]:
    """The samples of each picture that is there more than once, split by split, by id within each."""
    found: dict[str, list[_Labelled]] = {}
    for split, stored in splits.items():
        labels: Sequence[str | None] = stored.class_names or [None] * len(stored.ids)
        rows = zip(stored.ids, labels, stored.pictures, strict=True)
        for identifier, label, digest in sorted(rows, key=lambda row: row[0]):
            found.setdefault(digest, []).append((Place(split, identifier), label))
    return (same for same in found.values() if len(same) > 1)


def _conflicts(same: Sequence[_Labelled]) -> list[Pair]:
    labelled = [replace(place, label=label) for place, label in same if label is not None]
    return [(labelled[0], place) for place in labelled[1:] if place.label != labelled[0].label]


def _shared_groups(splits: Mapping[str, StoredSplit]) -> Iterator[Pair]:
    groups = {split: set(stored.groups or ()) for split, stored in splits.items()}
    for earlier, later in combinations(groups, 2):
        for group in sorted(groups[earlier] & groups[later]):
            yield Place(earlier, group), Place(later, group)
