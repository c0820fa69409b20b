"""Joins the parts: from a matrix to a plan, from a plan to runs in the store. The driver alone writes the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ferbench.accelerator import prepare_device
from ferbench.cache.pruning import keep_within
from ferbench.catalog import Catalog
from ferbench.data.roles import LabelledImages, RoleReader
from ferbench.environment import chosen_device, current_environment
from ferbench.errors import CheckpointError
from ferbench.executors.inprocess import StageFailure, StageWatch, execute
from ferbench.forgetting import measured, predicted_for
from ferbench.further import FurtherReports
from ferbench.matrix import Matrix
from ferbench.metrics import correctness
from ferbench.plan import CellPlan, Plan
from ferbench.preparation import Preparation, Prepared
from ferbench.publish.cache import kept_warnings
from ferbench.records import EpochResult, Predictions, Run, StageResult
from ferbench.rows import Rows
from ferbench.settings import Settings
from ferbench.stages import Cell, Stage, Tuning
from ferbench.store import Store
from ferbench.training import Progress
from ferbench.workbench import Workbench
from ferbench.worker import StageOutcome, StageTask, evaluated

#: In a long command, the cache folder is looked through at this distance.
_KEEP_WITHIN_EVERY_SECONDS = 600.0


class Reporter(Protocol):
    """Told of everything that happens, in the driver. Text for people is made behind it."""

    def warn(self, line: str) -> None: ...
    def stage_started(self, stage: Stage, number: int, total: int) -> None: ...
    def stage_progress(self, stage: Stage, progress: Progress) -> None: ...
    def stage_finished(self, stage: Stage, result: StageResult) -> None: ...
    def stage_failed(self, stage: Stage, line: str, trace: str) -> None: ...
    def run_finished(self, run: Run) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did: runs finished now, runs failed now, and runs that were finished before."""

    finished: tuple[Run, ...]
    failed: tuple[Run, ...]
    skipped: tuple[Run, ...]


