"""The one training loop: tensors in, numbers out, no files."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from ferbench.compilation import Compilation
from ferbench.errors import TrainingError
from ferbench.fingerprints import derived_seed
from ferbench.optimization import (
    accumulated_loss,
    class_weights,
    learning_rate_factor,
    loss_of,
    optimizer_for,
    optimizer_tensors,
    put_optimizer_tensors,
)
from ferbench.recipes import Recipe
from ferbench.records import EpochResult
from ferbench.settings import DEFAULT_KEEP_SECONDS
from ferbench.trainable import trained_part

if TYPE_CHECKING:
    from torch.optim import Optimizer

#: Seconds between two looks at the loss; each look waits for the device.
_LOOK_EVERY_SECONDS = 1.0


class Batches(Protocol):
    """Where a step's input comes from."""

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Input float32 [B, 3, S, S], or [B, ...] for what lies behind a frozen prefix, and labels int64 [B]."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a stage stands; `seconds_left` is of this stage.

    loss : mean since the last report; None before the steps, while something is made of each image
    making : what that is, in a word
    """

    images_seen: int
    images_total: int
    loss: float | None
    images_per_second: float
    seconds_left: float
    making: str = "features"


@dataclass(frozen=True, slots=True)
class Meter:
    """What has been measured: of the whole stage, compilation apart, and of the epoch that has begun."""

    train_seconds: float = 0.0
    compile_seconds: float = 0.0
    epoch_seconds: float = 0.0
    epoch_loss: float = 0.0
    epoch_steps: int = 0


@dataclass(frozen=True, slots=True)
class Partial:
    """A stage in the middle of its training: all that going on needs. Randomness needs no more than the step.

    step : steps that are done
    module : its state; shares memory with the module until it is written or copied
    optimizer : see `optimizer_tensors`
    best : select accuracy and state of the best epoch so far, where the recipe asks for it
    """

    step: int
    module: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    history: tuple[EpochResult, ...]
    meter: Meter
    best: tuple[float, dict[str, Tensor]] | None = None


@dataclass(frozen=True, slots=True)
class Keeping:
    """When and how a stage is kept in the middle of its training.

    keep : stores a Partial
    every_seconds : between two of them
    stop : whether the user has asked for an end: the loop then keeps what it has and raises KeyboardInterrupt
    """

    keep: Callable[[Partial], None]
    every_seconds: float = DEFAULT_KEEP_SECONDS
    stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Trained:
    """What the loop measured.

    train_seconds : evaluation on select splits and compilation left out
    """

    images_seen: int
    train_seconds: float
    history: tuple[EpochResult, ...]
    compile_seconds: float = 0.0
    notes: tuple[str, ...] = ()


def autocast(device: str, precision: str) -> AbstractContextManager[None]:
    """bf16 autocast, or nothing."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")


def train(
    module: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    classifier: str,
    epoch_images: int,
    class_counts: Tensor,
    seed: int,
    stage_index: int,
    device: str,
    select_accuracy: Callable[[nn.Module], float] | None = None,
    target_accuracy: Callable[[nn.Module], float] | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[EpochResult], None] = lambda epoch: None,
    trainable: str | None = None,
    micro_batch: int | None = None,
    start: Partial | None = None,
    keeping: Keeping | None = None,
    may_compile: bool = True,
) -> Trained:
    """Train a module in place for `recipe.images_seen` images.

    Parameters
    ----------
    classifier : dotted name of the head, which has a learning rate of its own; "" where the module is the head itself
    epoch_images : images that count as one epoch in the history
    class_counts : float32 [C], for `imbalance=weighted`
    select_accuracy : given where `checkpoint=best-on-select`: the best epoch's state is put back at the end
    target_accuracy : given where it is to be told after each epoch, and nothing more; may be the same function
    trainable : what of the module is trained, where that is not the recipe's: `all` behind a frozen prefix
    micro_batch : images that go through the module at once; gradients are summed up to the recipe's batch
    start : where an earlier call was kept; the steps before are not done again
    may_compile : on a GPU, compile the module once that pays

    Raises
    ------
    TrainingError : the loss is not finite
    KeyboardInterrupt : `keeping.stop` said so; what was trained is kept
    """
    part = trained_part(module, classifier, recipe.trainable if trainable is None else trainable)
    optimizer = optimizer_for(part, recipe, device)
    weight = class_weights(class_counts).to(device) if recipe.imbalance == "weighted" else None
    steps, steps_an_epoch = recipe.steps, recipe.steps_an_epoch(epoch_images)
    history: list[EpochResult] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    first = 0
    if start is not None:
        module.load_state_dict(start.module)
        put_optimizer_tensors(optimizer, start.optimizer)
        first, best, history = start.step, start.best, list(start.history)
    clock = _Clock(recipe.batch_size, steps, on_progress, Meter() if start is None else start.meter)
    compilation = Compilation(module, device, steps, allowed=may_compile)
    learner = _Learner(compilation, optimizer, recipe, weight, device, micro_batch or recipe.batch_size)
    kept_at = time.perf_counter()
    for step in range(first, steps):
        factor = learning_rate_factor(recipe, step, steps)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        compilation.before(step)
        clock.tick(step, learner.step(*batches.batch(step), derived_seed(seed, stage_index, "dropout", step)))
        if (step + 1) % steps_an_epoch == 0 or step + 1 == steps:
            compilation.paused()
            epoch = clock.epoch(len(history) + 1, step)
            looks = [look for look in (select_accuracy, target_accuracy) if look is not None]
            if looks:
                found = {look: look(module) for look in dict.fromkeys(looks)}
                part.set_modes()
                on_select = None if select_accuracy is None else found[select_accuracy]
                on_target = None if target_accuracy is None else found[target_accuracy]
                epoch = dataclasses.replace(epoch, select_accuracy=on_select, target_accuracy=on_target)
                if on_select is not None and (best is None or on_select > best[0]):
                    best = (on_select, {name: value.detach().clone() for name, value in module.state_dict().items()})
                clock.restart()
            history.append(epoch)
            on_epoch(epoch)
        if keeping is None or step + 1 == steps:
            continue
        stopping = keeping.stop()
        if stopping or time.perf_counter() - kept_at >= keeping.every_seconds:
            compilation.paused()
            meter = clock.meter(step, compilation.seconds)
            keeping.keep(
                Partial(step + 1, module.state_dict(), optimizer_tensors(optimizer), tuple(history), meter, best)
            )
            if stopping:
                raise KeyboardInterrupt
            clock.restart()
            kept_at = time.perf_counter()
    if best is not None:
        module.load_state_dict(best[1])
    return Trained(
        steps * recipe.batch_size,
        max(0.0, clock.train_seconds - compilation.seconds),
        tuple(history),
        compilation.seconds + (0.0 if start is None else start.meter.compile_seconds),
        (compilation.note,) if compilation.note else (),
    )


