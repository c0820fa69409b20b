"""From flags or a TOML file to cells: every combination of the axes, each one once."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ferbench.components import Backbone, Dataset, Strategy
from ferbench.errors import RecipeError, UsageError
from ferbench.recipes import changed, check_image_size, check_key, default_recipe, typed
from ferbench.records import Cell, RecipeValue, StageChange
from ferbench.references import parse_reference
from ferbench.settings import VARIABLES


class Components(Protocol):
    """Where names are looked up; the catalog is one."""

    def backbone(self, name: str) -> Backbone: ...
    def dataset(self, name: str) -> Dataset: ...
    def strategy(self, name: str) -> Strategy: ...


@dataclass(frozen=True, slots=True)
class RecipeAxis:
    """Values of one recipe key; `stage` counts from 1 and is None where the value is meant for all stages."""

    key: str
    values: tuple[RecipeValue, ...]
    stage: int | None = None


@dataclass(frozen=True, slots=True)
class Matrix:
    """The axes. `auxiliaries` holds one chain per value; the empty chain stands for none.

    epochs : passes over the target and all named auxiliaries together, instead of a budget in images
    """

    backbones: tuple[str, ...]
    strategies: tuple[str, ...]
    targets: tuple[str, ...]
    auxiliaries: tuple[tuple[str, ...], ...] = ((),)
    seeds: tuple[int, ...] = (0,)
    weights: tuple[str, ...] = ("auto",)
    axes: tuple[RecipeAxis, ...] = ()
    epochs: float | None = None


def parse_axis(text: str) -> RecipeAxis:
    """Read `--set`'s `key=value`, `key=a,b` or `stage2.key=value`.

    Raises
    ------
    RecipeError : not of that form, or a key or value that no recipe takes
    """
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise RecipeError(f"--set {text}: write key=value, such as lr=0.01")
    return _axis(key.strip(), [part.strip() for part in values.split(",")])


def _axis(key: str, values: Sequence[object]) -> RecipeAxis:
    stage: int | None = None
    if "." in key:
        prefix, _, key = key.partition(".")
        number = prefix.removeprefix("stage")
        if not prefix.startswith("stage") or not number.isdecimal() or int(number) < 1:
            raise RecipeError(f"recipe key {prefix}.{key}: a stage is written stage1, stage2, …")
        stage = int(number)
    check_key(key)
    if not values:
        raise RecipeError(f"recipe value {key} is an empty list: give at least one value, or leave it out")
    if stage is not None and key in ("images_seen", "target_share", "label_set"):
        raise RecipeError(f"recipe key stage{stage}.{key}: {key} belongs to the whole chain")
    return RecipeAxis(key, tuple(typed(key, value) for value in values), stage)


def parse_chain(text: str) -> tuple[str, ...]:
    """Read `-a A,B`: one chain of auxiliaries, in order."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


@dataclass(frozen=True, slots=True)
class MatrixFile:
    """A matrix file's content. What it does not name is None, for flags and defaults to fill."""

    backbones: tuple[str, ...] | None
    strategies: tuple[str, ...] | None
    targets: tuple[str, ...] | None
    auxiliaries: tuple[tuple[str, ...], ...] | None
    seeds: tuple[int, ...] | None
    weights: tuple[str, ...] | None
    axes: tuple[RecipeAxis, ...]
    epochs: float | None
    settings: Mapping[str, str]


_KEYS = ("backbones", "strategies", "targets", "auxiliaries", "seeds", "weights", "epochs", "recipe", "settings")


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
    for key in table:
        if key not in _KEYS:
            raise UsageError(f"matrix file {path}: unknown key {key!r}, there are {', '.join(_KEYS)}")
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


def _recipe_axes(path: Path, table: object) -> Iterator[RecipeAxis]:
    if not isinstance(table, dict):
        raise UsageError(f"matrix file {path}: recipe is a table of values")
    try:
        for key, value in table.items():
            if isinstance(value, dict):
                for inner, inner_value in value.items():
                    yield _axis(f"{key}.{inner}", inner_value if isinstance(inner_value, list) else [inner_value])
            else:
                yield _axis(key, value if isinstance(value, list) else [value])
    except RecipeError as error:
        raise RecipeError(f"matrix file {path}: {error}") from error


def unrolled(matrix: Matrix, components: Components, budget: int | None = None) -> tuple[Cell, ...]:
    """All cells of a matrix, in the order of its axes, duplicates left out.

    Strategies that do not use auxiliaries give one cell whatever the chains are. `budget` is `epochs` converted to
    images by the caller, who knows how large the datasets are.

    Raises
    ------
    UnknownName, RecipeError, UsageError : with the name or value at fault
    """
    if budget is not None and any(axis.key == "images_seen" for axis in matrix.axes):
        raise UsageError("give the budget as epochs or as images_seen, not both")
    cells: dict[Cell, None] = {}
    axes = [[(axis, value) for value in axis.values] for axis in matrix.axes]
    coordinates = itertools.product(
        matrix.backbones,
        matrix.weights,
        matrix.targets,
        matrix.strategies,
        matrix.auxiliaries,
        itertools.product(*axes),
    )
    for backbone, weights, target, strategy, chain, values in coordinates:
        for cell in _cells(components, backbone, weights, target, strategy, chain, values, matrix.seeds, budget):
            cells[cell] = None
    return tuple(cells)


def _cells(
    components: Components,
    backbone: str,
    weights: str,
    target: str,
    strategy: str,
    chain: tuple[str, ...],
    values: Iterable[tuple[RecipeAxis, RecipeValue]],
    seeds: Iterable[int],
    budget: int | None,
) -> Iterator[Cell]:
    network = components.backbone(backbone)
    dataset = parse_reference(target, components.dataset).dataset
    if any(parse_reference(name, components.dataset).dataset.name == dataset.name for name in chain):
        raise UsageError(f"{dataset.name!r} is the target and an auxiliary at once: an auxiliary is another dataset")
    recipe = default_recipe(network, dataset)
    general = [("images_seen", budget)] if budget is not None else []
    by_stage: dict[tuple[int, str], RecipeValue] = {}
    for axis, value in values:
        if axis.stage is None:
            general.append((axis.key, value))  # type: ignore[arg-type]
        else:
            by_stage[axis.stage, axis.key] = value
    stage_changes = [StageChange(stage, key, value) for (stage, key), value in sorted(by_stage.items())]
    recipe = changed(recipe, general)
    sizes = [recipe.image_size, *(int(c.value) for c in stage_changes if c.key == "image_size")]
    check_image_size(network, min(sizes))
    specs = components.strategy(strategy).stages(target, chain, recipe)
    too_far = [change.stage for change in stage_changes if change.stage > len(specs)]
    if too_far:
        raise RecipeError(f"stage{too_far[0]} is set, but {strategy} has {len(specs)} stage(s) here")
    used = {name for spec in specs for name in spec.datasets}
    auxiliaries = tuple(name for name in chain if name in used)
    for seed in seeds:
        yield Cell(network.name, weights, strategy, target, auxiliaries, recipe, seed, tuple(stage_changes))
