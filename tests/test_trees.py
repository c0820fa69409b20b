"""Listings of folders and zips: what is in them, and what is refused in one line."""

from __future__ import annotations

import os
import socket
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.data import trees
from ferbench.data.trees import subfolders, tree_files
from ferbench.errors import DatasetError


def written(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def packed(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def contents(root: Path, *, into_zips: bool = False) -> dict[str, bytes]:
    return {str(file.path): file.read_bytes() for file in tree_files(root, into_zips=into_zips)}


FILES = {"b/x.png": b"1", "a/y.png": b"22", "top.txt": b"", "a/deep/er/z": b"4444"}


def test_a_folder_and_a_zip_of_it_are_listed_alike(tmp_path: Path) -> None:
    folder, archive = written(tmp_path / "d", FILES), packed(tmp_path / "d.zip", FILES)
    assert contents(folder) == contents(archive) == FILES
    for root in (folder, archive):
        listed = tree_files(root)
        assert [file.path for file in listed] == sorted(map(PurePosixPath, FILES), key=lambda path: path.parts)
        assert [file.size for file in listed] == [len(FILES[str(file.path)]) for file in listed]
    assert str(tree_files(folder)[0]) == str(folder / "a/deep/er/z")
    assert str(tree_files(archive)[0]) == f"{archive}: a/deep/er/z"


def test_zips_below_a_folder_stand_as_folders_if_asked_for(tmp_path: Path) -> None:
    packed(tmp_path / "sets" / "Train.ZIP", {"Angry/a.png": b"a"})
    written(tmp_path, {"read me.txt": b"r"})
    assert set(contents(tmp_path)) == {"sets/Train.ZIP", "read me.txt"}
    assert contents(tmp_path, into_zips=True) == {"sets/Train/Angry/a.png": b"a", "read me.txt": b"r"}


def test_what_systems_leave_behind_is_not_there(tmp_path: Path) -> None:
    stray = {"__MACOSX/happy/._a.png": b"", "happy/.DS_Store": b"", "happy/Thumbs.db": b"", ".hidden/a.png": b""}
    assert contents(written(tmp_path / "d", {**stray, "happy/a.png": b"1"})) == {"happy/a.png": b"1"}
    assert contents(packed(tmp_path / "d.zip", {**stray, "happy/a.png": b"1"})) == {"happy/a.png": b"1"}
    written(tmp_path / "e", {"b/x": b"", "a/x": b"", "__MACOSX/x": b"", "file": b""})
    assert [folder.name for folder in subfolders(tmp_path / "e")] == ["a", "b"]
    assert subfolders(tmp_path / "nowhere") == subfolders(tmp_path / "e" / "file") == []


def test_entries_of_one_zip_are_read_by_several_threads(tmp_path: Path) -> None:
    files = {f"{number}.png": os.urandom(5000) for number in range(200)}
    listed = tree_files(packed(tmp_path / "d.zip", files))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda file: file.read_bytes(), listed)) == [files[str(file.path)] for file in listed]


# --- links ------------------------------------------------------------------------------------------------------------


def test_the_place_itself_may_be_a_link_and_links_within_it_are_followed(tmp_path: Path) -> None:
    disk = written(tmp_path / "disk", {"happy/a.png": b"1"})
    (tmp_path / "data").symlink_to(disk)
    (disk / "joy").symlink_to(disk / "happy")
    (disk / "happy" / "up").symlink_to(disk)
    assert contents(tmp_path / "data") == {"happy/a.png": b"1", "joy/a.png": b"1"}


def test_a_link_to_a_folder_that_it_lies_in_is_not_followed(tmp_path: Path) -> None:
    written(tmp_path, {"a/b/x.png": b"1", "happy/y.png": b"2"})
    (tmp_path / "a" / "b" / "loop").symlink_to("..")
    (tmp_path / "happy" / "happy").symlink_to(".")
    assert contents(tmp_path) == {"a/b/x.png": b"1", "happy/y.png": b"2"}


