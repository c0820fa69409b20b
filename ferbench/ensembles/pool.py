"""The runs that an ensemble may be made of, with what they say; and which of them go into one mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ferbench.ensembles.method import SEED_OVER_SEEDS, Method
from ferbench.errors import StoreError, UsageError
from ferbench.quantities import ranges
from ferbench.records import Board, Predictions, Run
from ferbench.store import Store


@dataclass(frozen=True, slots=True)
class Source:
    """A finished run with what it says of report and select."""

    run: Run
    report: Predictions
    select: Predictions | None

    @property
    def name(self) -> tuple[str, int]:
        return self.run.entry, self.run.cell.seed


class Pool:
    """The runs of rows, each row read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[str, dict[int, Source]] = {}

    def entry_of(self, row: str) -> str:
        """A row's whole hash."""
        found = self._store.run_predictions(row)
        entry = found[0][0].entry
        self._found[entry] = {
            run.cell.seed: Source(run, report, self._store.select_predictions(run)) for run, report in found
        }
        return entry

    def of(self, entry: str) -> Mapping[int, Source]:
        """A row's finished runs, by seed."""
        if entry not in self._found:
            self.entry_of(entry)
        return self._found[entry]

    def trained(self, source: Source) -> Iterator[tuple[Source, float]]:
        """The trained runs that a run is the weighted mean of; itself for one that is no ensemble."""
        if not source.run.members:
            yield source, 1.0
        for member in source.run.members:
            found = self.of(member.entry).get(member.seed)
            if found is None:
                raise StoreError(
                    f"{self._store.location} lacks row {member.row}, seed {member.seed}, a member of row "
                    f"{source.run.row}: merge it or run that cell again"
                )
            for each, weight in self.trained(found):
                yield each, member.weight * weight


def one_board(pool: Pool, entries: Sequence[str]) -> Board:
    boards: dict[str, Board] = {}
    rows: dict[str, str] = {}
    for entry in entries:
        for source in pool.of(entry).values():
            board = source.run.board
            assert board is not None
            boards[board.fingerprint] = board
            rows.setdefault(board.fingerprint, source.run.row)
    if len(boards) > 1:
        named = ", ".join(f"row {rows[key]} on {board.target} {board.split}" for key, board in boards.items())
        raise UsageError(f"an ensemble is of rows of one board, and these are of {len(boards)}: {named}")
    return next(iter(boards.values()))


def seed_groups(pool: Pool, entries: Sequence[str], method: Method) -> tuple[dict[int, list[Source]], list[str]]:
    """What is averaged, by the seed of the run that it becomes; and what is left out, in words."""
    rows = [pool.of(entry) for entry in entries]
    if method.over_seeds:
        sources = [found[seed] for found in rows for seed in sorted(found)]
        if len(sources) < 2:
            raise UsageError(
                f"row {sources[0].run.row} has one seed, so there is nothing to average: name several rows, or run "
                "it with more seeds"
            )
        return {SEED_OVER_SEEDS: sources}, []
    common = sorted(set.intersection(*(set(found) for found in rows)))
    names = [entry[:10] for entry in entries]
    if not common:
        seeds = "; ".join(f"{name} has {ranges(found)}" for name, found in zip(names, rows, strict=True))
        raise UsageError(f"these rows have no seed in common ({seeds}): --over-seeds averages all of their runs")
    left = [
        f"row {name}: seed{'' if len(more) == 1 else 's'} {ranges(more)} left out, which not all rows have"
        for name, found in zip(names, rows, strict=True)
        if (more := set(found) - set(common))
    ]
    return {seed: [found[seed] for found in rows] for seed in common}, left
