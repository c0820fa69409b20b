"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ferbench.whole_files import HIDDEN, LEFTOVER_AFTER_SECONDS, TEMPORARY, sweep, whole_file


def test_what_was_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "below" / "file"
    with whole_file(path) as file:
        file.write(b"one")
    with pytest.raises(RuntimeError, match="middle"), whole_file(path) as file:
        file.write(b"two, by hal")
        assert [each.name.startswith(TEMPORARY) for each in path.parent.iterdir()].count(True) == 1
        raise RuntimeError("in the middle")
    assert path.read_bytes() == b"one" and list(path.parent.iterdir()) == [path]


def test_the_cache_is_its_owners_and_what_is_for_people_is_like_any_new_file(tmp_path: Path) -> None:
    like = tmp_path / "like"
    like.write_bytes(b"")
    for name, for_people in (("kept", False), ("shown", True)):
        with whole_file(tmp_path / name, for_people=for_people) as file:
            assert Path(file.name if isinstance(file.name, str) else tmp_path).exists()
            begins = HIDDEN if for_people else TEMPORARY
            assert any(each.name.startswith(begins) for each in tmp_path.iterdir())
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o600
    assert (tmp_path / "shown").stat().st_mode == like.stat().st_mode


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    old, young, other = tmp_path / f"{HIDDEN}old", tmp_path / f"{HIDDEN}young", tmp_path / "old"
    deep, folder = tmp_path / "below" / f"{HIDDEN}old", tmp_path / f"{HIDDEN}folder"
    folder.mkdir()
    for path in (old, young, other, deep, folder / "thesis"):
        path.write_bytes(b"half")
    long_ago = young.stat().st_mtime - 2 * LEFTOVER_AFTER_SECONDS
    for path in (old, other, deep, folder / "thesis", folder):
        os.utime(path, (long_ago, long_ago))
    sweep(tmp_path)
    assert not old.exists() and young.exists() and other.exists() and deep.exists()
    sweep(tmp_path, below=True)
    assert not deep.exists() and young.exists() and other.exists() and (folder / "thesis").exists()
    sweep(tmp_path / "nowhere")
