"""Rows chosen by what they are and what they reached, pure: `--where backbone=vgg*`, `--where 'accuracy>40%'`.

A filter chooses among rows that are ranked already. A rank is that of the whole board, and never changes because other
rows are not shown. What a row is (`backbone`, `seed`, `lr`) is asked of its runs, and one run that fits is enough.
What it reached (`accuracy`, `train_seconds`) is asked of the entry: the mean over all its seeds, filtered or not.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from operator import attrgetter, ge, gt, le, lt
from typing import Any, Literal

from ferbench.errors import UsageError
from ferbench.recipes import RECIPE_CHOICES, RECIPE_RANGES, Recipe, RecipeValue
from ferbench.records import Entry, RunSummary

#: text, start (of hex digits), truth (yes or no), whole, number, and a fraction, which may be given in percent
Kind = Literal["text", "start", "truth", "whole", "number", "fraction"]

Value = str | int | float | bool

#: What a row has under a key; several for a chain of auxiliaries, none where it is not known.
Values = tuple[Value, ...]

_SHAPE = re.compile(r"\s*([\w.-]+)\s*(==|!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_STAGE = re.compile(r"stage[1-9]\d*\.(.+)")
_RANGE = re.compile(r"(\d{1,18})-(\d{1,18})")
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_TRUTHS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, which fits some of the values under its key.

    measured : it is asked of an entry, not of a run
    """

    text: str
    key: str
    measured: bool
    values: Callable[[Any], Values]
    fits: Callable[[Values], bool]

    def keeps(self, row: RunSummary | Entry) -> bool:
        """Whether a run, or an entry where `measured`, fits."""
        return self.fits(self.values(row))


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Conditions that all must fit; one without conditions keeps everything."""

    conditions: tuple[Condition, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.conditions)

    def __str__(self) -> str:
        return " and ".join(condition.text for condition in self.conditions)

    @property
    def measured(self) -> bool:
        """Whether something is asked that only finished rows have."""
        return any(condition.measured for condition in self.conditions)

    def keeps_run(self, run: RunSummary) -> bool:
        """Whether a run is what is asked for; what was measured is left to `keeps_entry`."""
        return all(condition.keeps(run) for condition in self.conditions if not condition.measured)

    def keeps_entry(self, entry: Entry) -> bool:
        """Whether an entry reached what is asked for; what it is was left to `keeps_run`."""
        return all(condition.keeps(entry) for condition in self.conditions if condition.measured)

    def rows(
        self, runs: Iterable[RunSummary], status: Literal["finished", "failed"] = "finished"
    ) -> set[tuple[str, str]]:
        """Board's fingerprint (empty where it is not known) and ROW of all that have a kept run of that status."""
        return {
            ("" if run.board is None else run.board.fingerprint, run.entry[:10])
            for run in runs
            if run.status == status and self.keeps_run(run)
        }


def parse_where(texts: Sequence[str]) -> RowFilter:
    """The filter that `--where` texts ask for, all of them together.

    Each is `KEY=VALUE[,VALUE]` (one of them; `*` stands for any text, case does not matter), `KEY!=VALUE[,VALUE]` (the
    rows that `=` leaves out), or `KEY<NUMBER` with `<`, `<=`, `>` or `>=`. Whole numbers may be ranges: `seed=0-4`.
    Numbers of a recipe are equal as they are, others in the three digits that are shown. Fractions may be given in
    percent. A stage's recipe value (`stage2.lr`) is one that was given for that stage alone.

    Raises
    ------
    UsageError : not of that shape, no such key, or a value that the key cannot have
    """
    return RowFilter(tuple(_condition(text) for text in texts))


def known_keys() -> tuple[str, ...]:
    """Every key but those of single stages, sorted."""
    return tuple(sorted({*_PROPERTIES, *MEASURED, *_RECIPE_KINDS}))


#: Names that columns have, for keys.
ALIASES: Mapping[str, str] = {
    "time": "train_seconds",
    "spent": "spent_seconds",
    "images": "images_seen",
    "memory": "peak_memory_bytes",
    "params": "parameters",
    "select": "select_accuracy",
    "f1": "macro_f1",
    "size": "image_size",
    "with": "auxiliaries",
    "train": "train_fraction",
}


def _condition(text: str) -> Condition:
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise UsageError(f"--where {text!r}: it reads KEY=VALUE[,VALUE], KEY!=VALUE or KEY<NUMBER (<=, >, >=)")
    asked, operator, wanted = match[1].lower().replace("-", "_"), match[2], match[3]
    key = ALIASES.get(asked, asked)
    kind, measured, values = _meaning(text, key)
    if operator in _ORDERS:
        fits = _ordered(text, key, kind, operator, wanted)
    else:
        fits = _equal(text, key, kind, wanted, exact=_recipe_key(key) is not None and key not in _PROPERTIES)
    if operator == "!=":
        equal = fits

        def fits(found: Values) -> bool:
            return not equal(found)

    return Condition(text.strip(), key, measured, values, fits)


