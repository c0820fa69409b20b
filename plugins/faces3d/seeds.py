"""Randomness by coordinates: what a sample looks like depends on its name alone, not on what was drawn before it."""

from __future__ import annotations

import hashlib

import numpy as np

from ferbench_plugins.faces3d.version import GENERATOR_VERSION

#: NumPy freezes this class's streams for good (NEP 19); those of `Generator` may change with any release.
Random = np.random.RandomState


def random_for(*coordinates: str | int) -> Random:
    """A generator of its own for these coordinates, such as ("faces3d-film", "train", 17, "expression")."""
    text = "\x1f".join(str(coordinate) for coordinate in (GENERATOR_VERSION, *coordinates))
    return Random(np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint32))
