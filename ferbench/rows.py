"""Runs as they go into the store: a cell's outcome with its scores, its cost and what a reader must know."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence

from ferbench.catalog import Catalog
from ferbench.data.roles import RoleReader
from ferbench.evidence import Forgetting
from ferbench.expressions import label_set
from ferbench.faces.cutting import FaceCuts, faces_note
from ferbench.metrics import correctness, scores
from ferbench.plan import CellPlan
from ferbench.prediction_hash import predictions_sha256
from ferbench.records import Environment, Predictions, Run, StageResult
from ferbench.references import parse_reference, share_splits
from ferbench.reliability import calibration, reliability_bins
from ferbench.stages import Stage
from ferbench.tuning import tuning_note


class Rows:
    """Makes runs out of planned cells; `environment` is on each of them."""

    def __init__(self, catalog: Catalog, roles: RoleReader, environment: Environment, cuts: FaceCuts) -> None:
        self._catalog = catalog
        self._roles = roles
        self._cuts = cuts
        self._environment = environment

    def finished(
        self,
        cell: CellPlan,
        chain: Sequence[Stage],
        results: Sequence[StageResult],
        spent_seconds: float,
        report: Predictions,
        select: Predictions | None = None,
        forgetting: tuple[Forgetting, ...] = (),
    ) -> Run:
        """A cell whose stages are trained.

        results : of the chain's stages, in their order
        spent_seconds : on those of them that no other run has paid for
        report : what the last stage says of the report split
        select : and of the target's select samples
        forgetting : of the chain's auxiliaries
        """
        labels = cell.cell.recipe.label_set
        chosen = None if select is None else self._roles.select(cell.cell.target, labels)
        labelled = select is not None and select.labels is not None
        # Fitted on what is reported, a temperature would be another score of the same samples.
        apart = chosen is not None and not share_splits(chosen.splits, cell.board.split)
        return dataclasses.replace(
            self._blank(cell),
            status="finished",
            scores=scores(report, label_set(labels).classes),
            predictions_sha256=predictions_sha256(report),
            select_content="" if chosen is None else chosen.content,
            select_sha256="" if select is None else predictions_sha256(select),
            select_accuracy=float(correctness(select).mean()) if select is not None and labelled else None,
            reliability=reliability_bins(report),
            calibration=calibration(select, report) if select is not None and labelled and apart else None,
            forgetting=forgetting,
            sources=self._sources(cell, chain),
            train_seconds=sum(result.train_seconds for result in results),
            spent_seconds=spent_seconds,
            peak_memory_bytes=max(result.peak_memory_bytes for result in results),
            parameters=results[-1].parameters,
            notes=self.notes(cell, chain, results),
        )

    def _sources(self, cell: CellPlan, chain: Sequence[Stage]) -> tuple[tuple[str, str], ...]:
        references = dict.fromkeys([cell.cell.target, *(part.dataset for stage in chain for part in stage.parts)])
        datasets = [parse_reference(name, self._catalog.dataset).dataset.name for name in references]
        detectors = {stage.recipe.face_detector for stage in chain if stage.detector}
        return self._catalog.sources(cell.cell.backbone, cell.cell.strategy, datasets, detectors)

    def failed(self, cell: CellPlan, line: str) -> Run:
        """A cell one of whose stages has failed with this line."""
        return dataclasses.replace(self._blank(cell), error=line)

    def _blank(self, cell: CellPlan) -> Run:
        return Run(
            key=cell.key,
            entry=cell.entry,
            cell=cell.cell,
            status="failed",
            board=cell.board,
            weights=cell.weights,
            environment=self._environment,
            stages=cell.stages,
            images_seen=cell.images_seen,
            target_images_seen=cell.target_images_seen,
            train_fraction=cell.train_fraction,
            finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def notes(self, cell: CellPlan, chain: Sequence[Stage], results: Sequence[StageResult]) -> tuple[str, ...]:
        """What a reader of the row must know."""
        notes = [tuning_note(cell.cell.tuning)] if cell.cell.tuning is not None else []
        if cell.board.synthetic:
            notes.append("synthetic faces")
        elif any(part.synthetic for stage in chain for part in stage.parts):
            notes.append("trained on synthetic faces too")
        if cell.weights.is_random:
            notes.append(
                "random weights" if cell.cell.weights == "random" else "random weights: no pretrained ones found"
            )
        if chain[-1].recipe.head_fit != "sgd":
            notes.append(f"head fitted by {chain[-1].recipe.head_fit}")
            if len(chain) > 1 and self._catalog.backbone(cell.cell.backbone).weightless:
                notes.append("stages before the last leave no trace: nothing but the head is fitted, and it anew")
        if (note := self._on_faces(cell, chain)) is not None:
            notes.append(note)
        notes.extend(self._copies(cell, chain))
        for result in results:
            notes.extend(result.notes)
        absent = set.intersection(*(set(result.absent_classes) for result in results))
        if absent:
            notes.append(f"never trained on {', '.join(sorted(absent))}")
        target = cell.cell.target
        chosen = any(stage.select and target in (part.dataset for part in stage.parts) for stage in chain)
        if chosen or cell.cell.tuning is not None:
            chosen_on = self._roles.select(target, cell.cell.recipe.label_set).splits
            notes.extend(["selected on the reported split"] if share_splits(chosen_on, cell.board.split) else [])
        return tuple(dict.fromkeys(notes))

    def _on_faces(self, cell: CellPlan, chain: Sequence[Stage]) -> str | None:
        """In how many pictures no face was found; raises DetectorMissing where others would be found here."""
        labels, cuts = cell.cell.recipe.label_set, self._cuts
        last = chain[-1].recipe
        for stage in chain:
            cuts.check(stage.recipe, stage.detector)
        report = [self._roles.report(cell.cell.target, labels)] if last.faces != "none" else []
        parts = {
            (part.dataset, part.fraction, stage.detector): (part, stage.recipe)
            for stage in chain
            if stage.recipe.faces != "none"
            for part in stage.parts
        }
        trained = [(self._roles.train(part.dataset, labels, part.fraction), own) for part, own in parts.values()]
        return faces_note(
            [(cuts.without_face(samples, last), samples.count) for samples in report],
            [(cuts.without_face(samples, own), samples.count) for samples, own in trained],
        )

    def _copies(self, cell: CellPlan, chain: Sequence[Stage]) -> Iterator[str]:
        """What of the report split is trained on, picture by picture."""
        labels = cell.cell.recipe.label_set
        report = self._roles.report(cell.cell.target, labels).pictures
        for part in dict.fromkeys(part for stage in chain for part in stage.parts):
            samples = self._roles.train(part.dataset, labels, part.fraction)
            trained = set(samples.pictures)
            if count := sum(picture in trained for picture in report):
                where = f"{samples.dataset} {samples.splits}"
                yield f"{count:,} of {len(report):,} reported pictures are among those trained on, in {where}"
