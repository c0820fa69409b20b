"""What names a row: its properties, in words, and which of them tell rows apart."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence

from ferbench import recipes
from ferbench.errors import UsageError
from ferbench.recipes import Recipe
from ferbench.records import RunSummary
from ferbench.row_filter import ALIASES

Property = str | int | float | bool | tuple[str, ...] | None

#: What rows of two sides are matched by, in the order in which it is said.
NAMING = ("backbone", "strategy", "auxiliaries", "weights", "train_fraction", "device")

#: What tells rows apart that are alike in the rest.
_FURTHER = ("tuned", "ensemble", "image_size")
_LAST = ("precision", "processor", "threads", "tries", "members")

_RECIPE = tuple(Recipe.__dataclass_fields__)


def property_key(text: str) -> str:
    """The key that `--by` asks for, as `--where` spells it.

    Raises
    ------
    UsageError : no property of rows, or one by which they cannot be put together
    """
    asked = text.strip().lower().replace("-", "_")
    if not asked:
        raise UsageError(f"--by {text!r} lacks a property: give one such as strategy, or several with commas between")
    key = ALIASES.get(asked, asked)
    if key in ("target", "board", "split", "label_set", "protocol", "n", "synthetic"):
        raise UsageError(f"--by {text}: rows of different boards are never compared; pairs are made on each board")
    if key in ("seed", "row", "status"):
        raise UsageError(f"--by {text}: each row is a competitor without --by, and seeds are paired as they are")
    stage, _, of_stage = key.rpartition(".")
    known = (*NAMING, *_FURTHER, *_LAST, *_RECIPE)
    if key not in known and not (stage.removeprefix("stage").isdecimal() and of_stage in _RECIPE):
        close = difflib.get_close_matches(key, known, n=3)
        advice = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(sorted(set(known)))}"
        raise UsageError(f"--by {text}: rows have no such property: {advice}")
    return key


def property_of(run: RunSummary, key: str) -> Property:
    """A row's value under a key of `property_key`; None where it has none."""
    if key == "tuned":
        return run.tries > 0
    if key == "ensemble":
        return run.members > 0
    if key in (*NAMING, *_LAST, "image_size", "images_seen"):
        value: Property = getattr(run, key)
        return value
    return dict(run.recipe).get(key)


def in_words(key: str, value: Property) -> str:
    """A property as it names a row among others: `cascade`, `64 px`, `lr 0.01`; empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return f"with {', '.join(value)}" if value else "without auxiliaries"
    if key in _SPELLED:
        return _SPELLED[key](value)
    return str(value) if key in (*NAMING, *_LAST) else recipes.in_words([(key, value)])


_SPELLED: Mapping[str, Callable[[str | int | float | bool], str]] = {
    "weights": lambda value: "no weights" if value == "none" else str(value),
    "train_fraction": lambda value: f"{100 * float(value):.3g} % of train",
    "tuned": lambda value: "tuned" if value else "not tuned",
    "ensemble": lambda value: "an ensemble" if value else "no ensemble",
    "image_size": lambda value: f"{value} px",
    "images_seen": lambda value: f"{value:,} images",
    "threads": lambda value: f"{value} threads",
    "tries": lambda value: f"{value} tries",
    "members": lambda value: f"{value} members",
}


def joined_words(run: RunSummary, keys: Iterable[str]) -> str:
    """A row's properties under these keys, as in `vgg16 · cascade`."""
    return " · ".join(words for key in keys if (words := in_words(key, property_of(run, key))))


def condition(key: str, value: Property) -> str:
    """The `--where` that chooses rows by this value, ready for a shell; empty where none does."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        text = "+".join(value) or "none"
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif key == "train_fraction":
        text = f"{value:.3g}"
    else:
        # A comma parts alternatives; a star stands for any text.
        text = str(value).replace(",", "*")
    return f"--where {shlex.quote(f'{key}={text}')}"


def differing(runs: Sequence[RunSummary]) -> tuple[str, ...]:
    """Every property in which any of the rows differ, in the order in which they are said."""
    return tuple(key for key in _all_keys(runs) if len({property_of(run, key) for run in runs}) > 1)


def telling_apart(runs: Sequence[RunSummary], first: Iterable[str] = ()) -> tuple[str, ...]:
    """Few properties that tell all rows apart that can be told apart.

    One alone where one is enough, the strategy before others. Else a property is taken where rows differ in it that are
    alike in those before it: the strategy, say, and not the auxiliaries where these follow from it. `first` is taken in
    any case.
    """
    keys = list(dict.fromkeys(first))
    for key in () if keys else ("strategy", *_all_keys(runs)):
        if len({property_of(run, key) for run in runs}) == len(runs) > 1:
            return (key,)
    groups: dict[tuple[Property, ...], list[RunSummary]] = {}
    for run in runs:
        groups.setdefault(tuple(property_of(run, key) for key in keys), []).append(run)
    for key in _all_keys(runs):
        if key in keys or all(len(group) == 1 for group in groups.values()):
            continue
        if any(len({property_of(run, key) for run in group}) > 1 for group in groups.values()):
            keys.append(key)
            parted: dict[tuple[Property, ...], list[RunSummary]] = {}
            for values, group in groups.items():
                for run in group:
                    parted.setdefault((*values, property_of(run, key)), []).append(run)
            groups = parted
    return tuple(sorted(keys, key=_all_keys(runs).index))


def _all_keys(runs: Sequence[RunSummary]) -> tuple[str, ...]:
    own = (key for run in runs for key, _ in run.recipe)
    return tuple(dict.fromkeys((*NAMING, *_FURTHER, *_RECIPE, *own, *_LAST)))
