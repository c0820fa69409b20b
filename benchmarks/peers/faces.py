"""The work's faces as torch datasets: whole batches of tensors, or one PIL image at a time.

Both draw new batches without end, in consecutive permutations, as far as the sampler asks.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from peers.work import Work, augmented, pil_transform


class TensorFaces(Dataset[tuple[Tensor, Tensor]]):
    """uint8 tensors in memory; `__getitems__` makes a whole batch at once."""

    def __init__(self, work: Work) -> None:
        self._pixels = torch.from_numpy(work.faces).permute(0, 3, 1, 2).contiguous().to(work.device)
        self._labels = work.labels.to(work.device)
        self._size = work.image_size
        self._mean = torch.tensor(work.component.mean, device=work.device).view(1, 3, 1, 1)
        self._std = torch.tensor(work.component.std, device=work.device).view(1, 3, 1, 1)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.batch(torch.tensor(indices, device=self._labels.device))

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [B, 3, S, S] in channels_last and int64 [B] of the samples with these indices, int64 [B]."""
        return augmented(self._pixels[chosen], self._size, self._mean, self._std), self._labels[chosen]


class PilFaces(Dataset[tuple[Tensor, int]]):
    """PIL images in memory, each transformed on its own."""

    def __init__(self, work: Work) -> None:
        self._images = [Image.fromarray(face[:, :, 0]) for face in work.faces]
        self._labels: list[int] = work.labels.tolist()
        self._transform = pil_transform(work)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), self._labels[index]


def as_it_is(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The collate function of a dataset that gives batches."""
    return batch
