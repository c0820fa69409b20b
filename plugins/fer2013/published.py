"""What was published: classes, splits and counts, and what is said of copies that differ."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ferbench.data.folders import count_difference
from ferbench.errors import DatasetError

#: In the order of the codes 0 to 6.
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = ("Training", "PublicTest", "PrivateTest")
COUNTS = {
    "Training": dict(zip(CLASSES, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True)),
    "PublicTest": dict(zip(CLASSES, (467, 56, 496, 895, 653, 415, 607), strict=True)),
    "PrivateTest": dict(zip(CLASSES, (491, 55, 528, 879, 594, 416, 626), strict=True)),
}


def count_warning(found: Iterable[str], split: str) -> tuple[str, ...]:
    """The warning that a split's classes are not as many as published, if they are not."""
    difference = count_difference(found, COUNTS[split], split)
    return (difference,) if difference else ()


def missing_split(split: str, place: Path, found: dict[str, int]) -> DatasetError:
    """The error to raise where a copy lacks a split; `found` holds how many samples there are of each."""
    there = ", ".join(f"{name} {count}" for name, count in found.items() if count) or "no image at all"
    return DatasetError(
        f"{place} holds no {split} images of fer2013, only: {there}; use a whole copy, such as fer2013.csv"
    )
