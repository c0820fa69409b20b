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
    """Linear RGB [3, K] of surfaces with albedo [3, K], normals [3, K], occlusion [K] (1 is open) and gloss [K]."""
    facing = lighting.key_direction @ normals
    lit = np.clip((facing + WRAP) / (1 + WRAP), 0, None) * (0.35 + 0.65 * occlusion)
    halfway = lighting.key_direction + np.array([0, 0, 1], np.float32)
    halfway /= np.linalg.norm(halfway)
    shine = gloss * np.clip(halfway @ normals, 0, None) ** GLOSS_POWER * occlusion
    ground, sky = lighting.ground[:, None], lighting.sky[:, None]
    ambient = (ground + (sky - ground) * (0.5 + 0.5 * normals[1])) * occlusion
    edge = np.clip(lighting.rim_direction @ normals, 0, None) ** 2 * (1 - np.clip(normals[2], 0, 1))
    light = lit * lighting.key[:, None] + ambient + edge * lighting.rim[:, None]
    return np.asarray(albedo * light + shine * lighting.key[:, None], np.float32)
