"""Copies of pictures with a box round each face and a small list of bars beside it: what the face shows.

Letters and bars stand on plates of their own and every line is light within dark, so that both are legible on any
picture. Small pictures are enlarged first, and huge ones reduced.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from ferbench.errors import UsageError
from ferbench.pages.recognition import Cutting, FaceAnswer, PictureAnswer
from ferbench.publish.recognition import TOP, top_expressions
from ferbench.quantities import percent
from ferbench.whole_files import whole_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The longer side of what is written, in pixels.
_SMALLEST, _LARGEST = 560, 1600

#: Letters: never smaller, and at most this part of the picture's longer side.
_SMALLEST_TEXT, _LARGEST_TEXT = 13, 1 / 32

#: A face's letters are this part of its height, if that is within the above.
_TEXT_OF_FACE = 1 / 10

#: With more faces than that each has its top expression alone, since plates would cover their neighbours.
_FACES_AT_LENGTH = 6

#: Pixels a side of an explanation, and where there are more of them than two.
_TILE, _SMALL_TILE = 224, 128

#: Where a plate would hide so much of faces and other plates, it goes below the picture.
_HIDDEN = 1 / 5

_DARK, _LIGHT, _FAINT = (18, 18, 20), (255, 255, 255), (176, 176, 182)
_ACCENT = (255, 196, 0)
_TRACK = (72, 72, 78)
_OPACITY = 216

_JPEG = (".jpg", ".jpeg")

#: What files that are drawn here are known by: a text in PNG files, a comment in JPEG files.
_MARK, _KEYWORD = "ferbench predict", "Software"


@dataclass(slots=True)
class Album:
    """The folder that annotated pictures are written to. Of the files there, only those that were drawn here before are
    replaced.

    written : where each lies, by the picture's name
    renamed : those of them that are numbered, since their own name was taken
    """

    folder: Path
    classes: Sequence[str]
    cutting: Cutting
    top: int = TOP
    written: dict[str, Path] = field(default_factory=dict)
    renamed: dict[str, Path] = field(default_factory=dict)
    _places: dict[str, Path] = field(default_factory=dict)
    _numbered: set[str] = field(default_factory=set)

    def plan(self, pictures: Iterable[tuple[str, PurePath, Path | None]]) -> None:
        """Give each picture a file of its own.

        Parameters
        ----------
        pictures : of each the name, its path below what was named, and the file it is read from

        Raises
        ------
        UsageError : an annotated picture would take the place of one that is read
        """
        named = list(pictures)
        read = {_identity(file) for _, _, file in named if file is not None} - {None}
        taken: set[Path] = set()
        for name, below, _ in named:
            suffix = below.suffix.lower() if below.suffix.lower() in _JPEG else ".png"
            place, number = self.folder / below.with_suffix(suffix), 2
            if _identity(place) in read:
                raise UsageError(
                    f"--annotated {self.folder} would overwrite {place}, which is read: name another folder"
                )
            while place in taken or _identity(place) in read or not _is_free(place):
                place = self.folder / below.with_name(f"{below.stem}-{number}{suffix}")
                number += 1
            if number > 2:
                self._numbered.add(name)
            taken.add(place)
            self._places[name] = place

    def write(self, answer: PictureAnswer) -> None:
        """Draw a picture and write it.

        Raises
        ------
        UsageError : it cannot be written there
        """
        place = self._places[answer.name]
        drawn = annotated(answer, self.classes, self.cutting, self.top)
        try:
            with whole_file(place, for_people=True, durable=False) as file:
                if place.suffix in _JPEG:
                    drawn.save(file, "JPEG", quality=92, comment=_MARK)
                else:
                    text = PngImagePlugin.PngInfo()
                    text.add_text(_KEYWORD, _MARK)
                    drawn.save(file, "PNG", pnginfo=text)
        except OSError as error:
            raise UsageError(
                f"--annotated {self.folder}: {place} cannot be written: {error.strerror or error}; name another folder"
            ) from error
        self.written[answer.name] = place
        if answer.name in self._numbered:
            self.renamed[answer.name] = place


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file whatever path leads to it, as os.path.samefile does; None for one that is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_free(place: Path) -> bool:
    """Whether nothing lies there but a picture that was drawn here."""
    if not os.path.lexists(place):
        return True
    if place.is_symlink():
        return False
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(place, formats=("PNG", "JPEG")) as picture:
            return picture.info.get(_KEYWORD) == _MARK or picture.info.get("comment") == _MARK.encode()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def annotated(answer: PictureAnswer, classes: Sequence[str], cutting: Cutting, top: int = TOP) -> Image.Image:
    """The picture, RGB, with what was said of it.

    A face has a box, and its top expressions on a plate beside it. A picture that was taken whole has them below it,
    and so has each explanation: what the networks were shown, and the same under a map of what in it speaks for the top
    expression.

    Parameters
    ----------
    answer : with its pixels
    top : expressions of each face; where there are more than six faces, the first alone
    """
    if answer.pixels is None:
        raise ValueError("a picture is drawn from its pixels: ask for them with drawn=True")
    picture = _sized(_picture(answer.pixels))
    scale = picture.width / answer.width, picture.height / answer.height
    rows = top if len(answer.faces) <= _FACES_AT_LENGTH else 1
    boxed = [
        (number, face, _scaled(face, *scale)) for number, face in enumerate(answer.faces, 1) if face.box is not None
    ]
    plates = [
        _Plate(top_expressions(face, classes, rows), _text_size(box, picture), str(number) if len(boxed) > 1 else "")
        for number, face, box in boxed
    ]
    below = [plate.image(opaque=True) for plate in _draw_faces(picture, [box for _, _, box in boxed], plates)]
    size = max(_SMALLEST_TEXT, min(18, round(max(picture.size) * _LARGEST_TEXT)))
    for face in answer.faces:
        if face.box is None:
            title = "" if cutting.mode == "none" else "no face found, whole picture"
            below.append(_Plate(top_expressions(face, classes, top), size, title).image(opaque=True))
    side = _TILE if len(answer.faces) <= 2 else _SMALL_TILE
    tiles = [
        _explanation(face, classes, str(number) if len(answer.faces) > 1 else "", size, side)
        for number, face in enumerate(answer.faces, 1)
        if face.overlay is not None
    ]
    if len(answer.faces) > _FACES_AT_LENGTH:
        below, tiles = _in_columns(below, picture.width), _in_columns(tiles, picture.width)
    return _with_below(picture, [*below, *tiles]) if below or tiles else picture


@dataclass(frozen=True, slots=True)
class _Rectangle:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Rectangle) -> float:
        """In square pixels."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across * down if across > 0 and down > 0 else 0.0


