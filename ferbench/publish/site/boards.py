"""A board's table and the site's overview as HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ferbench.components import Permit
from ferbench.pages.board import BoardPage, hex_name
from ferbench.pages.site import Site
from ferbench.publish.boards import beats, failure_words, protocol_words, shared_notes
from ferbench.publish.site.shell import Shell
from ferbench.quantities import joined
from ferbench.records import Board, Entry, ReportedResult
from ferbench.reported_results import STATUS

#: What stands where a row passed through no auxiliary.
NO_AUXILIARY = "none"

#: What licences permit or withhold, in words.
PERMIT_WORDS: dict[Permit, str] = {
    "ids": "the ids of samples",
    "groups": "the names of films or subjects",
    "pictures": "pictures of samples",
    "weights": "trained weights",
}

#: Forms of a board for papers and scripts: ending and name.
DOWNLOADS = (("csv", "CSV"), ("md", "Markdown"), ("tex", "LaTeX"), ("json", "JSON"))


#: By what rows can be chosen: the key of their values, its title, and the values.
Filter = tuple[str, str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table.

    key : its name in addresses
    paged : whether it has a page
    beats : whether it is better than a constant answer
    low, mean, high : of the bar of its interval, in hundredths of the bar's width
    short : its notes in few words
    notes : its notes that not all rows have
    """

    entry: Entry
    key: str
    paged: bool
    auxiliaries: str
    beats: bool
    low: float
    mean: float
    high: float
    short: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A board's table, ready for its template.

    key : its name in addresses and of its elements
    place : rows that stand above the majority line
    majority : the line's place on the bars, in hundredths of their width
    ends : what the bars' ends stand for, as fractions
    shared : notes that all rows have
    """

    key: str
    board: Board
    lines: tuple[Line, ...]
    place: int
    majority: float
    ends: tuple[float, float]
    shared: tuple[str, ...]
    filters: tuple[Filter, ...]
    with_auxiliaries: bool
    with_train: bool
    devices: tuple[str, ...]
    hidden: int


def board_html(page: BoardPage, shell: Shell, *, compared: bool) -> str:
    """A board's page, complete without a script.

    compared : whether there is a page of comparisons beside it
    """
    board = page.table.board
    return shell.render(
        "board.html",
        "../../",
        crumbs=[(page.title, None)],
        page=page,
        table=board_table(page),
        said=protocol_words(board),
        failed=[(each, failure_words(each)) for each in page.table.failed],
        reported=own_first(page.reported, board.split),
        status=STATUS,
        compared=compared,
        downloads=DOWNLOADS,
        permitted=permits_words([each for each in page.shown if each not in page.beyond]),
        beyond=permits_words(page.beyond),
        withheld=permits_words(page.withheld),
    )


def index_html(site: Site, shell: Shell, *, compared: Collection[str], across: str = "") -> str:
    """The site's overview: every board with its best rows, what is on several of them, and what is on none.

    Parameters
    ----------
    compared : folders of boards that have a page of comparisons
    across : HTML of what is compared over boards, as `comparisons.across_html` gives it
    """
    cards = [(page, board_table(page), page.folder in compared) for page in site.boards]
    reported = dict.fromkeys(result.dataset for result in site.reported)
    return shell.render(
        "index.html",
        "",
        fresh=[card for card in cards if not card[0].table.stale],
        stale=[card for card in cards if card[0].table.stale],
        across=Markup(across),
        lost=[(each, failure_words(each)) for each in site.lost],
        reported=[(name, [each for each in site.reported if each.dataset == name]) for name in reported],
        status=STATUS,
    )


def board_table(page: BoardPage) -> Table:
    """What the table of a board says, by its rows' own figures."""
    board, entries = page.table.board, page.table.entries
    shared = shared_notes(entries)
    scale = _scale(entries, board)
    lines = tuple([_line(entry, board, shared, scale, entry.row not in page.lacking) for entry in entries])
    return Table(
        key=hex_name(board.fingerprint),
        board=board,
        lines=lines,
        place=sum(line.beats for line in lines),
        majority=scale(board.majority),
        ends=_ends(entries, board),
        shared=tuple(shared),
        filters=_filters(lines),
        with_auxiliaries=any(entry.auxiliaries for entry in entries),
        with_train=any(entry.train_fraction != 1 for entry in entries),
        devices=tuple(dict.fromkeys(entry.device for entry in entries)),
        hidden=page.table.hidden,
    )


def own_first(results: Sequence[ReportedResult], split: str | None) -> list[ReportedResult]:
    """Published figures, those of a board's split first, else in their own order."""
    return sorted(results, key=lambda result: split is not None and result.split != split)


def permits_words(permits: Collection[Permit]) -> str:
    """What they permit, in words; empty for none."""
    return joined([words for permit, words in PERMIT_WORDS.items() if permit in permits])


def _line(entry: Entry, board: Board, shared: Sequence[str], scale: Callable[[float], float], paged: bool) -> Line:
    notes = tuple([note for note in entry.notes if note not in shared])
    return Line(
        entry=entry,
        key=hex_name(entry.row),
        paged=paged,
        auxiliaries=", ".join(entry.auxiliaries) or NO_AUXILIARY,
        beats=beats(entry, board),
        low=scale(entry.accuracy.low),
        mean=scale(entry.accuracy.mean),
        high=scale(entry.accuracy.high),
        # Of a note such as `tuned: lr 0.002 of …`, what stands before the colon.
        short="; ".join(dict.fromkeys(note.partition(":")[0] for note in notes)),
        notes=notes,
    )


def _ends(entries: Sequence[Entry], board: Board) -> tuple[float, float]:
    """Tens of percent around all intervals and the majority line."""
    values = [board.majority, *(end for entry in entries for end in (entry.accuracy.low, entry.accuracy.high))]
    low, high = max(math.floor(10 * min(values)) / 10, 0.0), min(math.ceil(10 * max(values)) / 10, 1.0)
    return (low, high) if high > low else (0.0, 1.0)


def _scale(entries: Sequence[Entry], board: Board) -> Callable[[float], float]:
    low, high = _ends(entries, board)
    return lambda value: round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 1)


def _filters(lines: Sequence[Line]) -> tuple[Filter, ...]:
    values = {
        ("backbone", "Backbone"): [line.entry.backbone for line in lines],
        ("strategy", "Strategy"): [line.entry.strategy for line in lines],
        ("auxiliaries", "Auxiliaries"): [line.auxiliaries for line in lines],
        ("weights", "Weights"): [line.entry.weights for line in lines],
    }
    return tuple([(key, title, tuple(sorted(set(found)))) for (key, title), found in values.items()])
