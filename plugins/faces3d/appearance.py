"""What colour the surface has at a fragment, painted over the undeformed head so that it moves with the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferbench_plugins.faces3d.head import Head, Part
from ferbench_plugins.faces3d.person import Person
from ferbench_plugins.faces3d.rasterizer import interpolate

Floats = NDArray[np.float32]

EYE_RADIUS = 0.1495
IRIS_RADIUS = 0.066
PUPIL_RADIUS = 0.028
SCLERA = np.array([0.52, 0.50, 0.49], np.float32)
#: Darker than teeth are, because they lie in the shadow of the lips.
TEETH = np.array([0.50, 0.47, 0.41], np.float32)
TONGUE = np.array([0.40, 0.12, 0.11], np.float32)
MOUTH_INSIDE = np.array([0.045, 0.012, 0.012], np.float32)
SHIRT_HEIGHT = -1.5


@dataclass(frozen=True, slots=True)
class Surface:
    """Per fragment: albedo float32 [3, K] and gloss float32 [K]."""

    albedo: Floats
    gloss: Floats


def smooth_step(low: float, high: float, value: Floats) -> Floats:
    """0 up to `low`, 1 from `high`, smooth between; `low` may be above `high`."""
    place = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(place * place * (3 - 2 * place), np.float32)


def hair_field(person: Person, rest: Floats) -> Floats:
    """How far a point of the undeformed head [3, K] lies within the hair, decimetres; below 0 it's skin: [K].

    The edge is a tilted plane, from the hairline down behind the ears, with a wave in it.
    """
    slope = np.float32(1.02 * person.hair_tilt)
    wave = 0.03 * np.cos(7 * rest[0] + 20 * person.hairline) - 0.25 * rest[0] ** 2
    field = ((rest[1] - person.hairline - wave) * 0.75 - (rest[2] - 0.2) * slope) / 1.27
    return np.asarray(np.minimum(field, rest[1] + 0.75), np.float32)


def stand_off(head: Head, person: Person) -> Floats:
    """How far each vertex [V] of the head is pushed outwards by hair."""
    inside = smooth_step(-0.02, 0.25, hair_field(person, head.rest.T)) * (head.part == Part.SKIN)
    return np.asarray(inside * (1 - head.ears) * person.hair_volume * person.has_hair, np.float32)


def paint(head: Head, person: Person, shirt: Floats, vertex: NDArray[np.int32], barycentric: Floats) -> Surface:
    """Surface at fragments, given the corners' vertices [3, K] and weights [3, K]."""
    part = head.part[vertex[0]]
    painted = np.stack([*head.rest.T, head.lips, head.mouth_inside, head.ears])
    mixed = interpolate(painted, vertex, barycentric)
    rest, lips, inside, ears = mixed[:3], mixed[3], mixed[4], mixed[5]

    albedo = np.repeat(person.skin[:, None], rest.shape[1], axis=1)
    gloss = np.full(rest.shape[1], 0.05, np.float32)
    _blend(albedo, person.skin * np.array([1.0, 0.8, 0.76], np.float32), 0.5 * _blush(rest))
    _blend(albedo, person.lips, 0.9 * lips)
    _blend(albedo, person.hair * 0.6, person.brow_darkness * _brows(person, rest))
    _blend(albedo, person.hair * 0.5, 0.75 * _lid_margin(rest))
    if person.has_hair:
        strands = 0.9 + 0.12 * np.sin(30 * rest[0] + 5 * np.sin(4 * rest[1]))
        hair = smooth_step(-0.015, 0.035, hair_field(person, rest)) * (1 - ears)
        _blend(albedo, person.hair, hair)
        albedo *= 1 - (1 - strands) * hair
    _blend(albedo, shirt, smooth_step(SHIRT_HEIGHT + 0.03, SHIRT_HEIGHT - 0.03, rest[1]))
    _blend(albedo, MOUTH_INSIDE, inside * (1 - lips))
    gloss += 0.06 * lips

    eye = part == Part.EYE
    albedo[:, eye], gloss[eye] = _eyes(person, rest[:, eye]), 0.12
    albedo[:, part == Part.TEETH] = TEETH[:, None]
    albedo[:, part == Part.TONGUE] = TONGUE[:, None]
    return Surface(albedo, gloss)


def _blend(albedo: Floats, colour: Floats, share: Floats) -> None:
    albedo += (colour[:, None] - albedo) * share


def _brows(person: Person, rest: Floats) -> Floats:
    """Share of brow hair: a tapering arc over each eye, thick at the nose."""
    along = (np.abs(rest[0]) - 0.1) / 0.42
    height = 0.15 + person.brow_arch * np.sin(np.pi * np.clip(0.15 + 0.75 * along, 0, 1)) - 0.02 * along
    half = person.brow_thickness * np.clip(1.0 - 0.6 * along, 0.2, 1)
    across = smooth_step(1.0, 0.45, np.abs(rest[1] - height) / half)
    along_brow = smooth_step(-0.08, 0.05, along) * smooth_step(1.03, 0.9, along)
    return np.asarray(across * along_brow * (rest[2] > -0.1), np.float32)


def _lid_margin(rest: Floats) -> Floats:
    """Share of the dark line that lashes draw: skin close to the eyeball, more of it above."""
    from_eye = np.stack([np.abs(rest[0]) - 0.308, rest[1], rest[2]])
    distance = np.sqrt((from_eye**2).sum(axis=0))
    upper = 0.55 + 0.45 * (from_eye[1] > 0)
    return np.asarray(smooth_step(EYE_RADIUS + 0.022, EYE_RADIUS + 0.006, distance) * upper, np.float32)


def _blush(rest: Floats) -> Floats:
    """Redder cheeks and nose."""
    cheek = np.exp(-((np.abs(rest[0]) - 0.36) ** 2 + (rest[1] + 0.36) ** 2) / 0.03)
    nose = np.exp(-(rest[0] ** 2 + (rest[1] + 0.4) ** 2) / 0.015)
    return np.asarray(np.maximum(cheek, nose), np.float32)


def _eyes(person: Person, rest: Floats) -> Floats:
    """Sclera, iris and pupil around the axis on which the undeformed eye looks; gaze moves the eye's vertices."""
    off_axis = np.hypot(np.abs(rest[0]) - 0.308, rest[1])
    front = rest[2] > 0
    albedo = np.repeat(SCLERA[:, None], rest.shape[1], axis=1)
    _blend(albedo, person.iris, smooth_step(IRIS_RADIUS + 0.006, IRIS_RADIUS - 0.006, off_axis) * front)
    _blend(albedo, np.full(3, 0.005, np.float32), smooth_step(PUPIL_RADIUS + 0.006, PUPIL_RADIUS, off_axis) * front)
    return albedo
