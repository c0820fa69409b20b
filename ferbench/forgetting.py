"""Forgetting: how an auxiliary that a chain passes through is known right after it, and at the chain's end.

Both are measured on the auxiliary's own report split. They are columns of the run and no entries of the auxiliary's
board.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ferbench.components import Dataset
from ferbench.data.roles import LabelledImages, RoleReader
from ferbench.errors import FerbenchError
from ferbench.evidence import Forgetting
from ferbench.metrics import correctness
from ferbench.plan import CellPlan
from ferbench.prediction_hash import predictions_sha256
from ferbench.records import Predictions, StageResult
from ferbench.references import parse_reference, share_splits
from ferbench.stages import Stage
from ferbench.worker import Evaluation, StageTask


@dataclass(frozen=True, slots=True)
class Passed:
    """An auxiliary that a chain passes through.

    stage : fingerprint of the stage that is trained on it last; it has a child
    final : fingerprint of the chain's last stage
    samples : the auxiliary's report split, with labels
    """

    evaluation: Evaluation
    stage: str
    final: str
    samples: LabelledImages


class Passages:
    """Finds what chains pass through; each report split is looked for once.

    Parameters
    ----------
    warn : told one line for a report split that cannot be read, which stops nothing
    """

    def __init__(self, roles: RoleReader, find: Callable[[str], Dataset], warn: Callable[[str], None]) -> None:
        self._roles = roles
        self._find = find
        self._warn = warn
        self._reports: dict[tuple[str, str], LabelledImages | None] = {}

    def of(self, cell: CellPlan, stages: Mapping[str, Stage]) -> tuple[Passed, ...]:
        """The auxiliaries of a cell's chain, in the order in which it meets them first.

        Left out are those that the last stage trains on too, and those without a labelled report split in the copy
        here that none of the chain is trained on.

        stages : of the chain and maybe others, by fingerprint
        """
        final = cell.stages[-1]
        last: dict[str, str] = {}
        for name in cell.stages:
            last.update((part.dataset, name) for part in stages[name].parts)
        found = []
        for reference, stage in last.items():
            if stage == final or reference == cell.cell.target:
                continue
            samples = self._report(reference, cell.cell.recipe.label_set)
            if samples is not None:
                found.append(Passed(Evaluation(reference, "report"), stage, final, samples))
        return tuple(found)

    def _report(self, reference: str, labels: str) -> LabelledImages | None:
        key = (reference, labels)
        if key not in self._reports:
            self._reports[key] = self._read(reference, labels)
        return self._reports[key]

    def _read(self, reference: str, labels: str) -> LabelledImages | None:
        dataset = parse_reference(reference, self._find).dataset
        try:
            if "report" not in self._roles.roles_of(dataset):
                return None
            samples, train = self._roles.report(reference, labels), self._roles.train(reference, labels)
        except FerbenchError as error:
            self._warn(f"forgetting of {reference} is not measured: {error.line}")
            return None
        # `a:train+report` trains on what would be reported on.
        trained_on = share_splits(samples.splits, train.splits)
        return None if samples.labels is None or trained_on else samples


def with_forgetting(
    tasks: Iterable[StageTask],
    passed: Mapping[str, tuple[Passed, ...]],
    cells: Iterable[CellPlan],
    stages: Mapping[str, Stage],
    known: Mapping[str, StageResult],
    *,
    holds: Callable[[str], bool],
    stored: Callable[[str, LabelledImages], bool],
) -> tuple[StageTask, ...]:
    """Tasks that also predict what forgetting is measured on.

    No stage is trained for its sake: what cannot be had from a stage that is trained anyway, from a checkpoint or from
    the store is left out.

    Parameters
    ----------
    passed : what each cell passes through, by cell key
    known : results of stages that are trained already
    holds : whether a stage's checkpoint is there
    stored : whether a stage's predictions of some samples are there
    """
    by_name = {task.stage.fingerprint: task for task in tasks}
    trained = {name for name, task in by_name.items() if task.trained is None}
    wanted: dict[str, dict[Evaluation, None]] = {}
    label_sets: dict[str, str] = {}
    for cell in cells:
        for each in passed.get(cell.key, ()):
            both = (each.stage, each.final)
            lacking = [name for name in both if name in trained or not stored(name, each.samples)]
            if all(name in trained or (name in known and holds(name)) for name in lacking):
                for name in lacking:
                    wanted.setdefault(name, {})[each.evaluation] = None
                    label_sets[name] = cell.cell.recipe.label_set
    for name in wanted:
        if name not in by_name:
            by_name[name] = StageTask(stages[name], label_sets[name], (), known[name], optional=True)
    return tuple(
        dataclasses.replace(task, evaluations=tuple(dict.fromkeys((*task.evaluations, *wanted.get(name, ())))))
        for name, task in by_name.items()
    )


def predicted_for(stage: str, passed: Iterable[Passed]) -> set[Evaluation]:
    """What a stage predicts for the sake of forgetting, be it its board, too."""
    return {each.evaluation for each in passed if stage in (each.stage, each.final)}


def measured(
    passed: Iterable[Passed], predictions: Callable[[str, LabelledImages], Predictions | None]
) -> tuple[Forgetting, ...]:
    """What a chain has forgotten, of the auxiliaries that both stages have predicted.

    predictions : a stage's stored ones of some samples
    """
    found = []
    for each in passed:
        before, after = predictions(each.stage, each.samples), predictions(each.final, each.samples)
        if before is not None and after is not None:
            samples = each.samples
            found.append(
                Forgetting(
                    dataset=samples.dataset,
                    split=samples.splits,
                    n=samples.count,
                    content=samples.content,
                    stage=each.stage,
                    before=float(correctness(before).mean()),
                    after=float(correctness(after).mean()),
                    before_sha256=predictions_sha256(before),
                    after_sha256=predictions_sha256(after),
                )
            )
    return tuple(found)
