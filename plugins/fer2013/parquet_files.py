"""Parquet files as the Hugging Face hub's copies have them, each with columns and names of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ferbench import ImageFile, Samples
from ferbench.data.arrow import read_tables
from ferbench.data.folders import passed_over
from ferbench.data.trees import TreeFile
from ferbench.errors import DatasetError
from ferbench.expressions import expression
from ferbench_plugins.fer2013.kaggle_folders import official_name
from ferbench_plugins.fer2013.published import (
    CLASSES,
    COUNTS,
    SPLITS,
    TOGETHER,
    count_warning,
    missing_split,
    split_of_test,
)

#: Words of a file's name, a folder's or a split column's; the first that is found counts: `public_test` is PublicTest.
_WORDS = {
    **dict.fromkeys(("publictest", "public", "validation", "valid", "val", "dev"), "PublicTest"),
    **dict.fromkeys(("privatetest", "private"), "PrivateTest"),
    **dict.fromkeys(("training", "train"), "Training"),
    "test": TOGETHER,
}
_CODES = tuple(str(code) for code in range(len(CLASSES)))
#: What a part called "test" may be.
_TESTS = ("PublicTest", "PrivateTest", TOGETHER)
_ALPHABETICAL = tuple(sorted(CLASSES))


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a table: `label` is a class or still a code, `known_as` its id or the picture's name, if it has one."""

    split: str
    label: str
    known_as: str | None
    image: ImageFile


def is_parquet(name: str) -> bool:
    """Whether a file's name says that it is a Parquet file."""
    return name.casefold().endswith(".parquet")


def parquet_samples(split: str, files: Sequence[TreeFile], place: str) -> Samples:
    """One split of the Parquet files of a listing; `place` names the copy in messages.

    A column of splits says which split a row is of, else official names of the pictures, else the file's name.

    Raises
    ------
    DatasetError : columns that cannot be told, labels of no class, numbers whose order cannot be told, a file of no
        split, or where the split is missing
    """
    import numpy as np

    rows, unlabelled = _rows(files)
    assumed: list[str] = []
    rows = _with_splits(_with_classes(rows, place, assumed))
    samples = [row for row in rows if row.split == split]
    if not samples:
        numbers = Counter(row.split for row in rows)
        raise missing_split(split, place, {name: numbers[name] for name in (*SPLITS, TOGETHER)})
    if unlabelled:
        assumed.append(passed_over(unlabelled, "their rows have no label"))
    return Samples(
        images=[row.image for row in samples],
        labels=np.array([CLASSES.index(row.label) for row in samples], dtype=np.int64),
        ids=_ids(split, samples),
        warnings=(*assumed, *count_warning((row.label for row in samples), split)),
    )


def parquet_numbers(files: Sequence[TreeFile], place: str) -> dict[str, int]:
    """How many samples each split has. Raises as `parquet_samples` does."""
    counts = Counter(row.split for row in _with_splits(_with_classes(_rows(files)[0], place, [])))
    return {name: counts[name] for name in (*SPLITS, TOGETHER)}


def _with_splits(rows: Sequence[_Row]) -> list[_Row]:
    """Rows with what is called "test" given to the split that it is."""
    meant = split_of_test(
        Counter(row.label for row in rows if row.split == TOGETHER),
        has_validation=any(row.split == "PublicTest" for row in rows),
    )
    return [replace(row, split=meant) if row.split == TOGETHER else row for row in rows]


def _rows(files: Sequence[TreeFile]) -> tuple[list[_Row], list[TreeFile]]:
    """Rows of all tables with their splits still in words, and the tables that have no labels at all."""
    rows: list[_Row] = []
    unlabelled: list[TreeFile] = []
    card = _card(files)
    for file in (each for each in files if is_parquet(each.path.name)):
        table = read_tables([file], _CODES, card, unlabelled=True, beside=files)
        if table.class_names is None or not any(table.class_names):
            unlabelled.append(file)
            continue
        ids = table.ids or (None,) * len(table.images)
        told = _split_in(file.path) if table.splits is None else None
        for number, (image, name, known_as) in enumerate(zip(table.images, table.class_names, ids, strict=True)):
            official = official_name(PurePosixPath(known_as or "").name)
            if table.splits is not None:
                split = _WORDS.get(_word(table.splits[number]))
            else:
                split = official[1] if official else told
            if split is None:
                column = "" if table.splits is None else f", row {number + 1}: {table.splits[number]!r}"
                raise DatasetError(
                    f"{file}{column}: which split of fer2013 it is cannot be told: name the file train, validation or "
                    f"test, or add a column Usage with {', '.join(SPLITS)}"
                )
            rows.append(_Row(split, name or "", official[0] if official else known_as, image))
    return rows, unlabelled


def _with_classes(rows: Sequence[_Row], place: str, warnings: list[str]) -> list[_Row]:
    """Rows whose labels are classes; those without a label are left out, with a warning."""
    codes = any(row.label in _CODES for row in rows)
    order = _order(rows, place) if codes else ()
    if codes:
        meant = ", ".join(f"{code} {name}" for code, name in enumerate(order))
        warnings.append(f"labels are numbers without names, read as {meant}: so their counts are as published")
    if missing := sum(not row.label for row in rows):
        warnings.append(f"{missing} rows without a label passed over")
    named: list[_Row] = []
    for row in rows:
        if row.label:
            name = order[int(row.label)] if row.label in _CODES else expression(row.label)
            if name not in CLASSES:
                raise DatasetError(
                    f"{row.image}: label {row.label!r} is no class of fer2013: its classes are {', '.join(CLASSES)}"
                )
            named.append(replace(row, label=name))
    return named


def _order(rows: Sequence[_Row], place: str) -> tuple[str, ...]:
    """Which class each number is: the challenge's codes or the alphabet, whichever gives a published count."""
    numbers: dict[str, Counter[str]] = {}
    for row in rows:
        numbers.setdefault(row.split, Counter())[row.label] += 1
    for order in (CLASSES, _ALPHABETICAL):
        for split, found in numbers.items():
            own = {name: found[code] for code, name in zip(_CODES, order, strict=True)}
            if own in [COUNTS[each] for each in (_TESTS if split == TOGETHER else (split,))]:
                return order
    raise DatasetError(
        f"{place}: labels are numbers without names, and no split has as many of each as published, so that they "
        "cannot be told: save the tables with the classes' names"
    )


def _split_in(path: PurePosixPath) -> str | None:
    """The split that a file's name tells, or else the folder's above it."""
    for part in (path.stem, *reversed(path.parts[:-1])):
        words = set(re.split(r"[^a-z]+", part.casefold()))
        split = next((split for word, split in _WORDS.items() if word in words), None)
        if split is not None:
            return split
    return None


def _word(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.casefold())


def _ids(split: str, samples: Sequence[_Row]) -> tuple[str, ...]:
    """What the tables call the pictures where that is unique, else their numbers within the split."""
    known = [f"{row.label}/{row.known_as}" for row in samples if row.known_as is not None]
    if len(set(known)) == len(samples):
        return tuple(known)
    return tuple(f"{split}/{number:08d}" for number in range(len(samples)))


def _card(files: Sequence[TreeFile]) -> str | None:
    cards = [file for file in files if file.path.name.casefold() == "readme.md"]
    highest = min(cards, key=lambda file: (len(file.path.parts), file.path), default=None)
    return None if highest is None else highest.read_bytes().decode("utf-8", "replace")
