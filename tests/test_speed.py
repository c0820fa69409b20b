"""Speeds against networks that take a known time, and against a stopwatch's own arithmetic."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import pytest
import torch
from tiny import broken_backbone, tiny_backbone
from torch import nn

import ferbench.flops as flops_module
import ferbench.speed as speed_module
from ferbench.components import Backbone
from ferbench.errors import TrainingError, UsageError
from ferbench.flops import forward_flops
from ferbench.records import SpeedMeasurement
from ferbench.speed import Measuring, measured_speeds

QUICK = Measuring(batch_size=4, precision="fp32", repeats=3, repeat_seconds=0.02)


@pytest.fixture(autouse=True)
def _small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the device can do at most matters to no test here."""
    monkeypatch.setattr(flops_module, "_PRODUCT_SECONDS", 0.0)


def one_speed(backbone: Backbone, image_size: int, device: str, measuring: Measuring) -> SpeedMeasurement:
    """Of one backbone alone; its failure is raised."""
    done, failed = measured_speeds([(backbone, image_size)], device, measuring)
    if failed:
        raise failed[0].error
    return done[0]


def sleepy(name: str, seconds: float, seen: list[tuple[str, int, bool]]) -> Backbone:
    """Every forward pass takes a known time, whatever the batch; what goes through it is written down."""

    class Sleepy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            time.sleep(seconds)
            seen.append((name, len(images), self.training))
            return images

    def build(num_classes: int, image_size: int) -> nn.Module:
        return nn.Sequential(Sleepy(), nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))

    return dataclasses.replace(tiny_backbone(name), build=build, classifier="2")


def test_known_times_give_known_speeds() -> None:
    seen: list[tuple[str, int, bool]] = []
    found = one_speed(sleepy("sleepy", 0.02, seen), 12, "cpu", dataclasses.replace(QUICK, repeat_seconds=0.1))
    # 4 images in 20 ms are 200 a second; what a step does besides takes little unless others are in the way.
    for spread in (found.training_images_per_second, found.inference_images_per_second):
        assert spread.low <= spread.median <= spread.high < 200
        assert spread.high > 100
    assert 0.02 <= found.latency_p50_seconds <= found.latency_p95_seconds
    assert found.latency_p50_seconds < 0.04
    single = [each for each in seen if each[1] == 1 and not each[2]]
    assert len(single) >= 50
    # Trained in whole batches; and all in training mode, since nothing is frozen.
    assert {each[1] for each in seen if each[2]} == {4}


def test_a_row_says_what_was_measured_and_its_utilisation_is_its_own_arithmetic() -> None:
    backbone = tiny_backbone()
    found = one_speed(backbone, 12, "cpu", QUICK)
    module = backbone.build(7, 12)
    assert (found.backbone, found.image_size, found.batch_size, found.precision) == ("tiny", 12, 4, "fp32")
    assert (found.device, found.threads, found.repeats, found.compiled) == ("cpu", torch.get_num_threads(), 3, False)
    assert found.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert found.forward_flops == forward_flops(module, 12) == 2 * (12 * 12 * 8 * 27 + 288 * 7)
    trained = 3 * found.forward_flops * found.training_images_per_second.median
    assert found.training_mfu * found.matrix_flops_per_second == pytest.approx(trained)
    inferred = found.forward_flops * found.inference_images_per_second.median
    assert found.inference_mfu * found.matrix_flops_per_second == pytest.approx(inferred)
    assert found.compile_seconds == 0.0
    assert found.peak_memory_bytes > 50_000_000
    assert found.torch == torch.__version__


def test_measurements_go_round_and_round() -> None:
    seen: list[tuple[str, int, bool]] = []
    turns: list[tuple[str, int, int]] = []
    wanted = [(sleepy(name, 0.001, seen), 12) for name in ("one", "two", "one")]
    done, failed = measured_speeds(wanted, "cpu", QUICK, lambda *turn: turns.append(turn))
    assert [each.backbone for each in done] == ["one", "two"]
    assert failed == []
    assert [name for name, _, _ in turns] == ["one", "two"] * 4
    assert [number for _, number, _ in turns] == list(range(1, 9))
    assert {total for *_, total in turns} == {8}
    order = [name for place, (name, *_) in enumerate(seen) if place == 0 or seen[place - 1][0] != name]
    assert order == ["one", "two"] * 4