class Engine:
    """One command's worth of planning and running.

    Parameters
    ----------
    forgetting : measure how auxiliaries are still known at the end of their chains
    track : look at the target's select samples after each epoch of a chain's last stage

    Raises
    ------
    UsageError : a device that is not there
    """

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        settings: Settings,
        reporter: Reporter,
        *,
        forgetting: bool = True,
        track: bool = False,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._reporter = reporter
        self.device = chosen_device(settings.device)
        prepare_device(self.device, deterministic=settings.deterministic)
        self.environment = current_environment(self.device)
        self._roles = RoleReader(catalog.dataset, settings.data_folder, settings.cache_folder)
        self._bench = Workbench(
            *(catalog.backbone, self._roles, settings.cache_folder, self.device),
            find_face_detector=catalog.face_detector,
        )
        self._bench.deterministic = settings.deterministic
        self._bench.keep_every_seconds = settings.keep_seconds
        self._bench.warn = reporter.warn
        self._cache_folder, self._cache_bytes = settings.cache_folder, settings.cache_bytes
        self._rows = Rows(catalog, self._roles, self.environment, self._bench.cuts)
        self._preparation = Preparation(
            *(catalog, store, self._bench, self.environment, reporter.warn), forgetting=forgetting, track=track
        )

    def prepare(self, matrix: Matrix, *, force: bool = False, calibrate: bool = True) -> Prepared:
        """Plan a matrix; see Preparation.prepare."""
        return self._preparation.prepare(matrix, force=force, calibrate=calibrate)

    def prepare_tries(self, matrix: Matrix, *, force: bool = False) -> Prepared:
        """Plan the tries of a matrix that is to be tuned; see Preparation.prepare_tries."""
        return self._preparation.prepare_tries(matrix, force=force)

    def prepare_chosen(self, matrix: Matrix, *, force: bool = False) -> Prepared:
        """Plan the rows of a matrix whose tries are trained; see Preparation.prepare_chosen."""
        return self._preparation.prepare_chosen(matrix, force=force)

    def tunings(self, matrix: Matrix) -> list[tuple[Cell, Tuning]]:
        """What came of the tries: for each row-to-be its first try, and how the others compare."""
        found = self._preparation.candidates(matrix)
        tunings = self._preparation.tunings(found)
        return [(each.cells[0], tuning) for each, tuning in zip(found, tunings, strict=True)]

    def further_reports(self, references: Sequence[str]) -> FurtherReports:
        """What scores rows on further datasets than their target; see there."""
        return FurtherReports(self._catalog.dataset, self._store, self._bench, references, self._reporter.warn)

    def run(self, prepared: Prepared, *, force: bool = False, stop: Callable[[], bool] = lambda: False) -> Outcome:
        """Train and predict what is left, and store each run as soon as it is whole.

        A stage that fails is recorded as failed runs of the cells that need it; the others go on. KeyboardInterrupt
        passes through: what is stored by then is what the next call goes on from.

        A stage may be trained again while finished runs stand on what it predicted before. Those predictions stay, and
        a new run that shares the stage is computed from them, so that every run agrees with what is stored.

        force : compute the pending runs anew, finished or not; what they alone stand on is replaced
        stop : asked after every step; the stage that is being trained is then kept, and KeyboardInterrupt raised
        """
        if prepared.tries and prepared.pending:
            raise ValueError("tries decide what is reported: run prepare_tries first, then prepare_chosen")
        self._bench.stop = stop
        watch = _Watch(self._reporter, self._catalog)
        standing = _Standing(
            stages={stage.fingerprint: stage for stage in prepared.plan.stages},
            known=dict(prepared.known),
            unpaid=self._unpaid(prepared),
            left={task.stage.fingerprint: task.stage for task in prepared.tasks},
            unpredicted={task.stage.fingerprint for task in prepared.tasks if task.evaluations},
        )
        waiting = {cell.key: cell for cell in prepared.pending}
        again = frozenset(waiting) if force else frozenset()
        runs: list[Run] = []

        def settle() -> None:
            for key, cell in list(waiting.items()):
                run = self._settled(cell, prepared, standing, force)
                if run is None:
                    continue
                del waiting[key]
                runs.append(run)
                self._reporter.run_finished(run)
                self._catalog.run_finished(run, self._reporter.warn)

        settle()
        tried = {cell.stages[-1] for cell in prepared.tries}
        for task, outcome in self._executed(prepared, watch, standing.known):
            name = task.stage.fingerprint
            standing.left.pop(name, None)
            standing.unpredicted.discard(name)
            if isinstance(outcome, StageFailure):
                standing.failures[name] = outcome
                self._reporter.stage_failed(task.stage, outcome.line, outcome.trace)
                if name in tried:
                    self._reporter.warn(f"a try failed: {outcome.line}")
            else:
                self._keep(task, outcome, prepared, again)
                if task.trained is None:
                    standing.unpaid[name] = outcome.result
                    standing.trained.add(name)
                    self._reporter.stage_finished(task.stage, outcome.result)
                    self._catalog.stage_finished(task.stage, outcome.result, self._reporter.warn)
                if task.stage.parent in standing.trained:
                    self._drop(task.stage.parent, standing.left.values(), prepared.plan)
                if name in standing.trained & tried:
                    self._drop(name, standing.left.values(), prepared.plan)
            settle()
        finished = tuple(run for run in runs if run.status == "finished")
        failed = tuple(run for run in runs if run.status == "failed")
        return Outcome(finished, failed, tuple(prepared.finished.values()))

    def _settled(self, cell: CellPlan, prepared: Prepared, standing: _Standing, force: bool) -> Run | None:
        """The run of a cell that nothing more is to be done for, stored; None while there is."""
        if all(name in standing.known for name in cell.stages) and (report := self._report(cell)) is not None:
            if not standing.unpredicted.isdisjoint(cell.stages):
                return None
            run = self._rows.finished(
                cell,
                [standing.stages[name] for name in cell.stages],
                [standing.known[name] for name in cell.stages],
                sum(_spent(standing.unpaid.pop(name)) for name in cell.stages if name in standing.unpaid),
                report,
                self._select(cell),
                measured(prepared.passed.get(cell.key, ()), self._predictions),
            )
            self._store.save_run(run, correctness(report), force=force)
            return run
        broken = next((standing.failures[name] for name in cell.stages if name in standing.failures), None)
        if broken is None:
            return None
        run = self._rows.failed(cell, broken.line)
        self._store.save_run(run, None)
        return run

    def _executed(
        self, prepared: Prepared, watch: StageWatch, known: dict[str, StageResult]
    ) -> Iterator[tuple[StageTask, StageOutcome | StageFailure]]:
        """Outcomes as they come, with the cache folder kept within its bound meanwhile and in the end."""
        kept_at = time.monotonic()
        wanted = (*prepared.tries, *prepared.pending)
        try:
            for task, outcome in execute(prepared.tasks, self._bench, watch, known, prepared.spare):
                yield task, outcome
                if time.monotonic() - kept_at > _KEEP_WITHIN_EVERY_SECONDS:
                    self._keep_within(_needed(wanted, known))
                    kept_at = time.monotonic()
        finally:
            self._keep_within(_needed(wanted, known))

    def _keep_within(self, unfinished: Collection[str]) -> None:
        """Bring the cache folder back to its size, as far as nothing that is needed goes."""
        try:
            kept = keep_within(
                self._cache_folder, self._cache_bytes, self._store.checkpoint_needs, also_unfinished=unfinished
            )
        except CheckpointError as error:
            self._reporter.warn(error.line)
            return
        for line in kept_warnings(kept):
            self._reporter.warn(line)

    def _unpaid(self, prepared: Prepared) -> dict[str, StageResult]:
        """Stages that an earlier command has trained, and was stopped before a run could pay for them."""
        if not prepared.pending or not prepared.known:
            return {}
        unpaid = self._store.checkpoint_needs().unpaid
        return {name: result for name, result in prepared.known.items() if name in unpaid}

    def _keep(self, task: StageTask, outcome: StageOutcome, prepared: Prepared, again: Collection[str]) -> None:
        stage = task.stage
        if task.trained is None:
            self._store.save_stage(stage, outcome.result)
            # Not before: whatever ends this process, the stage is either stored or gone on with.
            self._bench.partials.remove(stage.fingerprint)
        cells = prepared.plan.cells
        boards = {cell.cell.target: cell.board for cell in cells if cell.stages[-1] == stage.fingerprint}
        beside = predicted_for(stage.fingerprint, (each for passed in prepared.passed.values() for each in passed))
        for evaluation, predictions in outcome.predictions:
            board = boards.get(evaluation.reference) if evaluation.role == "report" else None
            contents = [] if board is None else [board.fingerprint]
            if board is None or evaluation in beside:
                contents.append(evaluated(self._roles, evaluation, task.label_set).content)
            for content in contents:
                self._store.save_predictions(stage.fingerprint, content, predictions, again=again)

    def _drop(self, name: str | None, left: Collection[Stage], plan: Plan) -> None:
        """Delete a stage's checkpoint, made by this command, once no planned child waits for it.

        It stays where a cell ends with it, of this plan or of an earlier one.
        """
        if name is None or any(other.parent == name for other in left):
            return
        if any(cell.stages[-1] == name for cell in plan.cells) or self._store.ends_a_run(name):
            return
        self._bench.checkpoints.remove(name)

    def _select(self, cell: CellPlan) -> Predictions | None:
        samples = self._roles.select(cell.cell.target, cell.cell.recipe.label_set)
        return self._predictions(cell.stages[-1], samples)

    def _predictions(self, stage: str, samples: LabelledImages) -> Predictions | None:
        return self._store.predictions(stage, samples.dataset, samples.splits, samples.content)

    def _report(self, cell: CellPlan) -> Predictions | None:
        board = cell.board
        return self._store.predictions(cell.stages[-1], board.target, board.split, board.fingerprint)


