"""What was published: classes, splits and counts, and what is said of copies that differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ferbench.data.folders import count_difference
from ferbench.errors import SplitMissing

#: In the order of the codes 0 to 6.
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = ("Training", "PublicTest", "PrivateTest")
#: PublicTest and PrivateTest of a copy that does not tell them apart. No copy has it beside either of them.
TOGETHER = "test"

_PUBLIC = dict(zip(CLASSES, (467, 56, 496, 895, 653, 415, 607), strict=True))
_PRIVATE = dict(zip(CLASSES, (491, 55, 528, 879, 594, 416, 626), strict=True))
COUNTS = {
    "Training": dict(zip(CLASSES, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True)),
    "PublicTest": _PUBLIC,
    "PrivateTest": _PRIVATE,
    TOGETHER: {name: _PUBLIC[name] + _PRIVATE[name] for name in CLASSES},
}


def split_of_test(counts: Mapping[str, int], *, has_validation: bool) -> str:
    """Which split a part called "test" is that says no more of itself, judged by how many images it has of each class.

    PrivateTest where the copy has a validation part as well, unless it is large enough for both; else only what has
    exactly the published counts of one split is that split.
    """
    own = {name: counts.get(name, 0) for name in CLASSES}
    if own == _PRIVATE:
        return "PrivateTest"
    if has_validation:
        alone, both = sum(_PRIVATE.values()), sum(COUNTS[TOGETHER].values())
        return "PrivateTest" if sum(own.values()) < (alone + both) / 2 else TOGETHER
    return "PublicTest" if own == _PUBLIC else TOGETHER


def count_warning(found: Iterable[str], split: str) -> tuple[str, ...]:
    """The warning that a split's classes are not as many as published, if they are not."""
    difference = count_difference(found, COUNTS[split], split)
    return (difference,) if difference else ()


def missing_split(split: str, place: Path | str, found: Mapping[str, int]) -> SplitMissing:
    """The error to raise where a copy lacks a split; `found` holds how many samples there are of each."""
    if split == TOGETHER and (found.get("PublicTest") or found.get("PrivateTest")):
        return SplitMissing(
            f"{place} tells PublicTest and PrivateTest of fer2013 apart: fer2013:PublicTest+PrivateTest names both"
        )
    if split in ("PublicTest", "PrivateTest") and found.get(TOGETHER):
        return SplitMissing(
            f"{place} does not say which of its {found[TOGETHER]} test images are PublicTest and which PrivateTest of "
            f"fer2013: fer2013:{TOGETHER} names all of them, or use a copy that says it, such as fer2013.csv"
        )
    there = ", ".join(f"{name} {count}" for name, count in found.items() if count) or "no image at all"
    return SplitMissing(
        f"{place} holds no {split} images of fer2013, only: {there}; use a whole copy, such as fer2013.csv"
    )