def _meaning(text: str, key: str) -> tuple[Kind, bool, Callable[[Any], Values]]:
    """What a key's values are, whether an entry is asked for them, and how."""
    if key in MEASURED:
        kind, measure = MEASURED[key]
        return kind, True, _one(measure)
    if key in _PROPERTIES:
        kind, values = _PROPERTIES[key]
        return kind, False, values
    if (name := _recipe_key(key)) is not None:
        stored = key.removeprefix("recipe.")
        return _RECIPE_KINDS[name], False, lambda run: _recipe_values(run, stored)
    keys = known_keys()
    close = difflib.get_close_matches(key, keys, n=3)
    advice = f"did you mean {' or '.join(close)}? " if close else ""
    raise UsageError(
        f"--where {text!r}: rows have no {key!r}: {advice}There are: {', '.join(keys)}; of one stage such as stage2.lr"
    )


def _recipe_key(key: str) -> str | None:
    """The recipe's field that a key is of: `lr`, `recipe.lr` or `stage2.lr`; None where it is of none."""
    stage = _STAGE.fullmatch(key)
    name = stage[1] if stage else key.removeprefix("recipe.")
    return name if name in _RECIPE_KINDS else None


def _recipe_values(run: RunSummary, key: str) -> Values:
    return tuple([value for name, value in run.recipe if name == key])


def _ordered(text: str, key: str, kind: Kind, operator: str, wanted: str) -> Callable[[Values], bool]:
    if kind not in ("whole", "number", "fraction"):
        raise UsageError(f"--where {text!r}: {key} is no number: compare it with = or !=")
    limit, order = _number(text, key, kind, wanted), _ORDERS[operator]
    # A mean of three times 84 of 420 is a hair off 20 %.
    return lambda found: any(order(limit if _near(value, limit) else value, limit) for value in found)


def _near(value: object, limit: float) -> bool:
    return isinstance(value, float) and math.isclose(value, limit, rel_tol=1e-9, abs_tol=1e-12)


def _equal(text: str, key: str, kind: Kind, wanted: str, *, exact: bool) -> Callable[[Values], bool]:
    words = [word.strip() for word in wanted.split(",")]
    if not all(words):
        raise UsageError(f"--where {text!r}: a value is missing behind {key}")
    if kind == "text":
        return _matching(text, key, words)
    if kind == "start":
        starts = tuple(word.lower().rstrip("*") for word in words)
        return lambda found: any(str(value).startswith(starts) for value in found)
    if kind == "truth":
        unknown = [word for word in words if word.lower() not in _TRUTHS]
        if unknown:
            raise UsageError(f"--where {text!r}: {key} is yes or no, not {unknown[0]!r}")
        truths = {_TRUTHS[word.lower()] for word in words}
        return lambda found: not truths.isdisjoint(found)
    if kind == "whole":
        ranges = [_whole_range(text, key, word) for word in words]
        return lambda found: any(low <= value <= high for value in found for low, high in ranges)  # type: ignore[operator]
    numbers = [_number(text, key, kind, word) for word in words]
    if exact:
        return lambda found: not set(numbers).isdisjoint(found)
    shown = {f"{number:.3g}" for number in numbers}
    return lambda found: any(f"{value:.3g}" in shown for value in found)


def _matching(text: str, key: str, words: Sequence[str]) -> Callable[[Values], bool]:
    choices = _CHOICES.get(_recipe_key(key) or key)
    for word in words:
        if choices and "*" not in word and word.lower() not in choices:
            raise UsageError(f"--where {text!r}: {key} is one of {', '.join(choices)}, not {word!r}")
    patterns = (".*".join(map(re.escape, word.casefold().split("*"))) for word in words)
    pattern = re.compile("|".join(patterns), re.DOTALL)
    return lambda found: any(pattern.fullmatch(str(value).casefold()) for value in found)


def _whole_range(text: str, key: str, word: str) -> tuple[float, float]:
    match = _RANGE.fullmatch(word)
    if match is None:
        number = _number(text, key, "whole", word)
        return number, number
    low, high = int(match[1]), int(match[2])
    if low > high:
        raise UsageError(f"--where {text!r}: the range {word} goes backwards")
    return low, high


def _number(text: str, key: str, kind: Kind, word: str) -> float:
    """A number as typed; decimal until the end, so that 12.3% is the same number as 0.123."""
    in_percent = word.endswith("%")
    try:
        number = Decimal(word.removesuffix("%").strip().replace("_", ""))
        value = float(number / 100 if in_percent else number)
    except InvalidOperation:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"--where {text!r}: {key} is compared with a number, not with {word!r}")
    if in_percent and kind != "fraction":
        raise UsageError(f"--where {text!r}: {key} is not counted in percent")
    if kind == "fraction" and abs(value) > 1:
        raise UsageError(f"--where {text!r}: {key} is a fraction: write 0.4 or 40%")
    return value


