"""The way in: renders splits of the embedded pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ferbench_plugins.faces3d.film import Film, draw_film, draw_film_scene
from ferbench_plugins.faces3d.head import ROWS, load_head
from ferbench_plugins.faces3d.person import Person, draw_person
from ferbench_plugins.faces3d.renderer import render_scenes
from ferbench_plugins.faces3d.roster import Entry, entry_at
from ferbench_plugins.faces3d.scene import Scene
from ferbench_plugins.faces3d.seeds import random_for
from ferbench_plugins.faces3d.splits import EXPRESSIONS, FILM, SOURCE
from ferbench_plugins.faces3d.studio import draw_studio_scene

#: Pixels a side, and channels.
SOURCE_FORM = (48, 1)
FILM_FORM = (96, 3)


@dataclass(frozen=True, slots=True)
class Rendering:
    """n samples of a split.

    images : uint8 [n, size, size, channels]
    labels : int64 [n] into EXPRESSIONS, as published, noise included
    true_labels : int64 [n], what is shown
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    true_labels: NDArray[np.int64]
    ids: tuple[str, ...]
    groups: tuple[str, ...]


def render(dataset: str, split: str, count: int) -> Rendering:
    """The first `count` samples of a split of `faces3d-source` or `faces3d-film`."""
    return render_entries([entry_at(dataset, split, index) for index in range(count)])


def render_entries(entries: Sequence[Entry]) -> Rendering:
    """Any samples of one dataset; what one looks like doesn't depend on the others."""
    size, channels = SOURCE_FORM if entries[0].dataset == SOURCE else FILM_FORM
    head = load_head()
    images = np.empty((len(entries), size, size, channels), np.uint8)
    for start in range(0, len(entries), ROWS):
        batch = entries[start : start + ROWS]
        grains = [random_for(entry.dataset, entry.split, entry.index, "grain") for entry in batch]
        scenes = [draw_scene(entry) for entry in batch]
        images[start : start + ROWS] = render_scenes(head, scenes, grains, size, channels)
    return Rendering(
        images=images,
        labels=np.array([EXPRESSIONS.index(entry.label) for entry in entries], np.int64),
        true_labels=np.array([EXPRESSIONS.index(entry.expression) for entry in entries], np.int64),
        ids=tuple(entry.id for entry in entries),
        groups=tuple(entry.group for entry in entries),
    )


def draw_scene(entry: Entry) -> Scene:
    """What a sample shows."""
    random = random_for(entry.dataset, entry.split, entry.index, "scene")
    if entry.dataset == SOURCE:
        return draw_studio_scene(_person(entry.split, entry.group), entry.expression, random)
    return draw_film_scene(_film(entry.split, entry.group), entry.expression, random)


@lru_cache(maxsize=16)
def _person(split: str, group: str) -> Person:
    return draw_person(load_head(), random_for(SOURCE, split, group))


@lru_cache(maxsize=16)
def _film(split: str, group: str) -> Film:
    return draw_film(load_head(), random_for(FILM, split, group))
