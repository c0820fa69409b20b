"""The frozen records of what `ferbench predict` says: who answers, and what of each face of each picture."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from ferbench.records import Board

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Answerer:
    """A row that answers, with what a reader of its answers must know.

    seeds : of the runs whose answers are averaged
    members : networks of an ensemble, over all of its runs; 0 for a row that is none
    temperature : at which the mean of the runs answers, fitted on what it says of select; None where there is none
    synthetic : whether no real face was trained on, or synthetic ones too
    """

    row: str
    backbone: str
    strategy: str
    seeds: tuple[int, ...]
    board: Board
    label_set: str
    classes: tuple[str, ...]
    temperature: float | None
    members: int = 0
    synthetic: Literal["none", "partly", "alone"] = "none"


@dataclass(frozen=True, slots=True)
class Cutting:
    """How pictures are cut before they are answered.

    mode : `none` takes them whole
    detector : what finds the faces; None where none are looked for
    why : in words, where nobody asked for it
    """

    mode: Literal["none", "crop", "align"] = "none"
    detector: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in a picture, in pixels; it may reach over the edge."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class FaceAnswer:
    """What a face shows.

    box : None where the picture was taken whole
    score : the detector's own, of its own scale
    probabilities : float32 [C], in the order of the answerer's classes
    view : uint8 [H, W, C], what the networks were shown; None unless it is to be explained
    overlay : uint8 [H, W, 3], the view under a map of what in it speaks for the top expression; None likewise
    speaks : whether anything does
    """

    box: Box | None
    score: float | None
    probabilities: NDArray[np.float32] = field(compare=False, repr=False)
    view: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)
    overlay: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)
    speaks: bool = True


@dataclass(frozen=True, slots=True)
class PictureAnswer:
    """A picture with its faces, row by row from left to right; one face without a box where it was taken whole.

    width, height : in pixels, as it is seen: turned as its file says
    pixels : uint8 [H, W, C], reduced where it is huge; None unless it is to be drawn
    """

    name: str
    width: int
    height: int
    faces: tuple[FaceAnswer, ...]
    pixels: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)

    @property
    def whole(self) -> bool:
        """Whether it was taken whole."""
        return any(face.box is None for face in self.faces)


@dataclass(frozen=True, slots=True)
class PictureFault:
    """A picture that could not be read; `line` says why and what to do."""

    name: str
    line: str


def without_pixels(answer: PictureAnswer | PictureFault) -> PictureAnswer | PictureFault:
    """What can be kept of many pictures: their answers."""
    if isinstance(answer, PictureFault):
        return answer
    faces = tuple(replace(face, view=None, overlay=None) for face in answer.faces)
    return replace(answer, faces=faces, pixels=None)
