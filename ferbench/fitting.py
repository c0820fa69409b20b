"""Training a stage's module: by steps through the whole of it, by steps on features, or by a support vector machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ferbench.components import Backbone
from ferbench.data.batches import Normalisation, TrainingBatches, evaluation_batches
from ferbench.data.order import BatchOrder
from ferbench.data.placement import PlacedImages, place
from ferbench.data.roles import LabelledImages
from ferbench.errors import CheckpointError, DatasetError
from ferbench.features.batches import FeatureBatches
from ferbench.features.cache import FeatureInput, Features, affordable
from ferbench.features.frozen_prefix import FrozenPrefix, frozen_prefix
from ferbench.features.svm_inputs import svm_inputs
from ferbench.fingerprints import derived_seed
from ferbench.partials import KeptStage
from ferbench.prediction import feature_probabilities, probabilities
from ferbench.records import EpochResult, Predictions
from ferbench.stages import Stage
from ferbench.svm_head import fit_svm_head, put_svm_head
from ferbench.training import Batches, Keeping, Partial, Progress, Trained, train
from ferbench.workbench import Workbench

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

#: Images that a cut is tried on.
_TRIED_ON = 2


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained module, with what it cost.

    counts : int64 [C], training samples of each class
    resumed_at : images that an earlier command had seen
    feature_seconds : of the features, as they were first computed
    feature_images : images that this was spent on, each view counted
    spent_on_features : seconds of it that were spent now
    tracked : hash of the samples that the epochs' `target_accuracy` is of
    """

    trained: Trained
    counts: NDArray[np.int64]
    micro_batch: int
    resumed_at: int = 0
    feature_seconds: float = 0.0
    feature_images: int = 0
    spent_on_features: float = 0.0
    tracked: str = ""


@dataclass(frozen=True, slots=True)
class _Way:
    """What the training loop is given: the whole module with images, or what lies behind a cut with features."""

    module: nn.Module
    batches: Batches
    classifier: str
    trainable: str
    features: Sequence[Features] = ()


