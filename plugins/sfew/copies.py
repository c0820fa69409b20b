"""What lies in a copy of SFEW, and of which split it is: the nearest folder decides whose name tells one.

So `Train/Train_Aligned_Faces`, `Val_Aligned_Faces_new`, `Final_SFEW_2_Train`, `Train_SFEW_2_0` and plain `Train` are
all understood, unpacked or as zips.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ferbench.data.folders import is_image
from ferbench.data.trees import TreeFile, is_stray, is_zip, tree_files
from ferbench.errors import DatasetError
from ferbench.expressions import expression
from ferbench_plugins.sfew.published import TEST, TRAIN, VAL

_WORDS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
    "testing": TEST,
}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")

#: `<Movie>_<time>_<frame>` with as many digits as the distributed files have.
_OFFICIAL_NAME = re.compile(r".+_\d{9}_\d{8}\.png", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of one split. `files` are all below it that no nearer folder takes."""

    path: PurePosixPath
    files: tuple[TreeFile, ...]

    @property
    def aligned(self) -> bool:
        """Whether its name says that these are the aligned faces."""
        return any("aligned" in words(part) for part in self.path.parts)

    @property
    def images(self) -> tuple[TreeFile, ...]:
        """Its files that are images by their names."""
        return tuple(file for file in self.files if is_image(file))


def listing(root: Path, *, into_zips: bool) -> list[TreeFile]:
    """Files of a copy: of a zip or of a folder named after SFEW all, of another folder what bears a telling name.

    Raises
    ------
    DatasetError : as `tree_files` does
    """
    if root.is_file() or is_named(root):
        return list(tree_files(root, into_zips=into_zips))
    files: list[TreeFile] = []
    for entry in _entries(root):
        if told_split(entry.name) is None and not is_named(entry):
            continue
        if entry.is_dir() or (into_zips and is_zip(entry.name)):
            mounted = PurePosixPath(entry.name if entry.is_dir() else entry.stem)
            for file in tree_files(entry, into_zips=into_zips):
                file.path = mounted / file.path
                files.append(file)
        elif entry.is_file():
            files.append(TreeFile(PurePosixPath(entry.name), entry.stat().st_size, str(entry)))
    return files


def places(files: Iterable[TreeFile]) -> dict[str, list[Place]]:
    """For each split that is told the places that hold images, the aligned faces first, then by path."""
    found: dict[tuple[str, PurePosixPath], list[TreeFile]] = {}
    for file in files:
        for folder in file.path.parents:
            if split := told_split(folder.name):
                found.setdefault((split, folder), []).append(file)
                break
    by_split: dict[str, list[Place]] = {}
    for (split, path), members in sorted(found.items()):
        if any(map(is_image, members)):
            by_split.setdefault(split, []).append(Place(path, tuple(members)))
    return {split: sorted(each, key=lambda place: not place.aligned) for split, each in by_split.items()}


def has_classes(place: Place) -> bool:
    """Whether some of its images lie in a class folder."""
    return any(expression(file.path.parent.name) for file in place.images)


def told_split(name: str) -> str | None:
    """The split that a folder's or a value's name tells, None if it tells none or several."""
    told = {_WORDS[word] for word in words(name) if word in _WORDS}
    return told.pop() if len(told) == 1 else None


def words(name: str) -> list[str]:
    """The words of a name in lower case, parted by whatever is no letter and by capitals."""
    return [word.casefold() for word in _WORD.findall(name)]


def is_named(path: Path) -> bool:
    """Whether a folder or zip is named after SFEW as a whole."""
    return path.name.casefold().startswith("sfew")


def is_surely_sfew(place: Place) -> bool:
    """Whether a place in a folder of anything is SFEW's by its own name or by the names of its images."""
    return (
        place.aligned
        or any("sfew" in words(part) for part in place.path.parts)
        or all(_OFFICIAL_NAME.fullmatch(file.path.name) for file in place.images)
    )


def candidates(data_folder: Path) -> list[Path]:
    """Where a copy may lie: folders named after SFEW, then such zips, at last the data folder itself."""
    named = [each for each in _entries(data_folder) if is_named(each) and told_split(each.name) is None]
    folders = [each for each in named if each.is_dir()]
    zips = [each for each in named if is_zip(each.name) and each.is_file()]
    itself = [data_folder] if data_folder.is_dir() else []
    return [*itself, *folders, *zips] if is_named(data_folder) else [*folders, *zips, *itself]


def refuse_nested_zips(files: Iterable[TreeFile]) -> None:
    """Raise DatasetError for a zip inside a zip; of a listing that went into the others where no picture was found."""
    for file in files:
        if is_zip(file.path.name):
            raise DatasetError(f"{file} is a zip inside a zip: unpack the outer one")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if not is_stray(each.name))
    except OSError:
        return []
