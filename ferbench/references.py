"""Dataset references: a dataset's name, and optionally which of its splits are meant, as in `fer2013:train+select`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ferbench.components import ROLES, Dataset
from ferbench.errors import UnknownName, UsageError

#: Asks a dataset without a report split to report on a part that is held out of its train split.
HOLD_OUT = "hold-out"

#: Stands in the place of a path's folders in what came from elsewhere: where they were is not told.
CUT = "…/"


@dataclass(frozen=True, slots=True)
class DatasetReference:
    """A dataset with the splits that were named, as published or as roles; empty where none were."""

    dataset: Dataset
    splits: tuple[str, ...] = ()


def share_splits(one: str, other: str) -> bool:
    """Whether two names of splits, each one or several joined by `+`, have one in common."""
    return not set(one.split("+")).isdisjoint(other.split("+"))


def parse_reference(text: str, find: Callable[[str], Dataset]) -> DatasetReference:
    """Read `NAME` or `NAME:SPLIT+SPLIT`; `find` is the catalog's look-up, whose UnknownName passes through.

    Whole names are tried first, so that a family's prefix may hold a colon of its own.

    Raises
    ------
    UnknownName : no such dataset
    UsageError : no such split
    """
    try:
        return DatasetReference(find(text))
    except UnknownName as unknown:
        name, colon, named = text.rpartition(":")
        if not colon:
            raise
        try:
            dataset = find(name)
        except UnknownName as error:
            # Of `folder:PATH` what stands before the colon is no name, and the family has said what is wrong.
            raise (unknown if unknown.advised and ":" not in name else error) from None
    if named == HOLD_OUT and "train" in dataset.roles and ("report" not in dataset.roles or dataset.roles_at):
        return DatasetReference(dataset, (HOLD_OUT,))
    splits = tuple(named.split("+"))
    for split in splits:
        if split not in dataset.splits and split not in ROLES:
            known = ", ".join(dict.fromkeys((*dataset.splits, *ROLES)))
            raise UsageError(f"dataset {name!r} has no split {split!r} (in {text!r}): there are {known}")
    return DatasetReference(dataset, splits)
