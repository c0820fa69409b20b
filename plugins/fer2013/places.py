"""Where people put their copies: found by names, without listing the images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ferbench.data.trees import TreeFile, is_stray, is_zip, subfolders, tree_files
from ferbench.errors import DatasetError
from ferbench.expressions import expression
from ferbench_plugins.fer2013.kaggle_folders import face_tree, official_name, stands_for_split
from ferbench_plugins.fer2013.layouts import (
    TRAIN_CSV,
    WHOLE_CSVS,
    class_folders,
    copy_folders,
    is_training_csv,
    single,
)
from ferbench_plugins.fer2013.parquet_files import is_parquet
from ferbench_plugins.fer2013.tar_file import is_tar

#: How deep a copy may lie below a folder that is named after FER2013, and the most folders that are looked at there.
_DEEPEST = 3
_MOST_FOLDERS = 200
_LOOKED_AT = 20


def locate(data_folder: Path) -> Path | None:
    """The folder or file of a copy: in the data folder, or in a folder named after FER2013 there or a level deeper.

    What is unpacked goes before what is not. What bears another name is taken only if it shows that it is FER2013: by
    the name or header of a CSV, or by the official names of the images.
    """
    children = subfolders(data_folder)
    named = [each for each in (data_folder, *children) if _is_named(each.name)]
    named += [each / name for each in children for name in ("fer2013", "FER2013") if (each / name).is_dir()]
    folders = list(_below(named))
    for each in folders:
        if _csv_in(each) or any(stands_for_split(e.name) for e in copy_folders(each)) or _bears_official_names(each):
            return each
    # A tree of train and test could be anybody's, unless its files bear FER2013's names.
    loose = _csv_in(data_folder) or (data_folder if _bears_official_names(data_folder) else None)
    if loose is not None:
        return loose
    for each in folders:
        if any(is_parquet(file.name) for file in _files(each)):
            return max((above for above in named if each.is_relative_to(above)), key=lambda path: len(path.parts))
    for each in folders:
        if any(is_tar(file.name) or _holds_copy(file, claimed=True) for file in _files(each)):
            return each
    files = _files(data_folder)
    claimed = (file for file in files if _is_named(file.name) and _is_packed(file.name))
    return next(claimed, None) or next((file for file in files if _holds_copy(file, claimed=False)), None)


def _is_named(name: str) -> bool:
    return re.sub(r"[^a-z0-9]", "", name.casefold()).startswith("fer2013")


def _is_packed(name: str) -> bool:
    return is_zip(name) or is_tar(name) or is_parquet(name)


def _below(named: Sequence[Path]) -> Iterator[Path]:
    """Folders and those below them, level by level, but for those that hold images by their names."""
    level = list(named)
    left = _MOST_FOLDERS
    for _ in range(_DEEPEST + 1):
        level = level[:left]
        left -= len(level)
        yield from level
        level = [deeper for folder in level for deeper in sorted(set(subfolders(folder)) - set(copy_folders(folder)))]


def _files(folder: Path) -> list[Path]:
    """The files right below a folder, sorted; none if it must not be read."""
    try:
        return sorted(each for each in folder.iterdir() if not is_stray(each.name) and each.is_file())
    except OSError:
        return []


def _csv_in(folder: Path) -> Path | None:
    return next((folder / name for name in WHOLE_CSVS if (folder / name).is_file()), None)


def _bears_official_names(root: Path) -> bool:
    """Whether one of the first files of each class folder is named as FER2013's are."""
    return bool(splits_shown(root))


def splits_shown(root: Path) -> set[str]:
    """The splits that the first files of each class folder name."""
    of_classes = [
        below
        for folder in copy_folders(root)
        for below in (class_folders(folder) if stands_for_split(folder.name) else [folder])
    ]
    official = (official_name(name) for each in of_classes for name in _first_names(each))
    return {each[1] for each in official if each is not None}


def _first_names(folder: Path) -> list[str]:
    try:
        return [each.name for each in islice(folder.iterdir(), _LOOKED_AT)]
    except OSError:
        return []


def _holds_copy(file: Path, *, claimed: bool) -> bool:
    """Whether a zip or a `train.csv` is FER2013's. What cannot be read is if its folder claims it."""
    try:
        if not is_zip(file.name):
            return file.name == TRAIN_CSV and is_training_csv(single(file))
        return _shows_copy(tree_files(file), claimed)
    except (DatasetError, OSError):
        return claimed


def _shows_copy(entries: Sequence[TreeFile], claimed: bool) -> bool:
    names = [each.path.name for each in entries]
    if any(name.casefold() in WHOLE_CSVS or is_tar(name) or (claimed and is_parquet(name)) for name in names):
        return True
    if any(official_name(each.path.name) and expression(each.path.parent.name) for each in entries):
        return True
    return (claimed and face_tree(entries) is not None) or any(map(is_training_csv, entries))
