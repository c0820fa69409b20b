"""`faces3d-film`: shots of films, each film with its own cast, light, colours and places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferbench_plugins.faces3d.backdrop import Backdrop, draw_occluder, draw_shapes
from ferbench_plugins.faces3d.camera import Camera
from ferbench_plugins.faces3d.finish import Finish, metered
from ferbench_plugins.faces3d.head import Head
from ferbench_plugins.faces3d.lighting import Lighting, direction
from ferbench_plugins.faces3d.person import Person, draw_person
from ferbench_plugins.faces3d.scene import Scene, draw_face
from ferbench_plugins.faces3d.seeds import Random

Floats = NDArray[np.float32]

STRAY = 0.22
OCCLUDED = 0.25
SMALLEST_CAST, LARGEST_CAST = 4, 6


@dataclass(frozen=True, slots=True)
class Film:
    """What the shots of one film have in common.

    key_tint, sky_tint, gain : float32 [3]; colours of main light, fill and grade
    key_side : degrees from which the main light tends to come
    palette : float32 [n, 3], linear colours of its places
    """

    cast: tuple[Person, ...]
    key_tint: Floats
    sky_tint: Floats
    key_side: float
    key_strength: float
    rim_strength: float
    palette: Floats
    gain: Floats
    contrast: float
    grain: float
    camera_height: float


def draw_tint(random: Random, strength: float) -> Floats:
    """A colour of mean 1 between warm and cold, with a little green or magenta."""
    warmth, green = random.normal(0, strength), random.normal(0, strength / 3)
    tint = np.exp([warmth, green, -warmth])
    return np.asarray(tint / tint.mean(), np.float32)


def draw_film(head: Head, random: Random) -> Film:
    """A film with its cast."""
    cast = tuple(draw_person(head, random) for _ in range(random.randint(SMALLEST_CAST, LARGEST_CAST + 1)))
    darkness = random.uniform(0.15, 0.9)
    return Film(
        cast=cast,
        key_tint=draw_tint(random, 0.22),
        sky_tint=draw_tint(random, 0.3),
        key_side=random.uniform(-60, 60),
        key_strength=random.uniform(0.6, 1.3),
        rim_strength=random.uniform(0, 1.2),
        palette=np.stack([draw_tint(random, 0.5) * darkness * random.uniform(0.2, 0.8) for _ in range(5)]),
        gain=draw_tint(random, 0.1),
        contrast=random.uniform(0.85, 1.2),
        grain=random.uniform(0.004, 0.02),
        camera_height=random.normal(0, 4),
    )


def draw_film_scene(film: Film, expression: str, random: Random) -> Scene:
    """One shot of one of the cast."""
    person = film.cast[random.randint(len(film.cast))]
    top, bottom = film.palette[random.randint(len(film.palette), size=2)]
    occluder_colour = film.palette[0] if random.uniform() < 0.5 else person.skin
    key = film.key_strength * random.uniform(0.7, 1.2)
    fill = random.uniform(0.15, 0.45)
    return Scene(
        person=person,
        face=draw_face(expression, random, STRAY),
        camera=Camera(
            yaw=float(np.clip(random.normal(0, 17), -45, 45)),
            pitch=film.camera_height + random.normal(0, 7),
            roll=random.normal(0, 6),
            distance=random.uniform(6, 20),
            span=random.uniform(1.9, 2.35),
            across=random.normal(0, 0.03),
            up=0.12 + random.normal(0, 0.03),
        ),
        lighting=Lighting(
            key_direction=direction(film.key_side + random.normal(0, 20), random.uniform(0, 55)),
            key=(key * film.key_tint).astype(np.float32),
            sky=(fill * film.sky_tint).astype(np.float32),
            ground=(fill * random.uniform(0.2, 0.8) * film.sky_tint).astype(np.float32),
            rim_direction=direction(180 - 0.7 * film.key_side, random.uniform(10, 50)),
            rim=(film.rim_strength * random.uniform(0.3, 1) * film.sky_tint).astype(np.float32),
        ),
        backdrop=Backdrop(
            top=top,
            bottom=bottom,
            shapes=draw_shapes(random, film.palette, random.randint(2, 9)),
            softness=random.uniform(0.05, 0.6),
        ),
        occluder=draw_occluder(random, occluder_colour) if random.uniform() < OCCLUDED else None,
        shirt=film.palette[random.randint(len(film.palette))],
        finish=Finish(
            blur=random.uniform(0, 1.1),
            exposure=random.uniform(0.6, 1.15) * metered(person.skin),
            gain=film.gain,
            contrast=film.contrast,
            lift=random.uniform(0, 0.06),
            grain=film.grain,
        ),
    )
