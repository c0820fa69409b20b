"""Decoded splits on disk: read once, read again when files change or an entry is damaged, by two processes at once."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import bar_dataset

from ferbench.components import Dataset, Samples
from ferbench.data.split_cache import LARGEST_SIDE, SplitCache, StoredSplit, signature
from ferbench.errors import DatasetError


def folder_dataset(loads: list[str]) -> Dataset:
    """PNG files named CLASS_NUMBER.png in one folder."""

    def load(split: str, root: Path) -> Samples:
        loads.append(split)
        files = sorted(root.glob("*.png"))
        classes = ("happy", "sad")
        labels = np.array([classes.index(file.name.split("_")[0]) for file in files], np.int64)
        return Samples(files, labels, tuple(file.stem for file in files))

    return Dataset("folder", 1, ("happy", "sad"), ("all",), {"train": "all"}, lambda folder: folder, load)


def save_pictures(root: Path, shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    root.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    made = {name: random.integers(0, 256, shape).astype(np.uint8) for name, shape in shapes.items()}
    for name, pixels in made.items():
        Image.fromarray(pixels).save(root / f"{name}.png")
    return made


def whole(stored: StoredSplit) -> list[np.ndarray]:
    return list(stored.images(np.arange(len(stored.ids))))


def entry(cache: Path) -> Path:
    (folder,) = (cache / "splits").iterdir()
    return folder


def test_a_split_is_read_once_and_comes_back_the_same(tmp_path: Path) -> None:
    loads: list[str] = []
    made = save_pictures(tmp_path / "data", {f"happy_{n}": (9, 7) for n in range(3)} | {"sad_0": (9, 7)})
    dataset = folder_dataset(loads)
    cache = SplitCache(tmp_path / "cache")
    first = cache.split(dataset, tmp_path / "data", "all")
    assert cache.split(dataset, tmp_path / "data", "all") is first
    again = SplitCache(tmp_path / "cache").split(dataset, tmp_path / "data", "all")
    assert loads == ["all"]
    assert (again.ids, again.class_names, again.digests) == (first.ids, first.class_names, first.digests)
    for stored in (first, again):
        assert stored.class_names == ("happy", "happy", "happy", "sad") and stored.groups is None
        images = stored.images(np.array([3, 0]))
        assert isinstance(images, np.ndarray)
        np.testing.assert_array_equal(images[..., 0], [made["sad_0"], made["happy_0"]])
    # The digest as documented, by hand.
    expected = hashlib.sha256(b"(9, 7, 1)/sad//" + made["sad_0"].tobytes()).hexdigest()
    assert first.digests[3] == expected


def test_pictures_of_different_sizes_keep_theirs(tmp_path: Path) -> None:
    made = save_pictures(tmp_path / "data", {"happy_0": (9, 7, 3), "happy_1": (4, 12, 3), "sad_0": (8, 8, 3)})
    for _ in range(2):
        stored = SplitCache(tmp_path / "cache").split(folder_dataset([]), tmp_path / "data", "all")
        for image, identifier in zip(whole(stored), stored.ids, strict=True):
            np.testing.assert_array_equal(image, made[identifier])
        chosen = stored.images(np.array([2, 0]))
        assert isinstance(chosen, list) and [image.shape for image in chosen] == [(8, 8, 3), (9, 7, 3)]


def test_grey_and_coloured_pictures_of_one_size_come_together(tmp_path: Path) -> None:
    made = save_pictures(tmp_path / "data", {"happy_0": (6, 6, 3), "sad_0": (6, 6)})
    stored = SplitCache(tmp_path / "cache").split(folder_dataset([]), tmp_path / "data", "all")
    images = stored.images(np.array([1, 0]))
    assert isinstance(images, np.ndarray) and images.shape == (2, 6, 6, 3)
    np.testing.assert_array_equal(images[0], np.repeat(made["sad_0"][..., None], 3, axis=2))
    # A grey picture is the same picture whatever lies beside it.
    alone = save_pictures(tmp_path / "alone", {"sad_0": (6, 6)})
    Image.fromarray(made["sad_0"]).save(tmp_path / "alone" / "sad_0.png")
    again = SplitCache(tmp_path / "cache").split(folder_dataset([]), tmp_path / "alone", "all")
    assert list(alone) == ["sad_0"] and again.digests == (stored.digests[1],)
    assert again.pictures == (stored.pictures[1],)
    assert again.pictures[0] == hashlib.sha256(b"(6, 6, 1)/" + made["sad_0"].tobytes()).hexdigest()


def test_large_pictures_are_kept_smaller_and_named_by_what_they_were(tmp_path: Path) -> None:
    made = save_pictures(tmp_path / "data", {"happy_0": (LARGEST_SIDE * 2, LARGEST_SIDE), "sad_0": (8, 8)})
    for _ in range(2):
        stored = SplitCache(tmp_path / "cache").split(folder_dataset([]), tmp_path / "data", "all")
        assert stored.shapes.tolist() == [[LARGEST_SIDE, LARGEST_SIDE // 2, 1], [8, 8, 1]]
        assert stored.warnings == ("1 picture of split all kept at 512 pixels on the longer side",)
        head = f"{(LARGEST_SIDE * 2, LARGEST_SIDE, 1)}/happy//kept at 512/".encode()
        assert stored.digests[0] == hashlib.sha256(head + made["happy_0"].tobytes()).hexdigest()


def test_changed_added_and_removed_files_are_read_again(tmp_path: Path) -> None:
    root, loads = tmp_path / "data", []
    made = save_pictures(root, {"happy_0": (6, 6), "sad_0": (6, 6)})

    def read() -> StoredSplit:
        return SplitCache(tmp_path / "cache").split(folder_dataset(loads), root, "all")

    first = read()
    changed = save_pictures(root, {"sad_0": (6, 6)}, seed=9)
    os.utime(root / "sad_0.png", ns=(0, 1))
    second = read()
    assert len(loads) == 2 and second.digests[0] == first.digests[0] and second.digests[1] != first.digests[1]
    np.testing.assert_array_equal(whole(second)[1][..., 0], changed["sad_0"])
    save_pictures(root, {"sad_1": (6, 6)})
    assert len(read().ids) == 3
    (root / "sad_1.png").unlink()
    third = read()
    # What lay there once is still in the cache, hence no further reading.
    assert third.ids == first.ids and len(loads) == 3
    np.testing.assert_array_equal(whole(third)[0][..., 0], made["happy_0"])


def test_another_version_of_the_plugin_reads_again(tmp_path: Path) -> None:
    loads: list[str] = []
    save_pictures(tmp_path / "data", {"happy_0": (6, 6)})
    for version in (1, 2, 1, 2):
        dataset = dataclasses.replace(folder_dataset(loads), version=version)
        SplitCache(tmp_path / "cache").split(dataset, tmp_path / "data", "all")
    assert len(loads) == 2


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", ["pixels.bin", "samples.json"])
@pytest.mark.parametrize("damage", [truncate, empty, Path.unlink])
def test_a_damaged_entry_is_read_again_and_mended(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    loads: list[str] = []
    made = save_pictures(tmp_path / "data", {"happy_0": (6, 6), "sad_0": (6, 6)})
    for expected in (1, 2, 2):
        stored = SplitCache(tmp_path / "cache").split(folder_dataset(loads), tmp_path / "data", "all")
        np.testing.assert_array_equal(whole(stored)[1][..., 0], made["sad_0"])
        assert len(loads) == expected
        if expected == 1:
            damage(entry(tmp_path / "cache") / name)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: [],
        lambda table: {**table, "shapes": [[6, 6, 1], [7, 6, 1]]},
        lambda table: {**table, "class_names": ["happy"]},
        lambda table: {**table, "ids": ["happy_0"], "shapes": [[6, 6, 1]]},
        lambda table: {key: value for key, value in table.items() if key != "groups"},
    ],
)
def test_an_entry_that_contradicts_itself_is_read_again(tmp_path: Path, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    loads: list[str] = []
    save_pictures(tmp_path / "data", {"happy_0": (6, 6), "sad_0": (6, 6)})
    SplitCache(tmp_path / "cache").split(folder_dataset(loads), tmp_path / "data", "all")
    table = entry(tmp_path / "cache") / "samples.json"
    table.write_text(json.dumps(change(json.loads(table.read_text()))))
    stored = SplitCache(tmp_path / "cache").split(folder_dataset(loads), tmp_path / "data", "all")
    assert len(loads) == 2 and stored.ids == ("happy_0", "sad_0")


PROCESS = """
import sys, time
from pathlib import Path
import numpy as np
from ferbench.components import Dataset, Samples
from ferbench.data.split_cache import SplitCache

