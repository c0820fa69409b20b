"""Contact sheets, looked at pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ferbench.data.split_cache import StoredSplit
from ferbench.publish.contact_sheet import FACES, SIDE, contact_sheet

GREY, GREEN, BLUE = (90, 90, 90), (0, 200, 0), (0, 0, 200)


def flat(colour: tuple[int, int, int], height: int, width: int) -> np.ndarray:
    """A picture of one colour; a grey one has one channel."""
    pixels = np.full((height, width, 3), colour, np.uint8)
    return pixels[:, :, :1] if colour == GREY else pixels


def split(images: list[np.ndarray], labels: list[str] | None, digests: list[str] | None = None) -> StoredSplit:
    names = tuple(str(number) for number in range(len(images)))
    return StoredSplit(
        pixels=np.concatenate([image.ravel() for image in images]),
        shapes=np.array([image.shape for image in images], np.int64),
        class_names=None if labels is None else tuple(labels),
        ids=names,
        groups=None,
        digests=names if digests is None else tuple(digests),
        pictures=names,
        warnings=(),
    )


def boxes(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int] | None:
    """The box around all pixels of exactly this colour."""
    return Image.fromarray((np.asarray(sheet) == colour).all(axis=2)).getbbox()


def test_faces_of_any_size_keep_their_proportions_in_the_row_of_their_class() -> None:
    stored = split([flat(GREEN, 10, 40), flat(BLUE, 40, 10), flat(GREY, 7, 7)], ["sad", "happy", "happy"])
    sheet = contact_sheet("film", {"Train (train)": stored}, ("happy", "fear", "sad"))
    green, blue = boxes(sheet, GREEN), boxes(sheet, BLUE)
    assert green and blue
    assert (green[2] - green[0], green[3] - green[1]) == (SIDE, SIDE // 4)
    assert (blue[2] - blue[0], blue[3] - blue[1]) == (SIDE // 4, SIDE)
    # Happy stands above sad with the empty row of fear between; blue is before grey, as the digests say.
    across = (blue[0] + blue[2]) // 2 + SIDE
    assert all(sheet.getpixel((across, y)) == GREY for y in (blue[1], blue[3] - 1))
    assert green[1] - blue[3] > SIDE


def test_the_smallest_digests_are_shown_whatever_the_order_and_each_picture_once() -> None:
    shades = [flat((0, 10 * number, 0), 8, 8) for number in range(FACES + 6)]
    digests = [f"{number:03}" for number in range(len(shades))]
    labels = ["sad"] * len(shades)
    sheet = contact_sheet("film", {"all": split(shades, labels, digests)}, ("sad",))
    again = contact_sheet("film", {"all": split(shades[::-1], labels, digests[::-1])}, ("sad",))
    assert sheet.tobytes() == again.tobytes()
    assert boxes(sheet, (0, 10 * (FACES - 1), 0)) and not boxes(sheet, (0, 10 * FACES, 0))
    copies = contact_sheet("film", {"all": split([shades[3]] * 3, ["sad"] * 3, ["same"] * 3)}, ("sad",))
    box = boxes(copies, (0, 30, 0))
    assert box and box[2] - box[0] == SIDE


def test_a_split_without_labels_has_a_row() -> None:
    sheet = contact_sheet("film", {"Test": split([flat(GREEN, 8, 8)], None)}, ("happy", "sad"))
    assert boxes(sheet, GREEN)
    labelled = contact_sheet("film", {"Test": split([flat(GREEN, 8, 8)], ["sad"])}, ("happy", "sad"))
    assert labelled.height - sheet.height > SIDE


@pytest.mark.parametrize("name", ["film", "folder:/" + "a-long-folder/" * 30])
def test_texts_stay_on_the_sheet(name: str) -> None:
    sheet = contact_sheet(name, {"Train": split([flat(GREEN, 8, 8)], ["sad"])}, ("sad", "a class with a long name"))
    edge = np.asarray(sheet)[:, -4:]
    assert (edge == edge[0, 0]).all()
    heading = np.asarray(sheet)[: SIDE // 2 + 20]
    assert (heading < 60).any(), "the name is written dark on light"
