"""Side-by-side timing: ours and a peer take turns in one process, and the median of paired ratios is what counts."""

from __future__ import annotations

import platform
import statistics
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from device_figures import Table, snapshot, snapshot_name
from goals import Goal, loop_goals
from peers.installed import absent_peers
from peers.race import Pairs, Peer, race
from peers.work import Run, Work

from ferbench.environment import processor_name, usable_cores
from ferbench.memory import hold_freed_memory

WIDTH = 100
GPU = "cuda:0"
_WORDS = 38


@dataclass(frozen=True)
class _Row:
    group: str
    what: str
    ratios: tuple[float, ...]
    ours: str
    peer: str
    verdict: str = ""


#: Goals with what was measured, in words; first whether it is reached.
_GOALS: list[tuple[bool, str]] = []
_ROWS: list[_Row] = []
_LINES: list[str] = []
_TABLES: list[Table] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--snapshot", metavar="FOLDER", help="write what test_gpu.py measured as a file into this folder")


@pytest.fixture
def tables() -> list[Table]:
    """What is put here ends in the summary and, with `--snapshot results`, in a file."""
    return _TABLES


@pytest.fixture(autouse=True, scope="session")
def _one_allocator() -> None:
    """Peers get what ferbench's command does at its start: memory that is freed stays with the process."""
    hold_freed_memory()


@pytest.fixture
def against(benchmark, request: pytest.FixtureRequest) -> Callable[..., float]:  # type: ignore[no-untyped-def]
    """`against(ours, peer, rounds)` times both in turn: the median of peer's time over ours (above 1: faster).

    A goal in seconds is one for ours, any other for that ratio.
    """

    def measure(
        ours: Callable[[], object],
        peer: Callable[[], object],
        rounds: int = 7,
        what: str = "",
        goal: Goal | None = None,
    ) -> float:
        ours(), peer()
        peer_seconds: list[float] = []

        def before() -> None:
            start = time.perf_counter()
            peer()
            peer_seconds.append(time.perf_counter() - start)

        benchmark.pedantic(ours, setup=before, rounds=rounds, iterations=1)
        own_seconds = benchmark.stats.stats.data
        ratios = [other / own for other, own in zip(peer_seconds, own_seconds, strict=True)]
        ratio = statistics.median(ratios)
        benchmark.extra_info.update(ratio=ratio, peer_median_seconds=statistics.median(peer_seconds))
        own_median, peer_median = statistics.median(own_seconds), statistics.median(peer_seconds)
        name = what or request.node.name
        verdict = _judged(goal, own_median if goal and goal.unit else ratio, name)
        _ROWS.append(_Row("", name, tuple(ratios), _seconds(own_median), _seconds(peer_median), verdict))
        return ratio

    return measure


@pytest.fixture
def raced(benchmark) -> Callable[..., list[Pairs]]:  # type: ignore[no-untyped-def]
    """`raced(work, ours, peers, rounds)` lets loops take turns, see `peers.race`; each peer is a row of the summary."""

    def measure(work: Work, ours: Run, peers: Sequence[Peer], rounds: int) -> list[Pairs]:
        found: list[Pairs] = benchmark.pedantic(race, args=(work, ours, peers, rounds), rounds=1, iterations=1)
        images = work.steps * work.batch_size
        goals = loop_goals(found)
        for pairs in found:
            own_rate = images / statistics.median(pairs.own_seconds)
            peer_rate = images / statistics.median(pairs.peer_seconds)
            benchmark.extra_info[pairs.peer] = {
                "setting": pairs.setting,
                "ratio": pairs.ratio,
                "ratios": pairs.ratios,
                "ours_images_per_second": own_rate,
                "peer_images_per_second": peer_rate,
            }
            what = f"{pairs.peer} ({pairs.setting})" if pairs.setting else pairs.peer
            verdict = _judged(goals.get(pairs.peer), pairs.ratio, f"{work.name}, against {what}")
            _ROWS.append(_Row(work.name, what, pairs.ratios, f"{own_rate:.4g}/s", f"{peer_rate:.4g}/s", verdict))
        benchmark.extra_info["environment"] = environment_line(work.device)
        return found

    return measure