@dataclass(frozen=True, slots=True)
class _Plate:
    """Expressions with bars.

    rows : of each the name and the probability
    size : of the letters
    title : above them; may be empty
    """

    rows: Sequence[tuple[str, float]]
    size: int
    title: str = ""

    @property
    def measures(self) -> tuple[int, int]:
        """Width and height."""
        pad, line = self._pad, self._line
        inner = self._names + self._bar + self._figures + 2 * self._gap
        if self.title:
            inner = max(inner, math.ceil(_font(self.size).getlength(self.title)))
        return inner + 2 * pad, (len(self.rows) + bool(self.title)) * line + 2 * pad - (line - self.size)

    @property
    def _pad(self) -> int:
        return max(5, round(0.5 * self.size))

    @property
    def _line(self) -> int:
        return round(1.4 * self.size)

    @property
    def _gap(self) -> int:
        return max(4, round(0.5 * self.size))

    @property
    def _names(self) -> int:
        return math.ceil(max(_font(self.size).getlength(name) for name, _ in self.rows))

    @property
    def _bar(self) -> int:
        return 5 * self.size

    @property
    def _figures(self) -> int:
        return math.ceil(_font(self.size).getlength("100 %"))

    def image(self, *, opaque: bool = False) -> Image.Image:
        """RGBA."""
        width, height = self.measures
        plate = Image.new("RGBA", (width, height), (*_DARK, 255 if opaque else _OPACITY))
        draw = ImageDraw.Draw(plate)
        font, base = _font(self.size), self._pad + round(0.86 * self.size)
        if self.title:
            draw.text((self._pad, base), self.title, _FAINT, font, anchor="ls")
            base += self._line
        for place, (name, probability) in enumerate(self.rows):
            ink = _LIGHT if place == 0 else _FAINT
            left = self._pad
            draw.text((left, base), name, ink, font, anchor="ls")
            left += self._names + self._gap
            top, bottom = base - round(0.62 * self.size), base - round(0.08 * self.size)
            draw.rectangle((left, top, left + self._bar, bottom), _TRACK)
            filled = round(probability * self._bar)
            if filled:
                draw.rectangle((left, top, left + filled, bottom), _ACCENT if place == 0 else _FAINT)
            draw.text((width - self._pad, base), f"{percent(probability, 0)} %", ink, font, anchor="rs")
            base += self._line
        return plate


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _sized(picture: Image.Image) -> Image.Image:
    """Neither too small for letters nor needlessly large."""
    longest = max(picture.size)
    if _SMALLEST <= longest <= _LARGEST:
        return picture
    factor = math.ceil(_SMALLEST / longest) if longest < _SMALLEST else _LARGEST / longest
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _scaled(face: FaceAnswer, across: float, down: float) -> _Rectangle:
    box = face.box
    assert box is not None
    right, bottom = box.left + box.width, box.top + box.height
    return _Rectangle(box.left * across, box.top * down, right * across, bottom * down)


