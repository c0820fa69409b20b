"""Class folders: images right below a folder named after their expression, whatever case or word the copy uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ferbench.data.decoding import SUFFIXES
from ferbench.data.trees import TreeFile
from ferbench.errors import DatasetError
from ferbench.expressions import expression


@dataclass(frozen=True, slots=True)
class ClassFile:
    """A file in a class folder.

    above : the folders above the class folder
    name : the class as the dataset itself spells it
    """

    above: PurePosixPath
    name: str
    file: TreeFile


@dataclass(frozen=True, slots=True)
class Sorted:
    """A listing sorted by class folders. `rest` lies in none: text files beside them, pictures without a class."""

    files: tuple[ClassFile, ...]
    rest: tuple[TreeFile, ...]


def by_class(files: Iterable[TreeFile], classes: Sequence[str], dataset: str) -> Sorted:
    """Sort a listing by class folders; the same class folder within itself (`Angry/Angry`) counts once.

    Parameters
    ----------
    files : of one place; their paths are looked at alone
    classes : the dataset's own names, any word that `ferbench.expressions` knows for them finds them
    dataset : its name, for the error

    Raises
    ------
    DatasetError : for a folder with images that stands beside class folders and is none, and for two folders of one
        class side by side
    """
    own_name = {expression(name) or name.casefold(): name for name in classes}
    by_parent: dict[PurePosixPath, list[TreeFile]] = {}
    for file in files:
        by_parent.setdefault(file.path.parent, []).append(file)
    found: list[ClassFile] = []
    unclear: dict[PurePosixPath, list[TreeFile]] = {}
    folder_of: dict[tuple[PurePosixPath, str], PurePosixPath] = {}
    for parent, members in by_parent.items():
        name = own_name.get(_word(parent))
        if name is None:
            unclear[parent] = members
            continue
        above = parent.parent if own_name.get(_word(parent.parent)) != name else parent.parent.parent
        # `Angry/` with files of its own and a folder `Angry/Angry/` are one class folder still.
        first = folder_of.setdefault((above, name), parent)
        if first != parent and parent not in first.parents and first not in parent.parents:
            raise DatasetError(f"folder {parent} is a second one for the class {name} of {dataset}: put them together")
        found.extend(ClassFile(above, name, file) for file in members)
    rest: list[TreeFile] = []
    beside = {above for above, _ in folder_of}
    for parent, members in unclear.items():
        images = [file for file in members if is_image(file)]
        if images and parent != PurePosixPath() and parent.parent in beside:
            raise DatasetError(
                f"folder {parent} (with {images[0]}) is no class of {dataset}: its classes are {', '.join(classes)}; "
                "rename or remove it"
            )
        rest.extend(members)
    return Sorted(tuple(found), tuple(rest))


def is_image(file: TreeFile) -> bool:
    """Whether a file's name says that it is an image."""
    return file.path.suffix.casefold() in SUFFIXES


def passed_over(files: Sequence[TreeFile], reason: str) -> str:
    """The one line that says which files are no samples: how many, why, and the first few by name."""
    first = ", ".join(str(file.path) for file in files[:3])
    return f"{_counted(len(files), 'file')} passed over, {reason}: {first}{', …' if len(files) > 3 else ''}"


def count_difference(found: Iterable[str], published: Mapping[str, int], split: str) -> str | None:
    """One line if a copy's samples are not as many as published, else None.

    Parameters
    ----------
    found : the class of each sample of the copy
    published : samples of each class
    split : its name
    """
    counts = Counter(found)
    differing = [f"{name} {counts[name]} for {n}" for name, n in published.items() if counts[name] != n]
    if not differing:
        return None
    total, whole = sum(counts.values()), sum(published.values())
    return f"{split} has {_counted(total, 'image')} here and {whole} as published ({', '.join(differing)})"


def _word(folder: PurePosixPath) -> str:
    return expression(folder.name) or folder.name.casefold()


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
