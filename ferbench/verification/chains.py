"""Whether a run's chain is what its cell asks for, and every name in it the hash of what it names.

A stage's name holds the versions of its backbone and of the library that defines it, which no record repeats. Where the
installed ones give another name, those that the row may have been recorded with are tried.

Of a stage's result nothing but the training itself binds the seconds, the memory, the losses of its history, threads
and micro-batch. Without the plugin of the backbone no name can be derived, since its version is nowhere else.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping

from ferbench.catalog import Catalog
from ferbench.components import Backbone, Dataset, Strategy
from ferbench.contract import AUTO
from ferbench.errors import DatasetError, RecipeError, UnknownName, UsageError
from ferbench.expressions import label_set
from ferbench.fingerprints import PROTOCOL_VERSION, fingerprint
from ferbench.matrix import Components
from ferbench.plan import CellPlan, Plan, PlanInputs, make_plan, plan_of_stages, stage_fingerprint
from ferbench.quantities import counted
from ferbench.records import Board, Run, StageResult
from ferbench.references import CUT, HOLD_OUT, parse_reference
from ferbench.snapshot.hardware import hardware_of
from ferbench.stages import Cell, Stage, TrainingPart
from ferbench.verification.checks import Findings, shown
from ferbench.verification.subject import Subject, called

#: Versions of a backbone that are tried above the installed one: a row may come from a newer plugin.
_NEWER_VERSIONS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Replanning:
    """How the cells of a run's kind are planned, on the data and with the versions that the run was recorded with."""

    components: Components
    inputs: PlanInputs

    def plan(self, cell: Cell) -> Plan:
        """The plan of one cell; raises as plan.make_plan does."""
        return make_plan([cell], self.components, self.inputs)


def check_stages(subject: Subject, findings: Findings, catalog: Catalog) -> Replanning | None:
    """Each stage, how they hang together, and that they and the row's name are what the cell gives.

    returns : how the cell was planned again; None where it could not be
    """
    run = subject.run
    key = fingerprint([run.entry, run.cell.seed])
    findings.same("its key", run.key, key, "the hash of entry and seed is")
    if run.hardware:
        findings.same("its hardware", run.hardware, hardware_of(run.environment), "by its environment")
    for line in (line for stored in subject.stored.values() for line in stored.faults):
        findings.wrong(line)
    chain = _whole_chain(subject, findings)
    backbone = None if chain is None else _explaining(run, chain, findings, catalog)
    if chain is None or backbone is None:
        return None
    findings.agreed(counted(len(chain), "stage"))
    replanning = Replanning(_Components(catalog, backbone), _inputs(run, chain, catalog))
    try:
        plan = replanning.plan(run.cell)
    except UnknownName as error:
        # What its stages are asked for by is not here; its name can be told from what they are.
        findings.unknown(f"what its strategy asks for: {error.line}")
        planned = plan_of_stages(run.cell, [stage for stage, _ in chain], backbone, replanning.inputs)
        _check_name(run, planned, findings, "by its stages")
        return None
    _check_plan(run, chain, plan, findings)
    return replanning


def _whole_chain(subject: Subject, findings: Findings) -> list[tuple[Stage, StageResult]] | None:
    run, chain = subject.run, subject.chain()
    if chain is not None:
        _check_links(run, chain, findings)
        return chain
    absent = [name[:10] for name in run.stages if name not in subject.stored]
    if subject.finished and (absent or not run.stages):
        findings.wrong(f"stages that the store lacks: {', '.join(absent) or 'all'}")
    elif absent:
        findings.unknown("its name: it failed before all of its stages were trained")
    return None