def _text_size(box: _Rectangle, picture: Image.Image) -> int:
    most = max(_SMALLEST_TEXT, round(max(picture.size) * _LARGEST_TEXT))
    return min(most, max(_SMALLEST_TEXT, round((box.bottom - box.top) * _TEXT_OF_FACE)))


def _draw_faces(picture: Image.Image, boxes: Sequence[_Rectangle], plates: Sequence[_Plate]) -> list[_Plate]:
    """Draw boxes and the plates that have a place; gives the others, in their order."""
    draw = ImageDraw.Draw(picture)
    stroke = max(2, round(max(picture.size) / 400))
    for box in boxes:
        corners = (box.left, box.top, box.right, box.bottom)
        for grown, colour, line in ((stroke, _DARK, 3 * stroke), (0, _LIGHT, stroke)):
            draw.rectangle(
                (corners[0] - grown, corners[1] - grown, corners[2] + grown, corners[3] + grown), None, colour, line
            )
    placed: list[_Rectangle] = []
    left_over: list[int] = []
    # Large faces first: theirs are the large plates, for which there is least room.
    for index in sorted(range(len(boxes)), key=lambda place: boxes[place].top - boxes[place].bottom):
        plate, others = plates[index], [box for place, box in enumerate(boxes) if place != index]
        spot = _spot(plate.measures, boxes[index], others, placed, picture.size)
        if spot is None:
            left_over.append(index)
            continue
        placed.append(spot)
        image = plate.image()
        picture.paste(image, (round(spot.left), round(spot.top)), image)
    for box, plate in zip(boxes, plates, strict=True):
        if plate.title:
            _draw_number(draw, box, plate)
    return [plates[index] for index in sorted(left_over)]


