"""Placed images: both kinds against each other, files that are damaged or stale, and memory under a limit."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.data.batches import Normalisation, TrainingBatches, evaluation_batches
from ferbench.data.mapped_images import MappedImages
from ferbench.data.order import BatchOrder
from ferbench.data.pictures import Pictures
from ferbench.data.placement import (
    DeviceImages,
    PlacedImages,
    place,
    placed_bytes,
)
from ferbench.data.room import free_room
from ferbench.errors import DatasetError

PLAIN = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def noise(count: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels)).astype(np.uint8)


def pictures(images: Sequence[np.ndarray], order: Sequence[int] | None = None) -> Pictures:
    """Pictures of a split that lies in the given order, shown in the order of `images`."""
    order = range(len(images)) if order is None else order
    pixels = np.concatenate([images[index].reshape(-1) for index in order])
    shapes = np.array([images[index].shape for index in order], dtype=np.int64)
    return Pictures([(pixels, shapes)], np.zeros(len(images), dtype=np.int64), np.argsort(order))


def mapped(
    images: np.ndarray | Sequence[np.ndarray],
    folder: Path,
    size: int = 16,
    *,
    grey: bool = False,
    content: str = "c",
    device: str = "cpu",
) -> MappedImages:
    found = place(images, size, device, grey=grey, room_bytes=0, cache_folder=folder, content=content)
    assert isinstance(found, MappedImages)
    return found


def whole(images: PlacedImages) -> torch.Tensor:
    return images.pixels(torch.arange(images.count))


SETS: dict[str, Callable[[], np.ndarray | list[np.ndarray] | Pictures]] = {
    "grey": lambda: noise(9, 12, 12, 1),
    "colour": lambda: noise(9, 12, 10, 3),
    "large": lambda: noise(300, 40, 30, 3),
    "partly in colour": lambda: np.concatenate([noise(5, 12, 12, 3), np.repeat(noise(4, 12, 12, 1), 3, axis=3)]),
    "sizes": lambda: [noise(1, 10 + n, 20 - n, 1 + 2 * (n % 2), n)[0] for n in range(9)],
    "stored": lambda: pictures(list(noise(9, 20, 20, 3)), [3, 1, 2, 0, 8, 7, 6, 5, 4]),
    "stored sizes": lambda: pictures([noise(1, 10 + n, 9, 1 + 2 * (n % 2), n)[0] for n in range(9)], range(8, -1, -1)),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("grey", [False, True])
def test_both_kinds_give_the_same_values(tmp_path: Path, name: str, grey: bool) -> None:
    images = SETS[name]()
    resident, filed = place(images, 16, "cpu", grey=grey), mapped(images, tmp_path, grey=grey)
    assert (filed.count, filed.channels) == (resident.count, resident.channels) == (len(images), len(whole(filed)[0]))
    assert placed_bytes(images, 16, grey=grey) == resident.images.nbytes
    assert filed.device_bytes <= filed.count
    random = np.random.default_rng(1)
    for _ in range(3):
        indices = torch.from_numpy(random.integers(0, len(images), 7))
        assert torch.equal(filed.pixels(indices), resident.pixels(indices))
        mine, other = filed.coloured(indices), resident.coloured(indices)
        assert (mine is None) == (other is None)
        if mine is not None and other is not None:
            assert mine.shape == (7, 1, 1, 1) and torch.equal(mine, other)


@pytest.mark.parametrize("name", ["large", "sizes"])
def test_pictures_on_disk_are_placed_as_those_in_memory(tmp_path: Path, name: str) -> None:
    images = list(SETS[name]())
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    stored = pictures(images, order)
    expected = place(np.stack(images) if stored.uniform else images, 16, "cpu")
    assert torch.equal(place(stored, 16, "cpu").images, expected.images)
    assert torch.equal(whole(mapped(stored, tmp_path)), expected.images)


def test_room_decides(tmp_path: Path) -> None:
    images = noise(5, 8, 8, 3)
    for room, kind in ((None, DeviceImages), (960, DeviceImages), (959, MappedImages)):
        found = place(images, 8, "cpu", room_bytes=room, cache_folder=tmp_path, content="c")
        assert type(found) is kind
    # Without a folder or a name there is no file to put them in.
    assert type(place(images, 8, "cpu", room_bytes=0, cache_folder=None, content="c")) is DeviceImages
    assert type(place(images, 8, "cpu", room_bytes=0, cache_folder=tmp_path, content="")) is DeviceImages


class Unreadable(Pictures):
    def gathered(self, places: np.ndarray) -> np.ndarray:
        raise AssertionError("read again")


def test_a_set_is_reduced_once_and_its_use_is_noted(tmp_path: Path) -> None:
    images = list(noise(6, 20, 20, 1))
    first = mapped(pictures(images), tmp_path)
    entry = sorted((tmp_path / "reduced").iterdir())
    assert [path.suffix for path in entry] == [".bin", ".json"] and entry[0].stem == entry[1].stem
    for path in entry:
        os.utime(path, (1, 1))
    stored = pictures(images)
    again = mapped(Unreadable(stored._splits, stored._split, stored._index), tmp_path)
    assert torch.equal(whole(again), whole(first))
    assert all(path.stat().st_mtime > 1 for path in entry)


def test_what_was_reduced_otherwise_is_another_entry(tmp_path: Path) -> None:
    images = noise(6, 20, 20, 3)
    for values in ({}, {"size": 12}, {"grey": True}, {"content": "d"}):
        mapped(images, tmp_path, **values)  # type: ignore[arg-type]
    # The same samples where they lie beside pictures of other sizes are stretched, which others are not.
    mapped(list(images), tmp_path, 24)
    mapped(images, tmp_path, 24)
    assert len(list((tmp_path / "reduced").glob("*.json"))) == 6


def test_copies_of_the_data_in_another_order_share_an_entry(tmp_path: Path) -> None:
    images = list(noise(9, 20, 20, 1))
    first = mapped(pictures(images, range(9)), tmp_path)
    other = mapped(pictures(images, range(8, -1, -1)), tmp_path)
    assert torch.equal(whole(first), whole(other)) and len(list((tmp_path / "reduced").iterdir())) == 2
    # Files of two processes that wrote at once, one's of either, still make a whole.
    mapped(pictures(images, [4, 0, 1, 2, 3, 8, 7, 6, 5]), tmp_path / "other")
    for path in (tmp_path / "other" / "reduced").glob("*.bin"):
        path.replace(tmp_path / "reduced" / path.name)
    assert torch.equal(whole(mapped(pictures(images), tmp_path)), whole(first))


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".bin", b""),
        (".bin", None),
        (".json", b""),
        (".json", b"[]"),
        (".json", b'{"layout": 1, "shape": [6, 1, 9, 9]}'),
    ],
)
def test_a_damaged_entry_is_made_again(tmp_path: Path, suffix: str, content: bytes | None) -> None:
    images = noise(6, 20, 20, 1)
    expected = whole(mapped(images, tmp_path))
    (path,) = (tmp_path / "reduced").glob("*" + suffix)
    path.unlink() if content is None else path.write_bytes(content)
    assert torch.equal(whole(mapped(images, tmp_path)), expected)


def test_an_entry_that_places_two_images_at_one_spot_is_made_again(tmp_path: Path) -> None:
    images = noise(6, 20, 20, 1)
    expected = whole(mapped(images, tmp_path))
    (path,) = (tmp_path / "reduced").glob("*.bin")
    content = bytearray(path.read_bytes())
    content[6 * 256 + 8] = 0
    path.write_bytes(content)
    assert torch.equal(whole(mapped(images, tmp_path)), expected)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "reduced").write_text("a file")
    with pytest.raises(DatasetError, match=r"0 MB of images cannot be written to .*reduced: .*FERBENCH_CACHE"):
        mapped(noise(3, 8, 8, 1), tmp_path)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match="No space left on device; free room"):
        mapped(noise(3, 8, 8, 1), tmp_path)
    assert list((tmp_path / "reduced").iterdir()) == []


# --- batches of them --------------------------------------------------------------------------------------------------


def batches(parts: Sequence[PlacedImages], augment: str = "strong", device: str = "cpu") -> TrainingBatches:
    order = BatchOrder([images.count for images in parts], "raw", 8, seed=0, stage_index=0)
    labelled = [(images, torch.arange(images.count, device=device)) for images in parts]
    return TrainingBatches(labelled, PLAIN, 16, augment, order, seed=0, stage_index=0, device=device)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[PlacedImages, PlacedImages]]:
    folder = tmp_path_factory.mktemp("placed")
    sets = [SETS[name]() for name in ("grey", "partly in colour", "stored sizes")]
    return [(place(images, 16, "cpu"), mapped(images, folder, content=str(n))) for n, images in enumerate(sets)]


@given(steps=st.lists(st.integers(0, 9), min_size=1, max_size=8), kinds=st.lists(st.booleans(), min_size=3, max_size=3))
@settings(max_examples=15, deadline=None)
def test_steps_in_any_order_see_the_same_from_a_file(
    pairs: list[tuple[PlacedImages, PlacedImages]], steps: list[int], kinds: list[bool]
) -> None:
    resident = batches([pair[0] for pair in pairs])
    other = batches([pair[kind] for pair, kind in zip(pairs, kinds, strict=True)])
    for step in steps:
        for mine, same in zip(other.batch(step), resident.batch(step), strict=True):
            assert torch.equal(mine, same)


def test_the_next_step_is_gathered_on_another_thread_and_only_once(
    pairs: list[tuple[PlacedImages, PlacedImages]], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []
    gathered = MappedImages.gathered

    def watched(self: MappedImages, indices: torch.Tensor) -> torch.Tensor:
        threads.append(threading.current_thread() is threading.main_thread())
        return gathered(self, indices)

    monkeypatch.setattr(MappedImages, "gathered", watched)
    made = batches([pairs[0][1]])
    for step in range(4):
        made.batch(step)
    made.batch(9)
    assert threads[:1] == [True] and threads[1:4] == [False] * 3 and threads.count(True) == 2


def test_batches_are_gone_when_nobody_holds_them(pairs: list[tuple[PlacedImages, PlacedImages]]) -> None:
    # Without waiting for the collector of circles: they hold a device's memory.
    made = batches([pairs[0][1]])
    made.batch(0)
    held = weakref.ref(made)
    del made
    assert held() is None


def test_evaluation_takes_either_kind(pairs: list[tuple[PlacedImages, PlacedImages]]) -> None:
    for resident, filed in pairs:
        both = [torch.cat(list(evaluation_batches(each, PLAIN, 16, "cpu", 4))) for each in (resident, filed)]
        assert len(both[0]) == resident.count and torch.equal(*both)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_has_the_same_pixels_from_a_file(tmp_path: Path) -> None:
    images = SETS["partly in colour"]()
    on_cpu, filed = place(images, 16, "cpu"), mapped(images, tmp_path, device="cuda")
    assert torch.equal(whole(filed).cpu(), on_cpu.images)
    resident = place(images, 16, "cuda")
    made = [batches([each], device="cuda") for each in (filed, resident)]
    for step in range(5):
        mine, other = (each.batch(step)[0].cpu() for each in made)
        assert torch.equal(mine, other)
        torch.testing.assert_close(mine, batches([on_cpu]).batch(step)[0], atol=1e-3, rtol=0)


# --- memory -----------------------------------------------------------------------------------------------------------

LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
import torch
from ferbench.data.batches import Normalisation, TrainingBatches
from ferbench.data.mapped_images import MappedImages
from ferbench.data.order import BatchOrder
from ferbench.data.pictures import Pictures
from ferbench.data.placement import place

folder, room = Path(sys.argv[1]), int(sys.argv[2])
count, side = 1500, 256
pixels = np.memmap(folder / "pixels.bin", np.uint8, "r")
shapes = np.full((count, 3), side, dtype=np.int64)
shapes[:, 2] = 3
order = np.random.default_rng(0).permutation(count)
plain = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

def run(chosen):
    images = Pictures([(pixels, shapes)], np.zeros(len(chosen), np.int64), chosen)
    placed = place(images, 128, "cpu", room_bytes=room, cache_folder=folder, content=str(len(chosen)))
    batches = TrainingBatches([(placed, torch.arange(len(chosen)))], plain, 128, "none",
                              BatchOrder([len(chosen)], "raw", 2, 0, 0), 0, 0, "cpu")
    for step in range(5):
        batches.batch(step)
    return placed

run(order[:20])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
taken = 1024 * int(status["VmData"].split()[0])
resource.setrlimit(resource.RLIMIT_DATA, (taken + 2**26, taken + 2**26))
placed = run(order)
for index in (0, 700, 1499):
    assert int(placed.pixels(torch.tensor([index]))[0, 0, 0, 0]) == order[index] % 251
print(type(placed).__name__)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on data is Linux's")
def test_a_set_of_300_megabytes_is_placed_and_trained_on_within_64(tmp_path: Path) -> None:
    picture = 256 * 256 * 3
    with (tmp_path / "pixels.bin").open("wb") as file:
        # Mostly a hole in the file, which takes no disk; the first rows tell a picture.
        for index in range(1500):
            file.seek(index * picture)
            file.write(bytes([index % 251]) * (4 * 256 * 3))
        file.truncate(1500 * picture)

    def run(room: int) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", LIMITED, str(tmp_path), str(room)]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=120)

    done = run(0)
    assert done.stdout.strip() == "MappedImages", done.stderr[-2000:]
    # The limit is one: in memory the same set breaks it.
    broken = run(2**40)
    assert broken.returncode != 0 and "allocate" in broken.stderr, broken.stderr[-2000:]


def test_free_room_is_half_of_what_the_machine_or_the_container_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < free_room("cpu") < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr("ferbench.data.room._MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr("ferbench.data.room._CGROUP", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:    8000 kB\n")
    assert free_room("cpu") == 4000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert free_room("cpu") == 4000 * 1024
    for name, text in (
        ("memory.max", "3000000"),
        ("memory.current", "1500000"),
        ("memory.stat", "anon 9\nfile 500000"),
    ):
        (tmp_path / name).write_text(text)
    assert free_room("cpu") == (3_000_000 - 1_000_000) // 2
    (tmp_path / "memory.max").write_text("7\n")
    assert free_room("cpu") == 0
    (tmp_path / "meminfo").unlink()
    assert free_room("cpu") > 0
