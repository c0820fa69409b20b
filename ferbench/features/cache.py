"""What a frozen prefix says of images: computed once, and kept below the cache folder.

A set of features is one entry a view, for a view of one augmentation is often one of another too: view 0 is the image
as it is, view 1 the mirrored one. A mirrored image is the whole network input turned round, which is what sampling it
with a mirrored affine map gives, but for rounding. Values are float32; where the prefix ran in bf16, they are its
exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ferbench.data.batches import Normalisation, evaluation_batches
from ferbench.data.placement import PlacedImages
from ferbench.environment import device_kind
from ferbench.errors import TrainingError
from ferbench.features.files import FeatureFiles, FeatureView, FeatureWriter
from ferbench.features.frozen_prefix import FeatureSource, FrozenPrefix
from ferbench.fingerprints import PREPROCESSING_VERSION, fingerprint
from ferbench.portions import as_many_as_fit
from ferbench.training import autocast

#: Raised when the files' layout or the way features are computed changes.
_LAYOUT = 1

#: Bytes of features that stay in memory between stages of one process, where they are not on a GPU or on disk.
_KEPT_IN_MEMORY = 2 * 2**30

#: Views that stay open between stages of one process. One on disk holds a file descriptor, of which a process has some
#: 1,024, and the room of a file that was pruned.
_VIEWS_KEPT = 64

#: A set of features that takes more is not made. A fixed bound, for a stage's bits must not hang on the disk's state.
LARGEST_BYTES = 8 * 2**30


def affordable(prefix: FrozenPrefix, images: int) -> bool:
    """Whether the features of so many images, each view of one counted, are small enough to be kept."""
    return prefix.bytes_an_image * images <= LARGEST_BYTES


@dataclass(frozen=True, slots=True)
class FeatureInput:
    """What features are computed for, and how; everything here is in their key.

    backbone : its name, version and library
    content : hash of the images (`LabelledImages.content`)
    origin : names the frozen part by where it comes from and where it is cut; empty where it is known by a hash alone,
        which for a large backbone takes as long as some steps
    deterministic : whether torch takes the algorithms that give the same bits each time; on a GPU these are others
    """

    backbone: str
    content: str
    normalisation: Normalisation
    image_size: int
    grey: bool
    precision: str
    device: str
    origin: str = ""
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class Features:
    """Features of all samples of a role, in their order.

    values : float32 [n, ...] of each view, on the device or memory-mapped; four-dimensional ones are [n, H, W, C]
    seconds : what computing took when they were first computed
    spent_seconds : what it took now, 0 where they were found
    """

    values: tuple[Tensor, ...]
    seconds: float
    spent_seconds: float

    @property
    def images(self) -> int:
        """Number of images, each view of one counted alone: what `seconds` was spent on."""
        return sum(len(view) for view in self.values)

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.values[0])

    def rows(self, chosen: Tensor | slice, view: int = 0) -> Tensor:
        """A copy of some samples' features, float32 [b, ...] as the prefix gave them, where the values are."""
        return as_given(self.values[view][chosen].clone() if isinstance(chosen, slice) else self.values[view][chosen])


def as_given(rows: Tensor) -> Tensor:
    """Stored rows [b, H, W, C] as [b, C, H, W] in channels_last; others as they are."""
    return rows.permute(0, 3, 1, 2) if rows.ndim == 4 else rows


def _counted_on(on_progress: Callable[[int, int], None], view: int, views: int, done: int, total: int) -> None:
    on_progress(view * total + done, views * total)


