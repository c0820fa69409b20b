"""What is published of SFEW 2.0: classes, splits, how many pictures each has; and what a copy's own numbers mean."""

from __future__ import annotations

from collections.abc import Sequence

from ferbench.data.folders import count_difference

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
TRAIN, VAL, TEST = SPLITS = ("Train", "Val", "Test")

#: Of the distributed aligned faces; the paper's 958 and 436 count the frames that they were cut from.
COUNTS = {
    TRAIN: {"Angry": 178, "Disgust": 52, "Fear": 78, "Sad": 161, "Happy": 184, "Neutral": 144, "Surprise": 94},
    VAL: {"Angry": 77, "Disgust": 23, "Fear": 46, "Sad": 73, "Happy": 72, "Neutral": 84, "Surprise": 56},
}
FRAMES = {TRAIN: 958, VAL: 436}

#: Its labels are withheld, so that there are no counts by class.
TEST_COUNT = 372


def count_warnings(names: Sequence[str], split: str) -> list[str]:
    """At most one line, if a copy's samples are not the aligned faces as published; `names` has each sample's class."""
    difference = count_difference(names, COUNTS[split], split)
    aligned, frames = sum(COUNTS[split].values()), FRAMES[split]
    if difference is None:
        return [
            f"{split}: these are the {aligned} aligned faces; published numbers mix them with all {frames} frames, "
            "compare scores only at the same n"
        ]
    if len(names) == aligned:
        return [f"{difference}: as many as the aligned faces, but under other labels: is the copy changed?"]
    if len(names) == frames:
        return [
            f"{difference}: these are all frames ({frames}), not the aligned faces ({aligned}); published numbers mix "
            "both, compare scores only at the same n"
        ]
    return [
        f"{difference}: published numbers mix the aligned faces ({aligned}) with all frames ({frames}), compare scores "
        "only at the same n"
    ]


def withheld_warnings(count: int) -> list[str]:
    """At most one line, if a copy's Test has not as many samples as published."""
    if count == TEST_COUNT:
        return []
    return [f"{TEST} has {count} images here and {TEST_COUNT} as published: scores on it are not the challenge's"]
