"""A row of a store as its page says it: every number from stored runs, or by ferbench.metrics of what they said."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from ferbench.catalog import Catalog
from ferbench.components import Permit
from ferbench.errors import UnknownName
from ferbench.expressions import label_set
from ferbench.generalisation import further_entries
from ferbench.leaderboard import BoardTable
from ferbench.pages.board import hex_name
from ferbench.pages.row import FailedRun, HardSample, MemberRow, RowPage, SeedScores
from ferbench.publication.citations import citations_of
from ferbench.publication.commands import Commands
from ferbench.publication.pictures import SamplePictures
from ferbench.publication.row_figures import (
    calibrated_over_seeds,
    class_scores_over_seeds,
    confusion_over_seeds,
    group_scores,
    hard_samples,
    hardest_places,
)
from ferbench.publication.row_history import (
    chain_stages,
    curve_points,
    environments,
    forgotten,
    is_tracked,
    recipe_lines,
    rows_of_stages,
)
from ferbench.records import Entry, Predictions, Run
from ferbench.snapshot.licence import Permits, permits_of
from ferbench.snapshot.redaction import cut, name_without_folders, published, withheld, withheld_entry
from ferbench.store import KeptRun, Store

#: A row's finished runs, each with what it said of its board.
Answers = Sequence[tuple[Run, Predictions]]


def row_page(
    table: BoardTable,
    entry: Entry,
    answers: Answers,
    store: Store,
    catalog: Catalog,
    permits: Collection[Permit],
    pictures: SamplePictures | None = None,
    saliency: Mapping[str, bytes] | None = None,
) -> RowPage:
    """One row's page, as `RowPages.page` makes it; for many of them a `RowPages` looks up once what they share."""
    return RowPages(store, catalog).page(table, entry, answers, permits, pictures, saliency)


class RowPages:
    """Makes the pages of one store's rows; the store stays open meanwhile."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog
        self._commands = Commands(catalog, store)
        self._licences = permits_of(catalog.dataset)

    def page(
        self,
        table: BoardTable,
        entry: Entry,
        answers: Answers,
        permits: Collection[Permit],
        pictures: SamplePictures | None = None,
        saliency: Mapping[str, bytes] | None = None,
    ) -> RowPage:
        """One row's page.

        Parameters
        ----------
        table : the row's board; its rows have pages beside this one
        answers : as Store.run_predictions has them; what may not be published of them is left out here
        permits : what of the board's samples may be shown
        pictures : where they are taken from, if `permits` has them; None where none are to be shown
        saliency : PNG files by the ids of samples, shown beside their pictures

        Raises
        ------
        StoreError : the store cannot be read
        """
        raw = answers[0][0]
        kept = [self._published(run, said, permits) for run, said in answers]
        runs, said = [each.run for each in kept], [each.report for each in kept]
        first = runs[0]
        classes = label_set(first.cell.recipe.label_set).classes
        places = hardest_places(said)
        shown = self._pictures(answers[0], places, pictures, saliency or {}) if "pictures" in permits else {}
        hardest = hard_samples(said, classes, places)
        trained = [] if first.members else kept
        scored = {run.stages[-1]: [each for _, each in one.further] for run, one in zip(runs, kept, strict=True)}
        return RowPage(
            board=dataclasses.replace(table.board, target=name_without_folders(table.board.target)),
            entry=withheld_entry(cut(entry), first.cell.target, self._of_licence(raw, permits)),
            rows=len(table.entries) + table.hidden,
            stale=table.stale,
            permits=frozenset(permits),
            failed=self._failed(raw, permits),
            seeds=tuple(map(_seed_scores, runs)),
            recipe=recipe_lines(first, self._commands.defaults(raw.cell)) if trained else (),
            chain=tuple(chain_stages(trained, self._rows_of_stages, self._pruned(runs))) if trained else (),
            weights=first.weights,
            environments=environments(runs),
            curve=tuple(point for each in trained for point in curve_points(each)),
            classes=classes,
            confusion=confusion_over_seeds(said),
            of_classes=class_scores_over_seeds(said, classes),
            calibrated=calibrated_over_seeds(entry, runs, said),
            groups=group_scores(said),
            hardest=tuple(_pictured(hardest, shown, hex_name(entry.row))),
            tuning=first.cell.tuning,
            forgotten=forgotten(runs),
            further=further_entries(entry, scored),
            members=tuple(_members(runs, table)),
            commands=self._commands.of(runs, raw.cell, track=any(map(is_tracked, trained))),
            citations=citations_of(runs, self._catalog, self.members(runs)),
            linked=frozenset(each.row for each in table.entries),
            sources=first.sources,
            hardware=first.hardware,
            pictures=dict(_files(shown, hex_name(entry.row))),
        )

    def members(self, runs: Sequence[Run]) -> list[Run]:
        """A finished run of each row that an ensemble is made of, if it is in the store; none of a row that is none."""
        found = []
        for entry in dict.fromkeys(member.entry for run in runs for member in run.members):
            with contextlib.suppress(UnknownName):
                own = self._store.runs(row=entry, status="finished")
                found += self.members(own) if own and own[0].members else own[:1]
        return found

    def _published(self, run: Run, said: Predictions, permits: Collection[Permit]) -> KeptRun:
        """A run with its stages as anybody may have it; of an ensemble, the stage is none that was trained."""
        stages = [] if run.members else [(self._store.stage(name), name) for name in run.stages]
        results = self._store.stage_results([name for _, name in stages])
        there = [(stage, results[name]) for stage, name in stages if stage is not None and name in results]
        further = self._store.further_scores(run.stages[-1]).get(run.stages[-1], ())
        assert run.board is not None
        kept = KeptRun(
            run=run,
            stages=tuple(there),
            predictions={(run.stages[-1], run.board.fingerprint): said},
            further=tuple([(run.stages[-1], each) for each in further]),
        )
        return withheld(published(kept), self._of_licence(run, permits))

    def _of_licence(self, run: Run, permits: Collection[Permit]) -> Permits:
        """Of the board's dataset what is to be shown, of others what their licences permit."""
        board = run.board.target if run.board is not None else run.cell.target
        own = {name_without_folders(board), name_without_folders(run.cell.target)}
        return lambda dataset: permits if dataset in own else self._licences(dataset)

    def _failed(self, run: Run, permits: Collection[Permit]) -> tuple[FailedRun, ...]:
        found = []
        for each in self._store.runs(row=run.entry, status="failed"):
            own = withheld(published(KeptRun(each)), self._of_licence(each, permits)).run
            found.append(FailedRun(own.cell.seed, own.error or "no reason was recorded"))
        return tuple(sorted(found, key=lambda failed: failed.seed))

    def _pruned(self, runs: Sequence[Run]) -> list[int]:
        return [run.cell.seed for run in runs if self._store.is_pruned(run.stages[-1])]

    @functools.cached_property
    def _rows_of_stages(self) -> Mapping[str, tuple[str, ...]]:
        return rows_of_stages(self._store)

    def _pictures(
        self,
        answer: tuple[Run, Predictions],
        places: Sequence[int],
        pictures: SamplePictures | None,
        saliency: Mapping[str, bytes],
    ) -> dict[int, tuple[bytes, bytes | None]]:
        """Of each place its sample's picture, and its saliency."""
        run, said = answer
        found = [] if pictures is None else pictures.png(run, places)
        return {place: (data, saliency.get(said.ids[place])) for place, data in zip(places, found, strict=False)}


