"""The face of each picture of a set, looked for once and kept below the cache folder, in `faces/KEY.npy`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ferbench.components import Face, FaceDetector, Point
from ferbench.data.pictures import Pictures
from ferbench.data.split_cache import LARGEST_SIDE
from ferbench.errors import DatasetError
from ferbench.faces.finding import found_faces, main_face
from ferbench.fingerprints import PREPROCESSING_VERSION, fingerprint
from ferbench.whole_files import whole_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Of a face: its box, its score, and five points; points that are not there, and all of a face, are NaN. Where these
#: come to mean something else, or another of several faces is meant, PREPROCESSING_VERSION rises, so that stages and
#: all that is kept of cut pictures get other names too.
COLUMNS = 15

#: Pictures after which progress is told.
_TOLD_EVERY = 32


class FaceFiles:
    """Faces of sets of pictures by what finds them."""

    def __init__(self, cache_folder: Path) -> None:
        self.folder = cache_folder / "faces"

    def of(
        self,
        images: Pictures,
        pictures: tuple[str, ...],
        detector: FaceDetector,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> NDArray[np.float32]:
        """The face that each picture is of, float32 [n, COLUMNS], in their order; found now where it is not there.

        Parameters
        ----------
        pictures : hash of each one's pixels
        on_progress : called with how many pictures are done, and those there are

        Raises
        ------
        PluginError : the detector cannot work or breaks its contract
        DatasetError : the file cannot be written
        """
        key = fingerprint([PREPROCESSING_VERSION, LARGEST_SIDE, detector.identity, list(pictures)])
        path = self.folder / f"{key}.npy"
        rows = _read(path, len(images))
        if rows is None:
            rows = np.full((len(images), COLUMNS), np.nan, np.float32)
            for done, index in enumerate(images.stored_order.tolist(), 1):
                image = images[index]
                if face := main_face(found_faces(image, detector), image.shape):
                    rows[index] = _row(face)
                if done % _TOLD_EVERY == 0 or done == len(images):
                    on_progress(done, len(images))
            self._write(path, rows)
        return rows

    def _write(self, path: Path, rows: NDArray[np.float32]) -> None:
        try:
            with whole_file(path) as file:
                np.save(file, rows, allow_pickle=False)
        except OSError as error:
            raise DatasetError(
                f"cache folder {self.folder} cannot be written: {error.strerror or error}; free room or name another "
                "folder with FERBENCH_CACHE"
            ) from error


def _read(path: Path, count: int) -> NDArray[np.float32] | None:
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError):
        return None
    if rows.shape != (count, COLUMNS) or rows.dtype != np.float32:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return np.asarray(rows, np.float32)


def _row(face: Face) -> list[float]:
    points = [np.nan] * 10 if face.landmarks is None else [value for point in face.landmarks for value in point]
    return [*face.box, face.score, *points]


def kept_face(row: NDArray[np.float32]) -> Face | None:
    """The face of one row; None where the picture shows none."""
    if np.isnan(row[0]):
        return None
    left, top, width, height, score, *values = row.tolist()
    right_eye, left_eye, nose, right_mouth, left_mouth = zip(values[::2], values[1::2], strict=True)
    points: tuple[Point, Point, Point, Point, Point] = (right_eye, left_eye, nose, right_mouth, left_mouth)
    return Face((left, top, width, height), score, None if np.isnan(values[0]) else points)