class FeatureCache:
    """Features on disk below the cache folder; the most recently used stay on the device.

    device_bytes : how many bytes may stay on a GPU; by default a quarter of its memory
    """

    def __init__(self, cache_folder: Path, device_bytes: int | None = None) -> None:
        self.folder = cache_folder / "features"
        self._device_bytes = device_bytes
        self._kept: dict[tuple[str, str], FeatureView] = {}

    def of(
        self,
        source: FeatureSource,
        about: FeatureInput,
        images: Callable[[], PlacedImages],
        views: int = 1,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Features:
        """Features of some images, found or computed.

        Parameters
        ----------
        images : called where they have to be computed
        views : 1, or 2 with the mirrored ones
        on_progress : called with the images that are done, and those there are; each view of one counts

        Raises
        ------
        TrainingError : the prefix answers with something that is no number
        """
        found = [
            self._view(source, about, images, view, partial(_counted_on, on_progress, view, views))
            for view in range(views)
        ]
        return Features(
            tuple(view.values for view in found),
            sum(view.seconds for view in found),
            sum(view.spent_seconds for view in found),
        )

    def release(self) -> None:
        """Let go of all that is kept between stages; what is on disk stays there."""
        self._kept.clear()

    def _view(
        self,
        source: FeatureSource,
        about: FeatureInput,
        images: Callable[[], PlacedImages],
        view: int,
        on_progress: Callable[[int, int], None],
    ) -> FeatureView:
        key = _key(source, about, view)
        files = FeatureFiles(self.folder, key)
        place = (key, about.device)
        known = self._kept.pop(place, None)
        if known is not None:
            files.touch()
            known = replace(known, spent_seconds=0.0)
        else:
            known = files.read()
            if known is None:
                placed = images()
                known = as_many_as_fit(
                    partial(_computed, files, source, about, placed, view, on_progress), about.device
                )
            known = self._placed(known, about.device)
        self._kept[place] = known
        self._forget(about.device)
        return known

    def _placed(self, view: FeatureView, device: str) -> FeatureView:
        if torch.device(device).type == "cpu" or view.bytes > self._bound(device):
            return view
        try:
            return replace(view, values=view.values.to(device), mapped=False)
        except torch.OutOfMemoryError:
            return view

    def _forget(self, device: str) -> None:
        """Let go of what was not used for longest, but for the last one."""
        while len(self._kept) > _VIEWS_KEPT:
            del self._kept[next(iter(self._kept))]
        for name in {device, "cpu"}:
            kind = torch.device(name)
            # What is memory-mapped takes no room of its own.
            held = [
                (place, view)
                for place, view in self._kept.items()
                if view.values.device.type == kind.type and not view.mapped
            ]
            total = sum(view.bytes for _, view in held)
            for place, view in held[:-1]:
                if total <= self._bound(name):
                    break
                del self._kept[place]
                total -= view.bytes

    def _bound(self, device: str) -> int:
        if torch.device(device).type == "cpu":
            return _KEPT_IN_MEMORY
        if self._device_bytes is not None:
            return self._device_bytes
        if torch.device(device).type == "cuda":
            return int(torch.cuda.get_device_properties(device).total_memory) // 4
        return _KEPT_IN_MEMORY


def _key(source: FeatureSource, about: FeatureInput, view: int) -> str:
    """The name of one view's files. Bits hang on torch, threads and instruction set too, and rows promise theirs."""
    kind = torch.device(about.device).type
    machine: list[object] = []
    if kind == "cpu":
        machine = [torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()]
    elif kind == "cuda" and about.deterministic:
        machine = ["deterministic"]
    return fingerprint(
        [
            _LAYOUT,
            PREPROCESSING_VERSION,
            about.backbone,
            about.origin or source.state_sha256,
            about.content,
            list(about.normalisation.mean),
            list(about.normalisation.std),
            about.image_size,
            about.grey,
            about.precision,
            view,
            device_kind(about.device),
            str(torch.__version__),
            machine,
        ]
    )


def _computed(
    files: FeatureFiles,
    source: FeatureSource,
    about: FeatureInput,
    images: PlacedImages,
    view: int,
    on_progress: Callable[[int, int], None],
    at_once: int,
) -> FeatureView:
    """Features of one view, written as they come; in memory where the disk does not take them."""
    began = time.perf_counter()
    with FeatureWriter(files, images.count) as writer:
        for batch in evaluation_batches(images, about.normalisation, about.image_size, about.device, at_once):
            turned = batch.flip(3) if view else batch
            with autocast(about.device, about.precision):
                features = source.features(turned.contiguous(memory_format=torch.channels_last)).float()
            if not torch.isfinite(features).all():
                raise TrainingError("the frozen network answers with NaN: its weights are not usable")
            rows = features.permute(0, 2, 3, 1) if features.ndim == 4 else features
            writer.write(rows.cpu().contiguous().numpy())
            on_progress(writer.done, images.count)
        seconds = time.perf_counter() - began
        return writer.end(seconds)
