"""Kaggle's folders: which split an image is of, by its name or else by the folder it lies in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from ferbench import Samples
from ferbench.data.folders import by_class, is_image, passed_over
from ferbench.data.trees import TreeFile
from ferbench.errors import SplitMissing
from ferbench_plugins.fer2013.published import (
    CLASSES,
    SPLITS,
    TOGETHER,
    count_warning,
    missing_split,
    split_of_test,
)

_OFFICIAL_NAME = re.compile(r"((Training|PublicTest|PrivateTest)_\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)
_OFFICIAL_PREFIX = re.compile(r"(Training|PublicTest|PrivateTest)_", re.IGNORECASE)
_BY_FOLDED = {name.casefold(): name for name in SPLITS}
#: What a folder's name says; of `test` only the number of images in it can say which split it is.
_FOLDERS = {
    "train": "Training",
    "training": "Training",
    "valid": "PublicTest",
    "val": "PublicTest",
    "validation": "PublicTest",
    "publictest": "PublicTest",
    "test": TOGETHER,
    "privatetest": "PrivateTest",
}


class _Face(NamedTuple):
    """An image of a copy: the folder that stands for its split, its class, its file."""

    folder: str
    name: str
    file: TreeFile


@dataclass(frozen=True, slots=True)
class FaceTree:
    """One copy, sorted. `others` are no images by their names, `unclassed` lie in no class folder or beside the copy.

    base : what holds the folders that stand for splits
    named : the files bear the official names, which say their split wherever they lie
    """

    base: PurePosixPath
    faces: tuple[_Face, ...]
    others: tuple[TreeFile, ...]
    unclassed: tuple[TreeFile, ...]
    named: bool


def stands_for_split(folder: str) -> bool:
    """Whether a folder's name is that of a split."""
    return folder.casefold() in _FOLDERS


def official_name(name: str) -> tuple[str, str] | None:
    """A file's name without its suffix, and the split that it says, if it is named as FER2013's images are."""
    official = _OFFICIAL_NAME.fullmatch(name)
    return (official[1], _BY_FOLDED[official[2].casefold()]) if official else None


def face_tree(files: Iterable[TreeFile]) -> FaceTree | None:
    """The copy that a listing holds, None if there is none.

    Of several the one that lies highest is taken. Where no folder stands for a split, official names are needed.

    Raises
    ------
    DatasetError : for a folder beside class folders that is no class, and for two folders of one class
    """
    found = by_class(files, CLASSES, "fer2013")
    split_folders = {above: _split_folder(above) for above in {each.above for each in found.files}}
    bases = {folder.parent for folder in split_folders.values() if folder is not None}
    base = min(bases, key=lambda path: (len(path.parts), path), default=None)
    # Of a copy without such folders all class folders belong to it.
    own = {
        above: "" if folder is None else folder.name
        for above, folder in split_folders.items()
        if base is None or (folder is not None and folder.parent == base)
    }
    faces: list[_Face] = []
    others: list[TreeFile] = []
    beside: list[TreeFile] = []
    for each in found.files:
        if each.above not in own:
            beside.append(each.file)
        elif not is_image(each.file):
            others.append(each.file)
        else:
            faces.append(_Face(own[each.above], each.name, each.file))
    named = any(official_name(face.file.path.name) for face in faces)
    if not faces or (base is None and not named):
        return None
    beside += [file for file in found.rest if is_image(file)]
    return FaceTree(base or PurePosixPath(), tuple(faces), tuple(others), tuple(beside), named)


def tree_samples(split: str, tree: FaceTree, place: str) -> Samples:
    """One split of a copy; `place` names it in messages. Raises DatasetError where the split is missing."""
    import numpy as np

    samples, warnings = _samples(split, tree)
    if not samples:
        passed = f" ({'; '.join(warnings)})" if tree.named and warnings else ""
        raise SplitMissing(f"{missing_split(split, place, numbers(tree)).line}{passed}")
    if tree.others:
        warnings.append(passed_over(tree.others, "not images by their names"))
    if tree.unclassed:
        warnings.append(passed_over(tree.unclassed, "they lie in no class folder of this copy"))
    ids = sorted(samples)
    return Samples(
        images=[samples[each].file for each in ids],
        labels=np.array([CLASSES.index(samples[each].name) for each in ids], dtype=np.int64),
        ids=tuple(ids),
        warnings=(*warnings, *count_warning((face.name for face in samples.values()), split)),
    )


def _split_folder(above: PurePosixPath) -> PurePosixPath | None:
    """The outermost folder above a class folder that stands for a split: of `train.zip` the entries may too."""
    return next((each for each in reversed((above, *above.parents)) if stands_for_split(each.name)), None)


def _samples(split: str, tree: FaceTree) -> tuple[dict[str, _Face], list[str]]:
    return _by_name(split, tree.faces) if tree.named else _by_folder(split, tree.faces, tree.base)


def numbers(tree: FaceTree) -> dict[str, int]:
    """How many samples each split has."""
    return {name: len(_samples(name, tree)[0]) for name in (*SPLITS, TOGETHER)}


def _by_name(split: str, faces: Sequence[_Face]) -> tuple[dict[str, _Face], list[str]]:
    """Samples by id where the files bear the official names: these say the split, wherever the file lies."""
    samples: dict[str, _Face] = {}
    odd: list[TreeFile] = []
    again: list[TreeFile] = []
    for face in faces:
        file_name = face.file.path.name
        prefix = _OFFICIAL_PREFIX.match(file_name)
        if prefix and _BY_FOLDED[prefix[1].casefold()] != split:
            continue
        official = official_name(file_name)
        if official is None:
            odd.append(face.file)
            continue
        # Two different images of two classes may bear one number: Training_8475486 is angry and surprise.
        if samples.setdefault(f"{face.name}/{official[0]}", face) is not face:
            again.append(face.file)
    warnings = []
    if odd:
        warnings.append(passed_over(odd, "their names are not the official ones (augmented copies?)"))
    if again:
        warnings.append(passed_over(again, "second copies of images that are there under the same name"))
    return samples, warnings


def _by_folder(split: str, faces: Sequence[_Face], base: PurePosixPath) -> tuple[dict[str, _Face], list[str]]:
    """Samples by id where no file says its split: the folder decides, and the warning says so."""
    splits = _splits_by_folder(faces)
    samples = {str(face.file.path.relative_to(base)): face for face in faces if splits[face.folder] == split}
    folders = " and ".join(sorted({face.folder for face in samples.values()}))
    warning = f"{split} is what lies in {folders}: the file names do not say which official split they are of"
    if split == TOGETHER:
        warning += "; a test folder usually is PublicTest and PrivateTest together"
    return samples, [f"{warning} (n = {len(samples)})"]


def _splits_by_folder(faces: Sequence[_Face]) -> Mapping[str, str]:
    splits = {face.folder: _FOLDERS[face.folder.casefold()] for face in faces}
    unclear = [folder for folder, split in splits.items() if split == TOGETHER]
    counts = Counter(face.name for face in faces if face.folder in unclear)
    meant = split_of_test(counts, has_validation="PublicTest" in splits.values())
    return {**splits, **dict.fromkeys(unclear, meant)}
