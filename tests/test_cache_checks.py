"""A flipped byte, a cut file and a missing half are found, whatever wrote the entry; whole ones are whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import bar_dataset
from torch import nn

from ferbench.cache.checks import checked
from ferbench.cache.folder import cache_entries
from ferbench.checkpoints import Checkpoints
from ferbench.components import Samples
from ferbench.data.placement import place
from ferbench.data.split_cache import LARGEST_SIDE, SplitCache
from ferbench.fingerprints import fingerprint

STAGE = fingerprint("stage")


def faults(folder: Path, sha256s: dict[str, str] | None = None) -> list[tuple[str, str | None]]:
    return [(check.entry.kind, check.fault) for check in checked(cache_entries(folder), sha256s or {})]


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    checkpoints = Checkpoints(tmp_path)
    sha256 = checkpoints.save(STAGE, nn.Linear(40, 30))
    return checkpoints.path(STAGE), {STAGE: sha256}


@pytest.mark.parametrize("at", [0, 12, 200, -1])
def test_any_flipped_byte_of_a_checkpoint_is_found(
    tmp_path: Path, checkpoint: tuple[Path, dict[str, str]], at: int
) -> None:
    path, sha256s = checkpoint
    assert faults(tmp_path, sha256s) == [("checkpoints", None)]
    flip(path, at)
    ((_, fault),) = faults(tmp_path, sha256s)
    assert fault is not None and "is not the file that was stored; train its stage again" in fault


def test_a_checkpoint_of_another_store_must_be_safetensors(
    tmp_path: Path, checkpoint: tuple[Path, dict[str, str]]
) -> None:
    path, _ = checkpoint
    assert faults(tmp_path) == [("checkpoints", None)]
    cut(path)
    ((_, fault),) = faults(tmp_path)
    assert fault is not None and "is no whole safetensors file" in fault


def test_low_precision_checkpoints_are_readable(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(STAGE, nn.Linear(4, 3).to(torch.bfloat16))
    assert faults(tmp_path) == [("checkpoints", None)]


def test_a_damaged_partial_is_found(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(STAGE, nn.Linear(4, 3))
    (tmp_path / "checkpoints").rename(tmp_path / "partials")
    assert faults(tmp_path) == [("partials", None)]
    cut(tmp_path / "partials" / f"{STAGE}.safetensors")
    ((_, fault),) = faults(tmp_path)
    assert fault is not None and fault.endswith("`ferbench cache prune --kind partials`")


@pytest.fixture
def split(tmp_path: Path) -> Path:
    SplitCache(tmp_path).split(bar_dataset("bars", 1), tmp_path, "te")
    (folder,) = (tmp_path / "splits").iterdir()
    return folder


def test_splits_are_checked_picture_by_picture(tmp_path: Path, split: Path) -> None:
    assert faults(tmp_path) == [("splits", None)]
    flip(split / "pixels.bin", 3 * 144 + 5)
    ((_, fault),) = faults(tmp_path)
    assert fault == "has a picture that changed, sample 3; remove it with `ferbench cache prune --kind splits`"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: cut(folder / "pixels.bin"), "is not as long as its samples.json says"),
        (lambda folder: cut(folder / "samples.json"), "has a samples.json that is damaged"),
        (lambda folder: (folder / "pixels.bin").unlink(), "lacks pixels.bin"),
        (lambda folder: (folder / "samples.json").write_text("[]"), "has a samples.json that is damaged"),
    ],
)
def test_a_split_that_is_not_whole(tmp_path: Path, split: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(split)
    ((_, fault),) = faults(tmp_path)
    assert fault is not None and fault.startswith(words)


def test_pictures_that_were_reduced_are_whole(tmp_path: Path) -> None:
    side = LARGEST_SIDE + 40
    pictures = [np.full((side, side // 2, 3), value, np.uint8) for value in range(3)] + [np.ones((9, 8, 1), np.uint8)]
    files = []
    for number, picture in enumerate(pictures):
        from PIL import Image

        files.append(tmp_path / f"{number}.png")
        Image.fromarray(picture.squeeze()).save(files[-1])
    dataset = bar_dataset("large", 1)
    samples = Samples(files, np.arange(4), tuple("abcd"), None)
    SplitCache(tmp_path)._write(fingerprint("key"), dataset, samples, "te")
    assert faults(tmp_path) == [("splits", None)]


def put_features(folder: Path) -> Path:
    content = b"some values"
    path = folder / "features" / f"{STAGE}.npy"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    table = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "shape": [1, 2]}
    path.with_suffix(".json").write_text(json.dumps(table))
    return path


def put_reduced(folder: Path) -> Path:
    pictures = np.arange(5 * 40 * 30 * 3, dtype=np.uint64).astype(np.uint8).reshape(5, 40, 30, 3)
    place(pictures, 16, "cpu", room_bytes=1, cache_folder=folder, content="content")
    (path,) = (folder / "reduced").glob("*.bin")
    return path


@pytest.mark.parametrize("put", [put_features, put_reduced])
def test_files_beside_a_table_are_what_it_says(tmp_path: Path, put: Callable[[Path], Path]) -> None:
    path = put(tmp_path)
    kind = path.parent.name
    assert faults(tmp_path) == [(kind, None)]
    cut(path)
    words = f"is not as long as its table says; remove it with `ferbench cache prune --kind {kind}`"
    assert faults(tmp_path) == [(kind, words)]
    for table in ("no JSON", "[]", '{"shape": 3}', '{"shape": []}'):
        path.with_suffix(".json").write_text(table)
        assert "has a table that is damaged" in str(faults(tmp_path))
    path.with_suffix(".json").unlink()
    assert "is 1 of its two files" in str(faults(tmp_path))


def test_a_flipped_byte_of_features_is_found(tmp_path: Path) -> None:
    flip(put_features(tmp_path), 4)
    ((_, fault),) = faults(tmp_path)
    assert fault == "is not what was written; remove it with `ferbench cache prune --kind features`"


def test_what_vanishes_meanwhile_and_leftovers_are_no_faults(
    tmp_path: Path, checkpoint: tuple[Path, dict[str, str]]
) -> None:
    path, sha256s = checkpoint
    entries = cache_entries(tmp_path)
    path.unlink()
    assert list(checked(entries, sha256s)) == []
