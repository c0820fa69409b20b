"""What a row was given beside its data, against what lies on this machine: weights, plugins, checkpoints."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

from ferbench.catalog import Catalog
from ferbench.checkpoints import Checkpoints
from ferbench.errors import UnknownName, UsageError, WeightsError
from ferbench.references import parse_reference
from ferbench.stages import NO_WEIGHTS
from ferbench.state_dicts import file_sha256
from ferbench.verification.checks import Findings
from ferbench.verification.subject import Subject
from ferbench.weights import POLICIES, resolve_weights

_READ_BYTES = 1 << 20


def check_weights(subject: Subject, findings: Findings, catalog: Catalog) -> None:
    """The file that the chain starts from, where there is one."""
    run = subject.run
    policy = run.cell.weights
    if not run.weights.is_file:
        if policy not in POLICIES and not (run.members or run.weights == NO_WEIGHTS):
            findings.wrong(f"its cell asks for the weights {policy!r}, its record says {run.weights.source!r}")
        findings.agreed(run.weights.sha256)
        return
    if not run.members:
        if policy == "random":
            findings.wrong(f"its cell asks for random weights, its record says {run.weights.source!r}")
        elif policy not in POLICIES and run.weights.path and Path(policy).name != Path(run.weights.path).name:
            findings.wrong(f"its cell asks for the weights {policy!r}, its record says {run.weights.path!r}")
    path = Path(run.weights.path) if run.weights.path else None
    if path is None or not path.is_file():
        try:
            found = resolve_weights(catalog.backbone(run.cell.backbone), run.cell.weights)
        except WeightsError as error:
            findings.unknown(f"{run.weights.source}: {error.line}")
            return
        if found is None or found.path is None or not found.is_file:
            findings.unknown(f"{run.weights.source}: not on this machine; weights are not looked for on the network")
            return
        path = Path(found.path)
        findings.same("the source of its weights", run.weights.source, found.source, "by its backbone")
    if findings.same(f"the hash of {path.name}", file_sha256(path), run.weights.sha256, "in its record"):
        findings.agreed(path.name)


def check_sources(subject: Subject, findings: Findings, catalog: Catalog, here: Mapping[str, str]) -> None:
    """The plugins that the row's parts come from, against those that are installed.

    here : hashes of the latter by name
    """
    run = subject.run
    if not run.sources:
        if subject.finished:
            findings.unknown("an older ferbench kept no hashes of plugins")
        return
    for name, sha256 in run.sources:
        if name not in here:
            findings.unknown(f"plugin {name} is not installed here")
        elif findings.same(f"the source of plugin {name}", here[name], sha256, "in its record"):
            findings.agreed(name)
    references = [run.cell.target, *(p.dataset for s in subject.stored.values() if s.stage for p in s.stage.parts)]
    datasets = []
    for name in dict.fromkeys(references):
        # One that is not here is told by what needs its samples.
        with contextlib.suppress(UnknownName, UsageError):
            datasets.append(parse_reference(name, catalog.dataset).dataset.name)
    stages = [stored.stage for stored in subject.stored.values() if stored.stage]
    detectors = {stage.recipe.face_detector for stage in stages if stage.detector}
    owners = [name for name, _ in catalog.sources(run.cell.backbone, run.cell.strategy, datasets, detectors)]
    for name in owners:
        if name not in dict(run.sources):
            findings.wrong(f"plugin {name}, which its parts come from, is not among its sources")


class CheckpointHashes:
    """Hashes of checkpoints in the cache folder, each computed once."""

    def __init__(self, cache_folder: Path) -> None:
        self._checkpoints = Checkpoints(cache_folder)
        self._known: dict[str, str | None] = {}

    def sha256(self, fingerprint: str) -> str | None:
        """Of the checkpoint's file; None where there is none.

        Raises
        ------
        OSError : a file that cannot be read
        """
        if fingerprint not in self._known:
            path = self._checkpoints.path(fingerprint)
            self._known[fingerprint] = _sha256(path) if path.is_file() else None
        return self._known[fingerprint]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def check_checkpoints(subject: Subject, findings: Findings, hashes: CheckpointHashes) -> None:
    """The last stage's checkpoint, and those before it that are still there; an ensemble has none."""
    if subject.run.members:
        return
    for number, name in enumerate(subject.run.stages, 1):
        stored = subject.stored.get(name)
        if stored is None or stored.result is None:
            continue
        last = number == len(subject.run.stages)
        which = "its last stage" if last else f"stage {number}"
        found = hashes.sha256(name)
        if found is None:
            if last and subject.finished:
                gone = "it was pruned" if stored.pruned else "not in this cache folder"
                findings.unknown(f"its last stage's: {gone}")
        elif findings.same(
            f"the hash of the checkpoint of {which}", found, stored.result.checkpoint_sha256, "in the stage's record"
        ):
            findings.agreed(which)
