"""From linear light to stored pixels: focus, exposure, grade, grain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferbench_plugins.faces3d.seeds import Random

Floats = NDArray[np.float32]

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


@dataclass(frozen=True, slots=True)
class Finish:
    """blur : standard deviation in pixels · exposure : factor · gain : float32 [3], a grade's tint ·
    contrast : about middle grey · lift : added to blacks · grain : standard deviation, 0..1
    """

    blur: float
    exposure: float
    gain: Floats
    contrast: float
    lift: float
    grain: float


def metered(skin: Floats) -> float:
    """The exposure that a camera set for this skin (linear RGB [3]) would choose, half-heartedly."""
    return float((0.4 / max(float(skin @ LUMINANCE), 0.02)) ** 0.5)


def develop(image: Floats, finish: Finish, channels: int, random: Random) -> NDArray[np.uint8]:
    """Linear RGB [size, size, 3] to uint8 [size, size, channels], channels 1 (grey) or 3."""
    image = soften(image, finish.blur) * (finish.exposure * finish.gain)
    if channels == 1:
        image = (image @ LUMINANCE)[:, :, None]
    # Highlights roll off instead of burning out.
    image = image / (1 + 0.25 * image)
    shown = np.clip(image, 0, None) ** np.float32(1 / 2.2)
    shown = finish.lift + (1 - finish.lift) * (0.5 + (shown - 0.5) * finish.contrast)
    shown = shown + finish.grain * random.standard_normal(shown.shape[:2])[:, :, None]
    return np.asarray(np.clip(np.rint(shown * 255), 0, 255), np.uint8)


def soften(image: Floats, sigma: float) -> Floats:
    """Gaussian blur with up to seven taps, edges repeated; below 0.2 pixels none."""
    if sigma < 0.2:
        return image
    reach = 1 if sigma < 0.5 else 3
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(image, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="edge")
        size = image.shape[axis]
        image = sum(
            tap * (padded[i : i + size] if axis == 0 else padded[:, i : i + size]) for i, tap in enumerate(taps)
        )
    return image
