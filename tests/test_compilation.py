"""When a module is compiled, with the device's clock and torch.compile replaced by ones that are known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ferbench.compilation import Compilation


class Clock:
    """Seconds that a step takes, plain and compiled, and what compiling takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plain: float = 1.0, compiling: float = 30.0) -> None:
        self.now = 0.0
        self._plain, self._compiling = plain, compiling
        monkeypatch.setattr(Compilation, "_now", lambda _: self.now)
        monkeypatch.setattr(torch, "compile", lambda module, dynamic: nn.Sequential(module))

    def step(self, compilation: Compilation, step: int) -> bool:
        """Whether it was a compiled one."""
        compiled = isinstance(compilation.module, nn.Sequential)
        self.now += self._compiling + self._plain if compiled and compilation._compiling else self._plain
        return compiled


def run(clock: Clock, compilation: Compilation, steps: int, pauses: tuple[int, ...] = ()) -> list[int]:
    """The steps that were compiled; a pause after a step takes 1,000 s."""
    compiled = []
    for step in range(steps):
        compilation.before(step)
        if clock.step(compilation, step):
            compiled.append(step)
        if step in pauses:
            compilation.paused()
            clock.now += 1000
    return compiled


def test_it_is_compiled_once_the_steps_that_are_left_pay_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, compilation = Clock(monkeypatch), Compilation(nn.Identity(), "cuda:0", 1000)
    assert run(clock, compilation, 1000) == list(range(15, 1000))
    assert compilation.seconds == 30.0 and compilation.note == "compiled from step 16 on"


def test_few_steps_a_cpu_and_determinism_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    # 15 % of 400 s are 60 s, what compiling is thought to take; 16 steps are gone by then.
    for steps, device, allowed in ((414, "cuda:0", True), (10**6, "cpu", True), (10**6, "cuda:0", False)):
        clock, compilation = Clock(monkeypatch), Compilation(nn.Identity(), device, steps, allowed=allowed)
        assert run(clock, compilation, 100) == [] and (compilation.seconds, compilation.note) == (0.0, "")
    clock, compilation = Clock(monkeypatch), Compilation(nn.Identity(), "cuda:0", 415)
    assert run(clock, compilation, 100) != []


def test_what_is_done_between_steps_is_timed_as_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, compilation = Clock(monkeypatch, plain=0.01), Compilation(nn.Identity(), "cuda:0", 1000)
    assert run(clock, compilation, 1000, pauses=(7, 12)) == []
    clock, compilation = Clock(monkeypatch), Compilation(nn.Identity(), "cuda:0", 1000)
    assert run(clock, compilation, 100, pauses=(7, 23)) == list(range(23, 100))
    assert compilation.seconds == 30.0


def test_a_compiler_that_fails_is_a_note_and_the_plain_module(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, compilation = Clock(monkeypatch), Compilation(nn.Identity(), "cuda:0", 1000)
    run(clock, compilation, 15)
    compilation.before(15)
    assert not compilation.failed(RuntimeError("its own"))
    error = type("BackendCompilerFailed", (RuntimeError,), {"__module__": "torch._dynamo.exc"})("no compiler")
    assert compilation.failed(error)
    assert isinstance(compilation.module, nn.Identity) and compilation.note == "not compiled: BackendCompilerFailed"
    clock.now += 5
    compilation.before(16)
    assert isinstance(compilation.module, nn.Identity)
