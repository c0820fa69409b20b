"""Memory of this process: its peak over a piece of work, and how the C library hands it out."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

# mallopt(3)'s parameters.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

#: What a CPU's allocator, mps, cuBLAS and cuDNN say; torch has no exception of its own for these.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def hold_freed_memory() -> bool:
    """Have glibc keep what torch frees, for the rest of the process; False where there is no glibc.

    A training step on the CPU frees and asks again for all gradients. Left alone, glibc gives such large blocks back to
    the system each time, which then clears every page anew: a third of VGG16's time.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def return_freed_memory() -> None:
    """Give the system back what torch has freed and glibc has kept, so that a peak holds nothing of earlier work."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or this machine, could not give what torch asked for."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def release_memory(device: str) -> None:
    """Give back what nobody holds any more, before it is asked for again in other sizes."""
    import gc

    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
    elif device.startswith("mps"):
        import torch

        torch.mps.empty_cache()
    else:
        return_freed_memory()
