"""A contact sheet: some faces of every split and class on one picture, for eyes to see what no count tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ferbench.data.split_cache import StoredSplit
from ferbench.quantities import counted, whole

FACES = 12
SIDE = 72

#: A grey that lets both dark and light faces stand out, and does not tint coloured ones.
_GROUND = (222, 222, 222)
_INK = (24, 24, 24)
_FAINT = (96, 96, 96)
_MARGIN, _GAP = 16, 4
_TITLE, _TEXT = 24, 15
_HEADING = 3 * _TITLE - _GAP


@dataclass(frozen=True, slots=True)
class _Row:
    """Faces of one class: what is written on the left, and which samples are shown."""

    label: str
    count: int
    indices: tuple[int, ...]


def contact_sheet(name: str, splits: Mapping[str, StoredSplit], classes: Sequence[str]) -> Image.Image:
    """Draw the sheet.

    Of each class the different faces with the smallest content digests are shown: the same ones for every copy of the
    data, however its files are sorted.

    Parameters
    ----------
    name : written above all
    splits : by title, in the order drawn
    classes : in the order drawn; one without a sample has an empty row

    Returns
    -------
    RGB, about 1,000 pixels wide, a row of at most 12 faces of 72 x 72 for every split and class; a face of other
    proportions is fitted into that square
    """
    rows = {title: _rows(stored, classes) for title, stored in splits.items()}
    sheet = _Sheet([row.label for each in rows.values() for row in each], sum(map(len, rows.values())), len(rows))
    sheet.heading(name, f"up to {FACES} different pictures of each class")
    for title, stored in splits.items():
        sheet.heading(title, counted(len(stored.ids), "picture"))
        for row in rows[title]:
            sheet.row(row, _faces(stored, row.indices))
    return sheet.image


class _Sheet:
    """A picture that is filled from the top."""

    def __init__(self, labels: Sequence[str], rows: int, splits: int) -> None:
        self._title, self._text = ImageFont.load_default(_TITLE), ImageFont.load_default(_TEXT)
        widest = max((self._text.getlength(label) for label in (*labels, "123,456")), default=0)
        self._left = 2 * _MARGIN + int(widest)
        width = self._left + FACES * (SIDE + _GAP) - _GAP + _MARGIN
        height = _MARGIN + (splits + 1) * _HEADING + rows * (SIDE + _GAP)
        self.image = Image.new("RGB", (width, height), _GROUND)
        self._draw = ImageDraw.Draw(self.image)
        self._top = 0

    def heading(self, text: str, detail: str) -> None:
        """A title, and a smaller line of detail to its right."""
        base = self._top + 2 * _TITLE
        room = self.image.width - 2 * _MARGIN - _TITLE - self._text.getlength(detail)
        text = _shortened(text, room, self._title.getlength)
        self._draw.text((_MARGIN, base), text, _INK, self._title, anchor="ls")
        right = _MARGIN + int(self._title.getlength(text)) + _TITLE
        self._draw.text((right, base), detail, _FAINT, self._text, anchor="ls")
        self._top += _HEADING

    def row(self, row: _Row, faces: Iterator[Image.Image]) -> None:
        """A class: its name and count, then its faces."""
        middle = self._top + SIDE // 2
        self._draw.text((_MARGIN, middle - 2), row.label, _INK, self._text, anchor="ls")
        self._draw.text((_MARGIN, middle + _TEXT + 2), whole(row.count), _FAINT, self._text, anchor="ls")
        for place, face in enumerate(faces):
            left = self._left + place * (SIDE + _GAP) + (SIDE - face.width) // 2
            self.image.paste(face, (left, self._top + (SIDE - face.height) // 2))
        self._top += SIDE + _GAP


def _shortened(text: str, room: float, length: Callable[[str], float]) -> str:
    """A text that fits; of a longer one, such as a path, the end is kept."""
    start = next((start for start in range(len(text)) if length("…" * (start > 0) + text[start:]) <= room), len(text))
    return "…" * (start > 0) + text[start:]


def _rows(stored: StoredSplit, classes: Sequence[str]) -> list[_Row]:
    in_order = sorted(range(len(stored.ids)), key=lambda index: (stored.digests[index], stored.ids[index]))
    # Further copies of a picture would show nothing new.
    in_order = list({stored.digests[index]: index for index in reversed(in_order)}.values())[::-1]
    names = stored.class_names
    if names is None:
        return [_Row("no label", len(stored.ids), tuple(in_order[:FACES]))]
    counts = Counter(names)
    return [
        _Row(name, counts[name], tuple([index for index in in_order if names[index] == name][:FACES]))
        for name in classes
    ]


def _faces(stored: StoredSplit, indices: Sequence[int]) -> Iterator[Image.Image]:
    images = stored.images(np.array(indices, dtype=np.int64)) if indices else []
    return (_fitted(image) for image in images)


def _fitted(pixels: NDArray[np.uint8]) -> Image.Image:
    """A face as large as its square takes it, in its own proportions."""
    face = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    scale = SIDE / max(face.size)
    size = (max(1, round(face.width * scale)), max(1, round(face.height * scale)))
    return face.resize(size, Image.Resampling.BICUBIC)
