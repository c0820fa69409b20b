"""The face detector YuNet (Wu, Peng and Yu 2023), computed by OpenCV; MODEL.md says where the model file comes from.

A picture is looked at up to three times. First as a whole, its longer side brought to 192 pixels where it is smaller,
since the network looks for faces of some ten pixels and more, and to 1,024 where it is larger. Where that shows no
face, twice more at 160 and 256 pixels within a black margin: faces that fill their picture, as those of FER2013 and
the like do, are found so. All faces of the first look that shows any are given.

Of a face that is tilted the network's landmarks tell about half of the tilt. So such a face is turned upright by what
they tell and looked at again, twice at most. Of scikit-image's astronaut, turned by up to 30 degrees, that leaves the
tilt right to 2 degrees on average and to 5 in any case; up to some 75 degrees most of a tilt is undone. A face that
lies sideways or upside down is found too, but its landmarks do not say so: it is not turned.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferbench import Face, FaceDetector, hookimpl
from ferbench.errors import PluginError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = Path(__file__).with_name("yunet_n_640_640.onnx")
MODEL_SHA256 = "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31"

#: The distributions that OpenCV's Python module comes in.
_DISTRIBUTIONS = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")

#: What a face must score to be told, and from which overlap on two boxes are one face: OpenCV's tutorial has 0.9 and
#: 0.3, the authors' own program takes all from 0.5.
_SCORE = 0.6
_OVERLAP = 0.3
_MOST_FACES = 5000

#: OpenCV's LOG_LEVEL_ERROR.
_ERRORS_ONLY = 2


@dataclass(frozen=True, slots=True)
class _Look:
    """A way to show a picture to the network.

    smallest, largest : pixels that the longer side is brought between
    margin : black around it, as a part of the longer side
    """

    smallest: int
    largest: int
    margin: float = 0.0


_LOOKS = (_Look(192, 1024), _Look(160, 160, 0.5), _Look(256, 256, 0.5))

#: How often a face may be turned upright, from which tilt in degrees on, and pixels a side of what is then looked at,
#: of which the longer side of its box takes so much.
_TURNS = 2
_TILTED = 5.0
_TURNED_SIDE = 192
_TURNED_SHARE = 0.7

_of_thread = threading.local()

#: OpenCV's log level is one for all threads.
_loading = threading.Lock()


def detect(image: NDArray[np.uint8]) -> Sequence[Face]:
    """All faces in uint8 [H, W, 3], RGB.

    Raises
    ------
    PluginError : OpenCV is not installed, or the model file is not the one that was delivered
    """
    network = _network()
    for look in _LOOKS:
        if faces := _seen(network, image, look):
            return [_turned_upright(network, image, face) for face in faces]
    return ()


def _network() -> Any:
    """OpenCV's detector with the model; one for each thread, since it keeps what it is computing."""
    if not hasattr(_of_thread, "network"):
        _of_thread.network = _loaded()
    return _of_thread.network


def _loaded() -> Any:
    import hashlib

    import numpy as np

    try:
        import cv2
    except ImportError as error:
        raise PluginError("face detector yunet needs OpenCV: pip install 'ferbench[faces]'") from error
    if not hasattr(cv2, "FaceDetectorYN"):
        raise PluginError(f"OpenCV {cv2.__version__} has no FaceDetectorYN: pip install -U 'ferbench[faces]'")
    model = MODEL.read_bytes()
    if hashlib.sha256(model).hexdigest() != MODEL_SHA256:
        raise PluginError(f"{MODEL} is not the file that ferbench came with: install ferbench again")
    nothing = np.empty(0, np.uint8)
    # OpenCV 5 warns that its graph engine has one target only, which is the one that is wanted. In OpenCV 4 the same
    # two functions are cv2's own.
    log: Any = getattr(cv2.utils, "logging", cv2)
    with _loading:
        level = log.getLogLevel()
        log.setLogLevel(_ERRORS_ONLY)
        try:
            return cv2.FaceDetectorYN.create(
                "onnx", np.frombuffer(model, np.uint8), nothing, (320, 320), _SCORE, _OVERLAP, _MOST_FACES
            )
        finally:
            log.setLogLevel(level)


