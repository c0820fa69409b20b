"""Data that users bring themselves: what its splits and classes are called, and which roles the splits play."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ferbench.components import Role
from ferbench.errors import DatasetError
from ferbench.expressions import BASIC8

SPLITS = ("train", "val", "test")

#: The one split of data that names none.
WHOLE = "all"

_SPELLINGS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}


def split_name(word: str) -> str | None:
    """train, val or test for any word that means one of them, in any case; None for another word.

    >>> split_name("Validation"), split_name("holdout")
    ('val', None)
    """
    return _SPELLINGS.get(word.strip().casefold())


def roles_of(splits: Collection[str]) -> dict[Role, str]:
    """The roles of the splits that are there: val is reported on where there is no test, else it selects."""
    roles: dict[Role, str] = {}
    if trained := next((each for each in ("train", WHOLE) if each in splits), None):
        roles["train"] = trained
    if "test" in splits and "val" in splits:
        roles["select"] = "val"
    if reported := next((each for each in ("test", "val") if each in splits), None):
        roles["report"] = reported
    return roles


def occurring(expressions: Iterable[str], place: str) -> tuple[str, ...]:
    """The expressions that occur, in the order of basic8.

    Raises
    ------
    DatasetError : there are fewer than two
    """
    found = set(expressions)
    if len(found) < 2:
        only = f"one class alone ({', '.join(found)})" if found else "no label at all"
        raise DatasetError(f"{place} has {only}: at least two expressions are needed, add pictures of another")
    return tuple(name for name in BASIC8 if name in found)
