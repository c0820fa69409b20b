"""What a worker has at hand in its own process: data on the device, and what lies in the cache folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ferbench.checkpoints import Checkpoints
from ferbench.components import Backbone, FaceDetector
from ferbench.data.placement import PlacedImages, place, placed_bytes
from ferbench.data.roles import LabelledImages, RoleReader
from ferbench.data.room import free_room
from ferbench.environment import device_kind
from ferbench.errors import UnknownName
from ferbench.faces.cutting import CutPictures, FaceCuts
from ferbench.features.cache import FeatureCache
from ferbench.initialisation import uninitialised
from ferbench.memory import peak_memory_bytes, release_memory, reset_peak_memory, return_freed_memory
from ferbench.partials import Partials
from ferbench.recent_states import RecentStates
from ferbench.settings import DEFAULT_KEEP_SECONDS
from ferbench.stages import Stage

if TYPE_CHECKING:
    from torch import nn


def _no_face_detector(name: str) -> FaceDetector:
    raise UnknownName("face detector", name, ())


#: Placed image sets that are kept between stages of one process.
_PLACED_KEPT = 8


@dataclass(slots=True)
class Workbench:
    """One process's tools for stages.

    cache_folder : checkpoints, partial checkpoints, features, faces and reduced images lie below it
    deterministic : on CUDA, the same bits every time
    keep_every_seconds : between two partial checkpoints of a stage
    stop : whether the user has asked for an end of training
    warn : told what a stage can do without
    find_face_detector : by name; needed where pictures are cut
    """

    find_backbone: Callable[[str], Backbone]
    roles: RoleReader
    cache_folder: Path
    device: str
    deterministic: bool = False
    keep_every_seconds: float = DEFAULT_KEEP_SECONDS
    stop: Callable[[], bool] = lambda: False
    warn: Callable[[str], None] = lambda line: None
    find_face_detector: Callable[[str], FaceDetector] = _no_face_detector
    checkpoints: Checkpoints = field(init=False)
    partials: Partials = field(init=False)
    features: FeatureCache = field(init=False)
    cuts: FaceCuts = field(init=False)
    initial_states: RecentStates = field(default_factory=RecentStates)
    _placed: dict[tuple[str, int, bool], PlacedImages] = field(default_factory=dict)
    _micro_batches: dict[tuple[object, ...], int] = field(default_factory=dict)
    _in_their_state: set[str] = field(default_factory=set)
    _peak: int = 0
    _last_network: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        self.checkpoints = Checkpoints(self.cache_folder)
        self.partials = Partials(self.cache_folder)
        self.features = FeatureCache(self.cache_folder)
        self.cuts = FaceCuts(self.find_face_detector, self.cache_folder)

    def placed(self, samples: LabelledImages, image_size: int, grey: bool) -> PlacedImages:
        """Samples on the device, where the most recently used sets stay; memory-mapped where there is no room."""
        key = (samples.content, image_size, grey)
        found = self._placed.pop(key, None)
        if found is None:
            self._make_room(placed_bytes(samples.images, image_size, grey=grey))
            found = place(
                samples.images,
                image_size,
                self.device,
                grey=grey,
                room_bytes=free_room(self.device),
                cache_folder=self.cache_folder,
                content=samples.content,
                costly=isinstance(samples.images, CutPictures),
            )
        self._placed[key] = found
        while len(self._placed) > _PLACED_KEPT:
            del self._placed[next(iter(self._placed))]
        return found

    def _make_room(self, needed: int) -> None:
        """Let go of the sets that were not used for longest, where a new one then fits."""
        room, taken = free_room(self.device), sum(each.device_bytes for each in self._placed.values())
        if not room < needed <= room + taken:
            return
        while self._placed and needed > free_room(self.device):
            del self._placed[next(iter(self._placed))]
            release_memory(self.device)

    def begin_stage(self, stage: Stage) -> None:
        """The stage's peak memory is counted from here on."""
        network = (stage.backbone, stage.recipe.image_size)
        if network != self._last_network:
            # What a larger one has left behind would count as this one's; the same one uses it again at once.
            return_freed_memory()
            self._last_network = network
        self._peak = 0
        reset_peak_memory(self.device)

    def peak_memory_bytes(self) -> int:
        """Peak of the stage that has begun."""
        return max(self._peak, peak_memory_bytes(self.device))

    @contextmanager
    def beside_the_stage(self) -> Iterator[None]:
        """What is done within is not of the stage, and its memory does not count as the stage's."""
        self._peak = self.peak_memory_bytes()
        yield
        return_freed_memory()
        reset_peak_memory(self.device)

    def circumstances(self) -> str:
        """What a stage's bits hang on besides the stage: bit equality is promised where it is the same."""
        where = [device_kind(self.device), f"torch {torch.__version__}"]
        if self.device == "cpu":
            where += [f"{torch.get_num_threads()} threads", torch.backends.cpu.get_cpu_capability()]
        return ", ".join([*where, *(["deterministic"] if self.deterministic else [])])

    def build(self, backbone: Backbone, build: Callable[[], nn.Module]) -> nn.Module:
        """A module that a whole state is put over next: not drawn where a like one was drawn in this process.

        The first of a kind is drawn, for libraries are imported then and must find torch's initialisers as they are;
        and one with buffers outside its state is drawn every time.
        """
        if backbone.name in self._in_their_state:
            with uninitialised():
                return build()
        module = build()
        if not any(part._non_persistent_buffers_set for part in module.modules()):
            self._in_their_state.add(backbone.name)
        return module

    def micro_batch(self, stage: Stage) -> int:
        """How many images of such a stage go through the network at once, as far as is known."""
        return self._micro_batches.get(_kind(stage), stage.recipe.batch_size)

    def set_micro_batch(self, stage: Stage, micro_batch: int) -> None:
        """From now on, of stages of this kind."""
        self._micro_batches[_kind(stage)] = micro_batch

    def release_data(self) -> None:
        """Take all data off the device, to have its memory."""
        self._placed.clear()
        self.features.release()


def _kind(stage: Stage) -> tuple[object, ...]:
    recipe = stage.recipe
    return (stage.backbone, recipe.image_size, stage.trained, recipe.precision, recipe.batch_size, recipe.optimizer)