def test_a_link_into_a_folder_that_holds_the_way_there_is_not_followed(tmp_path: Path) -> None:
    # From `in`, `up` leads to a folder above the folder that the link led to.
    written(tmp_path / "d", {"pool/deep/x.png": b"1"})
    (tmp_path / "d" / "in").symlink_to("pool/deep")
    (tmp_path / "d" / "pool" / "deep" / "up").symlink_to("..")
    assert set(contents(tmp_path / "d")) == {"pool/deep/x.png", "in/x.png"}


@pytest.mark.parametrize("count", [2, 6, 12])
def test_folders_linked_to_each_other_are_listed_a_few_times(tmp_path: Path, count: int) -> None:
    names = [f"f{number:02}" for number in range(count)]
    for name in names:
        written(tmp_path, {f"{name}/{name}.png": b"1"})
        for other in names:
            if other != name:
                (tmp_path / name / f"to {other}").symlink_to(tmp_path / other)
    listed = [str(file.path) for file in tree_files(tmp_path)]
    # Each plainly, by every link of a plain folder, and by what no link had led to yet.
    assert len(listed) == len(set(listed)) <= count * (count + 1)
    assert {f"{name}/{name}.png" for name in names} <= set(listed)
    assert f"f00/to f01/{names[1]}.png" in listed and f"f01/to f00/{names[0]}.png" in listed


def test_all_links_to_one_folder_are_followed_so_that_nothing_goes_missing(tmp_path: Path) -> None:
    written(tmp_path, {"pool/x.png": b"1"})
    for name in ("zzz", "beta", "alpha"):
        (tmp_path / name).symlink_to("pool")
    assert set(contents(tmp_path)) == {f"{name}/x.png" for name in ("alpha", "beta", "pool", "zzz")}


def test_links_to_files_within_the_place_are_all_followed(tmp_path: Path) -> None:
    written(tmp_path, {"happy/a.png": b"1"})
    for name in ("b.png", "c.png"):
        (tmp_path / name).symlink_to(tmp_path / "happy" / "a.png")
    assert contents(tmp_path) == {"happy/a.png": b"1", "b.png": b"1", "c.png": b"1"}


def test_links_in_a_circle_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(DatasetError, match=r"/a is a link to .*, which cannot be reached \(Too many levels.*\): mend"):
        tree_files(tmp_path)


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, linked: bool) -> None:
    root = written(tmp_path / "d", {"happy/a.png": b"1"})
    os.mkfifo(root / ".pipe" if linked else root / "x.png")
    if linked:
        (root / "x.png").symlink_to(root / ".pipe")
    with pytest.raises(DatasetError, match=r"x\.png is no file but a pipe, .*: remove it"):
        tree_files(root)


def test_a_pipe_in_the_place_of_a_file_or_a_zip_is_refused(tmp_path: Path) -> None:
    (file,) = tree_files(written(tmp_path / "d", {"a.png": b"1"}))
    (tmp_path / "d" / "a.png").unlink()
    os.mkfifo(tmp_path / "d" / "a.png")
    os.mkfifo(tmp_path / "d.zip")
    with pytest.raises(DatasetError, match=r"a\.png is no file but a pipe"):
        file.read_bytes()
    with pytest.raises(DatasetError, match=r"d\.zip is no file but a pipe"):
        tree_files(tmp_path / "d.zip")


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("s.png")
        with pytest.raises(DatasetError, match=r"s\.png is no file but a socket"):
            tree_files(tmp_path)


def test_a_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="/dev/null is no file but a device"):
        tree_files(Path("/dev/null"))


@pytest.mark.parametrize("below", ["train", "happy/b.png"])
def test_a_link_out_of_the_place_is_refused(tmp_path: Path, below: str) -> None:
    root = written(tmp_path / "data", {"happy/a.png": b"1"})
    outside = written(tmp_path / "other", {"secret/b.png": b"2"})
    (root / below).symlink_to(outside if below == "train" else outside / "secret/b.png")
    with pytest.raises(DatasetError, match=f"{root / below} is a link that leads out of {root}: put a copy there"):
        tree_files(root)


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DatasetError, match=r"a\.png is a link to .*gone\.png, which does not exist: mend or remove it"):
        tree_files(tmp_path)


