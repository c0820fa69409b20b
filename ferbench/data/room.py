"""How much of a device's memory is left for image sets."""

from __future__ import annotations

import os
from pathlib import Path

import torch

#: Share of free memory that image sets may take; the rest is the network's.
_SHARE = 0.5

_LITTLE = 4 * 2**30

_MEMORY = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_room(device: str) -> int:
    """Bytes of a device's memory that image sets may take now: half of what is free, the rest is the network's."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(torch.device(device))
        # What torch holds but does not use counts as taken there.
        spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(_SHARE * (free + spare))
    return int(_SHARE * _free_memory())


def _free_memory() -> int:
    """Bytes of main memory that are free for this process."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        # Where the system does not tell: half of what there is, or little.
        if not hasattr(os, "sysconf"):
            return _LITTLE
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:
        # A container's bound, where there is one; its page cache gives way.
        bound = int((_CGROUP / "memory.max").read_text())
        counts = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        taken = int((_CGROUP / "memory.current").read_text()) - int(counts["file"])
    except (OSError, KeyError, ValueError):
        return free
    return max(0, min(free, bound - taken))
