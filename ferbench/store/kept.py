"""A run with all that it stands on: what goes from one store to another, or into a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ferbench.records import FurtherScores, Predictions, Run, StageResult
from ferbench.stages import Stage


@dataclass(frozen=True, slots=True)
class KeptRun:
    """One run, finished or failed. Runs that stand on the same stages share these objects.

    stages : of the chain, in its order; a failed run has none
    predictions : by stage and content (the board's fingerprint for the report split): of report, of select, and of what
        forgetting and further scores were computed from
    further : each with the fingerprint of the stage that has it
    """

    run: Run
    stages: tuple[tuple[Stage, StageResult], ...] = ()
    predictions: Mapping[tuple[str, str], Predictions] = field(default_factory=dict)
    further: tuple[tuple[str, FurtherScores], ...] = ()

    @property
    def name(self) -> tuple[str, int]:
        """Its row and its seed."""
        return self.run.row, self.run.cell.seed

    @property
    def report(self) -> Predictions:
        """Of the board; a finished run has them."""
        assert self.run.board is not None
        return self.predictions[self.run.stages[-1], self.run.board.fingerprint]
