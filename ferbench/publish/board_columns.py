"""The columns that boards may have, and the views that are made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ferbench.publish.columns import Column
from ferbench.quantities import amount, counted, duration, figure, percent, size, whole
from ferbench.records import Entry, Interval


@dataclass(frozen=True, slots=True)
class View:
    """A choice of columns.

    leaving : titles, in the order in which columns go where there is no room
    optional : titles of columns that are shown nowhere where no row has anything in them
    facts : what is said beside what the board is, such as which rows were chosen
    """

    columns: tuple[Column[Entry], ...]
    leaving: tuple[str, ...]
    legend: str
    optional: tuple[str, ...] = ("±", "with", "train")
    facts: tuple[str, ...] = ()


class Reached(Protocol):
    """How long a row was trained until it reached an accuracy."""

    @property
    def seconds(self) -> float | None: ...
    @property
    def reached(self) -> int | None: ...
    @property
    def seeds(self) -> int: ...


def share(fraction: float) -> str:
    """A part of train: 25 %."""
    return f"{100 * fraction:.3g} %"


def known_column(title: str, text: Callable[[Entry], str | None], before: str = "", behind: str = "") -> Column[Entry]:
    """A figure that may be unknown: a dash in its column, and nothing under the entry."""
    return Column(title, _known(text), _words(text, before, behind), "right")


def _share(entry: Entry) -> str:
    return share(entry.train_fraction)


def _chain(entry: Entry) -> str:
    return ", ".join(entry.auxiliaries)


def _ends(interval: Interval) -> str:
    return f"[{percent(interval.low)}–{percent(interval.high)}] {_KINDS.get(interval.kind, interval.kind)}"


def _known(text: Callable[[Entry], str | None]) -> Callable[[Entry], str]:
    return lambda entry: text(entry) or "–"


def _words(text: Callable[[Entry], str | None], before: str = "", behind: str = "") -> Callable[[Entry], str]:
    return lambda entry: f"{before}{text(entry)}{behind}" if text(entry) else ""


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else figure(1000 * seconds)


def _giga(number: float | None) -> str | None:
    return None if number is None else figure(number / 1e9)


def _figure(number: float | None) -> str | None:
    return None if number is None else figure(number)


def _percent(fraction: float | None) -> str | None:
    return None if fraction is None else percent(fraction)


_KINDS = {"wilson": "w", "bootstrap": "b", "cluster-bootstrap": "cb"}

#: What a row is, and how right it is.
NAMING: tuple[Column[Entry], ...] = (
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

_IMAGES: Column[Entry] = Column(
    "images", lambda e: whole(e.images_seen), lambda e: f"{whole(e.images_seen)} images", "right"
)
_TIME: Column[Entry] = Column(
    "time", lambda e: duration(e.train_seconds), lambda e: f"trained {duration(e.train_seconds)}", "right"
)

ACCURACY = View(
    columns=(
        *NAMING,
        Column("95 % interval", lambda e: _ends(e.accuracy), lambda e: f"95 % interval {_ends(e.accuracy)}"),
        Column("UAR %", lambda e: percent(e.uar.mean), lambda e: f"UAR {percent(e.uar.mean)} %", "right"),
        Column("F1 %", lambda e: percent(e.macro_f1.mean), lambda e: f"F1 {percent(e.macro_f1.mean)} %", "right"),
        _IMAGES,
        _TIME,
    ),
    leaving=(
        *("weights", "time", "images", "device", "with", "size", "seeds", "backbone"),
        *("F1 %", "UAR %", "strategy", "train", "95 % interval"),
    ),
    legend=(
        "F1: macro-F1; ±: standard deviation over seeds; 95 % interval: t over seeds, which speaks of "
        "seeds on these very samples and not of other samples; w Wilson's over samples, films not regarded; "
        "rank: 1 + the number of rows that are better by a t test paired over samples, each pair by itself "
        "(`ferbench compare` regards films, seeds and the number of pairs)"
    ),
)

COST = View(
    columns=(
        *NAMING,
        known_column("forgot", lambda e: _percent(e.forgotten), "forgot ", " points"),
        _IMAGES,
        _TIME,
        known_column("spent", lambda e: None if e.spent_seconds is None else duration(e.spent_seconds), "spent "),
        known_column("train/s", lambda e: _figure(e.images_per_second), behind=" trained a second"),
        known_column("memory", lambda e: None if e.peak_memory_bytes is None else size(e.peak_memory_bytes), "memory "),
        known_column("params", lambda e: None if e.parameters is None else amount(e.parameters), behind=" parameters"),
        known_column("GFLOPs", lambda e: _giga(e.forward_flops), behind=" GFLOPs an image"),
        known_column("infer/s", lambda e: _figure(e.inference_images_per_second), behind=" inferred a second"),
        known_column("p50 ms", lambda e: _milliseconds(e.latency_p50_seconds), "one image ", " ms"),
    ),
    leaving=(
        *("weights", "device", "with", "size", "seeds", "images", "spent", "±", "params", "infer/s"),
        *("strategy", "train", "p50 ms", "backbone", "GFLOPs", "forgot", "time", "memory", "train/s"),
    ),
    legend=(
        "forgot: points of accuracy on the auxiliaries that the chain lost again, – where it is not known; "
        "time: of training as if the row stood alone; spent: what it really took here, tries of a tuned row counted in "
        "neither; train/s: images trained in a second of that time; memory: peak of training; GFLOPs, infer/s, p50: of "
        "`ferbench speed`, – where it has not measured that backbone at that size on that device"
    ),
    optional=("±", "with", "train", "forgot"),
)

CALIBRATION = View(
    columns=(
        *NAMING,
        known_column("NLL", lambda e: _figure(e.nll), "NLL "),
        known_column("Brier", lambda e: _figure(e.brier), "Brier "),
        known_column("ECE %", lambda e: _percent(e.ece), "ECE ", " %"),
        known_column("T", lambda e: _figure(e.temperature), "T "),
        known_column("NLL at T", lambda e: _figure(e.calibrated_nll), "NLL at T "),
        known_column("ECE % at T", lambda e: _percent(e.calibrated_ece), "ECE at T ", " %"),
    ),
    leaving=(
        *("weights", "device", "with", "size", "seeds", "±", "backbone", "strategy", "train"),
        *("Brier", "NLL at T", "T", "ECE % at T", "ECE %", "NLL"),
    ),
    legend=(
        "NLL in nats, Brier score and ECE (15 bins) of the probabilities as they were predicted, less is better; "
        "T: temperature that was fitted on select; at T: the same figures of the report split once logits are "
        "divided by it, – where it was not fitted"
    ),
)


def with_reach(view: View, percentage: float, reached: Mapping[str, Reached]) -> View:
    """A view with a column more: how long rows were trained until select accuracy reached so many percent."""

    def seconds(entry: Entry) -> str | None:
        found = reached.get(entry.row)
        if found is None or found.seconds is None:
            return None
        some = "" if found.reached == found.seeds else f" ({found.reached} of {found.seeds} seeds)"
        return duration(found.seconds) + some

    title = f"to {percentage:g} %"
    return dataclasses.replace(
        view,
        columns=(*view.columns, known_column(title, seconds, f"{title} in ")),
        leaving=(*view.leaving, title),
        legend=(
            f"{view.legend}; {title}: training until the target's select accuracy was first seen there (whole training "
            "where no epoch was looked at, see `run --track`), mean over the seeds that reached it, – where none "
            "is known to, and for ensembles"
        ),
    )