def _seen(network: Any, image: NDArray[np.uint8], look: _Look) -> list[Face]:
    """The faces that one look shows, in the picture's own pixels."""
    import cv2
    import numpy as np

    height, width = image.shape[:2]
    longest = max(height, width)
    scale = min(max(longest, look.smallest), look.largest) / longest
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    if size != (width, height):
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    margin = round(look.margin * max(size))
    if margin:
        shown = cv2.copyMakeBorder(shown, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    across, down = width / size[0], height / size[1]
    back = np.array([[across, 0, -margin * across], [0, down, -margin * down]])
    faces = [
        Face((*_moved(row[:1], back)[0], *(row[1] * (across, down)).tolist()), score, _moved(row[2:], back))
        for row, score in _answers(network, shown)
    ]
    return [face for face in faces if _meets(face.box, width, height)]


def _meets(box: tuple[float, float, float, float], width: int, height: int) -> bool:
    """Whether a box has a part in a picture, and is not of its margin alone."""
    left, top, across, down = box
    return left < width and top < height and left + across > 0 and top + down > 0


def _answers(network: Any, shown: NDArray[Any]) -> list[tuple[NDArray[np.float64], float]]:
    """What the network says of BGR pixels: corner, size and five points of each face, float64 [7, 2], and its score."""
    import numpy as np

    network.setInputSize((shown.shape[1], shown.shape[0]))
    _, found = network.detect(shown)
    rows = np.empty((0, 15)) if found is None else found.astype(np.float64)
    return [(row[:14].reshape(7, 2), min(max(float(row[14]), 0.0), 1.0)) for row in rows if min(row[2:4]) > 0]


def _moved(points: NDArray[np.float64], matrix: NDArray[Any]) -> Any:
    """Points [n, 2] where an affine map [2, 3] takes them, as tuples."""
    return tuple(map(tuple, (points @ matrix[:, :2].T + matrix[:, 2]).tolist()))


def _turned_upright(network: Any, image: NDArray[np.uint8], face: Face) -> Face:
    """The face with the landmarks that it shows when it is upright."""
    import cv2
    import numpy as np

    middle = np.array(face.box[:2]) + np.array(face.box[2:]) / 2
    scale = _TURNED_SHARE * _TURNED_SIDE / max(face.box[2:])
    for _ in range(_TURNS):
        assert face.landmarks is not None
        right_eye, left_eye, _, right_mouth, left_mouth = (complex(*point) for point in face.landmarks)
        # From eye to eye, and down to the mouth turned by a right angle: together they say more than either.
        tilt = np.angle(left_eye - right_eye - 1j * (right_mouth + left_mouth - right_eye - left_eye) / 2)
        if abs(np.degrees(tilt)) < _TILTED:
            break
        turn = scale * np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
        there = np.concatenate([turn, (_TURNED_SIDE / 2 - turn @ middle)[:, None]], axis=1)
        # OpenCV counts from the first pixel's middle.
        by_middles = there + np.array([[0, 0, 1], [0, 0, 1]]) * (turn.sum(axis=1, keepdims=True) - 1) / 2
        shown = cv2.warpAffine(image, by_middles, (_TURNED_SIDE, _TURNED_SIDE), flags=cv2.INTER_LINEAR)
        answers = [row for row, _ in _answers(network, cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))]
        if not answers:
            break
        nearest = min(answers, key=lambda row: float(np.hypot(*(row[0] + row[1] / 2 - _TURNED_SIDE / 2))))
        face = replace(face, landmarks=_moved(nearest[2:], cv2.invertAffineTransform(there)))
    return face


def _library() -> str:
    from importlib.metadata import PackageNotFoundError, version

    for name in _DISTRIBUTIONS:
        try:
            return f"opencv {version(name)}"
        except PackageNotFoundError:
            continue
    return ""


@hookimpl
def ferbench_register_face_detectors() -> Iterable[FaceDetector]:
    return [
        FaceDetector(
            name="yunet",
            version=1,
            detect=detect,
            default=True,
            citation="Wu, Peng and Yu: YuNet: A Tiny Millisecond-level Face Detector, Machine Intelligence Research "
            "20, 2023, doi 10.1007/s11633-023-1423-y",
            licence="Apache-2.0, trained on WIDER FACE",
            library=_library(),
        )
    ]
