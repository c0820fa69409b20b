"""Light on a surface: one key light, a sky and a ground, and a light from behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: How far light creeps around a curved, translucent surface such as skin.
WRAP = 0.3
GLOSS_POWER = 14


@dataclass(frozen=True, slots=True)
class Lighting:
    """Directions are unit float32 [3] towards the light, colours linear RGB float32 [3]."""

    key_direction: Floats
    key: Floats
    sky: Floats
    ground: Floats
    rim_direction: Floats
    rim: Floats


def direction(azimuth: float, elevation: float) -> Floats:
    """Degrees to the viewer's right of straight ahead, and above, as a unit vector."""
    turn, rise = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)], np.float32)


def shade(albedo: Floats, normals: Floats, occlusion: Floats, gloss: Floats, lighting: Lighting) -> Floats:
    """Linear RGB [K, 3] of surfaces with albedo [K, 3], normals [K, 3], occlusion [K] (1 is open) and gloss [K]."""
    facing = normals @ lighting.key_direction
    lit = np.clip((facing + WRAP) / (1 + WRAP), 0, None) * (0.35 + 0.65 * occlusion)
    halfway = lighting.key_direction + np.array([0, 0, 1], np.float32)
    halfway /= np.linalg.norm(halfway)
    shine = gloss * np.clip(normals @ halfway, 0, None) ** GLOSS_POWER * occlusion
    upward = 0.5 + 0.5 * normals[:, 1:2]
    ambient = (lighting.sky * upward + lighting.ground * (1 - upward)) * occlusion[:, None]
    edge = np.clip(normals @ lighting.rim_direction, 0, None) ** 2 * (1 - np.clip(normals[:, 2], 0, 1))
    light = lit[:, None] * lighting.key + ambient + edge[:, None] * lighting.rim
    return np.asarray(albedo * light + shine[:, None] * lighting.key, np.float32)
