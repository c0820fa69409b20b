"""A run with all that the store has of it, read once for every check."""

from __future__ import annotations

from dataclasses import dataclass

from ferbench.errors import StoreError
from ferbench.fingerprints import fingerprint
from ferbench.records import Predictions, Run, StageResult
from ferbench.stages import Stage
from ferbench.store import Store
from ferbench.store.integrity import StoredRun, StoredStage


@dataclass(frozen=True, slots=True)
class Subject:
    """What is verified.

    stored : of the chain's stages, those that the store has, by fingerprint
    report : what the last stage says of the board, under every name that it is stored by
    select : and of the target's select samples; None where that is not stored
    faults : predictions that cannot be read
    """

    lying: StoredRun
    run: Run
    stored: dict[str, StoredStage]
    report: tuple[Predictions, ...]
    select: Predictions | None
    faults: tuple[str, ...]

    @property
    def finished(self) -> bool:
        return self.run.status == "finished"

    @property
    def final(self) -> str:
        """The stage that was reported on."""
        return self.run.stages[-1]

    def chain(self) -> list[tuple[Stage, StageResult]] | None:
        """The chain's stages in their order; None unless all of them can be read."""
        found = []
        for name in self.run.stages:
            lying = self.stored.get(name)
            if lying is None or lying.stage is None or lying.result is None:
                return None
            found.append((lying.stage, lying.result))
        return found or None


def read_subject(lying: StoredRun, run: Run, store: Store) -> Subject:
    """Everything that a run names, as far as the store has it and it can be read."""
    stored = {name: found for name in run.stages if (found := store.stored_stage(name)) is not None}
    faults: list[str] = []
    report: tuple[Predictions, ...] = ()
    select = None
    if run.status == "finished" and run.stages:
        try:
            if run.board is not None:
                report = tuple(store.stored_predictions(run.stages[-1], run.board.fingerprint))
            select = store.select_predictions(run)
        except StoreError as error:
            faults.append(error.line)
    return Subject(lying, run, stored, report, select, tuple(faults))


def renamed(name: str, hardware: str) -> str:
    """What an entry or a stage is called where a like one of other hardware was here before it."""
    return fingerprint([name, hardware]) if hardware else name
