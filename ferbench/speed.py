"""How fast backbones are on a device that they own alone: training, inference, one image, and what all that costs.

Nothing is frozen and weights are random, since speed does not depend on what they are. Measurements go round and round
over the backbones, so that a machine that slows down or speeds up does so for all of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import statistics
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ferbench.accelerator import prepare_device
from ferbench.calibration import OneBatch
from ferbench.components import Backbone
from ferbench.environment import automatic_precision, device_kind, processor_name
from ferbench.errors import FerbenchError, TrainingError, UsageError, one_line
from ferbench.expressions import label_set
from ferbench.flops import MatrixProduct, forward_flops, synchronised_now
from ferbench.memory import is_out_of_memory, peak_memory_bytes, release_memory, reset_peak_memory, return_freed_memory
from ferbench.occupancy import Occupancy
from ferbench.placed_module import on_device
from ferbench.recipes import Recipe, changed
from ferbench.records import SpeedMeasurement, Spread
from ferbench.stages import RANDOM_WEIGHTS, Stage
from ferbench.training import autocast, train
from ferbench.version import VERSION
from ferbench.worker import built

#: Single images that latencies are of, at least, over all repetitions together.
_SINGLE_IMAGES = 50

#: Steps or batches of one repetition, at least.
_FEWEST = 2

#: Backward is twice forward, so that a training step is three times that (Kaplan et al. 2020, arXiv 2001.08361, 2.1).
_TRAINING_FORWARDS = 3

#: What a row of hand-made features says.
_FEATURES_UNCOUNTED = "FLOPs are of convolutions and matrix products alone, and its features may be none"

#: Each backbone is compiled in three shapes; torch gives up after eight that share a class's code.
_COMPILED_SHAPES = 4096


@dataclass(frozen=True, slots=True)
class Measuring:
    """How speeds are measured.

    precision : auto, fp32 or bf16
    repeats : measurements that a spread is of
    repeat_seconds : about how long one of them takes, two steps at least
    """

    batch_size: int = 32
    precision: str = "auto"
    repeats: int = 5
    compiled: bool = False
    repeat_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class SpeedFailure:
    """A backbone that could not be measured; `trace` is Python's own account of it."""

    backbone: str
    image_size: int
    error: FerbenchError
    trace: str = ""


def measured_speeds(
    wanted: Sequence[tuple[Backbone, int]],
    device: str,
    measuring: Measuring | None = None,
    on_turn: Callable[[str, int, int], None] = lambda name, number, total: None,
) -> tuple[list[SpeedMeasurement], list[SpeedFailure]]:
    """How fast backbones are at image sizes, and those that could not be measured, each in the order of `wanted`.

    A failure is a UsageError where the images are too small, else a TrainingError: it cannot be built, run, or held in
    memory.

    Parameters
    ----------
    device : as `environment.chosen_device` gives it
    on_turn : told a backbone's name before each of its turns, the turn's number from 1, and how many there are
    """
    measuring = measuring or Measuring()
    precision = automatic_precision(device) if measuring.precision == "auto" else measuring.precision
    prepare_device(device)
    pairs = list(dict.fromkeys((backbone.name, size) for backbone, size in wanted))
    backbones = {backbone.name: backbone for backbone, _ in wanted}
    failures: dict[tuple[str, int], SpeedFailure] = {}
    subjects: dict[tuple[str, int], _Subject] = {}
    turns = len(pairs) * (1 + measuring.repeats)
    occupancy = Occupancy(device)

    def turn(pair: tuple[str, int], number: int, work: Callable[[], None]) -> None:
        on_turn(pair[0], number, turns)
        try:
            work()
        except Exception as error:  # whatever a backbone raises, the others are measured
            subjects.pop(pair, None)
            crowded = any(subject.held_bytes for subject in subjects.values())
            failures[pair] = SpeedFailure(*pair, _told(error, *pair, measuring, crowded), traceback.format_exc())
            # The traceback holds the backbone's tensors.
            error.__traceback__ = None
            release_memory(device)

    with _compiling(measuring.compiled):
        for number, pair in enumerate(pairs, 1):

            def prepare(pair: tuple[str, int] = pair) -> None:
                held = sum(subject.held_bytes for subject in subjects.values())
                subjects[pair] = _Subject(backbones[pair[0]], pair[1], device, precision, measuring, held)

            turn(pair, number, prepare)
        rates: list[float] = []
        product = MatrixProduct(device, precision) if subjects else None
        occupancy.begin()
        for repeat in range(measuring.repeats):
            if product is not None:
                rates.append(product.flops_per_second(measuring.repeat_seconds / 2))
            for number, pair in enumerate(pairs, 1):
                if pair in subjects:
                    turn(pair, (repeat + 1) * len(pairs) + number, subjects[pair].measure)
        notes = occupancy.notes()
    measured = [subjects[pair].measurement(statistics.median(rates), notes) for pair in pairs if pair in subjects]
    return measured, [failures[pair] for pair in pairs if pair in failures]


