"""Expressions as action units, and action units as ARKit blendshapes.

Prototypes: Friesen & Ekman, EMFACS-7 (unpublished manual, University of California, 1983); their variants: Ekman,
Friesen & Hager, FACS Investigator's Guide (2002). What each blendshape moves: Apple's documentation of
ARFaceAnchor.BlendShapeLocation. The mapping from action units to blendshapes, and its gains, are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ferbench_plugins.faces3d.seeds import Random


@dataclass(frozen=True, slots=True)
class Prototype:
    """Action units that show an expression.

    core : never left out when part of the prototype is
    others : each left out now and then
    optional : each added now and then
    """

    core: tuple[int, ...]
    others: tuple[int, ...] = ()
    optional: tuple[int, ...] = ()


PROTOTYPES: Mapping[str, Prototype] = {
    "angry": Prototype(core=(4, 7, 23), others=(5,), optional=(10, 25)),
    "disgust": Prototype(core=(9,), others=(15, 17), optional=(10,)),
    "fear": Prototype(core=(1, 4, 5, 20), others=(2, 7, 26), optional=(25,)),
    "happy": Prototype(core=(12,), others=(6,), optional=(25, 26)),
    "sad": Prototype(core=(1, 15), others=(4, 17)),
    "surprise": Prototype(core=(1, 2, 26), others=(5,)),
    "neutral": Prototype(core=()),
}

#: Blendshapes with one shape for the whole face; all others end in Left or Right.
CENTRAL = frozenset(
    {"browInnerUp", "jawOpen", "mouthShrugLower", "mouthShrugUpper", "mouthRollLower", "mouthRollUpper"}
)

#: Action unit to blendshapes and their weight at full intensity. Weights above 1 reach further than the shape was made
#: for, because these shapes move less than the muscle does.
BLENDSHAPES: Mapping[int, tuple[tuple[str, float], ...]] = {
    1: (("browInnerUp", 1.3),),  # inner brow raiser
    2: (("browOuterUp", 1.1),),  # outer brow raiser
    4: (("browDown", 1.3),),  # brow lowerer
    5: (("eyeWide", 1.3),),  # upper lid raiser
    6: (("cheekSquint", 1.0), ("eyeSquint", 0.4)),  # cheek raiser, which narrows the eye from below
    7: (("eyeSquint", 1.1), ("eyeBlink", 0.12)),  # lid tightener
    9: (("noseSneer", 1.5), ("mouthUpperUp", 0.45), ("browDown", 0.4)),  # nose wrinkler; it takes lip and brow along
    10: (("mouthUpperUp", 0.9),),  # upper lip raiser
    12: (("mouthSmile", 1.15),),  # lip corner puller
    15: (("mouthFrown", 1.4),),  # lip corner depressor
    17: (("mouthShrugLower", 1.1), ("mouthShrugUpper", 0.5)),  # chin raiser
    20: (("mouthStretch", 1.4),),  # lip stretcher
    # ARKit has no lip tightener. Lips pressed and rolled in narrow the red as the tightener does.
    23: (("mouthPress", 0.8), ("mouthRollLower", 0.5), ("mouthRollUpper", 0.5)),
    25: (("mouthLowerDown", 0.7), ("mouthUpperUp", 0.5)),  # lips part
    26: (("jawOpen", 0.75),),  # jaw drop
}

LEAVE_OUT = 0.15
ADD = 0.4
#: Overall intensity: `weakest` to 1, denser in the middle.
WEAKEST = 0.45


def full_prototype(expression: str) -> dict[int, float]:
    """The whole prototype at intensity 1."""
    prototype = PROTOTYPES[expression]
    return dict.fromkeys((*prototype.core, *prototype.others), 1.0)


def draw_units(expression: str, random: Random) -> dict[int, float]:
    """Action units and intensities of one showing of an expression: whole or partial, weak or strong."""
    prototype = PROTOTYPES[expression]
    overall = WEAKEST + (1 - WEAKEST) * random.beta(2.0, 1.6)
    units = dict.fromkeys(prototype.core, overall)
    units |= {unit: overall for unit in prototype.others if random.uniform() >= LEAVE_OUT}
    units |= {unit: overall * random.uniform(0.3, 0.9) for unit in prototype.optional if random.uniform() < ADD}
    return {unit: intensity * random.uniform(0.8, 1.15) for unit, intensity in units.items()}


def draw_stray_units(random: Random, strength: float) -> dict[int, float]:
    """Slight movements that belong to no expression, so that neutral faces aren't all alike."""
    return {unit: strength * random.uniform() for unit in BLENDSHAPES if random.uniform() < 0.15}


def blendshape_weights(units: Mapping[int, float], asymmetry: float = 0.0) -> dict[str, float]:
    """Blendshape weights of action units. Asymmetry -1..1 weakens the right side, or if below 0 the left."""
    left, right = min(1.0, 1 + asymmetry), min(1.0, 1 - asymmetry)
    weights: dict[str, float] = {}
    for unit, intensity in units.items():
        for stem, gain in BLENDSHAPES[unit]:
            sides = {stem: 1.0} if stem in CENTRAL else {f"{stem}Left": left, f"{stem}Right": right}
            for name, share in sides.items():
                weights[name] = weights.get(name, 0.0) + gain * intensity * share
    return weights
