"""How torch computes on a device: fast, or the same bits every time."""

from __future__ import annotations

import os

from ferbench.memory import hold_freed_memory


def prepare_device(device: str, *, deterministic: bool = False) -> None:
    """Set torch up, for the rest of the process.

    On CUDA, cuDNN tries its algorithms and keeps the fastest, which need not be the same one tomorrow. `deterministic`
    has it take one that always gives the same bits, and torch refuse operations that have none; a CPU is deterministic
    as it is.
    """
    if device == "cpu":
        hold_freed_memory()
    if not device.startswith("cuda"):
        return
    # cuBLAS reads this when it starts: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic)
