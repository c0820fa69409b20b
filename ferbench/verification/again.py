"""Predicting again from the checkpoint, which no record that was written together with others can forge."""

from __future__ import annotations

import numpy as np

from ferbench.environment import device_kind
from ferbench.errors import CheckpointLost
from ferbench.pseudonyms import same_names
from ferbench.records import Predictions
from ferbench.verification.checks import Findings
from ferbench.verification.subject import Subject
from ferbench.workbench import Workbench
from ferbench.worker import Evaluation, StageTask, run_stage

#: How far probabilities may be off on such a device as the row was computed on. Through features of a frozen part, or
#: in batches of another size, they come out some 1e-6 off.
SAME_DEVICE = 1e-4

#: On another device in fp32: other kernels, other orders of summing, and TF32 within convolutions.
OTHER_DEVICE = 1e-2

#: In bf16, which keeps 8 bits of every intermediate value: batches of another size alone make this much.
IN_BF16 = 5e-2


def tolerance(precision: str, then: str, now: str) -> float:
    """How far a probability may be off.

    then, now : kind of device that it was computed on, and is
    """
    if precision != "fp32":
        return IN_BF16
    return SAME_DEVICE if then == now else OTHER_DEVICE


def check_inference(subject: Subject, findings: Findings, bench: Workbench) -> None:
    """What the checkpoint says of report and select, against what is stored."""
    if not subject.finished or not subject.report:
        return
    if subject.run.members:
        findings.unknown("an ensemble has no checkpoint: verify its members")
        return
    chain = subject.chain()
    if chain is None:
        findings.unknown("its last stage cannot be read from the store")
        return
    stage, result = chain[-1]
    run = subject.run
    allowed = tolerance(stage.recipe.precision, run.environment.device_kind, device_kind(bench.device))
    stored = {"report": subject.report[0], **({"select": subject.select[0]} if subject.select else {})}
    wanted = tuple(Evaluation(run.cell.target, role) for role in ("report", "select") if role in stored)
    try:
        outcome = run_stage(
            StageTask(stage, run.cell.recipe.label_set, wanted, result),
            bench,
            lambda progress: None,
            lambda epoch: None,
        )
    except CheckpointLost as error:
        # Whether that is a mismatch, the check of the checkpoint itself says.
        findings.unknown(f"predicting again: {error.line}")
        return
    for evaluation, again in outcome.predictions:
        _compare(evaluation.role, stored[evaluation.role], again, allowed, findings)


def _compare(role: str, stored: Predictions, again: Predictions, allowed: float, findings: Findings) -> None:
    if stored.probabilities.shape != again.probabilities.shape or not same_names(stored.ids, again.ids):
        findings.wrong(f"{role}: the samples here are not those that were predicted")
        return
    apart = np.abs(stored.probabilities.astype(np.float64) - again.probabilities.astype(np.float64))
    apart[np.isnan(apart)] = 1.0
    changed = stored.probabilities.argmax(axis=1) != again.probabilities.argmax(axis=1)
    greatest = float(apart.max())
    answers = f"{int(changed.sum())} of {len(changed)} answers change"
    if greatest <= allowed:
        findings.agreed(f"{role}: probabilities at most {greatest:.1e} off, {answers}")
        return
    worst = int(apart.max(axis=1).argmax())
    findings.wrong(
        f"{role}: the checkpoint gives other probabilities, up to {greatest:.2g} off where {allowed:g} is allowed, "
        f"most for sample {stored.ids[worst]!r}; {int((apart.max(axis=1) > allowed).sum())} samples are, and {answers}"
    )
