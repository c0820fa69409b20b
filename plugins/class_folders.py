"""Data of one's own as class folders: `folder:PATH`, PATH being a folder or a zip.

    PATH/happy/x.jpg                   one split, `all`
    PATH/train/happy/x.jpg             splits `train`, `val` and `test`, as many as there are
    PATH/train/happy/subject01/x.jpg   people or films as groups

Folders are named by any word that ferbench knows for an expression and by the usual words for a split, in any case.
A folder around it all, as zips often have one, is looked through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from ferbench import Dataset, DatasetFamily, Samples, hookimpl
from ferbench.data.folders import is_image, passed_over
from ferbench.data.own_paths import own_path
from ferbench.data.split_names import SPLITS, WHOLE, occurring, roles_of, split_name
from ferbench.data.trees import TreeFile, is_zip, subfolders, tree_files
from ferbench.errors import DatasetError, UnknownName
from ferbench.expressions import BASIC8, expression

PREFIX = "folder:"
STEPS = "name a folder or a zip of class folders, such as folder:faces with faces/train/happy/1.jpg in it"


@dataclass(frozen=True, slots=True)
class _Image:
    """id : its path below the split's folder · subject : the folder between class and file, if there is one"""

    id: str
    expression: str
    subject: str | None
    file: TreeFile


@dataclass(slots=True)
class _Split:
    """What lies in one split's folder, in order of paths. `rest` are images that are no samples."""

    folder: PurePosixPath
    images: list[_Image] = field(default_factory=list)
    rest: list[TreeFile] = field(default_factory=list)
    not_images: list[TreeFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def resolve(name: str) -> Dataset:
    """The dataset of `folder:PATH`; its files are listed now, and read when a split is loaded.

    Raises
    ------
    UnknownName : there is neither folder nor zip at PATH
    DatasetError : it has no images, fewer than two classes, or a folder that is neither class nor split; a damaged zip
        or a link that leads out
    """
    text = name.removeprefix(PREFIX)
    text = text.rstrip("/") or text[:1]
    path = _path(name)
    splits = _splits(path)
    found = {image.expression for split in splits.values() for image in split.images}
    if not found:
        raise DatasetError(
            f"{path} holds no image in a class folder: name the folders {', '.join(BASIC8)}, or name another folder"
        )
    classes = occurring(found, str(path))
    return Dataset(
        name=PREFIX + text,
        version=1,
        classes=classes,
        splits=tuple(splits),
        roles=roles_of(splits),
        locate=lambda data_folder: path,
        load=partial(_load, classes, splits),
        steps=STEPS,
    )


@hookimpl
def ferbench_register_datasets() -> Iterable[DatasetFamily]:
    return [
        DatasetFamily(
            prefix=PREFIX,
            resolve=resolve,
            names=tuple,
            summary="a folder or zip of your own: class folders, or train, val and test with class folders in them",
        )
    ]


def _path(name: str) -> Path:
    path = own_path(name, PREFIX)
    if not path.exists():
        raise UnknownName("dataset", name, (), advice=f"there is no folder or zip {path}")
    if not path.is_dir() and not is_zip(path.name):
        raise UnknownName("dataset", name, (), advice=f"{path} is neither a folder nor a zip")
    return path


def _splits(root: Path) -> dict[str, _Split]:
    """What lies at `root` by split, in the order train, val, test."""
    files = tree_files(root)
    top = _top(files)
    found: dict[str, _Split] = {}
    for file in files:
        if not file.path.is_relative_to(top):
            continue
        parts = file.path.relative_to(top).parts
        split = (split_name(parts[0]) if len(parts) > 1 else None) or WHOLE
        folder = top if split == WHOLE else top / parts[0]
        into = found.setdefault(split, _Split(folder))
        if into.folder != folder:
            raise DatasetError(f"{root}: {into.folder} and {folder} are both the split {split}: put them together")
        _sort_in(file, into, root)
    splits = {split: found[split] for split in (*SPLITS, WHOLE) if split in found and found[split].images}
    first = next(iter(splits.values()), None)
    if WHOLE in splits and len(splits) > 1:
        raise DatasetError(
            f"{root}: {splits[WHOLE].images[0].file} is in no split, but there is a folder for {next(iter(splits))}: "
            "move it there"
        )
    for split, left_out in found.items():
        if split in splits or first is None:
            continue
        if split != WHOLE and left_out.rest:
            raise DatasetError(
                f"{left_out.rest[0]} and the other images of {split} are in no class folder: sort them by expression "
                f"or remove {left_out.folder}"
            )
        first.rest += left_out.rest
    if first is not None:
        first.warnings += [
            f"folder {top / folder.name} holds no image: there is no split {split_name(folder.name)}"
            for folder in subfolders(root / top)
            if split_name(folder.name) not in (*splits, None)
        ]
    for each in splits.values():
        _finish(each, root)
    return splits


def _top(files: Iterable[TreeFile]) -> PurePosixPath:
    """The folder that holds classes or splits: the one around all images is looked through."""
    images = [file.path for file in files if is_image(file)]
    top = PurePosixPath()
    while images:
        first = {path.relative_to(top).parts[0] for path in images}
        folder = top / first.pop()
        if first or folder in images or expression(folder.name) or split_name(folder.name):
            break
        top = folder
    return top


def _sort_in(file: TreeFile, split: _Split, root: Path) -> None:
    path = file.path.relative_to(split.folder)
    folders = path.parts[:-1]
    name = expression(folders[0]) if folders else None
    if not is_image(file):
        if name:
            split.not_images.append(file)
        return
    if folders and not name:
        raise DatasetError(
            f"{root}: folder {split.folder / folders[0]} (with {path.name}) is named after no expression: there are "
            f"{', '.join(BASIC8)} and other words for them; rename or remove it"
        )
    # A class folder doubled by an archiver is one.
    inner = [folder for folder in folders[1:] if expression(folder) != name]
    if not name or len(inner) > 1:
        split.rest.append(file)
    else:
        split.images.append(_Image(path.as_posix(), name, inner[0] if inner else None, file))


def _finish(split: _Split, root: Path) -> None:
    """Settle whether folders below the classes are subjects, and put what is no sample into words."""
    if not all(image.subject for image in split.images):
        split.rest += [image.file for image in split.images if image.subject]
        split.images = [image for image in split.images if not image.subject]
    if split.rest:
        split.warnings.append(passed_over(split.rest, "not right in a class folder as other images are"))
    if split.not_images:
        split.warnings.append(passed_over(split.not_images, "not images by their names"))
    filled = {image.file.path.relative_to(split.folder).parts[0] for image in split.images}
    there = {folder.name for folder in subfolders(root / split.folder)}
    there |= {file.path.relative_to(split.folder).parts[0] for file in split.not_images}
    split.warnings += [
        f"class folder {split.folder / name} holds no image" for name in sorted(there - filled) if expression(name)
    ]


def _load(classes: tuple[str, ...], splits: Mapping[str, _Split], split: str, root: Path) -> Samples:
    """One split as it was listed; `root` is where."""
    import numpy as np

    if split not in splits:
        raise DatasetError(f"{root} has no split {split!r}; there are {', '.join(splits)}")
    images = splits[split].images
    return Samples(
        images=[image.file for image in images],
        labels=np.array([classes.index(image.expression) for image in images], dtype=np.int64),
        ids=tuple(image.id for image in images),
        groups=tuple(image.subject or "" for image in images) if images[0].subject else None,
        warnings=tuple(splits[split].warnings),
    )
