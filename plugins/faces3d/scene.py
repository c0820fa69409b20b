"""All that one picture shows, as drawn for it, before any pixel is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferbench_plugins.faces3d.backdrop import Backdrop, Occluder
from ferbench_plugins.faces3d.camera import Camera
from ferbench_plugins.faces3d.facs import blendshape_weights, draw_stray_units, draw_units
from ferbench_plugins.faces3d.finish import Finish
from ferbench_plugins.faces3d.lighting import Lighting
from ferbench_plugins.faces3d.person import Person
from ferbench_plugins.faces3d.seeds import Random

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scene:
    """face : blendshape weights by name · shirt : linear RGB [3]"""

    person: Person
    face: Mapping[str, float]
    camera: Camera
    lighting: Lighting
    backdrop: Backdrop
    occluder: Occluder | None
    shirt: Floats
    finish: Finish


def draw_face(expression: str, random: Random, stray: float) -> dict[str, float]:
    """Blendshape weights of one showing of an expression, with stray movements, a gaze and lids."""
    units = draw_stray_units(random, stray)
    for unit, intensity in draw_units(expression, random).items():
        units[unit] = max(intensity, units.get(unit, 0.0))
    weights = blendshape_weights(units, asymmetry=float(np.clip(random.normal(0, 0.15), -0.5, 0.5)))
    weights |= gaze_weights(across=random.normal(0, 0.35), up=random.normal(0, 0.25))
    droop = abs(random.normal(0, 0.07))
    for side in ("Left", "Right"):
        name = f"eyeBlink{side}"
        weights[name] = weights.get(name, 0.0) + droop
    return weights


def gaze_weights(across: float, up: float) -> dict[str, float]:
    """Both eyes turned together, -1..1, to the head's left and up."""
    across, up = float(np.clip(across, -1, 1)), float(np.clip(up, -1, 1))
    weights: dict[str, float] = {}
    for side, outwards in (("Left", across), ("Right", -across)):
        weights[f"eyeLookOut{side}"] = max(0.0, outwards)
        weights[f"eyeLookIn{side}"] = max(0.0, -outwards)
        weights[f"eyeLookUp{side}"] = max(0.0, up)
        weights[f"eyeLookDown{side}"] = max(0.0, -up)
    return weights