def _one(value: Callable[[Any], Value | None]) -> Callable[[Any], Values]:
    def values(row: Any) -> Values:
        found = value(row)
        return () if found is None else (found,)

    return values


def _targets(run: RunSummary) -> Values:
    """As asked for and as the board has it, with and without splits."""
    names = (run.target,) if run.board is None or run.board.target == run.target else (run.target, run.board.target)
    return _with_bare(names)


def _auxiliaries(run: RunSummary) -> Values:
    """Each of the chain, with and without splits, and the whole chain; `none` for no chain."""
    names = run.auxiliaries
    return (*_with_bare(names), "+".join(names)) if len(names) > 1 else _with_bare(names) or ("none",)


def _with_bare(names: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for name in names:
        found += (name, name.rpartition(":")[0]) if ":" in name else (name,)
    return tuple(found)


def _precision(run: RunSummary) -> Values:
    """What was computed in, else what was asked for."""
    return _recipe_values(run, "precision") if run.precision is None else (run.precision,)


def _of_board(name: str) -> Callable[[RunSummary], Values]:
    value = attrgetter(name)
    return lambda run: () if run.board is None else (value(run.board),)


_PROPERTIES: Mapping[str, tuple[Kind, Callable[[RunSummary], Values]]] = {
    "row": ("start", lambda run: (run.entry,)),
    "backbone": ("text", lambda run: (run.backbone,)),
    "strategy": ("text", lambda run: (run.strategy,)),
    "target": ("text", _targets),
    "auxiliaries": ("text", _auxiliaries),
    "weights": ("text", lambda run: (run.weights,)),
    "image_size": ("whole", lambda run: (run.image_size,)),
    "device": ("text", lambda run: (run.device,)),
    "processor": ("text", _one(attrgetter("processor"))),
    "threads": ("whole", _one(attrgetter("threads"))),
    "precision": ("text", _precision),
    "seed": ("whole", lambda run: (run.seed,)),
    "train_fraction": ("fraction", lambda run: (run.train_fraction,)),
    "images_seen": ("whole", lambda run: (run.images_seen,)),
    "status": ("text", lambda run: (run.status,)),
    "tuned": ("truth", lambda run: (run.tries > 0,)),
    "tries": ("whole", lambda run: (run.tries,)),
    "ensemble": ("truth", lambda run: (run.members > 0,)),
    "members": ("whole", lambda run: (run.members,)),
    "board": ("start", _of_board("fingerprint")),
    "split": ("text", _of_board("split")),
    "label_set": ("text", _of_board("label_set")),
    "protocol": ("whole", _of_board("protocol")),
    "synthetic": ("truth", _of_board("synthetic")),
    "n": ("whole", _of_board("n")),
}

#: What an entry reached and cost, by the names of its JSON.
MEASURED: Mapping[str, tuple[Kind, Callable[[Entry], Value | None]]] = {
    "rank": ("whole", attrgetter("rank")),
    "seeds": ("whole", lambda entry: len(entry.seeds)),
    "accuracy": ("fraction", attrgetter("accuracy.mean")),
    "uar": ("fraction", attrgetter("uar.mean")),
    "macro_f1": ("fraction", attrgetter("macro_f1.mean")),
    "select_accuracy": ("fraction", attrgetter("select_accuracy")),
    "forgotten": ("fraction", attrgetter("forgotten")),
    "ece": ("fraction", attrgetter("ece")),
    "calibrated_ece": ("fraction", attrgetter("calibrated_ece")),
    "nll": ("number", attrgetter("nll")),
    "calibrated_nll": ("number", attrgetter("calibrated_nll")),
    "brier": ("number", attrgetter("brier")),
    "temperature": ("number", attrgetter("temperature")),
    "train_seconds": ("number", attrgetter("train_seconds")),
    "spent_seconds": ("number", attrgetter("spent_seconds")),
    "images_per_second": ("number", attrgetter("images_per_second")),
    "inference_images_per_second": ("number", attrgetter("inference_images_per_second")),
    "latency_p50_seconds": ("number", attrgetter("latency_p50_seconds")),
    "peak_memory_bytes": ("whole", attrgetter("peak_memory_bytes")),
    "parameters": ("whole", attrgetter("parameters")),
    "forward_flops": ("whole", attrgetter("forward_flops")),
}


def _recipe_kind(name: str, default: RecipeValue) -> Kind:
    if isinstance(default, bool):
        return "truth"
    if isinstance(default, str):
        return "text"
    if isinstance(default, int):
        return "whole"
    return "fraction" if RECIPE_RANGES.get(name) == (0.0, 1.0) else "number"


_RECIPE_KINDS: Mapping[str, Kind] = {
    name: _recipe_kind(name, getattr(Recipe(), name)) for name in Recipe.__dataclass_fields__
}

_CHOICES: Mapping[str, Sequence[str]] = {**RECIPE_CHOICES, "status": ("finished", "failed")}
