"""The parametric head: reads the baked asset and evaluates vertices from morph weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ferbench_plugins.faces3d.version import ASSET_SHA256

Floats = NDArray[np.float32]

#: Heads in one matrix product.
ROWS = 32
ASSET = Path(__file__).with_name("head.npz")


class Part(IntEnum):
    """What a vertex belongs to; parts share no vertices."""

    SKIN = 0
    EYE = 1
    TEETH = 2
    TONGUE = 3


class AssetError(RuntimeError):
    """The asset beside this module isn't the one that this version of the generator was written for."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head as baked, V vertices. Lengths are decimetres; x to its left, y up, z out of the face.

    rest : float32 [V, 3], before any morph target, moved so that the middle between the eyes is the origin
    triangles : int32 [T, 3], counter-clockwise seen from outside
    part : uint8 [V], see Part
    lips, mouth_inside, ears : float32 [V], 0..1
    eye_side : float32 [V], +1 on the left eye's vertices, -1 on the right's, 0 elsewhere
    neighbours : int32 [K, V], triangles at each vertex, padded with T
    ancestry, identity, expression : names of the morph targets, in order
    targets : float32 [N, 3 V], offsets of all targets, the three blocks one after another
    """

    rest: Floats
    triangles: NDArray[np.int32]
    part: NDArray[np.uint8]
    lips: Floats
    mouth_inside: Floats
    ears: Floats
    eye_side: Floats
    neighbours: NDArray[np.int32]
    ancestry: tuple[str, ...]
    identity: tuple[str, ...]
    expression: tuple[str, ...]
    targets: Floats

    @property
    def weight_count(self) -> int:
        return len(self.ancestry) + len(self.identity) + len(self.expression)

    def weights(self, values: dict[str, float]) -> Floats:
        """Morph weights by name as one row for `vertices`: float32 [N]."""
        names = (*self.ancestry, *self.identity, *self.expression)
        row = np.zeros(self.weight_count, np.float32)
        for name, value in values.items():
            row[names.index(name)] = value
        return row

    def vertices(self, weights: Floats) -> Floats:
        """Morph weights [n, N] to vertices float32 [n, V, 3], the middle between the eyes at the origin."""
        # Rows by the same number each time: matrix libraries round differently at the ragged end of a product.
        rows = np.zeros((-(-len(weights) // ROWS) * ROWS, self.weight_count), np.float32)
        rows[: len(weights)] = weights
        offsets = (rows @ self.targets)[: len(weights)].reshape(len(weights), -1, 3)
        placed = self.rest + offsets
        left = placed[:, self.eye_side > 0].mean(axis=1, keepdims=True)
        right = placed[:, self.eye_side < 0].mean(axis=1, keepdims=True)
        return np.asarray(placed - (left + right) / 2, np.float32)

    def normals(self, vertices: Floats) -> Floats:
        """Unit normals at the vertices [V, 3], each the mean of the adjoining triangles' by area: float32 [V, 3]."""
        # One array a coordinate: NumPy is several times slower along axes of three.
        (ax, bx, cx), (ay, by, cy), (az, bz, cz) = (
            (column[self.triangles[:, 0]], column[self.triangles[:, 1]], column[self.triangles[:, 2]])
            for column in np.ascontiguousarray(vertices.T)
        )
        ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
        faces = np.zeros((3, len(self.triangles) + 1), np.float32)
        faces[0, :-1], faces[1, :-1], faces[2, :-1] = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        summed = np.zeros((3, len(vertices)), np.float32)
        for neighbour in self.neighbours:
            summed += np.take(faces, neighbour, axis=1)
        length = np.sqrt((summed**2).sum(axis=0))
        return np.ascontiguousarray((summed / np.maximum(length, 1e-12)).T)


def split_quads(quads: NDArray[np.int32]) -> NDArray[np.int32]:
    """Quads [Q, 4] to triangles [2 Q, 3] of the same orientation."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def adjoining_triangles(triangles: NDArray[np.int32], vertex_count: int) -> NDArray[np.int32]:
    """For each vertex its triangles, padded with the number of triangles: int32 [K, V]."""
    order = np.argsort(triangles.ravel(), kind="stable")
    owner = triangles.ravel()[order]
    place = np.arange(len(owner)) - np.searchsorted(owner, owner)
    table = np.full((int(place.max()) + 1, vertex_count), len(triangles), np.int32)
    table[place, owner] = order // 3
    return table


@cache
def load_head() -> Head:
    """The committed asset, its hash checked, ready to evaluate; about 0.1 s once a process."""
    digest = hashlib.sha256(ASSET.read_bytes()).hexdigest()
    if digest != ASSET_SHA256:
        raise AssetError(f"{ASSET.name} has sha256 {digest}, the generator expects {ASSET_SHA256}")
    with np.load(ASSET, allow_pickle=False) as file:
        tensors = dict(file)

    rest, part = tensors["rest"], tensors["part"]
    eye_side = np.where(part == Part.EYE, np.sign(rest[:, 0]), 0).astype(np.float32)
    rest = rest - (rest[eye_side > 0].mean(axis=0) + rest[eye_side < 0].mean(axis=0)) / 2
    triangles = split_quads(tensors["quads"].astype(np.int32))
    blocks = []
    for block in ("ancestry", "identity", "expression"):
        counts = tensors[f"{block}.counts"]
        dense = np.zeros((len(counts), len(rest), 3), np.float32)
        owner = np.repeat(np.arange(len(counts)), counts)
        dense[owner, tensors[f"{block}.indices"]] = tensors[f"{block}.offsets"]
        blocks.append(dense.reshape(len(counts), -1))
    return Head(
        rest=rest.astype(np.float32),
        triangles=triangles,
        part=part,
        lips=tensors["lips"].astype(np.float32) / 255,
        mouth_inside=tensors["mouth_inside"].astype(np.float32) / 255,
        ears=tensors["ears"].astype(np.float32) / 255,
        eye_side=eye_side,
        neighbours=adjoining_triangles(triangles, len(rest)),
        ancestry=tuple(str(name) for name in tensors["ancestry.names"]),
        identity=tuple(str(name) for name in tensors["identity.names"]),
        expression=tuple(str(name) for name in tensors["expression.names"]),
        targets=np.concatenate(blocks),
    )
