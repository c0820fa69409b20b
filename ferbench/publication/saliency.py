"""Where a row's network looks: pictures of samples under their maps, for the pages of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ferbench.catalog import Catalog
from ferbench.errors import FerbenchError
from ferbench.publication.pictures import SamplePictures, png
from ferbench.records import Predictions, Run
from ferbench.settings import Settings
from ferbench.store import Store


class SaliencyPictures:
    """Explains answers of rows whose checkpoints are at hand; of others it is said why not.

    Raises
    ------
    UsageError : captum is not installed
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        settings: Settings,
        pictures: SamplePictures,
        warn: Callable[[str], None],
    ) -> None:
        from ferbench.saliency import check_installed
        from ferbench.trained import bench_of

        check_installed()
        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._pictures = pictures
        self._warn = warn
        self._bench = bench_of(catalog, settings)

    def of(self, run: Run, said: Predictions, places: Sequence[int]) -> dict[str, bytes]:
        """PNG files by the samples' ids: what speaks for the answer that the run gave; none where that cannot be told.

        places : in the order of the run's predictions
        """
        from ferbench.saliency import class_activation, overlaid
        from ferbench.trained import load_trained

        images = self._pictures.images(run, places)
        if run.members or not images:
            return {}
        try:
            trained = load_trained(run, self._store, self._catalog, self._settings, self._bench)
            answers = said.probabilities[list(places)].argmax(axis=1).tolist()
            maps = class_activation(trained, images, answers)
        except FerbenchError as error:
            self._warn(f"row {run.row}: no saliency ({error})")
            return {}
        shown = [png(overlaid(image, each)) for image, each in zip(images, maps, strict=True)]
        return {said.ids[place]: data for place, data in zip(places, shown, strict=True)}
