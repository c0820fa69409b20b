"""Floating-point work: of one image's way through a network, and what a device can do of it in a second."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

#: A matrix is enlarged until its product takes this long, or it has so many rows.
_PRODUCT_SECONDS = 0.05
_LARGEST = 8192


def synchronised_now(device: str) -> float:
    """`time.perf_counter()`, once the device has done all that it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(torch.device(device))
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def forward_flops(module: nn.Module, image_size: int) -> int:
    """FLOPs of one image's forward pass: a multiplication and an addition are two, so twice the MACs.

    Convolutions and matrix products count, as everywhere in the literature; what goes element by element does not. The
    module is run once on one black image of `image_size` pixels a side, where its parameters are, and left in eval
    mode.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    like = next(module.parameters())
    image = torch.zeros(1, 3, image_size, image_size, device=like.device, dtype=like.dtype)
    module.eval()
    # The counter sees through neither the fused encoder layers of eval mode nor a CPU's fused attention.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops())


def matrix_flops_per_second(device: str, precision: str, *, repeats: int = 3, seconds: float = 0.5) -> float:
    """FLOPs a second of a large matrix product, the median of some repetitions.

    precision : fp32 or bf16, see `MatrixProduct`
    seconds : of each repetition
    """
    product = MatrixProduct(device, precision)
    return statistics.median(product.flops_per_second(seconds) for _ in range(repeats))


class MatrixProduct:
    """A product of two square matrices of noise, large enough to fill the device: what utilisation is measured against.

    In fp32 on CUDA it may use TF32 where cuDNN may, since that is what convolutions then do.

    Attributes
    ----------
    size : rows of each matrix
    """

    def __init__(self, device: str, precision: str) -> None:
        self._device = device
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.size = 256
        self._fill()
        # The least of several: whoever comes in between must not make the matrices small.
        while self.size < _LARGEST and min(self._seconds(1) for _ in range(3)) < _PRODUCT_SECONDS:
            self.size *= 2
            self._fill()

    def flops_per_second(self, seconds: float) -> float:
        """Measured over about so many seconds, and two products at least."""
        count = max(2, round(seconds / max(self._seconds(1), 1e-9)))
        return count * 2 * self.size**3 / max(self._seconds(count), 1e-9)

    def _fill(self) -> None:
        shape = (self.size, self.size)
        self._factors = [torch.randn(shape, device=self._device).to(self._dtype) for _ in range(2)]
        self._product = torch.empty(shape, device=self._device, dtype=self._dtype)
        self._seconds(1)

    def _seconds(self, count: int) -> float:
        allowed = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
        try:
            began = synchronised_now(self._device)
            for _ in range(count):
                torch.mm(*self._factors, out=self._product)
            return synchronised_now(self._device) - began
        finally:
            torch.backends.cuda.matmul.allow_tf32 = allowed
