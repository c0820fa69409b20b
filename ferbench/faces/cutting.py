"""Samples as a network is shown them where its recipe has pictures cut to their faces.

What the samples are stays what it was: their board, ids, labels and order are those of whole pictures. Where no face is
found, the picture stays whole, and is counted; it is never left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from ferbench.components import FaceDetector
from ferbench.data.pictures import Pictures
from ferbench.data.roles import LabelledImages
from ferbench.errors import DetectorMissing, UnknownName
from ferbench.faces.geometry import cut, whole
from ferbench.faces.kept import FaceFiles, kept_face
from ferbench.fingerprints import fingerprint
from ferbench.recipes import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray


class CutPictures(Pictures):
    """Pictures cut to their faces when they are asked for, all of one size.

    Parameters
    ----------
    faces : float32 [n, kept.COLUMNS], of each picture
    side : pixels a side of what comes out; by default of the longest side among the pictures, at most `image_size`
    """

    def __init__(
        self, pictures: Pictures, faces: NDArray[np.float32], mode: str, image_size: int, side: int | None = None
    ) -> None:
        self._pictures = pictures
        self._faces = faces
        self._mode = mode
        self._image_size = image_size
        # Small pictures stay small, as whole ones do: they are enlarged batch by batch.
        self._side = side or min(image_size, int(pictures.shapes[:, :2].max()))
        shape = (self._side, self._side, int(pictures.shapes[:, 2].max()))
        self._shapes = np.tile(np.array(shape, dtype=np.int64), (len(pictures), 1))

    @property
    def stored_order(self) -> NDArray[np.int64]:
        return self._pictures.stored_order

    def __len__(self) -> int:
        return len(self._pictures)

    @overload
    def __getitem__(self, place: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, place: slice) -> CutPictures: ...
    def __getitem__(self, place: int | slice) -> NDArray[np.uint8] | CutPictures:
        if isinstance(place, slice):
            return CutPictures(self._pictures[place], self._faces[place], self._mode, self._image_size, side=self._side)
        image, face = self._pictures[place], kept_face(self._faces[place])
        shown = whole(image, self._side) if face is None else cut(image, face, self._mode, self._side)
        return np.broadcast_to(shown, tuple(self._shapes[place]))

    def gathered(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.empty((len(places), *self._shapes[0]), dtype=np.uint8)
        for row, place in enumerate(places.tolist()):
            out[row] = self[place]
        return out


class FaceCuts:
    """What recipes make of samples' pictures, for one process.

    find : the face detector of a name
    """

    def __init__(self, find: Callable[[str], FaceDetector], cache_folder: Path) -> None:
        self._find = find
        self._files = FaceFiles(cache_folder)
        self._found: dict[tuple[str, str], NDArray[np.float32]] = {}

    def check(self, recipe: Recipe, found_by: str) -> None:
        """That a stage's pictures are cut here as they were where it was trained.

        found_by : identity of the detector that its faces were found by

        Raises
        ------
        DetectorMissing : the detector is not here, or is another by its version or its library
        """
        if recipe.faces == "none":
            return
        try:
            here = self._find(recipe.face_detector).identity
        except UnknownName as error:
            raise DetectorMissing(found_by, f"no plugin provides {recipe.face_detector!r}") from error
        if here != found_by:
            raise DetectorMissing(found_by, f"here is {here}")

    def shown(self, samples: LabelledImages, recipe: Recipe) -> LabelledImages:
        """The samples with the pictures that a stage of this resolved recipe looks at.

        `content` of cut ones names how they were cut as well; everything else stays. Raises as `faces` does.
        """
        if recipe.faces == "none":
            return samples
        images = CutPictures(samples.images, self.faces(samples, recipe), recipe.faces, recipe.image_size)
        named = fingerprint([samples.content, recipe.faces, self._find(recipe.face_detector).identity])
        return dataclasses.replace(samples, images=images, content=named)

    def without_face(self, samples: LabelledImages, recipe: Recipe) -> int:
        """How many pictures stay whole since no face is found in them. Raises as `faces` does."""
        return int(np.isnan(self.faces(samples, recipe)[:, 0]).sum())

    def faces(
        self,
        samples: LabelledImages,
        recipe: Recipe,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> NDArray[np.float32]:
        """The face of each picture, float32 [n, kept.COLUMNS]; parameters and errors as of FaceFiles.of."""
        detector = self._find(recipe.face_detector)
        place = (samples.content, detector.identity)
        if place not in self._found:
            self._found[place] = self._files.of(samples.images, samples.pictures, detector, on_progress)
        return self._found[place]


def faces_note(reported: Sequence[tuple[int, int]], trained: Sequence[tuple[int, int]]) -> str | None:
    """What a row says of pictures that show no face; None where all of them do.

    reported, trained : of each set whose pictures were cut, those without a face, and all of them
    """
    told = []
    for what, counts in (("reported pictures", reported), ("trained", trained)):
        without, count = (sum(numbers) for numbers in zip(*counts, strict=True)) if counts else (0, 0)
        if count:
            told.append((without, f"{without:,} of {count:,} {what}"))
    if not any(without for without, _ in told):
        return None
    return f"no face found in {' and '.join(text for _, text in told)} (kept whole)"
