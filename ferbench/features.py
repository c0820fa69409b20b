"""What a frozen prefix says of images: computed once, kept below the cache folder, and trained on.

A set of features is one file a view, for a view of one augmentation is often one of another too: view 0 is the image as
it is, view 1 the mirrored one. A mirrored image is the whole network input turned round, which is what sampling it with
a mirrored affine map gives, but for rounding. Values are float32; where the prefix ran in bf16, they are its exactly.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ferbench.data.ahead import Ahead
from ferbench.data.augmentation import AUGMENTATIONS, draw
from ferbench.data.batches import Normalisation, PlacedImages, evaluation_batches
from ferbench.data.order import BatchOrder
from ferbench.data.transfer import sent
from ferbench.environment import device_kind
from ferbench.errors import RecipeError, TrainingError
from ferbench.fingerprints import PREPROCESSING_VERSION, fingerprint
from ferbench.frozen_prefix import CaughtInput, FeatureSource, FrozenPrefix, NotCaught
from ferbench.memory import is_out_of_memory, release_memory
from ferbench.training import autocast

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Raised when the files' layout or the way features are computed changes.
_LAYOUT = 1

#: Bytes of features that stay in memory between stages of one process, where they are not on a GPU or on disk.
_KEPT_IN_MEMORY = 2 * 2**30

#: A set of features that takes more is not made. A fixed bound, for a stage's bits must not hang on the disk's state.
LARGEST_BYTES = 8 * 2**30

#: Images that go through a prefix or a head at once.
_AT_ONCE = 256


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
    """

    backbone: str
    content: str
    normalisation: Normalisation
    image_size: int
    grey: bool
    precision: str
    device: str
    origin: str = ""


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
        return _as_given(self.values[view][chosen].clone() if isinstance(chosen, slice) else self.values[view][chosen])


def _as_given(rows: Tensor) -> Tensor:
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
        self._kept: dict[tuple[str, str], _View] = {}

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
    ) -> _View:
        key = _key(source, about, view)
        files = _Files(self.folder, key)
        place = (key, about.device)
        known = self._kept.pop(place, None)
        if known is not None:
            files.touch()
            known = replace(known, spent_seconds=0.0)
        else:
            known = files.read()
            if known is None:
                known = _computed_in_room(files, source, about, images(), view, on_progress)
            known = self._placed(known, about.device)
        self._kept[place] = known
        self._forget(about.device)
        return known

    def _placed(self, view: _View, device: str) -> _View:
        if torch.device(device).type == "cpu" or view.bytes > self._bound(device):
            return view
        try:
            return replace(view, values=view.values.to(device), mapped=False)
        except torch.OutOfMemoryError:
            return view

    def _forget(self, device: str) -> None:
        """Let go of what was not used for longest, but for the last one."""
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


@dataclass(frozen=True, slots=True)
class _View:
    """One view's values, float32 [n, ...]; `mapped` while they lie on disk."""

    values: Tensor
    seconds: float
    spent_seconds: float
    mapped: bool

    @property
    def bytes(self) -> int:
        return self.values.numel() * self.values.element_size()


def _key(source: FeatureSource, about: FeatureInput, view: int) -> str:
    """The name of one view's files. Bits hang on torch, threads and instruction set too, and rows promise theirs."""
    on_cpu = torch.device(about.device).type == "cpu"
    machine = [torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()] if on_cpu else []
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


def _computed_in_room(
    files: _Files,
    source: FeatureSource,
    about: FeatureInput,
    images: PlacedImages,
    view: int,
    on_progress: Callable[[int, int], None],
) -> _View:
    """Features of one view, computed for fewer images at once where the device has no room for as many."""
    at_once = _AT_ONCE
    while True:
        try:
            return _computed(files, source, about, images, view, on_progress, at_once)
        except Exception as error:
            if at_once == 1 or not is_out_of_memory(error):
                raise
        release_memory(about.device)
        at_once //= 2


def _computed(
    files: _Files,
    source: FeatureSource,
    about: FeatureInput,
    images: PlacedImages,
    view: int,
    on_progress: Callable[[int, int], None],
    at_once: int,
) -> _View:
    """Features of one view, written as they come; in memory where the disk does not take them."""
    began = time.perf_counter()
    with _Writer(files, images.count) as writer:
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


