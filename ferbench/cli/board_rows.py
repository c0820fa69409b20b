"""What `ferbench leaderboard` reads: boards ranked whole, then the rows that are asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ferbench.cli.session import reading_store, store_exists
from ferbench.errors import UsageError

if TYPE_CHECKING:
    from ferbench.board_view import Sort
    from ferbench.cli.board_options import BoardOptions
    from ferbench.generalisation import FurtherEntry
    from ferbench.leaderboard import BoardTable, FailedEntry
    from ferbench.reach import Reach
    from ferbench.records import ReportedResult, RunSummary
    from ferbench.row_filter import RowFilter
    from ferbench.settings import Settings
    from ferbench.store import Store


@dataclass(slots=True)
class BoardRows:
    """What was read.

    runs : all of the store's
    boards : those of the target, or all, with all their rows
    tables : what is shown of them
    lost : failures that belong to no board
    further, reach : by board's fingerprint and by ROW, where they were asked for
    """

    runs: list[RunSummary]
    where: RowFilter
    sort: Sort
    boards: tuple[BoardTable, ...] = ()
    tables: tuple[BoardTable, ...] = ()
    lost: tuple[FailedEntry, ...] = ()
    further: dict[str, dict[str, tuple[FurtherEntry, ...]]] = field(default_factory=dict)
    reach: dict[str, dict[str, Reach]] = field(default_factory=dict)

    @property
    def choice(self) -> list[str]:
        """Which rows were chosen and in which order they stand, in words."""
        chosen = [f"where {self.where}"] if self.where else []
        return [*chosen, *([] if self.sort.by_rank else [self.sort.words])]


def read_rows(options: BoardOptions, settings: Settings) -> BoardRows:
    """What the options ask for; nothing where there is no store yet.

    Raises
    ------
    UsageError : a filter or an order that rows do not have
    StoreError : a store that cannot be read
    """
    from ferbench.board_view import REACH, arranged, chosen, parse_sort, shortened
    from ferbench.leaderboard import failures_without_board, leaderboards
    from ferbench.row_filter import parse_where

    found = BoardRows([], parse_where(options.where), parse_sort(options.sort))
    if found.sort.key == REACH and options.reach is None:
        raise UsageError(f"--sort {options.sort} needs to know what is to be reached: give --reach PERCENT")
    if not store_exists(settings):
        return found
    with reading_store(settings) as store:
        found.runs = store.leaderboard_rows()
        found.boards = leaderboards(found.runs, store.speed_measurements())
        if options.target is not None:
            found.boards = boards_of_target(found.boards, options.target, found.runs)
        tables = chosen(found.boards, found.runs, found.where)
        if options.reach is not None:
            found.reach = {t.board.fingerprint: _reach(store, t, options.reach / 100) for t in tables}
        for table in tables:
            seconds = {row: each.seconds for row, each in found.reach.get(table.board.fingerprint, {}).items()}
            found.tables += (shortened(arranged(table, found.sort, seconds), options.top),)
        if options.generalisation:
            found.further = further_of(store, found.tables)
    if options.target is None and not found.where.measured:
        kept = found.where.rows(found.runs, "failed")
        found.lost = tuple(each for each in failures_without_board(found.runs) if ("", each.row) in kept)
    return found


def references_of_target(
    found: BoardRows, reported: Sequence[ReportedResult] | None, target: str
) -> tuple[ReportedResult, ...] | None:
    """Those of the target, if any were asked for.

    Raises
    ------
    UsageError : there is neither a board nor a reported result of it, but there are others
    """
    of_target = None if reported is None else tuple(result for result in reported if result.dataset == target)
    if (found.runs or reported is not None) and not found.boards and not of_target:
        names = [run.board.target for run in found.runs if run.board] + [result.dataset for result in reported or ()]
        what = "board" if reported is None else "board and no reported result"
        known = ", ".join(dict.fromkeys(names))
        raise UsageError(f"no {what} of target {target!r}: there are {known or 'none'}")
    return of_target


def boards_of_target(
    tables: tuple[BoardTable, ...], target: str, runs: Collection[RunSummary]
) -> tuple[BoardTable, ...]:
    """The boards whose data is called so, or was asked for under that name in one of the runs."""
    names = _names(runs)
    return tuple(t for t in tables if target in {t.board.target, *names.get(t.board.fingerprint, ())})


def further_of(store: Store, tables: Collection[BoardTable]) -> dict[str, dict[str, tuple[FurtherEntry, ...]]]:
    """By board's fingerprint and by ROW, of rows that were scored on further datasets."""
    from ferbench.generalisation import further_entries

    scored = store.further_scores()
    return {
        table.board.fingerprint: {entry.row: own for entry in table.entries if (own := further_entries(entry, scored))}
        for table in tables
    }


def _names(rows: Collection[RunSummary]) -> dict[str, set[str]]:
    """Under which names each board's data was asked for, with and without splits, by the board's fingerprint."""
    found: dict[str, set[str]] = {}
    for row in rows:
        if row.board is not None:
            found.setdefault(row.board.fingerprint, set()).update((row.target, row.target.rpartition(":")[0]))
    return found


def _reach(store: Store, table: BoardTable, accuracy: float) -> dict[str, Reach]:
    from ferbench.reach import reaches

    shown = {entry.row for entry in table.entries}
    runs = [run for run in store.runs(board=table.board.fingerprint, status="finished") if run.row in shown]
    return reaches(runs, store.stage_results({stage for run in runs for stage in run.stages}), accuracy)
