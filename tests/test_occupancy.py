"""What others use of a machine: from hand-written /proc/stat files, and from a process that really is in the way."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ferbench import occupancy
from ferbench.occupancy import Occupancy, busy_seconds, others_share

TICKS = os.sysconf("SC_CLK_TCK")

STAT = """cpu  900 900 900 900 900 900 900 900 900 900
cpu0 {0} 20 30 4000 500 6 7 8 900 0
cpu1 100 0 0 5000 0 0 0 0 0 0
cpu12 1000 0 0 0 0 0 0 0 0 0
intr 1 2 3
"""


@pytest.fixture
def stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "stat"
    path.write_text(STAT.format(10), "ascii")
    monkeypatch.setattr(occupancy, "_STAT", path)
    return path


def test_busy_is_all_but_idle_waiting_and_guests_of_the_cores_asked_for(stat: Path) -> None:
    # 10 user, 20 nice, 30 system, 6 irq, 7 softirq, 8 stolen; and 100 of the second core.
    assert busy_seconds(frozenset({0, 1})) == pytest.approx((81 + 100) / TICKS)
    assert busy_seconds(frozenset({0})) == pytest.approx(81 / TICKS)
    assert busy_seconds(frozenset({12})) == pytest.approx(1000 / TICKS)


@pytest.mark.parametrize("text", ["", "cpu0 0 0 0 0 0 0 0 0\n", "cpu0 1\n", "cpu0 a b c d e\n"])
def test_what_tells_nothing_is_unknown(stat: Path, text: str) -> None:
    stat.write_text(text, "ascii")
    assert busy_seconds(frozenset({0})) is None
    stat.unlink()
    assert busy_seconds(frozenset({0})) is None


@pytest.mark.parametrize(
    ("busy", "own", "share"), [(10.0, 10.0, 0.0), (10.0, 4.0, 0.3), (4.0, 10.0, 0.0), (99.0, 0.0, 1.0)]
)
def test_the_share_of_others_by_hand(busy: float, own: float, share: float) -> None:
    assert others_share(busy, own, elapsed=10.0, cores=2) == pytest.approx(share)


def watched(monkeypatch: pytest.MonkeyPatch, stat: Path, others: float) -> tuple[str, ...]:
    """Notes after 10 seconds on 1 core, of which this process used 2 and others a part."""
    monkeypatch.setattr(occupancy, "_allowed_cores", lambda: frozenset({0}))
    clock = SimpleNamespace(perf_counter=lambda: 100.0, process_time=lambda: 5.0)
    monkeypatch.setattr(occupancy, "time", clock)
    watch = Occupancy("cpu")
    clock.perf_counter, clock.process_time = (lambda: 110.0), (lambda: 7.0)
    stat.write_text(STAT.format(10 + round((2 + 10 * others) * TICKS)), "ascii")
    return watch.notes()


def test_a_busy_machine_is_noted_and_a_quiet_one_is_not(monkeypatch: pytest.MonkeyPatch, stat: Path) -> None:
    assert watched(monkeypatch, stat, 0.43) == ("the machine was busy: 43 % of the cores were used by others",)
    stat.write_text(STAT.format(10), "ascii")
    assert watched(monkeypatch, stat, 0.05) == ()


def test_without_proc_the_load_before_is_what_counts(monkeypatch: pytest.MonkeyPatch, stat: Path) -> None:
    stat.unlink()
    monkeypatch.setattr(occupancy, "usable_cores", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 0.0, 0.0))
    assert Occupancy("cpu").notes() == ("the machine was busy: 75 % of the cores were used by others",)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 0.0, 0.0))
    assert Occupancy("cpu").notes() == ()


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
def test_a_process_in_the_way_is_seen() -> None:
    cores = occupancy._allowed_cores()
    if busy_seconds(cores) is None:
        pytest.skip("this system's /proc/stat tells nothing")
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            before, since, own = busy_seconds(cores), time.perf_counter(), time.process_time()
            time.sleep(0.6)
            after, elapsed = busy_seconds(cores), time.perf_counter() - since
            assert before is not None and after is not None
            share = others_share(after - before, time.process_time() - own, elapsed, len(cores))
        finally:
            other.kill()
    # It takes one core, or its part of one that is fought over.
    assert share > 0.4 / len(cores)


def test_others_on_a_gpu_are_noted(monkeypatch: pytest.MonkeyPatch, stat: Path) -> None:
    """The logic alone, with the numbers that CUDA would give."""
    memory = {"free": 20_000_000_000, "reserved": 4_000_000_000}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda place: (memory["free"], 24_500_000_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda place: memory["reserved"])
    monkeypatch.setattr(torch.cuda, "utilization", lambda place: 35)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda place: None)
    monkeypatch.setattr(occupancy, "_SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    watch = Occupancy("cuda:0")
    # What this process keeps using would be its own.
    monkeypatch.setattr(torch.cuda, "utilization", lambda place: 100)
    assert watch.notes() == ("the device was busy: 35 % of its time went to others",)
    memory["free"] = 12_000_000_000
    assert "other processes held memory of the device" in watch.notes()

    def no_permission(place: object) -> int:
        raise RuntimeError("insufficient permissions")

    memory["free"] = 20_000_000_000
    monkeypatch.setattr(torch.cuda, "utilization", no_permission)
    assert Occupancy("cuda:0").notes() == ()
    monkeypatch.setattr(torch.cuda, "utilization", lambda place: 35)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert Occupancy("cuda:0").notes() == ()
