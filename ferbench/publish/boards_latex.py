"""Boards as LaTeX: a table each in the style of booktabs, with what a reader must know in its caption and below it.

The one package is booktabs. What all rows have in common stands in the caption, what some have as notes below.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ferbench.publish.board_columns import ACCURACY, NAMING, View, share
from ferbench.publish.boards import (
    Failure,
    board_facts,
    empty_columns,
    failure_words,
    protocol_words,
    shared_notes,
    shown_words,
)
from ferbench.publish.columns import Column
from ferbench.publish.latex_text import escaped, label_words
from ferbench.quantities import joined, percent, whole
from ferbench.records import Board, Entry, ReportedResult
from ferbench.reported_results import STATUS

#: What a document needs.
PREAMBLE = (r"% \usepackage{booktabs}",)

#: Lines of rows and notes that stand on a page beside a caption; more of them are another table.
_MOST_LINES = 36

#: Signs on a line of a page, in the tables' size.
_LINE = 86

#: Signs on a line of a name that has to be broken, and what rank, names, accuracy and seeds then take together.
_NAME = 15
_LEAST_NAMES = 2 * _NAME + 25
#: Of the line, what both names have then.
_NAMES_SHARE = 0.36

#: What an interval is of, by its kind.
_KINDS = {
    "t": "Student's t over seeds",
    "wilson": "Wilson's over samples",
    "bootstrap": "bootstrap over samples",
    "cluster-bootstrap": "bootstrap over films or subjects",
}

_NAMES = frozenset(column.title for column in NAMING)
_INTERVAL = "95 % interval"
_RANK = "rank: 1 + the number of rows that are better by a t test paired over samples (5 %); bold: rank 1"


@dataclass(slots=True)
class _Notes:
    """Notes of one table by their marks, each once, in the order in which they are met."""

    texts: dict[str, str] = field(default_factory=dict)

    def marks(self, notes: Iterable[str]) -> str:
        r"""The marks of several notes, as in `\textsuperscript{a,b}`."""
        found = [self.texts.setdefault(note, _letters(len(self.texts))) for note in notes]
        return rf"\textsuperscript{{{','.join(found)}}}" if found else ""

    def lines(self, more: Sequence[str]) -> list[str]:
        """What stands below a table; `more` without marks."""
        if not self.texts and not more:
            return []
        noted = [rf"\textsuperscript{{{mark}}}\,{_said(note)}" for note, mark in self.texts.items()]
        lines = [f"{each}\\quad" for each in noted[:-1]] + noted[-1:]
        lines += [rf"\par {_said(each)}" for each in more]
        return [r"\par\smallskip", r"\begin{minipage}{\linewidth}\raggedright", *lines, r"\end{minipage}"]


def board_latex(
    board: Board,
    entries: Sequence[Entry],
    failed: Sequence[Failure] = (),
    *,
    view: View = ACCURACY,
    hidden: int = 0,
) -> list[str]:
    """A board's table as lines, several where they would not go on a page; arguments as in `boards.board_lines`.

    The label is `tab:ferbench-` and the first 10 digits of the board's name, `-2` behind it for the second table.
    """
    shared = shared_notes(entries)
    facts = _Facts.of(entries)
    said = _failures(failed)
    groups = _groups(_columns(view, entries), entries)
    pages = _pages(entries, lambda entry: [*facts.backbone(entry), *facts.strategy(entry), *_own(entry, shared)], said)
    lines: list[str] = []
    for number, (columns, (first, part)) in enumerate(itertools.product(groups, pages), 1):
        rows = [f"Rows {first + 1} to {first + len(part)} of {len(entries)}."] if len(pages) > 1 else []
        table = _Table(
            caption=" ".join([*_caption(board, entries, _once(facts.shared, shared), view, hidden), *rows]),
            label=f"tab:ferbench-{board.fingerprint[:10]}{f'-{number}' if number > 1 else ''}",
            columns=columns,
            below=said if number == len(groups) * len(pages) else (),
        )
        lines += [""] if lines else []
        lines += table.lines(board_facts(board)[0], part, facts, shared)
    return lines


def reported_latex(
    results: Sequence[ReportedResult], dataset: str, split: str | None = None, name: str = ""
) -> list[str]:
    """The published figures of one dataset in a table of their own, a board's split first; none gives no lines.

    name : what its label has in place of the dataset, such as the first digits of a board
    """
    own = sorted(
        (result for result in results if result.dataset == dataset),
        key=lambda result: split is not None and result.split != split,
    )
    if not own:
        return []
    notes = _Notes()
    rows = [
        [
            rf"\raggedright {escaped(result.method, breakable=True)}"
            + notes.marks([result.remark] if result.remark else []),
            escaped(result.split or "not stated"),
            "not stated" if result.n is None else whole(result.n),
            f"{100 * result.accuracy:.10g}",
            rf"\raggedright {escaped(result.source, breakable=True)}\tabularnewline",
        ]
        for result in own
    ]
    titles = ["method", "split", "$n$", r"accuracy (\%)", r"source \\"]
    caption = rf"\textbf{{{escaped(dataset)}: {STATUS}.}} As the sources print it, not measured here."
    label = f"tab:ferbench-{name or label_words(dataset)}-reported"
    sides = r"@{}p{0.2\linewidth}lrrp{0.34\linewidth}@{}"
    head = _begun(f"{escaped(dataset)}: {STATUS}", caption, label, sides)
    lines = [*head, " & ".join(titles), r"\midrule", *(" & ".join(row) for row in rows)]
    return [*lines, r"\bottomrule", r"\end{tabular}", *notes.lines(()), r"\end{table}"]


def failures_latex(failed: Sequence[Failure]) -> list[str]:
    """Failed runs that are on no board, as a paragraph each."""
    return [line for each in _failures(failed) for line in (escaped(each), "")][:-1]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What tells rows apart beside backbone and strategy; what all have in common is said once."""

    shared: tuple[str, ...]
    differing: frozenset[str]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> _Facts:
        found = {kind: {words(entry) for entry in entries} for kind, words in {**_OF_BACKBONE, **_OF_STRATEGY}.items()}
        shared = [next(iter(words)) for words in found.values() if len(words) == 1]
        return cls(tuple(filter(None, shared)), frozenset(kind for kind, words in found.items() if len(words) > 1))

    def backbone(self, entry: Entry) -> list[str]:
        return self._words(entry, _OF_BACKBONE)

    def strategy(self, entry: Entry) -> list[str]:
        return self._words(entry, _OF_STRATEGY)

    def _words(self, entry: Entry, kinds: dict[str, Callable[[Entry], str]]) -> list[str]:
        return [said for kind, words in kinds.items() if kind in self.differing and (said := words(entry))]


