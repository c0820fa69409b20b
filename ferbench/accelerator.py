"""How torch computes on a device: fast, or the same bits every time."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from ferbench.memory import hold_freed_memory

if TYPE_CHECKING:
    from torch import Tensor, nn


def prepare_device(device: str, *, deterministic: bool = False) -> None:
    """Set torch up, for the rest of the process.

    On CUDA, cuDNN tries its algorithms and keeps the fastest, which need not be the same one tomorrow. `deterministic`
    has it take one that always gives the same bits, and torch refuse operations that have none; a CPU is deterministic
    as it is.
    """
    if device == "cpu":
        hold_freed_memory()
    if not device.startswith("cuda"):
        return
    # cuBLAS reads this when it starts: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic)


def with_deterministic_pooling(module: nn.Module) -> nn.Module:
    """The module with adaptive average pooling as matrix products, whose gradient has one order of additions.

    torch's own backward pass on CUDA adds in whatever order its threads come. Weights and their names stay.
    """
    from torch import nn

    for name, part in list(module.named_modules()):
        if isinstance(part, nn.AdaptiveAvgPool2d):
            module.set_submodule(name, _matrix_pooling(part))
    return module


def _matrix_pooling(pooling: nn.AdaptiveAvgPool2d) -> nn.Module:
    import torch
    from torch import nn

    @functools.cache
    def means(size: int, wanted: int | None, device: torch.device, dtype: torch.dtype) -> Tensor:
        """float [wanted, size]: what each output cell is the mean of; windows as torch has them."""
        count = size if wanted is None else wanted
        # Kept for training too, wherever it is asked for first.
        with torch.inference_mode(False):
            matrix = torch.zeros(count, size)
            for cell in range(count):
                start, end = cell * size // count, -((-(cell + 1) * size) // count)
                matrix[cell, start:end] = 1 / (end - start)
            return matrix.to(device, dtype)

    wanted = pooling.output_size
    height, width = wanted if isinstance(wanted, tuple) else (wanted, wanted)

    class MatrixPooling(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            rows, columns = images.shape[-2:]
            there = (images.device, images.dtype)
            return means(rows, height, *there) @ images @ means(columns, width, *there).T

    return MatrixPooling()
