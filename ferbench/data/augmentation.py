"""Random geometry and colour, drawn for each sample of a batch at once, from seed, stage and step alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ferbench.fingerprints import derived_seed


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far samples are moved. Angles in degrees, everything else as a fraction.

    rotation, scale, shift : half widths of uniform distributions; shift is of the image's side
    flip : probability of a mirrored image
    brightness, contrast : half widths of uniform factors around 1, for colour samples only
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0


#: What the recipe's word `augment` stands for.
AUGMENTATIONS = {
    "none": Augmentation(),
    "flip": Augmentation(flip=0.5),
    "standard": Augmentation(rotation=10.0, scale=0.1, shift=0.08, flip=0.5, brightness=0.2, contrast=0.2),
}


@dataclass(frozen=True, slots=True)
class Draw:
    """One batch's random values: `affine` float32 [B, 2, 3] as grid_sample wants it, factors float32 [B, 1, 1, 1]."""

    affine: Tensor
    brightness: Tensor
    contrast: Tensor

    def of(self, rows: Tensor) -> Draw:
        """The values of some samples of the batch, by index."""
        return Draw(self.affine[rows], self.brightness[rows], self.contrast[rows])


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
    shape = (count, 1, 1, 1)
    return Draw(
        affine=affine,
        brightness=(1 + uniform[5] * augmentation.brightness).reshape(shape),
        contrast=(1 + uniform[6] * augmentation.contrast).reshape(shape),
    )
