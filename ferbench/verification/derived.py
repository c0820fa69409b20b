"""What follows from stored predictions alone, computed again: scores, answers, calibration, forgetting."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ferbench.environment import processor_name
from ferbench.evidence import ReliabilityBin
from ferbench.expressions import label_set
from ferbench.metrics import correctness, scores
from ferbench.prediction_hash import predictions_sha256
from ferbench.quantities import counted
from ferbench.records import Predictions, Run, Score
from ferbench.references import share_splits
from ferbench.reliability import calibration, reliability_bins
from ferbench.store import Store
from ferbench.verification.checks import Findings, shown
from ferbench.verification.subject import Subject

#: Another processor, or another numpy, sums in another order: so much may then differ, of the value.
ELSEWHERE = 1e-12

#: A temperature is a root that is searched for, until this much of it.
OF_A_ROOT = 1e-8


def check_hash(subject: Subject, findings: Findings) -> None:
    """Stored predictions against the hash that the run was recorded with."""
    run = subject.run
    for line in subject.faults:
        findings.wrong(line)
    if not subject.report:
        findings.wrong("the store has no predictions of its board: run that cell again with --force")
        return
    if subject.is_older:
        findings.unknown("their hash: an older ferbench kept none")
        first = predictions_sha256(subject.report[0])
        if any(predictions_sha256(other) != first for other in subject.report[1:]):
            findings.wrong("the store has two kinds of predictions of its board")
    for report in subject.report:
        if not subject.is_older and findings.same(
            f"the hash of the predictions on {report.dataset} {report.split}",
            predictions_sha256(report),
            run.predictions_sha256,
            "in its record",
        ):
            findings.agreed(f"hash of {counted(len(report.ids), 'prediction')}")
    for select in subject.select if run.select_sha256 else ():
        findings.same(
            f"the hash of the predictions on {select.dataset} {select.split}",
            predictions_sha256(select),
            run.select_sha256,
            "in its record",
        )
    if run.board is not None:
        findings.same("the number of its predictions", len(subject.report[0].ids), run.board.n, "on its board")


def check_scores(subject: Subject, findings: Findings, store: Store) -> None:
    """Scores with their intervals, the answers that ranks are computed from, and what stands beside them."""
    if not subject.report:
        return
    run, report = subject.run, subject.report[0]
    same = _closeness(run)
    labels = label_set(run.cell.recipe.label_set)
    classes = labels.classes
    _compare_scores(findings, "", run.scores, scores(report, classes), same, older=subject.is_older)
    _compare_answers(subject, findings, report)
    _compare_select(subject, findings, report, same)
    _compare_forgetting(subject, findings, store)
    for further in subject.stored[subject.final].further if subject.final in subject.stored else ():
        where = f"{further.dataset} {further.split}: "
        # The same samples may be stored under other names.
        found = store.stored_predictions(subject.final, further.content)
        if not found:
            findings.wrong(f"{where}it has scores, but the store has no predictions of it")
            continue
        _compare_scores(findings, where, further.scores, scores(found[0], classes), same, older=False)
        findings.same(f"{where}n", further.n, len(found[0].ids), "by its predictions")
        findings.same(f"{where}label set", further.label_set, labels.name, "by the row's cell")


def _closeness(run: Run, root: bool = False) -> Callable[[Any, Any], bool]:
    """How equal two figures must be: to the bit where they come from such a processor and numpy as are here."""
    here = (processor_name(), np.__version__)
    there = (run.environment.processor, dict(run.environment.versions).get("numpy"))
    if here == there:
        return lambda a, b: bool(a == b)
    tolerance = OF_A_ROOT if root else ELSEWHERE
    return lambda a, b: _close(a, b, tolerance)


def _close(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    if dataclasses.is_dataclass(a) and type(a) is type(b):
        return all(_close(getattr(a, f.name), getattr(b, f.name), tolerance) for f in dataclasses.fields(a))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_close(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _compare_scores(
    findings: Findings,
    where: str,
    stored: tuple[Score, ...],
    expected: tuple[Score, ...],
    same: Callable[[Any, Any], bool],
    *,
    older: bool,
) -> None:
    by = "by the stored predictions"
    known = {score.metric: score for score in stored}
    for name in known.keys() - {score.metric for score in expected}:
        findings.wrong(f"{where}{name} is no score that ferbench computes")
    if len(known) != len(stored):
        findings.wrong(f"{where}a score stands twice")
    for score in expected:
        own = known.get(score.metric)
        if own is None:
            findings.wrong(f"{where}{score.metric} is missing, {by} it is {shown(score.value)}")
            continue
        for field in ("value", "n"):
            if not same(getattr(own, field), getattr(score, field)):
                what = score.metric if field == "value" else f"{score.metric}'s n"
                findings.same(f"{where}{what}", getattr(own, field), getattr(score, field), by)
        if own.interval != score.interval and own.interval == "wilson" and older:
            findings.unknown(f"interval of {score.metric}: an older ferbench computed it in another way")
        elif not same((own.low, own.high, own.interval), (score.low, score.high, score.interval)):
            ends = f"{shown(own.low)} to {shown(own.high)} ({own.interval})"
            findings.wrong(
                f"{where}the interval of {score.metric} is {ends}, {by} it is "
                f"{shown(score.low)} to {shown(score.high)} ({score.interval})"
            )
    findings.agreed(f"{where}{counted(len(expected), 'score')}")


def _compare_answers(subject: Subject, findings: Findings, report: Predictions) -> None:
    right, stored = correctness(report), subject.lying.correct
    if stored is None or stored.shape != right.shape:
        findings.wrong("column correct does not say of each sample whether it was answered right")
        return
    other = np.flatnonzero(stored != right)
    if len(other):
        first = int(other[0])
        findings.wrong(
            f"column correct counts {counted(len(other), 'answer')} otherwise than the stored predictions do, the "
            f"first of sample {report.ids[first]!r}: {'right' if stored[first] else 'wrong'}, by the stored "
            f"predictions {'right' if right[first] else 'wrong'}"
        )
    findings.agreed(counted(len(right), "answer"))


def _compare_select(
    subject: Subject, findings: Findings, report: Predictions, same: Callable[[Any, Any], bool]
) -> None:
    """Reliability, the temperature that was fitted on select, and how right select was answered."""
    run, by = subject.run, "by the stored predictions"
    if subject.is_older and not run.reliability:
        findings.unknown("calibration: an older ferbench computed none")
        return
    bins = reliability_bins(report)
    if not same(run.reliability, bins):
        findings.wrong(f"the reliability bins are other than {by}: {_first_other(run.reliability, bins, same)}")
    findings.agreed("reliability")
    if not subject.select:
        if run.select_accuracy is not None or run.calibration is not None:
            findings.wrong("it has a calibration or an accuracy on select, but the store has no predictions of select")
        return
    select = subject.select[0]
    if select.labels is not None:
        accuracy = float(correctness(select).mean())
        if not same(run.select_accuracy, accuracy):
            findings.same("the accuracy on select", run.select_accuracy, accuracy, by)
        findings.agreed("accuracy on select")
    elif run.select_accuracy is not None:
        findings.wrong("it has an accuracy on select, whose labels are withheld")
    assert run.board is not None
    expected = None if share_splits(select.split, run.board.split) else calibration(select, report)
    if (run.calibration is None) != (expected is None):
        words = ("there is none", "there is one")
        own, other = words[run.calibration is not None], words[expected is not None]
        findings.wrong(f"of a calibration {own}, {by} {other}")
    elif run.calibration is not None and expected is not None:
        nearly = _closeness(run, root=True)
        for field in dataclasses.fields(expected):
            own, other = getattr(run.calibration, field.name), getattr(expected, field.name)
            if not nearly(own, other):
                findings.same(f"calibration: {field.name}", own, other, by)
        findings.agreed("calibration")


def _first_other(
    stored: tuple[ReliabilityBin, ...], expected: tuple[ReliabilityBin, ...], same: Callable[[Any, Any], bool]
) -> str:
    """The first value of the first bin that differs, in words."""
    if len(stored) != len(expected):
        return f"{len(stored)} of them for {len(expected)}"
    number, own, other = next(
        (number, a, b) for number, (a, b) in enumerate(zip(stored, expected, strict=True), 1) if not same(a, b)
    )
    name = next(
        field.name
        for field in dataclasses.fields(other)
        if not same(getattr(own, field.name), getattr(other, field.name))
    )
    return f"{name} of bin {number} is {shown(getattr(own, name))} for {shown(getattr(other, name))}"


def _compare_forgetting(subject: Subject, findings: Findings, store: Store) -> None:
    by = "by the stored predictions"
    for each in subject.run.forgetting:
        where = f"forgetting of {each.dataset} {each.split}"
        if each.stage not in subject.run.stages:
            findings.wrong(f"{where}: stage {each.stage[:10]} is none of its chain")
        for what, stage in (("before", each.stage), ("after", subject.final)):
            found = store.stored_predictions(stage, each.content)
            if not found:
                findings.wrong(f"{where}: the store has no predictions of it of stage {stage[:10]}")
                continue
            accuracy, stored = float(correctness(found[0]).mean()), getattr(each, what)
            findings.same(f"{where}: accuracy {what}", stored, accuracy, by)
            findings.same(f"{where}: n", each.n, len(found[0].ids), by)
            if sha256 := getattr(each, f"{what}_sha256"):
                findings.same(f"{where}: the hash {what}", predictions_sha256(found[0]), sha256, "in its record")
            if (each.dataset, each.split) not in {(own.dataset, own.split) for own in found}:
                findings.unknown(f"{where}: its predictions are stored as of {found[0].dataset} {found[0].split}")
        findings.agreed(where)
