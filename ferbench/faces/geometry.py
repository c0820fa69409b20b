"""A picture cut to a face: a square around its box, or turned and scaled so that its landmarks lie on fixed places.

Both look as FER2013's pictures do, which most networks here pass through: in 2,203 of 2,300 pictures of its train
split, taken at equal distances, YuNet found a face. Of the picture's side, the median box is 0.953 long, its middle
lies at (0.51, 0.51), and the median landmarks are PLACES, but for their being made symmetric.

What lies beyond the picture's border is filled with the border's own pixels: black wedges would show the network by
what angle a face was turned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ferbench.components import Face, Point

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

#: How pictures may be cut, as the recipe value `faces` names it beside `none`.
MODES = ("crop", "align")

#: Where an aligned face has right eye, left eye, nose, right and left corner of the mouth: fractions of the side.
PLACES: tuple[Point, ...] = ((0.322, 0.385), (0.678, 0.385), (0.5, 0.574), (0.356, 0.745), (0.644, 0.745))

#: The square's side, in longer sides of the box.
_AROUND_THE_BOX = 1.05

#: Points closer together than that, as a share of the box, are no face's.
_CLOSEST = 0.02

#: Most samples a side of what is averaged. Only faces of more pixels than that are thinned out.
_MOST_SAMPLES = 6144


def cut(image: NDArray[np.uint8], face: Face, mode: str, side: int) -> NDArray[np.uint8]:
    """The part of a picture that a face takes, in one resampling, antialiased where it is reduced.

    Parameters
    ----------
    image : uint8 [H, W, C]
    mode : "crop", a square around the box, 1.05 times as long as its longer side; or "align", the similarity that
        brings the landmarks nearest to PLACES (least squares; Umeyama, PAMI 13(4), 1991). A face without landmarks is
        cropped
    side : pixels a side of what comes out

    Returns
    -------
    uint8 [side, side, C]
    """
    if mode not in MODES:
        raise ValueError(f"pictures are cut by {' or '.join(MODES)}, not by {mode!r}")
    if mode == "align" and face.landmarks is not None:
        extent = max(face.box[2:])
        spread = max(math.dist(one, other) for one in face.landmarks for other in face.landmarks)
        if spread > _CLOSEST * extent:
            return _sampled(image, _similarity(PLACES, face.landmarks), side)
    left, top, width, height = face.box
    extent = _AROUND_THE_BOX * max(width, height)
    corner = (left + (width - extent) / 2, top + (height - extent) / 2)
    return _sampled(image, np.array([[extent, 0.0, corner[0]], [0.0, extent, corner[1]]]), side)


def whole(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """All of a picture, uint8 [H, W, C], stretched to [side, side, C] as evaluation stretches it."""
    import torch
    from torch.nn import functional

    if image.shape[:2] == (side, side):
        return image
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    found = functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return _as_picture(found)


def _similarity(places: Sequence[Point], points: Sequence[Point]) -> NDArray[np.float64]:
    """The turn, scale and shift, float64 [2, 3], that brings places nearest to points; mirroring is none of them."""
    # A turned and scaled point is its product with a complex number, which makes it linear regression.
    source = np.array([complex(*place) for place in places])
    target = np.array([complex(*point) for point in points])
    around = source - source.mean()
    factor = np.vdot(around, target - target.mean()) / np.vdot(around, around).real
    shift = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def _sampled(image: NDArray[np.uint8], square: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """A square of a picture, wherever it lies in it, as uint8 [side, side, C].

    square : float64 [2, 3], takes the unit square's points (x, y, 1) to the picture's
    """
    import torch
    from torch.nn import functional

    height, width, channels = image.shape
    # So many samples a pixel and direction that none of the picture's pixels is passed over.
    finer = max(1, min(math.ceil(math.hypot(square[0, 0], square[1, 0]) / side), _MOST_SAMPLES // side))
    count = finer * side
    # grid_sample takes output and input as running from -1 to 1, border to border.
    scale = np.array([2 / width, 2 / height])[:, None]
    linear = square[:, :2] / 2 * scale
    shift = (square[:, :2].sum(axis=1) / 2 + square[:, 2]) * scale[:, 0] - 1
    theta = torch.from_numpy(np.concatenate([linear, shift[:, None]], axis=1))[None].float()
    grid = functional.affine_grid(theta, [1, channels, count, count], align_corners=False)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    found = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if finer > 1:
        found = functional.avg_pool2d(found, finer)
    return _as_picture(found)


def _as_picture(pixels: Tensor) -> NDArray[np.uint8]:
    """float32 [1, C, S, S] of 0..255 as uint8 [S, S, C]."""
    return np.ascontiguousarray(pixels[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy())
