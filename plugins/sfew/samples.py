"""Samples of one split from a listing: which place is taken, what its images are called, of which film they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from ferbench import Samples
from ferbench.data.folders import by_class, is_image, passed_over
from ferbench.data.trees import TreeFile
from ferbench_plugins.sfew.copies import Place, has_classes, places
from ferbench_plugins.sfew.labels_file import Labelled, labelled_images, labels_files
from ferbench_plugins.sfew.published import CLASSES, TEST, count_warnings, withheld_warnings

_AGAIN = "second copies of images that are there under the same name"


def split_samples(split: str, files: Sequence[TreeFile]) -> Samples | None:
    """A listing's aligned faces, else what its CSV says, else its other pictures; None without any of the split.

    Raises
    ------
    DatasetError : a folder beside the class folders that is none, or a fault in the CSV
    """
    there = [place for place in places(files).get(split, ()) if split == TEST or has_classes(place)]
    if not there or not there[0].aligned:
        for table in labels_files(files):
            if images := labelled_images(table, files, split):
                return _of_table(split, images)
    if not there:
        return None
    taken, *others = there
    warnings = []
    for other in others:
        what = "the aligned faces" if taken.aligned and not other.aligned else "those"
        warnings.append(
            f"{split}: {what} in {taken.path} are taken, the {len(other.images)} images in {other.path} are passed over"
        )
    return _withheld(taken, warnings) if split == TEST else _labelled(split, taken, warnings)


def _labelled(split: str, place: Place, warnings: list[str]) -> Samples:
    found = by_class(place.files, CLASSES, "sfew")
    images: dict[str, Labelled] = {}
    again: list[TreeFile] = []
    for name in CLASSES:
        for each in found.files:
            if each.name != name or not is_image(each.file):
                continue
            # The class is part of the id: two faces of one frame may lie in two class folders under one file name.
            if images.setdefault(f"{name}/{each.file.path.name}", Labelled(name, each.file)).file is not each.file:
                again.append(each.file)
    if others := [each.file for each in found.files if not is_image(each.file)]:
        warnings.append(passed_over(others, "not images by their names"))
    if astray := [file for file in found.rest if is_image(file)]:
        warnings.append(passed_over(astray, "in no class folder"))
    if again:
        warnings.append(passed_over(again, _AGAIN))
    return _joined(split, images, _films(split, images, warnings), warnings)


def _of_table(split: str, listed: Sequence[Labelled]) -> Samples:
    warnings: list[str] = []
    images: dict[str, Labelled] = {}
    again: list[TreeFile] = []
    for each in listed:
        name = each.file.path.name
        if images.setdefault(f"{each.name}/{name}" if each.name else name, each) is not each:
            again.append(each.file)
    if again:
        warnings.append(passed_over(again, _AGAIN))
    if any(movie(each.file.path) for each in listed):
        return _joined(split, images, _films(split, images, warnings), warnings)
    # Such copies go around with their files numbered through.
    first = listed[0].file.path.name
    warnings.append(f"no image of {split} names its film (the first is {first}): nothing can be grouped by film")
    return _joined(split, images, None, warnings)


def _withheld(place: Place, warnings: list[str]) -> Samples:
    if has_classes(place):
        warnings.append(f"{TEST}: the class folders in {place.path} are not read, its labels are withheld")
    names = Counter(file.path.name for file in place.images)
    by_id = {
        file.path.name if names[file.path.name] == 1 else file.path.relative_to(place.path).as_posix(): file
        for file in place.images
    }
    images = {identifier: Labelled(None, file) for identifier, file in by_id.items()}
    return _joined(TEST, images, _films(TEST, images, warnings), warnings)


def _films(split: str, images: Mapping[str, Labelled], warnings: list[str]) -> tuple[str, ...]:
    """The group of each image; one that does not name its film is its own, and a warning says so."""
    films = [movie(each.file.path) for each in images.values()]
    if nameless := [identifier for identifier, film in zip(images, films, strict=True) if film is None]:
        warnings.append(
            f"{len(nameless)} images of {split} do not name their film, each counts as its own: {nameless[0]}"
        )
    return tuple(film or each.file.path.stem for film, each in zip(films, images.values(), strict=True))


def _joined(
    split: str, images: Mapping[str, Labelled], groups: tuple[str, ...] | None, warnings: Sequence[str]
) -> Samples:
    import numpy as np

    names = [each.name for each in images.values() if each.name is not None]
    counted = withheld_warnings(len(images)) if split == TEST else count_warnings(names, split)
    labels = None if split == TEST else np.array([CLASSES.index(name) for name in names], dtype=np.int64)
    return Samples(
        images=[each.file for each in images.values()],
        labels=labels,
        ids=tuple(images),
        groups=groups,
        warnings=(*warnings, *counted),
    )


def movie(file: PurePath) -> str | None:
    """The film of `<Movie>_<time>_<frame>`, whose name may hold underscores itself; None for another kind of name."""
    parts = file.stem.rsplit("_", 2)
    return parts[0] if len(parts) == 3 and parts[0] else None
