"""A picture cut into a grid of cells, as even as whole pixels allow.

Pixel p of a side of `size` pixels lies in cell p * cells // size. A grid of twice as many
cells has all of its borders, so that coarse cells are sums of fine ones.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor


def cell_sums(planes: Tensor, cells: int) -> Tensor:
    """[..., H, W] summed over each cell: [..., cells, cells], of the same type."""
    return _sums(_sums(planes, cells, -2), cells, -1)


def cell_numbers(height: int, width: int, cells: int, device: torch.device) -> Tensor:
    """The number of each pixel's cell, row by row from 0: int64 [H, W]."""
    rows, columns = (torch.arange(side, device=device) * cells // side for side in (height, width))
    return rows[:, None] * cells + columns


def cell_areas(height: int, width: int, cells: int) -> list[int]:
    """Pixels of each cell, in the order of `cell_numbers`."""
    rows, columns = ([stop - start for start, stop in pairwise(_borders(side, cells))] for side in (height, width))
    return [row * column for row in rows for column in columns]


def _sums(planes: Tensor, cells: int, axis: int) -> Tensor:
    borders = _borders(planes.shape[axis], cells)
    return torch.stack(
        [planes.narrow(axis, start, stop - start).sum(axis) for start, stop in pairwise(borders)], dim=axis
    )


def _borders(size: int, cells: int) -> list[int]:
    return [-(-cell * size // cells) for cell in range(cells + 1)]