# --- zips that are not to be trusted ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../a.png", "x/../../a.png", "/etc/a.png", "..\\a.png", "C:\\a.png", "\\\\host\\a"])
def test_entries_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    archive = packed(tmp_path / "d.zip", {"happy/b.png": b"", name: b"1"})
    with pytest.raises(DatasetError, match=r"d\.zip: entry .* leads out of the zip: get it from its publisher"):
        tree_files(archive)


def test_a_password_is_named_before_anything_is_read(tmp_path: Path) -> None:
    archive = packed(tmp_path / "d.zip", {"happy/b.png": b"12345678"})
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    archive.write_bytes(content)
    with pytest.raises(DatasetError, match=r"d\.zip is protected by a password \(entry 'happy/b.png'\): unpack it"):
        tree_files(archive)


def test_a_bomb_is_refused_by_its_size(tmp_path: Path) -> None:
    archive = packed(tmp_path / "d.zip", {"happy/b.png": bytes(70 << 20)})
    assert archive.stat().st_size < 100_000
    with pytest.raises(DatasetError, match=r"entry 'happy/b\.png' of \d+ bytes would unpack to 70 MB, as a zip bomb"):
        tree_files(archive)


def test_a_size_that_is_a_lie_is_found_when_it_is_read(tmp_path: Path) -> None:
    archive = packed(tmp_path / "d.zip", {"a.png": b"x" * 1000})
    content = bytearray(archive.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(DatasetError, match=r"d\.zip: a\.png is damaged inside its zip"):
        tree_files(archive)[0].read_bytes()


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    with pytest.raises(DatasetError, match=r"d\.zip has two entries 'a\.png'"):
        tree_files(tmp_path / "d.zip")


def test_more_entries_than_any_dataset_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "_MOST_ENTRIES", 3)
    with pytest.raises(DatasetError, match="has 4 entries, more than any dataset of faces"):
        tree_files(packed(tmp_path / "d.zip", FILES))


def test_a_file_that_is_larger_than_any_picture_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "LARGEST_FILE", 1 << 20)
    written(tmp_path / "d", {"a.png": bytes(3 << 20)})
    with pytest.raises(DatasetError, match=r"a\.png has 3 MB, more than any picture of a face: remove it"):
        tree_files(tmp_path / "d")[0].read_bytes()


@given(cut=st.floats(0, 0.999))
@settings(max_examples=60, deadline=None)
def test_a_zip_that_is_cut_off_is_named(tmp_path_factory: pytest.TempPathFactory, cut: float) -> None:
    folder = tmp_path_factory.mktemp("cut")
    archive = packed(folder / "d.zip", FILES)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(DatasetError, match=r"d\.zip is no whole zip \(.*\): get it again"):
        tree_files(archive)


@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_damaged_byte_gives_the_content_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    archive = packed(tmp_path_factory.mktemp("damaged") / "d.zip", {"happy/a.png": b"0123456789" * 20, "b": b"zz"})
    content = bytearray(archive.read_bytes())
    content[place % len(content)] = value
    archive.write_bytes(content)
    try:
        for file in tree_files(archive):
            file.read_bytes()
    except DatasetError as error:
        assert str(archive) in error.line


def test_what_is_no_zip_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.zip").write_bytes(b"no zip at all")
    with pytest.raises(DatasetError, match=r"d\.zip is no whole zip"):
        tree_files(tmp_path / "d.zip")
    with pytest.raises(DatasetError, match=r"gone\.zip cannot be read \(No such file or directory\)"):
        tree_files(tmp_path / "gone.zip")


def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    (file,) = tree_files(written(tmp_path, {"a.png": b"1"}))
    (tmp_path / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"a\.png does not exist: the copy of the data is incomplete"):
        file.read_bytes()
