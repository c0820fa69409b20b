"""A z-buffer triangle rasteriser without loops over triangles or pixels.

Every pixel centre within a triangle's bounding box is a candidate. The candidates of all triangles are tested at once,
and the z-buffer is one `maximum.at` over integers that hold the depth above the candidate's number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: A pixel centre so little outside an edge (as a share of the triangle) still counts, so that neighbours leave no gaps.
EDGE_SLACK = 1e-4
#: Triangles of less area than this, in square pixels, or seen from behind are not drawn.
SMALLEST_AREA = 1e-6
#: Of a z-buffer entry; the bits above hold the depth.
CANDIDATE_BITS = 30
DEPTH_STEPS = 2**30


@dataclass(frozen=True, slots=True)
class Fragments:
    """The nearest surface at each covered pixel, K of them.

    pixel : int64 [K], row * width + column, rising
    triangle : int64 [K]
    barycentric : float32 [3, K], weights of the triangle's corners
    """

    pixel: NDArray[np.int64]
    triangle: NDArray[np.int64]
    barycentric: Floats


def rasterize(points: Floats, triangles: NDArray[np.int32], height: int, width: int) -> Fragments:
    """Fragments of triangles [T, 3] over points float32 [V, 3]: column, row, depth (more is nearer).

    Pixel centres lie at halves. Triangles that face the viewer are counter-clockwise as seen on the screen.
    """
    x, y, z = (np.ascontiguousarray(points[:, axis])[triangles] for axis in range(3))
    # First and last pixel centre within the bounding box; there is none where last < first.
    left = np.maximum(np.ceil(_least(x) - 0.5), 0)
    right = np.minimum(np.floor(-_least(-x) - 0.5), width - 1)
    top = np.maximum(np.ceil(_least(y) - 0.5), 0)
    bottom = np.minimum(np.floor(-_least(-y) - 0.5), height - 1)
    # Rows count downwards, which turns the sign around.
    area = (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0]) - (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0])
    drawn = np.flatnonzero((area > SMALLEST_AREA) & (left <= right) & (top <= bottom))
    if len(drawn) == 0:
        return Fragments(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((3, 0), np.float32))

    x, y, z, area, left, top = x[drawn], y[drawn], z[drawn], area[drawn], left[drawn], top[drawn]
    box_width = (right[drawn] - left + 1).astype(np.int32)
    count = box_width * (bottom[drawn] - top + 1).astype(np.int32)
    owner = np.repeat(np.arange(len(drawn), dtype=np.int32), count)
    place = np.arange(len(owner), dtype=np.int32) - np.repeat(np.cumsum(count, dtype=np.int32) - count, count)
    rows_down = place // box_width[owner]
    right_by = place - rows_down * box_width[owner]

    # Weights of corners 1 and 2 as planes, anchored at the box's first pixel: small numbers lose no digits.
    from_x, from_y = left + np.float32(0.5) - x[:, 0], top + np.float32(0.5) - y[:, 0]
    dx1, dx2 = -(y[:, 2] - y[:, 0]) / area, (y[:, 1] - y[:, 0]) / area
    dy1, dy2 = (x[:, 2] - x[:, 0]) / area, -(x[:, 1] - x[:, 0]) / area
    start1, start2 = from_x * dx1 + from_y * dy1, from_x * dx2 + from_y * dy2
    second = start1[owner] + right_by * dx1[owner] + rows_down * dy1[owner]
    third = start2[owner] + right_by * dx2[owner] + rows_down * dy2[owner]
    inside = np.flatnonzero((second >= -EDGE_SLACK) & (third >= -EDGE_SLACK) & (second + third <= 1 + EDGE_SLACK))

    owner, second, third = owner[inside], second[inside], third[inside]
    pixel = (top.astype(np.int64) * width + left.astype(np.int64))[owner]
    pixel += rows_down[inside] * width + right_by[inside]
    depth = z[:, 0][owner] + second * (z[:, 1] - z[:, 0])[owner] + third * (z[:, 2] - z[:, 0])[owner]
    nearest = _nearest_candidates(pixel, depth, height * width)
    weights = np.stack([1 - second[nearest] - third[nearest], second[nearest], third[nearest]])
    return Fragments(pixel[nearest], drawn[owner[nearest]], weights)


def interpolate(values: Floats, corners: NDArray[np.int32], barycentric: Floats) -> Floats:
    """Values of vertices [M, V] at fragments, given their corners [3, K] and weights [3, K]: float32 [M, K]."""
    mixed = np.take(values, corners[0], axis=1) * barycentric[0]
    for corner in (1, 2):
        mixed += np.take(values, corners[corner], axis=1) * barycentric[corner]
    return np.asarray(mixed)


def _least(values: Floats) -> Floats:
    """Row minima of [T, 3]; NumPy's own reduction over so short an axis is several times slower."""
    return np.asarray(np.minimum(np.minimum(values[:, 0], values[:, 1]), values[:, 2]))


def _nearest_candidates(pixel: NDArray[np.int64], depth: Floats, pixel_count: int) -> NDArray[np.int64]:
    """For each pixel that has candidates the number of the one of most depth, in order of pixels."""
    span = max(float(np.ptp(depth)), 1e-12) if len(depth) else 1.0
    steps = ((depth - depth.min(initial=np.inf)) * (DEPTH_STEPS / span)).astype(np.int64)
    buffer = np.full(pixel_count, -1, np.int64)
    np.maximum.at(buffer, pixel, (steps << CANDIDATE_BITS) | np.arange(len(depth)))
    winners = buffer[buffer >= 0]
    return np.asarray(winners & ((1 << CANDIDATE_BITS) - 1))
