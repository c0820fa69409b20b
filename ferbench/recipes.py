"""Recipes: the record, what its values may be, and values from text and TOML, typed by it and checked."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

from ferbench.errors import RecipeError

#: Rows of a stage's history; with more passes than that over small data, a row stands for several.
_LONGEST_HISTORY = 200

RecipeValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a stage is trained. One default for all; a backbone and a dataset may bring defaults of their own.

    Units: `images_seen` counts training images over the whole chain (in a resolved stage: of that stage); `warmup` and
    `target_share` are fractions; `lr` is the peak learning rate at the given batch size. `trainable` is `all`, `head`,
    or the dotted name of a module of the backbone: that one and what is registered after it is trained, the rest not.
    `faces` says what of a picture is looked at, in training and in evaluation: all of it, or what `faces.cut` makes of
    it. `face_detector` names what finds the face; `auto` is the one that is the default.
    """

    images_seen: int = 200_000
    target_share: float = 0.5
    mixing: str = "raw"
    batch_size: int = 32
    lr: float = 0.01
    head_lr_factor: float = 1.0
    optimizer: str = "sgd"
    weight_decay: float = 5e-4
    momentum: float = 0.9
    schedule: str = "one-cycle"
    warmup: float = 0.25
    label_smoothing: float = 0.05
    imbalance: str = "none"
    augment: str = "standard"
    image_size: int = 224
    grey: bool = False
    precision: str = "auto"
    trainable: str = "all"
    head: str = "keep"
    checkpoint: str = "last"
    label_set: str = "basic7"
    head_fit: str = "sgd"
    faces: str = "none"
    face_detector: str = "auto"

    @property
    def steps(self) -> int:
        """Of a resolved stage: full batches alone, and one at least."""
        return max(1, self.images_seen // self.batch_size)

    def steps_an_epoch(self, images: int) -> int:
        """Steps that are one row of a resolved stage's history, where its training data holds so many images."""
        return max(1, round(images / self.batch_size), math.ceil(self.steps / _LONGEST_HISTORY))

    @property
    def views(self) -> int | None:
        """In how many ways augmentation may show one image; None where they cannot be counted."""
        return FINITE_VIEWS.get(self.augment)

    @property
    def trained(self) -> str:
        """What is trained, and how if not by steps: `all`, `head`, the first module that is trained, or `svm`."""
        return self.head_fit if self.head_fit != "sgd" else self.trainable


#: Augmentations that show an image in so many ways and no others.
FINITE_VIEWS: Mapping[str, int] = {"none": 1, "flip": 2}


#: The words that a recipe's text fields may hold.
RECIPE_CHOICES: Mapping[str, tuple[str, ...]] = {
    "mixing": ("raw", "balanced"),
    "optimizer": ("sgd", "adamw"),
    "schedule": ("one-cycle", "cosine", "constant"),
    "imbalance": ("none", "weighted"),
    "augment": ("none", "flip", "standard", "strong"),
    "precision": ("auto", "fp32", "bf16"),
    "head": ("keep", "new"),
    "checkpoint": ("last", "best-on-select"),
    "head_fit": ("sgd", "svm"),
    "faces": ("none", "crop", "align"),
}

#: Inclusive ranges of a recipe's numbers.
RECIPE_RANGES: Mapping[str, tuple[float, float]] = {
    "images_seen": (1, 10**12),
    "target_share": (0.0, 1.0),
    "batch_size": (1, 65_536),
    "lr": (0.0, 1e3),
    "head_lr_factor": (0.0, 1e6),
    "weight_decay": (0.0, 1e3),
    "momentum": (0.0, 1.0),
    "warmup": (0.0, 1.0),
    "label_smoothing": (0.0, 1.0),
    "image_size": (1, 4_096),
}

_DEFAULT = Recipe()
_TYPES: Mapping[str, type] = {f.name: type(getattr(_DEFAULT, f.name)) for f in fields(Recipe)}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def in_words(values: Iterable[tuple[str, RecipeValue]]) -> str:
    """Recipe values for people, as in `lr 0.001; stage2.lr 0.0001`; every digit of a number is shown."""
    return "; ".join(f"{key} {str(value).lower() if isinstance(value, bool) else value}" for key, value in values)


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
    return replace(recipe, **{key: typed(key, value) for key, value in changes})  # type: ignore[arg-type]
