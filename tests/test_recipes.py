"""Recipe values: typed by the record, whatever they were written as."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.errors import RecipeError
from ferbench.recipes import RECIPE_CHOICES, RECIPE_RANGES, Recipe, changed, check_key, typed

TYPES = {field.name: type(getattr(Recipe(), field.name)) for field in dataclasses.fields(Recipe)}


@given(key=st.sampled_from(sorted(TYPES)), value=st.text() | st.integers() | st.floats() | st.booleans() | st.none())
def test_whatever_is_taken_has_the_fields_type_and_range(key: str, value: object) -> None:
    try:
        found = typed(key, value)
    except RecipeError as error:
        assert key in error.line
        return
    assert type(found) is TYPES[key]
    assert found in RECIPE_CHOICES.get(key, (found,))
    low, high = RECIPE_RANGES.get(key, (0, 1))
    assert isinstance(found, str) or low <= found <= high
    # What came out goes in again, as itself and as text.
    assert typed(key, found) == found
    if not isinstance(found, str):
        assert typed(key, repr(found)) == found


@given(value=st.integers(1, 10**12))
def test_whole_numbers_may_be_written_as_people_write_them(value: int) -> None:
    assert typed("images_seen", str(value)) == typed("images_seen", f"{value:_}") == value


def test_spellings_by_hand() -> None:
    assert typed("images_seen", "2e5") == 200_000 and typed("images_seen", 3.0) == 3
    assert typed("lr", "1e-3") == 0.001 and type(typed("lr", 1)) is float
    assert [typed("grey", word) for word in ("true", "YES", "1", True)] == [True] * 4
    assert [typed("grey", word) for word in ("False", "no", 0)] == [False] * 3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("images_seen", "1.5", "images_seen=1.5: a whole number is needed"),
        ("images_seen", "0", "images_seen=0: it lies between 1 and 1e+12"),
        ("images_seen", True, "a whole number is needed"),
        ("images_seen", "1e400", "a whole number is needed"),
        ("lr", "fast", "lr=fast: a number is needed"),
        ("lr", float("inf"), "a number is needed"),
        ("grey", "maybe", "grey=maybe: true or false is needed"),
        ("augment", "heavy", "augment=heavy: it is one of none, flip, standard, strong"),
        ("augment", 1, "augment=1: a word is needed"),
        ("label_set", "", "label_set=: a word is needed"),
        ("target_share", 1.01, "it lies between 0 and 1"),
        ("learning_rate", 1, "no recipe value named 'learning_rate'"),
    ],
)
def test_faults_say_what_is_needed(key: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        typed(key, value)
    assert message in caught.value.line


def test_every_key_is_known_and_a_close_one_is_suggested() -> None:
    for key in TYPES:
        check_key(key)
    with pytest.raises(RecipeError, match="did you mean batch_size"):
        check_key("batchsize")
    with pytest.raises(RecipeError, match="there are: augment, batch_size"):
        check_key("zzz")


def test_changes_are_checked_and_the_last_one_stands() -> None:
    assert changed(Recipe(), [("lr", "0.5"), ("lr", 0.25), ("grey", "yes")]) == Recipe(lr=0.25, grey=True)
    with pytest.raises(RecipeError):
        changed(Recipe(), [("lr", "x")])
