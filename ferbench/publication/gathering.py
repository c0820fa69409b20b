"""A store as a site: its boards at hand, its rows and comparisons read when their turn comes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ferbench.catalog import Catalog
from ferbench.components import Permit
from ferbench.errors import StoreError
from ferbench.leaderboard import BoardTable, failures_without_board, leaderboards
from ferbench.pages.board import SHOWN, BoardPage
from ferbench.pages.comparison import AcrossPage, ComparisonPage
from ferbench.pages.site import PublishedRow, Site
from ferbench.publication.comparisons import across_boards_page, comparison_page
from ferbench.publication.model_cards import model_card_of
from ferbench.publication.pictures import SamplePictures
from ferbench.publication.row_figures import hardest_places
from ferbench.publication.rows import RowPages
from ferbench.publication.saliency import SaliencyPictures
from ferbench.publish.model_card import model_card
from ferbench.records import Entry, Predictions, ReportedResult, Run, RunSummary
from ferbench.settings import Settings
from ferbench.snapshot.choice import chosen_entries
from ferbench.snapshot.licence import Permits, permits_of
from ferbench.snapshot.redaction import cut, withheld_summary
from ferbench.store import Store

#: Which published figures are shown: those of the boards' datasets, all, or none.
References = Literal["own", "all", "none"]


_LACKING = "its predictions are not in the store: run that cell again with --force"


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a store is published.

    rows, where : as `snapshot.choice.chosen_entries` takes them
    asked : what of samples is shown whatever their licence permits
    pictures : False for none, whatever is permitted
    saliency : beside pictures of samples, where the row's network looks
    """

    rows: Sequence[str] = ()
    where: Sequence[str] = ()
    references: References = "own"
    asked: Collection[Permit] = ()
    pictures: bool = True
    saliency: bool = False


def gathered(
    store: Store,
    catalog: Catalog,
    settings: Settings,
    choice: Choice,
    title: str,
    warn: Callable[[str], None] = lambda line: None,
    permits: Permits | None = None,
) -> Site:
    """What is to be published of a store, which must stay open while the site is written.

    Boards are ranked whole, whatever rows are chosen. Of samples, what the licence of the board's dataset permits is
    shown, and what is asked for; no error and no note names others. Folders of this machine are cut out of all texts.

    Parameters
    ----------
    warn : is told what cannot be shown of a row
    permits : what licences permit; those of the catalog's datasets if None

    Raises
    ------
    UnknownName, UsageError : no such row, no such condition, nothing that fits, or saliency without captum
    StoreError : a store that cannot be read
    """
    if choice.saliency:
        from ferbench.saliency import check_installed

        check_installed()
    permits = permits or permits_of(catalog.dataset)
    summaries = [_withheld(run, permits, choice.asked) for run in store.leaderboard_rows()]
    entries = {entry[:10] for entry in chosen_entries(store, choice.rows, choice.where).entries}
    ranked = leaderboards(summaries, store.speed_measurements())
    tables = [table for table in (_chosen(table, entries) for table in ranked) if table.entries or table.failed]
    reported = () if choice.references == "none" else catalog.reported_results()
    reading = _Reading(store, catalog, settings, choice, summaries, warn)
    pages = tuple([reading.page(table, permits, reported) for table in tables])
    if choice.saliency and not any("pictures" in page.shown for page in pages):
        warn("no saliency: no pictures of samples are shown, beside which it stands")
    targets = {page.table.board.target for page in pages}
    others = tuple([each for each in reported if each.dataset not in targets]) if choice.references == "all" else ()
    lost = tuple([cut(each) for each in failures_without_board(summaries) if each.row in entries])
    return Site(title, pages, lost, others, reading.rows, reading.comparison, lambda: reading.across(pages))


def _withheld(run: RunSummary, permits: Permits, asked: Collection[Permit]) -> RunSummary:
    """A summary that names no sample that may not be named: what is asked for is asked of the board's dataset alone."""
    own = {run.target, *([run.board.target] if run.board else [])}
    return withheld_summary(run, lambda dataset: {*permits(dataset), *(asked if dataset in own else ())})


