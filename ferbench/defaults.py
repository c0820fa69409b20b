"""What a command means where it does not say: which datasets, and the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ferbench.components import Backbone, Dataset
from ferbench.errors import UsageError
from ferbench.recipes import Recipe, changed


@dataclass(frozen=True, slots=True)
class DataChoice:
    """Targets and chains of auxiliaries, and the sentence that says how they came about."""

    targets: tuple[str, ...]
    auxiliaries: tuple[tuple[str, ...], ...]
    reason: str


def choose_data(
    datasets: Sequence[Dataset],
    data_folder: Path,
    targets: Sequence[str] = (),
    auxiliaries: Sequence[tuple[str, ...]] = (),
) -> DataChoice:
    """Fill in what a user did not name.

    The real datasets that are `default_for` a part are taken if those for both parts are found in the data folder,
    otherwise the embedded ones. A target that is named without auxiliaries has no chain: which data to pass through is
    then for the user to say.

    Parameters
    ----------
    datasets : all that the catalog lists by name
    """
    chains = tuple(tuple(chain) for chain in auxiliaries)
    if targets:
        chains = chains or ((),)
        return DataChoice(tuple(targets), chains, f"{_named(chains, targets)} (as named)")
    parts: tuple[Literal["auxiliary", "target"], ...] = ("target",) if chains else ("auxiliary", "target")
    chosen = {part: _first(datasets, part, embedded=False) for part in parts}
    missing = [d.name for d in chosen.values() if d is not None and d.locate(data_folder) is None]
    reason = f"found in {data_folder}"
    if missing or not all(chosen.values()):
        chosen = {part: _first(datasets, part, embedded=True) for part in parts}
        verb = "was" if len(missing) == 1 else "were"
        why = f"{_joined(missing)} {verb} not found in {data_folder}" if missing else "no plugin offers real ones"
        reason = f"embedded synthetic faces, since {why}"
    target, auxiliary = chosen["target"], chosen.get("auxiliary")
    if target is None or (auxiliary is None and not chains):
        raise UsageError("name a dataset with --target: no plugin offers one by default")
    if auxiliary is not None:
        chains = ((auxiliary.name,),)
    return DataChoice((target.name,), chains, f"{_named(chains, (target.name,))} ({reason})")


def default_recipe(backbone: Backbone, target: Dataset) -> Recipe:
    """The recipe before a user says anything: the general one, then the backbone's, then the target dataset's.

    A dataset's default image size is raised to the smallest one of the backbone; a user's own is never changed.
    """
    recipe = changed(Recipe(), [("image_size", backbone.image_size), *backbone.recipe.items(), *target.recipe.items()])
    return replace(recipe, image_size=max(recipe.image_size, backbone.smallest_image_size))


def _named(chains: Sequence[tuple[str, ...]], targets: Sequence[str]) -> str:
    """Every chain with every target, as they are passed through."""
    return _joined([" then ".join((*chain, target)) for target in targets for chain in chains])


def _first(datasets: Sequence[Dataset], part: Literal["auxiliary", "target"], *, embedded: bool) -> Dataset | None:
    found = [d for d in datasets if d.default_for == part and d.embedded == embedded]
    return min(found, key=lambda dataset: dataset.name, default=None)


def _joined(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
