"""Who is seen: the shape of a head and its colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferbench_plugins.faces3d.head import Head
from ferbench_plugins.faces3d.seeds import Random

Floats = NDArray[np.float32]

#: Skin from light to dark, sRGB.
SKIN_TONES = np.array(
    [[244, 212, 190], [230, 188, 156], [205, 157, 121], [162, 114, 82], [112, 76, 56], [74, 50, 40]], float
)
#: Each ancestry's usual place on that scale, 0..1, in the order of the asset's names.
TONE_CENTRES = {"african": 0.82, "asian": 0.28, "caucasian": 0.14}
HAIR_COLOURS = np.array([[24, 20, 18], [48, 34, 26], [84, 58, 38], [140, 104, 64], [190, 160, 110]], float)
GREY_HAIR = np.array([170, 168, 165], float)
IRIS_COLOURS = np.array([[58, 36, 22], [74, 50, 28], [92, 84, 54], [84, 112, 130]], float)
#: Endings of opposite morph targets: a positive value drives the first, a negative one the second.
OPPOSITES = (
    ("-incr", "-decr"),
    ("-up", "-down"),
    ("-out", "-in"),
    ("-forward", "-backward"),
    ("-convex", "-concave"),
    ("-compress", "-uncompress"),
)
SHAPE_SPREAD = 0.24
#: Targets that would look like an expression, or move the whole head, are held back.
CALM_SPREAD = 0.12
CALM = (
    "mouth-angles",
    "eyebrows-angle",
    "mouth-laugh-lines",
    "mouth-dimples",
    "head-trans",
    "chin-jaw-drop",
    "-eye-height",
)


@dataclass(frozen=True, slots=True)
class Person:
    """One identity.

    shape : float32 [N], morph weights, expressions at 0
    skin, lips, hair, iris : float32 [3], linear RGB
    brow_thickness : half of it, decimetres
    brow_darkness : 0..1
    hairline : height of the hairline above the eyes, decimetres; tilt of the cap's edge, and how far hair stands off
    """

    shape: Floats
    skin: Floats
    lips: Floats
    hair: Floats
    iris: Floats
    brow_thickness: float
    brow_darkness: float
    brow_arch: float
    hairline: float
    hair_tilt: float
    hair_volume: float
    has_hair: bool


def linear(srgb: NDArray[np.float64]) -> Floats:
    """Display values 0..255 as linear light 0..1."""
    return np.asarray((np.clip(srgb, 0, 255) / 255) ** 2.2, np.float32)


def along(scale: NDArray[np.float64], place: float) -> NDArray[np.float64]:
    """The colour at a place 0..1 of a scale of colours [n, 3]."""
    position = np.clip(place, 0, 1) * (len(scale) - 1)
    return np.array([np.interp(position, range(len(scale)), channel) for channel in scale.T])


def draw_person(head: Head, random: Random) -> Person:
    """A new identity: a mix of ancestries, sex and age, and details of every part of the face."""
    ancestry = random.dirichlet([0.45, 0.45, 0.45])
    sex = np.clip(random.beta(0.3, 0.3), 0, 1)
    age = random.beta(1.1, 1.6)
    shares = dict(zip(("african", "asian", "caucasian"), ancestry, strict=True))
    weights = {
        name: shares[name.split("-")[0]]
        * (sex if "-male-" in name else 1 - sex)
        * (age if name.endswith("-old") else 1 - age)
        for name in head.ancestry
    }
    weights |= _draw_details(head, random)

    tone = sum(TONE_CENTRES[name] * share for name, share in shares.items()) + random.normal(0, 0.07)
    skin = along(SKIN_TONES, tone) + random.normal(0, 4, 3)
    lipstick = random.uniform() < 0.35 * (1 - sex)
    lips = skin * (np.array([0.8, 0.5, 0.5]) if lipstick else np.array([0.84, 0.64, 0.62]))
    fairness = np.clip(1 - 2.2 * tone, 0, 1)
    hair = along(HAIR_COLOURS, random.uniform() ** 1.5 * (0.15 + 0.85 * fairness))
    greying = np.clip((age - 0.55) * 2.2, 0, 0.9) * random.uniform()
    hair = hair * (1 - greying) + GREY_HAIR * greying
    return Person(
        shape=head.weights(weights),
        skin=linear(skin),
        lips=linear(lips),
        hair=linear(hair),
        iris=linear(along(IRIS_COLOURS, random.uniform() * fairness)),
        brow_thickness=float(random.uniform(0.032, 0.045) + 0.01 * sex),
        brow_darkness=float(random.uniform(0.7, 0.95)),
        brow_arch=float(random.uniform(0.01, 0.055)),
        hairline=float(random.uniform(0.56, 0.74)),
        hair_tilt=float(random.uniform(0.7, 1.1)),
        hair_volume=float(random.uniform(0.05, 0.14) + 0.1 * (1 - sex) * random.uniform()),
        has_hair=bool(random.uniform() > 0.1 * sex * (0.5 + age)),
    )


def _draw_details(head: Head, random: Random) -> dict[str, float]:
    """Weights of the identity targets: one signed value for each pair of opposites, much the same on both sides."""
    values: dict[str, float] = {}
    weights: dict[str, float] = {}
    for name in head.identity:
        stem, sign = name, 1.0
        for positive, negative in OPPOSITES:
            if name.endswith(positive):
                stem = name.removesuffix(positive)
            elif name.endswith(negative):
                stem, sign = name.removesuffix(negative), -1.0
        shared = stem[1:] if stem.startswith(("l-", "r-")) else stem
        if shared not in values:
            spread = CALM_SPREAD if any(part in name for part in CALM) else SHAPE_SPREAD
            values[shared] = float(np.clip(random.normal(0, spread), -1, 1))
        weights[name] = max(0.0, sign * values[shared])
    return weights
