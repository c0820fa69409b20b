"""Names that whoever writes and whoever reads a snapshot must agree on."""

from __future__ import annotations

from collections.abc import Iterable

from ferbench.expressions import BASIC8

#: Raised when an older ferbench would misread what is written.
FORMAT = 1

RUNS_FILE = "runs.jsonl"
PREDICTIONS_FILE = "predictions.csv.gz"

#: Columns before those of the probabilities.
COLUMNS = ("row", "seed", "stage", "dataset", "split", "content", "id", "group", "label", "predicted")

#: Digits by which entries and contents are named in a line of predictions.
NAME_DIGITS = 10


def header(classes: Iterable[str]) -> list[str]:
    """The columns for all classes that some row has: those of expressions first, in their order."""
    wanted = set(classes)
    ordered = [name for name in BASIC8 if name in wanted] + sorted(wanted.difference(BASIC8))
    return [*COLUMNS, *(f"p_{name}" for name in ordered)]
