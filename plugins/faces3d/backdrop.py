"""What is behind the head, and the one thing that may be in front of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferbench_plugins.faces3d.seeds import Random

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shape:
    """A rectangle (power 8) or an ellipse (power 2) of one colour; lengths are shares of the frame."""

    column: float
    row: float
    half_width: float
    half_height: float
    turn: float
    power: float
    colour: Floats


@dataclass(frozen=True, slots=True)
class Backdrop:
    """A gradient from `top` to `bottom`, linear RGB [3], with shapes out of focus before it."""

    top: Floats
    bottom: Floats
    shapes: tuple[Shape, ...]
    softness: float


@dataclass(frozen=True, slots=True)
class Occluder:
    """A rounded bar, an arm or a branch, that enters from outside the frame; places as shares of the frame."""

    start: tuple[float, float]
    end: tuple[float, float]
    radius: float
    colour: Floats


def pixel_grid(size: int) -> tuple[Floats, Floats]:
    """Column and row of each pixel centre as shares of the frame: float32 [size, size] each."""
    centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    columns, rows = np.meshgrid(centres, centres)
    return columns, rows


def draw_shapes(random: Random, palette: Floats, count: int) -> tuple[Shape, ...]:
    """Clutter in colours of a palette [n, 3]."""
    return tuple(
        Shape(
            column=random.uniform(),
            row=random.uniform(),
            half_width=random.uniform(0.03, 0.3),
            half_height=random.uniform(0.03, 0.3),
            turn=random.normal(0, 0.3),
            power=8.0 if random.uniform() < 0.6 else 2.0,
            colour=(palette[random.randint(len(palette))] * random.uniform(0.4, 1.5)).astype(np.float32),
        )
        for _ in range(count)
    )


def draw_occluder(random: Random, colour: Floats) -> Occluder:
    """A bar from the frame's left, right or lower edge to somewhere on the face."""
    side = random.randint(3)
    start = ((-0.2, random.uniform(0.3, 1.1)), (1.2, random.uniform(0.3, 1.1)), (random.uniform(0, 1), 1.2))[side]
    end = (random.uniform(0.25, 0.75), random.uniform(0.4, 0.8))
    return Occluder(start, end, random.uniform(0.05, 0.1), colour)


def render_backdrop(backdrop: Backdrop, size: int) -> Floats:
    """Linear RGB [size, size, 3]."""
    columns, rows = pixel_grid(size)
    image = backdrop.top + (backdrop.bottom - backdrop.top) * rows[:, :, None]
    for shape in backdrop.shapes:
        cosine, sine = math.cos(shape.turn), math.sin(shape.turn)
        across = ((columns - shape.column) * cosine + (rows - shape.row) * sine) / shape.half_width
        down = ((rows - shape.row) * cosine - (columns - shape.column) * sine) / shape.half_height
        reach = (across * across) ** (shape.power / 2) + (down * down) ** (shape.power / 2)
        cover = np.clip(0.5 + (1 - reach) / (backdrop.softness * shape.power), 0, 1)
        image = image + (shape.colour - image) * cover[:, :, None]
    return np.asarray(image, np.float32)


def add_occluder(image: Floats, occluder: Occluder, light: Floats) -> Floats:
    """Draws the bar over a linear image [size, size, 3], lit from above with `light` [3]."""
    size = len(image)
    columns, rows = pixel_grid(size)
    (x0, y0), (x1, y1) = occluder.start, occluder.end
    length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-6)
    along = np.clip(((columns - x0) * (x1 - x0) + (rows - y0) * (y1 - y0)) / length, 0, 1)
    dx, dy = columns - x0 - along * (x1 - x0), rows - y0 - along * (y1 - y0)
    distance = np.hypot(dx, dy) / occluder.radius
    cover = np.clip((1 - distance) * occluder.radius * size + 0.5, 0, 1)
    roundness = np.sqrt(np.clip(1 - distance**2, 0, 1))
    brightness = np.clip(0.25 + 0.55 * roundness - 0.35 * dy / occluder.radius, 0.05, None)
    colour = occluder.colour * light * brightness[:, :, None]
    return np.asarray(image + (colour - image) * cover[:, :, None], np.float32)
