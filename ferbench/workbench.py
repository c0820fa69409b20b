"""What a worker has at hand in its own process: data on the device, and what lies in the cache folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ferbench.checkpoints import Checkpoints
from ferbench.components import Backbone
from ferbench.data.placement import PlacedImages, place, placed_bytes
from ferbench.data.roles import LabelledImages, RoleReader
from ferbench.data.room import free_room
from ferbench.features import FeatureCache
from ferbench.memory import reset_peak_memory, return_freed_memory
from ferbench.partials import Partials
from ferbench.recent_states import RecentStates
from ferbench.stages import Stage
from ferbench.training import KEEP_EVERY_SECONDS

#: Placed image sets that are kept between stages of one process.
_PLACED_KEPT = 8


@dataclass(slots=True)
class Workbench:
    """One process's tools for stages.

    cache_folder : checkpoints, partial checkpoints, features and reduced images lie below it
    deterministic : on CUDA, the same bits every time
    keep_every_seconds : between two partial checkpoints of a stage
    stop : whether the user has asked for an end of training
    """

    find_backbone: Callable[[str], Backbone]
    roles: RoleReader
    cache_folder: Path
    device: str
    deterministic: bool = False
    keep_every_seconds: float = KEEP_EVERY_SECONDS
    stop: Callable[[], bool] = lambda: False
    checkpoints: Checkpoints = field(init=False)
    partials: Partials = field(init=False)
    features: FeatureCache = field(init=False)
    initial_states: RecentStates = field(default_factory=RecentStates)
    _placed: dict[tuple[str, int, bool], PlacedImages] = field(default_factory=dict)
    _micro_batches: dict[tuple[object, ...], int] = field(default_factory=dict)
    _last_network: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        self.checkpoints = Checkpoints(self.cache_folder)
        self.partials = Partials(self.cache_folder)
        self.features = FeatureCache(self.cache_folder)

    def placed(self, samples: LabelledImages, image_size: int, grey: bool) -> PlacedImages:
        """Samples on the device, where the most recently used sets stay; memory-mapped where there is no room."""
        key = (samples.content, image_size, grey)
        found = self._placed.pop(key, None)
        if found is None:
            needed = placed_bytes(samples.images, image_size, grey=grey)
            while self._placed and needed > free_room(self.device):
                del self._placed[next(iter(self._placed))]
            found = place(
                samples.images,
                image_size,
                self.device,
                grey=grey,
                room_bytes=free_room(self.device),
                cache_folder=self.cache_folder,
                content=samples.content,
            )
        self._placed[key] = found
        while len(self._placed) > _PLACED_KEPT:
            del self._placed[next(iter(self._placed))]
        return found

    def begin_stage(self, stage: Stage) -> None:
        """The stage's peak memory is counted from here on."""
        network = (stage.backbone, stage.recipe.image_size)
        if network != self._last_network:
            # What a larger one has left behind would count as this one's; the same one uses it again at once.
            return_freed_memory()
            self._last_network = network
        reset_peak_memory(self.device)

    def micro_batch(self, stage: Stage) -> int:
        """How many images of such a stage go through the network at once, as far as is known."""
        return self._micro_batches.get(_kind(stage), stage.recipe.batch_size)

    def halve_micro_batch(self, stage: Stage) -> None:
        """Stages of this kind were too large for the device's memory."""
        self._micro_batches[_kind(stage)] = (self.micro_batch(stage) + 1) // 2

    def release_data(self) -> None:
        """Take all data off the device, to have its memory."""
        self._placed.clear()
        self.features.release()


def _kind(stage: Stage) -> tuple[object, ...]:
    recipe = stage.recipe
    return (stage.backbone, recipe.image_size, stage.trained, recipe.precision, recipe.batch_size, recipe.optimizer)
