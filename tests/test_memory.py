"""Peak memory, against memory that was really taken."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ferbench import memory
from ferbench.memory import peak_memory_bytes, reset_peak_memory

MEGABYTE = 1 << 20

# In a process of its own: what pytest took before would hide what is measured.
PROBE = """
from ferbench.memory import peak_memory_bytes, reset_peak_memory
reset_peak_memory("cpu")
before = peak_memory_bytes("cpu")
block = bytearray(b"x") * (200 << 20)
there = peak_memory_bytes("cpu")
del block
gone = peak_memory_bytes("cpu")
reset_peak_memory("cpu")
print(before, there, gone, peak_memory_bytes("cpu"))
"""


def test_the_peak_is_what_was_taken_and_stays_until_it_is_reset() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    before, there, gone, reset = (int(number) / MEGABYTE for number in done.stdout.split())
    assert there - before == pytest.approx(200, abs=20) and gone == pytest.approx(there, abs=20)
    # Where the system cannot forget a peak, it stays.
    assert reset == pytest.approx(before, abs=20) or reset == pytest.approx(there, abs=20)


def test_without_proc_the_systems_own_figure_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "folder" / "none")
    reset_peak_memory("cpu")
    figure = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(memory.sys, "platform", "linux")
    assert peak_memory_bytes("cpu") == pytest.approx(figure * 1024, rel=0.01)
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert peak_memory_bytes("mps") == pytest.approx(figure, rel=0.01)


def test_on_cuda_torchs_allocator_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: asked.append(f"reset {device}"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: asked.append(f"peak {device}") or 77)
    reset_peak_memory("cuda:1")
    assert peak_memory_bytes("cuda:1") == 77 and asked == ["reset cuda:1", "peak cuda:1"]


# Faults are counted by the kernel: one for each page that is handed out and cleared anew.
CHURN = """
import resource, sys
if sys.argv[1] == "hold":
    from ferbench.memory import hold_freed_memory
    assert hold_freed_memory()
import torch
torch.set_num_threads(1)
torch.ones(25_000_000).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    torch.ones(25_000_000).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_held_memory_is_not_handed_out_anew() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", CHURN, how], check=True, capture_output=True, text=True)
        return int(done.stdout)

    # 30 times 100 MB are 732,000 pages of 4 kB. Held blocks fit again once some have grown together.
    left, held = faults("leave"), faults("hold")
    assert left > 500_000
    assert held < left / 2
