"""What a row says of itself beside its scores: notes, cost, and how its recipe was chosen."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

from ferbench.expressions import label_set
from ferbench.metrics import METRICS, value_of
from ferbench.quantities import counted, ranges
from ferbench.recipes import RecipeValue, changed
from ferbench.rows import Rows
from ferbench.snapshot.hardware import merged_note
from ferbench.stages import Cell
from ferbench.store import Store
from ferbench.tuning import best_try
from ferbench.verification.chains import Replanning
from ferbench.verification.checks import Findings
from ferbench.verification.subject import Subject, called


def check_notes(subject: Subject, findings: Findings, replanning: Replanning, rows: Rows) -> None:
    """The notes against those that the same cell would get here."""
    chain = subject.chain()
    if chain is None or not subject.finished:
        return
    run = subject.run
    cell = replanning.plan(run.cell).cells[0]
    expected = rows.notes(cell, [stage for stage, _ in chain], [result for _, result in chain])
    if run.hardware:
        expected += (merged_note(run.hardware),)
    missing = [note for note in expected if note not in run.notes]
    unfounded = [note for note in run.notes if note not in expected]
    for notes, what in ((missing, "lacks"), (unfounded, "has, without reason,")):
        for note in notes:
            if subject.is_older:
                findings.unknown(f"notes: an older ferbench wrote them, this one {what} {note!r}")
            else:
                findings.wrong(f"it {what} the note {note!r}")
    if not missing and not unfounded:
        findings.agreed("notes" if expected else "no notes")


def check_cost(subject: Subject, findings: Findings, trainings: Mapping[str, Sequence[float]]) -> None:
    """What the chain cost by the results of its stages; what the run itself spent, nobody else has written down.

    trainings : when each stage was trained, in seconds since 1970, as the store logs it
    """
    chain = subject.chain()
    if chain is None or not subject.finished:
        return
    run, results = subject.run, [result for _, result in chain]
    findings.same("parameters", run.parameters, results[-1].parameters, "in its last stage")
    figures = (
        ("train_seconds", run.train_seconds, sum(result.train_seconds for result in results)),
        ("peak_memory_bytes", run.peak_memory_bytes, max(result.peak_memory_bytes for result in results)),
    )
    again = any(
        subject.stored[name].merged or _trained_again(trainings.get(name, ()), run.finished_at) for name in run.stages
    )
    for name, stored, expected in figures:
        if stored != expected and again:
            findings.unknown(f"{name}: a stage of its chain was trained again since, or elsewhere")
        else:
            findings.same(name, stored, expected, "by the results of its stages")
    findings.agreed("cost")


def _trained_again(trainings: Sequence[float], finished_at: str) -> bool:
    """Whether the stage's result may be another than the one that the run had; a merged one was trained elsewhere."""
    if len(trainings) != 1:
        return True
    try:
        finished = datetime.datetime.fromisoformat(finished_at).timestamp()
    except (ValueError, OverflowError):
        return False
    # Runs write down whole seconds.
    return trainings[0] >= finished + 1


def check_tuning(subject: Subject, findings: Findings, replanning: Replanning | None, store: Store) -> None:
    """That the best try was chosen, and that each try reached on select what is written of it."""
    run, tuning = subject.run, subject.run.cell.tuning
    if tuning is None:
        return
    if tuning.metric not in METRICS:
        findings.wrong(f"tries were compared by {tuning.metric!r}, which is no score that ferbench computes")
        return
    known = dict(run.cell.recipe_values())
    for name, value in tuning.chosen:
        findings.same(f"{name} of the try that was chosen", value, known.get(name), "in the row's recipe")
    best = best_try(tuning.tries, tuning.metric)
    findings.same("the try that was chosen", tuning.chosen, best.values, "by what the tries reached")
    if replanning is None:
        return
    classes = label_set(run.cell.recipe.label_set).classes
    absent: list[int] = []
    for number, each in enumerate(tuning.tries, 1):
        stage = replanning.plan(_tried(run.cell, each.values, tuning.seed)).cells[0].stages[-1]
        found = store.stored_predictions(called(stage, run), run.select_content)
        if not found:
            absent += [number] if each.score is not None else []
            continue
        value = value_of(tuning.metric, found[0], classes)
        if each.score is not None:
            findings.same(f"{tuning.metric} of try {number}", each.score, value, "by its predictions on select")
            findings.same(f"n of try {number}", tuning.select_n, len(found[0].ids), "by its predictions on select")
    if absent:
        findings.unknown(f"tries {ranges(absent)}: the store has no predictions of them on select")
    if len(absent) < len(tuning.tries):
        findings.agreed(counted(len(tuning.tries) - len(absent), "try", "tries"))


def _tried(cell: Cell, values: tuple[tuple[str, RecipeValue], ...], seed: int) -> Cell:
    """The cell of one try: what the row's would be with these values."""
    given = dict(values)
    recipe = changed(cell.recipe, [(name, value) for name, value in values if "." not in name])
    stage_changes = tuple(
        dataclasses.replace(change, value=given.get(f"stage{change.stage}.{change.key}", change.value))
        for change in cell.stage_changes
    )
    return dataclasses.replace(cell, recipe=recipe, stage_changes=stage_changes, seed=seed, tuning=None)
