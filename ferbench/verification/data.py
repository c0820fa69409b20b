"""The data that a row speaks of, against what lies on this machine."""

from __future__ import annotations

import contextlib
import functools

import numpy as np

from ferbench.data.roles import LabelledImages, RoleReader
from ferbench.errors import FerbenchError
from ferbench.preparation import board_of
from ferbench.pseudonyms import are_numbers, numbered_groups
from ferbench.quantities import counted
from ferbench.records import Board, FurtherScores, Predictions, StageResult
from ferbench.stages import Stage, TrainingPart
from ferbench.store import Store
from ferbench.verification.checks import Findings, shown
from ferbench.verification.subject import Subject

_HERE = "as they lie here"


def check_samples(subject: Subject, findings: Findings, roles: RoleReader) -> None:
    """Ids, labels and groups of stored predictions against the samples as they lie here."""

    def look(role: str) -> None:
        read, stored = (roles.report, subject.report) if role == "report" else (roles.select, subject.select)
        if not stored:
            return
        samples = read(subject.run.cell.target, subject.run.cell.recipe.label_set)
        for predictions in stored:
            _compare_samples(predictions, samples, findings)
        findings.agreed(f"samples of {role}")

    for role in ("report", "select"):
        findings.guarded(functools.partial(look, role))


def check_board(subject: Subject, findings: Findings, roles: RoleReader) -> None:
    """The board against what the report split as it lies here makes of it."""
    board = subject.run.board
    if board is None:
        return
    labels = subject.run.cell.recipe.label_set
    here = board_of(roles.report(subject.run.cell.target, labels), labels)
    if here.fingerprint != board.fingerprint:
        findings.wrong(
            f"{here.target} {here.split} as it lies here is board {here.fingerprint[:10]} with {here.n} samples, the "
            f"row's is {board.fingerprint[:10]} with {board.n}: pictures, labels, groups or the protocol differ"
        )
    for name in Board.__dataclass_fields__:
        if name != "fingerprint":
            findings.same(f"the board's {name}", getattr(board, name), getattr(here, name), "by the data here")
    findings.agreed(f"{here.target} {here.split}")


def check_data(subject: Subject, findings: Findings, roles: RoleReader, store: Store) -> None:
    """What each stage was trained and chosen on, and what else it was scored on, against what lies here."""
    run = subject.run
    labels = run.cell.recipe.label_set
    for stored in subject.stored.values():
        if stored.stage is None:
            continue
        for place, part in enumerate(stored.stage.parts):
            findings.guarded(functools.partial(_look_at_part, stored.stage, place, part, labels, findings, roles))
        if stored.result is not None and not run.members:
            findings.guarded(functools.partial(_look_at_classes, stored.stage, stored.result, labels, findings, roles))
    if subject.finished and run.select_content:
        findings.guarded(functools.partial(_look_at_select, subject, findings, roles))
    for each in run.forgetting:
        named = (each.dataset, each.split, each.content)
        for stage in (each.stage, subject.final):
            findings.guarded(functools.partial(_look_at_others, subject, named, stage, findings, roles, store))
    final = subject.stored.get(subject.final) if subject.finished else None
    for further in () if final is None else final.further:
        findings.guarded(functools.partial(_look_at_further, subject, further, findings, roles, store))


def _look_at_part(
    stage: Stage, place: int, part: TrainingPart, labels: str, findings: Findings, roles: RoleReader
) -> None:
    samples = roles.train(part.dataset, labels, part.fraction)
    what = f"{part.dataset}: the train samples"
    if findings.same(f"{what}' hash", part.content, samples.content, _HERE):
        # Stages of an older ferbench do not know how many there were before a part was taken.
        for name in ("count", "splits", "synthetic", *(["whole"] if part.whole else [])):
            findings.same(f"{what}' {name}", getattr(part, name), getattr(samples, name), _HERE)
    if stage.select:
        chosen = roles.select(part.dataset, labels).content
        findings.same(f"{part.dataset}: the select samples' hash", stage.select[place], chosen, _HERE)
    findings.agreed(part.dataset)


