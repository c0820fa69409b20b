"""Matrix files: axes, budget and settings of a command, read from TOML."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ferbench.errors import RecipeError, UsageError
from ferbench.matrix import RecipeAxis, Tune, parse_chain, recipe_axis
from ferbench.metrics import METRICS
from ferbench.settings import VARIABLES

_KEYS = (
    "backbones",
    "strategies",
    "targets",
    "auxiliaries",
    "seeds",
    "weights",
    "epochs",
    "train_fractions",
    "recipe",
    "settings",
    "tune",
    "also_report",
    "also",
)

#: What belongs to the command as a whole, and not to one block of axes.
_FOR_ALL = ("settings", "tune", "also_report", "also")


@dataclass(frozen=True, slots=True)
class MatrixFile:
    """A matrix file's content. What it does not name is None, for flags and defaults to fill.

    also : further blocks of axes; what a block does not name is as above it
    also_report : datasets that rows are scored on beside their target
    """

    backbones: tuple[str, ...] | None
    strategies: tuple[str, ...] | None
    targets: tuple[str, ...] | None
    auxiliaries: tuple[tuple[str, ...], ...] | None
    seeds: tuple[int, ...] | None
    weights: tuple[str, ...] | None
    axes: tuple[RecipeAxis, ...]
    epochs: float | None
    settings: Mapping[str, str]
    train_fractions: tuple[float, ...] | None = None
    also: tuple[MatrixFile, ...] = ()
    tune: Tune | None = None
    also_report: tuple[str, ...] | None = None


def read_matrix(path: Path) -> MatrixFile:
    """Read a matrix file (TOML); see `benchmarks/matrices`.

    Raises
    ------
    UsageError : not readable, not TOML, an unknown key or a value of the wrong type, with file and key
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"matrix file {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"matrix file {path} is not TOML: {error}") from error
    first = _block(path, table, _KEYS)
    blocks = table.get("also", [])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise UsageError(f"matrix file {path}: also holds blocks of axes, each below a line [[also]]")
    allowed = tuple(key for key in _KEYS if key not in _FOR_ALL)
    return replace(first, also=tuple(_below(first, _block(path, block, allowed)) for block in blocks))


def _below(first: MatrixFile, block: MatrixFile) -> MatrixFile:
    """A block with what it does not name taken from the file's first one; recipe values go one by one."""
    own = {(axis.key, axis.stage) for axis in block.axes}
    named = {
        field.name: value
        for field in fields(block)
        if field.name not in ("axes", *_FOR_ALL) and (value := getattr(block, field.name)) is not None
    }
    # A block's own kind of budget takes the place of the other kind.
    if block.epochs is not None:
        own.add(("images_seen", None))
    elif ("images_seen", None) in own:
        named["epochs"] = None
    inherited = (axis for axis in first.axes if (axis.key, axis.stage) not in own)
    return replace(first, **named, axes=(*inherited, *block.axes))


def _block(path: Path, table: Mapping[str, Any], allowed: Sequence[str]) -> MatrixFile:
    for key in table:
        if key not in allowed:
            raise UsageError(f"matrix file {path}: unknown key {key!r}, there are {', '.join(allowed)}")
    settings = table.get("settings", {})
    if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
        raise UsageError(f"matrix file {path}: settings holds text values: {', '.join(VARIABLES)}")
    for key in settings:
        if key not in VARIABLES:
            raise UsageError(f"matrix file {path}: unknown setting {key!r}, there are {', '.join(VARIABLES)}")
    epochs = table.get("epochs")
    if epochs is not None and (type(epochs) not in (int, float) or not 0 < epochs < math.inf):
        raise UsageError(f"matrix file {path}: epochs={epochs!r} is no positive number")
    chains = table.get("auxiliaries")
    if isinstance(chains, list):
        chains = [parse_chain(chain) if isinstance(chain, str) else chain for chain in chains]
        if not all(isinstance(name, str) for chain in chains if isinstance(chain, (list, tuple)) for name in chain):
            chains = None
    if "auxiliaries" in table and (
        not isinstance(chains, list) or not all(isinstance(chain, (list, tuple)) for chain in chains)
    ):
        raise UsageError(f"matrix file {path}: auxiliaries is a list of chains, each a name or a list of names")
    return MatrixFile(
        backbones=_words(path, table, "backbones"),
        strategies=_words(path, table, "strategies"),
        targets=_words(path, table, "targets"),
        auxiliaries=None if chains is None else tuple(tuple(chain) for chain in chains) or ((),),
        seeds=_seeds(path, table),
        weights=_words(path, table, "weights"),
        axes=tuple(_recipe_axes(path, table.get("recipe", {}))),
        epochs=None if epochs is None else float(epochs),
        settings=settings,
        train_fractions=_fractions(path, table),
        also_report=_words(path, table, "also_report"),
        tune=_tune(path, table.get("tune", False)),
    )


def _words(path: Path, table: Mapping[str, object], key: str) -> tuple[str, ...] | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise UsageError(f"matrix file {path}: {key} is a list of names")
    return tuple(value)


def _seeds(path: Path, table: Mapping[str, object]) -> tuple[int, ...] | None:
    value = table.get("seeds")
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(type(item) is int and item >= 0 for item in value):
        raise UsageError(f"matrix file {path}: seeds is a list of whole numbers from 0 up")
    return tuple(value)


def _fractions(path: Path, table: Mapping[str, object]) -> tuple[float, ...] | None:
    value = table.get("train_fractions")
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(type(x) in (int, float) and 0 < x <= 1 for x in value):
        raise UsageError(f"matrix file {path}: train_fractions is a list of numbers above 0 and at most 1")
    return tuple(map(float, value))


def _tune(path: Path, value: object) -> Tune | None:
    if isinstance(value, bool):
        return Tune() if value else None
    table = value if isinstance(value, dict) else {"": value}
    metric, seed = table.get("by", Tune().metric), table.get("seed")
    if set(table) - {"by", "seed"} or metric not in METRICS or not (seed is None or (type(seed) is int and seed >= 0)):
        raise UsageError(
            f"matrix file {path}: tune is true, or {{ by = METRIC, seed = NUMBER }}, METRIC one of {', '.join(METRICS)}"
        )
    return Tune(metric, seed)


def _recipe_axes(path: Path, table: object) -> Iterator[RecipeAxis]:
    if not isinstance(table, dict):
        raise UsageError(f"matrix file {path}: recipe is a table of values")
    try:
        for key, value in table.items():
            if isinstance(value, dict):
                for inner, inner_value in value.items():
                    yield recipe_axis(f"{key}.{inner}", inner_value if isinstance(inner_value, list) else [inner_value])
            else:
                yield recipe_axis(key, value if isinstance(value, list) else [value])
    except RecipeError as error:
        raise RecipeError(f"matrix file {path}: {error}") from error
