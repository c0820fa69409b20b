"""`faces3d-source`: near-frontal faces in plain light before plain walls."""

from __future__ import annotations

import numpy as np

from ferbench_plugins.faces3d.backdrop import Backdrop
from ferbench_plugins.faces3d.camera import Camera
from ferbench_plugins.faces3d.finish import Finish, metered
from ferbench_plugins.faces3d.lighting import Lighting, direction
from ferbench_plugins.faces3d.person import Person
from ferbench_plugins.faces3d.scene import Scene, draw_face
from ferbench_plugins.faces3d.seeds import Random

STRAY = 0.12
WHITE = np.ones(3, np.float32)


def draw_studio_scene(person: Person, expression: str, random: Random) -> Scene:
    """One picture of a person."""
    wall = np.float32(random.beta(1.2, 1.6)) * WHITE
    key = random.uniform(0.55, 1.0)
    return Scene(
        person=person,
        face=draw_face(expression, random, STRAY),
        camera=Camera(
            yaw=random.normal(0, 9),
            pitch=random.normal(2, 5),
            roll=random.normal(0, 4),
            distance=random.uniform(6, 14),
            span=random.uniform(1.7, 2.05),
            across=random.normal(0, 0.02),
            up=0.15 + random.normal(0, 0.02),
        ),
        lighting=Lighting(
            key_direction=direction(random.normal(0, 30), random.uniform(5, 50)),
            key=np.float32(key) * WHITE,
            sky=np.float32(random.uniform(0.25, 0.5)) * WHITE,
            ground=np.float32(random.uniform(0.1, 0.3)) * WHITE,
            rim_direction=direction(180, 30),
            rim=np.float32(0) * WHITE,
        ),
        backdrop=Backdrop(top=wall, bottom=wall * np.float32(random.uniform(0.5, 1.2)), shapes=(), softness=1.0),
        occluder=None,
        shirt=(random.uniform(0.02, 0.6) * WHITE).astype(np.float32),
        finish=Finish(
            blur=random.uniform(0, 0.6),
            exposure=random.uniform(0.8, 1.25) * metered(person.skin),
            gain=WHITE,
            contrast=random.uniform(0.85, 1.2),
            lift=random.uniform(0, 0.06),
            grain=random.uniform(0.004, 0.016),
        ),
    )
