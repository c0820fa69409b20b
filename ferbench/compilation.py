"""Whether the steps that are left pay for compiling a module."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

#: Steps that are timed before it is decided; the first of them warm the device up.
_WARM_STEPS = 5
_TIMED_STEPS = 10

#: What compiling a network takes, and the part of a step that it saves, as a cautious guess.
_COMPILE_SECONDS = 60.0
_SAVED = 0.15


class Compilation:
    """Compiles a module in the middle of its training on a GPU, once it is known that this pays.

    Call `before(step)` ahead of every step, run what `module` then is, and call `paused` before anything else is done.
    A CPU without AVX-512 gains nothing by compiling, so that nothing is ever compiled there.

    Attributes
    ----------
    module : what a step runs
    seconds : spent on compiling
    note : what a row should say
    """

    def __init__(self, module: nn.Module, device: str, steps: int, *, allowed: bool = True) -> None:
        self.module = module
        self.seconds = 0.0
        self.note = ""
        self._plain = module
        self._device = device
        self._steps = steps
        self._open = allowed and device.startswith("cuda")
        self._compiling = False
        self._first = -1
        self._since = 0.0
        self._usual = 0.0

    def before(self, step: int) -> None:
        """A step is about to be done."""
        if not self._open:
            return
        if self._first < 0:
            self._first = step
        done = step - self._first
        if self._compiling:
            self._compiled()
        elif done == _WARM_STEPS:
            self._since = self._now()
        elif done == _WARM_STEPS + _TIMED_STEPS:
            self._usual = (self._now() - self._since) / _TIMED_STEPS
            if _SAVED * self._usual * (self._steps - step) < _COMPILE_SECONDS:
                self._open = False
                return
            self._since = self._now()
            self.module = torch.compile(self._plain, dynamic=False)  # type: ignore[assignment]
            self._compiling = True
            self.note = f"compiled from step {step + 1} on"

    def paused(self) -> None:
        """Something else than steps is about to be done: what is being timed ends here, or begins again after it."""
        if self._compiling:
            self._compiled()
        self._first = -1

    def _compiled(self) -> None:
        self.seconds = max(0.0, self._now() - self._since - self._usual)
        self._compiling = self._open = False

    def failed(self, error: Exception) -> bool:
        """Whether an error came from compiling: the plain module then takes over, and the step is done again."""
        if self.module is self._plain or not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            return False
        self.module = self._plain
        self.note = f"not compiled: {type(error).__name__}"
        self.seconds = max(0.0, self._now() - self._since)
        self._compiling = self._open = False
        return True

    def _now(self) -> float:
        torch.cuda.synchronize(torch.device(self._device))
        return time.perf_counter()
