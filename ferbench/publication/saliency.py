"""Where a row's network looks: pictures of samples under their maps, for the pages of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ferbench.catalog import Catalog
from ferbench.errors import FerbenchError
from ferbench.publication.pictures import SamplePictures, png
from ferbench.records import Predictions, Run
from ferbench.settings import Settings
from ferbench.store import Store


class SaliencyPictures:
    """Explains answers of rows whose checkpoints are at hand; of others it is said why not."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        settings: Settings,
        pictures: SamplePictures,
        warn: Callable[[str], None],
    ) -> None:
        from ferbench.trained import bench_of

        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._pictures = pictures
        self._warn = warn
        self._bench = bench_of(catalog, settings)

    def of(self, answers: Sequence[tuple[Run, Predictions]], places: Sequence[int]) -> dict[str, bytes]:
        """PNG files by the samples' ids: what speaks, in the first run, for the answer that most runs gave.

        None where that cannot be told.

        places : in the order of the runs' predictions
        """
        from ferbench.saliency import class_activation, overlaid
        from ferbench.trained import load_trained

        run, said = answers[0]
        images = self._pictures.images(run, places)
        if run.members or not images:
            return {}
        try:
            trained = load_trained(run, self._store, self._catalog, self._settings, self._bench)
            given = np.stack([each.probabilities[list(places)].argmax(axis=1) for _, each in answers])
            most = [Counter(column).most_common(1)[0][0] for column in given.T.tolist()]
            maps = class_activation(trained, images, most)
        except FerbenchError as error:
            self._warn(f"row {run.row}: no saliency ({error})")
            return {}
        shown = [png(overlaid(image, each)) for image, each in zip(images, maps, strict=True)]
        return {said.ids[place]: data for place, data in zip(places, shown, strict=True)}
