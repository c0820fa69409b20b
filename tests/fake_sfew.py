"""A copy of SFEW 2.0 without its faces: its layout, counts, sizes and names, filled with rendered faces of films.

    python tests/fake_sfew.py FOLDER

writes FOLDER/Train/Train_Aligned_Faces, FOLDER/Val/Val_Aligned_Faces and FOLDER/Test/Test_Aligned_Faces. Films are
disjoint over the splits and of very different length, as in SFEW.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ferbench.expressions import expression
from ferbench_plugins.faces3d.film import Film, draw_film, draw_film_scene
from ferbench_plugins.faces3d.head import load_head
from ferbench_plugins.faces3d.renderer import render_scenes
from ferbench_plugins.faces3d.seeds import random_for

#: As printed for the distributed aligned faces.
CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
PUBLISHED = {"Train": (178, 52, 78, 184, 144, 161, 94), "Val": (77, 23, 46, 72, 84, 73, 56)}
TEST_COUNT = 372

WIDTH, HEIGHT = 143, 181
FILMS = {"Train": 36, "Val": 24, "Test": 20}
TITLES = ("AboutABoy", "Harry_Potter_and_the_Goblet", "21", "I_Am_Sam")


@dataclass(frozen=True, slots=True)
class Face:
    """One picture; `name` is its class, which Test does not tell."""

    split: str
    index: int
    name: str
    film: str

    @property
    def file_name(self) -> str:
        return f"{self.film}_{self.index * 1040:09d}_{self.index:08d}.png"


Encode = Callable[[Face], bytes]


def published(split: str) -> dict[str, int]:
    return dict(zip(CLASSES, PUBLISHED[split], strict=True))


def faces(split: str, counts: Mapping[str, int] | None = None) -> Iterator[Face]:
    """The faces of a split in the order of a shuffled reel; of Test as many of each class as it takes."""
    counts = counts or (published(split) if split in PUBLISHED else dict.fromkeys(CLASSES, -(-TEST_COUNT // 7)))
    names = [name for name, count in counts.items() for _ in range(count)]
    draw = np.random.default_rng(len(split))
    draw.shuffle(names)
    names = names if split in PUBLISHED else names[:TEST_COUNT]
    # The two longest of 24 films have a quarter of all pictures.
    shares = 1 / np.arange(3, FILMS[split] + 3)
    numbers = draw.choice(FILMS[split], size=len(names), p=shares / shares.sum())
    for index, (name, number) in enumerate(zip(names, numbers.tolist(), strict=True)):
        yield Face(split, index, name, f"{TITLES[number % len(TITLES)]}{split}{number}")


def write(folder: Path, split: str, encode: Encode, counts: Mapping[str, int] | None = None) -> None:
    """One split into a folder: class folders, or flat for Test."""
    for face in faces(split, counts):
        place = folder if split == "Test" else folder / face.name
        place.mkdir(parents=True, exist_ok=True)
        (place / face.file_name).write_bytes(encode(face))


def plain(face: Face) -> bytes:
    """A tiny picture in a colour of its own."""
    return _png(Image.new("RGB", (4, 5), (face.index % 256, face.index // 256, len(face.split) * 40)))


def rendered(face: Face) -> bytes:
    """A rendered face of its film, 143x181: the middle of a square picture."""
    random = random_for("fake_sfew", face.split, face.index)
    shown = expression(face.name)
    assert shown is not None
    scene = draw_film_scene(_film(face.film), shown, random)
    square = render_scenes(load_head(), [scene], [random], HEIGHT, 3)[0]
    left = (HEIGHT - WIDTH) // 2
    return _png(Image.fromarray(square[:, left : left + WIDTH]))


@lru_cache(maxsize=128)
def _film(name: str) -> Film:
    return draw_film(load_head(), random_for("fake_sfew", name))


def _png(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


if __name__ == "__main__":
    for each in ("Train", "Val", "Test"):
        write(Path(sys.argv[1]) / each / f"{each}_Aligned_Faces", each, rendered)
