"""Which runs `ferbench predict` answers with: those of a row, or of the best row whose checkpoints are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ferbench.errors import StoreError, UsageError
from ferbench.quantities import counted, joined, ranges

if TYPE_CHECKING:
    from ferbench.catalog import Catalog
    from ferbench.leaderboard import BoardTable
    from ferbench.records import Run
    from ferbench.settings import Settings
    from ferbench.store import Store

#: Boards, and rows without checkpoints, that a line names.
_NAMED = 5

#: Why a row is passed over that was trained on faces.
_BLIND = "trained on faces of a detector that no plugin here provides: load its file with --plugin"


@dataclass(frozen=True, slots=True)
class ChosenRuns:
    """What answers.

    why : of a row that was not named, why it is this one
    warnings : one line each for what is left out
    """

    runs: tuple[Run, ...]
    why: str = ""
    warnings: tuple[str, ...] = ()


def chosen_runs(
    store: Store,
    settings: Settings,
    catalog: Catalog,
    *,
    row: str | None,
    seed: int | None,
    target: str | None,
    where: Sequence[str],
    with_faces: bool,
) -> ChosenRuns:
    """The runs that are asked for, by seed.

    Parameters
    ----------
    with_faces : pass over rows that were trained on faces which cannot be looked for here

    Raises
    ------
    UsageError : no such row or seed; several boards and none chosen; a filter or a target that no row fits
    StoreError : no checkpoint is here
    """
    if row is not None:
        if target is not None or where:
            raise UsageError("--row names the row that answers, --target and --where choose one: give one of them")
        return _of_row(store, settings, row, seed)
    table, fitting = _table(store, settings, target, where)
    board = f"{table.board.target} {table.board.split}"
    seeds = sorted({each for entry in table.entries for each in entry.seeds})
    if seed is not None and seed not in seeds:
        raise UsageError(f"no row of {board} that is asked for has a run of seed {seed}: there are {ranges(seeds)}")
    passed: list[str] = []
    partly: list[str] = []
    blind: list[str] = []
    for entry in table.entries:
        runs = store.runs(board=table.board.fingerprint, row=entry.row, status="finished")
        runs = [run for run in runs if seed is None or run.cell.seed == seed]
        here = [_is_here(run, store, settings) for run in runs]
        if runs and all(here):
            if with_faces and not _finds_faces(runs, store, catalog):
                blind.append(entry.row)
                continue
            found = _of_row(store, settings, entry.row, seed)
            which = f"the best{fitting} of {counted(len(table.entries) + table.hidden, 'row')}"
            why = f"{which} of {board}, rank {entry.rank}"
            of_seed = "" if seed is None else f" of seed {seed}"
            skipped = [f"{_listed(passed)} ranked above, without checkpoints{of_seed} here"] if passed else []
            skipped += [f"{_listed(blind)} ranked above, {_BLIND}"] if blind else []
            return ChosenRuns(found.runs, why, (*found.warnings, *skipped))
        passed.append(entry.row)
        partly += [entry.row] if any(here) else []
    if blind:
        raise UsageError(f"no row of {board} that is asked for can answer: {_listed(blind)}, {_BLIND}")
    advice = f"; of {_listed(partly)} some seeds have theirs: name one with --row" if partly else ""
    raise StoreError(
        f"no row of {board} that is asked for has its checkpoints in {settings.cache_folder}"
        f"{advice or ': run one again with --force, or name the cache with FERBENCH_CACHE'}"
    )


def _of_row(store: Store, settings: Settings, row: str, seed: int | None) -> ChosenRuns:
    """The runs of one row whose checkpoints are here."""
    runs = sorted(store.runs(row=row, status="finished"), key=lambda run: run.cell.seed)
    if not runs:
        raise StoreError(f"row {row} has no finished run in {store.location}: `ferbench leaderboard` shows why")
    name = runs[0].row
    if seed is not None:
        chosen = [run for run in runs if run.cell.seed == seed]
        if not chosen:
            raise UsageError(f"row {name} has no finished seed {seed}: there are {ranges(_seeds(runs))}")
        return ChosenRuns(tuple(chosen))
    here = [run for run in runs if _is_here(run, store, settings)]
    lost = [run for run in runs if run not in here]
    if not here:
        # Whoever loads one says what became of it.
        return ChosenRuns(tuple(runs))
    left = [
        f"row {name}: {'seed' if len(lost) == 1 else 'seeds'} {ranges(_seeds(lost))} left out, without a checkpoint in "
        f"{settings.cache_folder}"
    ]
    return ChosenRuns(tuple(here), warnings=tuple(left if lost else ()))


def _table(store: Store, settings: Settings, target: str | None, where: Sequence[str]) -> tuple[BoardTable, str]:
    """The one board that is asked for with the rows that fit, and what they fit in words."""
    from ferbench.board_view import chosen
    from ferbench.cli.board_rows import boards_of_target
    from ferbench.leaderboard import leaderboards
    from ferbench.row_filter import parse_where

    wanted = parse_where(where)
    runs = store.leaderboard_rows()
    boards = [table for table in leaderboards(runs, store.speed_measurements()) if table.entries]
    if not boards:
        raise UsageError(f"no finished row in {store.location} yet: `ferbench run` makes one")
    if target is not None:
        known = joined(tuple(dict.fromkeys(table.board.target for table in boards)))
        boards = list(boards_of_target(tuple(boards), target, runs))
        if not boards:
            raise UsageError(f"no board of target {target!r}: there are {known}")
    tables = [table for table in chosen(boards, runs, wanted) if table.entries]
    if not tables:
        raise UsageError(f"no row fits {wanted}: `ferbench leaderboard` lists them")
    fresh = [table for table in tables if not table.stale] or tables
    if len(fresh) > 1:
        named = [
            f"--row {table.entries[0].row} is the first of {table.board.target} {table.board.split} "
            f"(n {table.board.n:,}, {table.board.label_set})"
            for table in fresh[:_NAMED]
        ]
        more = f" and {len(fresh) - _NAMED} more" if len(fresh) > _NAMED else ""
        raise UsageError(
            f"there are {len(fresh)} boards to take a row from{more}: choose with --target or --where, or name the "
            f"row: {'; '.join(named)}"
        )
    return fresh[0], f" where {wanted}" if wanted else ""


def _is_here(run: Run, store: Store, settings: Settings) -> bool:
    from ferbench.checkpoints import Checkpoints

    checkpoints = Checkpoints(settings.cache_folder)
    return all(checkpoints.holds(stage) for stage in _last_stages(run))


def _finds_faces(runs: Sequence[Run], store: Store, catalog: Catalog) -> bool:
    """Whether a plugin here provides what finds the faces that the networks were trained on."""
    from ferbench.errors import UnknownName

    for name in dict.fromkeys(name for run in runs for name in _last_stages(run)):
        stage = store.stage(name)
        if stage is not None and stage.recipe.faces != "none":
            try:
                catalog.face_detector(stage.recipe.face_detector)
            except UnknownName:
                return False
    return True


def _last_stages(run: Run) -> list[str]:
    return [member.stage for member in run.members] or [run.stages[-1]]


def _seeds(runs: Sequence[Run]) -> list[int]:
    return [run.cell.seed for run in runs]


def _listed(rows: Sequence[str]) -> str:
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {', '.join(rows[:_NAMED])}{more}"