def _needed(cells: Iterable[CellPlan], known: Collection[str]) -> set[str]:
    """Stages that cells may still go on from, trained or not."""
    return {name for cell in cells if cell.stages[-1] not in known for name in cell.stages}


@dataclass(slots=True)
class _Standing:
    """Where a command stands, by the fingerprints of stages.

    unpaid : trained by this command or an earlier one, and not paid for by a run yet
    left : of tasks that are still to be done
    unpredicted : of those of them that predict something
    trained : by this command
    """

    stages: Mapping[str, Stage]
    known: dict[str, StageResult]
    unpaid: dict[str, StageResult]
    left: dict[str, Stage]
    unpredicted: set[str]
    trained: set[str] = field(default_factory=set)
    failures: dict[str, StageFailure] = field(default_factory=dict)


def _spent(result: StageResult) -> float:
    return result.train_seconds if result.spent_seconds is None else result.spent_seconds


class _Watch(StageWatch):
    """Passes what an executor tells on to the reporter and to the observers."""

    def __init__(self, reporter: Reporter, catalog: Catalog) -> None:
        self._reporter = reporter
        self._catalog = catalog
        self.stage_started: Callable[[Stage, int, int], None] = reporter.stage_started  # type: ignore[assignment]
        self.stage_progress: Callable[[Stage, Progress], None] = reporter.stage_progress  # type: ignore[assignment]

    def epoch_finished(self, stage: Stage, epoch: EpochResult) -> None:
        self._catalog.epoch_finished(stage, epoch, self._reporter.warn)
