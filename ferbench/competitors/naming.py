"""Competitors by name: each row, or rows put together by a property and matched in blocks by all others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ferbench.competitors.choice import ChosenRows, Question, board_in_words
from ferbench.competitors.properties import (
    NAMING,
    Property,
    condition,
    differing,
    in_words,
    joined_words,
    property_of,
    telling_apart,
)
from ferbench.errors import UsageError
from ferbench.quantities import joined
from ferbench.records import Board, RunSummary

#: What a configuration is on every board, whatever tells rows of one board apart.
_EVERYWHERE = ("backbone", "strategy", "weights", "device")


@dataclass(frozen=True, slots=True)
class Named:
    """A competitor on one board, before its answers are read.

    name : ROW, or the properties that it was made by
    label : how sentences name it, such as `cascade (0123456789)`
    across : its name on other boards
    blocks : runs of one row by block; the block is empty where each row is a competitor
    """

    name: str
    label: str
    across: str
    blocks: Mapping[str, tuple[RunSummary, ...]]


@dataclass(frozen=True, slots=True)
class NamedBoard:
    """One board's competitors, two at least, in the order in which their rows were named, else of hashes."""

    board: Board
    competitors: tuple[Named, ...]


def name_competitors(
    question: Question, chosen: Sequence[ChosenRows]
) -> tuple[tuple[NamedBoard, ...], tuple[str, ...]]:
    """The competitors on each board that has two of them, and in words which boards have not.

    Raises
    ------
    UsageError : two rows of one competitor that are matched alike, named rows of different boards that are not the same
        configurations, or no board with two competitors
    """
    boards = [NamedBoard(rows.board, tuple(_put_together(question.by, rows))) for rows in chosen]
    if not question.by:
        boards = _rows_as_competitors(chosen)
        _check_boards(question, boards)
    notes = [
        f"{board_in_words(each.board)}: {each.competitors[0].label} alone is on it"
        for each in boards
        if len(each.competitors) < 2
    ]
    boards = [each for each in boards if len(each.competitors) > 1]
    if not boards:
        raise UsageError(f"there are no two to compare on one board: {'; '.join(notes)}")
    return tuple(boards), tuple(notes)


def _rows_as_competitors(chosen: Sequence[ChosenRows]) -> list[NamedBoard]:
    firsts = [[runs[0] for runs in rows.runs.values()] for rows in chosen]
    apart = [telling_apart(some) for some in firsts]
    everyone = [run for some in firsts for run in some]
    varying = [key for key in _EVERYWHERE if len({property_of(run, key) for run in everyone}) > 1]
    keys = telling_apart(everyone, [*varying, *(key for some in apart for key in some)]) if len(chosen) > 1 else ()
    keys = tuple(key for key in keys if key in varying or any(key in some for some in apart))
    boards = []
    for rows, some in zip(chosen, apart, strict=True):
        configurations = [joined_words(runs[0], keys) for runs in rows.runs.values()]
        competitors = []
        for entry, runs in rows.runs.items():
            row, words, across = entry[:10], joined_words(runs[0], some), joined_words(runs[0], keys)
            label = f"{words} ({row})" if words else row
            # Rows that nothing tells apart are not the same as any row elsewhere.
            unique = bool(across) and configurations.count(across) == 1
            competitors.append(Named(row, label, across if unique else label, {"": runs}))
        boards.append(NamedBoard(rows.board, tuple(competitors)))
    return boards


def _check_boards(question: Question, boards: Sequence[NamedBoard]) -> None:
    """Rows that are named belong together: on one board, or the same configurations on each."""
    named = [
        (each.board, {one.across for one in each.competitors})
        for each in boards
        if any(runs[0].entry in question.rows for one in each.competitors for runs in one.blocks.values())
    ]
    if all(there == named[0][1] for _, there in named[1:]):
        return
    first, other = next((named[0], each) for each in named[1:] if each[1] != named[0][1])
    raise UsageError(
        f"the rows are of different boards, {board_in_words(first[0])} and {board_in_words(other[0])}: only rows of "
        "one board are compared, or the same configurations on each of several boards"
    )


