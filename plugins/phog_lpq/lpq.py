"""LPQ: local phase quantization.

After Ojansivu and Heikkilä, Blur insensitive texture classification using local phase quantization, ICISP 2008, doi
10.1007/978-3-540-69905-7_27. Around each pixel x, F(u, x) is the sum over y in the window of f(x - y) exp(-2 pi i u.y),
at the four lowest frequencies (a, 0), (0, a), (a, a) and (a, -a), where a is 1 / window. The eight real and imaginary
parts are decorrelated, for pixels that correlate by rho to the power of their distance. Their signs are the eight bits
of a code, and codes are counted.

The paper's: all of that, and rho = 0.9. Ours: a window of 7 pixels, only where it fits into the picture; histograms
over a grid of 4 by 4 cells, each of sum 1.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ferbench_plugins.phog_lpq.cells import cell_areas, cell_numbers

WINDOW = 7
RHO = 0.9

#: Cells a side of the grid of histograms.
CELLS = 4

CODES = 256

#: Numbers of one picture's descriptor.
LPQ_LENGTH = CELLS * CELLS * CODES

_PARTS = 8


def lpq(luma: Tensor) -> Tensor:
    """Descriptors of a batch.

    luma : float32 [n, H, W], 10 pixels a side or more
    returns : float32 [n, 4096], cell by cell, in it code by code; each cell sums to 1
    """
    codes = lpq_codes(luma)
    height, width = codes.shape[1:]
    places = (codes + CODES * cell_numbers(height, width, CELLS, codes.device)).flatten(1)
    # Whole numbers add up to the same sum in any order, so a GPU's atomic additions do no harm.
    counts = luma.new_zeros(len(luma), LPQ_LENGTH).scatter_add_(1, places, luma.new_ones(()).expand_as(places))
    areas = luma.new_tensor(cell_areas(height, width, CELLS))
    return (counts.view(-1, CELLS * CELLS, CODES) / areas[:, None]).flatten(1)


def lpq_codes(luma: Tensor, window: int = WINDOW) -> Tensor:
    """The code of each pixel that has a whole window: int64 [n, H - window + 1, W - window + 1] in 0..255.

    luma : float32 [n, H, W]; in whole numbers, a window without any structure gives exactly 0
    window : odd
    """
    parts = _frequency_parts(luma, window)
    codes = torch.zeros_like(parts[0], dtype=torch.uint8)
    for bit, row in enumerate(decorrelation(window)):
        value = torch.zeros_like(parts[0])
        for part, factor in zip(parts, row.tolist(), strict=True):
            if factor:
                value.add_(part, alpha=factor)
        codes |= (value > 0).view(torch.uint8) << bit
    return codes.to(torch.int64)


@cache
def decorrelation(window: int) -> NDArray[np.float64]:
    """The matrix V^T of the paper, float64 [8, 8]: rows are bits, columns Re F(a,0), Im F(a,0), Re F(0,a) and so on.

    Its rows are the singular vectors of the parts' covariance D = M C M^T, by falling singular value. Two pairs of
    values are equal, which leaves the vectors open. As in the authors' lpq.m, D is scaled by numbers next to 1 on both
    sides, which makes them differ, and of each vector the element of largest size is positive.
    """
    reach = window // 2
    steps = np.arange(-reach, reach + 1)
    x, y = (side.ravel() for side in np.meshgrid(steps, steps))
    waves = [np.exp(-2j * math.pi * (u * x + v * y) / window) for u, v in ((1, 0), (0, 1), (1, 1), (1, -1))]
    operator = np.array([part for wave in waves for part in (wave.real, wave.imag)])
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    nearly_one = np.diag(1 + 1e-6 * np.arange(_PARTS - 1, -1, -1))
    covariance = nearly_one @ operator @ RHO**distance @ operator.T @ nearly_one
    vectors: NDArray[np.float64] = np.linalg.svd(covariance)[2]
    largest = np.abs(vectors).argmax(axis=1)
    vectors *= np.sign(vectors[np.arange(_PARTS), largest])[:, None]
    # Real parts are even and imaginary ones odd, so half of the elements are zero but for rounding.
    vectors[np.abs(vectors) < 1e-12] = 0.0
    return vectors


def _frequency_parts(luma: Tensor, window: int) -> list[Tensor]:
    """Real and imaginary parts of F at the four frequencies, float32 [n, H - window + 1, W - window + 1] each.

    Windows are separable, so one axis is done after the other. By plain additions and not by a convolution, which GPUs
    round to 10 bits unless told otherwise.
    """
    flat = _box(luma, window, 2)
    even, odd = _wave(luma, window, 2)
    across = _box(even, window, 1), _box(odd, window, 1)
    down = _wave(flat, window, 1)
    even_even, even_odd = _wave(even, window, 1)
    odd_even, odd_odd = _wave(odd, window, 1)
    # (even + i odd)(even + i odd) of the two axes, and with the second one conjugate.
    return [
        *across,
        *down,
        even_even - odd_odd,
        odd_even + even_odd,
        even_even + odd_odd,
        odd_even - even_odd,
    ]


def _box(planes: Tensor, window: int, axis: int) -> Tensor:
    length = planes.shape[axis] - window + 1
    total = planes.narrow(axis, 0, length).clone()
    for start in range(1, window):
        total += planes.narrow(axis, start, length)
    return total


def _wave(planes: Tensor, window: int, axis: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of the sum of f(x - y) exp(-2 pi i y / window) along one axis.

    The cosines of a whole period sum to 0, so that taking the middle pixel from each changes nothing, and gives exactly
    0 where all are equal.
    """
    length = planes.shape[axis] - window + 1
    reach = window // 2
    middle = planes.narrow(axis, reach, length)
    even, odd = torch.zeros_like(middle), torch.zeros_like(middle)
    for step in range(1, reach + 1):
        before, after = (planes.narrow(axis, reach + place, length) for place in (-step, step))
        angle = 2 * math.pi * step / window
        even.add_(before + after - 2 * middle, alpha=math.cos(angle))
        odd.add_(after - before, alpha=math.sin(angle))
    return even, odd
