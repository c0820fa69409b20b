"""Tensors on their way to a device, without the program waiting for them."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device | str) -> Tensor:
    """Values from the CPU on a device; the program does not wait for a GPU to have them."""
    return moved(values.pin_memory() if torch.device(device).type == "cuda" else values, device)


def moved(values: Tensor, device: torch.device | str) -> Tensor:
    """The same of values that are pinned already where the device is a GPU."""
    return values.to(device, non_blocking=torch.device(device).type == "cuda")