class _Learner:
    """One step: forward, backward, update; in parts where the whole batch does not fit."""

    def __init__(
        self,
        compilation: Compilation,
        optimizer: Optimizer,
        recipe: Recipe,
        weight: Tensor | None,
        device: str,
        micro_batch: int,
    ) -> None:
        self._compilation = compilation
        self._optimizer = optimizer
        self._recipe = recipe
        self._weight = weight
        self._device = device
        self._micro_batch = micro_batch

    def step(self, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        """The batch's loss before the update, a scalar on the device.

        seed : of dropout, which draws from the global generator: a step depends on nothing before it
        """
        loss: Tensor | None = None
        try:
            loss = self._gradients(images, labels, seed)
        except Exception as error:
            if not self._compilation.failed(error):
                raise
        # Only here, where the exception no longer holds what the compiled step had come to.
        if loss is None:
            loss = self._gradients(images, labels, seed)
        self._optimizer.step()
        return loss

    def _gradients(self, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(seed)
        module, recipe = self._compilation.module, self._recipe
        if self._micro_batch >= len(images):
            with autocast(self._device, recipe.precision):
                loss = loss_of(module(images), labels, recipe, self._weight)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        size = self._micro_batch
        parts = list(zip(torch.split(images, size), torch.split(labels, size), strict=True))
        total = torch.zeros((), device=images.device)
        with autocast(self._device, recipe.precision):
            for loss in accumulated_loss(module, parts, recipe, self._weight):
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        return total


class _Clock:
    """Time, loss and reports; the loss stays on the device between two looks."""

    def __init__(self, batch_size: int, steps: int, on_progress: Callable[[Progress], None], meter: Meter) -> None:
        self._batch_size = batch_size
        self._steps = steps
        self._on_progress = on_progress
        self._losses: list[Tensor] = []
        self._epoch_loss = meter.epoch_loss
        self._epoch_steps = meter.epoch_steps
        self._epoch_seconds = meter.epoch_seconds
        self.train_seconds = meter.train_seconds
        self._compiled_before = meter.compile_seconds
        self.restart()

    def restart(self) -> None:
        """Begin to count again, after time that was not spent on training."""
        self._since = time.perf_counter()

    def tick(self, step: int, loss: Tensor) -> None:
        self._losses.append(loss)
        if time.perf_counter() - self._since >= _LOOK_EVERY_SECONDS:
            self._look(step)

    def epoch(self, number: int, step: int) -> EpochResult:
        self._look(step)
        rate = self._epoch_steps * self._batch_size / max(self._epoch_seconds, 1e-9)
        result = EpochResult(number, (step + 1) * self._batch_size, self._epoch_loss / self._epoch_steps, rate)
        self._epoch_loss, self._epoch_steps, self._epoch_seconds = 0.0, 0, 0.0
        return result

    def meter(self, step: int, compile_seconds: float) -> Meter:
        """All that was measured up to this step; what compiling took of it is given apart."""
        self._look(step)
        seconds = self.train_seconds - compile_seconds
        compiled = self._compiled_before + compile_seconds
        return Meter(seconds, compiled, self._epoch_seconds, self._epoch_loss, self._epoch_steps)

    def _look(self, step: int) -> None:
        if not self._losses:
            return
        mean = float(torch.stack(self._losses).float().mean())
        now = time.perf_counter()
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss is {mean} within {(step + 1) * self._batch_size} images: try a smaller --set lr"
            )
        self._epoch_loss += mean * len(self._losses)
        self._epoch_steps += len(self._losses)
        self._epoch_seconds += now - self._since
        self.train_seconds += now - self._since
        self._losses = []
        self._since = now
        seen = (step + 1) * self._batch_size
        rate = seen / max(self.train_seconds, 1e-9)
        total = self._steps * self._batch_size
        self._on_progress(Progress(seen, total, mean, rate, (total - seen) / rate))
