"""A snapshot's leaderboard.md: its boards as tables, what it is made of, and how to look closer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Protocol

from ferbench.publish.board_columns import ACCURACY
from ferbench.publish.boards import Failure
from ferbench.publish.boards_markdown import board_markdown, escaped, failures_markdown
from ferbench.quantities import counted, joined
from ferbench.records import Board, Entry, Environment

#: Names of samples that a licence may withhold.
NAMES_WORDS = {"ids": "the ids of samples", "groups": "the names of films or people"}

_COMMANDS = (
    "ferbench merge FOLDER                        # take its rows into your store; every figure is computed again",
    "ferbench verify ROW                          # check a row that was taken in",
    "ferbench publish site --snapshot FOLDER      # a page for every row, and comparisons, in site/index.html",
    "ferbench snapshot FOLDER --check             # whether this page is what runs.jsonl and predictions.csv.gz give",
)


#: Figures before what tells rows apart in long words: a page on GitHub shows the first half of a table.
_ORDER = (
    "#",
    "row",
    "backbone",
    "strategy",
    "with",
    "train",
    "accuracy %",
    "±",
    "95 % interval",
    "UAR %",
    "F1 %",
    "seeds",
)
_VIEW = dataclasses.replace(
    ACCURACY,
    columns=tuple(sorted(ACCURACY.columns, key=lambda column: (*_ORDER, column.title).index(column.title))),
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
    finished_at: Iterable[str],
    withheld: Sequence[Names],
) -> str:
    """The whole page, as GitHub shows it.

    Parameters
    ----------
    lost : what failed before it had a board
    environments : what the runs were computed with
    finished_at : when each of them was, in ISO 8601
    withheld : names of samples that are not in the snapshot
    """
    blocks = [[f"# {escaped(title)}"], [*_about(environments, finished_at), *_withheld(withheld)]]
    for table in tables:
        entries = [dataclasses.replace(entry, notes=_short(entry.notes)) for entry in table.entries]
        blocks.append(board_markdown(table.board, entries, table.failed, view=_VIEW))
        blocks += [lines] if (lines := _notes(table.entries)) else []
    blocks += [failures_markdown(lost)] if lost else []
    blocks += [[ACCURACY.legend]] if any(table.entries for table in tables) else []
    blocks.append(
        [
            "## How to look closer",
            "",
            "`ferbench snapshot` made this page from `runs.jsonl` and `predictions.csv.gz`, which lie beside it, and",
            "from nothing else. FOLDER is the folder that they lie in.",
            "",
            "```",
            *_COMMANDS,
            "```",
        ]
    )
    return "\n".join(line for number, block in enumerate(blocks) for line in ([""] if number else []) + block) + "\n"


def _short(notes: Iterable[str]) -> tuple[str, ...]:
    """Of a note such as `tuned: lr 0.002 of …`, what stands before the colon."""
    return tuple(dict.fromkeys(note.partition(":")[0] for note in notes))


def _notes(entries: Iterable[Entry]) -> list[str]:
    """In full those that are shortened in the table."""
    long = {entry.row: [note for note in entry.notes if ":" in note] for entry in entries}
    return [f"- {row}: {escaped('; '.join(notes))}" for row, notes in long.items() if notes]


def _about(environments: Iterable[Environment], finished_at: Iterable[str]) -> list[str]:
    """What the rows were computed with, each once, and from when to when."""
    found = dict.fromkeys(environment_words(each) for each in environments)
    days = sorted({moment[:10] for moment in finished_at if moment})
    lines = [f"- computed on {escaped(words)}" for words in sorted(found)]
    return [*lines, f"- finished {escaped(' to '.join(dict.fromkeys((days[0], days[-1]))))}"] if days else lines


def environment_words(environment: Environment) -> str:
    """Device, threads and versions of what decides on numbers."""
    device = environment.device_kind
    if environment.processor and environment.processor != device:
        device = f"{device} ({environment.processor})"
    versions = f"torch {environment.torch}, Python {environment.python}, ferbench {environment.ferbench}"
    return f"{device}, {counted(environment.threads, 'thread')}, {versions}"


def named_splits(names: Sequence[Names]) -> list[str]:
    """Which names of which splits: `the ids of samples of sfew Val and sfew Train`, then the names of films."""
    found = []
    for name, words in NAMES_WORDS.items():
        places = [f"{each.dataset} {each.split}" for each in names if name in each.what]
        found += [f"{words} of {joined(places)}"] if places else []
    return found


def _withheld(withheld: Sequence[Names]) -> list[str]:
    return [f"- numbers stand in the place of {escaped(each)}" for each in named_splits(withheld)]
