"""The one training loop: tensors in, numbers out, no files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from ferbench.errors import TrainingError
from ferbench.fingerprints import derived_seed
from ferbench.recipes import Recipe
from ferbench.records import EpochResult

if TYPE_CHECKING:
    from torch.optim import Optimizer

#: Rows of a stage's history; with more passes than that over small data, a row stands for several.
_LONGEST_HISTORY = 200

#: Seconds between two looks at the loss; each look waits for the device.
_LOOK_EVERY_SECONDS = 1.0


class Batches(Protocol):
    """Where a step's input comes from."""

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Input float32 [B, 3, S, S] and labels int64 [B]."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a stage stands. `loss` is the mean since the last report; `seconds_left` is of this stage."""

    images_seen: int
    images_total: int
    loss: float
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What the loop measured. `train_seconds` leaves evaluation on the select split out."""

    images_seen: int
    train_seconds: float
    history: tuple[EpochResult, ...]


def autocast(device: str, precision: str) -> AbstractContextManager[None]:
    """bf16 autocast, or nothing."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")


def learning_rate_factor(recipe: Recipe, step: int, steps: int) -> float:
    """The schedule's factor on the peak learning rate at a step from 0, in 0..1.

    `one-cycle` rises linearly from a tenth over the warm-up, then falls to 0 by a cosine (after Smith and Topin 2019,
    arXiv 1708.07120); `cosine` is the same without a warm-up; `constant` is 1.
    """
    if recipe.schedule == "constant":
        return 1.0
    warm = recipe.warmup * steps if recipe.schedule == "one-cycle" else 0.0
    if step < warm:
        return 0.1 + 0.9 * step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1.0)))


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
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[EpochResult], None] = lambda epoch: None,
) -> Trained:
    """Train a module in place for `recipe.images_seen` images.

    Parameters
    ----------
    classifier : dotted name of the head, which has a learning rate of its own and may be all that is trained
    epoch_images : images that count as one epoch in the history
    class_counts : float32 [C], for `imbalance=weighted`
    select_accuracy : given where `checkpoint=best-on-select`: the best epoch's state is put back at the end

    Raises
    ------
    TrainingError : the loss is not finite
    """
    head_only = recipe.trainable == "head"
    parameters = _prepared(module, classifier, head_only)
    optimizer = _optimizer(parameters, recipe, device)
    weight = _class_weights(class_counts).to(device) if recipe.imbalance == "weighted" else None
    steps = max(1, recipe.images_seen // recipe.batch_size)
    steps_an_epoch = max(1, round(epoch_images / recipe.batch_size), math.ceil(steps / _LONGEST_HISTORY))
    history: list[EpochResult] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    clock = _Clock(recipe.batch_size, steps, on_progress)
    for step in range(steps):
        factor = learning_rate_factor(recipe, step, steps)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        # Dropout draws from the global generator: seeded here, so that a step depends on nothing before it.
        torch.manual_seed(derived_seed(seed, stage_index, "dropout", step))
        images, labels = batches.batch(step)
        with autocast(device, recipe.precision):
            loss = functional.cross_entropy(module(images), labels, weight, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        clock.tick(step, loss)
        if (step + 1) % steps_an_epoch == 0 or step + 1 == steps:
            epoch = clock.epoch(len(history) + 1, step)
            if select_accuracy is not None:
                found = select_accuracy(module)
                _set_mode(module, classifier, head_only)
                epoch = EpochResult(epoch.epoch, epoch.images_seen, epoch.loss, epoch.images_per_second, found)
                if best is None or found > best[0]:
                    best = (found, {name: value.detach().clone() for name, value in module.state_dict().items()})
                clock.restart()
            history.append(epoch)
            on_epoch(epoch)
    if best is not None:
        module.load_state_dict(best[1])
    return Trained(steps * recipe.batch_size, clock.train_seconds, tuple(history))


class _Clock:
    """Time, loss and reports; the loss stays on the device between two looks."""

    def __init__(self, batch_size: int, steps: int, on_progress: Callable[[Progress], None]) -> None:
        self._batch_size = batch_size
        self._steps = steps
        self._on_progress = on_progress
        self._losses: list[Tensor] = []
        self._epoch_loss = 0.0
        self._epoch_steps = 0
        self._epoch_seconds = 0.0
        self.train_seconds = 0.0
        self.restart()

    def restart(self) -> None:
        """Begin to count again, after time that was not spent on training."""
        self._since = time.perf_counter()

    def tick(self, step: int, loss: Tensor) -> None:
        self._losses.append(loss.detach())
        if time.perf_counter() - self._since >= _LOOK_EVERY_SECONDS:
            self._look(step)

    def epoch(self, number: int, step: int) -> EpochResult:
        self._look(step)
        rate = self._epoch_steps * self._batch_size / max(self._epoch_seconds, 1e-9)
        result = EpochResult(number, (step + 1) * self._batch_size, self._epoch_loss / self._epoch_steps, rate)
        self._epoch_loss, self._epoch_steps, self._epoch_seconds = 0.0, 0, 0.0
        return result

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


def _prepared(module: nn.Module, classifier: str, head_only: bool) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Set modes and gradients; give the parameters of the body and of the head that are trained."""
    head = set(module.get_submodule(classifier).parameters())
    body = [p for p in module.parameters() if p not in head]
    for parameter in body:
        parameter.requires_grad_(not head_only)
    for parameter in head:
        parameter.requires_grad_(True)
    _set_mode(module, classifier, head_only)
    return ([] if head_only else body), [p for p in module.parameters() if p in head]


def _set_mode(module: nn.Module, classifier: str, head_only: bool) -> None:
    """Training mode; a frozen prefix stays in evaluation mode, so that its BatchNorm and dropout stand still."""
    module.train(not head_only)
    module.get_submodule(classifier).train()


def _optimizer(parameters: tuple[list[nn.Parameter], list[nn.Parameter]], recipe: Recipe, device: str) -> Optimizer:
    body, head = parameters
    groups = [
        {"params": group, "lr": lr, "peak_lr": lr, "weight_decay": decay}
        for group, lr, decay in _groups(body, head, recipe)
        if group
    ]
    fused = not device.startswith("mps")
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=fused)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=fused)


def _groups(
    body: list[nn.Parameter], head: list[nn.Parameter], recipe: Recipe
) -> Iterator[tuple[list[nn.Parameter], float, float]]:
    """Weight decay is for weights, not for biases and normalisation's scales."""
    for parameters, lr in ((body, recipe.lr), (head, recipe.lr * recipe.head_lr_factor)):
        yield [p for p in parameters if p.ndim > 1], lr, recipe.weight_decay
        yield [p for p in parameters if p.ndim <= 1], lr, 0.0


def _class_weights(counts: Tensor) -> Tensor:
    """Inverse frequency, with mean 1 over samples; classes without samples weigh nothing."""
    present = counts > 0
    weights = torch.where(present, counts.sum() / counts.clamp(min=1), torch.zeros_like(counts))
    return weights / present.sum().clamp(min=1)
