"""From axes to cells: every combination, each one once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ferbench.components import Backbone, Dataset, Strategy
from ferbench.defaults import default_recipe
from ferbench.errors import RecipeError, UsageError
from ferbench.recipes import Recipe, RecipeValue, changed, check_key, typed
from ferbench.references import parse_reference
from ferbench.stages import Cell, StageChange


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
class Tune:
    """That recipe values are to be chosen on select, instead of being axes.

    metric : what is compared, a name of metrics.METRICS
    seed : of the tries; None for tuning.TUNING_SEED
    """

    metric: str = "accuracy"
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Matrix:
    """The axes. `auxiliaries` holds one chain per value; the empty chain stands for none.

    epochs : passes over the target and all named auxiliaries together, instead of a budget in images
    train_fractions : parts of the target's train samples to be trained on
    also : matrices whose cells come after those of this one, where what belongs together is no single product of axes
    tune : given where the recipe values that there are several of are chosen from, and not all reported
    """

    backbones: tuple[str, ...]
    strategies: tuple[str, ...]
    targets: tuple[str, ...]
    auxiliaries: tuple[tuple[str, ...], ...] = ((),)
    seeds: tuple[int, ...] = (0,)
    weights: tuple[str, ...] = ("auto",)
    axes: tuple[RecipeAxis, ...] = ()
    epochs: float | None = None
    train_fractions: tuple[float, ...] = (1.0,)
    also: tuple[Matrix, ...] = ()
    tune: Tune | None = None


def parse_axis(text: str) -> RecipeAxis:
    """Read `--set`'s `key=value`, `key=a,b` or `stage2.key=value`.

    Raises
    ------
    RecipeError : not of that form, or a key or value that no recipe takes
    """
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise RecipeError(f"--set {text}: write key=value, such as lr=0.01")
    return recipe_axis(key.strip(), [part.strip() for part in values.split(",")])


def recipe_axis(key: str, values: Sequence[object]) -> RecipeAxis:
    """An axis from a key, `lr` or `stage2.lr`, and its values as text or as TOML's own types.

    Raises
    ------
    RecipeError : a key or value that no recipe takes, or no value at all
    """
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
        matrix.train_fractions,
    )
    # Read anew for each of ten thousand cells, defaults would take as long as all the rest.
    defaults: dict[tuple[str, str], Recipe] = {}
    for backbone, weights, target, strategy, chain, values, fraction in coordinates:
        if (backbone, target) not in defaults:
            dataset = parse_reference(target, components.dataset).dataset
            defaults[backbone, target] = default_recipe(components.backbone(backbone), dataset)
        recipe = defaults[backbone, target]
        for cell in _cells(
            components, backbone, weights, target, strategy, chain, recipe, values, matrix.seeds, budget, fraction
        ):
            cells[cell] = None
    return tuple(cells)


def check_image_size(backbone: Backbone, image_size: int) -> None:
    """Raise RecipeError where a backbone cannot take images that small."""
    if image_size < backbone.smallest_image_size:
        raise RecipeError(
            f"image_size={image_size} is too small for {backbone.name}: "
            f"the smallest is {backbone.smallest_image_size}, try --set image_size={backbone.smallest_image_size}"
        )


def _cells(
    components: Components,
    backbone: str,
    weights: str,
    target: str,
    strategy: str,
    chain: tuple[str, ...],
    recipe: Recipe,
    values: Iterable[tuple[RecipeAxis, RecipeValue]],
    seeds: Iterable[int],
    budget: int | None,
    fraction: float,
) -> Iterator[Cell]:
    network = components.backbone(backbone)
    dataset = parse_reference(target, components.dataset).dataset
    if any(parse_reference(name, components.dataset).dataset.name == dataset.name for name in chain):
        raise UsageError(f"{dataset.name!r} is the target and an auxiliary at once: an auxiliary is another dataset")
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
        raise RecipeError(
            f"stage{too_far[0]} is set, but {strategy} has {len(specs)} stage(s) here: set one that it has"
        )
    used = {name for spec in specs for name in spec.datasets}
    auxiliaries = tuple(name for name in chain if name in used)
    own = fraction if target in used else 1.0
    for seed in seeds:
        yield Cell(network.name, weights, strategy, target, auxiliaries, recipe, seed, tuple(stage_changes), own)
