"""Whether somebody else used the machine while something was measured on it."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ferbench.environment import usable_cores

if TYPE_CHECKING:
    import torch

_STAT = Path("/proc/stat")

#: Of the cores, or of the accelerator's time: what others use below that is the noise of any machine.
_NOTABLE_SHARE = 0.1

#: Of an accelerator's memory, besides what torch holds: a context of its own takes some hundred megabytes.
_NOTABLE_BYTES = 1_500_000_000

#: What a driver's figure of utilisation is of, at most.
_SAMPLE_SECONDS = 1.0


class Occupancy:
    """Looks before, meanwhile and after: made while this process rests, asked when measuring has ended.

    On a CPU it looks at all cores that this process may use, on CUDA at the device as well.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._waiting = _load_share()
        self._found = _on_accelerator(device, with_utilisation=True)
        self._cores = _allowed_cores()
        self.begin()

    def begin(self) -> None:
        """From now on cores are watched; what came before was preparation."""
        self._busy = busy_seconds(self._cores)
        self._own = time.process_time()
        self._since = time.perf_counter()

    def notes(self) -> tuple[str, ...]:
        """What a row measured meanwhile must say; empty where the machine was this process's alone."""
        elapsed = time.perf_counter() - self._since
        own = time.process_time() - self._own
        busy = busy_seconds(self._cores)
        if self._busy is None or busy is None:
            share = self._waiting
        else:
            share = others_share(busy - self._busy, own, elapsed, len(self._cores))
        notes = []
        if share is not None and share > _NOTABLE_SHARE:
            notes.append(f"the machine was busy: {100 * share:.0f} % of the cores were used by others")
        return (*notes, *dict.fromkeys((*self._found, *_on_accelerator(self._device))))


def others_share(busy: float, own: float, elapsed: float, cores: int) -> float:
    """The part of the cores' time that others had, 0 to 1; all arguments but `cores` are seconds."""
    return min(1.0, max(0.0, busy - own) / max(cores * elapsed, 1e-9))


def busy_seconds(cores: frozenset[int]) -> float | None:
    """Seconds that these cores have been busy since the machine started; None where the system does not tell.

    Time that a hypervisor gave to other machines counts as busy. See proc(5).
    """
    total = 0
    try:
        for line in _STAT.read_text("ascii").splitlines():
            name, *counts = line.split() or [""]
            if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in cores:
                user, nice, system, _, *others = map(int, counts)
                # After iowait come irq, softirq and steal; guests are in user already.
                total += user + nice + system + sum(others[1:4])
        return total / os.sysconf("SC_CLK_TCK") if total else None
    except (OSError, ValueError):
        return None


def _allowed_cores() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _load_share() -> float | None:
    """Of the last minute, the part of the cores that anybody used."""
    try:
        return min(1.0, os.getloadavg()[0] / usable_cores())
    except (OSError, AttributeError):
        return None


def _on_accelerator(device: str, *, with_utilisation: bool = False) -> list[str]:
    """What others hold of a CUDA device, and with `with_utilisation` use of it; ask that while this process rests."""
    if not device.startswith("cuda"):
        return []
    import torch

    place = torch.device(device)
    free, total = torch.cuda.mem_get_info(place)
    found = []
    if total - free - torch.cuda.memory_reserved(place) > _NOTABLE_BYTES:
        found.append("other processes held memory of the device")
    if with_utilisation:
        used = _utilisation(place) or 0.0
        if used > _NOTABLE_SHARE:
            found.append(f"the device was busy: {100 * used:.0f} % of its time went to others")
    return found


def _utilisation(place: torch.device) -> float | None:
    """The part of the last second that a CUDA device worked, once this process has rested for it; None if unknown."""
    import torch

    if importlib.util.find_spec("pynvml") is None:
        return None
    torch.cuda.synchronize(place)
    time.sleep(_SAMPLE_SECONDS)
    try:
        return torch.cuda.utilization(place) / 100
    except Exception:  # a driver need not let anybody ask
        return None