class Fitting:
    """One stage's module on the device, and the data that it is shown.

    Parameters
    ----------
    module : what the stage starts from, on the device
    origin : names what the stage starts from, so that its frozen part need not be hashed; may be empty
    track : the dataset whose select samples are looked at after each epoch; None for none
    """

    def __init__(
        self,
        module: nn.Module,
        backbone: Backbone,
        stage: Stage,
        label_set: str,
        bench: Workbench,
        origin: str = "",
        track: str | None = None,
    ) -> None:
        self._origin = origin and f"{origin} before {stage.recipe.trainable}"
        self.module = module
        self._backbone = backbone
        self._stage = stage
        self._label_set = label_set
        self._bench = bench
        self._track = track
        self._normalisation = Normalisation(backbone.mean, backbone.std)
        self._prefix: FrozenPrefix | None = None

    def by_steps(self, on_progress: Callable[[Progress], None], on_epoch: Callable[[EpochResult], None]) -> Fitted:
        """Train the module by gradient steps; a stage that was kept in the middle goes on from there."""
        stage, recipe, bench = self._stage, self._stage.recipe, self._bench
        samples = self._samples()
        labels = [torch.from_numpy(labels_of(part)).to(bench.device) for part in samples]
        counts = np.bincount(np.concatenate([own.cpu().numpy() for own in labels]), minlength=len(stage.classes))
        order = BatchOrder([part.count for part in samples], recipe.mixing, recipe.batch_size, stage.seed, stage.index)
        if stage.feature_images:
            self._prefix = self._cut(samples[0])
        if self._prefix is None:
            way = self._through_all(samples, labels, order)
        else:
            way = self._behind_the_cut(self._prefix, samples, labels, order, on_progress)
        made_with = f"{bench.circumstances()} {'features' if self._prefix else 'images'}"
        select_accuracy = self._select_accuracy() if recipe.checkpoint == "best-on-select" else None
        tracked, target_accuracy = self._tracked(select_accuracy)
        kept = self._kept(made_with, tracked)
        tracked = tracked or (kept.tracked if kept else "")
        micro_batch = bench.micro_batch(stage)
        spent_on_features = sum(part.spent_seconds for part in way.features) + (kept.spent_seconds if kept else 0.0)

        def keep(partial: Partial) -> None:
            with bench.beside_the_stage():
                try:
                    bench.partials.save(
                        stage.fingerprint, KeptStage(partial, micro_batch, made_with, spent_on_features, tracked)
                    )
                except CheckpointError as error:
                    # The stage can be done without; what it ends in may well have room.
                    bench.warn(f"a stage could not be kept in the middle of its training: {error.line}")

        trained = train(
            way.module,
            way.batches,
            recipe,
            classifier=way.classifier,
            epoch_images=sum(part.count for part in samples),
            class_counts=torch.from_numpy(counts).float(),
            seed=stage.seed,
            stage_index=stage.index,
            device=bench.device,
            select_accuracy=select_accuracy,
            target_accuracy=target_accuracy,
            on_progress=on_progress,
            on_epoch=on_epoch,
            trainable=way.trainable,
            micro_batch=micro_batch,
            start=None if kept is None else kept.partial,
            keeping=Keeping(keep, bench.keep_every_seconds, bench.stop),
            may_compile=not bench.deterministic,
        )
        return Fitted(
            trained,
            counts,
            micro_batch,
            resumed_at=0 if kept is None else kept.partial.step * recipe.batch_size,
            feature_seconds=sum(part.seconds for part in way.features),
            feature_images=sum(part.images for part in way.features),
            spent_on_features=spent_on_features,
            tracked=tracked,
        )

    def _kept(self, made_with: str, tracked: str) -> KeptStage | None:
        """Where the stage was kept, if going on there gives what an undisturbed run gives."""
        bench, stage = self._bench, self._stage
        kept = bench.partials.load(stage.fingerprint)
        if kept is None or kept.made_with != made_with or kept.micro_batch > bench.micro_batch(stage):
            return None
        bench.set_micro_batch(stage, kept.micro_batch)
        if not tracked or kept.tracked == tracked:
            return kept
        # Accuracies on other samples are no part of this history.
        history = tuple(replace(epoch, target_accuracy=None) for epoch in kept.partial.history)
        return replace(kept, partial=replace(kept.partial, history=history))

    def _through_all(self, samples: Sequence[LabelledImages], labels: Sequence[Tensor], order: BatchOrder) -> _Way:
        stage, recipe, bench = self._stage, self._stage.recipe, self._bench
        batches = TrainingBatches(
            parts=[
                (bench.placed(self._shown(part), recipe.image_size, recipe.grey), own)
                for part, own in zip(samples, labels, strict=True)
            ],
            normalisation=self._normalisation,
            image_size=recipe.image_size,
            augment=recipe.augment,
            order=order,
            seed=stage.seed,
            stage_index=stage.index,
            device=bench.device,
        )
        return _Way(self.module, batches, self._backbone.classifier, recipe.trainable)

    def _behind_the_cut(
        self,
        prefix: FrozenPrefix,
        samples: Sequence[LabelledImages],
        labels: Sequence[Tensor],
        order: BatchOrder,
        on_progress: Callable[[Progress], None],
    ) -> _Way:
        stage = self._stage
        features = self._training_features(samples, prefix, on_progress)
        parts = list(zip(features, labels, strict=True))
        batches = FeatureBatches(parts, order, stage.recipe.augment, stage.seed, stage.index, self._bench.device)
        return _Way(prefix.rest, batches, prefix.classifier, "all", features)

    def by_svm(self) -> Fitted:
        """Replace the head by a support vector machine on the features of the frozen rest."""
        stage = self._stage
        samples = self._samples()
        labels = np.concatenate([labels_of(part) for part in samples])
        found = [
            svm_inputs(
                self._bench.features, self.module, self._backbone.classifier, self._about(part), self._images(part)
            )
            for part in samples
        ]
        groups: list[str] = []
        for number, part in enumerate(samples):
            # A film of one dataset is not that of another; a sample without a film is alone.
            groups.extend(f"{number}/{each}" for each in part.groups or (f"sample {row}" for row in range(part.count)))
        began = time.perf_counter()
        head = fit_svm_head(
            np.concatenate([values for values, _ in found]),
            labels,
            tuple(groups) if any(part.groups for part in samples) else None,
            len(stage.classes),
            balanced=stage.recipe.imbalance == "weighted",
            seed=derived_seed(stage.seed, stage.index, "svm"),
        )
        seconds = time.perf_counter() - began
        put_svm_head(self.module, self._backbone.classifier, head)
        return Fitted(
            Trained(len(labels), seconds, (), notes=head.notes),
            np.bincount(labels, minlength=len(stage.classes)),
            stage.recipe.batch_size,
            feature_seconds=sum(features.seconds for _, features in found),
            feature_images=sum(features.images for _, features in found),
            spent_on_features=sum(features.spent_seconds for _, features in found),
        )

    def predicted(self, samples: LabelledImages) -> Predictions:
        """What the module says of every sample; through features of its frozen part where there is room for them."""
        recipe, device = self._stage.recipe, self._bench.device
        rows: Tensor
        if self._prefix is not None and affordable(self._prefix, samples.count):
            features = self._features(samples, self._prefix, 1)
            rows = feature_probabilities(self._prefix.rest, features, device, recipe.precision)
        else:
            images = self._images(samples)()
            rows = probabilities(self.module, images, self._normalisation, recipe.image_size, device, recipe.precision)
        return Predictions(samples.dataset, samples.splits, samples.ids, samples.labels, rows.numpy(), samples.groups)

    def _samples(self) -> list[LabelledImages]:
        return [self._bench.roles.train(part.dataset, self._label_set, part.fraction) for part in self._stage.parts]

    def _images(self, samples: LabelledImages) -> Callable[[], PlacedImages]:
        recipe = self._stage.recipe
        return lambda: self._bench.placed(self._shown(samples), recipe.image_size, recipe.grey)

    def _shown(self, samples: LabelledImages) -> LabelledImages:
        """With the pictures that the network sees: whole, or cut to their faces."""
        return self._bench.cuts.shown(samples, self._stage.recipe)

    def _about(self, samples: LabelledImages) -> FeatureInput:
        recipe, backbone = self._stage.recipe, self._backbone
        return FeatureInput(
            backbone=f"{backbone.name} {backbone.version} {backbone.library}",
            content=self._shown(samples).content,
            normalisation=self._normalisation,
            image_size=recipe.image_size,
            grey=recipe.grey,
            precision=recipe.precision,
            device=self._bench.device,
            origin=self._origin,
            deterministic=self._bench.deterministic,
        )

    def _training_features(
        self, samples: Sequence[LabelledImages], prefix: FrozenPrefix, on_progress: Callable[[Progress], None]
    ) -> list[Features]:
        found: list[Features] = []
        tell = counting(self._bench, self._stage.feature_images, on_progress, "features")
        before = 0
        for part in samples:
            found.append(self._features(part, prefix, self._stage.recipe.views or 1, partial(tell, before)))
            before += found[-1].images
        return found

    def _features(
        self,
        samples: LabelledImages,
        prefix: FrozenPrefix,
        views: int,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Features:
        return self._bench.features.of(prefix, self._about(samples), self._images(samples), views, on_progress)

    def _cut(self, samples: LabelledImages) -> FrozenPrefix | None:
        recipe, device = self._stage.recipe, self._bench.device
        # Of the others none is needed where their features lie on disk.
        images = place(self._shown(samples).images[:_TRIED_ON], recipe.image_size, device, grey=recipe.grey)
        batch = next(evaluation_batches(images, self._normalisation, recipe.image_size, device, _TRIED_ON))
        prefix = frozen_prefix(self.module, self._backbone.classifier, recipe.trainable, batch)
        return prefix if prefix is not None and affordable(prefix, self._stage.feature_images) else None

    def _select_accuracy(self) -> Callable[[nn.Module], float]:
        """Accuracy over the select samples of all datasets that the stage trains on."""
        return self._accuracy_over(
            [self._bench.roles.select(part.dataset, self._label_set) for part in self._stage.parts]
        )

    def _tracked(
        self, select_accuracy: Callable[[nn.Module], float] | None
    ) -> tuple[str, Callable[[nn.Module], float] | None]:
        """The hash of the samples that are looked at after each epoch, and accuracy over them.

        select_accuracy : taken where it is of the same samples
        """
        if self._track is None:
            return "", None
        samples = self._bench.roles.select(self._track, self._label_set)
        if samples.labels is None:
            return "", None
        if select_accuracy is not None and self._stage.select == (samples.content,):
            return samples.content, select_accuracy
        accuracy = self._accuracy_over([samples])

        def beside(module: nn.Module) -> float:
            with self._bench.beside_the_stage():
                return accuracy(module)

        return samples.content, beside

    def _accuracy_over(self, parts: Sequence[LabelledImages]) -> Callable[[nn.Module], float]:
        def accuracy(module: nn.Module) -> float:
            hits = 0
            for part in parts:
                found = self.predicted(part)
                hits += int((found.probabilities.argmax(axis=1) == labels_of(part)).sum())
            return hits / sum(part.count for part in parts)

        return accuracy


def counting(
    bench: Workbench, total: int, on_progress: Callable[[Progress], None], making: str
) -> Callable[[int, int, int], None]:
    """What tells of images before the steps, and ends the stage where the user asks for an end.

    It is called with the images of parts that are done, and of the part that is not: how many are, and there are. Parts
    that it is not called for were there already, and say nothing of the speed.
    """
    began = time.perf_counter()
    last = found = 0

    def tell(before: int, done: int, _: int) -> None:
        nonlocal last, found
        if bench.stop():
            raise KeyboardInterrupt
        found += max(0, before - last)
        last = before + done
        rate = max(last - found, 1) / max(time.perf_counter() - began, 1e-9)
        on_progress(Progress(before + done, total, None, rate, (total - before - done) / rate, making))

    return tell


def labels_of(samples: LabelledImages) -> NDArray[np.int64]:
    """Labels int64 [n]; raises DatasetError where they are withheld."""
    if samples.labels is None:
        raise DatasetError(f"dataset {samples.dataset!r}: the labels of {samples.splits} are withheld")
    return samples.labels
