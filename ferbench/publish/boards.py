"""Leaderboards for a terminal: columns as far as the width carries, the rest on lines under each entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ferbench.publish.columns import Column, fitted
from ferbench.publish.layout import PLAIN, Paint, aligned, wrapped, wrapped_facts
from ferbench.publish.quantities import amount, counted, duration, figure, percent, size, whole
from ferbench.records import Board, Entry, Interval

#: Lines under an entry begin below its row, not below its rank.
_INDENT = " " * 4

#: What stands for a constant answer where rows have their digits.
_MAJORITY = "majority"

#: A table narrower than this would be a heap of lines.
_NARROWEST = 40

LEGEND = (
    "F1: macro-F1; ±: standard deviation over seeds; 95 % interval: t over seeds, w Wilson's over samples; "
    "rank: 1 + the number of rows that are significantly better"
)


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


def _chain(entry: Entry) -> str:
    return ", ".join(entry.auxiliaries)


def _share(entry: Entry | Failure) -> str:
    return f"{100 * entry.train_fraction:.3g} %"


def _ends(interval: Interval) -> str:
    kind = "w" if interval.kind == "wilson" else interval.kind
    return f"[{percent(interval.low)}–{percent(interval.high)}] {kind}"


def _known(text: Callable[[Entry], str | None]) -> Callable[[Entry], str]:
    return lambda entry: text(entry) or "–"


def _words(text: Callable[[Entry], str | None], before: str = "", behind: str = "") -> Callable[[Entry], str]:
    return lambda entry: f"{before}{text(entry)}{behind}" if text(entry) else ""


def _cost(title: str, text: Callable[[Entry], str | None], before: str = "", behind: str = "") -> Column[Entry]:
    """A figure that may be unknown: a dash in its column, and nothing under the entry."""
    return Column(title, _known(text), _words(text, before, behind), "right")


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else figure(1000 * seconds)


def _giga(number: float | None) -> str | None:
    return None if number is None else figure(number / 1e9)


def _rate(number: float | None) -> str | None:
    return None if number is None else figure(number)


_NAMING: tuple[Column[Entry], ...] = (
    Column("#", lambda e: str(e.rank), lambda e: "", "right"),
    Column("row", lambda e: e.row, lambda e: ""),
    Column("backbone", lambda e: e.backbone, lambda e: e.backbone),
    Column("strategy", lambda e: e.strategy, lambda e: e.strategy),
    Column("with", lambda e: _chain(e) or "–", lambda e: _chain(e) and f"with {_chain(e)}"),
    Column("train", _share, lambda e: f"on {_share(e)} of train", "right"),
    Column("weights", lambda e: e.weights, lambda e: f"weights: {e.weights}"),
    Column("size", lambda e: f"{e.image_size} px", lambda e: f"{e.image_size} px", "right"),
    Column("device", lambda e: e.device, lambda e: e.device),
    Column("seeds", lambda e: str(len(e.seeds)), lambda e: counted(len(e.seeds), "seed"), "right"),
    Column("accuracy %", lambda e: percent(e.accuracy.mean), lambda e: "", "right"),
    Column("±", lambda e: "" if e.accuracy.sd is None else percent(e.accuracy.sd), lambda e: "", "right"),
)

_COLUMNS: tuple[Column[Entry], ...] = (
    *_NAMING,
    Column("95 % interval", lambda e: _ends(e.accuracy), lambda e: f"95 % interval {_ends(e.accuracy)}"),
    Column("UAR %", lambda e: percent(e.uar.mean), lambda e: f"UAR {percent(e.uar.mean)} %", "right"),
    Column("F1 %", lambda e: percent(e.macro_f1.mean), lambda e: f"F1 {percent(e.macro_f1.mean)} %", "right"),
    Column("images", lambda e: whole(e.images_seen), lambda e: f"{whole(e.images_seen)} images", "right"),
    Column("time", lambda e: duration(e.train_seconds), lambda e: f"trained {duration(e.train_seconds)}", "right"),
)

#: Which columns go first where there is no room.
_LEAVING = (
    *("weights", "time", "images", "device", "with", "size", "seeds", "backbone"),
    *("F1 %", "UAR %", "strategy", "train", "95 % interval"),
)

_COST_COLUMNS: tuple[Column[Entry], ...] = (
    *_NAMING,
    Column("images", lambda e: whole(e.images_seen), lambda e: f"{whole(e.images_seen)} images", "right"),
    Column("time", lambda e: duration(e.train_seconds), lambda e: f"trained {duration(e.train_seconds)}", "right"),
    _cost("spent", lambda e: None if e.spent_seconds is None else duration(e.spent_seconds), "spent "),
    _cost("train/s", lambda e: _rate(e.images_per_second), behind=" trained a second"),
    _cost("memory", lambda e: None if e.peak_memory_bytes is None else size(e.peak_memory_bytes), "memory "),
    _cost("params", lambda e: None if e.parameters is None else amount(e.parameters), behind=" parameters"),
    _cost("GFLOPs", lambda e: _giga(e.forward_flops), behind=" GFLOPs an image"),
    _cost("infer/s", lambda e: _rate(e.inference_images_per_second), behind=" inferred a second"),
    _cost("p50 ms", lambda e: _milliseconds(e.latency_p50_seconds), "one image ", " ms"),
)

_COST_LEAVING = (
    *("weights", "device", "with", "size", "seeds", "images", "spent", "±", "params", "infer/s"),
    *("strategy", "train", "p50 ms", "backbone", "GFLOPs", "time", "memory", "train/s"),
)

COST_LEGEND = (
    "time: of training as if the row stood alone; spent: what it really took here; train/s: images trained in a "
    "second of that time; memory: peak of training; GFLOPs, infer/s, p50: of `ferbench speed`, – where it has not "
    "measured that backbone at that size on that device"
)


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


def board_lines(
    board: Board,
    entries: Sequence[Entry],
    failed: Sequence[Failure] = (),
    *,
    width: int = 80,
    paint: Paint = PLAIN,
    cost: bool = False,
) -> list[str]:
    """A board as lines of at most `width` characters, colours not counted. Nothing is cut off.

    cost : show what rows cost in place of interval, UAR and F1
    """
    width = max(width, _NARROWEST)
    lines = [paint.bold(line) for line in wrapped_facts(board_facts(board), width, hanging=_INDENT)]
    shared = _shared_notes(entries)
    lines += wrapped_facts(_noted("all rows: ", shared), width, hanging=_INDENT, between=";")
    columns, moved = _fitted(entries, width, cost=cost)
    table = [[column.title for column in columns], *([column.cell(entry) for column in columns] for entry in entries)]
    place = sum(entry.accuracy.mean > board.majority for entry in entries)
    table.insert(1 + place, _majority_cells(columns, board))
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
        what = [each.backbone, each.strategy, *([f"with {', '.join(each.auxiliaries)}"] if each.auxiliaries else [])]
        what += [f"on {_share(each)} of train"] if 0 < each.train_fraction < 1 else []
        what += [each.difference] if each.difference else []
        seeds = f"seed{'' if len(each.seeds) == 1 else 's'} {', '.join(map(str, each.seeds))}"
        text = f"failed  {each.row}  {' · '.join([*what, seeds])}: {each.error}"
        lines += [paint.bad(line) for line in wrapped(text, width, hanging=_INDENT)]
    return lines


def _noted(before: str, notes: Sequence[str]) -> list[str]:
    return [before + notes[0], *notes[1:]] if notes else []


def _shared_notes(entries: Sequence[Entry]) -> list[str]:
    """Notes that all of several entries have, to be said once."""
    if len(entries) < 2:
        return []
    return [note for note in entries[0].notes if all(note in entry.notes for entry in entries)]


def _fitted(entries: Sequence[Entry], width: int, *, cost: bool) -> tuple[list[Column[Entry]], list[Column[Entry]]]:
    """The columns that the width carries, and those that go under each entry; a column without content goes away."""
    empty = {
        *(["±"] if all(entry.accuracy.sd is None for entry in entries) else []),
        *(["train"] if all(entry.train_fraction in (0, 1) for entry in entries) else []),
        *(["with"] if not any(entry.auxiliaries for entry in entries) else []),
    }
    columns, leaving = (_COST_COLUMNS, _COST_LEAVING) if cost else (_COLUMNS, _LEAVING)
    return fitted(columns, entries, width, leaving, empty, {"row": len(_MAJORITY)})


def _majority_cells(columns: Sequence[Column[Entry]], board: Board) -> list[str]:
    cells = {"row": _MAJORITY, "accuracy %": percent(board.majority)}
    return [cells.get(column.title, "") for column in columns]
