"""Files, folders, patterns and standard input as pictures, each once."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePath

import pytest

from ferbench.data.given_pictures import GivenPicture, NotGiven, given_pictures


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a/one.JPG", "a/b/two.png", "a/b/notes.txt", "a/.hidden/three.png", "a/.four.png", "plain", "[x].png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "empty").mkdir()
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a", target_is_directory=True)
    return tmp_path


def found(*names: str) -> list[tuple[str, str, bytes]]:
    """Name, place and content of each; of what is none, its line."""
    return [
        (each.name, each.below.as_posix(), each.file.read_bytes()) if isinstance(each, GivenPicture) else each.line
        for each in given_pictures(names, lambda: b"bytes")
    ]  # type: ignore[misc]


def test_a_folder_gives_the_pictures_below_it_and_each_is_given_once(folder: Path) -> None:
    one, two = ("a/one.JPG", "one.JPG", b"a/one.JPG"), ("a/b/two.png", "b/two.png", b"a/b/two.png")
    assert found("a") == [one, two]
    assert found("a/b/two.png", "a", str(folder / "a")) == [("a/b/two.png", "two.png", b"a/b/two.png"), one]
    assert found(f"{folder}/a/") == [(f"{folder}/a/one.JPG", *one[1:]), (f"{folder}/a/b/two.png", *two[1:])]


def test_patterns_names_and_standard_input(folder: Path) -> None:
    assert [each[:2] for each in found("a/**/*.png")] == [("a/b/two.png", "b/two.png")]
    assert [each[:2] for each in found("a/b/../*.JPG")] == [("a/b/../one.JPG", "one.JPG")]
    assert [each[0] for each in found("a/*", "a/b/*")] == ["a/one.JPG", "a/b/two.png"]
    assert [each[0] for each in found("a/**")] == ["a/b/two.png", "a/one.JPG"]
    assert [each[0] for each in found("a/.*", "a/.h*/*")] == ["a/.four.png", "a/.hidden/three.png"]
    assert [each[0] for each in found(f"{folder}/?/*.J*")] == [f"{folder}/a/one.JPG"]
    # What is there is meant as it is called, whatever its suffix.
    assert [each[0] for each in found("plain", "[x].png")] == ["plain", "[x].png"]
    assert found("-") == [("-", "standard-input", b"bytes")]


def test_answers_are_not_looked_at_on_the_way_and_ways_to_one_picture_are_one(folder: Path) -> None:
    (folder / "way").symlink_to("a")
    assert [each[0] for each in found("a/../a/b/two.png", "way/b/two.png", "a/b/two.png")] == ["a/../a/b/two.png"]
    for name in ("a", "a/**", "**/*", "."):
        given = list(given_pictures([name], lambda: b"", Path("way/b")))
        assert {each.below.name for each in given if isinstance(each, GivenPicture)} - {"[x].png"} == {"one.JPG"}
    # Named itself it is meant, and a file is too.
    assert [each.name for each in given_pictures(["a/b", "a/b/../b/*"], lambda: b"", Path("a/b"))] == ["a/b/two.png"]
    assert [each.name for each in given_pictures(["a/b/two.png"], lambda: b"", Path("a"))] == ["a/b/two.png"]


def test_what_is_no_picture_is_said_and_the_others_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "lost.png").symlink_to("nowhere.png")
    lines = found("gone.jpg", "a/one.JPG", "empty", "*.gif", "a/**.png")
    assert lines[0] == "gone.jpg does not exist: name a picture, a folder, or a pattern in quotes"
    assert lines[1][0] == "a/one.JPG"
    assert str(lines[2]).startswith("folder empty has no picture in it or below it (.bmp, .gif, .jp2, ")
    assert lines[3] == "no picture fits *.gif: in a pattern, * stands for any part of a name, ** for folders"
    assert str(lines[4]).startswith("a/**.png is no pattern: ** stands for folders")
    # A folder that must not be read is one line, and others go on.
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path) == Path("a/b"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("ferbench.data.walk.os.scandir", refusing)
    (folder / "a/c").mkdir()
    (folder / "a/c/last.png").write_bytes(b"last")
    assert [each if isinstance(each, str) else each[0] for each in found("a")] == [
        "a/one.JPG",
        "a/c/last.png",
        "a/b cannot be read (Permission denied): check its rights",
    ]
    # A link to nothing is named; reading it will fail as any file's would.
    (lost,) = given_pictures(["lost.png"], lambda: b"")
    assert isinstance(lost, GivenPicture) and lost.below == PurePath("lost.png") and not isinstance(lost, NotGiven)
