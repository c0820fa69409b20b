"""The faces that a detector finds in a picture, held to what a detector promises, and the one that is meant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ferbench.components import Face, FaceDetector
from ferbench.errors import FerbenchError, PluginError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Faces at least so large a part of the largest one are as large as it; the most central of them is meant.
_AS_LARGE = 0.8

#: How far from a picture a face may reach, in its longer sides: what is further off is no measurement, and cutting it
#: would take more memory than there is.
_FURTHEST = 10


def found_faces(image: NDArray[np.uint8], detector: FaceDetector) -> tuple[Face, ...]:
    """All faces in a picture, the largest first.

    image : uint8 [H, W, C] with C 1 or 3 (RGB)

    Raises
    ------
    PluginError : a library that the detector needs is not there, or the detector fails or breaks the contract
    """
    colour = np.array(np.broadcast_to(image, (*image.shape[:2], 3)))
    try:
        found = detector.detect(colour)
        faces = () if found is None else tuple(found)
        faults = [fault for face in faces for fault in face_faults(face, image.shape)]
    except FerbenchError:
        raise
    except Exception as error:
        raise PluginError(f"face detector {detector.name}: {type(error).__name__}: {error}") from error
    if found is None:
        faults = ["None is given, not a sequence of Face"]
    if faults:
        raise PluginError(f"face detector {detector.name}: {faults[0]}: a fault of the plugin")
    return tuple(sorted(faces, key=lambda face: (-face.area, face.box, -face.score)))


def main_face(faces: Sequence[Face], image_shape: Sequence[int]) -> Face | None:
    """The largest of some faces; of several that are as large, the nearest to the picture's middle. None of none.

    image_shape : height and width come first
    """
    if not faces:
        return None
    largest = max(face.area for face in faces)
    height, width = image_shape[:2]

    def off_the_middle(face: Face) -> float:
        left, top, across, down = face.box
        return math.hypot(left + across / 2 - width / 2, top + down / 2 - height / 2)

    return min((face for face in faces if face.area >= _AS_LARGE * largest), key=off_the_middle)


def face_faults(face: object, image_shape: Sequence[int]) -> list[str]:
    """What is wrong with what a detector gave as a face, one clause each.

    image_shape : of the picture, height and width first
    """
    if not isinstance(face, Face):
        return [f"{face!r} is a {type(face).__name__}, not a Face"]
    points = () if face.landmarks is None else face.landmarks
    numbers = [*face.box, face.score, *(value for point in points for value in point)]
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in numbers):
        return [f"box {face.box}, score {face.score} or a landmark holds something else than plain finite numbers"]
    if not isinstance(face.box, tuple) or len(face.box) != 4 or face.box[2] <= 0 or face.box[3] <= 0:
        return [f"box {face.box} is not left, top, width and height"]
    if not 0 <= face.score <= 1:
        return [f"score {face.score} is not from 0 to 1"]
    if face.landmarks is not None and [len(point) for point in face.landmarks] != [2] * 5:
        return [f"landmarks {face.landmarks} are not five points"]
    return _off_the_picture(face, image_shape)


def _off_the_picture(face: Face, image_shape: Sequence[int]) -> list[str]:
    height, width = image_shape[:2]
    left, top, across, down = face.box
    if not (left < width and top < height and left + across > 0 and top + down > 0):
        return [f"box {face.box} lies outside its picture of {width} x {height} pixels"]
    reach = _FURTHEST * max(height, width)
    for x, y in ((left, top), (left + across, top + down), *(face.landmarks or ())):
        if not (-reach <= x <= width + reach and -reach <= y <= height + reach):
            return [f"{face!r} reaches too far beyond its picture of {width} x {height} pixels"]
    return []