class _Notes:
    """Figures that a test measured itself."""

    def __call__(
        self, group: str, what: str, own_seconds: float, peer_seconds: float, goal: Goal | None = None
    ) -> None:
        """One pair, as a row of the summary.

        A goal from below is one for the ratio of peer's seconds to ours, a goal from above for ours as a part of them.
        """
        ratio = peer_seconds / own_seconds
        verdict = _judged(goal, 1 / ratio if goal and goal.sign == "<=" else ratio, f"{group}: {what}")
        _ROWS.append(_Row(group, what, (ratio,), _seconds(own_seconds), _seconds(peer_seconds), verdict))

    def line(self, text: str) -> None:
        """A figure that is no ratio to a peer, as a line below the summary."""
        _LINES.append(text)

    def figure(self, what: str, goal: Goal, figure: float) -> None:
        """The same, with what becomes of its goal."""
        _LINES.append(f"{what}: {goal.told(figure)} ({_judged(goal, figure, what)})")


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:.0f} s"


def _judged(goal: Goal | None, figure: float, what: str) -> str:
    """The goal's verdict, which is counted; nothing without a goal."""
    if goal is None:
        return ""
    verdict = goal.verdict(figure)
    _GOALS.append((goal.is_reached(figure), f"{verdict} at {goal.told(figure)}: {what}"))
    return verdict


@pytest.fixture
def noted() -> _Notes:
    """`noted(group, what, own_seconds, peer_seconds, goal)`, `noted.line(text)` and `noted.figure(what, goal, figure)`.

    They tell what a test measured itself.
    """
    return _Notes()


def environment_line(device: str = "cpu") -> str:
    """What the ratios were measured on."""
    where = torch.cuda.get_device_name(torch.device(device)) if device.startswith("cuda") else processor_name()
    return (
        f"{where}; {usable_cores()} cores, torch {torch.__version__} with {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _TABLES:
        text = snapshot(environment_line(GPU), "pytest benchmarks/test_gpu.py --snapshot results", _TABLES)
        terminalreporter.section("speed of the device")
        terminalreporter.write_line(text)
        if config.option.snapshot:
            (Path(config.option.snapshot) / snapshot_name(GPU)).write_text(text)
    if _ROWS or _LINES:
        _write_ratios(terminalreporter.write_line, terminalreporter.section)


def _write_ratios(write: Callable[[str], None], section: Callable[[str], None]) -> None:
    section("speed against peers: medians of paired ratios, above 1: ferbench is faster")
    for text in filter(None, (environment_line(), absent_peers())):
        for line in textwrap.wrap(text, WIDTH):
            write(line)
    write(f"{'':{_WORDS}} {'ratio':>6} {'(min to max)':16} {'ours':>8} {'peer':>8} goal")
    group = ""
    for row in _ROWS:
        if row.group != group:
            group = row.group
            write(group)
        indent = "  " if row.group else ""
        lines = textwrap.wrap(row.what, _WORDS, initial_indent=indent, subsequent_indent=indent + "  ")
        spread = f"({min(row.ratios):.2f} to {max(row.ratios):.2f})" if len(row.ratios) > 1 else ""
        figures = f"{statistics.median(row.ratios):6.3f} {spread:16} {row.ours:>8} {row.peer:>8} {row.verdict}"
        lines[-1] = f"{lines[-1]:{_WORDS}} {figures}".rstrip()
        for line in lines:
            write(line)
    missed = [text for is_reached, text in _GOALS if not is_reached]
    tally = [f"goals: {len(_GOALS) - len(missed)} reached, {len(missed)} missed"] if _GOALS else []
    for text in (*_LINES, *tally, *missed):
        for line in textwrap.wrap(text, WIDTH, subsequent_indent="  "):
            write(line)