class _Subject:
    """One backbone at one image size: built and warmed up, then measured once a round.

    Between its turns it leaves a GPU, so that many backbones can be measured on a small one.

    Attributes
    ----------
    held_bytes : of the device's memory, what it holds between two turns
    """

    def __init__(
        self,
        backbone: Backbone,
        image_size: int,
        device: str,
        precision: str,
        measuring: Measuring,
        others_bytes: int,
    ) -> None:
        if image_size < backbone.smallest_image_size:
            raise UsageError(
                f"images of {image_size} px are too small for {backbone.name}: the smallest are "
                f"{backbone.smallest_image_size} px, try --image-size {backbone.smallest_image_size}"
            )
        self._backbone = backbone
        self._device = device
        self._measuring = measuring
        self._recipe = _recipe(backbone, image_size, precision, measuring.batch_size)
        classes = label_set(self._recipe.label_set).classes
        self._classes = len(classes)
        stage = Stage("", 0, backbone.name, RANDOM_WEIGHTS, (), classes, self._recipe, 0, None)
        release_memory(device)
        return_freed_memory()
        reset_peak_memory(device)
        module = built(backbone, stage, "initialisation")
        self._module = on_device(module, device)
        images = torch.randn(measuring.batch_size, 3, image_size, image_size, device=device)
        self._images = images.contiguous(memory_format=torch.channels_last)
        self._image = self._images[:1].clone(memory_format=torch.channels_last)
        self._batches = OneBatch(self._images, self._classes)
        self._training: list[float] = []
        self._inference: list[float] = []
        self._latencies: list[float] = []
        self._warm_up()
        self.peak_memory_bytes = peak_memory_bytes(device) - others_bytes
        self.parameters = sum(parameter.numel() for parameter in self._module.parameters())
        tensors = [*self._module.parameters(), *self._module.buffers(), images]
        self.held_bytes = 0 if _leaves(device) else sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self._warm_up_inference()
        if _leaves(device):
            self._move("cpu")

    def _warm_up(self) -> None:
        """Learn how long a training step takes; the first of all, and the first compiled one, are left out of it."""
        self._train(1)
        self.compile_seconds = 0.0
        if self._measuring.compiled:
            self.flops = forward_flops(self._module, self._recipe.image_size)
            self._module.compile(dynamic=False)
            self.compile_seconds = self._train(1)
        self._step_seconds = self._train(_FEWEST) / _FEWEST
        self.compile_seconds = max(0.0, self.compile_seconds - self._step_seconds)

    def _warm_up_inference(self) -> None:
        if not self._measuring.compiled:
            self.flops = forward_flops(self._module, self._recipe.image_size)
        for image in (self._image, self._images):
            self._infer(image, 1)
        self._batch_seconds = self._infer(self._images, 1)

    def measure(self) -> None:
        """One repetition of everything, on the device."""
        if not _leaves(self._device):
            self._measure()
            return
        self._move(self._device)
        self._measure()
        self._move("cpu")

    def _move(self, place: str) -> None:
        """The same tensors elsewhere, with their strides, so that compiled code stays good for them."""
        self._module.to(place)
        for images in (self._images, self._image):
            images.data = images.data.to(place)

    def _measure(self) -> None:
        """Each after one step or batch that does not count: others were here before."""
        size, budget = self._measuring.batch_size, self._measuring.repeat_seconds
        self._train(1)
        steps = max(_FEWEST, round(budget / self._step_seconds))
        self._step_seconds = self._train(steps) / steps
        self._training.append(size / self._step_seconds)
        self._infer(self._images, 1)
        batches = max(_FEWEST, round(budget / self._batch_seconds))
        self._batch_seconds = self._infer(self._images, batches) / batches
        self._inference.append(size / self._batch_seconds)
        self._infer(self._image, 1)
        spent, count = 0.0, 0
        while count < math.ceil(_SINGLE_IMAGES / self._measuring.repeats) or spent < budget / 2:
            self._latencies.append(self._infer(self._image, 1))
            spent, count = spent + self._latencies[-1], count + 1

    def measurement(self, matrix_flops_per_second: float, notes: tuple[str, ...]) -> SpeedMeasurement:
        """What all repetitions gave, as the board's row."""
        training, inference = _spread(self._training), _spread(self._inference)
        p50, p95 = np.percentile(self._latencies, (50, 95))
        return SpeedMeasurement(
            backbone=self._backbone.name,
            image_size=self._recipe.image_size,
            batch_size=self._measuring.batch_size,
            precision=self._recipe.precision,
            device=device_kind(self._device),
            threads=torch.get_num_threads(),
            compiled=self._measuring.compiled,
            processor=processor_name(),
            torch=str(torch.__version__),
            ferbench=VERSION,
            training_images_per_second=training,
            inference_images_per_second=inference,
            latency_p50_seconds=float(p50),
            latency_p95_seconds=float(p95),
            peak_memory_bytes=self.peak_memory_bytes,
            parameters=self.parameters,
            forward_flops=self.flops,
            matrix_flops_per_second=matrix_flops_per_second,
            training_mfu=_TRAINING_FORWARDS * self.flops * training.median / matrix_flops_per_second,
            inference_mfu=self.flops * inference.median / matrix_flops_per_second,
            compile_seconds=self.compile_seconds,
            repeats=self._measuring.repeats,
            measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            notes=(*notes, *([_FEATURES_UNCOUNTED] if self._backbone.weightless else [])),
        )

    def _train(self, steps: int) -> float:
        """Seconds of so many training steps, the gradients dropped afterwards."""
        images_seen = steps * self._measuring.batch_size
        synchronised_now(self._device)
        seconds = train(
            self._module,
            self._batches,
            dataclasses.replace(self._recipe, images_seen=images_seen),
            classifier=self._backbone.classifier,
            epoch_images=images_seen,
            class_counts=torch.ones(self._classes),
            seed=0,
            stage_index=0,
            device=self._device,
            may_compile=False,
        ).train_seconds
        self._module.zero_grad(set_to_none=True)
        return max(seconds, 1e-9)

    @torch.inference_mode()
    def _infer(self, images: torch.Tensor, count: int) -> float:
        """Seconds of so many batches, one after the other; the device is waited for at the end."""
        self._module.eval()
        began = synchronised_now(self._device)
        for _ in range(count):
            with autocast(self._device, self._recipe.precision):
                self._module(images)
        return max(synchronised_now(self._device) - began, 1e-9)