def _chosen(table: BoardTable, rows: Collection[str]) -> BoardTable:
    entries = tuple([entry for entry in table.entries if entry.row in rows])
    failed = tuple([failure for failure in table.failed if failure.row in rows])
    hidden = table.hidden + len(table.entries) - len(entries)
    return dataclasses.replace(table, entries=entries, failed=failed, hidden=hidden)


def _page(
    table: BoardTable,
    permits: Permits,
    choice: Choice,
    reported: Sequence[ReportedResult],
    lacking: frozenset[str],
    *,
    grouped: bool,
) -> BoardPage:
    permitted = set(permits(table.board.target))
    shown = permitted | set(choice.asked)
    shown -= set() if choice.pictures else {"pictures"}
    return BoardPage(
        table=cut(table),
        reported=tuple([each for each in reported if each.dataset == table.board.target]),
        shown=tuple([each for each in SHOWN if each in shown]),
        beyond=tuple([each for each in SHOWN if each in shown - permitted]),
        lacking=lacking,
        grouped=grouped,
    )


class _Reading:
    """Reads what a site's pages say of a store that is open."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        settings: Settings,
        choice: Choice,
        summaries: Sequence[RunSummary],
        warn: Callable[[str], None],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._choice = choice
        self._summaries = summaries
        self._warn = warn

    def page(self, table: BoardTable, permits: Permits, reported: Sequence[ReportedResult]) -> BoardPage:
        """A board's page; rows whose predictions are not in the store are told, each once."""
        found, grouped = set(), False
        for entry in table.entries:
            try:
                answers = self._store.run_predictions(entry.row)
                grouped = grouped or any(said.groups is not None for _, said in answers)
            except StoreError:
                self._warn(f"row {entry.row} has no page: {_LACKING}")
                found.add(entry.row)
        return _page(table, permits, self._choice, reported, frozenset(found), grouped=grouped)

    def rows(self, page: BoardPage) -> Iterator[PublishedRow]:
        board = page.table.board.fingerprint
        there = [entry for entry in page.table.entries if entry.row not in page.lacking]
        hidden = page.table.hidden + len(page.lacking)
        page = dataclasses.replace(page, table=dataclasses.replace(page.table, entries=tuple(there), hidden=hidden))
        for entry in there:
            answers = [
                (run, said)
                for run, said in self._store.run_predictions(entry.row)
                if run.board is not None and run.board.fingerprint == board
            ]
            yield self._row(page, entry, answers)

    def comparison(self, page: BoardPage) -> ComparisonPage | None:
        found = comparison_page(page.table, self._store, self._summaries)
        return None if found is None else dataclasses.replace(found, rows=found.rows - page.lacking)

    def across(self, pages: Sequence[BoardPage]) -> AcrossPage | None:
        tables = [page.table for page in pages if not page.table.stale]
        return across_boards_page(tables, self._store, self._summaries)

    def _row(self, page: BoardPage, entry: Entry, answers: Sequence[tuple[Run, Predictions]]) -> PublishedRow:
        pictures, saliency = None, {}
        if "pictures" in page.shown:
            pictures = self._pictures
            if self._choice.saliency:
                saliency = self._saliency.of(answers, hardest_places([said for _, said in answers]))
        row = self._pages.page(page.table, entry, answers, page.shown, pictures, saliency)
        runs = [run for run, _ in answers]
        members = self._pages.members(runs)
        chain = [] if runs[0].members else self._chain(runs[0])
        card = model_card_of(
            entry, runs, page.table.board, self._catalog, row.commands[0].line, chain=chain, members=members
        )
        return PublishedRow(row, model_card(card))

    def _chain(self, run: Run) -> list[tuple[Any, Any]]:
        results = self._store.stage_results(run.stages)
        return [(self._store.stage(name), results.get(name)) for name in run.stages]

    @cached_property
    def _pages(self) -> RowPages:
        return RowPages(self._store, self._catalog)

    @cached_property
    def _pictures(self) -> SamplePictures:
        return SamplePictures(self._catalog, self._settings.data_folder, self._settings.cache_folder)

    @cached_property
    def _saliency(self) -> SaliencyPictures:
        return SaliencyPictures(self._store, self._catalog, self._settings, self._pictures, self._warn)
