"""The same cascade on a CUDA device as on the CPU. Runs where there is one."""

from __future__ import annotations

import pytest
import torch
from tiny import matrix

from ferbench.engine import Engine
from ferbench.settings import Settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


def test_a_cascade_on_cuda_agrees_with_the_cpu(bench) -> None:  # type: ignore[no-untyped-def]
    recipe = {"images_seen": 1200, "precision": "fp32"}
    (on_cpu,) = bench.run("cascade", recipe=recipe).finished
    folder = bench.folder
    settings = Settings(str(folder / "board.sqlite"), folder / "data", folder / "cuda-cache", "cuda")
    engine = Engine(bench.catalog, bench.store, settings, bench.reporter)
    (on_cuda,) = engine.run(engine.prepare(matrix("cascade", recipe=recipe), calibrate=False)).finished
    assert on_cuda.environment.device_kind == torch.cuda.get_device_name(0)
    # Rows of two kinds of device are never put together.
    assert on_cuda.entry != on_cpu.entry
    accuracy = {run.entry: run.scores[0].value for run in (on_cpu, on_cuda)}
    assert abs(accuracy[on_cpu.entry] - accuracy[on_cuda.entry]) <= 0.15
    assert on_cuda.peak_memory_bytes > 0


def test_bf16_is_what_auto_means_where_the_device_has_it(bench) -> None:  # type: ignore[no-untyped-def]
    folder = bench.folder
    settings = Settings(str(folder / "board.sqlite"), folder / "data", folder / "cuda-cache", "cuda")
    engine = Engine(bench.catalog, bench.store, settings, bench.reporter)
    prepared = engine.prepare(matrix("target-only"), calibrate=False)
    expected = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    assert {stage.recipe.precision for stage in prepared.plan.stages} == {expected}
    (run,) = engine.run(prepared).finished
    assert run.status == "finished"
