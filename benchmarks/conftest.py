"""Side-by-side timing: ours and a peer take turns in one process, and the median of paired ratios is what counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

_RATIOS: list[tuple[str, str, float, float, float]] = []


@pytest.fixture
def against(benchmark, request: pytest.FixtureRequest) -> Callable[..., float]:  # type: ignore[no-untyped-def]
    """`against(ours, peer, rounds)` times both in turn: the median of peer's time over ours (above 1: faster)."""

    def measure(ours: Callable[[], object], peer: Callable[[], object], rounds: int = 7, what: str = "") -> float:
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
        _RATIOS.append((request.node.name, what, ratio, min(ratios), max(ratios)))
        return ratio

    return measure


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _RATIOS:
        return
    terminalreporter.section("speed against peers: median of paired ratios (min to max), above 1 is faster")
    for name, what, ratio, low, high in _RATIOS:
        terminalreporter.write_line(f"{name:44} {ratio:6.2f}  ({low:.2f} to {high:.2f})  {what}")
