"""Annotated pictures: what stands where, at any size and on any ground."""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image

from ferbench.errors import UsageError
from ferbench.pages.recognition import Box, Cutting, FaceAnswer, PictureAnswer
from ferbench.publish.annotated import Album, annotated

CLASSES = ("angry", "happy", "sad")
ALIGN = Cutting("align", "finder")


def answer(pixels: np.ndarray, *boxes: Box | None, explained: bool = False) -> PictureAnswer:
    view = np.full((48, 48, 3), 128, np.uint8) if explained else None
    faces = [
        FaceAnswer(box, None if box is None else 0.9, np.array([0.2, 0.7, 0.1], np.float32), view, view)
        for box in boxes
    ]
    return PictureAnswer("a.png", pixels.shape[1], pixels.shape[0], tuple(faces), pixels)


def flat(width: int, height: int, value: int, channels: int = 3) -> np.ndarray:
    return np.full((height, width, channels), value, np.uint8)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_box_and_letters_stand_out_on_any_ground(value: int) -> None:
    drawn = np.asarray(annotated(answer(flat(800, 600, value), Box(100, 100, 200, 240)), CLASSES, ALIGN).convert("L"))
    assert drawn.shape == (600, 800)
    # Across each side of the box runs light within dark.
    for line in (drawn[220, 90:115], drawn[90:115, 200], drawn[220, 285:310], drawn[325:350, 200]):
        assert line.max() > 240 and line.min() < 40
    # The plate lies to the right of it; within the box nothing is covered.
    plate = drawn[100:180, 310:560]
    assert plate.max() > 240 and np.median(plate) < 75
    assert (drawn[110:330, 112:288] == value).all()


def test_a_small_picture_is_enlarged_and_a_huge_one_reduced() -> None:
    small = annotated(answer(flat(48, 48, 200, 1), Box(4, 3, 40, 44)), CLASSES, ALIGN)
    assert small.width == 576 and small.height > 576  # a plate has no place beside such a face: it goes below
    huge = annotated(answer(flat(4000, 1000, 200), Box(100, 100, 500, 500)), CLASSES, ALIGN)
    assert huge.size == (1600, 400)
    thin = annotated(answer(flat(2, 900, 200), Box(0, 0, 2, 3)), CLASSES, ALIGN)
    assert thin.height > 900 and thin.width > 100


def test_what_has_no_box_stands_below() -> None:
    picture = flat(640, 480, 90)
    whole, taken, explained = (
        annotated(answer(picture, None), CLASSES, ALIGN),
        annotated(answer(picture, None), CLASSES, Cutting()),
        annotated(answer(picture, None, explained=True), CLASSES, ALIGN),
    )
    assert whole.height > taken.height > 480  # a line says that no face was found
    assert explained.height > whole.height + 100
    for drawn in (whole, taken, explained):
        assert (np.asarray(drawn)[:480] == 90).all()


def test_many_faces_have_their_plates_apart() -> None:
    boxes = [Box(60 + 190 * (place % 4), 40 + 300 * (place // 4), 90, 110) for place in range(8)]
    drawn = np.asarray(annotated(answer(flat(900, 640, 255), *boxes), CLASSES, ALIGN).convert("RGB"), np.int16)
    # Bars of the top expression are in a colour that nothing else has: eight of them.
    orange = (drawn[:, :, 0] > 240) & (drawn[:, :, 2] < 40)
    rows, columns = np.nonzero(orange)
    corners = {(row // 60, column // 60) for row, column in zip(rows.tolist(), columns.tolist(), strict=True)}
    assert len(corners) >= 8
    for box in boxes:
        face = drawn[box.top + 25 : box.top + box.height - 6, box.left + 25 : box.left + box.width - 6]
        assert (face == 255).all()


def test_files_of_one_name_have_places_of_their_own_and_nothing_that_is_read_is_written(tmp_path: Path) -> None:
    album = Album(tmp_path / "seen", CLASSES, ALIGN)
    named = [("x/a.png", PurePath("a.png")), ("y/a.gif", PurePath("a.gif")), ("z", PurePath("b/c.JPG"))]
    album.plan((name, below, None) for name, below in named)
    for name, _ in named:
        album.write(PictureAnswer(name, 60, 40, answer(flat(60, 40, 9), None).faces, flat(60, 40, 9)))
    places = {name: path.relative_to(tmp_path / "seen").as_posix() for name, path in album.written.items()}
    assert places == {"x/a.png": "a.png", "y/a.gif": "a-2.png", "z": "b/c.jpg"}
    for path, kind in zip(album.written.values(), ("PNG", "PNG", "JPEG"), strict=True):
        with Image.open(path) as picture:
            assert picture.format == kind
    assert album.renamed == {"y/a.gif": tmp_path / "seen/a-2.png"}
    own = Album(tmp_path / "seen", CLASSES, ALIGN)
    with pytest.raises(UsageError, match=r"would overwrite .*a\.png, which is read: name another folder$"):
        own.plan([("a.png", PurePath("a.png"), tmp_path / "seen/b/../a.png")])
    (tmp_path / "file").write_text("")
    blocked = Album(tmp_path / "file", CLASSES, ALIGN)
    blocked.plan([("a.png", PurePath("a.png"), None)])
    with pytest.raises(UsageError, match=r"cannot be written: .*; name another folder$"):
        blocked.write(answer(flat(60, 40, 9), None))


def test_a_file_that_was_not_drawn_here_is_never_replaced(tmp_path: Path) -> None:
    mine, theirs = flat(60, 40, 9), b"not a picture"
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(theirs)
    (tmp_path / "c.png").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    before = {path.name: path.read_bytes() for path in (tmp_path / "a.png", tmp_path / "b.jpg")}
    named = [(name, PurePath(name), tmp_path / name) for name in ("a.webp", "b.jpeg", "b.jpg", "c.gif", "loop.jpg")]
    (tmp_path / "b.jpg").rename(tmp_path / "kept")
    (tmp_path / "b.jpg").symlink_to("kept")
    for _ in range(2):  # the second time, what was drawn the first time is replaced
        album = Album(tmp_path, CLASSES, ALIGN)
        album.plan((name, below, None) for name, below, _ in named)
        for name, *_ in named:
            album.write(PictureAnswer(name, 60, 40, answer(mine, None).faces, mine))
        written = {name: path.name for name, path in album.written.items()}
        assert list(written.values()) == ["a-2.png", "b.jpeg", "b-2.jpg", "c-2.png", "loop-2.jpg"]
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert (tmp_path / "c.png").is_symlink() and len(list(tmp_path.iterdir())) == 10
    # A link to itself is read by nobody, and a link to what is drawn here is what it leads to.
    Album(tmp_path, CLASSES, ALIGN).plan([named[-1]])
    (tmp_path / "other.png").hardlink_to(tmp_path / "a-2.png")
    with pytest.raises(UsageError, match=r"would overwrite .*a-2\.png, which is read"):
        Album(tmp_path, CLASSES, ALIGN).plan([("other.png", PurePath("a-2.png"), tmp_path / "other.png")])