def _look_at_classes(stage: Stage, result: StageResult, labels: str, findings: Findings, roles: RoleReader) -> None:
    """Which classes its notes may say it was never trained on."""
    seen: set[int] = set()
    for part in stage.parts:
        found = roles.train(part.dataset, labels, part.fraction).labels
        seen.update(() if found is None else np.unique(found).tolist())
    absent = tuple(name for place, name in enumerate(stage.classes) if place not in seen)
    findings.same(f"stage {stage.index + 1}: classes without train samples", result.absent_classes, absent, _HERE)


def _look_at_select(subject: Subject, findings: Findings, roles: RoleReader) -> None:
    chosen = roles.select(subject.run.cell.target, subject.run.cell.recipe.label_set)
    findings.same("the select samples' hash", subject.run.select_content, chosen.content, _HERE)
    findings.agreed(f"{chosen.dataset} {chosen.splits}")


def _look_at_others(
    subject: Subject, named: tuple[str, str, str], stage: str, findings: Findings, roles: RoleReader, store: Store
) -> LabelledImages | None:
    """Samples that are neither the row's board nor its select part; gives them, if they are those that were meant."""
    dataset, split, content = named
    labels = subject.run.cell.recipe.label_set
    samples = roles.report(dataset, labels)
    if samples.content != content:
        # Others than those that the dataset reports on may have been named.
        with contextlib.suppress(FerbenchError):
            samples = roles.report(f"{dataset}:{split}", labels)
    if not findings.same(f"{dataset} {split}: the samples' hash", content, samples.content, _HERE):
        return None
    for predictions in store.stored_predictions(stage, content):
        _compare_samples(predictions, samples, findings)
    findings.agreed(f"{dataset} {split}")
    return samples


def _look_at_further(
    subject: Subject, further: FurtherScores, findings: Findings, roles: RoleReader, store: Store
) -> None:
    named = (further.dataset, further.split, further.content)
    samples = _look_at_others(subject, named, subject.final, findings, roles, store)
    if samples is None:
        return
    where = f"{further.dataset} {further.split}"
    findings.same(f"{where}: excluded", further.excluded, samples.excluded, _HERE)
    findings.same(f"{where}: synthetic", further.synthetic, samples.synthetic, _HERE)
    labels = subject.run.cell.recipe.label_set
    trained: set[str] = set()
    for stored in subject.stored.values():
        for part in stored.stage.parts if stored.stage is not None else ():
            trained.update(roles.train(part.dataset, labels, part.fraction).pictures)
    count = sum(picture in trained for picture in samples.pictures)
    findings.same(f"{where}: pictures that it was trained on", further.trained_on, count, _HERE)


def _compare_samples(predictions: Predictions, samples: LabelledImages, findings: Findings) -> None:
    where = f"{predictions.dataset} {predictions.split}"
    if len(predictions.ids) != samples.count:
        findings.wrong(f"{where}: {len(predictions.ids)} samples are predicted, {samples.count} lie here")
        return
    known = (predictions.labels is None, predictions.groups is None)
    if known != (samples.labels is None, samples.groups is None):
        findings.wrong(f"{where}: labels or groups are known on one side alone")
        return
    ids, groups = samples.ids, samples.groups
    # Of names that were withheld on the way here, numbers tell which samples are together and nothing else.
    withheld = []
    if predictions.ids != ids and are_numbers(predictions.ids):
        ids = predictions.ids
        withheld.append("ids")
    own = predictions.groups
    if own is not None and groups is not None and own != groups and own == numbered_groups(own):
        groups = numbered_groups(groups)
        withheld.append("groups")
    if withheld:
        findings.unknown(f"{where}: {' and '.join(withheld)}, which were withheld where the row comes from")
    columns = [("id", list(predictions.ids), list(ids))]
    if predictions.labels is not None and samples.labels is not None:
        columns.append(("label", predictions.labels.tolist(), samples.labels.tolist()))
    if predictions.groups is not None and groups is not None:
        columns.append(("group", list(predictions.groups), list(groups)))
    for what, stored, here in columns:
        other = [place for place, (a, b) in enumerate(zip(stored, here, strict=True)) if a != b]
        if other:
            place = other[0]
            findings.wrong(
                f"{where}: {counted(len(other), what)} not as in the data, the first of sample {place + 1}: "
                f"{shown(stored[place])} for {shown(here[place])}"
            )
