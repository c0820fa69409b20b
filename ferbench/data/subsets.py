"""Parts of a split: what is held out of it, and nested parts of a given size; by content, never by seed.

So every seed and every order of files has the same parts, and curves over the size of the training data compare
strategies on the same samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ferbench.data.split_cache import StoredSplit

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
    is taken nearest to those of the whole, among those that do not more than double what is there. The part is as near
    to the wanted size as that order allows, and at least one group.

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
    counts = np.zeros((len(names), len(classes)))
    for name, label in zip(groups, labels, strict=True):
        counts[place[name], classes[label]] += 1
    sizes = counts.sum(axis=1)
    shares = counts.sum(axis=0) / len(labels)
    small_enough = np.median(sizes)
    taken = np.zeros(len(classes))
    left = np.ones(len(names), dtype=bool)
    order: list[int] = []
    reached: list[float] = []
    while left.any():
        allowed = left & (sizes <= max(small_enough, taken.sum()))
        candidates = np.flatnonzero(allowed if allowed.any() else left)
        joined = taken + counts[candidates]
        distance = np.abs(joined / joined.sum(axis=1, keepdims=True) - shares).sum(axis=1)
        chosen = int(candidates[np.argmin(distance)])
        taken = taken + counts[chosen]
        left[chosen] = False
        order.append(chosen)
        reached.append(float(taken.sum()))
    # Sizes rise along the order, so that the nearest one grows with the fraction.
    nearest = int(np.argmin(np.abs(np.array(reached) - fraction * len(labels))))
    within = {names[row] for row in order[: nearest + 1]}
    return [index for index, name in enumerate(groups) if name in within]


def _hashed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
