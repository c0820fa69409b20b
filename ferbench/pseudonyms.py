"""Numbers in the place of names: what stands for ids and groups of samples that a licence withholds.

Samples are numbered in their order and groups by their first sample. That order is the content's (design, Board): who
does not have the pictures learns nothing from it. Numbers of numbers are the same numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence


@functools.lru_cache(maxsize=64)
def numbered_ids(n: int) -> tuple[str, ...]:
    """`1`, `2`, … for n samples."""
    return tuple(map(str, range(1, n + 1)))


@functools.lru_cache(maxsize=64)
def numbered_groups(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Each sample's group as `group 1`, `group 2`, …: the same samples are together as before."""
    numbers: dict[str, str] = {}
    return tuple([numbers.setdefault(group, f"group {len(numbers) + 1}") for group in groups])


def are_numbers(ids: Sequence[str]) -> bool:
    """Whether ids are numbers in the samples' order, so that they name nothing."""
    return tuple(ids) == numbered_ids(len(ids))


def same_names(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two speak of samples by the same ids, or one of them by numbers alone."""
    return one == other or (len(one) == len(other) and (are_numbers(one) or are_numbers(other)))


def same_groups(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> bool:
    """Whether the same samples are together, whatever their groups are called."""
    if one is None or other is None:
        return one is other
    return one == other or numbered_groups(one) == numbered_groups(other)