_OF_BACKBONE: dict[str, Callable[[Entry], str]] = {
    "weights": lambda entry: f"weights: {entry.weights}",
    "size": lambda entry: f"{entry.image_size} px",
    "device": lambda entry: f"trained on {entry.device}",
}

_OF_STRATEGY: dict[str, Callable[[Entry], str]] = {
    "with": lambda entry: f"with {', '.join(entry.auxiliaries)}" if entry.auxiliaries else "",
    "train": lambda entry: f"on {share(entry.train_fraction)} of train" if 0 < entry.train_fraction < 1 else "",
}


def _failures(failed: Sequence[Failure]) -> list[str]:
    return [f"failed {each.row} {failure_words(each)}: {each.error}" for each in failed]


@dataclass(frozen=True, slots=True)
class _Table:
    """One of a board's tables.

    columns : what is measured beside accuracy
    below : what is said without a mark
    """

    caption: str
    label: str
    columns: Sequence[Column[Entry]]
    below: Sequence[str]

    def lines(self, title: str, part: Sequence[Entry], facts: _Facts, shared: Sequence[str]) -> list[str]:
        notes = _Notes()
        narrow = _names_width(part) + sum(_width(column, part) for column in self.columns) > _LINE
        cells = [
            [
                str(entry.rank),
                _name(entry.backbone, notes.marks(facts.backbone(entry)), narrow),
                _name(entry.strategy, notes.marks([*facts.strategy(entry), *_own(entry, shared)]), narrow),
                *_accuracy(entry),
                *(_cell(column, entry) for column in self.columns),
                str(len(entry.seeds)),
            ]
            for entry in part
        ]
        titles = ["\\#", "backbone", "strategy", r"\multicolumn{2}{c}{accuracy (\%)}"]
        titles += [*(escaped(column.title) for column in self.columns), "seeds"]
        sides = _broken(part) if narrow else "ll"
        measured = "".join("r" if column.align == "right" else "l" for column in self.columns)
        lines = _begun(escaped(title), self.caption, self.label, f"@{{}}r{sides}r@{{ }}l{measured}r@{{}}")
        lines += [" & ".join(titles) + r" \\", r"\midrule"]
        lines += [rf"{' & '.join(row)} \\ % {label_words(entry.row)}" for row, entry in zip(cells, part, strict=True)]
        return [*lines, r"\bottomrule", r"\end{tabular}", *notes.lines(self.below), r"\end{table}"]


def _begun(short: str, caption: str, label: str, sides: str) -> list[str]:
    return [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption[{{{short}}}]{{{caption}}}",
        rf"\label{{{label}}}",
        r"\smallskip\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{{sides}}}",
        r"\toprule",
    ]


def _once(facts: Sequence[str], notes: Sequence[str]) -> list[str]:
    """What all rows have in common, each said once."""
    return [*facts, *(note for note in notes if not (note == "random weights" and "weights: random" in facts))]


