"""What a user waits for before anything happens."""

from __future__ import annotations

import subprocess
import sys

from goals import FAR_TOO_SLOW, HELP


def test_help(against, benchmark) -> None:  # type: ignore[no-untyped-def]
    def ours() -> None:
        subprocess.run([sys.executable, "-m", "ferbench", "--help"], check=True, capture_output=True)

    def peer() -> None:
        subprocess.run([sys.executable, "-c", "import click"], check=True, capture_output=True)

    what = "`ferbench --help`, a whole process, against a process that only imports click"
    against(ours, peer, what=what, goal=HELP)
    assert benchmark.stats.stats.min < FAR_TOO_SLOW * HELP.bound
