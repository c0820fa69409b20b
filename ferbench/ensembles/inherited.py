"""What an ensemble has from its members: cost, training data, recipe, weights, machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from ferbench.errors import StoreError
from ferbench.plan import target_images
from ferbench.recipes import Recipe
from ferbench.records import Environment, Run
from ferbench.stages import NO_WEIGHTS, InitialWeights, Stage
from ferbench.store import Store


class Chains:
    """The stages that some runs stand on, each once.

    lasts : of each run the last one
    parts : what any of them was trained on
    images_seen, target_images_seen, train_seconds : of all of them, as if nothing else had been trained
    absent_classes : those that none of them was trained on
    """

    def __init__(self, store: Store, runs: Sequence[Run]) -> None:
        stages: dict[str, Stage] = {}
        for run in runs:
            for name in run.stages:
                stage = stages.get(name) or store.stage(name)
                if stage is None:
                    raise StoreError(
                        f"{store.location} lacks stage {name[:10]} of row {run.row}, seed {run.cell.seed}: "
                        "run that cell again with --force"
                    )
                stages[name] = stage
        results = store.stage_results(stages)
        target = runs[0].cell.target
        self.lasts = [stages[run.stages[-1]] for run in runs]
        self.parts = tuple(dict.fromkeys(part for stage in stages.values() for part in stage.parts))
        self.images_seen = sum(stage.recipe.images_seen for stage in stages.values())
        self.target_images_seen = sum(target_images(stage, target) for stage in stages.values())
        self.train_seconds = sum(result.train_seconds for result in results.values())
        self.absent_classes = set.intersection(*(set(result.absent_classes) for result in results.values()))


def shared_recipe(recipes: Sequence[Recipe]) -> Recipe:
    """What all have in common; other values stand at the general default, the image size at the largest."""
    shared: dict[str, Any] = {}
    for field in dataclasses.fields(Recipe):
        values = {getattr(recipe, field.name) for recipe in recipes}
        if len(values) == 1:
            shared[field.name] = values.pop()
    shared["image_size"] = max(recipe.image_size for recipe in recipes)
    return Recipe(**shared)


def shared_weights(weights: Iterable[InitialWeights]) -> InitialWeights:
    """What all members started from; where they differ it is no file, and all are named."""
    found = list(dict.fromkeys(weights))
    if len(found) == 1:
        return found[0]
    return dataclasses.replace(NO_WEIGHTS, source=" + ".join(dict.fromkeys(each.source for each in found)))


def shared_environment(runs: Sequence[Run]) -> Environment:
    """The first member's, with the devices of all."""
    kinds = dict.fromkeys(run.environment.device_kind for run in runs)
    return dataclasses.replace(runs[0].environment, device_kind=" + ".join(kinds))
