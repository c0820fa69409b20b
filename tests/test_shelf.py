"""Components of one kind by name, and families by prefix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ferbench.components import Dataset, DatasetFamily, Strategy
from ferbench.errors import DatasetMissing, DuplicateName, PluginError, UnknownName
from ferbench.plugin_source import Plugin
from ferbench.shelf import Shelf

ONE, TWO = Plugin("one", "one-dist 1.0", object()), Plugin("two", "two-dist 1.0", object())


def absent(*given: object) -> Any:
    raise AssertionError(given)


def dataset(name: str) -> Dataset:
    return Dataset(name, 1, ("happy", "sad"), ("all",), {"train": "all"}, absent, absent)


def family(prefix: str, resolve: Callable[[str], Any] = dataset) -> DatasetFamily:
    return DatasetFamily(prefix, resolve, absent)


@pytest.fixture
def shelf() -> Shelf[Dataset]:
    return Shelf("dataset", Dataset, DatasetFamily)


def test_a_family_is_asked_once_for_each_name(shelf: Shelf[Dataset]) -> None:
    asked: list[str] = []

    def resolve(name: str) -> Dataset:
        asked.append(name)
        return dataset(name)

    shelf.put(ONE, [family("faces@", resolve), dataset("faces")])
    assert asked == []
    assert shelf.get("faces@500") is shelf.get("faces@500")
    assert shelf.get("faces").name == "faces"
    assert asked == ["faces@500"]


def test_a_path_behind_a_prefix_passes_as_it_is(shelf: Shelf[Dataset]) -> None:
    shelf.put(ONE, [family("folder:")])
    assert shelf.get("folder:/my faces/a=b:c").name == "folder:/my faces/a=b:c"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (dataset("a"), dataset("a")),
        (family("a/"), family("a/")),
        (family("a/"), family("a/b/")),
        (family("a/b/"), family("a/")),
        (family("a/"), dataset("a/x")),
        (dataset("a/x"), family("a/")),
    ],
)
def test_two_claims_on_one_name_are_refused_in_either_order(shelf: Shelf[Dataset], first: Any, second: Any) -> None:
    shelf.put(ONE, [first])
    with pytest.raises(DuplicateName, match=r"by one \(one-dist 1\.0\) and by two \(two-dist 1\.0\)"):
        shelf.put(TWO, [second])
    shelf.take_back(TWO)
    assert [listing.component for listing in shelf.listing()] == [first]


def test_prefixes_that_merely_look_alike_stand_side_by_side(shelf: Shelf[Dataset]) -> None:
    shelf.put(ONE, [family("a/"), dataset("a"), family("a@"), dataset("ab")])
    assert [listing.name for listing in shelf.listing()] == ["a", "a/", "a@", "ab"]


def test_what_a_plugin_put_can_be_taken_back(shelf: Shelf[Dataset]) -> None:
    shelf.put(ONE, [dataset("a"), family("a/")])
    shelf.put(TWO, [dataset("b")])
    shelf.take_back(ONE)
    assert [(listing.name, listing.plugin) for listing in shelf.listing()] == [("b", "two")]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("fer2014", "did you mean fer2013?"),
        ("fold:/data/x", "did you mean folder:/data/x?"),
        ("manifest", "did you mean manifest:…?"),
        ("zzz", "there are: fer2013, folder:…, manifest:…"),
    ],
)
def test_suggestions_know_families_without_asking_them(shelf: Shelf[Dataset], name: str, advice: str) -> None:
    shelf.put(ONE, [dataset("fer2013"), family("folder:", absent), family("manifest:", absent)])
    with pytest.raises(UnknownName) as caught:
        shelf.get(name)
    assert str(caught.value) == f"no dataset named {name!r}: {advice}"


def test_a_familys_own_refusal_passes_through(shelf: Shelf[Dataset]) -> None:
    def missing(name: str) -> Dataset:
        raise DatasetMissing(name, "nowhere", "look elsewhere")

    shelf.put(ONE, [family("folder:", missing)])
    with pytest.raises(DatasetMissing):
        shelf.get("folder:x")


@pytest.mark.parametrize(
    ("resolve", "said"),
    [
        (lambda name: {}[name], "dataset 'x/y': KeyError: 'x/y'"),
        (lambda name: None, "None is given as dataset 'x/y', but is none"),
        (lambda name: Strategy(name, absent), "as dataset 'x/y'"),
        (lambda name: dataset("y"), "its name 'y' does not start with its family's prefix 'x/'"),
        (lambda name: replace(dataset(name), version=0), "version=0 is not a whole number from 1"),
    ],
)
def test_a_family_that_fails_is_named(shelf: Shelf[Dataset], resolve: Callable[[str], Any], said: str) -> None:
    shelf.put(ONE, [family("x/", resolve)])
    with pytest.raises(PluginError) as caught:
        shelf.get("x/y")
    assert str(caught.value).startswith("plugin one (one-dist 1.0)")
    assert said in str(caught.value)
