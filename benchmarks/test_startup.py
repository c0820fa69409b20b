"""What a user waits for before anything happens."""

from __future__ import annotations

import subprocess
import sys


def test_help(against) -> None:  # type: ignore[no-untyped-def]
    def ours() -> None:
        subprocess.run([sys.executable, "-m", "ferbench", "--help"], check=True, capture_output=True)

    def peer() -> None:
        subprocess.run([sys.executable, "-c", "import click"], check=True, capture_output=True)

    against(ours, peer, what="`ferbench --help`, a whole process, against a process that only imports click")
