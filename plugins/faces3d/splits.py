"""Names and sizes of the pair. Standard library only, so that listing datasets imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

SOURCE = "faces3d-source"
FILM = "faces3d-film"
SPLITS = ("train", "select", "report")

#: ferbench's own order of its seven expressions.
EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

SIZES: Mapping[str, Mapping[str, int]] = {
    SOURCE: {"train": 2000, "select": 400, "report": 400},
    FILM: {"train": 420, "select": 140, "report": 420},
}
#: Labels by split and class in the default sizes, in the order of EXPRESSIONS; what roster.py draws.
COUNTS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    SOURCE: {
        "train": (250, 144, 271, 397, 325, 260, 353),
        "select": (53, 27, 51, 77, 63, 57, 72),
        "report": (52, 28, 52, 84, 64, 52, 68),
    },
    FILM: {
        "train": (72, 36, 48, 84, 60, 48, 72),
        "select": (24, 12, 16, 28, 20, 16, 24),
        "report": (72, 36, 48, 84, 60, 48, 72),
    },
}
#: Of train, for other sizes: fewer leave a split empty, more is a slip of the finger.
SMALLEST, LARGEST = 7, 1_000_000


def sizes_for(dataset: str, train: int) -> dict[str, int]:
    """Split sizes with so many training samples, the others in proportion."""
    default = SIZES[dataset]
    return {split: round(count * train / default["train"]) for split, count in default.items()}
