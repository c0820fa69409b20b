"""Pictures of a board's samples, where its data lies on this machine."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ferbench.catalog import Catalog
from ferbench.data.decoding import reduced
from ferbench.data.roles import LabelledImages, RoleReader
from ferbench.errors import FerbenchError
from ferbench.records import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Pixels of a picture's longer side; a larger one is reduced.
LONGEST_SIDE = 96

#: Report splits that are looked into at once.
_KEPT = 4


class SamplePictures:
    """Shows samples of boards; whether their licence permits it is for the caller to know.

    A board's samples are told by its fingerprint, never by their names: of other data than the rows were scored on,
    nothing is shown.
    """

    def __init__(self, catalog: Catalog, data_folder: Path, cache_folder: Path) -> None:
        self._roles = RoleReader(catalog.dataset, data_folder, cache_folder)
        self._samples: OrderedDict[tuple[str, str, str], LabelledImages | None] = OrderedDict()

    def images(self, run: Run, places: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Samples of a run's board, uint8 [H, W, C] each, C 1 or 3; none where the data is not here.

        places : in the board's order, which is that of the run's predictions
        """
        samples = self.samples(run)
        return [] if samples is None else [samples.images[place] for place in places]

    def png(self, run: Run, places: Sequence[int]) -> list[bytes]:
        """As PNG files, the longer side at most LONGEST_SIDE pixels; none where the data is not here."""
        return [png(reduced(image, LONGEST_SIDE)) for image in self.images(run, places)]

    def samples(self, run: Run) -> LabelledImages | None:
        """All of a run's board, in its order; None where the data is not here."""
        board = run.board
        if board is None:
            return None
        key = (board.fingerprint, run.cell.target, run.cell.recipe.label_set)
        if key not in self._samples:
            self._samples[key] = self._read(run)
            while len(self._samples) > _KEPT:
                self._samples.popitem(last=False)
        self._samples.move_to_end(key)
        return self._samples[key]

    def _read(self, run: Run) -> LabelledImages | None:
        # It stands on torch, which no page needs that shows no picture.
        from ferbench.preparation import board_of

        labels = run.cell.recipe.label_set
        try:
            samples = self._roles.report(run.cell.target, labels)
            same = run.board is not None and board_of(samples, labels).fingerprint == run.board.fingerprint
        except FerbenchError:
            # A site shows what there is; `datasets check` says what is wrong with the data.
            return None
        return samples if same else None


def png(image: NDArray[np.uint8]) -> bytes:
    """A picture uint8 [H, W, C], C 1 or 3, as a PNG file; the same bytes for the same pixels."""
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(stream, "PNG", optimize=True)
    return stream.getvalue()
