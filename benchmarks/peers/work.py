"""What all contenders are given to do: grey 48 x 48 faces, a backbone, an optimizer, an augmentation.

Rotation, scale, shift, flip and upscaling have ferbench's ranges everywhere. Left alone, two things differ and cost
nothing: torchvision fills with black what ferbench fills from the border, and learning rates follow other curves.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ferbench.catalog import Catalog
from ferbench.components import Backbone
from ferbench.data.augmentation import AUGMENTATIONS
from ferbench.placed_module import on_device
from ferbench.recipes import Recipe

#: Trains so many steps and one before them, for warm-up.
Run = Callable[[int], None]

SIDE = 48
CLASSES = 7
MOVES = AUGMENTATIONS["standard"]


def batches_ahead(workers: int) -> int:
    """What a DataLoader gives out before it is asked: two batches a worker, and two that Trainer or Lightning hold."""
    return 2 * workers + 2


@functools.cache
def _catalog() -> Catalog:
    return Catalog.load()


@dataclass(frozen=True)
class Work:
    """One training job; `steps` at most are trained in a run, not counting the one of warm-up.

    spare : batches that are there beyond those trained on, so that a peer's workers have as much to do at the end as
        before; `batches_ahead` of the most workers that a peer has
    """

    backbone: str
    image_size: int
    steps: int
    batch_size: int = 32
    device: str = "cpu"
    precision: str = "fp32"
    plugin: Backbone | None = None
    spare: int = batches_ahead(2)

    @functools.cached_property
    def component(self) -> Backbone:
        return self.plugin or _catalog().backbone(self.backbone)

    @property
    def name(self) -> str:
        return f"{self.backbone} at {self.image_size}"

    @functools.cached_property
    def faces(self) -> NDArray[np.uint8]:
        """uint8 [n, 48, 48, 1], of as many batches as the longest run sees, the spare ones included."""
        count = self.batch_size * (1 + self.steps + self.spare)
        return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 1), dtype=np.uint8)

    @functools.cached_property
    def labels(self) -> Tensor:
        """int64 [n]."""
        return torch.arange(len(self.faces)) % CLASSES

    def recipe(self, steps: int) -> Recipe:
        """A run's recipe, warm-up step included."""
        return dataclasses.replace(
            Recipe(),
            image_size=self.image_size,
            batch_size=self.batch_size,
            images_seen=self.batch_size * (1 + steps),
            lr=1e-4,
            precision=self.precision,
        )

    @functools.cached_property
    def _modules(self) -> dict[torch.memory_format | None, nn.Module]:
        return {}

    def module(self, memory_format: torch.memory_format = torch.channels_last) -> nn.Module:
        """The backbone; all contenders of one memory format train the same one, so that none has luckier memory."""
        if memory_format not in self._modules:
            torch.manual_seed(0)
            module = self.component.build(CLASSES, self.image_size)
            self._modules[memory_format] = module.to(memory_format=memory_format)  # type: ignore[call-overload]
        # Lightning leaves a module on the CPU.
        return self._modules[memory_format].to(self.device)

    def placed_module(self) -> nn.Module:
        """The backbone as ferbench's worker trains it, a copy of the one that all train."""
        if None not in self._modules:
            self._modules[None] = on_device(copy.deepcopy(self.module()), self.device)
        return self._modules[None]

    def optimizer(self, module: nn.Module) -> torch.optim.SGD:
        """SGD with Nesterov's momentum, fused; no weight decay on biases and normalisation."""
        recipe = self.recipe(self.steps)
        parameters = list(module.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True, fused=True)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=self.recipe(self.steps).label_smoothing)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bf16")


def augmented(pixels: Tensor, image_size: int, mean: Tensor, std: Tensor) -> Tensor:
    """A batch as one would write it by hand: one affine map a sample, one grid_sample for geometry and upscaling.

    pixels : uint8 [B, 1, H, W]; mean, std : float32 [1, 3, 1, 1]. Gives float32 [B, 3, S, S], channels last.
    """
    count, device = len(pixels), pixels.device
    angle = (torch.rand(count, device=device) * 2 - 1) * math.radians(MOVES.rotation)
    zoom = 1 + (torch.rand(count, device=device) * 2 - 1) * MOVES.scale
    mirror = torch.where(torch.rand(count, device=device) < MOVES.flip, -1.0, 1.0)
    shift = (torch.rand(count, 2, device=device) * 2 - 1) * 2 * MOVES.shift
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    rows = [torch.stack([cos * mirror, -sin, shift[:, 0]], 1), torch.stack([sin * mirror, cos, shift[:, 1]], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), [count, 1, image_size, image_size], align_corners=False)
    moved = functional.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False)
    return (((moved / 255).expand(-1, 3, -1, -1) - mean) / std).contiguous(memory_format=torch.channels_last)


def pil_transform(work: Work) -> Callable[[object], Tensor]:
    """The same on one PIL image with torchvision's v2 transforms: moved while small, grey until the end."""
    from torchvision.transforms import InterpolationMode, v2

    transform: Callable[[object], Tensor] = v2.Compose(
        [
            v2.RandomHorizontalFlip(MOVES.flip),
            v2.RandomAffine(
                degrees=MOVES.rotation,
                translate=(MOVES.shift, MOVES.shift),
                scale=(1 - MOVES.scale, 1 + MOVES.scale),
                interpolation=InterpolationMode.BILINEAR,
            ),
            v2.Resize((work.image_size, work.image_size), interpolation=InterpolationMode.BILINEAR),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Lambda(_three_channels),
            v2.Normalize(work.component.mean, work.component.std),
        ]
    )
    return transform


def _three_channels(image: Tensor) -> Tensor:
    return image.expand(3, -1, -1)
