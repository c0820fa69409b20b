"""A finished run's last stage with its checkpoint, ready for pictures of any kind; what it is fed is what evaluation
feeds (data.batches)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ferbench.catalog import Catalog
from ferbench.components import Backbone
from ferbench.data.batches import Normalisation, evaluation_batches
from ferbench.data.placement import place
from ferbench.data.roles import RoleReader
from ferbench.environment import chosen_device
from ferbench.errors import CheckpointLost, UsageError
from ferbench.placed_module import on_device
from ferbench.prediction import answers
from ferbench.records import Run
from ferbench.settings import Settings
from ferbench.stages import Stage
from ferbench.store import Store
from ferbench.store.last_stage import cannot_predict, last_stage, named
from ferbench.workbench import Workbench
from ferbench.worker import from_checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Trained:
    """One trained network.

    module : on the device, in eval mode, in channels_last; maps what `prepared` gives to logits float32 [n, C]
    temperature : what logits are divided by to have calibrated probabilities; None where the run has none
    """

    run: Run
    stage: Stage
    module: nn.Module
    backbone: Backbone
    device: str
    temperature: float | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The label set's expressions, in the order of logits."""
        return self.stage.classes

    @property
    def image_size(self) -> int:
        """S, pixels a side of what the network is fed."""
        return self.stage.recipe.image_size

    @property
    def normalisation(self) -> Normalisation:
        return Normalisation(self.backbone.mean, self.backbone.std)

    def prepared(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Network input float32 [n, 3, S, S] on the device, in channels_last, as evaluation makes it.

        What a picture gives does not hang on those beside it. Where a dataset's pictures differ in size, evaluation
        rounds those that it enlarges to whole grey levels, which is not done here.

        Parameters
        ----------
        images : uint8 [H, W, C] each, C 1 or 3, of any sizes
        """
        size, grey = self.image_size, self.stage.recipe.grey
        shape = (len(images), 3, size, size)
        prepared = torch.empty(shape, device=self.device, memory_format=torch.channels_last)
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            alike.setdefault(image.shape, []).append(index)
        for indices in alike.values():
            placed = place(np.stack([images[index] for index in indices]), size, self.device, grey=grey)
            batch = next(evaluation_batches(placed, self.normalisation, size, self.device, len(indices)))
            prepared[torch.tensor(indices, device=self.device)] = batch
        return prepared

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """What the network says, float32 [n, C], rows sum to 1; not scaled by the temperature.

        Raises
        ------
        TrainingError : the network answers with something that is no number
        """
        if not len(images):
            return np.empty((0, len(self.classes)), np.float32)

        def batches(at_once: int) -> Iterator[Tensor]:
            for start in range(0, len(images), at_once):
                yield self.prepared(images[start : start + at_once])

        return answers(self.module, batches, self.device, self.stage.recipe.precision).numpy()


def load_trained(
    run: Run, store: Store, catalog: Catalog, settings: Settings, bench: Workbench | None = None
) -> Trained:
    """A finished run's network.

    Parameters
    ----------
    bench : of `bench_of`, shared where several are loaded, which is faster

    Raises
    ------
    UsageError : the run is an ensemble, which has no network of its own (store.last_stage.members_of), or has failed
    UnknownName : no plugin here provides its backbone
    StoreError : the store lacks the stage, or the checkpoint is gone or is not the one that was stored
    """
    if run.members:
        raise UsageError(f"{named(run)} is an ensemble, which has no network of its own: name one of its members")
    if run.status != "finished":
        raise UsageError(f"{named(run)} has failed and left no network: {run.error or 'run that cell again'}")
    bench = bench or bench_of(catalog, settings)
    stage, result = last_stage(run, store)
    backbone = catalog.backbone(stage.backbone)
    try:
        module = from_checkpoint(stage, result, backbone, bench)
    except CheckpointLost as lost:
        raise cannot_predict(run, store, lost) from lost
    module = on_device(module, bench.device, deterministic=bench.deterministic).eval()
    temperature = None if run.calibration is None else run.calibration.temperature
    return Trained(run, stage, module, backbone, bench.device, temperature)


def bench_of(catalog: Catalog, settings: Settings) -> Workbench:
    """The tools that networks are loaded with; raises UsageError for a device that is not there."""
    roles = RoleReader(catalog.dataset, settings.data_folder, settings.cache_folder)
    device = chosen_device(settings.device)
    return Workbench(
        *(catalog.backbone, roles, settings.cache_folder, device),
        deterministic=settings.deterministic,
        find_face_detector=catalog.face_detector,
    )
