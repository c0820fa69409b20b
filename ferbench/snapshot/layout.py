"""Names that whoever writes and whoever reads a snapshot must agree on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from ferbench.expressions import BASIC8

#: Raised when an older ferbench would misread what is written.
FORMAT = 1

RUNS_FILE = "runs.jsonl"
PREDICTIONS_FILE = "predictions.csv.gz"

#: Columns before those of the probabilities.
COLUMNS = ("row", "seed", "stage", "dataset", "split", "content", "id", "group", "label", "predicted")

#: Fields that records got after format 1 had been released, with the values that rows of before have. At these they are
#: left out, so that an older ferbench, which refuses what it does not know, still reads a row that does without them.
LATER: Mapping[tuple[str, str], object] = {
    ("Recipe", "faces"): "none",
    ("Recipe", "face_detector"): "auto",
    ("Stage", "detector"): "",
}

#: Equal to no value of a field.
_NOTHING = object()

#: Digits by which entries and contents are named in a line of predictions.
NAME_DIGITS = 10


def header(classes: Iterable[str]) -> list[str]:
    """The columns for all classes that some row has: those of expressions first, in their order."""
    wanted = set(classes)
    ordered = [name for name in BASIC8 if name in wanted] + sorted(wanted.difference(BASIC8))
    return [*COLUMNS, *(f"p_{name}" for name in ordered)]


def plain(record: Any) -> Any:
    """A record as JSON's own types, without the fields of LATER that say nothing."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
        kind = type(record).__name__
        return {name: plain(each) for name, each in values.items() if LATER.get((kind, name), _NOTHING) != each}
    return [plain(each) for each in record] if isinstance(record, (list, tuple)) else record
