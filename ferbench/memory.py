"""Peak memory of a piece of work, on the accelerator or in this process."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def reset_peak_memory(device: str) -> None:
    """Forget the peak so far where the system can: CUDA always, a process on Linux."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(torch.device(device))
        return
    try:
        # "5" resets the process's high-water mark, see proc(5).
        _CLEAR.write_text("5")
    except OSError:
        return


def peak_memory_bytes(device: str) -> int:
    """Peak since the last reset: allocated by torch on CUDA, resident size of the process elsewhere."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(torch.device(device))
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