class _Files:
    """One view's two files: KEY.npy, and KEY.json that is written last and says what the other must be."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.values = folder / f"{key}.npy"
        self.table = folder / f"{key}.json"

    def read(self) -> _View | None:
        """What is there, memory-mapped; None where nothing is, or not all of it."""
        try:
            table = json.loads(self.table.read_text("utf-8"))
            shape, seconds = tuple(table["shape"]), float(table["seconds"])
            # Copy-on-write, since torch takes no array that must not be written; nobody writes.
            values = np.load(self.values, mmap_mode="c", allow_pickle=False)
            whole = self.values.stat().st_size == table["bytes"]
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if not whole or values.shape != shape or values.dtype != np.float32:
            return None
        self.touch()
        return _View(torch.from_numpy(values), seconds, 0.0, mapped=True)

    def touch(self) -> None:
        """Their modification time is that of the last use."""
        for path in (self.values, self.table):
            with contextlib.suppress(OSError):
                os.utime(path)


class _Writer:
    """Takes rows batch by batch to a temporary file; from the disk's first refusal on, into memory.

    Whole files are renamed to their names at the end: a process that is killed, or another one that computes the same,
    leaves none by halves.
    """

    def __init__(self, files: _Files, count: int) -> None:
        self._files = files
        self._count = count
        self._file: io.FileIO | None = None
        self._path = files.values
        self._digest = hashlib.sha256()
        self._shape: tuple[int, ...] = (count,)
        self._blocks: list[NDArray[np.float32]] = []
        self.done = 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        self._drop()

    def write(self, rows: NDArray[np.float32]) -> None:
        """Rows float32 [b, ...] behind those that were written."""
        try:
            if self.done == 0:
                self._shape = (self._count, *rows.shape[1:])
                self._open()
            if self._file is not None:
                self._put(rows.tobytes())
        except OSError:
            self._into_memory()
        if self._file is None:
            self._blocks.append(rows)
        self.done += len(rows)

    def end(self, seconds: float) -> _View:
        """All rows, as they will be found by the next who asks."""
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
                size = self._file.tell()
                self._file.close()
                self._path = self._path.replace(self._files.values)
                self._write_table(seconds, size)
                found = self._files.read()
                if found is not None:
                    return replace(found, seconds=seconds, spent_seconds=seconds)
            except OSError:
                pass
            self._into_memory()
        return _View(torch.from_numpy(np.concatenate(self._blocks)), seconds, seconds, mapped=False)

    def _open(self) -> None:
        self._files.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="new-", suffix=".npy", dir=self._files.folder)
        # Without a buffer: what was written before the disk was full can be read again.
        self._file, self._path = os.fdopen(handle, "wb", buffering=0), Path(name)
        header = io.BytesIO()
        about = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(header, about)
        self._put(header.getvalue())

    def _put(self, content: bytes) -> None:
        assert self._file is not None
        self._digest.update(content)
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]

    def _write_table(self, seconds: float, size: int) -> None:
        table = {
            "seconds": seconds,
            "images": self._count,
            "shape": self._shape,
            "bytes": size,
            "sha256": self._digest.hexdigest(),
        }
        handle, name = tempfile.mkstemp(prefix="new-", suffix=".json", dir=self._files.folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(table, file)
            Path(name).replace(self._files.table)
        finally:
            Path(name).unlink(missing_ok=True)

    def _into_memory(self) -> None:
        """Go on in memory with the rows that the file has taken."""
        if self._file is not None and self.done:
            with self._path.open("rb") as file:
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
                content = file.read(4 * self.done * math.prod(self._shape[1:]))
            self._blocks.append(np.frombuffer(bytearray(content), np.float32).reshape(-1, *self._shape[1:]))
        self._drop()

    def _drop(self) -> None:
        """Close the file, and remove it unless it has its final name."""
        if self._file is not None:
            self._file.close()
            if self._path != self._files.values:
                self._path.unlink(missing_ok=True)
        self._file = None


class FeatureBatches:
    """Features and labels of each training step: what `TrainingBatches` gives, sent through the prefix.

    Parameters
    ----------
    parts : each dataset's features with its labels, int64 [n]
    augment : a word that shows an image in as many ways as the features have views
    """

    def __init__(
        self,
        parts: Sequence[tuple[Features, Tensor]],
        order: BatchOrder,
        augment: str,
        seed: int,
        stage_index: int,
        device: str,
    ) -> None:
        self._parts = [(features, labels.cpu()) for features, labels in parts]
        self._order = order
        self._augmentation = AUGMENTATIONS[augment]
        self._mirrors = augment != "none"
        self._seed = seed
        self._stage_index = stage_index
        self._device = device
        on_disk = all(values.device.type == "cpu" for features, _ in parts for values in features.values)
        away = torch.device(device).type != "cpu" and on_disk
        self._place = "cpu" if away else device
        self._rows: Callable[[int], tuple[Tensor, Tensor]] = Ahead(self._gathered) if away else self._gathered

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Features float32 [B, ...], in channels_last where they are images, and labels int64 [B], on the device."""
        rows, labels = self._rows(step)
        return _as_given(_on(rows, self._device)), sent(labels, self._device)

    def _gathered(self, step: int) -> tuple[Tensor, Tensor]:
        """Features as they are stored, on the device unless all of them lie elsewhere, and labels on the CPU."""
        datasets, indices = self._order.batch(step)
        sets = 2 * datasets + self._views(len(datasets), step)
        found: Tensor | None = None
        labels = torch.empty(len(datasets), dtype=torch.int64)
        for number in np.unique(sets).tolist():
            places = torch.from_numpy(np.flatnonzero(sets == number))
            chosen = torch.from_numpy(indices)[places]
            features, own = self._parts[number // 2]
            values = features.values[number % 2]
            rows = _on(values.index_select(0, sent(chosen, values.device)), self._place)
            if len(places) == len(datasets):
                return rows, own[chosen]
            if found is None:
                found = torch.empty((len(datasets), *rows.shape[1:]), device=self._place)
            found.index_copy_(0, sent(places, self._place), rows)
            labels[places] = own[chosen]
        assert found is not None
        return found, labels

    def _views(self, count: int, step: int) -> NDArray[np.int64]:
        """The view of each sample, int64 [B]: the draw that mirrors images picks it."""
        if not self._mirrors:
            return np.zeros(count, dtype=np.int64)
        affine = draw(self._augmentation, count, self._seed, self._stage_index, step).affine
        return (affine[:, 0, 0] < 0).numpy().astype(np.int64)


def _on(rows: Tensor, device: str) -> Tensor:
    """Rows on a device, wherever they are."""
    return sent(rows, device) if rows.device.type == "cpu" else rows


@torch.inference_mode()
def feature_probabilities(rest: nn.Module, features: Features, device: str, precision: str = "fp32") -> Tensor:
    """Class probabilities, float32 [n, C] on the CPU, of all samples in their order; `rest` is left in eval mode.

    Raises
    ------
    TrainingError : the module answers with something that is no number
    """
    rest.eval()
    rows = []
    for batch in _feature_batches(features):
        with autocast(device, precision):
            logits = rest(batch.to(device))
        rows.append(logits.float().softmax(dim=1).cpu())
    joined = torch.cat(rows)
    if not torch.isfinite(joined).all():
        raise TrainingError("the trained network answers with NaN: try a smaller --set lr")
    return joined


def _feature_batches(features: Features) -> Iterator[Tensor]:
    for start in range(0, features.count, _AT_ONCE):
        yield features.rows(slice(start, start + _AT_ONCE))


def svm_source(module: nn.Module, classifier: str) -> CaughtInput:
    """The input of a head that a support vector machine can take the place of.

    Raises
    ------
    RecipeError : a head that is not one linear layer
    """
    if not isinstance(module.get_submodule(classifier), nn.Linear):
        raise _unfit(module, classifier)
    return CaughtInput(module, classifier)


def svm_inputs(
    cache: FeatureCache,
    module: nn.Module,
    classifier: str,
    about: FeatureInput,
    images: Callable[[], PlacedImages],
) -> tuple[NDArray[np.float32], Features]:
    """The features that the head gets, float32 [n, d], of all images in their order, and what they cost.

    Raises
    ------
    RecipeError : a head that is not one linear layer on one vector an image
    """
    source = svm_source(module, classifier)
    try:
        features = cache.of(source, about, images)
    except NotCaught:
        raise _unfit(module, classifier) from None
    if features.values[0].ndim != 2:
        raise _unfit(module, classifier)
    return features.values[0].cpu().numpy(), features


@torch.no_grad()
def head_inputs(
    module: nn.Module,
    classifier: str,
    images: PlacedImages,
    normalisation: Normalisation,
    image_size: int,
    device: str,
    precision: str = "fp32",
) -> NDArray[np.float32]:
    """What `svm_inputs` gives, computed anew and kept nowhere; the module is left in eval mode."""
    source = svm_source(module, classifier)
    module.eval()
    rows: list[Tensor] = []
    for batch in evaluation_batches(images, normalisation, image_size, device, _AT_ONCE):
        try:
            with autocast(device, precision):
                rows.append(source.features(batch).float().cpu())
        except NotCaught:
            raise _unfit(module, classifier) from None
        if rows[-1].ndim != 2:
            raise _unfit(module, classifier)
    return torch.cat(rows).numpy()


def _unfit(module: nn.Module, classifier: str) -> RecipeError:
    kind = type(module.get_submodule(classifier)).__name__
    return RecipeError(
        f"head_fit=svm needs a head that is one linear layer on one vector an image, and {classifier} is a {kind}: "
        "take head_fit=sgd, or another backbone"
    )
