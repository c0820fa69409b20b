"""Joins the parts: from a matrix to a plan, from a plan to runs in the store. The driver alone writes the store."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ferbench.calibration import measured_speed
from ferbench.catalog import Catalog
from ferbench.checkpoints import Checkpoints
from ferbench.costs import Measured, PlanCost, SpeedKey, plan_cost, speed_key
from ferbench.data.roles import RoleReader, check_target
from ferbench.environment import automatic_precision, chosen_device, current_environment
from ferbench.errors import UsageError, WeightsError
from ferbench.executors.inprocess import StageFailure, StageWatch, execute
from ferbench.expressions import label_set
from ferbench.matrix import Matrix, unrolled
from ferbench.metrics import correctness, scores
from ferbench.plan import PlanInputs, make_plan
from ferbench.records import (
    PROTOCOL_VERSION,
    RANDOM_WEIGHTS,
    Board,
    Cell,
    CellPlan,
    EpochResult,
    InitialWeights,
    Plan,
    Predictions,
    Run,
    Stage,
    StageResult,
    TrainingPart,
    fingerprint,
)
from ferbench.references import parse_reference
from ferbench.settings import Settings
from ferbench.store import Store
from ferbench.training import Progress
from ferbench.weights import resolve_weights
from ferbench.worker import Evaluation, StageOutcome, StageTask, Workbench, evaluated

#: Fewer steps than this are over before an estimate would be.
_CALIBRATED_FROM_STEPS = 20


class Reporter(Protocol):
    """Told of everything that happens, in the driver. Text for people is made behind it."""

    def warn(self, line: str) -> None: ...
    def stage_started(self, stage: Stage, number: int, total: int) -> None: ...
    def stage_progress(self, stage: Stage, progress: Progress) -> None: ...
    def stage_finished(self, stage: Stage, result: StageResult) -> None: ...
    def stage_failed(self, stage: Stage, line: str, trace: str) -> None: ...
    def run_finished(self, run: Run) -> None: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan with what is left to do.

    pending : cells without a finished run in the store (all of them with force)
    finished : runs that are in the store already, by cell key
    tasks : what remains to be trained or predicted, parents first
    known : results of stages trained before
    synthetic : no real dataset is involved
    """

    plan: Plan
    cost: PlanCost
    pending: tuple[CellPlan, ...]
    finished: Mapping[str, Run]
    tasks: tuple[StageTask, ...]
    known: Mapping[str, StageResult]
    synthetic: bool


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
        self.environment = current_environment(self.device)
        self._roles = RoleReader(catalog.dataset, settings.data_folder, settings.cache_folder)
        self._checkpoints = Checkpoints(settings.cache_folder)
        self._bench = Workbench(catalog.backbone, self._roles, self._checkpoints, self.device)
        self._weights: dict[tuple[str, str], InitialWeights] = {}
        self._warned: set[str] = set()

    # --- planning -----------------------------------------------------------------------------------------------------

    def prepare(self, matrix: Matrix, *, force: bool = False, calibrate: bool = True) -> Prepared:
        """Plan a matrix: look every name up, read the data, find what is done already.

        Parameters
        ----------
        force : plan everything again, finished or not
        calibrate : measure speeds that the store does not know by training a few steps

        Raises
        ------
        FerbenchError : a name, a value, data or weights at fault; nothing has been trained then
        """
        cells = self._cells(matrix)
        plan = make_plan(cells, self._catalog, self._inputs(cells))
        finished = {} if force else self._store.finished([cell.key for cell in plan.cells])
        pending = tuple(cell for cell in plan.cells if cell.key not in finished)
        stages = {stage.fingerprint: stage for stage in plan.stages}
        known = {} if force else self._store.stage_results([f for cell in pending for f in cell.stages])
        tasks = self._tasks(pending, stages, known)
        return Prepared(
            plan=plan,
            cost=self._cost(plan, pending, tasks, calibrate),
            pending=pending,
            finished=finished,
            tasks=tasks,
            known=known,
            synthetic=all(cell.board.synthetic for cell in plan.cells),
        )

    def _cells(self, matrix: Matrix) -> tuple[Cell, ...]:
        cells: dict[Cell, None] = {}
        for target in matrix.targets:
            check_target(parse_reference(target, self._catalog.dataset))
            own = dataclasses.replace(matrix, targets=(target,))
            budget = None if matrix.epochs is None else self._images(own, matrix.epochs)
            cells.update(dict.fromkeys(unrolled(own, self._catalog, budget)))
        return tuple(cells)

    def _images(self, matrix: Matrix, epochs: float) -> int:
        """Epochs as images: passes over the target and all named auxiliaries, one budget for every cell."""
        names = dict.fromkeys([*matrix.targets, *(name for chain in matrix.auxiliaries for name in chain)])
        return max(1, round(epochs * sum(self._roles.train(name).count for name in names)))

    def _inputs(self, cells: Iterable[Cell]) -> PlanInputs:
        for cell in cells:
            self._resolve_weights(cell)
        return PlanInputs(
            training_part=self._training_part,
            select_content=lambda reference, labels: self._roles.select(reference, labels).content,
            board=self._board,
            weights=lambda backbone, policy: self._weights[backbone, policy],
            precision=automatic_precision(self.device),
            device_kind=self.environment.device_kind,
        )

    def _resolve_weights(self, cell: Cell) -> None:
        key = (cell.backbone, cell.weights)
        if key in self._weights:
            return
        found = resolve_weights(self._catalog.backbone(cell.backbone), cell.weights)
        if found is None:
            advice = "connect to the network, give a file with --weights FILE, or take --weights random"
            if not parse_reference(cell.target, self._catalog.dataset).dataset.embedded:
                raise WeightsError(f"pretrained weights of {cell.backbone} cannot be had here: {advice}")
            self._warn(f"no pretrained weights of {cell.backbone} can be had here: it starts from random ones ({advice})")
            found = RANDOM_WEIGHTS
        self._weights[key] = found

    def _training_part(self, reference: str, labels: str) -> TrainingPart:
        samples = self._roles.train(reference, labels)
        for line in samples.warnings:
            self._warn(line)
        return TrainingPart(reference, samples.splits, samples.content, samples.count)

    def _board(self, target: str, labels: str) -> Board:
        samples = self._roles.report(target, labels)
        for line in samples.warnings:
            self._warn(line)
        if samples.labels is None:
            raise UsageError(f"target {target}: the labels of {samples.splits} are withheld, name another split")
        named = label_set(labels)
        identity = {
            "content": samples.content,
            "classes": list(named.classes),
            "members": [list(members) for members in named.members],
            "excluded": samples.excluded,
            "protocol": PROTOCOL_VERSION,
        }
        return Board(
            fingerprint=fingerprint(identity),
            target=samples.dataset,
            split=samples.splits,
            n=samples.count,
            label_set=named.name,
            protocol=PROTOCOL_VERSION,
            majority=float(np.bincount(samples.labels).max() / samples.count),
            excluded=samples.excluded,
            synthetic=samples.synthetic,
        )

    def _warn(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            self._reporter.warn(line)

    def _tasks(
        self, pending: Iterable[CellPlan], stages: Mapping[str, Stage], known: Mapping[str, StageResult]
    ) -> tuple[StageTask, ...]:
        """What has to be trained or predicted for the pending cells, parents first."""
        evaluations: dict[str, dict[Evaluation, None]] = {}
        references: dict[str, tuple[str, ...]] = {}
        labels: dict[str, str] = {}
        trained: set[str] = set()
        order: dict[str, None] = {}
        for cell in pending:
            for name in cell.stages:
                references[name] = tuple(part.dataset for part in stages[name].parts)
                labels[name] = cell.cell.recipe.label_set
            final = cell.stages[-1]
            wanted = [Evaluation(cell.cell.target, "select"), Evaluation(cell.cell.target, "report")]
            if final in known and all(self._stored(final, evaluation, cell) for evaluation in wanted):
                continue
            evaluations.setdefault(final, {}).update(dict.fromkeys(wanted))
            for position, name in reversed(list(enumerate(cell.stages))):
                if name in known and self._checkpoints.holds(name):
                    if position == len(cell.stages) - 1:
                        order[name] = None
                    break
                trained.add(name)
            order.update(dict.fromkeys(name for name in cell.stages if name in trained))
        return tuple(
            StageTask(
                stage=stages[name],
                references=references[name],
                label_set=labels[name],
                evaluations=tuple(evaluations.get(name, {})),
                trained=None if name in trained else known[name],
            )
            for name in order
        )

    def _stored(self, stage: str, evaluation: Evaluation, cell: CellPlan) -> Predictions | None:
        samples = evaluated(self._roles, evaluation, cell.cell.recipe.label_set)
        content = cell.board.fingerprint if evaluation.role == "report" else samples.content
        return self._store.predictions(stage, samples.dataset, samples.splits, content)

    def _cost(
        self, plan: Plan, pending: tuple[CellPlan, ...], tasks: tuple[StageTask, ...], calibrate: bool
    ) -> PlanCost:
        kind, threads = self.environment.device_kind, self.environment.threads
        measured: dict[SpeedKey, Measured] = {}
        for speed in self._store.speeds():
            key = SpeedKey(
                speed.backbone,
                speed.image_size,
                speed.trainable,
                speed.precision,
                speed.batch_size,
                speed.device,
                speed.threads,
            )
            measured.setdefault(key, Measured(speed.images_per_second))
        training = [task.stage for task in tasks if task.trained is None]
        if calibrate:
            self._calibrate(training, measured)
        to_train = {stage.fingerprint for stage in training}
        return plan_cost(
            plan,
            done=[stage.fingerprint for stage in plan.stages if stage.fingerprint not in to_train],
            measured=measured,
            device_kind=kind,
            threads=threads,
            evaluated={
                task.stage.fingerprint: sum(evaluated(self._roles, e, task.label_set).count for e in task.evaluations)
                for task in tasks
            },
        )

    def _calibrate(self, training: Iterable[Stage], measured: dict[SpeedKey, Measured]) -> None:
        images: dict[SpeedKey, int] = {}
        first: dict[SpeedKey, Stage] = {}
        for stage in training:
            key = speed_key(stage, self.environment.device_kind, self.environment.threads)
            images[key] = images.get(key, 0) + stage.recipe.images_seen
            first.setdefault(key, stage)
        for key, stage in first.items():
            if key in measured or images[key] < _CALIBRATED_FROM_STEPS * key.batch_size:
                continue
            backbone = self._catalog.backbone(stage.backbone)
            try:
                measured[key] = Measured(measured_speed(stage, backbone, self.device))
            except Exception:  # the stage itself will fail, be recorded and be told with its reason
                continue

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self, prepared: Prepared, *, force: bool = False) -> Outcome:
        """Train and predict what is left, and store each run as soon as it is whole.

        A stage that fails is recorded as failed runs of the cells that need it; the others go on. KeyboardInterrupt
        passes through: what is stored by then is what the next call goes on from.
        """
        watch = _Watch(self._reporter, self._catalog)
        known = dict(prepared.known)
        failures: dict[str, StageFailure] = {}
        unpaid: dict[str, StageResult] = {}
        waiting = {cell.key: cell for cell in prepared.pending}
        finished: list[Run] = []
        failed: list[Run] = []

        def settle() -> None:
            for key, cell in list(waiting.items()):
                broken = next((failures[name] for name in cell.stages if name in failures), None)
                if broken is not None:
                    run = self._failed(cell, broken.line)
                    failed.append(run)
                elif all(name in known for name in cell.stages) and self._answered(cell):
                    run = self._finished(cell, known, unpaid)
                    finished.append(run)
                else:
                    continue
                del waiting[key]
                self._store.save_run(run, self._correct(run), force=force)
                self._reporter.run_finished(run)
                self._catalog.run_finished(run, self._warn)

        settle()
        left = [task.stage for task in prepared.tasks]
        for task, outcome in execute(prepared.tasks, self._bench, watch, known):
            left.remove(task.stage)
            if isinstance(outcome, StageFailure):
                failures[task.stage.fingerprint] = outcome
                self._reporter.stage_failed(task.stage, outcome.line, outcome.trace)
            else:
                self._keep(task, outcome, prepared.plan)
                if task.trained is None:
                    unpaid[task.stage.fingerprint] = outcome.result
                    self._reporter.stage_finished(task.stage, outcome.result)
                    self._catalog.stage_finished(task.stage, outcome.result, self._warn)
            self._drop_parents(task.stage, left, prepared.plan)
            settle()
        return Outcome(tuple(finished), tuple(failed), tuple(prepared.finished.values()))

    def _keep(self, task: StageTask, outcome: StageOutcome, plan: Plan) -> None:
        stage = task.stage
        if task.trained is None:
            self._store.save_stage(stage, outcome.result)
        boards = {
            (self._roles.report(cell.cell.target, cell.cell.recipe.label_set).content, cell.board.split): cell.board
            for cell in plan.cells
            if cell.stages[-1] == stage.fingerprint
        }
        for content, predictions in outcome.predictions:
            board = boards.get((content, predictions.split))
            self._store.save_predictions(
                stage.fingerprint, content if board is None else board.fingerprint, predictions
            )

    def _drop_parents(self, stage: Stage, left: list[Stage], plan: Plan) -> None:
        """Delete the parent's checkpoint once no planned child waits for it, unless a cell ends with it."""
        parent = stage.parent
        if parent is None or any(other.parent == parent for other in left):
            return
        if all(cell.stages[-1] != parent for cell in plan.cells):
            self._checkpoints.remove(parent)

    def _answered(self, cell: CellPlan) -> bool:
        return self._report(cell) is not None

    def _report(self, cell: CellPlan) -> Predictions | None:
        board = cell.board
        return self._store.predictions(cell.stages[-1], board.target, board.split, board.fingerprint)

    def _correct(self, run: Run) -> np.ndarray[tuple[int], np.dtype[np.bool_]] | None:
        if run.status == "failed" or run.board is None:
            return None
        board = run.board
        predictions = self._store.predictions(run.stages[-1], board.target, board.split, board.fingerprint)
        return None if predictions is None else correctness(predictions)  # type: ignore[return-value]

    def _finished(self, cell: CellPlan, known: Mapping[str, StageResult], unpaid: dict[str, StageResult]) -> Run:
        results = [known[name] for name in cell.stages]
        predictions = self._report(cell)
        assert predictions is not None
        classes = label_set(cell.cell.recipe.label_set).classes
        spent = [unpaid.pop(name).train_seconds for name in cell.stages if name in unpaid]
        return dataclasses.replace(
            self._blank(cell),
            status="finished",
            scores=scores(predictions, classes),
            train_seconds=sum(result.train_seconds for result in results),
            spent_seconds=sum(spent),
            peak_memory_bytes=max(result.peak_memory_bytes for result in results),
            parameters=results[-1].parameters,
            notes=self._notes(cell, results),
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
            finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def _notes(self, cell: CellPlan, results: list[StageResult]) -> tuple[str, ...]:
        notes = []
        if cell.board.synthetic:
            notes.append("synthetic faces")
        if cell.weights.is_random:
            notes.append("random weights" if cell.cell.weights == "random" else "random weights: no pretrained ones found")
        for result in results:
            notes.extend(result.notes)
        absent = set.intersection(*(set(result.absent_classes) for result in results))
        if absent:
            notes.append(f"never trained on {', '.join(sorted(absent))}")
        if cell.cell.recipe.checkpoint == "best-on-select":
            labels = cell.cell.recipe.label_set
            if self._roles.select(cell.cell.target, labels).content == self._roles.report(
                cell.cell.target, labels
            ).content:
                notes.append("selected on the reported split")
        return tuple(dict.fromkeys(notes))


class _Watch(StageWatch):
    """Passes what an executor tells on to the reporter and to the observers."""

    def __init__(self, reporter: Reporter, catalog: Catalog) -> None:
        self._reporter = reporter
        self._catalog = catalog
        self.stage_started: Callable[[Stage, int, int], None] = reporter.stage_started  # type: ignore[assignment]
        self.stage_progress: Callable[[Stage, Progress], None] = reporter.stage_progress  # type: ignore[assignment]

    def epoch_finished(self, stage: Stage, epoch: EpochResult) -> None:
        self._catalog.epoch_finished(stage, epoch, self._reporter.warn)


def thread_count() -> int:
    """Threads that torch computes with here."""
    return torch.get_num_threads()
