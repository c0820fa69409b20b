"""From a matrix to a plan with what is left to do: names looked up, data read, weights found, speeds known."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ferbench.calibration import measured_speed
from ferbench.catalog import Catalog
from ferbench.components import Backbone
from ferbench.costs import PlanCost, plan_cost, speed_key, typical_speeds
from ferbench.data.roles import LabelledImages, check_auxiliary, check_target
from ferbench.environment import automatic_precision
from ferbench.errors import DatasetError, PluginError, UsageError, WeightsError
from ferbench.expressions import label_set
from ferbench.faces import found_faces
from ferbench.fingerprints import PROTOCOL_VERSION, fingerprint
from ferbench.forgetting import Passages, Passed, with_forgetting
from ferbench.matrix import Matrix, unrolled
from ferbench.metrics import value_of
from ferbench.plan import CellPlan, Plan, PlanInputs, make_plan
from ferbench.records import Board, Environment, Predictions, Run, Speed, SpeedKey, StageResult
from ferbench.references import parse_reference, share_splits
from ferbench.schedule import longest_first
from ferbench.stages import RANDOM_WEIGHTS, Cell, InitialWeights, Stage, TrainingPart, Tuning
from ferbench.store import Store
from ferbench.trainable import check_trainable
from ferbench.tuning import Candidates, candidates
from ferbench.weights import POLICIES, check_fit, resolve_weights
from ferbench.workbench import Workbench
from ferbench.worker import Evaluation, StageTask, evaluated, looked_at_each_epoch

#: Fewer steps than this are over before an estimate would be.
_CALIBRATED_FROM_STEPS = 20

#: Once calibrating has taken so long, what is not measured yet stays unknown.
_CALIBRATION_SECONDS = 60.0

#: Of the part of train that was asked for; what is further off is told before it is trained on.
_FAR_OFF = 0.1


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan with what is left to do.

    pending : cells without a finished run in the store (all of them with force)
    tries : of `plan.tries` those that are to be tried still
    finished : runs that are in the store already, by cell key
    tasks : what remains to be trained or predicted, in the order of `schedule.longest_first`
    known : results of stages trained before
    spare : tasks that would train the known stages again, should their checkpoints turn out to be lost
    synthetic : no real face is trained on
    passed : auxiliaries whose forgetting is measured, by the pending cells' keys
    """

    plan: Plan
    cost: PlanCost
    pending: tuple[CellPlan, ...]
    finished: Mapping[str, Run]
    tasks: tuple[StageTask, ...]
    known: Mapping[str, StageResult]
    spare: Mapping[str, StageTask]
    synthetic: bool
    tries: tuple[CellPlan, ...] = ()
    passed: Mapping[str, tuple[Passed, ...]] = field(default_factory=dict)


