"""Scenes to pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ferbench_plugins.faces3d.appearance import paint, stand_off
from ferbench_plugins.faces3d.backdrop import add_occluder, render_backdrop
from ferbench_plugins.faces3d.finish import develop
from ferbench_plugins.faces3d.head import Head
from ferbench_plugins.faces3d.lighting import shade
from ferbench_plugins.faces3d.rasterizer import Fragments, interpolate, rasterize
from ferbench_plugins.faces3d.scene import Scene
from ferbench_plugins.faces3d.seeds import Random

Floats = NDArray[np.float32]

#: Samples a pixel and side.
SUPERSAMPLING = 2
#: Creases darken where their surroundings stand out this far, decimetres.
CREASE_DEPTH = 0.16
CREASE_STRENGTH = 0.75
#: Radius of those surroundings, decimetres.
CREASE_RADIUS = 0.14


def render_scenes(
    head: Head, scenes: Sequence[Scene], randoms: Sequence[Random], size: int, channels: int
) -> NDArray[np.uint8]:
    """Pictures uint8 [n, size, size, channels] of scenes, each with randomness of its own for the grain."""
    weights = np.stack([scene.person.shape + head.weights(dict(scene.face)) for scene in scenes])
    images = np.empty((len(scenes), size, size, channels), np.uint8)
    for i, (vertices, scene, random) in enumerate(zip(head.vertices(weights), scenes, randoms, strict=True)):
        light = _expose(head, vertices, scene, size)
        images[i] = develop(light, scene.finish, channels, random)
    return images


def _expose(head: Head, vertices: Floats, scene: Scene, size: int) -> Floats:
    """Linear RGB [size, size, 3] of a scene with the head's vertices [V, 3]."""
    normals = head.normals(vertices)
    vertices = vertices + normals * stand_off(head, scene.person)[:, None]
    fine = size * SUPERSAMPLING
    points = scene.camera.project(vertices, fine)
    fragments = rasterize(points, head.triangles, fine, fine)
    corners = np.ascontiguousarray(head.triangles[fragments.triangle].T)

    surface = paint(head, scene.person, scene.shirt, corners, fragments.barycentric)
    turned = np.concatenate([scene.camera.rotation() @ normals.T, points[:, 2:].T])
    mixed = interpolate(turned, corners, fragments.barycentric)
    smooth, depth = mixed[:3] / np.maximum(np.sqrt((mixed[:3] ** 2).sum(axis=0)), 1e-6), mixed[3]
    radius = max(1, round(CREASE_RADIUS * fine / scene.camera.span))
    open_share = _openness(fragments, depth, fine, radius)
    colour = shade(surface.albedo, smooth, open_share, surface.gloss, scene.lighting)

    image = np.zeros((fine * fine, 4), np.float32)
    image[fragments.pixel, :3] = colour.T
    image[fragments.pixel, 3] = 1
    image = average_blocks(image.reshape(fine, fine, 4), SUPERSAMPLING)
    light = image[:, :, :3] + (1 - image[:, :, 3:]) * render_backdrop(scene.backdrop, size)
    if scene.occluder is not None:
        light = add_occluder(light, scene.occluder, scene.lighting.key + scene.lighting.sky)
    return light


def _openness(fragments: Fragments, depth: Floats, size: int, radius: int) -> Floats:
    """How much of its surroundings a fragment sees, 1 for all: float32 [K].

    Depth against its own blur: Luft, Colditz & Deussen, Image enhancement by unsharp masking the depth buffer (2006).
    """
    buffer = np.full(size * size, depth.min(initial=0), np.float32)
    buffer[fragments.pixel] = depth
    blurred = box_blur(box_blur(buffer.reshape(size, size), radius), radius).ravel()[fragments.pixel]
    crease = np.clip((blurred - depth) / CREASE_DEPTH, 0, 1)
    return np.asarray(1 - CREASE_STRENGTH * crease, np.float32)


def average_blocks(image: Floats, side: int) -> Floats:
    """Means over blocks of side x side pixels."""
    total = sum(image[row::side, column::side] for row in range(side) for column in range(side))
    return np.asarray(total / np.float32(side * side), np.float32)


def box_blur(values: Floats, radius: int) -> Floats:
    """Mean over squares of side 2 radius + 1, edges repeated: float32, same shape."""
    for axis in (0, 1):
        side = 2 * radius + 1
        padding = [(radius + 1, radius) if a == axis else (0, 0) for a in range(2)]
        sums = np.cumsum(np.pad(values, padding, mode="edge"), axis=axis, dtype=np.float64)
        upper, lower = (sums[side:], sums[:-side]) if axis == 0 else (sums[:, side:], sums[:, :-side])
        values = ((upper - lower) / side).astype(np.float32)
    return values
