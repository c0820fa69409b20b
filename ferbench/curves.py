"""Target-size curves, pure: a board's entries that differ only in how much of the target they were trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ferbench.over_seeds import interval_json
from ferbench.recipes import RecipeValue, in_words
from ferbench.records import Entry, Interval


@dataclass(frozen=True, slots=True)
class Point:
    """One entry of a curve: `accuracy` as the board has it, `train_fraction` 0 where none of the target is used."""

    train_fraction: float
    row: str
    seeds: tuple[int, ...]
    accuracy: Interval


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracy over the part of the target's train samples, by rising part.

    Points may share a part: rows that differ in nothing that is told, such as before and after the data changed.

    difference : in words, the recipe values by which it differs from curves that are otherwise named alike
    """

    backbone: str
    strategy: str
    auxiliaries: tuple[str, ...]
    weights: str
    device: str
    difference: str
    points: tuple[Point, ...]


_Name = tuple[str, str, tuple[str, ...], str, str]


def curves(entries: Iterable[Entry]) -> tuple[Curve, ...]:
    """The curves of one board's entries, best at the largest part first; an entry alone is a curve of one point."""
    by_name: dict[_Name, dict[tuple[tuple[str, RecipeValue], ...], list[Entry]]] = defaultdict(dict)
    for entry in entries:
        name = (entry.backbone, entry.strategy, entry.auxiliaries, entry.weights, entry.device)
        by_name[name].setdefault(entry.recipe, []).append(entry)
    found = []
    for name, by_recipe in by_name.items():
        shared = set.intersection(*(set(recipe) for recipe in by_recipe))
        for recipe, own in by_recipe.items():
            difference = in_words(pair for pair in recipe if pair not in shared)
            own.sort(key=lambda entry: (entry.train_fraction, entry.row))
            points = (Point(entry.train_fraction, entry.row, entry.seeds, entry.accuracy) for entry in own)
            found.append(Curve(*name, difference, tuple(points)))
    found.sort(
        key=lambda curve: (-curve.points[-1].train_fraction, -curve.points[-1].accuracy.mean, curve.points[-1].row)
    )
    return tuple(found)


def as_json(of_board: Iterable[Curve]) -> list[dict[str, Any]]:
    """A board's curves in `leaderboard --curves --json`. Scripts rely on it: fields may be added, never changed."""
    return [
        {
            "backbone": curve.backbone,
            "strategy": curve.strategy,
            "auxiliaries": list(curve.auxiliaries),
            "weights": curve.weights,
            "device": curve.device,
            "difference": curve.difference,
            "points": [
                {
                    "train_fraction": point.train_fraction,
                    "row": point.row,
                    "seeds": list(point.seeds),
                    "accuracy": interval_json(point.accuracy),
                }
                for point in curve.points
            ],
        }
        for curve in of_board
    ]