def test_one_that_fails_does_not_take_the_others_down() -> None:
    late: list[int] = []

    def build(num_classes: int, image_size: int) -> nn.Module:
        class Tiring(nn.Module):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                late.append(len(images))
                if len(late) > 40:
                    raise RuntimeError("tired\nof it")
                return images

        return nn.Sequential(Tiring(), nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))

    tiring = dataclasses.replace(tiny_backbone("tiring"), build=build, classifier="2")
    wanted = [(broken_backbone(), 12), (tiny_backbone(), 7), (tiring, 12), (tiny_backbone(), 12)]
    done, failed = measured_speeds(wanted, "cpu", QUICK)
    assert [(each.backbone, each.image_size) for each in done] == [("tiny", 12)]
    assert [(each.backbone, each.image_size) for each in failed] == [("broken", 12), ("tiny", 7), ("tiring", 12)]
    assert [type(each.error) for each in failed] == [TrainingError, UsageError, TrainingError]
    assert "broken at 12 px could not be measured: mat1 and mat2" in failed[0].error.line
    assert failed[1].error.line == ("images of 7 px are too small for tiny: the smallest are 8 px, try --image-size 8")
    assert failed[2].error.line == "tiring at 12 px could not be measured: tired of it"
    assert "RuntimeError: tired" in failed[2].trace


def test_running_out_of_memory_names_the_batch_size() -> None:
    def build(num_classes: int, image_size: int) -> nn.Module:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    huge = dataclasses.replace(tiny_backbone("huge"), build=build)
    with pytest.raises(TrainingError, match="a batch of 4 does not fit into memory, try a smaller --batch-size"):
        one_speed(huge, 12, "cpu", QUICK)


def test_where_others_wait_in_the_same_memory_fewer_at_once_may_do() -> None:
    def build(num_classes: int, image_size: int) -> nn.Module:
        raise torch.OutOfMemoryError("out of memory")

    huge = dataclasses.replace(tiny_backbone("huge"), build=build)
    _, failed = measured_speeds([(tiny_backbone(), 12), (huge, 12)], "cpu", dataclasses.replace(QUICK, repeats=1))
    assert failed[0].error.line == (
        "huge at 12 px could not be measured: a batch of 4 does not fit into memory beside the other backbones, try a "
        "smaller --batch-size or fewer backbones at once"
    )


