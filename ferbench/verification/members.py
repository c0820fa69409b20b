"""Ensembles against their members: the mean taken again, and the sums that stand beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ferbench.averaging import averaged
from ferbench.errors import FerbenchError, UnknownName
from ferbench.evidence import Member
from ferbench.fingerprints import PROTOCOL_VERSION, fingerprint
from ferbench.plan import target_images
from ferbench.prediction_hash import predictions_sha256
from ferbench.quantities import counted
from ferbench.records import Predictions, Run, StageResult
from ferbench.stages import Stage
from ferbench.store import Store
from ferbench.verification.checks import Findings
from ferbench.verification.subject import Subject

#: Of published rows, probabilities are rounded to six digits, those of an ensemble and of its members each by itself.
#: What is changed by less, the hash of the predictions tells.
ROUNDED = 4e-6

#: What an ensemble's identity calls a mean of all members.
_MEAN = "mean"


@dataclass(frozen=True, slots=True)
class _Found:
    """A member's run, and what it says of the ensemble's board."""

    run: Run
    report: Predictions


def check_members(subject: Subject, findings: Findings, store: Store) -> None:
    """That members are there, that their mean is what the row says, and that its name is theirs."""
    run, members = subject.run, subject.run.members
    if not members:
        return
    weights = [member.weight for member in members]
    if not all(weight > 0 for weight in weights) or not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-9):
        findings.wrong(f"the weights of its members sum to {math.fsum(weights)!r} for 1, or are not all above 0")
    named = fingerprint(
        {
            "ensemble": [[member.stage, member.weight] for member in members],
            "protocol": PROTOCOL_VERSION,
            "seed": run.cell.seed,
        }
    )
    if run.hardware:
        findings.unknown("the name of its predictions: it was merged, and its members may have been named anew")
    else:
        findings.same("the name of its predictions", subject.final, named, "by its members")
    found = [_member(run, member, findings, store) for member in members]
    known = [each for each in found if each is not None]
    if len(known) < len(members):
        return
    by = "by the mean of its members"
    if subject.report:
        mean = averaged([each.report for each in known], weights)
        _compare("predictions", subject.report[0], mean, by, findings)
    if subject.select:
        _check_select(subject, weights, by, findings, store)
    _check_sums(run, known, by, findings, store)
    _check_entry(run, findings)
    findings.agreed(f"mean of {counted(len(members), 'member')}")


def _member(run: Run, member: Member, findings: Findings, store: Store) -> _Found | None:
    which = f"member {member.row}, seed {member.seed}"
    try:
        lying = next((each for each in store.stored_runs(member.entry) if each.seed == member.seed), None)
    except FerbenchError as error:
        if not isinstance(error, UnknownName) and "no row named" not in error.line:
            raise
        lying = None
    if lying is None or lying.run is None or lying.run.board is None or run.board is None:
        findings.wrong(f"{which}: the store has no such run")
        return None
    own = lying.run
    if own.status != "finished":
        findings.wrong(f"{which}: it has not finished")
        return None
    same = findings.same(f"{which}: its board", lying.run.board.fingerprint, run.board.fingerprint, "the ensemble's")
    same &= findings.same(f"{which}: its last stage", own.stages[-1], member.stage, "by the ensemble")
    if not same:
        return None
    predicted = store.stored_predictions(member.stage, run.board.fingerprint)
    if not predicted:
        findings.wrong(f"{which}: the store has no predictions of it")
        return None
    if own.predictions_sha256:
        sha256 = predictions_sha256(predicted[0])
        findings.same(f"{which}: the hash of its predictions", sha256, own.predictions_sha256, "in its record")
    return _Found(own, predicted[0])


def _check_select(subject: Subject, weights: list[float], by: str, findings: Findings, store: Store) -> None:
    of_members = [store.stored_predictions(member.stage, subject.run.select_content) for member in subject.run.members]
    if all(of_members):
        mean = averaged([each[0] for each in of_members], weights)
        _compare("predictions of select", subject.select[0], mean, by, findings)
    else:
        findings.wrong("the store lacks predictions of select of some of its members")


def _compare(what: str, stored: Predictions, expected: Predictions, by: str, findings: Findings) -> None:
    if stored.probabilities.shape != expected.probabilities.shape:
        findings.wrong(f"its {what} are not of the samples of its members")
        return
    apart = np.abs(stored.probabilities.astype(np.float64) - expected.probabilities.astype(np.float64))
    other = np.flatnonzero(~(apart <= ROUNDED).all(axis=1))
    if len(other):
        greatest = float(apart.max())
        findings.wrong(
            f"{counted(len(other), 'sample')} of its {what}, the first {stored.ids[int(other[0])]!r}: {by} they are "
            f"others, up to {greatest:.2g} off"
        )


def _check_sums(run: Run, known: list[_Found], by: str, findings: Findings, store: Store) -> None:
    """Cost, counted once for stages that members share."""
    findings.same("parameters", run.parameters, sum(each.run.parameters for each in known), by)
    findings.same("peak_memory_bytes", run.peak_memory_bytes, max(each.run.peak_memory_bytes for each in known), by)
    findings.same("train_fraction", run.train_fraction, max(each.run.train_fraction for each in known), by)
    fraction = max(each.run.cell.train_fraction for each in known)
    findings.same("train_fraction of its cell", run.cell.train_fraction, fraction, by)
    policies = " + ".join(dict.fromkeys(each.run.cell.weights for each in known))
    findings.same("weights of its cell", run.cell.weights, policies, by)
    sources = tuple(sorted({pair for each in known for pair in each.run.sources}))
    findings.same("sources", run.sources, sources, by)
    chains: dict[str, tuple[Stage, StageResult]] = {}
    for name in (name for each in known for name in each.run.stages):
        stage, result = store.stage(name), store.stage_result(name)
        if stage is None or result is None:
            findings.wrong(f"the store lacks stage {name[:10]}, which a member stands on")
            return
        chains[name] = (stage, result)
    findings.same("images_seen", run.images_seen, sum(stage.recipe.images_seen for stage, _ in chains.values()), by)
    of_target = sum(target_images(stage, known[0].run.cell.target) for stage, _ in chains.values())
    findings.same("target_images_seen", run.target_images_seen, of_target, by)
    seconds = math.fsum(result.train_seconds for _, result in chains.values())
    if not math.isclose(run.train_seconds, seconds, rel_tol=1e-9):
        findings.unknown("train_seconds: a stage of its members was trained again since, or elsewhere")


def _check_entry(run: Run, findings: Findings) -> None:
    """Its name, where that is of its members alone: which rows were to be chosen from, no record says."""
    if run.board is None or run.hardware:
        return
    rows = sorted({member.entry for member in run.members})
    identity = {"board": run.board.fingerprint, "ensemble": _MEAN, "rows": rows}
    of_runs = {**identity, "runs": sorted([member.entry, member.seed] for member in run.members)}
    if run.entry not in (fingerprint(identity), fingerprint(of_runs)):
        findings.unknown("its name: it was made of other rows than its members alone")
