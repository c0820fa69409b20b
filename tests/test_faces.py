"""Faces: geometry against places worked out by hand, which face is meant, and what a detector may give."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench import Face, FaceDetector
from ferbench.data.pictures import Pictures
from ferbench.errors import DatasetError, PluginError
from ferbench.faces import PLACES, cut, found_faces, main_face, whole
from ferbench.faces.cutting import CutPictures, faces_note
from ferbench.faces.kept import FaceFiles, kept_face

BACKGROUND = 40


def marked(points: list[tuple[float, float]], size: tuple[int, int] = (200, 260), radius: float = 3) -> np.ndarray:
    """A grey picture [H, W, 1] with a bright disc around each point."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.full(size, BACKGROUND, np.uint8)
    for x, y in points:
        image[np.hypot(columns + 0.5 - x, rows + 0.5 - y) <= radius] = 250
    return image[:, :, None]


def middles(image: np.ndarray, places: list[tuple[float, float]], reach: float) -> list[tuple[float, float]]:
    """Around each place, the middle of what is brighter than the background."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    light = np.clip(image[:, :, 0].astype(float) - BACKGROUND, 0, None)
    found = []
    for x, y in places:
        near = light * (np.hypot(columns + 0.5 - x, rows + 0.5 - y) < reach)
        assert near.sum() > 0, (x, y)
        found.append((((columns + 0.5) * near).sum() / near.sum(), ((rows + 0.5) * near).sum() / near.sum()))
    return found


def turned(points: tuple[tuple[float, float], ...], degrees: float, scale: float, at: tuple[float, float]):  # type: ignore[no-untyped-def]
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    return tuple((at[0] + scale * (cosine * x - sine * y), at[1] + scale * (sine * x + cosine * y)) for x, y in points)


@settings(max_examples=25, deadline=None)
@given(
    degrees=st.floats(-50, 50),
    scale=st.floats(60, 150),
    x=st.floats(-20, 90),
    y=st.floats(-20, 60),
    side=st.sampled_from([48, 96, 224]),
)
def test_aligned_landmarks_lie_on_their_places(degrees: float, scale: float, x: float, y: float, side: int) -> None:
    points = turned(PLACES, degrees, scale, (x + 30, y + 30))
    inside = [number for number, (px, py) in enumerate(points) if 4 < px < 256 and 4 < py < 196]
    face = Face((x, y, scale, scale), 0.9, points)
    aligned = cut(marked([points[number] for number in inside]), face, "align", side)
    assert aligned.shape == (side, side, 1) and aligned.dtype == np.uint8
    wanted = [(PLACES[number][0] * side, PLACES[number][1] * side) for number in inside]
    for (px, py), (qx, qy) in zip(middles(aligned, wanted, 0.08 * side), wanted, strict=True):
        assert math.hypot(px - qx, py - qy) < 1


def test_the_least_squares_of_landmarks_that_fit_no_turn_are_numpys() -> None:
    rng = np.random.default_rng(1)
    points = np.array(PLACES) * 80 + 40 + rng.normal(0, 4, (5, 2))
    # A similarity (x, y) -> (a x - b y + c, b x + a y + d) by numpy's own least squares.
    design = np.concatenate([[(x, -y, 1, 0), (y, x, 0, 1)] for x, y in PLACES])
    a, b, c, d = np.linalg.lstsq(design, points.ravel(), rcond=None)[0]
    eye = (a * PLACES[0][0] - b * PLACES[0][1] + c, b * PLACES[0][0] + a * PLACES[0][1] + d)
    face = Face((40, 40, 80, 80), 0.9, tuple(map(tuple, points.tolist())))
    (found,) = middles(cut(marked([eye]), face, "align", 160), [(PLACES[0][0] * 160, PLACES[0][1] * 160)], 12)
    assert math.dist(found, (PLACES[0][0] * 160, PLACES[0][1] * 160)) < 1


def test_cropped_is_a_square_around_the_box() -> None:
    # 1.05 times 100 pixels: from 17.5 to 122.5 across, from 47.5 to 152.5 down.
    face = Face((30, 50, 80, 100), 0.9)
    image = marked([(70, 100), (20, 50)])
    cropped = cut(image, face, "crop", 105)
    found = middles(cropped, [(52.5, 52.5), (2.5, 2.5)], 6)
    assert math.dist(found[0], (52.5, 52.5)) < 0.1 and math.dist(found[1], (2.5, 2.5)) < 1
    # Half a pixel off the picture's grid, each value is the mean of four neighbours.
    blocks = image[47:153, 17:123, 0].astype(float)
    means = (blocks[:-1, :-1] + blocks[1:, :-1] + blocks[:-1, 1:] + blocks[1:, 1:]) / 4
    assert np.abs(cropped[:, :, 0] - means).max() <= 0.5
    # Without landmarks, or with all of them on one spot, there is nothing to align by.
    heap = dataclasses.replace(face, landmarks=((70, 100),) * 5)
    for other in (face, heap):
        assert np.array_equal(cut(image, other, "align", 105), cropped)


def test_reducing_averages_and_borders_go_on() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (105, 105, 3)).astype(np.uint8)
    box = (2.5, 2.5, 100, 100)
    small = cut(image, Face(box, 1.0), "crop", 35)
    means = image.reshape(35, 3, 35, 3, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() < 1
    # The same square a whole picture to the right: nothing but the last column, on and on.
    beyond = cut(image, Face((107.5, 2.5, 100, 100), 1.0), "crop", 105)
    assert np.array_equal(beyond, np.repeat(image[:, -1:], 105, axis=1))


def test_a_picture_that_stays_whole_is_stretched_as_evaluation_does() -> None:
    from ferbench.data.placement import place

    image = np.random.default_rng(0).integers(0, 256, (90, 60, 3)).astype(np.uint8)
    placed = place(image[None], 30, "cpu").images[0].permute(1, 2, 0).numpy()
    assert np.array_equal(whole(image, 30), placed)
    assert whole(image[:60], 60) is not None and np.array_equal(whole(image[:60], 60), image[:60])


def test_the_face_that_is_meant() -> None:
    large, middle, small = Face((0, 0, 50, 50), 0.7), Face((80, 30, 46, 46), 0.8), Face((100, 40, 10, 10), 1.0)
    assert main_face((), (100, 200)) is None
    # The middle one is 85 % as large and nearer to the picture's middle; the small one is not asked.
    assert main_face((large, middle, small), (100, 200)) == middle
    assert main_face((large, dataclasses.replace(middle, box=(80, 30, 40, 40))), (100, 200)) == large


def detector(*answers: object, **fields: object) -> FaceDetector:
    """Gives the same whatever it is shown."""
    return FaceDetector("answers", 1, lambda image: answers, **fields)  # type: ignore[arg-type]


def test_found_faces_come_with_the_largest_first_in_colour_or_grey() -> None:
    one, two = Face((0, 0, 5, 5), 0.9), Face((0, 0, 9, 9), 0.5)
    shown: list[tuple[int, ...]] = []

    def detect(image: np.ndarray) -> list[Face]:
        shown.append(image.shape)
        return [one, two]

    for channels in (1, 3):
        assert found_faces(np.zeros((20, 30, channels), np.uint8), FaceDetector("d", 1, detect)) == (two, one)
    assert shown == [(20, 30, 3), (20, 30, 3)]
    # What gives one after the other gives as many.
    each = FaceDetector("d", 1, lambda image: (face for face in detect(image)))  # type: ignore[arg-type, return-value]
    assert found_faces(np.zeros((20, 30, 1), np.uint8), each) == (two, one)


@pytest.mark.parametrize("box", [(-299, 3, 300, 4), (29, 19, 1, 300), (-300, -300, 630, 620)])
def test_a_face_may_reach_as_far_beyond_its_picture(box: tuple[float, float, float, float]) -> None:
    (face,) = found_faces(np.zeros((20, 30, 1), np.uint8), detector(Face(box, 0.5)))
    assert cut(np.full((20, 30, 1), 9, np.uint8), face, "crop", 12).tolist() == np.full((12, 12, 1), 9).tolist()


def test_the_samples_of_a_cut_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(Exception):
        pass

    def grid(theta: object, size: list[int], **how: object) -> None:
        raise Asked(*size)

    monkeypatch.setattr("torch.nn.functional.affine_grid", grid)
    with pytest.raises(Asked) as asked:
        cut(np.zeros((60, 60, 1), np.uint8), Face((-1e5, -1e5, 3e5, 3e5), 0.5), "crop", 48)
    assert asked.value.args == (1, 1, 6144, 6144)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ((0, 0, 5, 5), "not a Face"),
        (Face((0, 0, 0, 5), 0.5), "not left, top, width and height"),
        (Face((0, 0, math.nan, 5), 0.5), "plain finite numbers"),
        (Face([0, 0, 5, 5], 0.5), "not left, top, width and height"),  # type: ignore[arg-type]
        (Face((30, 3, 9, 9), 0.5), "lies outside its picture of 30 x 20 pixels"),
        (Face((-9, -9, 20, 9), 0.5), "lies outside"),
        (Face((-301, 3, 310, 4), 0.5), "reaches too far beyond its picture of 30 x 20 pixels"),
        (Face((3, 3, 1e7, 1e7), 0.5), "reaches too far"),
        (Face((3, 3, 9, 9), 0.5, ((1e9, 4), (5, 6), (5, 6), (5, 6), (5, 6))), "reaches too far"),
        (Face((0, 0, 5, 5), 1.5), "score 1.5"),
        (Face((0, 0, 5, 5), 0.5, ((1, 2),)), "not five points"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_face_is_a_fault_of_the_plugin(answer: object, line: str) -> None:
    with pytest.raises(PluginError, match=f"face detector answers: .*{line}"):
        found_faces(np.zeros((20, 30, 1), np.uint8), detector(answer))


def test_a_detector_that_fails_is_one_line() -> None:
    def fails(image: np.ndarray) -> list[Face]:
        raise RuntimeError("out of luck")

    with pytest.raises(PluginError, match="face detector d: RuntimeError: out of luck"):
        found_faces(np.zeros((20, 30, 1), np.uint8), FaceDetector("d", 1, fails))


def stored(images: list[np.ndarray]) -> Pictures:
    pixels = np.concatenate([image.ravel() for image in images])
    shapes = np.array([image.shape for image in images], np.int64)
    return Pictures([(pixels, shapes)], np.zeros(len(images), np.int64), np.arange(len(images)))


def test_faces_are_looked_for_once_and_found_by_what_found_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [np.full((30, 20, 1), value, np.uint8) for value in (0, 10, 20)]
    looked: list[int] = []

    def detect(image: np.ndarray) -> list[Face]:
        looked.append(int(image.max()))
        points = tuple((4.0 + number, 5.0) for number in range(5))
        return [Face((1.5, 2, 10, 12), 0.75, points if image.max() == 10 else None)] if image.max() else []  # type: ignore[arg-type]

    names = ("a", "b", "c")
    told: list[tuple[int, int]] = []
    for version, expected in ((1, [0, 10, 20]), (1, []), (2, [0, 10, 20])):
        looked.clear()
        rows = FaceFiles(tmp_path).of(
            stored(images), names, FaceDetector("d", version, detect), lambda done, total: told.append((done, total))
        )
        assert looked == expected
    assert told == [(3, 3), (3, 3)]
    faces = [kept_face(row) for row in rows]
    assert faces[0] is None and faces[2] == Face((1.5, 2, 10, 12), 0.75)
    assert faces[1] is not None and faces[1].landmarks == ((4, 5), (5, 5), (6, 5), (7, 5), (8, 5))
    first, *others = sorted((tmp_path / "faces").iterdir())
    assert len(others) == 1 and {path.suffix for path in (first, *others)} == {".npy"}
    # A damaged file is made again.
    for path in (first, *others):
        path.write_bytes(path.read_bytes()[:-4])
    looked.clear()
    FaceFiles(tmp_path).of(stored(images), names, FaceDetector("d", 2, detect))
    assert looked == [0, 10, 20]
    # Where another of several faces is meant, none of the old ones is.
    monkeypatch.setattr("ferbench.faces.kept.PREPROCESSING_VERSION", 2)
    FaceFiles(tmp_path).of(stored(images), names, FaceDetector("d", 2, detect))
    assert looked == [0, 10, 20, 0, 10, 20]


def test_a_cache_folder_that_takes_nothing_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "faces").write_text("in the way")
    with pytest.raises(DatasetError, match=r"cannot be written.*FERBENCH_CACHE"):
        FaceFiles(tmp_path).of(stored([np.zeros((5, 5, 1), np.uint8)]), ("a",), detector())


def test_cut_pictures_are_of_one_size_and_whole_where_no_face_is() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 30, channels)).astype(np.uint8) for channels in (1, 3, 3)]
    face = Face((5, 5, 20, 20), 0.9)
    rows = np.full((3, 15), np.nan, np.float32)
    rows[0, :5] = rows[2, :5] = (*face.box, face.score)
    for image_size, side in ((224, 40), (24, 24)):
        shown = CutPictures(stored(images), rows, "crop", image_size)
        assert shown.shapes.tolist() == [[side, side, 3]] * 3 and shown.uniform and len(shown) == 3
        grey = np.repeat(cut(images[0], face, "crop", side), 3, axis=2)
        expected = [grey, whole(images[1], side), cut(images[2], face, "crop", side)]
        assert np.array_equal(np.asarray(shown), np.stack(expected))
        assert np.array_equal(shown[1:][1], expected[2]) and shown[:1].shapes.tolist() == [[side, side, 3]]


@pytest.mark.parametrize(
    ("reported", "trained", "note"),
    [
        ([], [], None),
        ([(0, 420)], [(0, 5000)], None),
        (
            [(12, 420)],
            [(10, 2000), (20, 3000)],
            "no face found in 12 of 420 reported pictures and 30 of 5,000 trained (kept whole)",
        ),
        ([], [(1, 10)], "no face found in 1 of 10 trained (kept whole)"),
        ([(0, 7)], [(1, 10)], "no face found in 0 of 7 reported pictures and 1 of 10 trained (kept whole)"),
    ],
)
def test_the_note(reported: list[tuple[int, int]], trained: list[tuple[int, int]], note: str | None) -> None:
    assert faces_note(reported, trained) == note