def _pictured(
    samples: Iterator[HardSample], shown: Mapping[int, tuple[bytes, bytes | None]], row: str
) -> Iterator[HardSample]:
    for sample in samples:
        picture, saliency = shown.get(sample.place, (None, None))
        yield dataclasses.replace(
            sample,
            picture=_picture(sample.place) if picture else None,
            saliency=_saliency(row, sample.place) if saliency else None,
        )


def _files(shown: Mapping[int, tuple[bytes, bytes | None]], row: str) -> Iterator[tuple[str, bytes]]:
    for place, (picture, saliency) in shown.items():
        yield _picture(place), picture
        if saliency:
            yield _saliency(row, place), saliency


def _picture(place: int) -> str:
    """A sample looks the same to every row of its board: its picture lies there once."""
    return f"samples/{place + 1}.png"


def _saliency(row: str, place: int) -> str:
    return f"rows/{row}-{place + 1}-saliency.png"


def _seed_scores(run: Run) -> SeedScores:
    scores = {score.metric: score for score in run.scores}
    values = {name: scores[name].value if name in scores else None for name in ("nll", "brier", "ece")}
    accuracy = scores["accuracy"]
    return SeedScores(
        seed=run.cell.seed,
        accuracy=accuracy.value,
        low=accuracy.value if accuracy.low is None else accuracy.low,
        high=accuracy.value if accuracy.high is None else accuracy.high,
        uar=scores["uar"].value,
        macro_f1=scores["macro_f1"].value,
        **values,
        select_accuracy=run.select_accuracy,
        temperature=None if run.calibration is None else run.calibration.temperature,
        train_seconds=run.train_seconds,
        finished_at=run.finished_at[:10],
    )


def _members(runs: Sequence[Run], table: BoardTable) -> Iterator[MemberRow]:
    """Rows in an ensemble, those with the largest part of its mean first."""
    entries = {entry.row: entry for entry in table.entries}
    weights: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for run in runs:
        for member in run.members:
            weights[member.row] += member.weight / len(runs)
            counts[member.row] += 1
    for row in sorted(weights, key=lambda row: (-weights[row], row)):
        entry = entries.get(row)
        words = "" if entry is None else f"{name_without_folders(entry.backbone)} · {entry.strategy}"
        yield MemberRow(row, words, weights[row], counts[row], entry is not None)
