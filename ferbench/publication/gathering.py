"""A store as a site: its boards at hand, its rows and comparisons read when their turn comes."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ferbench.catalog import Catalog
from ferbench.components import PERMITS, Permit
from ferbench.errors import FerbenchError
from ferbench.leaderboard import BoardTable, FailedEntry, failures_without_board, leaderboards
from ferbench.pages.board import BoardPage
from ferbench.pages.comparison import AcrossPage, ComparisonPage
from ferbench.pages.row import RowPage
from ferbench.pages.site import Site
from ferbench.publication.comparisons import across_boards_page, comparison_page
from ferbench.publication.pictures import SamplePictures
from ferbench.publication.rows import row_page
from ferbench.records import Predictions, ReportedResult, Run
from ferbench.settings import Settings
from ferbench.snapshot.choice import chosen_entries
from ferbench.snapshot.redaction import published, without_folders
from ferbench.store import KeptRun, Store

_Public = TypeVar("_Public")

#: Which published figures are shown: those of the boards' datasets, all, or none.
References = Literal["own", "all", "none"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a store is published.

    rows, where : as `snapshot.choice.chosen_entries` takes them
    asked : what of samples is to be shown where a licence permits it
    withheld : what is not to be shown in any case
    """

    rows: Sequence[str] = ()
    where: Sequence[str] = ()
    references: References = "own"
    asked: Collection[Permit] = ()
    withheld: Collection[Permit] = ()
    saliency: bool = False


def gathered(store: Store, catalog: Catalog, settings: Settings, choice: Choice, title: str) -> Site:
    """What is to be published of a store, which must stay open while the site is written.

    Boards are ranked whole, whatever rows are chosen. What the licence of a board's dataset permits is shown where it
    is asked for, and of embedded datasets without asking. Folders of this machine are cut out of all texts.

    Raises
    ------
    UnknownName, UsageError : no such row, no such condition, or nothing that fits
    StoreError : a store that cannot be read
    """
    summaries = store.leaderboard_rows()
    entries = {entry[:10] for entry in chosen_entries(store, choice.rows, choice.where).entries}
    ranked = leaderboards(summaries, store.speed_measurements())
    tables = [table for table in (_chosen(table, entries) for table in ranked) if table.entries or table.failed]
    reported = () if choice.references == "none" else catalog.reported_results()
    pages = tuple([_page(table, catalog, choice, reported) for table in tables])
    targets = {page.table.board.target for page in pages}
    others = tuple([each for each in reported if each.dataset not in targets]) if choice.references == "all" else ()
    lost = tuple([_public(each) for each in failures_without_board(summaries) if each.row in entries])
    reading = _Reading(store, catalog, settings, choice)
    return Site(title, pages, lost, others, reading.rows, reading.comparison, lambda: reading.across(pages))


def permits_of(target: str, catalog: Catalog) -> tuple[frozenset[Permit], bool]:
    """What the licence of a dataset lets anybody publish, and whether it is embedded; none of what is not known here."""
    try:
        dataset = catalog.dataset(target)
    except FerbenchError:
        return frozenset(), False
    return frozenset(dataset.licence_permits), dataset.embedded


def _chosen(table: BoardTable, rows: Collection[str]) -> BoardTable:
    entries = tuple([entry for entry in table.entries if entry.row in rows])
    failed = tuple([failure for failure in table.failed if failure.row in rows])
    hidden = table.hidden + len(table.entries) - len(entries)
    return _public(dataclasses.replace(table, entries=entries, failed=failed, hidden=hidden))


def _page(table: BoardTable, catalog: Catalog, choice: Choice, reported: Sequence[ReportedResult]) -> BoardPage:
    permitted, embedded = permits_of(table.board.target, catalog)
    wanted = (set(PERMITS) if embedded else set(choice.asked)) - set(choice.withheld)
    return BoardPage(
        table=table,
        reported=tuple([each for each in reported if each.dataset == table.board.target]),
        shown=tuple([each for each in PERMITS if each in wanted & permitted]),
        refused=tuple([each for each in PERMITS if each in set(choice.asked) - permitted]),
    )


class _Reading:
    """Reads what a site's pages say of a store that is open."""

    def __init__(self, store: Store, catalog: Catalog, settings: Settings, choice: Choice) -> None:
        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._choice = choice

    def rows(self, page: BoardPage) -> Iterator[RowPage]:
        pictures = self._pictures(page)
        for entry in page.table.entries:
            yield row_page(
                page.table, entry, self._answers(page, entry.row), self._store, self._catalog, page.shown, pictures
            )

    def comparison(self, page: BoardPage) -> ComparisonPage | None:
        return comparison_page(page.table, self._store)

    def across(self, pages: Sequence[BoardPage]) -> AcrossPage | None:
        return across_boards_page([page.table for page in pages if not page.table.stale], self._store)

    def _answers(self, page: BoardPage, row: str) -> list[tuple[Run, Predictions]]:
        """A row's runs on a board with their answers, without folders of this machine."""
        board = page.table.board.fingerprint
        found = []
        for run, predictions in self._store.run_predictions(row):
            if run.board is not None and run.board.fingerprint == board:
                place = (run.stages[-1], board)
                kept = published(KeptRun(run, predictions={place: predictions}))
                found.append((kept.run, kept.predictions[place]))
        return found

    def _pictures(self, page: BoardPage) -> SamplePictures | None:
        return None


def _public(value: _Public) -> _Public:
    """A record in whose texts the folders of paths are cut."""
    return _cut(value)  # type: ignore[no-any-return]


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return without_folders(value)
    if isinstance(value, tuple):
        return tuple([_cut(each) for each in value])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{f.name: _cut(getattr(value, f.name)) for f in dataclasses.fields(value)})
    return value
