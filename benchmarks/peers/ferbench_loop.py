"""ferbench's own loop on the work, called as its worker calls it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ferbench.data.batches import Normalisation, TrainingBatches
from ferbench.data.order import BatchOrder
from ferbench.data.placement import place
from ferbench.training import Batches, train
from peers.work import CLASSES, Run, Work


def ferbench_loop(
    work: Work, around: Callable[[Batches], Batches] = lambda batches: batches, module: nn.Module | None = None
) -> Run:
    """The loop over data that lies on the device, as a stage has it.

    module : what is trained, where that is not the module that the peers train
    around : puts something around the batches, to look at them or to give others
    """
    component = work.component
    parts = [(place(work.faces, work.image_size, work.device), work.labels.to(work.device))]
    normalisation = Normalisation(component.mean, component.std)

    def run(steps: int) -> None:
        recipe = work.recipe(steps)
        order = BatchOrder([len(work.faces)], recipe.mixing, recipe.batch_size, 0, 0)
        batches = TrainingBatches(parts, normalisation, recipe.image_size, recipe.augment, order, 0, 0, work.device)
        train(
            work.module() if module is None else module,
            around(batches),
            recipe,
            classifier=component.classifier,
            epoch_images=len(work.faces),
            class_counts=torch.ones(CLASSES),
            seed=0,
            stage_index=0,
            device=work.device,
        )

    return run
