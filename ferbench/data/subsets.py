"""Parts of a split: what is held out of it, and nested parts of a given size; by content, never by seed.

So every seed and every order of files has the same parts, and curves over the size of the training data compare
strategies on the same samples.
"""

from __future__ import annotations

import bisect
import hashlib
import heapq
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ferbench.data.split_cache import StoredSplit

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Groups among which the next one is chosen.
_LOOKED_AT = 64


def held_out(stored: StoredSplit, indices: NDArray[np.int64], share: Fraction) -> NDArray[np.int64]:
    """About `share` of some samples of a split: whole groups where there are groups, else a share of each class.

    Never none: of few large groups the smallest is taken, of very few samples one. A single group cannot be parted from
    the rest, so that its samples are taken by class.

    Parameters
    ----------
    indices : int64 [k], rising, into the split

    Returns
    -------
    int64 [m], rising, some of `indices`
    """
    wanted = share * len(indices)
    groups = stored.groups
    if groups is not None and len({groups[i] for i in indices.tolist()}) > 1:
        members: dict[str, list[int]] = {}
        for index in indices.tolist():
            members.setdefault(groups[index], []).append(index)
        held: list[int] = []
        for group in sorted(members, key=_hashed):
            # A group that would overshoot by more than it helps is passed over.
            if abs(len(held) + len(members[group]) - wanted) < abs(len(held) - wanted):
                held.extend(members[group])
        if not held:
            held = min(members.values(), key=lambda own: (len(own), stored.digests[own[0]]))
        return np.array(sorted(held), dtype=np.int64)
    by_class: dict[str, list[int]] = {}
    for index in indices.tolist():
        by_class.setdefault(stored.class_names[index] if stored.class_names else "", []).append(index)
    held = []
    for own in by_class.values():
        own.sort(key=lambda i: (stored.digests[i], stored.ids[i]))
        held.extend(own[: round(share * len(own))])
    if not held:
        held = [min(indices.tolist(), key=lambda i: (stored.digests[i], stored.ids[i]))]
    return np.array(sorted(held), dtype=np.int64)


def nested_part(labels: Sequence[int], groups: Sequence[str] | None, fraction: float) -> list[int]:
    """About `fraction` of some samples, stratified by class; a smaller part lies within every larger one.

    Without groups every class gives its own share of samples, the first in their order, at least one. Groups (films,
    subjects) are taken whole, in one order for all fractions: the next is the one that brings the classes of all that
    is taken nearest to those of the whole, among the first 64, in the order of their names' hashes, of those that do
    not more than double what is there. The part is as near to the wanted size as that order allows, and at least one
    group.

    Parameters
    ----------
    labels : class of each sample, samples in an order that depends on their content alone
    groups : of each sample
    fraction : above 0, at most 1

    Returns
    -------
    indices, rising
    """
    if groups is not None and len(set(groups)) > 1:
        return _whole_groups(labels, groups, fraction)
    by_class: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        by_class.setdefault(label, []).append(index)
    return sorted(index for own in by_class.values() for index in own[: max(1, round(fraction * len(own)))])


def _whole_groups(labels: Sequence[int], groups: Sequence[str], fraction: float) -> list[int]:
    names = sorted(set(groups), key=_hashed)
    place = {name: row for row, name in enumerate(names)}
    classes = {label: column for column, label in enumerate(sorted(set(labels)))}
    counts = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(counts, ([place[name] for name in groups], [classes[label] for label in labels]), 1)
    order = _balanced_order(counts)
    # Sizes rise along the order, so that the nearest one grows with the fraction.
    reached = np.cumsum(counts.sum(axis=1)[order])
    nearest = int(np.argmin(np.abs(reached - fraction * len(labels))))
    within = {names[row] for row in order[: nearest + 1]}
    return [index for index, name in enumerate(groups) if name in within]


def _balanced_order(counts: NDArray[np.int64]) -> list[int]:
    """The order in which groups are taken; counts is int64 [groups, classes], groups by the hash of their names."""
    sizes = counts.sum(axis=1)
    size_of = sizes.tolist()
    whole, n = counts.sum(axis=0), int(sizes.sum())
    small_enough = float(np.median(sizes))
    by_size = deque(np.argsort(sizes, kind="stable").tolist())
    # Rows that may be taken, as negative numbers: the first of them stand at the end, where they are cheap to remove.
    allowed: list[int] = []
    taken, total = np.zeros_like(whole), 0
    order: list[int] = []
    while allowed or by_size:
        while by_size and size_of[by_size[0]] <= max(small_enough, total):
            bisect.insort(allowed, -by_size.popleft())
        first = [-row for row in allowed[: -_LOOKED_AT - 1 : -1]] or heapq.nsmallest(_LOOKED_AT, by_size)
        joined = counts[first] + taken
        size = sizes[first] + total
        # Whole numbers, so that candidates of the same distance are seen to be so on every machine.
        distance = np.abs(joined * n - size[:, None] * whole).sum(axis=1) / size
        best = int(distance.argmin())
        chosen = first[best]
        if allowed:
            del allowed[-1 - best]
        else:
            by_size.remove(chosen)
        taken, total = joined[best], total + size_of[chosen]
        order.append(chosen)
    return order


def _hashed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
