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
        """PNG files by the samples' ids: what speaks, in the first run, for the answer that most runs gave, on a
        picture as the run's network is shown it: whole, or cut to its face.

        None where that cannot be told, and of a sample in which nothing speaks for its answer.

        places : in the order of the runs' predictions
        """
        from ferbench.saliency import class_activation, overlaid
        from ferbench.trained import load_trained

        run, said = answers[0]
        samples = self._pictures.samples(run)
        if run.members or samples is None:
            return {}
        try:
            trained = load_trained(run, self._store, self._catalog, self._settings, self._bench)
            self._bench.cuts.check(trained.stage.recipe, trained.stage.detector)
            shown = self._bench.cuts.shown(samples, trained.stage.recipe).images
            images = [shown[place] for place in places]
            given = np.stack([each.probabilities[list(places)].argmax(axis=1) for _, each in answers])
            most = [Counter(column).most_common(1)[0][0] for column in given.T.tolist()]
            maps = class_activation(trained, images, most)
        except FerbenchError as error:
            self._warn(f"row {run.row}: no saliency ({error})")
            return {}
        return {
            said.ids[place]: png(overlaid(image, each))
            for place, image, each in zip(places, images, maps, strict=True)
            if each.any()
        }
