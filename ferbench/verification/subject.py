"""A run with all that the store has of it, read once for every check."""

from __future__ import annotations

from dataclasses import dataclass

from ferbench.errors import StoreError
from ferbench.records import Predictions, Run, StageResult
from ferbench.snapshot.hardware import renamed
from ferbench.stages import Stage
from ferbench.store import Store
from ferbench.store.integrity import StoredRun, StoredStage


@dataclass(frozen=True, slots=True)
class Subject:
    """What is verified.

    stored : of the chain's stages, those that the store has, by fingerprint
    report : what the last stage says of the board, under every name that it is stored by
    select : and of the target's select samples
    faults : predictions that cannot be read
    """

    lying: StoredRun
    run: Run
    stored: dict[str, StoredStage]
    report: tuple[Predictions, ...]
    select: tuple[Predictions, ...]
    faults: tuple[str, ...]

    @property
    def finished(self) -> bool:
        return self.run.status == "finished"

    @property
    def is_older(self) -> bool:
        """Whether an earlier ferbench recorded it, which kept no hashes and computed fewer figures."""
        run = self.run
        return not (run.predictions_sha256 or run.select_content or run.reliability or run.sources)

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
    select: tuple[Predictions, ...] = ()
    if run.status == "finished" and run.stages:
        try:
            if run.board is not None:
                report = tuple(store.stored_predictions(run.stages[-1], run.board.fingerprint))
            if run.select_content:
                select = tuple(store.stored_predictions(run.stages[-1], run.select_content))
            elif (of_select := store.select_predictions(run)) is not None:
                select = (of_select,)
        except StoreError as error:
            faults.append(error.line)
    return Subject(lying, run, stored, report, select, tuple(faults))


def called(name: str, run: Run) -> str:
    """What an entry or a stage of a run is called here, where its hardware may be part of its name."""
    return renamed(name, run.hardware) if run.hardware else name
