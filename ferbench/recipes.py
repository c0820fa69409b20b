"""Recipe values from text and TOML: typed by the Recipe record, checked, merged."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping

from ferbench.components import Backbone, Dataset
from ferbench.errors import RecipeError
from ferbench.records import RECIPE_CHOICES, RECIPE_RANGES, Recipe, RecipeValue

_DEFAULT = Recipe()
_TYPES: Mapping[str, type] = {f.name: type(getattr(_DEFAULT, f.name)) for f in dataclasses.fields(Recipe)}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def check_key(key: str) -> None:
    """Raise RecipeError where no recipe has that key."""
    if key in _TYPES:
        return
    close = difflib.get_close_matches(key, _TYPES, n=2)
    advice = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(sorted(_TYPES))}"
    raise RecipeError(f"no recipe value named {key!r}: {advice}")


def typed(key: str, value: object) -> RecipeValue:
    """A value as its recipe field's type: text as typed by a user, or TOML's own types.

    Raises
    ------
    RecipeError : unknown key, wrong type, out of range, or not one of the field's words
    """
    check_key(key)
    kind = _TYPES[key]
    result = _converted(kind, value)
    if result is None:
        raise RecipeError(f"recipe value {key}={value}: {_TYPE_NAMES[kind]} is needed")
    if key in RECIPE_CHOICES and result not in RECIPE_CHOICES[key]:
        raise RecipeError(f"recipe value {key}={value}: it is one of {', '.join(RECIPE_CHOICES[key])}")
    if key in RECIPE_RANGES:
        low, high = RECIPE_RANGES[key]
        if not low <= float(result) <= high:
            raise RecipeError(f"recipe value {key}={value}: it lies between {low:g} and {high:g}")
    return result


def _converted(kind: type, value: object) -> RecipeValue | None:
    if kind is bool:
        return value if isinstance(value, bool) else _WORDS.get(str(value).lower())
    if isinstance(value, bool):
        return None
    if kind is str:
        return value if isinstance(value, str) and value else None
    try:
        number = float(str(value).replace("_", ""))
    except ValueError:
        return None
    if kind is int:
        return int(number) if math.isfinite(number) and number == int(number) else None
    return number if math.isfinite(number) else None


def changed(recipe: Recipe, changes: Iterable[tuple[str, object]]) -> Recipe:
    """A recipe with some values replaced, each checked."""
    return dataclasses.replace(recipe, **{key: typed(key, value) for key, value in changes})  # type: ignore[arg-type]


def default_recipe(backbone: Backbone, target: Dataset) -> Recipe:
    """The recipe before a user says anything: the general one, then the backbone's, then the target dataset's.

    A dataset's default image size is raised to the smallest one of the backbone; a user's own is never changed.
    """
    recipe = changed(Recipe(), [("image_size", backbone.image_size), *backbone.recipe.items(), *target.recipe.items()])
    return dataclasses.replace(recipe, image_size=max(recipe.image_size, backbone.smallest_image_size))


def check_image_size(backbone: Backbone, image_size: int) -> None:
    """Raise RecipeError where a backbone cannot take images that small."""
    if image_size < backbone.smallest_image_size:
        raise RecipeError(
            f"image_size={image_size} is too small for {backbone.name}: "
            f"the smallest is {backbone.smallest_image_size}, try --set image_size={backbone.smallest_image_size}"
        )
