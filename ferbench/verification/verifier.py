"""Checks rows of a store, each with all its runs, against themselves and against what lies on this machine."""

from __future__ import annotations

import functools
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator

from ferbench.accelerator import prepare_device
from ferbench.catalog import Catalog
from ferbench.data.roles import RoleReader
from ferbench.environment import chosen_device
from ferbench.errors import UnknownName
from ferbench.expressions import label_set
from ferbench.faces.cutting import FaceCuts
from ferbench.network import no_network
from ferbench.records import Run
from ferbench.rows import Rows
from ferbench.settings import Settings
from ferbench.store import Store
from ferbench.store.integrity import StoredRun
from ferbench.verification.again import check_inference
from ferbench.verification.chains import check_stages
from ferbench.verification.checks import Check, Findings, VerifiedRow
from ferbench.verification.data import check_board, check_data, check_samples
from ferbench.verification.derived import check_hash, check_scores
from ferbench.verification.given import CheckpointHashes, check_checkpoints, check_sources, check_weights
from ferbench.verification.members import check_members
from ferbench.verification.subject import Subject, read_subject
from ferbench.verification.told import check_cost, check_notes, check_tuning
from ferbench.workbench import Workbench


class Verifier:
    """Verifies rows for one command: each dataset is read once, each checkpoint hashed once. It writes into no store
    and downloads nothing.

    Parameters
    ----------
    infer : predict again from the checkpoints too
    tell : told row and seed of each run before it is verified

    Raises
    ------
    UsageError : with `infer`, a device that is not there
    """

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        settings: Settings,
        *,
        infer: bool = False,
        tell: Callable[[str, int], None] = lambda row, seed: None,
    ) -> None:
        self._tell = tell
        self._catalog = catalog
        self._store = store
        self._roles = RoleReader(catalog.dataset, settings.data_folder, settings.cache_folder)
        self._hashes = CheckpointHashes(settings.cache_folder)
        self._cuts = FaceCuts(catalog.face_detector, settings.cache_folder)
        self._bench: Workbench | None = None
        if infer:
            device = chosen_device(settings.device)
            prepare_device(device, deterministic=settings.deterministic)
            self._bench = Workbench(
                *(catalog.backbone, self._roles, settings.cache_folder, device),
                find_face_detector=catalog.face_detector,
            )
            self._bench.deterministic = settings.deterministic

    def rows(self, rows: Iterable[str], *, members: bool = False) -> Iterator[VerifiedRow]:
        """Verify rows one after the other, each with all its runs and once, however often it is named.

        Parameters
        ----------
        rows : of each the name, an entry's hash, or an unambiguous start of either of at least 4 hex digits
        members : go on with the members of ensembles

        Raises
        ------
        UnknownName, UsageError : no such row, too short a start, or one that fits several rows
        """
        waiting = deque(rows)
        seen: set[str] = set()
        while waiting:
            found = self._store.stored_runs(waiting.popleft())
            entry = found[0].entry
            if entry in seen:
                continue
            seen.add(entry)
            seeds = tuple(dict.fromkeys(lying.seed for lying in found))
            checks = tuple(check for lying in found for check in self._run(lying))
            yield VerifiedRow(entry[:10], seeds, checks)
            if members:
                # One that is not there is a mismatch of the ensemble, which has been told.
                runs = [lying.run for lying in found if lying.run is not None]
                named = dict.fromkeys(member.entry for run in runs for member in run.members)
                waiting.extend(entry for entry in named if entry in self._known)

    @functools.cached_property
    def _known(self) -> set[str]:
        return set(self._store.entries())

    @functools.cached_property
    def _trainings(self) -> dict[str, list[float]]:
        trained: dict[str, list[float]] = defaultdict(list)
        for training in self._store.trainings():
            trained[training.stage].append(training.saved_at)
        return trained

    @functools.cached_property
    def _sources(self) -> dict[str, str]:
        return {plugin.name: plugin.sha256 for plugin in self._catalog.plugins()}

    def _run(self, lying: StoredRun) -> list[Check]:
        with no_network():
            return self._checked(lying)

    def _checked(self, lying: StoredRun) -> list[Check]:
        self._tell(lying.entry[:10], lying.seed)
        own = Findings("record", lying.seed)
        for line in lying.faults:
            own.wrong(line)
        for line in lying.unsure:
            own.unknown(line)
        own.agreed("columns")
        if lying.run is None:
            return own.checks()
        subject = read_subject(lying, lying.run, self._store)
        own.guarded(functools.partial(_check_labels, subject.run, own))
        found = own.checks()

        def check(name: str, *looks: Callable[[Findings], None]) -> None:
            findings = Findings(name, lying.seed)
            for look in looks:
                findings.guarded(functools.partial(look, findings))
            found.extend(findings.checks())

        if subject.finished:
            check(
                "predictions",
                lambda findings: check_hash(subject, findings),
                lambda findings: check_samples(subject, findings, self._roles),
            )
            check("scores", lambda findings: check_scores(subject, findings, self._store))
        if subject.run.members:
            check("members", lambda findings: check_members(subject, findings, self._store))
        check("stages", lambda findings: self._check_chain(subject, findings))
        check("board", lambda findings: check_board(subject, findings, self._roles))
        check("data", lambda findings: check_data(subject, findings, self._roles, self._store))
        check("weights", lambda findings: check_weights(subject, findings, self._catalog))
        check("sources", lambda findings: check_sources(subject, findings, self._catalog, self._sources))
        check("checkpoint", lambda findings: check_checkpoints(subject, findings, self._hashes))
        if self._bench is not None:
            bench = self._bench
            check("infer", lambda findings: check_inference(subject, findings, bench))
        return found

    def _check_chain(self, subject: Subject, findings: Findings) -> None:
        replanning = check_stages(subject, findings, self._catalog)
        if subject.run.members:
            return
        check_cost(subject, findings, self._trainings)
        findings.guarded(lambda: check_tuning(subject, findings, replanning, self._store))
        if replanning is not None:
            rows = Rows(self._catalog, self._roles, subject.run.environment, self._cuts)
            findings.guarded(lambda: check_notes(subject, findings, replanning, rows))


def _check_labels(run: Run, findings: Findings) -> None:
    """That its classes can be known at all; without them nothing of it could be checked, and nothing would be wrong."""
    try:
        label_set(run.cell.recipe.label_set)
    except UnknownName as error:
        findings.wrong(error.line)
