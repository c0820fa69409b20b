"""Where the head is and what the camera takes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Camera:
    """Turns of the head in degrees about the middle between the eyes, where cut-out faces are aligned, and the frame.

    yaw, pitch, roll : to its left, down, clockwise as seen
    distance : of the camera from the face, decimetres
    span : height of the frame at the face, decimetres
    across, up : where the middle between the eyes is, as shares of the frame from its centre
    """

    yaw: float
    pitch: float
    roll: float
    distance: float
    span: float
    across: float
    up: float

    def rotation(self) -> Floats:
        """float32 [3, 3]; `points @ rotation.T` turns points."""
        yaw, pitch, roll = np.radians([self.yaw, self.pitch, self.roll])
        (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        about_z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
        return np.asarray(about_z @ about_x @ about_y, np.float32)

    def project(self, vertices: Floats, size: int) -> Floats:
        """Vertices [V, 3] of the unturned head to column, row, depth on `size` x `size` pixels: float32 [V, 3]."""
        turned = vertices @ self.rotation().T
        scale = size / self.span * self.distance / (self.distance - turned[:, 2])
        column = size * (0.5 + self.across) + turned[:, 0] * scale
        row = size * (0.5 - self.up) - turned[:, 1] * scale
        return np.stack([column, row, turned[:, 2]], axis=1)