def _put_together(by: Sequence[str], rows: ChosenRows) -> Iterable[Named]:
    if not by:
        return
    firsts = {entry: runs[0] for entry, runs in rows.runs.items()}
    keys = matched_by(by)
    blocks_of = _Blocks(by, keys, tuple(firsts.values()))
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for entry, run in firsts.items():
        name = joined_words(run, by) or f"without {', '.join(by)}"
        for block in blocks_of.of(run):
            if block in found[name]:
                raise UsageError(_alike(name, block, rows.board, [firsts[found[name][block]], run]))
            found[name][block] = entry
    for name, blocks in found.items():
        yield Named(name, name, name, {block: rows.runs[entry] for block, entry in blocks.items()})


def matched_by(by: Sequence[str]) -> tuple[str, ...]:
    """The properties that rows of competitors are matched by.

    Auxiliaries follow from the strategy: one that uses none is matched with one that does.
    """
    return tuple(key for key in NAMING if key not in by and not (key == "auxiliaries" and "strategy" in by))


class _Blocks:
    """By what a board's rows are matched, in words; of properties that are the same everywhere the first stands."""

    def __init__(self, by: Sequence[str], keys: Sequence[str], firsts: Sequence[RunSummary]) -> None:
        self._by, self._keys = by, keys
        everything = [self._values(run) for run in firsts]
        varying = [index for index in range(len(keys)) if len({values[index] for values in everything}) > 1]
        shown = {0, *varying} | {keys.index(key) for key in ("weights",) if key in keys}
        self._shown = sorted(index for index in shown if index < len(keys))
        self._fractions: dict[tuple[Property, ...], set[float]] = defaultdict(set)
        for run, values in zip(firsts, everything, strict=True):
            if run.train_fraction:
                self._fractions[self._rest(values)].add(run.train_fraction)

    def of(self, run: RunSummary) -> list[str]:
        """Its blocks: several for a row without target data, which is the same however much of it others had."""
        values = self._values(run)
        if run.train_fraction or "train_fraction" not in self._keys or "strategy" not in self._by:
            return [self._words(values)]
        at = self._keys.index("train_fraction")
        parts: list[float] = sorted(self._fractions[self._rest(values)]) or [0.0]
        return [self._words((*values[:at], part, *values[at + 1 :])) for part in parts]

    def _values(self, run: RunSummary) -> tuple[Property, ...]:
        return tuple(
            # Backbones have weights of their own.
            weights_kind(run.weights) if key == "weights" and "backbone" in self._by else property_of(run, key)
            for key in self._keys
        )

    def _rest(self, values: tuple[Property, ...]) -> tuple[Property, ...]:
        return tuple(value for key, value in zip(self._keys, values, strict=True) if key != "train_fraction")

    def _words(self, values: tuple[Property, ...]) -> str:
        words = (in_words(self._keys[index], values[index]) for index in self._shown)
        return " · ".join(words) or "all else alike"


def weights_kind(weights: str) -> str:
    """What rows of several backbones are matched by, which have weights of their own."""
    return weights if weights in ("random", "none") else "pretrained"


def _alike(name: str, block: str, board: Board, runs: Sequence[RunSummary]) -> str:
    """The line that names two rows of one competitor in one block, in what they differ and how to choose one."""
    keys = [key for key in differing(runs) if key not in ("tries", "members")]
    differences = [
        f"{key} ({joined([in_words(key, property_of(run, key)).removeprefix(f'{key} ') or 'none' for run in runs])})"
        for key in keys
    ]
    rows = joined([run.entry[:10] for run in runs])
    ways = [way for key in keys for run in runs if (way := condition(key, property_of(run, key)))]
    advice = (
        f"choose with {' or '.join(ways[:2])}, or add {keys[0]} to --by"
        if ways
        else "name the rows to compare one by one"
    )
    what = f"differ in {joined(differences)}" if differences else "differ in nothing but the machine"
    return f"{name} has two rows of {block} on {board.target} {board.split}, {rows}, which {what}: {advice}"
