"""Class folders: images below a folder named after their expression, whatever case or word the copy uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ferbench.data.decoding import SUFFIXES
from ferbench.errors import DatasetError
from ferbench.expressions import expression

#: What systems and archivers leave behind, beside names that start with a dot.
_STRAY = frozenset(("__macosx", "thumbs.db", "desktop.ini"))


def subfolders(folder: Path) -> list[Path]:
    """The folders right below one, sorted by name, without what systems leave behind; empty if it is no folder."""
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir() and not is_stray(each.name))
    except OSError:
        return []


def class_folders(folder: Path, classes: Sequence[str], dataset: str) -> dict[str, list[Path]]:
    """The files of each class folder right below `folder`.

    Parameters
    ----------
    folder : holds one folder a class, named by any word that `ferbench.expressions` knows for it
    classes : the dataset's own names
    dataset : its name, for the error

    Returns
    -------
    for each class that has a folder its files, sorted by name, images and others alike (see `is_image`)

    Raises
    ------
    DatasetError : for a folder that is none of the classes, and for two folders of one class
    """
    by_expression = {expression(name) or name.casefold(): name for name in classes}
    found: dict[str, list[Path]] = {}
    for each in subfolders(folder):
        own = by_expression.get(expression(each.name) or each.name.casefold())
        if own is None:
            raise DatasetError(f"folder {each} is no class of {dataset}: its classes are {', '.join(classes)}")
        if own in found:
            raise DatasetError(f"folder {each} is a second one for the class {own} of {dataset}: put them together")
        found[own] = sorted(file for file in each.iterdir() if not is_stray(file.name) and not file.is_dir())
    return found


def is_image(file: Path) -> bool:
    """Whether a file's name says that it is an image."""
    return file.suffix.casefold() in SUFFIXES


def is_stray(name: str) -> bool:
    """Whether a name is something that a system or an archiver left behind."""
    return name.startswith(".") or name.casefold() in _STRAY


def passed_over(files: Sequence[Path], root: Path, reason: str) -> str:
    """The one line that says which files are no samples: how many, why, and the first few by name."""
    first = ", ".join(file.relative_to(root).as_posix() for file in files[:3])
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


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