def _draw_number(draw: ImageDraw.ImageDraw, box: _Rectangle, plate: _Plate) -> None:
    """The plate's number in a box's upper left corner."""
    font, pad = _font(plate.size), max(3, plate.size // 4)
    right = box.left + font.getlength(plate.title) + 2 * pad
    draw.rectangle((box.left, box.top, right, box.top + plate.size + pad), _DARK)
    draw.text((box.left + pad, box.top + round(0.86 * plate.size) + pad / 2), plate.title, _LIGHT, font, anchor="ls")


def _spot(
    size: tuple[int, int],
    own: _Rectangle,
    others: Sequence[_Rectangle],
    placed: Sequence[_Rectangle],
    picture: tuple[int, int],
) -> _Rectangle | None:
    """Beside, below or above a face, where a plate covers least of the faces and of other plates; None where that is
    too much."""
    width, height = size
    gap = max(6, picture[0] // 200)
    middle = (own.left + own.right - width) / 2
    wished = [
        *((own.right + gap, own.top), (own.left - gap - width, own.top)),
        *((own.right + gap, own.bottom - height), (own.left - gap - width, own.bottom - height)),
        *((middle, own.bottom + gap), (middle, own.top - gap - height)),
        *((own.left, own.bottom - height), (own.right - width, own.top)),
    ]

    def cost(spot: _Rectangle) -> float:
        hidden = own.overlap(spot) + 2 * sum(each.overlap(spot) for each in others)
        return hidden + 4 * sum(each.overlap(spot) for each in placed)

    corners = [(min(max(left, 0), picture[0] - width), min(max(top, 0), picture[1] - height)) for left, top in wished]
    best = min((_Rectangle(left, top, left + width, top + height) for left, top in corners), key=cost)
    fits = width <= picture[0] and height <= picture[1]
    return best if fits and cost(best) <= _HIDDEN * width * height else None


def _explanation(face: FaceAnswer, classes: Sequence[str], number: str, size: int, side: int) -> Image.Image:
    """What the networks were shown, and where they looked, side by side under a title."""
    assert face.view is not None and face.overlay is not None
    (name, _) = top_expressions(face, classes, 1)[0]
    pad, font = max(5, size // 2), _font(size)
    title = f"what speaks for {name}" if face.speaks else f"nothing in it speaks for {name}"
    title = f"{number}: {title}" if number else title
    parts = [_tile(face.view, side), _tile(face.overlay, side)]
    width = max(sum(part.width for part in parts) + 3 * pad, math.ceil(font.getlength(title)) + 2 * pad)
    height = max(part.height for part in parts)
    tile = Image.new("RGB", (width, height + round(1.4 * size) + 2 * pad), _DARK)
    ImageDraw.Draw(tile).text((pad, pad + round(0.86 * size)), title, _LIGHT, font, anchor="ls")
    left = pad
    for part in parts:
        tile.paste(part, (left, pad + round(1.4 * size)))
        left += part.width + pad
    return tile


def _tile(pixels: NDArray[np.uint8], side: int) -> Image.Image:
    picture = _picture(pixels)
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _in_columns(parts: Sequence[Image.Image], width: int) -> list[Image.Image]:
    """The same parts in columns over all of a width, as one."""
    if not parts:
        return []
    cell, line = max(part.width for part in parts), max(part.height for part in parts)
    columns = max(1, min(len(parts), width // cell))
    whole = Image.new("RGB", (max(width, cell), line * math.ceil(len(parts) / columns)), _DARK)
    for place, part in enumerate(parts):
        whole.paste(part.convert("RGB"), (place % columns * whole.width // columns, place // columns * line))
    return [whole]


def _with_below(picture: Image.Image, below: Sequence[Image.Image]) -> Image.Image:
    """The picture above some parts, which go into as many lines as they need."""
    width = max([picture.width, *(part.width for part in below)])
    places: list[tuple[int, int]] = []
    left, top, line = 0, picture.height, 0
    for part in below:
        if left and left + part.width > width:
            left, top, line = 0, top + line, 0
        places.append((left, top))
        left, line = left + part.width, max(line, part.height)
    whole = Image.new("RGB", (width, top + line), _DARK)
    whole.paste(picture, ((width - picture.width) // 2, 0))
    for part, place in zip(below, places, strict=True):
        whole.paste(part.convert("RGB"), place)
    return whole
