"""Class folders, found by name anywhere in a listing."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.data.folders import by_class, count_difference, is_image, passed_over
from ferbench.data.trees import TreeFile
from ferbench.errors import DatasetError

CLASSES = ("Fear", "Happy", "Sad")


def listed(*paths: str) -> list[TreeFile]:
    return [TreeFile(PurePosixPath(path), 1, f"/data/{path}") for path in paths]


def found(*paths: str, classes: tuple[str, ...] = CLASSES) -> list[tuple[str, str, str]]:
    return [(str(each.above), each.name, each.file.path.name) for each in by_class(listed(*paths), classes, "m").files]


def test_folders_go_to_the_datasets_own_classes_by_name() -> None:
    assert found("Happiness/b.png", "SAD/c.JPG", "fearful/d.txt") == [
        (".", "Happy", "b.png"),
        (".", "Sad", "c.JPG"),
        (".", "Fear", "d.txt"),
    ]


def test_classes_that_are_no_expressions_go_by_their_own_name() -> None:
    assert found("Negative/a.png", classes=("negative", "happy")) == [(".", "negative", "a.png")]


def test_what_is_above_tells_splits_apart() -> None:
    assert found("Train/Train_Aligned/Happy/a.png", "Val/Happy/a.png") == [
        ("Train/Train_Aligned", "Happy", "a.png"),
        ("Val", "Happy", "a.png"),
    ]


def test_a_class_folder_within_itself_counts_once() -> None:
    assert found("Final_Train/Happy/Happy/a.png", "Final_Train/Sad/sad/b.png") == [
        ("Final_Train", "Happy", "a.png"),
        ("Final_Train", "Sad", "b.png"),
    ]
    assert found("x/Happy/Happy/a.png", "x/Happy/b.png") == [("x", "Happy", "a.png"), ("x", "Happy", "b.png")]


def test_an_unknown_folder_with_images_beside_classes_is_an_error() -> None:
    with pytest.raises(DatasetError, match=r"folder train/bored \(with /data/train/bored/b.png\) is no class of mine"):
        by_class(listed("train/happy/a.png", "train/bored/b.png"), CLASSES, "mine")
    # Without images, or elsewhere, it is nobody's business.
    assert found("train/happy/a.png", "train/docs/b.txt", "flat/b.png") == [("train", "Happy", "a.png")]


def test_two_folders_of_one_class_are_an_error() -> None:
    with pytest.raises(DatasetError, match="folder x/joy is a second one for the class Happy of mine"):
        by_class(listed("x/happy/a.png", "x/joy/b.png"), CLASSES, "mine")
    assert found("x/happy/a.png", "y/joy/a.png") == [("x", "Happy", "a.png"), ("y", "Happy", "a.png")]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["train", "val", "deep/er"]), st.sampled_from(["Happy", "sad", "SURPRISE", "fear", "notes"])
        ),
        max_size=30,
    )
)
def test_no_file_is_lost(places: list[tuple[str, str]]) -> None:
    files = listed(*(f"{above}/{name}/{number}.dat" for number, (above, name) in enumerate(places)))
    sorting = by_class(files, ("Happy", "Sad", "Surprise", "Fear"), "mine")
    assert sorted(map(str, [*(each.file for each in sorting.files), *sorting.rest])) == sorted(map(str, files))
    assert all(each.file.path.parent.name.casefold() == each.name.casefold() for each in sorting.files)


def test_images_are_known_by_their_suffix() -> None:
    assert [is_image(file) for file in listed("a.JPG", "b.png", "c.TIFF", "d.txt", "e")] == [True] * 3 + [False] * 2


def test_files_that_are_passed_over_are_counted_and_the_first_named() -> None:
    assert passed_over(listed("a/x"), "odd") == "1 file passed over, odd: a/x"
    assert passed_over(listed("a", "b", "c", "d"), "odd") == "4 files passed over, odd: a, b, c, …"


def test_counts_that_differ_are_said_with_the_published_ones() -> None:
    published = {"happy": 2, "sad": 1}
    assert count_difference(["happy", "sad", "happy"], published, "train") is None
    assert count_difference(["happy"], published, "train") == (
        "train has 1 image here and 3 as published (happy 1 for 2, sad 0 for 1)"
    )
