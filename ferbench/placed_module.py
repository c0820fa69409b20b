"""A backbone's module as it computes best on a device: the same function, the same weights under the same names."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def on_device(module: nn.Module, device: str, *, deterministic: bool = False) -> nn.Module:
    """The module on a device, in channels_last.

    deterministic : on CUDA, without operations whose bits differ from time to time
    """
    module = with_whole_inputs_multiplied(module)
    if deterministic and device.startswith("cuda"):
        module = with_deterministic_pooling(module)
    return module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def with_whole_inputs_multiplied(module: nn.Module) -> nn.Module:
    """The module with matrix products where a convolution's window is its whole input, as in VGG's first full layer.

    As a convolution, that layer's 103 million weights are put into another order and back in every step.
    """
    for part in module.modules():
        plain = type(part) is nn.Conv2d and part.padding == (0, 0) and part.dilation == (1, 1) and part.groups == 1
        if plain and part.kernel_size != (1, 1):
            part.__class__ = WholeInputConv2d  # its parameters, hooks and name stay
    return module


class WholeInputConv2d(nn.Conv2d):
    """A convolution that is a matrix product where its window is as large as its input."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        if tuple(input.shape[-2:]) != self.kernel_size:
            return super().forward(input)
        # Rows in the order in which channels_last keeps both, so that nothing is moved.
        rows, weight = (values.permute(0, 2, 3, 1).flatten(1) for values in (input, self.weight))
        return functional.linear(rows, weight, self.bias)[:, :, None, None]


def with_deterministic_pooling(module: nn.Module) -> nn.Module:
    """The module with adaptive average pooling as matrix products, whose gradient has one order of additions.

    torch's own backward pass on CUDA adds in whatever order its threads come. Weights and their names stay.
    """
    for name, part in list(module.named_modules()):
        if isinstance(part, nn.AdaptiveAvgPool2d):
            module.set_submodule(name, _matrix_pooling(part))
    return module


def _matrix_pooling(pooling: nn.AdaptiveAvgPool2d) -> nn.Module:
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