folder = Path(sys.argv[1])

def load(split, root):
    (folder / f"ready-{sys.argv[2]}").touch()
    while len(list(folder.glob("ready-*"))) < 2:
        time.sleep(0.005)
    images = np.random.default_rng(0).integers(0, 256, (300, 48, 48, 1)).astype(np.uint8)
    return Samples(images, np.arange(300) % 2, tuple(map(str, range(300))))

dataset = Dataset("both", 1, ("happy", "sad"), ("all",), {"train": "all"}, lambda f: f, load, embedded=True,
                  identity=lambda split: "same")
stored = SplitCache(folder / "cache").split(dataset, folder, "all")
print(int(np.asarray(stored.images(np.arange(300))).sum()))
"""


def test_two_processes_may_read_one_split_at_once(tmp_path: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    answers = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    expected = int(np.random.default_rng(0).integers(0, 256, (300, 48, 48, 1)).astype(np.uint8).sum())
    assert [int(out) for out, _ in answers] == [expected, expected]
    assert {path.name for path in entry(tmp_path / "cache").iterdir()} == {"pixels.bin", "samples.json"}


def test_embedded_data_is_known_by_its_identity_not_by_its_pixels(tmp_path: Path) -> None:
    loads: list[str] = []
    dataset = bar_dataset("bars", 1, loads=loads)
    first = SplitCache(tmp_path / "cache").split(dataset, tmp_path / "nowhere", "tr")
    assert SplitCache(tmp_path / "cache").split(dataset, tmp_path / "elsewhere", "tr").digests == first.digests
    assert loads == ["bars/tr"]
    other = dataclasses.replace(dataset, identity=lambda split: "another")
    assert SplitCache(tmp_path / "cache").split(other, tmp_path, "tr").digests != first.digests


# --- signatures -------------------------------------------------------------------------------------------------------


def test_a_signature_follows_links_and_survives_broken_and_circular_ones(tmp_path: Path) -> None:
    disk, root = tmp_path / "disk", tmp_path / "data"
    (disk / "happy").mkdir(parents=True)
    (disk / "happy" / "a.png").write_bytes(b"1")
    root.mkdir()
    (root / "train").symlink_to(disk)
    (root / "lost.png").symlink_to(tmp_path / "nowhere.png")
    (disk / "up").symlink_to(root)
    first = signature(root)
    assert signature(root) == first
    (disk / "happy" / "a.png").write_bytes(b"12")
    assert signature(root) != first
    assert signature(disk / "happy" / "a.png") != signature(root / "train")


def test_a_signature_ends_where_folders_are_linked_to_each_other_and_sees_every_link(tmp_path: Path) -> None:
    root = tmp_path / "data"
    names = [f"f{number}" for number in range(10)]
    for name in names:
        (root / name).mkdir(parents=True)
        for other in names:
            (root / name / f"to {other}").symlink_to(root / other)
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    first = signature(root)
    assert signature(root) == first
    # A link that is not followed, since its folder is known already, counts by where it leads.
    link = root / "f9" / "to f8"
    link.unlink()
    link.symlink_to(root / "f7")
    assert signature(root) != first


def test_a_root_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset 'folder': .*gone cannot be read: No such file"):
        SplitCache(tmp_path / "cache").split(folder_dataset([]), tmp_path / "gone", "all")


# --- what plugins get wrong -------------------------------------------------------------------------------------------

GOOD = Samples(np.zeros((4, 5, 5, 1), np.uint8), np.array([0, 1, 0, 1]), ("a", "b", "c", "d"), ("f", "f", "g", "g"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((0, 5, 5, 1), np.uint8), "labels": None, "ids": (), "groups": None}, "it holds no sample"),
        ({"images": np.zeros((3, 5, 5, 1), np.uint8)}, "images, labels and ids differ in number"),
        ({"labels": np.array([0, 1])}, "images, labels and ids differ in number"),
        ({"groups": ("f",)}, "groups and ids differ in number"),
        ({"ids": ("a", "b", "c", "a")}, "an id stands twice"),
        ({"images": np.zeros((4, 5, 5, 1), np.float32)}, "images must be uint8"),
        ({"images": np.zeros((4, 5, 5), np.uint8)}, "images must be uint8"),
        ({"images": np.zeros((4, 5, 5, 4), np.uint8)}, "images must be uint8"),
        ({"labels": np.array([0, 1, 2, 0])}, "a label lies outside its 2 classes"),
        ({"labels": np.array([0, -1, 1, 0])}, "a label lies outside its 2 classes"),
        ({"labels": np.array([0.0, 1.0, 1.0, 0.0])}, "labels must be whole numbers"),
    ],
)
def test_samples_that_break_the_contract_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    samples = dataclasses.replace(GOOD, **change)  # type: ignore[arg-type]
    dataset = dataclasses.replace(folder_dataset([]), load=lambda split, root: samples)
    with pytest.raises(DatasetError, match=f"dataset 'folder', split all: .*{message}"):
        SplitCache(tmp_path / "cache").split(dataset, tmp_path, "all")
    assert not (tmp_path / "cache" / "splits").exists()


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    save_pictures(tmp_path / "data", {"happy_0": (6, 6)})
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DatasetError, match=r"cache folder .*cache/splits cannot be written: Not a directory"):
        SplitCache(tmp_path / "cache").split(folder_dataset([]), tmp_path / "data", "all")


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pictures(tmp_path / "data", {"happy_0": (6, 6)})

    def full(path: Path, text: str, encoding: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DatasetError, match="cannot be written: No space left on device"):
        SplitCache(tmp_path / "cache").split(folder_dataset([]), tmp_path / "data", "all")
    assert list((tmp_path / "cache" / "splits").iterdir()) == []