def _caption(board: Board, entries: Sequence[Entry], shared: Sequence[str], view: View, hidden: int) -> list[str]:
    title, *facts = board_facts(board)
    said = protocol_words(board)
    parts = [rf"\textbf{{{escaped(title)}.}}", f"{escaped(', '.join(facts))}."]
    parts += [rf"\textbf{{{escaped(said)}.}}"] if said else []
    about = [*view.facts, *filter(None, [shown_words(len(entries), hidden)])]
    parts += [f"{escaped('; '.join(about))}."] if about else []
    parts += [f"All rows: {escaped('; '.join(shared))}."] if shared and entries else []
    if not entries:
        return parts
    legend = ["±: standard deviation over seeds"] if any(entry.accuracy.sd is not None for entry in entries) else []
    if any(column.title == _INTERVAL for column in view.columns):
        kinds = dict.fromkeys(_KINDS.get(entry.accuracy.kind, entry.accuracy.kind) for entry in entries)
        legend += ["UAR: mean recall of classes", "F1: macro-F1", f"{_INTERVAL}: {joined([*kinds])}", _RANK]
    else:
        legend += [_RANK, view.legend]
    return [*parts, f"{escaped('; '.join(legend))}."]


def _columns(view: View, entries: Sequence[Entry]) -> list[Column[Entry]]:
    """What is measured beside accuracy; where intervals stand, images and time have no room."""
    left_out = {*_NAMES, *empty_columns(view, entries)}
    if any(column.title == _INTERVAL for column in view.columns):
        left_out |= {"images", "time"}
    return [column for column in view.columns if column.title not in left_out]


def _accuracy(entry: Entry) -> tuple[str, str]:
    mean = percent(entry.accuracy.mean)
    spread = "" if entry.accuracy.sd is None else rf"$\pm$ {percent(entry.accuracy.sd)}"
    if entry.rank != 1:
        return mean, spread
    return rf"\textbf{{{mean}}}", rf"\textbf{{{spread}}}" if spread else ""


def _cell(column: Column[Entry], entry: Entry) -> str:
    if column.title == _INTERVAL:
        return rf"{percent(entry.accuracy.low)}\textendash{{}}{percent(entry.accuracy.high)}"
    return escaped(column.cell(entry))


def _name(text: str, marks: str, narrow: bool) -> str:
    return rf"\raggedright {escaped(text, breakable=True)}{marks}" if narrow else escaped(text) + marks


def _width(column: Column[Entry], entries: Sequence[Entry]) -> int:
    return max(len(column.title), *(len(column.cell(entry)) for entry in entries), 0) + 2


def _names_width(entries: Sequence[Entry]) -> int:
    """Of rank, names with their marks, accuracy and seeds."""
    names = [[entry.backbone for entry in entries], [entry.strategy for entry in entries]]
    return sum(max(map(len, each), default=0) + 4 for each in names) + len("##  accuracy (%)  seeds")


def _broken(entries: Sequence[Entry]) -> str:
    """Columns of backbone and strategy that break their names, wide as these are long."""
    backbone = max(len(entry.backbone) for entry in entries) + 4
    strategy = max(len(entry.strategy) for entry in entries) + 4
    first = _NAMES_SHARE * min(max(backbone / (backbone + strategy), 0.25), 0.75)
    return rf"p{{{first:.3f}\linewidth}}p{{{_NAMES_SHARE - first:.3f}\linewidth}}"


def _groups(columns: Sequence[Column[Entry]], entries: Sequence[Entry]) -> list[list[Column[Entry]]]:
    """Columns that go beside each other; each group is a table of its own, with the names of rows again."""
    groups: list[list[Column[Entry]]] = [[]]
    names = min(_names_width(entries), _LEAST_NAMES)
    for column in columns:
        if groups[-1] and names + sum(_width(each, entries) for each in [*groups[-1], column]) > _LINE:
            groups.append([])
        groups[-1].append(column)
    return groups


def _pages(
    entries: Sequence[Entry], notes: Callable[[Entry], Sequence[str]], said: Sequence[str]
) -> list[tuple[int, Sequence[Entry]]]:
    """Rows that go on a page with their notes, and how many stand before them; one page where there are none."""
    pages: list[tuple[int, list[Entry]]] = [(0, [])]
    lengths: dict[str, int] = {}
    rows = 0
    for place, entry in enumerate(entries):
        own = {note: len(note) + 3 for note in notes(entry)}
        below = sum((lengths | own).values()) + (sum(map(len, said)) if place == len(entries) - 1 else 0)
        lines = 1 + max(len(entry.backbone), len(entry.strategy)) // _NAME
        if pages[-1][1] and rows + lines + below / _LINE > _MOST_LINES:
            pages.append((place, []))
            lengths, rows = {}, 0
        pages[-1][1].append(entry)
        lengths |= own
        rows += lines
    return list(pages)


def _own(entry: Entry, shared: Sequence[str]) -> list[str]:
    return [note for note in entry.notes if note not in shared]


def _said(note: str) -> str:
    return escaped(note, breakable=True)


def _letters(number: int) -> str:
    """a to z, then aa, ab, …"""
    letter = string.ascii_lowercase[number % 26]
    return letter if number < 26 else _letters(number // 26 - 1) + letter
