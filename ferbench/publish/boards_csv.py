"""Boards as one table for spreadsheets and data frames: a line a row, with its board's values in front."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from ferbench.fingerprints import PROTOCOL_VERSION
from ferbench.generalisation import FurtherEntry
from ferbench.publish.board_columns import Reached
from ferbench.recipes import Recipe
from ferbench.records import Board, Entry, Interval

Cell = str | int | float | bool | None

#: What a spreadsheet takes for the start of a formula (OWASP, CSV injection; ASVS 1.2.10), in fullwidth forms, too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "\uff1d", "\uff0b", "\uff0d", "\uff20")

_INTERVAL = {"": "mean", "_sd": "sd", "_low": "low", "_high": "high", "_interval": "kind"}
_RECIPE = tuple(Recipe.__dataclass_fields__)

_BOARD: Mapping[str, Callable[[Board], Cell]] = {
    **{name: attrgetter(name) for name in ("target", "split", "n", "label_set", "protocol")},
    "stale": lambda board: board.protocol < PROTOCOL_VERSION,
    "board": attrgetter("fingerprint"),
    **{name: attrgetter(name) for name in ("majority", "excluded", "synthetic")},
}

_ENTRY: Mapping[str, Callable[[Entry], Cell]] = {
    **{name: attrgetter(name) for name in ("row", "rank", "backbone", "strategy")},
    "auxiliaries": lambda entry: ",".join(entry.auxiliaries),
    **{name: attrgetter(name) for name in ("weights", "image_size", "device")},
    "seeds": lambda entry: " ".join(map(str, entry.seeds)),
    "seed_count": lambda entry: len(entry.seeds),
    **{
        f"{metric}{end}": attrgetter(f"{metric}.{field}")
        for metric in ("accuracy", "uar", "macro_f1")
        for end, field in _INTERVAL.items()
    },
    **{
        name: attrgetter(name)
        for name in (
            *("images_seen", "train_fraction", "train_seconds", "spent_seconds", "images_per_second"),
            *("peak_memory_bytes", "parameters", "forward_flops", "inference_images_per_second"),
            *("latency_p50_seconds", "select_accuracy", "forgotten", "nll", "brier", "ece"),
            *("temperature", "calibrated_nll", "calibrated_ece", "tries", "members"),
        )
    },
    "final_stages": lambda entry: " ".join(stage or "none" for stage in entry.final_stages),
    "notes": lambda entry: "; ".join(entry.notes),
}


def boards_csv(
    boards: Sequence[tuple[Board, Sequence[Entry]]],
    *,
    further: Mapping[str, Mapping[str, Sequence[FurtherEntry]]] | None = None,
    reach: tuple[float, Mapping[str, Mapping[str, Reached]]] | None = None,
) -> str:
    """All rows as CSV with a header (RFC 4180: commas, doubled quotes, CRLF).

    Numbers have all their digits and fractions stay fractions; what is unknown is an empty cell. Several values in a
    cell are parted by blanks (seeds, stages), commas (auxiliaries) or semicolons (notes). Text that a spreadsheet would
    compute is defused by a `'` in front. ROW is text even where it looks like a number: pandas needs
    `dtype={"row": str}` to be told.

    Parameters
    ----------
    further, reach : by board's fingerprint and by ROW; reach with the percentage that was asked for
    """
    changed = sorted({key for _, entries in boards for entry in entries for key, _ in entry.recipe if "." in key})
    lines = []
    for board, entries in boards:
        for entry in entries:
            recipe = dict(entry.recipe)
            line = {key: value(board) for key, value in _BOARD.items()}
            line |= {key: value(entry) for key, value in _ENTRY.items()}
            line |= {f"recipe.{key}": recipe.get(key) for key in _RECIPE}
            line |= {key: recipe.get(key) for key in changed}
            if reach is not None:
                line |= _reach_cells(reach[0], reach[1][board.fingerprint].get(entry.row))
            if further is not None:
                line |= _further_cells(further[board.fingerprint].get(entry.row, ()))
            lines.append(line)
    # Without a line there is still a header.
    header = dict.fromkeys((*_BOARD, *_ENTRY, *(f"recipe.{key}" for key in _RECIPE)))
    header |= dict.fromkeys(key for line in lines for key in line)
    return _text(header, lines)


def defused(cell: Cell) -> Cell:
    """A text that no spreadsheet takes for a formula; numbers as they are."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _reach_cells(percentage: float, reached: Reached | None) -> dict[str, Cell]:
    name = f"seconds_to_{percentage:g}_percent"
    known = (None, None) if reached is None else (reached.seconds, reached.reached)
    return {name: known[0], f"{name}_seeds": known[1]}


def _further_cells(found: Sequence[FurtherEntry]) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for each in found:
        name = f"{each.of.dataset} {each.of.split} {each.of.content[:6]}"
        cells |= _interval_cells(f"{name} accuracy", each.accuracy)
        cells |= {f"{name} uar": each.uar.mean, f"{name} macro_f1": each.macro_f1.mean}
        cells |= {f"{name} n": each.of.n, f"{name} seed_count": len(each.seeds), f"{name} trained_on": each.trained_on}
    return cells


def _interval_cells(name: str, interval: Interval) -> dict[str, Cell]:
    return {f"{name}{end}": getattr(interval, field) for end, field in _INTERVAL.items()}


def _text(header: Collection[str], lines: Iterable[Mapping[str, Cell]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([defused(name) for name in header])
    writer.writerows([_written(line.get(name)) for name in header] for line in lines)
    return stream.getvalue()


def _written(cell: Cell) -> Any:
    # Python's own words for truth begin with a capital; JSON's and most readers' do not.
    return str(cell).lower() if isinstance(cell, bool) else defused(cell)
