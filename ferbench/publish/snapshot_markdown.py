"""A snapshot's leaderboard.md: its boards as tables, what it is made of, and how to look closer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ferbench.publish.board_columns import ACCURACY
from ferbench.publish.boards import Failure
from ferbench.publish.boards_markdown import board_markdown, escaped, failures_markdown
from ferbench.quantities import counted, joined
from ferbench.records import Board, Entry, Environment

#: What of a split's samples may be withheld, in words.
WITHHELD_WORDS = {
    "ids": "samples are numbered in the place of their ids",
    "groups": "films or people are numbered in the place of their names",
}

_COMMANDS = (
    "ferbench merge FOLDER                        # take its rows into your store; every figure is computed again",
    "ferbench verify ROW                          # check a row that was taken in",
    "ferbench publish site --snapshot FOLDER      # a page for every row, and comparisons, in site/index.html",
    "ferbench snapshot FOLDER --check             # whether this page is what runs.jsonl and predictions.csv.gz give",
)


class Table(Protocol):
    """As in leaderboard.BoardTable."""

    @property
    def board(self) -> Board: ...
    @property
    def entries(self) -> tuple[Entry, ...]: ...
    @property
    def failed(self) -> Sequence[Failure]: ...


class Names(Protocol):
    """As in snapshot.licence.Names."""

    @property
    def dataset(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def what(self) -> Sequence[str]: ...


def snapshot_markdown(
    title: str,
    tables: Sequence[Table],
    lost: Sequence[Failure],
    environments: Iterable[Environment],
    withheld: Sequence[Names],
) -> str:
    """The whole page, as GitHub shows it.

    Parameters
    ----------
    lost : what failed before it had a board
    environments : what the runs were computed with
    withheld : names of samples that are not in the snapshot
    """
    blocks = [[f"# {escaped(title)}"], _about(environments), *([_withheld(withheld)] if withheld else [])]
    for table in tables:
        blocks.append(board_markdown(table.board, table.entries, table.failed, view=ACCURACY))
    blocks += [failures_markdown(lost)] if lost else []
    blocks += [[ACCURACY.legend]] if any(table.entries for table in tables) else []
    blocks.append(
        [
            "## How to look closer",
            "",
            "`ferbench snapshot` made this page from `runs.jsonl` and `predictions.csv.gz`, which lie beside it, and from",
            "nothing else. FOLDER is the folder that they lie in.",
            "",
            "```",
            *_COMMANDS,
            "```",
        ]
    )
    return "\n".join(line for number, block in enumerate(blocks) for line in ([""] if number else []) + block) + "\n"


def _about(environments: Iterable[Environment]) -> list[str]:
    """What the rows were computed with, each once."""
    found = dict.fromkeys(environment_words(each) for each in environments)
    return [f"- computed on {escaped(words)}" for words in sorted(found)]


def environment_words(environment: Environment) -> str:
    """Device, threads and versions of what decides on numbers."""
    device = environment.device_kind
    if environment.processor and environment.processor != device:
        device = f"{device} ({environment.processor})"
    versions = f"torch {environment.torch}, Python {environment.python}, ferbench {environment.ferbench}"
    return f"{device}, {counted(environment.threads, 'thread')}, {versions}"


def _withheld(withheld: Sequence[Names]) -> list[str]:
    return [f"- {escaped(f'{each.dataset} {each.split}')}: {withheld_words(each.what)}" for each in withheld]


def withheld_words(what: Iterable[str]) -> str:
    """What stands in the place of names."""
    return joined([WITHHELD_WORDS[each] for each in what])
