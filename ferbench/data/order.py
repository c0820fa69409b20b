"""Which samples a training step sees: a pure function of seed, stage and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ferbench.fingerprints import derived_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BatchOrder:
    """Full batches from consecutive permutations.

    Parameters
    ----------
    counts : samples of each dataset, in the stage's order
    mixing : `raw` permutes the concatenation of all; `balanced` gives every dataset an equal part of each batch, each
        with permutations of its own
    batch_size : samples a step
    seed, stage_index : coordinates that the order is derived from
    """

    def __init__(self, counts: Sequence[int], mixing: str, batch_size: int, seed: int, stage_index: int) -> None:
        self._streams = [sum(counts)] if mixing == "raw" else list(counts)
        self._offsets = np.concatenate([[0], np.cumsum(counts)])
        self._batch_size = batch_size
        self._seed = seed
        self._stage_index = stage_index
        self._permutations: dict[tuple[int, int], NDArray[np.int64]] = {}

    def batch(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The datasets [B] and the sample indices within them [B] of one step, both int64, in drawn order."""
        positions = np.arange(step * self._batch_size, (step + 1) * self._batch_size)
        streams = positions % len(self._streams)
        within = positions // len(self._streams)
        drawn = np.empty(self._batch_size, dtype=np.int64)
        for stream, count in enumerate(self._streams):
            rows = streams == stream
            base = self._offsets[stream] if len(self._streams) > 1 else 0
            drawn[rows] = base + self._drawn(stream, count, within[rows])
        datasets = np.searchsorted(self._offsets, drawn, side="right") - 1
        return datasets, drawn - self._offsets[datasets]

    def _drawn(self, stream: int, count: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        passes = positions // count
        drawn = np.empty(len(positions), dtype=np.int64)
        for number in np.unique(passes):
            rows = passes == number
            drawn[rows] = self._permutation(stream, count, int(number))[positions[rows] % count]
        return drawn

    def _permutation(self, stream: int, count: int, number: int) -> NDArray[np.int64]:
        key = (stream, number)
        if key not in self._permutations:
            # Steps ask in order: what lies two passes back in its own stream is not asked for again.
            self._permutations.pop((stream, number - 2), None)
            seed = derived_seed(self._seed, self._stage_index, f"order/{stream}", number)
            self._permutations[key] = np.random.default_rng(seed).permutation(count)
        return self._permutations[key]