class Preparation:
    """Plans matrices for one command.

    Parameters
    ----------
    warn : told one line for everything that a user should know before training starts; each line once
    forgetting : let stages predict what forgetting is measured on
    track : let the last stages of chains look at the target's select samples after each epoch
    """

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        bench: Workbench,
        environment: Environment,
        warn: Callable[[str], None],
        *,
        forgetting: bool = True,
        track: bool = False,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._bench = bench
        self._roles = bench.roles
        self._environment = environment
        self._tell = warn
        self._weights: dict[tuple[str, str], InitialWeights | None] = {}
        self._warned: set[str] = set()
        self._passages = Passages(bench.roles, catalog.dataset, self._warn) if forgetting else None
        self._track = track

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
        if matrix.tune is not None:
            # Which values will be taken is known once they have been tried; until then the first ones stand for them.
            found = self.candidates(matrix)
            tries = [cell for each in found for cell in each.cells]
            return self._prepared(self._chosen(found), tries, force=force, calibrate=calibrate)
        cells = [cell for part in (matrix, *matrix.also) for cell in self._cells(part)]
        return self._prepared(cells, (), force=force, calibrate=calibrate)

    def prepare_tries(self, matrix: Matrix, *, force: bool = False, calibrate: bool = True) -> Prepared:
        """Plan the tries alone of a matrix that is to be tuned; raises as `prepare` does."""
        tries = [cell for each in self.candidates(matrix) for cell in each.cells]
        return self._prepared((), tries, force=force, calibrate=calibrate)

    def prepare_chosen(self, matrix: Matrix, *, force: bool = False, calibrate: bool = True) -> Prepared:
        """Plan the rows alone of a matrix whose tries are trained; raises as `prepare` does."""
        return self._prepared(self._chosen(self.candidates(matrix)), (), force=force, calibrate=calibrate)

    def candidates(self, matrix: Matrix) -> tuple[Candidates, ...]:
        """The tries of each row of a matrix that is to be tuned; raises as `prepare` does.

        Raises
        ------
        UsageError : nothing to choose from, or nothing to choose on
        """
        found = candidates(matrix, self._cells)
        for cell in dict.fromkeys(each.cells[0] for each in found):
            samples = self._roles.select(cell.target, cell.recipe.label_set)
            if samples.labels is None:
                raise UsageError(f"{cell.target} cannot be tuned on: the labels of {samples.splits} are withheld")
            report = self._roles.report(cell.target, cell.recipe.label_set).splits
            if share_splits(samples.splits, report):
                raise UsageError(
                    f"target {cell.target} reports on {report}, and tries are compared on {samples.splits}: nothing "
                    "may be chosen on what is reported; name another split, or leave --tune out"
                )
        return found

    def tunings(self, found: Sequence[Candidates]) -> tuple[Tuning, ...]:
        """What comes of the tries, as far as they are trained: one that is not counts as failed."""
        tries = [cell for each in found for cell in each.cells]
        plan = make_plan((), self._catalog, self._inputs(tries), tries=tries)
        planned = iter(plan.tries)
        tunings = []
        for each in found:
            first = each.cells[0]
            select = self._roles.select(first.target, first.recipe.label_set)
            plans = [next(planned) for _ in each.cells]
            reached = [self._select_score(own, each.metric) for own in plans]
            tunings.append(each.tuning(reached, select.count, len({own.stages[-1] for own in plans})))
        return tuple(tunings)

    def _chosen(self, found: Sequence[Candidates]) -> list[Cell]:
        tunings = self.tunings(found)
        return [cell for each, tuning in zip(found, tunings, strict=True) for cell in each.reported(tuning)]

    def _select_score(self, planned: CellPlan, metric: str) -> float | None:
        cell = planned.cell
        predictions = self._stored(planned.stages[-1], Evaluation(cell.target, "select"), planned)
        if predictions is None:
            return None
        return value_of(metric, predictions, label_set(cell.recipe.label_set).classes)

    def _prepared(self, cells: Iterable[Cell], tries: Sequence[Cell], *, force: bool, calibrate: bool) -> Prepared:
        cells = tuple(dict.fromkeys(cells))
        plan = make_plan(cells, self._catalog, self._inputs((*tries, *cells)), tries=tries)
        self._check_trainable((*tries, *cells), plan.stages)
        finished = {} if force else self._store.finished([cell.key for cell in plan.cells])
        pending = tuple(cell for cell in plan.cells if cell.key not in finished)
        stages = {stage.fingerprint: stage for stage in plan.stages}
        wanted = (*plan.tries, *pending)
        known = {} if force else self._store.stage_results([f for cell in wanted for f in cell.stages])
        passed = {} if self._passages is None else {cell.key: self._passages.of(cell, stages) for cell in pending}
        tasks = with_forgetting(
            self._tasks(wanted, plan.tries, stages, known),
            *(passed, pending, stages, known),
            holds=self._bench.checkpoints.holds,
            stored=lambda name, samples: self._predictions(name, samples) is not None,
        )
        if self._track:
            targets = {cell.stages[-1]: cell.cell.target for cell in pending}
            tasks = tuple(dataclasses.replace(task, track=targets.get(task.stage.fingerprint)) for task in tasks)
        self._check_detectors(task.stage for task in tasks)
        cost = self._cost(plan, tasks, calibrate)
        by_name = {task.stage.fingerprint: task for task in tasks}
        order = longest_first([task.stage for task in tasks], cost.stage_seconds)
        return Prepared(
            plan=plan,
            cost=cost,
            pending=pending,
            finished=finished,
            tasks=tuple(by_name[stage.fingerprint] for stage in order),
            known=known,
            spare={name: _task(stages[name], cell) for cell in wanted for name in cell.stages if name in known},
            synthetic=all(part.synthetic for stage in plan.stages for part in stage.parts),
            tries=tuple(cell for cell in plan.tries if cell.stages[-1] in by_name),
            passed=passed,
        )

    def _cells(self, matrix: Matrix) -> tuple[Cell, ...]:
        for target in matrix.targets:
            check_target(parse_reference(target, self._catalog.dataset))
        for name in dict.fromkeys(name for chain in matrix.auxiliaries for name in chain):
            check_auxiliary(parse_reference(name, self._catalog.dataset))
            for target in matrix.targets:
                self._check_apart(target, name)
        if matrix.epochs is None:
            return unrolled(matrix, self._catalog)
        cells: dict[Cell, None] = {}
        for target in matrix.targets:
            own = dataclasses.replace(matrix, targets=(target,))
            for labels in dict.fromkeys(cell.recipe.label_set for cell in unrolled(own, self._catalog)):
                budget = self._images(own, labels, matrix.epochs)
                sized = unrolled(own, self._catalog, budget)
                cells.update((cell, None) for cell in sized if cell.recipe.label_set == labels)
        return tuple(cells)

    def _check_apart(self, target: str, auxiliary: str) -> None:
        """Raise UsageError where two names behind one prefix are one path, as `folder:faces` and `folder:./faces`."""
        one, other = (parse_reference(name, self._catalog.dataset).dataset.name for name in (target, auxiliary))
        (family, colon, path), (other_family, _, other_path) = one.partition(":"), other.partition(":")
        if not colon or family != other_family or one == other:
            return
        if Path(path).expanduser().resolve() == Path(other_path).expanduser().resolve():
            raise UsageError(f"{one} is the target and, as {other}, an auxiliary at once: name another dataset")

    def _images(self, matrix: Matrix, labels: str, epochs: float) -> int:
        """Epochs as images: passes over the target and all named auxiliaries, one budget for every cell."""
        names = dict.fromkeys([*matrix.targets, *(name for chain in matrix.auxiliaries for name in chain)])
        return max(1, round(epochs * sum(self._roles.train(name, labels).count for name in names)))

    def _check_trainable(self, cells: Iterable[Cell], stages: Iterable[Stage]) -> None:
        """Raise RecipeError for a part that a backbone lacks; a stage would find it out after its parents only.

        A word that a strategy puts another in place of is looked at too: it was meant for something.
        """
        parts = dict.fromkeys((part.backbone, part.recipe.trainable, part.recipe.image_size) for part in cells)
        parts |= dict.fromkeys((stage.backbone, stage.recipe.trainable, stage.recipe.image_size) for stage in stages)
        for name, trainable, image_size in parts:
            check_trainable(self._catalog.backbone(name), trainable, image_size)

    def _inputs(self, cells: Iterable[Cell]) -> PlanInputs:
        for cell in cells:
            self._resolve_weights(cell)
        return PlanInputs(
            training_part=functools.cache(self._training_part),
            select_content=lambda reference, labels: self._roles.select(reference, labels).content,
            board=functools.cache(self._board),
            weights=lambda backbone, policy: self._weights[backbone, policy] or RANDOM_WEIGHTS,
            precision=automatic_precision(self._bench.device),
            device_kind=self._environment.device_kind,
            face_detector=functools.cache(self._face_detector),
        )

    def _face_detector(self, name: str) -> tuple[str, str]:
        detector = self._catalog.face_detector(name)
        return detector.name, detector.identity

    def _check_detectors(self, stages: Iterable[Stage]) -> None:
        """Raise PluginError where a library is lacking that faces are to be found with: before anything is trained."""
        for name in dict.fromkeys(stage.recipe.face_detector for stage in stages if stage.detector):
            try:
                found_faces(np.zeros((64, 64, 3), np.uint8), self._catalog.face_detector(name))
            except PluginError as error:
                raise PluginError(f"{error.line}, or leave faces=none") from error

    def _resolve_weights(self, cell: Cell) -> None:
        key = (cell.backbone, cell.weights)
        backbone = self._catalog.backbone(cell.backbone)
        if key not in self._weights:
            self._weights[key] = resolve_weights(backbone, cell.weights)
        found = self._weights[key]
        if found is None:
            advice = "connect to the network, give a file with --weights FILE, or take --weights random"
            for name in (cell.target, *cell.auxiliaries):
                if not parse_reference(name, self._catalog.dataset).dataset.embedded:
                    self._refuse_random(backbone, name)
            self._warn(
                f"no pretrained weights of {cell.backbone} can be had here: it starts from random ones, "
                f"and the row will say so ({advice})"
            )
        elif cell.weights not in POLICIES:
            # A file of the wrong network is found out now, before any cell is stored as failed.
            check_fit(backbone, found, len(label_set(cell.recipe.label_set).classes), cell.recipe.image_size)

    def _refuse_random(self, backbone: Backbone, real: str) -> None:
        try:
            resolve_weights(backbone, "pretrained")
        except WeightsError as error:
            # The backbone itself may know better than anybody what to do about it.
            raise WeightsError(
                f"{real} is real data, which is not trained from random weights unasked: {error}"
            ) from error
        raise WeightsError(
            f"pretrained weights of {backbone.name} could not be had a moment ago: run the command again"
        )

    def _training_part(self, reference: str, labels: str, fraction: float) -> TrainingPart:
        samples = self._roles.train(reference, labels, fraction)
        for line in samples.warnings:
            self._warn(f"{samples.dataset}: {line}")
        part = TrainingPart(
            *(reference, samples.splits, samples.content, samples.count, samples.synthetic, fraction, samples.whole)
        )
        if abs(part.share - fraction) > _FAR_OFF * fraction:
            why = "one sample of every class at least" if samples.groups is None else "whole films or people"
            self._warn(
                f"{samples.dataset}: {100 * fraction:g} % of its train samples were asked for, {why} make it "
                f"{100 * part.share:.3g} % ({part.count} of {part.whole}); rows show what is there, and parts that "
                "come out equal are one row"
            )
        return part

    def _board(self, target: str, labels: str) -> Board:
        samples = self._roles.report(target, labels)
        for line in samples.warnings:
            self._warn(f"{samples.dataset}: {line}")
        if samples.labels is None:
            raise UsageError(f"target {target}: the labels of {samples.splits} are withheld, name another split")
        return board_of(samples, labels)

    def _warn(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            self._tell(line)

    def _tasks(
        self,
        pending: Iterable[CellPlan],
        tries: Iterable[CellPlan],
        stages: Mapping[str, Stage],
        known: Mapping[str, StageResult],
    ) -> tuple[StageTask, ...]:
        """What has to be trained or predicted for the pending cells, parents first.

        tries : those of them that predict no report split
        """
        tried = {id(cell) for cell in tries}
        evaluations: dict[str, dict[Evaluation, None]] = {}
        needing: dict[str, CellPlan] = {}
        trained: set[str] = set()
        order: dict[str, None] = {}
        for cell in pending:
            needing.update(dict.fromkeys(cell.stages, cell))
            final = cell.stages[-1]
            wanted = [Evaluation(cell.cell.target, "select")]
            if id(cell) not in tried:
                wanted.append(Evaluation(cell.cell.target, "report"))
            if final in known and all(self._stored(final, evaluation, cell) for evaluation in wanted):
                continue
            evaluations.setdefault(final, {}).update(dict.fromkeys(wanted))
            for position, name in reversed(list(enumerate(cell.stages))):
                if name in known and self._bench.checkpoints.holds(name):
                    if position == len(cell.stages) - 1:
                        order[name] = None
                    break
                trained.add(name)
            order.update(dict.fromkeys(name for name in cell.stages if name in trained))
        return tuple(
            dataclasses.replace(
                _task(stages[name], needing[name]),
                evaluations=tuple(evaluations.get(name, {})),
                trained=None if name in trained else known[name],
            )
            for name in order
        )

    def _stored(self, stage: str, evaluation: Evaluation, cell: CellPlan) -> Predictions | None:
        samples = evaluated(self._roles, evaluation, cell.cell.recipe.label_set)
        return self._predictions(stage, samples, cell.board.fingerprint if evaluation.role == "report" else "")

    def _predictions(self, stage: str, samples: LabelledImages, board: str = "") -> Predictions | None:
        return self._store.predictions(stage, samples.dataset, samples.splits, board or samples.content)

    def _cost(self, plan: Plan, tasks: tuple[StageTask, ...], calibrate: bool) -> PlanCost:
        measured = typical_speeds(self._store.speeds())
        training = [task.stage for task in tasks if task.trained is None]
        calibrated = self._calibrated(training, measured) if calibrate else {}
        to_train = {stage.fingerprint for stage in training}
        circumstances = self._bench.circumstances()
        return plan_cost(
            plan,
            done=[stage.fingerprint for stage in plan.stages if stage.fingerprint not in to_train],
            measured=measured | calibrated,
            device_kind=self._environment.device_kind,
            threads=self._environment.threads,
            evaluated={
                task.stage.fingerprint: _counts(
                    evaluated(self._roles, each, task.label_set) for each in task.evaluations
                )
                for task in tasks
            },
            calibrated=frozenset(calibrated),
            selected={
                task.stage.fingerprint: _counts(
                    self._roles.select(name, task.label_set) for name in looked_at_each_epoch(task)
                )
                for task in tasks
                if task.trained is None
            },
            steps_done={name: self._bench.partials.steps_done(name, circumstances) for name in to_train},
        )

    def _calibrated(self, training: Iterable[Stage], measured: Mapping[SpeedKey, Speed]) -> dict[SpeedKey, Speed]:
        """Speeds of those kinds of stages that no stage here was of, from the kind that trains most images on.

        Of a kind, the stage with most features is measured: if these can be kept, so can the others'.
        """
        images: Counter[SpeedKey] = Counter()
        largest: dict[SpeedKey, Stage] = {}
        for stage in training:
            key = speed_key(stage, self._environment.device_kind, self._environment.threads)
            if stage.recipe.head_fit == "sgd" and key not in measured:
                images[key] += stage.recipe.images_seen
                if key not in largest or stage.feature_images > largest[key].feature_images:
                    largest[key] = stage
        found: dict[SpeedKey, Speed] = {}
        began = time.monotonic()
        for key, count in images.most_common():
            if count < _CALIBRATED_FROM_STEPS * key.batch_size or time.monotonic() - began > _CALIBRATION_SECONDS:
                continue
            backbone = self._catalog.backbone(key.backbone)
            try:
                found[key] = measured_speed(
                    largest[key], backbone, self._bench.device, key, deterministic=self._bench.deterministic
                )
            except Exception:  # the stage itself will fail, be recorded and be told with its reason
                continue
        return found


def board_of(samples: LabelledImages, labels: str) -> Board:
    """The board of a report split.

    labels : name of the label set

    Raises
    ------
    DatasetError : the split's labels are withheld
    """
    if samples.labels is None:
        raise DatasetError(f"dataset {samples.dataset!r}: the labels of {samples.splits} are withheld")
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


def _counts(samples: Iterable[LabelledImages]) -> dict[str, int]:
    """Number of images by their content."""
    return {each.content: each.count for each in samples}


def _task(stage: Stage, cell: CellPlan) -> StageTask:
    """What a worker needs to train a stage of this cell; it predicts nothing."""
    return StageTask(stage, cell.cell.recipe.label_set, ())