def test_where_they_leave_the_device_one_is_there_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU stands in for the GPU: what is moved is noted, and that it comes out as it went in."""
    there: list[object] = []
    most = []
    prepare, move = speed_module._Subject.__init__, speed_module._Subject._move

    def prepared(self, *arguments):  # type: ignore[no-untyped-def]
        there.append(self)
        most.append(len(there))
        prepare(self, *arguments)
        assert self.held_bytes == 0

    def moved(self, place):  # type: ignore[no-untyped-def]
        before = [tensor.stride() for tensor in (*self._module.parameters(), self._images, self._image)]
        move(self, place)
        assert [tensor.stride() for tensor in (*self._module.parameters(), self._images, self._image)] == before
        if self in there:
            there.remove(self)
        else:
            there.append(self)
        most.append(len(there))

    monkeypatch.setattr(speed_module, "_leaves", lambda device: True)
    monkeypatch.setattr(speed_module._Subject, "__init__", prepared)
    monkeypatch.setattr(speed_module._Subject, "_move", moved)
    done, failed = measured_speeds([(tiny_backbone(), 12), (tiny_backbone("other"), 12)], "cpu", QUICK)
    assert ([each.backbone for each in done], failed) == (["tiny", "other"], [])
    # Made and left, then there and away again in each of three rounds.
    assert most == [1, 0] * 2 + [1, 0] * 6


def test_a_busy_machine_is_on_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    class Crowded:
        def __init__(self, device: str) -> None: ...
        def begin(self) -> None: ...
        def notes(self) -> tuple[str, ...]:
            return ("the machine was busy: 43 % of the cores were used by others",)

    monkeypatch.setattr(speed_module, "Occupancy", Crowded)
    done, _ = measured_speeds([(tiny_backbone(), 12), (tiny_backbone("other"), 12)], "cpu", QUICK)
    assert [each.notes for each in done] == [Crowded("cpu").notes()] * 2
    bare = dataclasses.replace(tiny_backbone("bare"), weightless=True)
    notes = one_speed(bare, 12, "cpu", QUICK).notes
    assert notes[0] == Crowded("cpu").notes()[0]
    assert notes[1].startswith("FLOPs are of convolutions and matrix products alone")


def test_bf16_runs_in_bf16() -> None:
    seen: list[torch.dtype] = []

    def build(num_classes: int, image_size: int) -> nn.Module:
        module = tiny_backbone().build(num_classes, image_size)
        module.get_submodule("6").register_forward_hook(lambda head, inputs, output: seen.append(output.dtype))
        return module

    watched = dataclasses.replace(tiny_backbone("watched"), build=build)
    measuring = dataclasses.replace(QUICK, precision="bf16", repeats=1)
    assert one_speed(watched, 12, "cpu", measuring).precision == "bf16"
    # All but the one pass that FLOPs are counted on.
    assert seen.count(torch.float32) == 1
    assert set(seen) == {torch.bfloat16, torch.float32}
    assert one_speed(tiny_backbone(), 12, "cpu", dataclasses.replace(QUICK, precision="auto")).precision == "fp32"


def test_peak_memory_is_of_one_backbone_whatever_was_measured_before() -> None:
    def wide(name: str) -> Backbone:
        def build(num_classes: int, image_size: int) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, 20_000), nn.Linear(20_000, num_classes))

        return dataclasses.replace(tiny_backbone(name), build=build, classifier="2")

    # 8.6 million weights are 35 MB, and with gradients and momentum 104 MB.
    wanted = [(wide("first"), 12), (wide("second"), 12), (tiny_backbone(), 12)]
    done, _ = measured_speeds(wanted, "cpu", dataclasses.replace(QUICK, repeats=1))
    first, second, tiny = (each.peak_memory_bytes for each in done)
    assert first - tiny > 70_000_000
    assert abs(first - second) < 60_000_000


@pytest.fixture
def without_code_generation(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[nn.Module]]:
    """torch.compile without its backend, which takes half a minute to start; gives what was compiled."""
    compiled: list[nn.Module] = []
    compile_ = nn.Module.compile

    def cheaply(self: nn.Module, **options: object) -> None:
        compiled.append(self)
        compile_(self, backend="eager", **options)

    monkeypatch.setattr(nn.Module, "compile", cheaply)
    yield compiled
    torch.compiler.reset()


def test_compiling_is_timed_apart(without_code_generation: list[nn.Module]) -> None:
    # One class's code in more shapes than torch compiles unless it is told to.
    wanted = [(tiny_backbone(), size) for size in (12, 13, 14, 15)]
    done, failed = measured_speeds(wanted, "cpu", dataclasses.replace(QUICK, compiled=True, repeats=1))
    assert failed == []
    assert len(without_code_generation) == 4
    for each in done:
        assert each.compiled
        step = each.batch_size / each.training_images_per_second.median
        assert each.compile_seconds > step
        assert each.forward_flops == 2 * (each.image_size**2 * 8 * 27 + 288 * 7)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("compiled", [False, True])
def test_on_cuda_it_is_the_devices_memory_and_nothing_is_left_unwaited_for(compiled: bool) -> None:
    def wide(num_classes: int, image_size: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, 20_000), nn.Linear(20_000, num_classes))

    backbone = dataclasses.replace(tiny_backbone("wide"), build=wide, classifier="2")
    measuring = dataclasses.replace(QUICK, precision="auto", batch_size=512, compiled=compiled)
    done, failed = measured_speeds([(backbone, 64), (tiny_backbone(), 64)], "cuda:0", measuring)
    assert failed == []
    found = done[0]
    assert found.device == torch.cuda.get_device_name(0)
    # Weights, gradients and momentum of 246 million float32 parameters, and not the other backbone's.
    assert 3 * 4 * found.parameters <= found.peak_memory_bytes < 5 * 4 * found.parameters
    assert found.forward_flops == 2 * (3 * 64**2 * 20_000 + 20_000 * 7)
    # Work that is only queued and not done would look many times faster than the device is.
    assert 0.02 < found.training_mfu < 1.2
    assert 0.02 < found.inference_mfu < 1.2
    assert (found.compile_seconds > 0) == compiled


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("compiled", [False, True])
def test_on_cuda_none_waits_on_the_device(compiled: bool) -> None:
    def wide(num_classes: int, image_size: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, 30_000), nn.Linear(30_000, num_classes))

    wanted = [(dataclasses.replace(tiny_backbone(name), build=wide, classifier="2"), 64) for name in ("one", "two")]
    held = []
    measuring = dataclasses.replace(QUICK, compiled=compiled)
    done, failed = measured_speeds(
        wanted, "cuda:0", measuring, lambda *turn: held.append(torch.cuda.memory_allocated("cuda:0"))
    )
    assert failed == []
    # Beside the matrix product's three matrices of 8,192 rows at most, not even half of one backbone's weights.
    assert max(held) < 3 * 4 * 8192**2 + 2 * done[0].parameters
    assert done[0].peak_memory_bytes == pytest.approx(done[1].peak_memory_bytes, rel=0.05)
