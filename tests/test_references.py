"""`NAME` and `NAME:SPLIT+SPLIT`."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import bar_dataset

from ferbench.components import Dataset
from ferbench.errors import FerbenchError, UnknownName, UsageError
from ferbench.references import DatasetReference, parse_reference, share_splits

FACES = bar_dataset("faces", 1)


def find(name: str) -> Dataset:
    """One dataset, and a family whose names hold colons of their own."""
    if name == "faces":
        return FACES
    if name.startswith("folder:") and name.count(":") == 1:
        return dataclasses.replace(FACES, name=name)
    raise UnknownName("dataset", name, ["faces"])


@given(named=st.lists(st.sampled_from(["tr", "va", "te", "train", "select", "report"]), min_size=1, max_size=4))
def test_names_of_splits_and_roles_come_back_in_order(named: list[str]) -> None:
    assert parse_reference(f"faces:{'+'.join(named)}", find) == DatasetReference(FACES, tuple(named))


def test_without_splits_none_are_meant() -> None:
    assert parse_reference("faces", find) == DatasetReference(FACES)


def test_a_familys_own_colon_is_part_of_the_name() -> None:
    assert parse_reference("folder:/a/b", find).dataset.name == "folder:/a/b"
    found = parse_reference("folder:/a/b:train+select", find)
    assert (found.dataset.name, found.splits) == ("folder:/a/b", ("train", "select"))


@pytest.mark.parametrize("text", ["faces:", "faces:xx", "faces:tr+", "faces:tr+xx", "faces: tr"])
def test_splits_that_do_not_exist_are_told_with_those_that_do(text: str) -> None:
    with pytest.raises(UsageError, match=r"dataset 'faces' has no split .*there are tr, va, te, train, select, report"):
        parse_reference(text, find)


def test_splits_that_are_called_as_their_roles_are_told_once() -> None:
    roles = {"train": "train", "select": "select", "report": "report"}
    dataset = dataclasses.replace(FACES, splits=tuple(roles), roles=roles)
    with pytest.raises(UsageError, match=r"there are train, select, report$"):
        parse_reference("faces:tr", lambda name: dataset if name == "faces" else find(name))


@pytest.mark.parametrize("text", ["face", "face:tr", "faces:tr:va", ":tr", ""])
def test_unknown_names_keep_their_suggestion(text: str) -> None:
    with pytest.raises(UnknownName):
        parse_reference(text, find)


@given(text=st.text(alphabet="faces:+trva ", max_size=15))
def test_any_text_is_a_reference_or_one_line(text: str) -> None:
    try:
        found = parse_reference(text, find)
    except FerbenchError as error:
        assert error.exit_code == 2
    else:
        assert found.dataset.name == "faces"


def test_splits_that_are_named_twice_are_found() -> None:
    assert share_splits("val", "val") and share_splits("train+val", "val+test")
    assert not share_splits("train", "train less held out") and not share_splits("train+val", "test")
