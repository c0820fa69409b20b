"""Boards as GitHub's Markdown: a table each, with nothing in it that a cell's text could turn into markup."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ferbench.publish.board_columns import ACCURACY, View
from ferbench.publish.boards import (
    Failure,
    beats,
    board_facts,
    empty_columns,
    failure_words,
    majority_cells,
    protocol_words,
    shared_notes,
    shown_words,
)
from ferbench.publish.layout import Align
from ferbench.quantities import whole
from ferbench.records import Board, Entry, ReportedResult
from ferbench.reported_results import STATUS

#: Backslashes first: they are what the others are escaped with. `$` would begin a formula.
_MARKUP = re.compile(r"([\\`*~\[\]|$])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")

#: A name behind it would be told by GitHub that it was mentioned.
_MENTION = re.compile(r"(?<!\w)@")

#: Signs that turn the direction of what stands around them, and so could make a table say something else.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

#: What begins a heading, a list or a line across; and what a heading leaves away at its end.
_BEGINS = re.compile(r"^(?=#{1,6}(?:\s|$)|[-+](?:\s|$)|(?:-\s*){2,}$|=+\s*$)|(?<=\s)(?=#+$)")
_NUMBERED = re.compile(r"^(\d{1,9})(?=[.)](?:\s|$))")


def escaped(text: str) -> str:
    """Text as it is, on one line, in a cell or a paragraph (GFM 0.29, sections 2.4, 4.10 and 6.1).

    Signs that cannot be seen and do something are replaced by U+FFFD.
    """
    line = "".join(map(harmless, " ".join(text.split())))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub("&#64;", _MARKUP.sub(r"\\\g<0>", line))


def paragraph(text: str) -> str:
    """Text as `escaped` has it, where it begins a line, an item or a heading."""
    return _NUMBERED.sub(r"\g<1>\\", _BEGINS.sub(r"\\", escaped(text)))


def harmless(sign: str) -> str:
    """A sign, or U+FFFD for one that cannot be seen and does something."""
    return "\ufffd" if sign in _TURNING or unicodedata.category(sign) in ("Cc", "Cs") else sign


def board_markdown(
    board: Board,
    entries: Sequence[Entry],
    failed: Sequence[Failure] = (),
    *,
    view: View = ACCURACY,
    hidden: int = 0,
    by_rank: bool = True,
) -> list[str]:
    """A board's heading, facts, table and failures as lines; arguments as in `boards.board_lines`."""
    title, *facts = board_facts(board)
    lines = [f"### {paragraph(title)}", "", " · ".join(map(escaped, facts))]
    if said := protocol_words(board):
        lines += ["", f"**{escaped(said)}**"]
    about = [*view.facts, *filter(None, [shown_words(len(entries), hidden)])]
    shared = shared_notes(entries)
    about += [f"all rows: {'; '.join(shared)}"] if shared else []
    lines += ["", *(f"- {escaped(fact)}" for fact in about)] if about else []
    empty = empty_columns(view, entries)
    columns = [column for column in view.columns if column.title not in empty]
    rows = [[*(column.cell(entry) for column in columns), _own(entry, shared)] for entry in entries]
    place = sum(beats(entry, board) for entry in entries) if by_rank else len(entries)
    rows.insert(place, [*majority_cells(columns, board), ""])
    lines += ["", *table([*(column.title for column in columns), "notes"], rows, [column.align for column in columns])]
    lines += [""] if failed else []
    lines += [f"- failed {each.row} {escaped(f'{failure_words(each)}: {each.error}')}" for each in failed]
    return lines


def failures_markdown(failed: Sequence[Failure]) -> list[str]:
    """Failed runs that are on no board."""
    return [f"- failed {each.row} {escaped(f'{failure_words(each)}: {each.error}')}" for each in failed]


def reported_markdown(results: Sequence[ReportedResult], dataset: str, split: str | None = None) -> list[str]:
    """The published figures of one dataset in a table of their own, a board's split first; none gives no lines."""
    own = sorted(
        (result for result in results if result.dataset == dataset),
        key=lambda result: split is not None and result.split != split,
    )
    if not own:
        return []
    rows = [
        [
            result.method,
            "not stated" if result.split is None else result.split,
            "not stated" if result.n is None else whole(result.n),
            f"{100 * result.accuracy:.10g}",
            result.source,
            result.remark,
        ]
        for result in own
    ]
    titles = ["method", "split", "n", "accuracy %", "source", "remark"]
    return [f"#### {paragraph(f'{STATUS}: {dataset}')}", "", *table(titles, rows, ["left", "left", "right", "right"])]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], alignment: Sequence[Align] = ()) -> list[str]:
    """A table's lines; columns without an alignment go to the left."""
    sides = [*alignment, *["left"] * (len(titles) - len(alignment))]
    lines = [_line(titles), "|" + "|".join(" ---: " if side == "right" else " --- " for side in sides) + "|"]
    return [*lines, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def _own(entry: Entry, shared: Sequence[str]) -> str:
    return "; ".join(note for note in entry.notes if note not in shared)