def _check_links(run: Run, chain: list[tuple[Stage, StageResult]], findings: Findings) -> None:
    parent: str | None = None
    for number, (name, (stage, result)) in enumerate(zip(run.stages, chain, strict=True), 1):
        which = f"stage {number}"
        findings.same(f"{which}: its name", stage.fingerprint, name, "in the row's chain")
        findings.same(f"{which}: the name in its result", result.fingerprint, name, "in the row's chain")
        findings.same(f"{which}: its parent", stage.parent, parent, "in the row's chain")
        findings.same(f"{which}: its seed", stage.seed, run.cell.seed, "in the row's cell")
        findings.same(f"{which}: its place", stage.index, number - 1, "in the row's chain")
        if not run.members:
            findings.same(f"{which}: its backbone", stage.backbone, run.cell.backbone, "in the row's cell")
            findings.same(f"{which}: images seen", result.images_seen, stage.recipe.images_seen, "by its recipe")
            if result.history:
                last = result.history[-1].images_seen
                findings.same(f"{which}: images at the end of its history", last, result.images_seen, "in its result")
            if result.device != run.environment.device_kind:
                # A checkpoint that is here is taken, whatever computed it.
                findings.unknown(
                    f"{which}: whether it was trained on {result.device}, the row was computed on "
                    f"{run.environment.device_kind}"
                )
        findings.same(f"{which}: its weights", stage.weights.sha256, run.weights.sha256, "in the row's record")
        parent = name
    classes = label_set(run.cell.recipe.label_set).classes
    for number, (stage, _) in enumerate(chain, 1):
        findings.same(f"stage {number}: its classes", stage.classes, classes, "by the row's label set")


def _explaining(
    run: Run, chain: list[tuple[Stage, StageResult]], findings: Findings, catalog: Catalog
) -> Backbone | None:
    """The backbone as it was when it gave the stages their names; None where their names cannot be derived."""
    if run.members:
        # Nothing was trained: its one stage is named by its members.
        findings.agreed("key")
        return None
    if run.board is None or run.board.protocol != PROTOCOL_VERSION:
        findings.unknown(f"names of stages: they are not of protocol {PROTOCOL_VERSION}, which this ferbench has")
        return None
    try:
        installed = catalog.backbone(run.cell.backbone)
    except UnknownName:
        findings.unknown(f"names of stages: no plugin here provides backbone {run.cell.backbone!r}")
        return None
    for backbone in _versions(installed, run):
        if all(name == own for name, own in _names(run, chain, backbone)):
            _tell_other(installed, backbone, findings)
            return backbone
    # No version explains them all: the one that explains most shows which stage is at fault.
    best = max(_versions(installed, run), key=lambda each: sum(name == own for name, own in _names(run, chain, each)))
    for number, (name, own) in enumerate(_names(run, chain, best), 1):
        if name != own:
            findings.wrong(
                f"stage {number} is named {shown(name)}, but the hash of what it holds is {shown(own)}: its record "
                "was changed, or another version of its backbone's library trained it"
            )
    return best if best != installed else None


def _names(run: Run, chain: list[tuple[Stage, StageResult]], backbone: Backbone) -> Iterator[tuple[str, str]]:
    """The name that each stage has, and the one that it should have."""
    parent: str | None = None
    for name, (stage, _) in zip(run.stages, chain, strict=True):
        own = stage_fingerprint(dataclasses.replace(stage, parent=parent), backbone)
        yield name, called(own, run)
        # A wrong name must not make those behind it wrong.
        parent = own if name == called(own, run) or run.hardware else name


def _versions(installed: Backbone, run: Run) -> Iterator[Backbone]:
    """The installed backbone, then what it may have been when the run was recorded."""
    library = installed.library
    for name, version in run.environment.versions:
        library = re.sub(rf"\b{re.escape(name)} [^\s,;]+", f"{name} {version}", library)
    numbers = [installed.version, *range(installed.version - 1, 0, -1)]
    numbers += range(installed.version + 1, installed.version + 1 + _NEWER_VERSIONS)
    for version, each in itertools.product(numbers, dict.fromkeys((installed.library, library))):
        yield dataclasses.replace(installed, version=version, library=each)


