"""Lightning on the work in its barebones mode: no logger, checkpoint, progress bar, summary or sanity check."""

from __future__ import annotations

import logging
import warnings

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from peers.faces import PilFaces, TensorFaces, as_it_is
from peers.work import Run, Work


def lightning_loop(
    work: Work, *, pil: bool, workers: int = 0, memory_format: torch.memory_format = torch.channels_last
) -> Run:
    """A Lightning Trainer a run, on tensors in memory or on PIL images with v2 transforms; workers are forked once."""
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Fit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.module = work.module(memory_format)

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            images, labels = batch
            return work.loss(self.module(images.contiguous(memory_format=memory_format)), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return work.optimizer(self.module)

    loader = DataLoader(
        PilFaces(work) if pil else TensorFaces(work),
        work.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pil and work.device != "cpu",
        collate_fn=None if pil else as_it_is,
    )

    def run(steps: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = lightning.Trainer(
                accelerator="cpu" if work.device == "cpu" else "gpu",
                devices=1,
                precision="bf16-mixed" if work.precision == "bf16" else "32-true",
                max_steps=1 + steps,
                barebones=True,
            )
            trainer.fit(Fit(), loader)

    return run
