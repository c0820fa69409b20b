"""Features computed once, for all who ask for the same."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_prefix import ABOUT, IMAGENET, Counting, never, placed, prefix_of, tiny_module
from torch import Tensor

from ferbench.data.batches import Normalisation
from ferbench.errors import TrainingError
from ferbench.features import cache as cache_module
from ferbench.features.cache import FeatureCache, affordable


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path)


def files(cache: FeatureCache) -> list[str]:
    return sorted(path.suffix for path in cache.folder.iterdir())


def test_features_are_the_prefix_on_what_evaluation_shows(cache: FeatureCache) -> None:
    module = tiny_module()
    images, _ = placed(300)
    found = cache.of(prefix_of(module, "3"), ABOUT, lambda: images)
    module.eval()
    inputs = (images.pixels(torch.arange(300)).float() / 255 - torch.tensor(IMAGENET.mean).view(1, 3, 1, 1)) / (
        torch.tensor(IMAGENET.std).view(1, 3, 1, 1)
    )
    with torch.no_grad():
        expected = module[:3](inputs)
    torch.testing.assert_close(found.rows(torch.arange(300)), expected)
    assert found.rows(slice(5, 9)).is_contiguous(memory_format=torch.channels_last)
    assert (found.count, found.images) == (300, 300)
    assert found.seconds == found.spent_seconds > 0
    assert files(cache) == [".json", ".npy"]


def test_computed_once_for_all_processes_and_seeds(cache: FeatureCache, tmp_path: Path) -> None:
    images, _ = placed(20)
    source = Counting(prefix_of(tiny_module()))
    first = cache.of(source, ABOUT, lambda: images, views=2)
    assert (source.batches, first.images, files(cache)) == (2, 40, [".json"] * 2 + [".npy"] * 2)
    again = cache.of(source, ABOUT, never, views=2)
    # Another process has nothing but the files, and another seed's head is another head on the same features.
    module = tiny_module()
    torch.nn.init.normal_(module[6].weight)
    other = Counting(prefix_of(module))
    elsewhere = FeatureCache(tmp_path).of(other, ABOUT, never, views=2)
    assert (source.batches, other.batches) == (2, 0)
    for found in (again, elsewhere):
        assert (found.seconds, found.spent_seconds) == (first.seconds, 0.0)
        assert all(torch.equal(*pair) for pair in zip(found.values, first.values, strict=True))
    # One view of them is what a stage without flips needs, and every evaluation.
    assert FeatureCache(tmp_path).of(other, ABOUT, never).images == 20


def test_a_whole_other_process_finds_them(cache: FeatureCache, tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import torch
from ferbench.features.cache import FeatureCache
from tiny_prefix import ABOUT, placed, prefix_of, tiny_module
torch.set_num_threads({torch.get_num_threads()})
images, _ = placed(400)
print("ready", flush=True)
sys.stdin.readline()
found = FeatureCache(Path(sys.argv[1])).of(prefix_of(tiny_module()), ABOUT, lambda: images, views=2)
print(found.values[0].double().sum().item(), found.spent_seconds > 0)
"""
    # Both begin at the same moment, and compute the same.
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    answers = [each.communicate("go\n")[0].split() for each in running]
    assert all(each.returncode == 0 for each in running)
    found = cache.of(prefix_of(tiny_module()), ABOUT, never, views=2)
    assert {float(total) for total, _ in answers} == {found.values[0].double().sum().item()}
    # No temporary file is left.
    assert files(cache) == [".json", ".json", ".npy", ".npy"]


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "tiny 2 tests"},
        {"content": "b" * 64},
        {"normalisation": Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))},
        {"image_size": 13},
        {"grey": True},
        {"precision": "bf16"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_they_depend_on_makes_others(cache: FeatureCache, change: dict[str, object]) -> None:
    images, _ = placed(10)
    source = Counting(prefix_of(tiny_module()))
    cache.of(source, ABOUT, lambda: images)
    changed = dataclasses.replace(ABOUT, **change)  # type: ignore[arg-type]
    if "image_size" not in change:
        cache.of(source, changed, lambda: images)
        assert source.batches == 2
    else:
        with pytest.raises(AssertionError, match="not needed"):
            cache.of(source, changed, never)


def test_another_frozen_state_makes_others(cache: FeatureCache) -> None:
    images, _ = placed(10)
    first = cache.of(prefix_of(tiny_module()), ABOUT, lambda: images)
    second = cache.of(prefix_of(tiny_module(seed=1)), ABOUT, lambda: images)
    assert second.spent_seconds > 0
    assert not torch.equal(first.values[0], second.values[0])


def test_what_is_in_memory_alone_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "features").write_text("a file")
    monkeypatch.setattr(cache_module, "_KEPT_IN_MEMORY", 2 * 10 * 288 * 4)
    cache = FeatureCache(tmp_path)
    images, _ = placed(10)
    source = Counting(prefix_of(tiny_module()))
    about = [dataclasses.replace(ABOUT, content=letter * 64) for letter in "abc"]
    for each in (about[0], about[1], about[0], about[2]):
        cache.of(source, each, lambda: images)
    assert source.batches == 3
    cache.of(source, about[0], never)
    with pytest.raises(AssertionError, match="not needed"):
        cache.of(source, about[1], never)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted there")
