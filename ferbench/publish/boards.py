"""Leaderboards for a terminal: columns as far as the width carries, the rest on lines under each entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ferbench.fingerprints import PROTOCOL_VERSION
from ferbench.publish.board_columns import ACCURACY, View, share
from ferbench.publish.columns import Column, fitted
from ferbench.publish.layout import PLAIN, Paint, aligned, wrapped, wrapped_facts
from ferbench.quantities import counted, percent, whole
from ferbench.records import Board, Entry

#: Lines under an entry begin below its row, not below its rank.
_INDENT = " " * 4

#: What stands for a constant answer where rows have their digits.
_MAJORITY = "majority"

#: A table narrower than this would be a heap of lines.
_NARROWEST = 40

#: A mean over seeds may lie this far beside the majority line that every one of them is on.
_ROUNDING = 1e-9


class Failure(Protocol):
    """Failed runs of one row."""

    @property
    def row(self) -> str: ...
    @property
    def backbone(self) -> str: ...
    @property
    def strategy(self) -> str: ...
    @property
    def auxiliaries(self) -> tuple[str, ...]: ...
    @property
    def seeds(self) -> tuple[int, ...]: ...
    @property
    def error(self) -> str: ...
    @property
    def train_fraction(self) -> float: ...
    @property
    def difference(self) -> str: ...


def board_facts(board: Board) -> list[str]:
    """What is measured: target, split, n, label set, protocol, majority line, and whether the data is synthetic."""
    parts = [
        f"{board.target} {board.split}",
        f"n {whole(board.n)}",
        board.label_set,
        f"protocol {board.protocol}",
        f"majority line {percent(board.majority)} %",
    ]
    if board.excluded:
        parts.append(f"{whole(board.excluded)} outside the label set")
    if board.synthetic:
        parts.append("synthetic")
    return parts


def protocol_words(board: Board) -> str | None:
    """What is to be said of a board of another protocol than this ferbench's."""
    if board.protocol == PROTOCOL_VERSION:
        return None
    here = f"measured under protocol {board.protocol}, this ferbench has {PROTOCOL_VERSION}"
    return f"stale: {here}: run again" if board.protocol < PROTOCOL_VERSION else f"{here}: update ferbench"


def shown_words(shown: int, hidden: int) -> str | None:
    """How many of a board's rows are shown, where some are not."""
    return f"{whole(shown)} of {counted(shown + hidden, 'row')} shown" if hidden else None


def beats(entry: Entry, board: Board) -> bool:
    """Whether a row is better than a constant answer."""
    return entry.accuracy.mean > board.majority + _ROUNDING


def board_lines(
    board: Board,
    entries: Sequence[Entry],
    failed: Sequence[Failure] = (),
    *,
    width: int = 80,
    paint: Paint = PLAIN,
    view: View = ACCURACY,
    hidden: int = 0,
    by_rank: bool = True,
) -> list[str]:
    """A board as lines of at most `width` characters, colours not counted. Nothing is cut off.

    hidden : rows that are not among the entries
    by_rank : entries are in the order of ranks; else the majority line stands at the end
    """
    width = max(width, _NARROWEST)
    lines = [paint.bold(line) for line in wrapped_facts(board_facts(board), width, hanging=_INDENT)]
    if said := protocol_words(board):
        lines += [paint.warning(line) for line in wrapped(f"! {said}", width, hanging=_INDENT)]
    about = [*view.facts, *filter(None, [shown_words(len(entries), hidden)])]
    lines += [paint.dim(line) for line in wrapped_facts(about, width, hanging=_INDENT)]
    shared = shared_notes(entries)
    lines += wrapped_facts(_noted("all rows: ", shared), width, hanging=_INDENT, between=";")
    columns, moved = _fitted(entries, width, view)
    table = [[column.title for column in columns], *([column.cell(entry) for column in columns] for entry in entries)]
    place = sum(beats(entry, board) for entry in entries) if by_rank else len(entries)
    table.insert(1 + place, majority_cells(columns, board))
    text = aligned(table, [column.align for column in columns])
    lines.append(paint.bold(text[0]))
    for index, line in enumerate(text[1:]):
        if index == place:
            lines.append(paint.dim(line))
            continue
        entry = entries[index - (index > place)]
        lines.append(line)
        facts = [words for column in moved if (words := column.words(entry))]
        lines += [paint.dim(detail) for detail in wrapped_facts(facts, width, _INDENT)]
        notes = [note for note in entry.notes if note not in shared]
        text = wrapped_facts(_noted("! ", notes), width, _INDENT, _INDENT + "  ", between=";")
        lines += [paint.warning(line) for line in text]
    lines += failure_lines(failed, width=width, paint=paint)
    return lines


def failure_lines(failed: Sequence[Failure], *, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """Failed runs, one paragraph a row."""
    lines = []
    for each in failed:
        text = f"failed  {each.row}  {failure_words(each)}: {each.error}"
        lines += [paint.bad(line) for line in wrapped(text, width, hanging=_INDENT)]
    return lines


def failure_words(failure: Failure) -> str:
    """What failed, with which seeds."""
    what = [failure.backbone, failure.strategy]
    what += [f"with {', '.join(failure.auxiliaries)}"] if failure.auxiliaries else []
    what += [f"on {share(failure.train_fraction)} of train"] if 0 < failure.train_fraction < 1 else []
    what += [failure.difference] if failure.difference else []
    seeds = f"seed{'' if len(failure.seeds) == 1 else 's'} {', '.join(map(str, failure.seeds))}"
    return " · ".join([*what, seeds])


def shared_notes(entries: Sequence[Entry]) -> list[str]:
    """Notes that all of several entries have, to be said once."""
    if len(entries) < 2:
        return []
    return [note for note in entries[0].notes if all(note in entry.notes for entry in entries)]


def empty_columns(view: View, entries: Sequence[Entry]) -> list[str]:
    """Titles of the view's optional columns that have nothing in them for these entries."""
    nothing = {"", "–", share(0.0), share(1.0)}
    optional = [column for column in view.columns if column.title in view.optional]
    return [column.title for column in optional if all(column.cell(entry) in nothing for entry in entries)]


def majority_cells(columns: Sequence[Column[Entry]], board: Board) -> list[str]:
    """The cells of the row that stands for a constant answer."""
    cells = {"row": _MAJORITY, "accuracy %": percent(board.majority)}
    return [cells.get(column.title, "") for column in columns]


def _noted(before: str, notes: Sequence[str]) -> list[str]:
    return [before + notes[0], *notes[1:]] if notes else []


def _fitted(entries: Sequence[Entry], width: int, view: View) -> tuple[list[Column[Entry]], list[Column[Entry]]]:
    """The columns that the width carries, and those that go under each entry; a column without content goes away."""
    empty = empty_columns(view, entries)
    return fitted(view.columns, entries, width, view.leaving, empty, {"row": len(_MAJORITY)})
