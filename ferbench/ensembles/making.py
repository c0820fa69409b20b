"""Runs of an ensemble, made of their members' predictions and records."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ferbench.averaging import averaged, greedy_counts, same_samples
from ferbench.ensembles.inherited import Chains, shared_environment, shared_recipe, shared_weights
from ferbench.ensembles.method import Method
from ferbench.ensembles.naming import backbone_of, made_of, notes_of
from ferbench.ensembles.on_select import is_apart, mean_on_select
from ferbench.ensembles.pool import Pool, Source
from ferbench.errors import StoreError, UsageError
from ferbench.evidence import Member
from ferbench.expressions import label_set
from ferbench.fingerprints import PROTOCOL_VERSION, fingerprint
from ferbench.metrics import correctness, scores
from ferbench.prediction_hash import predictions_sha256
from ferbench.records import Predictions, Run, StageResult
from ferbench.references import share_splits
from ferbench.reliability import calibration, reliability_bins
from ferbench.stages import Cell, Stage
from ferbench.store import Store


@dataclass(frozen=True, slots=True)
class Made:
    """One run of an ensemble, before it is stored."""

    run: Run
    stage: Stage
    result: StageResult
    report: Predictions
    select: Predictions | None


class Maker:
    """Makes the runs of one ensemble."""

    def __init__(self, store: Store, pool: Pool, method: Method, entry: str, entries: Sequence[str]) -> None:
        self._store = store
        self._pool = pool
        self._method = method
        self._entry = entry
        self._entries = entries

    def made(self, seed: int, sources: Sequence[Source]) -> Made:
        """The run of one seed."""
        counts = self._counts(sources)
        weighted = self._trained(sources, counts)
        members = [source for source, _ in weighted]
        weights = [weight for _, weight in weighted]
        runs = [source.run for source in members]
        report = averaged([source.report for source in members], weights)
        select, select_content = mean_on_select(runs, [source.select for source in members], weights)
        chains = Chains(self._store, runs)
        stage, result = self._stage(seed, weighted, chains)
        board = runs[0].board
        assert board is not None
        chosen_on = sources[0].select
        notes = notes_of(made_of(seed, sources, counts, self._entries, self._method), chains, runs)
        if self._method.greedy and chosen_on is not None and share_splits(chosen_on.split, board.split):
            notes.append("selected on the reported split")
        labelled = select is not None and select.labels is not None
        run = Run(
            key=fingerprint([self._entry, seed]),
            entry=self._entry,
            cell=self._cell(seed, runs, stage),
            status="finished",
            board=board,
            weights=stage.weights,
            environment=shared_environment(runs),
            stages=(stage.fingerprint,),
            scores=scores(report, label_set(board.label_set).classes),
            images_seen=chains.images_seen,
            target_images_seen=chains.target_images_seen,
            train_seconds=chains.train_seconds,
            peak_memory_bytes=max(run.peak_memory_bytes for run in runs),
            parameters=result.parameters,
            notes=tuple(dict.fromkeys(notes)),
            finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            train_fraction=max(run.train_fraction for run in runs),
            predictions_sha256=predictions_sha256(report),
            select_content=select_content,
            select_sha256="" if select is None else predictions_sha256(select),
            select_accuracy=float(correctness(select).mean()) if select is not None and labelled else None,
            reliability=reliability_bins(report),
            calibration=calibration(select, report) if select is not None and is_apart(select, board) else None,
            members=tuple(
                Member(run.entry, run.cell.seed, run.stages[-1], weight)
                for run, weight in zip(runs, weights, strict=True)
            ),
            sources=tuple(sorted({pair for run in runs for pair in run.sources})),
        )
        return Made(run, stage, result, report, select)

    def _counts(self, sources: Sequence[Source]) -> tuple[int, ...]:
        """How often each run is taken."""
        if not self._method.greedy:
            return (1,) * len(sources)
        pool: list[Predictions] = []
        for place, source in enumerate(sources):
            name = f"row {source.run.row}, seed {source.run.cell.seed}"
            if source.select is None:
                raise StoreError(
                    f"{self._store.location} holds no predictions of {name} on select, on which members are chosen: "
                    "run that cell again with --force"
                )
            if source.select.labels is None:
                raise UsageError(f"{name}: select has no labels, so that members cannot be chosen on it")
            for other in sources[:place]:
                if not same_select(other, source):
                    raise UsageError(
                        f"{name} has other select samples than row {other.run.row}, seed {other.run.cell.seed}, so "
                        "that members cannot be chosen on them: name rows of one select split"
                    )
            pool.append(source.select)
        return greedy_counts(pool, self._method.metric, self._method.steps)

    def _trained(self, sources: Sequence[Source], counts: Sequence[int]) -> list[tuple[Source, float]]:
        """The trained runs that are averaged with their weights, each once, in an order that rows do not set."""
        found: dict[tuple[str, int], Source] = {}
        weights: dict[tuple[str, int], list[float]] = defaultdict(list)
        for source, count in zip(sources, counts, strict=True):
            for each, weight in self._pool.trained(source) if count else ():
                found[each.name] = each
                weights[each.name].append(weight * count / sum(counts))
        return [(found[name], math.fsum(weights[name])) for name in sorted(found)]

    def _stage(self, seed: int, weighted: Sequence[tuple[Source, float]], chains: Chains) -> tuple[Stage, StageResult]:
        """What the predictions are stored under."""
        members = [[source.run.stages[-1], weight] for source, weight in weighted]
        name = fingerprint({"ensemble": members, "protocol": PROTOCOL_VERSION, "seed": seed})
        lasts = chains.lasts
        recipe = shared_recipe([stage.recipe for stage in lasts])
        stage = Stage(
            fingerprint=name,
            index=0,
            backbone=f"ensemble of {len(weighted)}",
            weights=shared_weights([stage.weights for stage in lasts]),
            parts=chains.parts,
            classes=lasts[0].classes,
            recipe=dataclasses.replace(recipe, images_seen=max(1, chains.images_seen)),
            seed=seed,
            parent=None,
        )
        environment = shared_environment([source.run for source, _ in weighted])
        result = StageResult(
            fingerprint=name,
            images_seen=0,
            train_seconds=0.0,
            images_per_second=0.0,
            peak_memory_bytes=0,
            history=(),
            device=environment.device_kind,
            threads=environment.threads,
            micro_batch=0,
            parameters=sum(source.run.parameters for source, _ in weighted),
            checkpoint_sha256="",
        )
        return stage, result

    def _cell(self, seed: int, runs: Sequence[Run], stage: Stage) -> Cell:
        cells = [run.cell for run in runs]
        recipe = shared_recipe([cell.recipe for cell in cells])
        strategy = "greedy-ensemble" if self._method.greedy else "ensemble"
        return Cell(
            backbone=backbone_of(self._pool, self._entries, self._method),
            weights=" + ".join(dict.fromkeys(cell.weights for cell in cells)),
            strategy=strategy,
            target=cells[0].target,
            auxiliaries=tuple(dict.fromkeys(name for cell in cells for name in cell.auxiliaries)),
            recipe=dataclasses.replace(
                recipe, images_seen=stage.recipe.images_seen, image_size=stage.recipe.image_size
            ),
            seed=seed,
            train_fraction=max(cell.train_fraction for cell in cells),
        )


def same_select(one: Source, other: Source) -> bool:
    """Whether two have the same select samples: by their hash, or by their ids where a row is too old to have one.

    Labels alone do not tell, as two halves of one split may have the same ones in the same order.
    """
    if one.select is None or other.select is None or not same_samples(one.select, other.select):
        return False
    contents = one.run.select_content, other.run.select_content
    return contents[0] == contents[1] if all(contents) else one.select.ids == other.select.ids