def _tell_other(installed: Backbone, then: Backbone, findings: Findings) -> None:
    if then.version != installed.version:
        findings.unknown(
            f"what is computed now: backbone {then.name} has version {installed.version} here, the row was trained "
            f"with version {then.version}"
        )
    if then.library != installed.library:
        findings.unknown(
            f"what is computed now: backbone {then.name} comes from {installed.library} here, the row was trained "
            f"with {then.library}"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Components:
    """The catalog with one backbone as it was."""

    catalog: Catalog
    then: Backbone

    def backbone(self, name: str) -> Backbone:
        return self.then

    def dataset(self, name: str) -> Dataset:
        return self.catalog.dataset(name)

    def strategy(self, name: str) -> Strategy:
        return self.catalog.strategy(name)


def _inputs(run: Run, chain: list[tuple[Stage, StageResult]], catalog: Catalog) -> PlanInputs:
    """What planning asks of the world, as the run and its stages have it."""
    parts = {(part.dataset, part.fraction): part for stage, _ in chain for part in stage.parts}
    selects = {
        part.dataset: content
        for stage, _ in chain
        if stage.select
        for part, content in zip(stage.parts, stage.select, strict=True)
    }

    def training_part(reference: str, labels: str, fraction: float) -> TrainingPart:
        if (reference, fraction) in parts:
            return parts[reference, fraction]
        # A stage bears the name of its data by which another row asked for it first.
        wanted = _trained_on(reference, catalog)
        for (asked, share), part in parts.items():
            if share == fraction and _trained_on(asked, catalog) == wanted:
                return dataclasses.replace(part, dataset=reference)
        raise RecipeError(f"its cell asks for stages on {reference}, which none of its stages was trained on")

    def select_content(reference: str, labels: str) -> str:
        if reference in selects:
            return selects[reference]
        wanted = _trained_on(reference, catalog)
        return next((content for asked, content in selects.items() if _trained_on(asked, catalog) == wanted), "")

    detectors = {s.recipe.face_detector: (s.recipe.face_detector, s.detector) for s, _ in chain if s.detector}
    if detectors:
        # Which one was the default, the row tells, and not what is installed here.
        detectors[AUTO] = next(iter(detectors.values()))

    def board(target: str, labels: str) -> Board:
        assert run.board is not None
        return run.board

    return PlanInputs(
        training_part=training_part,
        select_content=select_content,
        board=board,
        weights=lambda name, policy: run.weights,
        precision=chain[-1][0].recipe.precision,
        device_kind=run.environment.device_kind,
        face_detector=lambda name: detectors.get(name, (name, name)),
    )


def _trained_on(reference: str, catalog: Catalog) -> tuple[str, frozenset[str]]:
    """The dataset that is meant, and the splits that are named for training; none where those of its roles are.

    Of a dataset that no plugin here knows, the reference as it is.
    """
    try:
        found = parse_reference(reference, catalog.dataset)
    except (UnknownName, UsageError, DatasetError):
        return reference, frozenset()
    roles: Mapping[str, str] = {str(role): split for role, split in found.dataset.roles.items()}
    splits = frozenset(roles.get(split, split) for split in found.splits)
    return found.dataset.name, splits if splits & {roles.get("train"), HOLD_OUT} else frozenset()


def _check_plan(run: Run, chain: list[tuple[Stage, StageResult]], plan: Plan, findings: Findings) -> None:
    by = "by its cell and its stages"
    for number, ((stage, _), own) in enumerate(zip(chain, plan.stages, strict=False), 1):
        for field in dataclasses.fields(own.recipe):
            stored, asked = getattr(stage.recipe, field.name), getattr(own.recipe, field.name)
            findings.same(f"stage {number}: {field.name}", stored, asked, "by the row's cell")
    planned = plan.cells[0]
    if _check_name(run, planned, findings, by):
        named = tuple(called(name, run) for name in planned.stages)
        findings.same("its chain", tuple(name[:10] for name in run.stages), tuple(name[:10] for name in named), by)


def _check_name(run: Run, planned: CellPlan, findings: Findings, by: str) -> bool:
    """The entry and what else of the row follows from its stages; False where the names of its datasets are cut."""
    if any(CUT in name for name in (run.cell.target, *run.cell.auxiliaries)):
        findings.unknown("its name: the folders in the names of its datasets were cut on the way here")
        return False
    findings.same("its name", run.entry, called(planned.entry, run), by)
    for name in ("images_seen", "target_images_seen", "train_fraction"):
        findings.same(name, getattr(run, name), getattr(planned, name), by)
    findings.agreed("entry and key")
    return True
