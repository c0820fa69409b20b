"""Loops written by hand: on tensors in memory, and on a DataLoader of transformed PIL images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from peers.faces import PilFaces, TensorFaces
from peers.work import Run, Work

#: How the summary calls `bare_loop`.
BARE = "bare loop on tensors"


def bare_loop(work: Work) -> Run:
    """Nothing but torch on tensors in memory."""
    faces = TensorFaces(work)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(faces), device=work.device)
        for chosen in order.split(work.batch_size):
            yield faces.batch(chosen)

    return _loop(work, torch.channels_last, batches)


def dataloader_loop(work: Work, workers: int = 2, memory_format: torch.memory_format = torch.channels_last) -> Run:
    """A DataLoader with workers that are forked once, a PIL image at a time through torchvision's v2 transforms."""
    loader = DataLoader(
        PilFaces(work),
        work.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=work.device != "cpu",
    )

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in loader:
            yield (
                images.to(work.device, memory_format=memory_format, non_blocking=True),
                labels.to(work.device, non_blocking=True),
            )

    return _loop(work, memory_format, batches)


def _loop(
    work: Work, memory_format: torch.memory_format, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]
) -> Run:
    def run(steps: int) -> None:
        module = work.module(memory_format).train()
        optimizer = work.optimizer(module)
        drawn = batches()
        for images, labels in islice(drawn, 1 + steps):
            with work.autocast():
                loss = work.loss(module(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        # What the workers have begun is finished before others take their turn.
        for _ in drawn:
            pass

    return run
