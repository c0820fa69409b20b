"""Kaggle's folders: which split an image is of, by its name or else by the folder it lies in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ferbench import Samples
from ferbench.data.folders import class_folders, is_image, passed_over, subfolders
from ferbench.expressions import expression
from ferbench_plugins.fer2013.published import CLASSES, SPLITS, count_warning, missing_split

_OFFICIAL_NAME = re.compile(r"((Training|PublicTest|PrivateTest)_\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)
_OFFICIAL_PREFIX = re.compile(r"(Training|PublicTest|PrivateTest)_", re.IGNORECASE)
_FOLDERS = {
    "train": "Training",
    "training": "Training",
    "valid": "PublicTest",
    "val": "PublicTest",
    "validation": "PublicTest",
    "publictest": "PublicTest",
    "test": "PrivateTest",
    "privatetest": "PrivateTest",
}
_BY_FOLDED = {name.casefold(): name for name in SPLITS}


class _File(NamedTuple):
    """An image of a tree: the split that its folder stands for, its class, and its path."""

    folder_split: str
    name: str
    path: Path


def folder_samples(split: str, root: Path) -> Samples:
    """One split of a tree. Raises DatasetError for class folders of no class, and where the split is missing."""
    import numpy as np

    files: list[_File] = []
    others: list[Path] = []
    for folder in split_folders(root):
        for name, paths in class_folders(folder, CLASSES, "fer2013").items():
            files += [_File(_FOLDERS[folder.name.casefold()], name, path) for path in paths if is_image(path)]
            others += [path for path in paths if not is_image(path)]
    named = any(_OFFICIAL_NAME.fullmatch(file.path.name) for file in files)
    samples, warnings = _by_name(split, files, root) if named else _by_folder(split, files, root)
    if not samples:
        raise missing_split(
            split, root, {name: len((_by_name if named else _by_folder)(name, files, root)[0]) for name in SPLITS}
        )
    if others:
        warnings.append(passed_over(others, root, "not images by their names"))
    ids = sorted(samples)
    return Samples(
        images=[samples[each].path for each in ids],
        labels=np.array([CLASSES.index(samples[each].name) for each in ids], dtype=np.int64),
        ids=tuple(ids),
        warnings=(*warnings, *count_warning((file.name for file in samples.values()), split)),
    )


def _by_name(split: str, files: Sequence[_File], root: Path) -> tuple[dict[str, _File], list[str]]:
    """Samples by id where the files bear the official names: these say the split, wherever the file lies."""
    samples: dict[str, _File] = {}
    odd: list[Path] = []
    again: list[Path] = []
    for file in files:
        prefix = _OFFICIAL_PREFIX.match(file.path.name)
        if prefix and _BY_FOLDED[prefix[1].casefold()] != split:
            continue
        official = _OFFICIAL_NAME.fullmatch(file.path.name)
        if not official:
            odd.append(file.path)
            continue
        # Two different images of two classes may bear one number: Training_8475486 is angry and surprise.
        if samples.setdefault(f"{file.name}/{official[1]}", file) is not file:
            again.append(file.path)
    warnings = []
    if odd:
        warnings.append(passed_over(odd, root, "their names are not the official ones (augmented copies?)"))
    if again:
        warnings.append(passed_over(again, root, "second copies of images that are there under the same name"))
    return samples, warnings


def _by_folder(split: str, files: Sequence[_File], root: Path) -> tuple[dict[str, _File], list[str]]:
    """Samples by id where no file says its split: the folder decides, and the warning says so."""
    samples = {file.path.relative_to(root).as_posix(): file for file in files if file.folder_split == split}
    folders = " and ".join(sorted({each.partition("/")[0] for each in samples}))
    warning = f"{split} is what lies in {folders}: the file names do not say which official split they are of"
    if split == "PrivateTest" and not any(file.folder_split == "PublicTest" for file in files):
        warning += "; without a validation folder a test folder usually is PublicTest and PrivateTest together"
    return samples, [f"{warning} (n = {len(samples)})"]


def split_folders(root: Path) -> list[Path]:
    """The folders of `root` that stand for a split and hold a class folder."""
    return [
        each
        for each in subfolders(root)
        if each.name.casefold() in _FOLDERS and any(expression(below.name) for below in subfolders(each))
    ]


def bears_official_names(root: Path) -> bool:
    """Whether one of the first files of each class folder is named as FER2013's are."""
    return any(
        _OFFICIAL_NAME.fullmatch(file.name)
        for folder in split_folders(root)
        for class_folder in subfolders(folder)
        for file in islice(class_folder.iterdir(), 20)
    )
