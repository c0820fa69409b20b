"""The steady part of a training run, from outside and for every loop alike.

The clock starts when the optimizer has made its first step and stops when it has made the last. Whatever a loop does
for a step is in: gathering and augmenting the next batch, forward, backward, the optimizer, schedules and bookkeeping.
What it does once is out: building a Trainer, starting workers, the first batch and step, and what follows the last.
"""

from __future__ import annotations

import gc
import time

import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from peers.work import Run


def steady_seconds(run: Run, steps: int, device: str) -> float:
    """Seconds of `steps` training steps after one of warm-up.

    Raises
    ------
    RuntimeError : the run made another number of steps
    """
    begun = ended = 0.0
    made = 0

    def stamp(optimizer: Optimizer, args: object, kwargs: object) -> None:
        nonlocal begun, ended, made
        made += 1
        if made in (1, 1 + steps):
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            ended = time.perf_counter()
            if made == 1:
                begun = ended

    gc.collect()
    handle = register_optimizer_step_post_hook(stamp)
    try:
        run(steps)
    finally:
        handle.remove()
    if made != 1 + steps:
        raise RuntimeError(f"{made} optimizer steps instead of {1 + steps}")
    return ended - begun
