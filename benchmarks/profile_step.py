"""Where the time of a training step goes: `python benchmarks/profile_step.py -b alexnet --image-size 64`.

Parts of a step are timed from outside, with hooks on the batches, the module and the optimizer, and nothing else on; on
a GPU each part waits for the device. Operators come from torch.profiler over as many steps again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import torch
from peers.ferbench_loop import ferbench_loop
from peers.work import Work
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.profiler import ProfilerActivity, profile

from ferbench.accelerator import prepare_device
from ferbench.environment import automatic_precision, chosen_device, device_kind, processor_name
from ferbench.flops import forward_flops, matrix_flops_per_second, synchronised_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from ferbench.training import Batches

WIDTH = 80
PARTS = ("data", "forward", "loss and backward", "optimizer", "other")
_TOP = 12


@dataclass(frozen=True)
class StepProfile:
    """Means over the steps; seconds of a step.

    parts : seconds by the words of PARTS
    operators : name, seconds of its own (on the GPU where there is one) and calls, the longest first
    flops : of a step, backward counted as twice forward
    """

    work: Work
    parts: dict[str, float]
    operators: tuple[tuple[str, float, float], ...]
    flops: int
    matrix_flops_per_second: float

    @property
    def seconds(self) -> float:
        return sum(self.parts.values())


class _Parts:
    """A clock that is read at the joints of a step; the first step is for warm-up."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.steps = 0
        self._begin()

    def _begin(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._since = synchronised_now(self._device)

    def ends(self, part: str) -> None:
        now = synchronised_now(self._device)
        self.seconds[part] += now - self._since
        self._since = now

    def step_ends(self) -> None:
        self.ends("optimizer")
        self.steps += 1
        if self.steps == 1:
            self._begin()


@dataclass(frozen=True)
class _TimedBatches:
    batches: Batches
    parts: _Parts

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        self.parts.ends("other")
        made = self.batches.batch(step)
        self.parts.ends("data")
        return made


def profiled(work: Work) -> StepProfile:
    """Train `work.steps` steps after one of warm-up, twice: for the parts, then for the operators."""
    parts = _Parts(work.device)
    module = work.placed_module()
    handles = [
        module.register_forward_pre_hook(lambda *_: parts.ends("other")),
        module.register_forward_hook(lambda *_: parts.ends("forward")),
        register_optimizer_step_pre_hook(lambda *_: parts.ends("loss and backward")),
        register_optimizer_step_post_hook(lambda *_: parts.step_ends()),
    ]
    try:
        ferbench_loop(work, lambda batches: _TimedBatches(batches, parts), module)(work.steps)
    finally:
        for handle in handles:
            handle.remove()
    run = ferbench_loop(work, module=module)
    flops = 3 * work.batch_size * forward_flops(work.module(), work.image_size)
    return StepProfile(
        work,
        {part: seconds / work.steps for part, seconds in parts.seconds.items()},
        _operators(work, run),
        flops,
        matrix_flops_per_second(work.device, work.precision),
    )


def _operators(work: Work, run: Callable[[int], None]) -> tuple[tuple[str, float, float], ...]:
    """Of the steps after the first."""
    on_gpu = work.device.startswith("cuda")
    recorded = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])], acc_events=True)
    made = 0

    def step_ends(*_: object) -> None:
        nonlocal made
        made += 1
        synchronised_now(work.device)
        if made == 1:
            recorded.start()
        elif made == 1 + work.steps:
            recorded.stop()

    handle = register_optimizer_step_post_hook(step_ends)
    try:
        run(work.steps)
    finally:
        handle.remove()
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    averages = recorded.key_averages()
    rows = [(event.key, getattr(event, own) / 1e6 / work.steps, event.count / work.steps) for event in averages]
    return tuple(sorted(rows, key=lambda row: row[1], reverse=True))


def text(found: StepProfile) -> str:
    """At most 80 columns."""
    work, total = found.work, found.seconds
    where = device_kind(work.device) if work.device != "cpu" else processor_name()
    share = found.flops / total / found.matrix_flops_per_second
    lines = [
        f"{work.name}, batch {work.batch_size}, {work.precision}: {total * 1000:.1f} ms a step, "
        f"{work.batch_size / total:.1f} images/s",
        f"{where}, torch {torch.__version__}, {torch.get_num_threads()} threads"[:WIDTH],
        f"{found.flops / 1e9:.1f} GFLOP a step, {found.flops / total / 1e9:.0f} GFLOP/s: "
        f"{share:.0%} of a matrix product's {found.matrix_flops_per_second / 1e9:.0f}",
        "",
    ]
    for part, seconds in found.parts.items():
        bar = "#" * round(36 * seconds / total)
        lines.append(f"{part:18} {seconds * 1000:9.2f} ms {seconds / total:6.1%}  {bar}")
    lines += ["", f"{'operators, time of their own':46} {'ms a step':>10} {'of it':>7} {'calls':>7}"]
    profiled_seconds = sum(seconds for _, seconds, _ in found.operators)
    for name, seconds, calls in found.operators[:_TOP]:
        lines.append(f"{name[:46]:46} {seconds * 1000:10.2f} {seconds / profiled_seconds:7.1%} {calls:7.1f}")
    return "\n".join(lines)


@click.command()
@click.option("-b", "--backbone", required=True)
@click.option("--image-size", required=True, type=int)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--steps", default=8, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--precision", default="auto", show_default=True, type=click.Choice(["auto", "fp32", "bf16"]))
def main(backbone: str, image_size: int, batch_size: int, steps: int, device: str, precision: str) -> None:
    """Print where the time of a training step goes."""
    device = chosen_device(device)
    prepare_device(device)
    if precision == "auto":
        precision = automatic_precision(device)
    click.echo(text(profiled(Work(backbone, image_size, steps, batch_size, device, precision))))


if __name__ == "__main__":
    main()
