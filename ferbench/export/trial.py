"""What exported files are tried on where there is nothing better, and how far they may be off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The largest difference of a probability between two that were fed the same pixels; rounding gives 1e-6.
LIMIT = 1e-4

#: Sides by which random pictures differ, as parts of the network's.
_RANDOM_SIDES = ((1.0, 1.0), (0.75, 0.75), (2.0, 2.0), (2.7, 1.3), (0.4, 1.6), (3.1, 0.9))


def random_pictures(image_size: int, count: int) -> list[NDArray[np.uint8]]:
    """Smooth noise, uint8 [H, W, 3] each, the same every time, of sides below, at and above the network's."""
    random = np.random.default_rng(0)
    pictures = []
    for number in range(count):
        height, width = (max(1, round(part * image_size)) for part in _RANDOM_SIDES[number % len(_RANDOM_SIDES)])
        coarse = random.integers(0, 256, (-(-height // 4), -(-width // 4), 3))
        fine = random.integers(-16, 17, (height, width, 3))
        whole = coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
        pictures.append((whole + fine).clip(0, 255).astype(np.uint8))
    return pictures