def test_as_many_views_as_one_likes_leave_few_files_open(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def still_open() -> int:
        opened = [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        return sum(path.is_relative_to(cache.folder) for path in opened)

    monkeypatch.setattr(cache_module, "_VIEWS_KEPT", 3)
    images, _ = placed(10)
    source = Counting(prefix_of(tiny_module()))
    about = [dataclasses.replace(ABOUT, content=f"{number:064}") for number in range(8)]
    whole = cache.of(source, about[0], lambda: images, views=2)
    first = whole.values[1].clone()
    for each in about[1:]:
        cache.of(source, each, lambda: images, views=2)
    # What is still held by a stage stays whole.
    assert torch.equal(whole.values[1], first) and still_open() == 3 + 2
    del whole
    assert still_open() == 3
    # On disk are all of them.
    assert source.batches == 16
    for each in about:
        cache.of(source, each, never, views=2)


def test_on_a_gpu_a_deterministic_run_takes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "device_kind", lambda device: f"kind of {device}")
    source = prefix_of(tiny_module())

    def keys(device: str) -> set[str]:
        about = dataclasses.replace(ABOUT, device=device)
        return {cache_module._key(source, dataclasses.replace(about, deterministic=each), 0) for each in (False, True)}

    # On a CPU the bits are the same either way.
    assert (len(keys("cuda:0")), len(keys("cpu"))) == (2, 1)


def test_numbers_that_are_none_are_an_error(cache: FeatureCache) -> None:
    module = tiny_module()
    source = prefix_of(module)
    with torch.no_grad():
        module[0].weight.fill_(float("nan"))
    images, _ = placed(10)
    with pytest.raises(TrainingError, match="answers with NaN"):
        cache.of(source, ABOUT, lambda: images)
    assert not cache.folder.exists()


class Cramped(Counting):
    """Has room for a few images at once."""

    def features(self, images: Tensor) -> Tensor:
        if len(images) > 70:
            raise MemoryError
        return super().features(images)


def test_without_room_for_as_many_images_fewer_are_taken_at_once(cache: FeatureCache, tmp_path: Path) -> None:
    images, _ = placed(200)
    prefix = prefix_of(tiny_module())
    cramped = Cramped(prefix)
    found = FeatureCache(tmp_path / "cramped").of(cramped, ABOUT, lambda: images)
    assert cramped.batches == 4
    torch.testing.assert_close(found.values[0], cache.of(prefix, ABOUT, lambda: images).values[0])


def test_progress_is_told(cache: FeatureCache) -> None:
    images, _ = placed(300)
    told: list[tuple[int, int]] = []
    cache.of(prefix_of(tiny_module()), ABOUT, lambda: images, 2, lambda done, total: told.append((done, total)))
    assert told == [(256, 600), (300, 600), (556, 600), (600, 600)]


def test_sets_that_would_fill_a_disk_are_not_made() -> None:
    prefix = prefix_of(tiny_module())
    assert prefix.bytes_an_image == 288 * 4
    most = cache_module.LARGEST_BYTES // prefix.bytes_an_image
    assert affordable(prefix, most)
    assert not affordable(prefix, most + 1)
