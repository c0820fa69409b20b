"""Random geometry and colour, drawn for each sample of a batch at once, from seed, stage and step alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ferbench.fingerprints import derived_seed


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far samples are moved. Angles in degrees, everything else as a fraction.

    rotation, scale, shift : half widths of uniform distributions; shift is of the image's side
    flip : probability of a mirrored image
    brightness, contrast : half widths of uniform factors around 1, for colour samples only
    crop : most that is cut off of the area; what is left is a square anywhere within it, enlarged to the whole (after
        Szegedy et al. 2015, arXiv 1409.4842, without their change of aspect)
    erase : probability of a rectangle that is replaced by the mean (Zhong et al. 2020, arXiv 1708.04896, RE-M)
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    crop: float = 0.0
    erase: float = 0.0


#: An erased rectangle's part of the area, and its height by its width: those of Zhong et al. with the area that they
#: found best, s_h = 0.4.
ERASED_AREA = (0.02, 0.4)
ERASED_ASPECT = (0.3, 1 / 0.3)

_STANDARD = Augmentation(rotation=10.0, scale=0.1, shift=0.08, flip=0.5, brightness=0.2, contrast=0.2)

#: What the recipe's word `augment` stands for.
AUGMENTATIONS = {
    "none": Augmentation(),
    "flip": Augmentation(flip=0.5),
    "standard": _STANDARD,
    "strong": replace(_STANDARD, crop=0.4, erase=0.5),
}


@dataclass(frozen=True, slots=True)
class Draw:
    """One batch's random values.

    affine : float32 [B, 2, 3], as grid_sample wants it
    brightness, contrast : factors, float32 [B, 1, 1, 1]
    erased : float32 [B, 4], top, left, bottom and right of what is erased, as parts of the side; all 0 where nothing
        is. None where the augmentation erases nothing
    """

    affine: Tensor
    brightness: Tensor
    contrast: Tensor
    erased: Tensor | None = None

    def of(self, rows: Tensor) -> Draw:
        """The values of some samples of the batch, by index."""
        erased = None if self.erased is None else self.erased[rows]
        return Draw(self.affine[rows], self.brightness[rows], self.contrast[rows], erased)


def draw(augmentation: Augmentation, count: int, seed: int, stage_index: int, step: int) -> Draw:
    """Random values for a batch of `count` samples, on the CPU whatever the device: equal everywhere."""
    generator = torch.Generator().manual_seed(derived_seed(seed, stage_index, "augmentation", step))
    uniform = torch.rand((7, count), generator=generator) * 2 - 1
    angle = uniform[0] * math.radians(augmentation.rotation)
    zoom = 1 + uniform[1] * augmentation.scale
    mirror = torch.where((uniform[4] + 1) / 2 < augmentation.flip, -1.0, 1.0)
    # The affine map goes from output to input; coordinates run from -1 to 1, so a shift of one side is 2.
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    affine = torch.stack(
        [
            torch.stack([cos * mirror, -sin, 2 * augmentation.shift * uniform[2]], dim=1),
            torch.stack([sin * mirror, cos, 2 * augmentation.shift * uniform[3]], dim=1),
        ],
        dim=1,
    )
    erased = None
    if augmentation.crop or augmentation.erase:
        # From a generator of their own, so that everything above is the same with and without them.
        generator = torch.Generator().manual_seed(derived_seed(seed, stage_index, "crop and erasing", step))
        more = torch.rand((8, count), generator=generator)
        affine = _cropped(affine, augmentation.crop, more[:3])
        erased = _erased(augmentation.erase, more[3:]) if augmentation.erase else None
    shape = (count, 1, 1, 1)
    return Draw(
        affine=affine,
        brightness=(1 + uniform[5] * augmentation.brightness).reshape(shape),
        contrast=(1 + uniform[6] * augmentation.contrast).reshape(shape),
        erased=erased,
    )


def _cropped(affine: Tensor, crop: float, uniform: Tensor) -> Tensor:
    """Maps that show a square of what they showed; uniform float32 [3, B] of 0..1: its area, and where it lies."""
    side = torch.sqrt(1 - crop * uniform[0])
    centre = (1 - side) * (uniform[1:] * 2 - 1)
    shift = affine[:, :, 2:] + affine[:, :, :2] @ centre.T[:, :, None]
    return torch.cat([affine[:, :, :2] * side[:, None, None], shift], dim=2)


def _erased(probability: float, uniform: Tensor) -> Tensor:
    """Rectangles float32 [B, 4] from uniform float32 [5, B] of 0..1.

    The area is uniform and the aspect log-uniform among those with which the rectangle fits; Zhong et al. draw both
    again until it does.
    """
    low, high = ERASED_AREA
    area = low + (high - low) * uniform[0]
    # A rectangle of height sqrt(area * aspect) and width sqrt(area / aspect) fits where aspect is in area..1 / area.
    smallest = torch.log(area.clamp(min=ERASED_ASPECT[0]))
    largest = -torch.log(area.clamp(min=1 / ERASED_ASPECT[1]))
    aspect = torch.exp(smallest + (largest - smallest) * uniform[1])
    height, width = torch.sqrt(area * aspect), torch.sqrt(area / aspect)
    top, left = (1 - height) * uniform[2], (1 - width) * uniform[3]
    box = torch.stack([top, left, top + height, left + width], dim=1)
    return torch.where((uniform[4] < probability)[:, None], box, 0.0)
