"""What a training step does with gradients: optimizer, learning-rate schedule, loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from ferbench.recipes import Recipe
from ferbench.trainable import TrainedPart

if TYPE_CHECKING:
    from torch.optim import Optimizer


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


def optimizer_for(part: TrainedPart, recipe: Recipe, device: str) -> Optimizer:
    """The recipe's optimizer; each of its groups knows its `peak_lr`."""
    groups = [
        {"params": group, "lr": lr, "peak_lr": lr, "weight_decay": decay}
        for group, lr, decay in _groups(part, recipe)
        if group
    ]
    fused = not device.startswith("mps")
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=fused)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=fused)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """All that an optimizer remembers, by parameter number and name, such as `3/momentum_buffer`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": value
        for number, values in state.items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def put_optimizer_tensors(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give a fresh optimizer the memory of another one for the same parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        parameter = parameters[int(number)]
        # Fused steps walk through memory: a buffer must lie there as its parameter does.
        alike = value.shape == parameter.shape
        optimizer.state[parameter][name] = (
            torch.empty_like(parameter).copy_(value) if alike else value.to(parameter.device)
        )


def class_weights(counts: Tensor) -> Tensor:
    """Inverse frequency float32 [C], with mean 1 over samples; classes without samples weigh nothing."""
    present = counts > 0
    weights = torch.where(present, counts.sum() / counts.clamp(min=1), torch.zeros_like(counts))
    return weights / present.sum().clamp(min=1)


def loss_of(logits: Tensor, labels: Tensor, recipe: Recipe, weight: Tensor | None) -> Tensor:
    """The batch's mean cross-entropy."""
    return functional.cross_entropy(logits, labels, weight, label_smoothing=recipe.label_smoothing)


def accumulated_loss(
    module: nn.Module,
    parts: Sequence[tuple[Tensor, Tensor]],
    recipe: Recipe,
    weight: Tensor | None,
) -> Iterator[Tensor]:
    """The parts of a batch's mean cross-entropy, one micro-batch after the other; their sum is the batch's."""
    labels = torch.cat([own for _, own in parts])
    whole = labels.numel() if weight is None else weight[labels].sum()
    for images, own in parts:
        summed = functional.cross_entropy(
            module(images), own, weight, label_smoothing=recipe.label_smoothing, reduction="sum"
        )
        yield summed / whole


def _groups(part: TrainedPart, recipe: Recipe) -> Iterator[tuple[list[nn.Parameter], float, float]]:
    """Weight decay is for weights, not for biases and normalisation's scales."""
    for parameters, lr in ((part.body, recipe.lr), (part.head, recipe.lr * recipe.head_lr_factor)):
        yield [p for p in parameters if p.ndim > 1], lr, recipe.weight_decay
        yield [p for p in parameters if p.ndim <= 1], lr, 0.0
