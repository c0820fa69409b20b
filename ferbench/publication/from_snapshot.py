"""A snapshot as a store of its own, for a while, and its pages.

What is shown of a snapshot comes from its two files and from nothing else: neither from the store that its rows came
from nor from the plugins that are here. So anybody makes the same pages of it again, byte for byte.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ferbench.catalog import Catalog
from ferbench.errors import StoreError, one_line
from ferbench.leaderboard import failures_without_board, leaderboards
from ferbench.merging import merge
from ferbench.publication.gathering import Choice, gathered
from ferbench.publish.site.one_page import one_page
from ferbench.publish.snapshot_markdown import snapshot_markdown
from ferbench.quantities import counted
from ferbench.settings import Settings
from ferbench.snapshot import is_snapshot, read_store
from ferbench.snapshot.layout import RUNS_FILE
from ferbench.snapshot.licence import NAMES, names_of, withheld_of
from ferbench.store import Store, open_store
from ferbench.whole_files import whole_file

#: The pages of a snapshot.
PAGES = ("leaderboard.md", "leaderboard.html")


@contextmanager
def opened_snapshot(folder: Path) -> Iterator[Store]:
    """A store that holds a snapshot's rows and no others, as `ferbench merge` would take them in.

    It lies in a temporary folder and goes when the context ends. Its `location` is of that folder: not for people.

    Parameters
    ----------
    folder : with runs.jsonl and predictions.csv.gz

    Raises
    ------
    StoreError : no snapshot, one that cannot be read, or one with a row that does not hold what it says: none of it is
        shown then, since nobody could tell which of it to believe
    """
    if not is_snapshot(folder):
        raise StoreError(f"{folder} is no snapshot, it holds no {RUNS_FILE}: name a folder of `ferbench snapshot`")
    with tempfile.TemporaryDirectory(prefix="ferbench-snapshot-") as place, open_store(f"{place}/rows.sqlite") as store:
        taken = merge(store, str(folder))
        faults = [(each.row, each.seed, each.reason) for each in taken.refused]
        faults += [(each.row, each.seed, each.differs) for each in taken.conflicts]
        if faults:
            row, seed, reason = faults[0]
            named = "" if row is None else f"row {row}, seed {seed}: "
            more = f" (and {len(faults) - 1:,} more)" if len(faults) > 1 else ""
            raise StoreError(
                f"the snapshot in {folder} does not hold what it says ({named}{reason}){more}: get another copy of it, "
                f"or `ferbench merge {folder}` takes in the rows that do"
            )
        yield store


def snapshot_pages(folder: Path) -> dict[str, bytes]:
    """What the pages of PAGES are, by name, made from the folder's two files alone.

    Raises
    ------
    StoreError : as `opened_snapshot`, or a snapshot without rows
    """
    with opened_snapshot(folder) as store:
        summaries = store.leaderboard_rows()
        if not summaries:
            raise StoreError(f"the snapshot in {folder} has no rows: there is nothing to make pages of")
        tables = leaderboards(summaries)
        found = read_store(store)
        finished = {each.entry for each in summaries if each.status == "finished"}
        failed = {each.entry for each in summaries} - finished
        targets = ", ".join(dict.fromkeys(table.board.target for table in tables)) or "no board"
        rows = [counted(len(finished), "row"), *([f"{len(failed):,} failed"] if failed else [])]
        title = f"{targets}: {', '.join(rows)}, {counted(len(summaries), 'run')}"
        text = snapshot_markdown(
            title,
            tables,
            failures_without_board(summaries),
            [kept.run.environment for kept in found.runs],
            [kept.run.finished_at for kept in found.runs],
            names_of(found.runs, withheld_of),
        )
        # An empty catalog and an empty folder: what plugins and this machine know is not in the snapshot.
        nowhere = Path(store.location).parent / "nowhere"
        settings = Settings(store.location, data_folder=nowhere, cache_folder=nowhere, device="cpu")
        # What a licence withholds was left out when the snapshot was written.
        site = gathered(store, Catalog(), settings, Choice(references="none"), title, permits=lambda dataset: NAMES)
        return {PAGES[0]: text.encode(), PAGES[1]: one_page(site).encode()}


def write_pages(folder: Path) -> int:
    """Make a snapshot's pages anew; gives their size in bytes.

    Raises
    ------
    StoreError : as `snapshot_pages`, or a folder that cannot be written
    """
    pages = snapshot_pages(folder)
    try:
        for name, content in pages.items():
            with whole_file(folder / name, for_people=True) as file:
                file.write(content)
    except OSError as error:
        raise StoreError(f"the pages of {folder} cannot be written ({one_line(error)}): name another folder") from error
    return sum(map(len, pages.values()))


def differing_pages(folder: Path) -> tuple[str, ...]:
    """Which of a snapshot's pages are not what its rows give; raises as `snapshot_pages`."""
    pages = snapshot_pages(folder)
    return tuple([name for name, content in pages.items() if _bytes(folder / name) != content])


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