def _recipe(backbone: Backbone, image_size: int, precision: str, batch_size: int) -> Recipe:
    """The backbone's own recipe, with all of it trained, and so slowly that no loss runs away."""
    return dataclasses.replace(
        changed(Recipe(), backbone.recipe.items()),
        image_size=image_size,
        precision=precision,
        batch_size=batch_size,
        lr=1e-6,
        schedule="constant",
        trainable="all",
        head_fit="sgd",
        imbalance="none",
        checkpoint="last",
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def _leaves(device: str) -> bool:
    """Whether what waits for its turn lies elsewhere; a CPU's memory is the only one there is, and so is mps's."""
    return device.startswith("cuda")


def _told(error: Exception, backbone: str, image_size: int, measuring: Measuring, crowded: bool) -> FerbenchError:
    """A failure in one line that names the backbone.

    crowded : others wait in the same memory
    """
    if isinstance(error, UsageError):
        return error
    what = f"{backbone} at {image_size} px could not be measured"
    if is_out_of_memory(error):
        return TrainingError(
            f"{what}: a batch of {measuring.batch_size} does not fit into memory"
            f"{' beside the other backbones' if crowded else ''}, try a smaller --batch-size"
            f"{' or fewer backbones at once' if crowded else ''}"
        )
    return TrainingError(f"{what}: {error.line if isinstance(error, FerbenchError) else one_line(error)}")


@contextlib.contextmanager
def _compiling(wanted: bool) -> Iterator[None]:
    """Every backbone compiled afresh, nothing taken from earlier processes, no fall-back to uncompiled code."""
    if not wanted:
        yield
        return
    import torch._dynamo.config
    from torch._inductor.utils import fresh_inductor_cache

    torch.compiler.reset()
    with (
        torch._dynamo.config.patch(
            recompile_limit=_COMPILED_SHAPES,
            accumulated_recompile_limit=_COMPILED_SHAPES,
            fail_on_recompile_limit_hit=True,
        ),
        fresh_inductor_cache(),
    ):
        yield
