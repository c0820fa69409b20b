"""PHOG: a pyramid of histograms of oriented gradients.

After Bosch, Zisserman and Munoz, Representing shape with a spatial pyramid kernel, CIVR 2007, doi
10.1145/1282280.1282340. Theirs: histograms of gradient orientation, weighted by magnitude, over a grid that doubles
level by level, of equal sum for every picture. Ours: all gradients count, where the paper takes those along Canny's
contours; faces of 48 pixels have few contours. Orientations run over half a turn in 8 bins.

Gradients and bins are those of scikit-image's `hog`: central differences, none at the border, one bin a pixel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from ferbench_plugins.phog_lpq.cells import cell_sums

ORIENTATIONS = 8

#: Cells a side, level by level.
LEVELS = (1, 2, 4, 8)

#: Numbers of one picture's descriptor.
PHOG_LENGTH = ORIENTATIONS * sum(cells * cells for cells in LEVELS)

_SMALLEST_SUM = 1e-12


def phog(luma: Tensor) -> Tensor:
    """Descriptors of a batch.

    Parameters
    ----------
    luma : float32 [n, H, W], 8 pixels a side or more; in whole numbers, bins are the same on every device

    Returns
    -------
    float32 [n, 680], level by level, in it cell by cell, in it bin by bin. Each level sums to 1, so that all together
    have one sum for every picture, as in the paper; a picture without any gradient gives zeros
    """
    magnitude, bins = oriented_gradients(luma)
    votes = [magnitude * (bins == orientation) for orientation in range(ORIENTATIONS)]
    cells = torch.stack([cell_sums(vote, LEVELS[-1]) for vote in votes], dim=1)
    levels = [_normalised(_merged(cells, side)) for side in LEVELS]
    return torch.cat(levels, dim=1)


def oriented_gradients(luma: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude and orientation bin of each pixel's gradient.

    luma : float32 [n, H, W]
    returns : float32 [n, H, W], and uint8 [n, H, W] in 0..7; bin k holds angles from k/8 of half a turn up to, and
        without, (k+1)/8
    """
    down = functional.pad(luma[:, 2:] - luma[:, :-2], (0, 0, 1, 1))
    right = functional.pad(luma[:, :, 2:] - luma[:, :, :-2], (1, 1))
    magnitude = torch.hypot(down, right)
    # Opposite directions are one orientation; turned so that the angle lies in [0, half a turn).
    opposite = (down < 0) | ((down == 0) & (right < 0))
    down, right = torch.where(opposite, -down, down), torch.where(opposite, -right, right)
    bins = torch.zeros_like(luma, dtype=torch.uint8)
    for edge in range(1, ORIENTATIONS):
        # Comparing products needs no arc tangent, and at 45 and 90 degrees, where whole numbers lie, it is exact.
        cosine, sine = _direction(edge)
        bins += (down * cosine >= right * sine).view(torch.uint8)
    return magnitude, bins


def _direction(edge: int) -> tuple[float, float]:
    angle = math.pi * edge / ORIENTATIONS
    if 2 * edge == ORIENTATIONS:
        return 0.0, 1.0
    if 4 * edge in (ORIENTATIONS, 3 * ORIENTATIONS):
        return math.copysign(1.0, math.cos(angle)), 1.0
    return math.cos(angle), math.sin(angle)


def _merged(cells: Tensor, side: int) -> Tensor:
    """[n, 8, 8, 8] of bins and the finest cells to [n, side, side, 8]."""
    fine = cells.shape[-1] // side
    merged = cells.reshape(-1, ORIENTATIONS, side, fine, side, fine).sum((3, 5))
    return merged.permute(0, 2, 3, 1)


def _normalised(level: Tensor) -> Tensor:
    flat = level.flatten(1)
    return flat / flat.sum(1, keepdim=True).clamp_min(_SMALLEST_SUM)
