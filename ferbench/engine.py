"""Joins the parts: from a matrix to a plan, from a plan to runs in the store. The driver alone writes the store."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from ferbench.accelerator import prepare_device
from ferbench.catalog import Catalog
from ferbench.data.roles import RoleReader
from ferbench.environment import chosen_device, current_environment
from ferbench.executors.inprocess import StageFailure, StageWatch, execute
from ferbench.expressions import label_set
from ferbench.matrix import Matrix
from ferbench.metrics import correctness, scores
from ferbench.plan import CellPlan, Plan
from ferbench.preparation import Preparation, Prepared
from ferbench.pruning import keep_within
from ferbench.publish.cache import kept_warnings
from ferbench.records import EpochResult, Predictions, Run, StageResult
from ferbench.settings import Settings
from ferbench.stages import Stage
from ferbench.store import Store
from ferbench.training import Progress
from ferbench.workbench import Workbench
from ferbench.worker import StageOutcome, StageTask, evaluated


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

    Raises
    ------
    UsageError : a device that is not there
    """

    def __init__(self, catalog: Catalog, store: Store, settings: Settings, reporter: Reporter) -> None:
        self._catalog = catalog
        self._store = store
        self._reporter = reporter
        self.device = chosen_device(settings.device)
        prepare_device(self.device, deterministic=settings.deterministic)
        self.environment = current_environment(self.device)
        self._roles = RoleReader(catalog.dataset, settings.data_folder, settings.cache_folder)
        self._bench = Workbench(catalog.backbone, self._roles, settings.cache_folder, self.device)
        self._bench.deterministic = settings.deterministic
        self._bench.keep_every_seconds = settings.keep_seconds
        self._cache_folder, self._cache_bytes = settings.cache_folder, settings.cache_bytes
        self._preparation = Preparation(catalog, store, self._bench, self.environment, reporter.warn)

    def prepare(self, matrix: Matrix, *, force: bool = False, calibrate: bool = True) -> Prepared:
        """Plan a matrix; see Preparation.prepare."""
        return self._preparation.prepare(matrix, force=force, calibrate=calibrate)

    def run(self, prepared: Prepared, *, force: bool = False, stop: Callable[[], bool] = lambda: False) -> Outcome:
        """Train and predict what is left, and store each run as soon as it is whole.

        A stage that fails is recorded as failed runs of the cells that need it; the others go on. KeyboardInterrupt
        passes through: what is stored by then is what the next call goes on from.

        stop : asked after every step; the stage that is being trained is then kept, and KeyboardInterrupt raised
        """
        self._bench.stop = stop
        watch = _Watch(self._reporter, self._catalog)
        known = dict(prepared.known)
        failures: dict[str, StageFailure] = {}
        unpaid: dict[str, StageResult] = {}
        stages = {stage.fingerprint: stage for stage in prepared.plan.stages}
        waiting = {cell.key: cell for cell in prepared.pending}
        finished: list[Run] = []
        failed: list[Run] = []

        def settle() -> None:
            for key, cell in list(waiting.items()):
                broken = next((failures[name] for name in cell.stages if name in failures), None)
                if broken is not None:
                    run = self._failed(cell, broken.line)
                    failed.append(run)
                    self._store.save_run(run, None)
                elif all(name in known for name in cell.stages) and (report := self._report(cell)) is not None:
                    run = self._finished(cell, [stages[name] for name in cell.stages], known, unpaid, report)
                    finished.append(run)
                    self._store.save_run(run, correctness(report), force=force)
                else:
                    continue
                del waiting[key]
                self._reporter.run_finished(run)
                self._catalog.run_finished(run, self._reporter.warn)

        settle()
        left = {task.stage.fingerprint: task.stage for task in prepared.tasks}
        trained: set[str] = set()
        for task, outcome in execute(prepared.tasks, self._bench, watch, known, prepared.spare):
            left.pop(task.stage.fingerprint, None)
            if isinstance(outcome, StageFailure):
                failures[task.stage.fingerprint] = outcome
                self._reporter.stage_failed(task.stage, outcome.line, outcome.trace)
            else:
                self._keep(task, outcome, prepared.plan)
                if task.trained is None:
                    unpaid[task.stage.fingerprint] = outcome.result
                    trained.add(task.stage.fingerprint)
                    self._reporter.stage_finished(task.stage, outcome.result)
                    self._catalog.stage_finished(task.stage, outcome.result, self._reporter.warn)
                if task.stage.parent in trained:
                    self._drop_parent(task.stage, left.values(), prepared.plan)
            settle()
        self._keep_within({stage.fingerprint for stage in prepared.plan.stages} - known.keys())
        return Outcome(tuple(finished), tuple(failed), tuple(prepared.finished.values()))

    def _keep_within(self, unfinished: Collection[str]) -> None:
        """Bring the cache folder back to its size, as far as nothing that is needed goes."""
        kept = keep_within(
            self._cache_folder, self._cache_bytes, self._store.checkpoint_needs, also_unfinished=unfinished
        )
        for line in kept_warnings(kept):
            self._reporter.warn(line)

    def _keep(self, task: StageTask, outcome: StageOutcome, plan: Plan) -> None:
        stage = task.stage
        if task.trained is None:
            self._store.save_stage(stage, outcome.result)
        boards = {cell.cell.target: cell.board for cell in plan.cells if cell.stages[-1] == stage.fingerprint}
        for evaluation, predictions in outcome.predictions:
            if evaluation.role == "report":
                content = boards[evaluation.reference].fingerprint
            else:
                content = evaluated(self._roles, evaluation, task.label_set).content
            self._store.save_predictions(stage.fingerprint, content, predictions)

    def _drop_parent(self, stage: Stage, left: Collection[Stage], plan: Plan) -> None:
        """Delete the parent's checkpoint, made by this command, once no planned child waits for it.

        It stays where a cell ends with it.
        """
        parent = stage.parent
        if parent is None or any(other.parent == parent for other in left):
            return
        if all(cell.stages[-1] != parent for cell in plan.cells):
            self._bench.checkpoints.remove(parent)

    def _report(self, cell: CellPlan) -> Predictions | None:
        board = cell.board
        return self._store.predictions(cell.stages[-1], board.target, board.split, board.fingerprint)

    def _finished(
        self,
        cell: CellPlan,
        chain: list[Stage],
        known: Mapping[str, StageResult],
        unpaid: dict[str, StageResult],
        report: Predictions,
    ) -> Run:
        results = [known[name] for name in cell.stages]
        classes = label_set(cell.cell.recipe.label_set).classes
        spent = [_spent(unpaid.pop(name)) for name in cell.stages if name in unpaid]
        return dataclasses.replace(
            self._blank(cell),
            status="finished",
            scores=scores(report, classes),
            train_seconds=sum(result.train_seconds for result in results),
            spent_seconds=sum(spent),
            peak_memory_bytes=max(result.peak_memory_bytes for result in results),
            parameters=results[-1].parameters,
            notes=self._notes(cell, chain, results),
        )

    def _failed(self, cell: CellPlan, line: str) -> Run:
        return dataclasses.replace(self._blank(cell), error=line)

    def _blank(self, cell: CellPlan) -> Run:
        return Run(
            key=cell.key,
            entry=cell.entry,
            cell=cell.cell,
            status="failed",
            board=cell.board,
            weights=cell.weights,
            environment=self.environment,
            stages=cell.stages,
            images_seen=cell.images_seen,
            target_images_seen=cell.target_images_seen,
            train_fraction=cell.train_fraction,
            finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def _notes(self, cell: CellPlan, chain: list[Stage], results: list[StageResult]) -> tuple[str, ...]:
        notes = []
        if cell.board.synthetic:
            notes.append("synthetic faces")
        elif any(part.synthetic for stage in chain for part in stage.parts):
            notes.append("trained on synthetic faces too")
        if cell.weights.is_random:
            notes.append(
                "random weights" if cell.cell.weights == "random" else "random weights: no pretrained ones found"
            )
        if chain[-1].recipe.head_fit != "sgd":
            notes.append(f"head fitted by {chain[-1].recipe.head_fit}")
            if len(chain) > 1 and self._catalog.backbone(cell.cell.backbone).weightless:
                notes.append("stages before the last leave no trace: nothing but the head is fitted, and it anew")
        notes.extend(self._copies(cell, chain))
        for result in results:
            notes.extend(result.notes)
        absent = set.intersection(*(set(result.absent_classes) for result in results))
        if absent:
            notes.append(f"never trained on {', '.join(sorted(absent))}")
        target = cell.cell.target
        if any(stage.select and target in (part.dataset for part in stage.parts) for stage in chain):
            chosen_on = self._roles.select(target, cell.cell.recipe.label_set).splits.split("+")
            if set(chosen_on) & set(cell.board.split.split("+")):
                notes.append("selected on the reported split")
        return tuple(dict.fromkeys(notes))

    def _copies(self, cell: CellPlan, chain: list[Stage]) -> Iterator[str]:
        """What of the report split is trained on, picture by picture."""
        labels = cell.cell.recipe.label_set
        report = self._roles.report(cell.cell.target, labels).pictures
        for part in dict.fromkeys(part for stage in chain for part in stage.parts):
            samples = self._roles.train(part.dataset, labels, part.fraction)
            trained = set(samples.pictures)
            if count := sum(picture in trained for picture in report):
                where = f"{samples.dataset} {samples.splits}"
                yield f"{count:,} of {len(report):,} reported pictures are among those trained on, in {where}"


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
