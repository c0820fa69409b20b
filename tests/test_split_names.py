import pytest

from ferbench.data.split_names import occurring, roles_of, split_name
from ferbench.errors import DatasetError


@pytest.mark.parametrize(
    ("splits", "roles"),
    [
        ("train test", {"train": "train", "report": "test"}),
        ("train val", {"train": "train", "report": "val"}),
        ("train val test", {"train": "train", "select": "val", "report": "test"}),
        ("val test", {"select": "val", "report": "test"}),
        ("test", {"report": "test"}),
        ("all", {"train": "all"}),
    ],
)
def test_val_selects_where_there_is_a_test_and_reports_where_there_is_none(splits: str, roles: dict[str, str]) -> None:
    assert roles_of(splits.split()) == roles


def test_words_for_splits() -> None:
    words = {"train": "train Train training", "val": "val VALID validation dev", "test": "test Test"}
    assert all(split_name(word) == split for split, several in words.items() for word in several.split())
    assert [split_name(word) for word in ("holdout", "", "tests")] == [None, None, None]


def test_expressions_that_occur_come_in_one_order_whatever_the_datas() -> None:
    assert occurring(["contempt", "sad", "angry", "sad"], "here") == ("angry", "sad", "contempt")


@pytest.mark.parametrize(
    ("found", "line"), [(["sad"], r"here has one class alone \(sad\): at least two"), ([], "here has no label at all")]
)
def test_fewer_than_two_expressions_are_refused(found: list[str], line: str) -> None:
    with pytest.raises(DatasetError, match=line):
        occurring(found, "here")
