"""The face detector YuNet on real photographs, and what it says where OpenCV is missing."""

from __future__ import annotations

import hashlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from skimage import data

import ferbench_plugins.yunet as plugin
from ferbench import Face
from ferbench.catalog import Catalog
from ferbench.errors import PluginError
from ferbench.faces import PLACES, cut, found_faces
from ferbench.testing import Nonconforming, check_face_detector

DETECTOR = Catalog.load().face_detector("yunet")

#: Where scikit-image's astronaut has her eyes, read off the picture by eye: right, left.
EYES = ((203, 101), (246, 103.5))


def small_pictures() -> np.ndarray:
    """scikit-image's subset of Labeled Faces in the Wild: uint8 [200, 25, 25, 1], first 100 faces, then 100 others."""
    return (255 * data.lfw_subset()).round().astype(np.uint8)[..., None]


def test_it_conforms_and_finds_a_face() -> None:
    check_face_detector(DETECTOR, [data.astronaut(), small_pictures()[0]])
    assert DETECTOR.default and DETECTOR.citation and DETECTOR.licence and DETECTOR.library.startswith("opencv ")
    with pytest.raises(Nonconforming, match="no face is found in it"):
        check_face_detector(DETECTOR, [np.zeros((60, 60, 3), np.uint8)])


@pytest.mark.parametrize("times", [0.25, 1, 4])
def test_the_astronaut_at_any_size(times: float) -> None:
    from PIL import Image

    picture = data.astronaut()
    size = round(512 * times)
    (face,) = found_faces(np.asarray(Image.fromarray(picture).resize((size, size))), DETECTOR)
    left, top, width, height = (value / times for value in face.box)
    assert 0.7 < face.score <= 1 and face.landmarks is not None
    for (x, y), (own_x, own_y) in zip(EYES, face.landmarks[:2], strict=True):
        assert left < x < left + width and top < y < top + height
        assert np.hypot(own_x / times - x, own_y / times - y) < 8
    assert 70 < width < 130 and 90 < height < 150


def test_small_faces_are_found_and_no_others() -> None:
    found = [len(found_faces(picture, DETECTOR)) for picture in small_pictures()]
    assert sum(map(bool, found[:100])) >= 97 and sum(map(bool, found[100:])) <= 2


def test_an_aligned_face_that_is_looked_at_again_has_its_eyes_where_they_belong() -> None:
    from PIL import Image

    # Counter-clockwise about the picture's middle: her eyes' line, 3 degrees clockwise, comes to 22 the other way.
    picture = np.asarray(Image.fromarray(data.astronaut()).rotate(25, Image.Resampling.BILINEAR))
    face = found_faces(picture, DETECTOR)[0]
    assert face.landmarks is not None
    (right_x, right_y), (left_x, left_y) = face.landmarks[:2]
    assert -30 < np.degrees(np.arctan2(left_y - right_y, left_x - right_x)) < -15
    (again,) = found_faces(cut(picture, face, "align", 200), DETECTOR)
    assert again.landmarks is not None
    for (x, y), (own_x, own_y) in zip(PLACES[:2], again.landmarks[:2], strict=True):
        assert np.hypot(own_x - 200 * x, own_y - 200 * y) < 10


def test_threads_and_repetition_give_the_same_bits() -> None:
    pictures = [data.astronaut(), *small_pictures()[:12]]
    alone = [found_faces(picture, DETECTOR) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            assert list(pool.map(lambda picture: found_faces(picture, DETECTOR), pictures)) == alone


def test_threads_that_load_at_once_leave_the_log_level_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    log = getattr(cv2.utils, "logging", cv2)
    level = log.getLogLevel()
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *given: time.sleep(0.03))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: plugin._loaded(), range(4)))
    assert log.getLogLevel() == level != plugin._ERRORS_ONLY


def test_what_is_seen_in_the_margin_alone_is_no_face(monkeypatch: pytest.MonkeyPatch) -> None:
    # A picture of 100 pixels, brought to 160 within a margin of 80: in its own, one box ends where the picture begins.
    rows = [np.array([(left, 100), (width, 50), *[(left, 100)] * 5], float) for left, width in ((20, 60), (20, 70))]
    monkeypatch.setattr(plugin, "_answers", lambda network, shown: [(row, 0.9) for row in rows])
    (face,) = plugin._seen(None, np.zeros((100, 100, 3), np.uint8), plugin._Look(160, 160, 0.5))
    assert face.box == pytest.approx((-37.5, 12.5, 43.75, 31.25))


def test_without_opencv_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.delattr(plugin._of_thread, "network", raising=False)
    with pytest.raises(PluginError, match=r"needs OpenCV: pip install 'ferbench\[faces\]'"):
        found_faces(data.astronaut(), DETECTOR)


def test_the_model_file_is_the_one_that_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = plugin.MODEL.read_bytes()
    about = plugin.MODEL.with_name("MODEL.md").read_text("utf-8")
    assert hashlib.sha256(model).hexdigest() == plugin.MODEL_SHA256
    assert plugin.MODEL_SHA256 in about and f"{len(model):,} bytes" in about and plugin.MODEL.name in about
    assert "Apache License" in plugin.MODEL.with_name("LICENSE").read_text("utf-8")
    changed = tmp_path / "model.onnx"
    changed.write_bytes(model[:-1] + b"\0")
    monkeypatch.setattr(plugin, "MODEL", changed)
    monkeypatch.delattr(plugin._of_thread, "network", raising=False)
    with pytest.raises(PluginError, match="is not the file that ferbench came with"):
        plugin.detect(np.zeros((64, 64, 3), np.uint8))


def test_a_face_is_plain_numbers() -> None:
    (face,) = found_faces(data.astronaut(), DETECTOR)
    assert isinstance(face, Face) and all(type(value) is float for value in (*face.box, face.score))
    assert face.landmarks is not None and all(type(value) is float for point in face.landmarks for value in point)
