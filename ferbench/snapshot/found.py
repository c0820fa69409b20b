"""What was read from a store or a snapshot: runs that hold, and those that do not, by name."""

from __future__ import annotations

from dataclasses import dataclass

from ferbench.store.kept import KeptRun


@dataclass(frozen=True, slots=True)
class Refused:
    """A run that is left out.

    row, seed : None where its record cannot be read that far
    reason : what is wrong, and where in it
    """

    row: str | None
    seed: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """Runs in the order of entry and seed, and what was refused."""

    runs: tuple[KeptRun, ...]
    refused: tuple[Refused, ...]
