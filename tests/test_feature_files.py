"""Files of features: whole or not there, and not needed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_prefix import ABOUT, Counting, never, placed, prefix_of, tiny_module

from ferbench.features.cache import FeatureCache
from ferbench.features.files import FeatureWriter


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path)


def cut_short(values: Path, table: Path) -> None:
    values.write_bytes(values.read_bytes()[:-100])


def emptied(values: Path, table: Path) -> None:
    values.write_bytes(b"")


def gone(values: Path, table: Path) -> None:
    values.unlink()


def without_table(values: Path, table: Path) -> None:
    table.unlink()


def half_a_table(values: Path, table: Path) -> None:
    table.write_text(table.read_text()[:20])


def no_table(values: Path, table: Path) -> None:
    table.write_text("[1, 2]")


def of_other_images(values: Path, table: Path) -> None:
    np.save(values, np.zeros((3, 288), np.float32))
    table.write_text(json.dumps(json.loads(table.read_text()) | {"bytes": values.stat().st_size}))


def of_another_type(values: Path, table: Path) -> None:
    np.save(values, np.load(values).astype(np.float64))
    table.write_text(json.dumps(json.loads(table.read_text()) | {"bytes": values.stat().st_size}))


def pickled(values: Path, table: Path) -> None:
    np.save(values, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "damage",
    [cut_short, emptied, gone, without_table, half_a_table, no_table, of_other_images, of_another_type, pickled],
)
def test_damaged_files_are_computed_again(
    cache: FeatureCache, tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    images, _ = placed(10)
    source = Counting(prefix_of(tiny_module()))
    whole = cache.of(source, ABOUT, lambda: images).values[0].clone()
    (values,), (table,) = cache.folder.glob("*.npy"), cache.folder.glob("*.json")
    damage(values, table)
    for computed in (2, 2):
        assert torch.equal(FeatureCache(tmp_path).of(source, ABOUT, lambda: images).values[0], whole)
        assert source.batches == computed


def test_use_sets_the_modification_time(cache: FeatureCache, tmp_path: Path) -> None:
    images, _ = placed(10)
    source = prefix_of(tiny_module())
    for used in (cache, cache, FeatureCache(tmp_path)):
        used.of(source, ABOUT, lambda: images)
        for path in cache.folder.iterdir():
            assert path.stat().st_mtime > 1e9
            os.utime(path, (0, 0))


def test_what_the_table_says_is_true(cache: FeatureCache) -> None:
    images, _ = placed(10)
    found = cache.of(prefix_of(tiny_module()), ABOUT, lambda: images)
    (values,), (table,) = cache.folder.glob("*.npy"), cache.folder.glob("*.json")
    content = values.read_bytes()
    assert json.loads(table.read_text()) == {
        "images": 10,
        "shape": [10, 288],
        "seconds": found.seconds,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_a_full_disk_is_no_failure(
    cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """The header and two of four batches fit, and a piece of the third one."""
    images, _ = placed(1000)
    source = Counting(prefix_of(tiny_module(), "3"))
    whole = FeatureCache(tmp_path / "large").of(source, ABOUT, lambda: images)
    put, calls = FeatureWriter._put, []

    def refuse(writer: FeatureWriter, content: bytes) -> None:
        calls.append(len(content))
        if len(calls) > written:
            put(writer, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "no space left on device")
        put(writer, content)

    monkeypatch.setattr(FeatureWriter, "_put", refuse)
    found = cache.of(source, ABOUT, lambda: images)
    assert torch.equal(found.values[0], whole.values[0])
    assert len(calls) == written + 1
    assert list(cache.folder.iterdir()) == []
    # They stay in memory.
    assert cache.of(source, ABOUT, never).spent_seconds == 0
    cache.release()
    with pytest.raises(AssertionError, match="not needed"):
        cache.of(source, ABOUT, never)


def test_a_folder_that_cannot_be_made_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file")
    images, _ = placed(10)
    found = FeatureCache(tmp_path).of(prefix_of(tiny_module()), ABOUT, lambda: images)
    assert found.values[0].shape == (10, 288)
