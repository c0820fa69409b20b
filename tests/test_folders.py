from pathlib import Path

import pytest

from ferbench.data.folders import class_folders, count_difference, is_image, passed_over, subfolders
from ferbench.errors import DatasetError


def touched(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_go_to_the_datasets_own_classes_by_name(tmp_path: Path) -> None:
    touched(
        tmp_path / "Happiness/b.png", tmp_path / "Happiness/a.png", tmp_path / "SAD/c.JPG", tmp_path / "fearful/d.txt"
    )
    found = class_folders(tmp_path, ("Fear", "Happy", "Sad"), "mine")
    assert {name: [file.name for file in files] for name, files in found.items()} == {
        "Happy": ["a.png", "b.png"],
        "Sad": ["c.JPG"],
        "Fear": ["d.txt"],
    }


def test_classes_that_are_no_expressions_go_by_their_own_name(tmp_path: Path) -> None:
    touched(tmp_path / "Negative/a.png")
    assert list(class_folders(tmp_path, ("negative", "happy"), "mine")) == ["negative"]


def test_an_unknown_folder_is_an_error(tmp_path: Path) -> None:
    touched(tmp_path / "happy/a.png", tmp_path / "contempt/b.png")
    with pytest.raises(DatasetError, match="contempt is no class of mine: its classes are happy, sad"):
        class_folders(tmp_path, ("happy", "sad"), "mine")


def test_two_folders_of_one_class_are_an_error(tmp_path: Path) -> None:
    touched(tmp_path / "happy/a.png", tmp_path / "joy/b.png")
    with pytest.raises(DatasetError, match="joy is a second one for the class happy of mine"):
        class_folders(tmp_path, ("happy",), "mine")


def test_what_systems_leave_behind_is_not_seen(tmp_path: Path) -> None:
    touched(
        tmp_path / "__MACOSX/happy/._a.png",
        tmp_path / ".ipynb_checkpoints/a.png",
        tmp_path / "happy/.DS_Store",
        tmp_path / "happy/Thumbs.db",
        tmp_path / "happy/desktop.ini",
        tmp_path / "happy/a.png",
        tmp_path / "list.txt",
    )
    assert [each.name for each in subfolders(tmp_path)] == ["happy"]
    assert class_folders(tmp_path, ("happy",), "mine") == {"happy": [tmp_path / "happy/a.png"]}


def test_no_folder_has_no_subfolders(tmp_path: Path) -> None:
    touched(tmp_path / "file")
    assert subfolders(tmp_path / "gone") == subfolders(tmp_path / "file") == []


@pytest.mark.parametrize(("name", "expected"), [("a.PNG", True), ("a.jpeg", True), ("a.txt", False), ("png", False)])
def test_images_are_told_by_their_suffix(name: str, expected: bool) -> None:
    assert is_image(Path(name)) is expected


def test_files_passed_over_are_counted_and_the_first_named(tmp_path: Path) -> None:
    files = [tmp_path / f"happy/{i}.txt" for i in range(5)]
    assert passed_over(files, tmp_path, "odd") == "5 files passed over, odd: happy/0.txt, happy/1.txt, happy/2.txt, …"
    assert passed_over(files[:1], tmp_path, "odd") == "1 file passed over, odd: happy/0.txt"


def test_counts_that_differ_are_told_class_by_class() -> None:
    published = {"happy": 2, "sad": 1, "fear": 1}
    assert count_difference(["sad", "happy", "fear", "happy"], published, "Val") is None
    assert count_difference(["happy", "happy", "sad", "sad", "sad"], published, "Val") == (
        "Val has 5 images here and 4 as published (sad 3 for 1, fear 0 for 1)"
    )
