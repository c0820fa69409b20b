"""What counts as an entry of the cache folder, with its size and last use; and removal."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path

import pytest

import ferbench.cache.folder as module
from ferbench.cache.folder import CacheEntry, cache_entries, remove_entry
from ferbench.errors import CheckpointError
from ferbench.fingerprints import fingerprint

NOW = 2_000_000_000.0
DAY = 24 * 3600.0

A, B, C = (fingerprint(name) for name in "abc")


def put(path: Path, size: int, age: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (NOW - age, NOW - age))
    return path


def put_split(folder: Path, key: str, *, pixels: int, age: float) -> Path:
    split = folder / "splits" / key
    put(split / "pixels.bin", pixels, age + 50)
    put(split / "samples.json", 20, age + 50)
    os.utime(split, (NOW - age, NOW - age))
    return split


def test_every_kind_with_its_size_and_last_use(tmp_path: Path) -> None:
    checkpoint = put(tmp_path / "checkpoints" / f"{A}.safetensors", 100, age=30)
    partial = put(tmp_path / "partials" / f"{A}.safetensors", 300, age=10)
    values = put(tmp_path / "features" / f"{B}.npy", 1000, age=20)
    table = put(tmp_path / "features" / f"{B}.json", 7, age=25)
    reduced = put(tmp_path / "reduced" / f"{C}.bin", 50, age=5)
    split = put_split(tmp_path, C, pixels=400, age=7)
    assert cache_entries(tmp_path, NOW) == [
        CacheEntry("checkpoints", A, (checkpoint,), 100, NOW - 30),
        CacheEntry("partials", A, (partial,), 300, NOW - 10),
        CacheEntry("features", B, (table, values), 1007, NOW - 20),
        CacheEntry("splits", C, (split,), 420, NOW - 7),
        CacheEntry("reduced", C, (reduced,), 50, NOW - 5),
    ]


def test_what_others_put_there_is_no_entry(tmp_path: Path) -> None:
    assert cache_entries(tmp_path / "nowhere") == []
    for name in ("notes.txt", f"{A}.txt", "abc.safetensors", f"{A.upper()}.safetensors", ".DS_Store"):
        put(tmp_path / "checkpoints" / name, 5)
    put(tmp_path / "torch" / f"{A}.safetensors", 5)
    put(tmp_path / f"{A}.safetensors", 5)
    (tmp_path / "checkpoints" / f"{B}.safetensors").mkdir()
    put(tmp_path / "splits" / f"{A}.bin", 5)
    put(tmp_path / "features" / A, 5)
    (tmp_path / "checkpoints" / f"{C}.safetensors").symlink_to(put(tmp_path / "elsewhere", 9))
    put(tmp_path / "reduced", 3)
    assert cache_entries(tmp_path, NOW) == []


def test_leftovers_are_temporaries_older_than_a_day(tmp_path: Path) -> None:
    put(tmp_path / "checkpoints" / "new-young", 10, age=DAY - 60)
    old = put(tmp_path / "checkpoints" / "new-old", 20, age=DAY + 60)
    put(tmp_path / "splits" / "new-folder" / "pixels.bin", 30, age=2 * DAY)
    os.utime(tmp_path / "splits" / "new-folder", (NOW - 2 * DAY, NOW - 2 * DAY))
    put(tmp_path / "splits" / "new-growing" / "pixels.bin", 30, age=60)
    os.utime(tmp_path / "splits" / "new-growing", (NOW - 2 * DAY, NOW - 2 * DAY))
    assert cache_entries(tmp_path, NOW) == [
        CacheEntry("leftovers", "new-folder", (tmp_path / "splits" / "new-folder",), 30, NOW - 2 * DAY),
        CacheEntry("leftovers", "new-old", (old,), 20, NOW - DAY - 60),
    ]


def test_entries_that_vanish_while_they_are_listed_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "checkpoints" / f"{A}.safetensors", 5)
    put(tmp_path / "checkpoints" / f"{B}.safetensors", 6)
    put_split(tmp_path, A, pixels=5, age=1)
    put_split(tmp_path, B, pixels=6, age=1)
    listed = module._listed

    def listed_and_gone(folder: Path) -> list[os.DirEntry[str]]:
        items = listed(folder)
        (tmp_path / "checkpoints" / f"{A}.safetensors").unlink(missing_ok=True)
        if folder.name == "splits":
            shutil.rmtree(tmp_path / "splits" / A)
        return items

    monkeypatch.setattr(module, "_listed", listed_and_gone)
    assert [(entry.kind, entry.name) for entry in cache_entries(tmp_path)] == [("checkpoints", B), ("splits", B)]


def test_removal_takes_all_files_of_an_entry_and_no_others(tmp_path: Path) -> None:
    put(tmp_path / "features" / f"{A}.npy", 5)
    put(tmp_path / "features" / f"{A}.json", 5)
    other = put(tmp_path / "features" / f"{B}.npy", 5)
    put_split(tmp_path, A, pixels=5, age=1)
    kept = put_split(tmp_path, B, pixels=5, age=1)
    for entry in cache_entries(tmp_path, NOW):
        if entry.name == A:
            assert remove_entry(entry)
            assert remove_entry(entry)  # gone already, which is what was wanted
    assert sorted(tmp_path.rglob("*")) == sorted(
        [tmp_path / "features", other, tmp_path / "splits", kept, *kept.iterdir()]
    )


def test_what_was_used_since_it_was_listed_stays(tmp_path: Path) -> None:
    path = put(tmp_path / "checkpoints" / f"{A}.safetensors", 5, age=time.time())
    split = put_split(tmp_path, B, pixels=5, age=100)
    entries = cache_entries(tmp_path, NOW)
    os.utime(path)
    os.utime(split, (NOW, NOW))
    assert [remove_entry(entry) for entry in entries] == [False, False]
    assert path.exists() and (split / "pixels.bin").exists()


@pytest.mark.parametrize("when", ["before it is put aside", "put aside", "removed"])
def test_a_folder_that_another_process_removes_first_is_gone_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    split = put_split(tmp_path, A, pixels=5, age=1)
    (entry,) = cache_entries(tmp_path, NOW)
    rename, rmtree = Path.rename, shutil.rmtree

    def renamed(self: Path, target: Path) -> Path:
        if when == "before it is put aside":
            rmtree(self)
        return rename(self, target)

    def removed(path: Path) -> None:
        if when == "removed":
            rmtree(path)
        rmtree(path)

    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(module.shutil, "rmtree", removed)
    assert remove_entry(entry)
    assert not split.exists() and list((tmp_path / "splits").iterdir()) == []


def test_a_folder_that_cannot_be_put_aside_is_one_line_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = put_split(tmp_path, A, pixels=5, age=1)
    (entry,) = cache_entries(tmp_path, NOW)

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(CheckpointError, match=rf"{A} cannot be removed: Permission denied"):
        remove_entry(entry)
    assert list((tmp_path / "splits").iterdir()) == [split]


def test_a_folder_in_which_nothing_may_be_removed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "checkpoints" / f"{A}.safetensors", 5)
    (entry,) = cache_entries(tmp_path, NOW)

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(
        CheckpointError, match=rf"{A}.safetensors cannot be removed: Permission denied; make its folder"
    ):
        remove_entry(entry)


def test_a_folder_that_must_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CheckpointError, match=r"checkpoints cannot be read: Permission denied; .*FERBENCH_CACHE"):
        cache_entries(tmp_path)


def test_entries_are_hashable_records(tmp_path: Path) -> None:
    entry = CacheEntry("splits", A, (tmp_path,), 1, 2.0)
    assert {entry, dataclasses.replace(entry)} == {entry}
