"""Features of each training step, in the order and with the flips that the images of that step have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ferbench.data.ahead import Ahead
from ferbench.data.augmentation import AUGMENTATIONS, draw
from ferbench.data.order import BatchOrder
from ferbench.data.transfer import sent
from ferbench.features.cache import Features, as_given

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
        return as_given(_on(rows, self._device)), sent(labels, self._device)

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
