"""Which layout a copy has: the first that is there, what is unpacked before what is not.

`fer2013.csv` and `icml_face_data.csv`, folders, Parquet files, each unpacked or in a zip; then the download of 2013, a
`fer2013.tar.gz` with the CSV in it; last `train.csv`, which holds Training alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ferbench import Samples
from ferbench.data.trees import TreeFile, is_zip, subfolders, tree_files
from ferbench.errors import DatasetError
from ferbench.expressions import expression
from ferbench_plugins.fer2013.csv_file import CsvFile, csv_samples, has_usage, header_of
from ferbench_plugins.fer2013.kaggle_folders import face_tree, numbers, stands_for_split, tree_samples
from ferbench_plugins.fer2013.parquet_files import is_parquet, parquet_numbers, parquet_samples
from ferbench_plugins.fer2013.published import SPLITS
from ferbench_plugins.fer2013.tar_file import is_tar, unpacked_csv

#: Files that hold all splits, in the order of preference.
WHOLE_CSVS = ("fer2013.csv", "icml_face_data.csv")
TRAIN_CSV = "train.csv"


class _Layout(NamedTuple):
    """How one split is read, and how many samples each has; those of a CSV are not counted."""

    read: Callable[[str], Samples]
    numbers: Callable[[], dict[str, int]]


def read_split(split: str, root: Path) -> Samples:
    """One split from the first layout that `root`, a folder or a file, has.

    Raises
    ------
    DatasetError : what the layout's reader says, or that there is none
    """
    return _layout(root).read(split)


def splits_there(root: Path) -> tuple[str, ...]:
    """The splits that a copy has; of a CSV with Usage all are taken to be there. Raises as `read_split` does."""
    return tuple(name for name, count in _layout(root).numbers().items() if count)


def _layout(root: Path) -> _Layout:
    for layout in _layouts(root):
        return layout
    raise DatasetError(
        f"{root} holds no FER2013: neither {' nor '.join(WHOLE_CSVS)}, nor folders train and test with one folder a "
        "class, nor Parquet files, unpacked or in a zip"
    )


def copy_folders(root: Path) -> list[Path]:
    """The folders right below `root` that stand for a split and hold class folders, else its class folders."""
    folders = subfolders(root)
    for_splits = [each for each in folders if stands_for_split(each.name) and class_folders(each)]
    return for_splits or [each for each in folders if expression(each.name) is not None]


def class_folders(folder: Path) -> list[Path]:
    """The class folders right below a folder, or else one level deeper, as in `train/images/angry`."""
    below = subfolders(folder)
    right_below = [each for each in below if expression(each.name) is not None]
    return right_below or [
        deeper for each in below for deeper in subfolders(each) if expression(deeper.name) is not None
    ]


def single(path: Path) -> TreeFile:
    """A file that is itself the place of a copy; it may be a link to another disk."""
    return TreeFile(PurePosixPath(path.name), path.stat().st_size, str(path))


def is_training_csv(file: TreeFile) -> bool:
    """Whether a file is the challenge's `train.csv`, which many datasets have one of: its header must say so."""
    if file.path.name.casefold() != TRAIN_CSV:
        return False
    header = header_of(_csv_file(file))
    return header is not None and "emotion" in header and not has_usage(header)


def _layouts(root: Path) -> Iterator[_Layout]:
    """What can be read, best first; each is looked for only when those before are not there."""
    packed = root.is_file() and is_zip(root.name)
    unpacked: tuple[TreeFile, ...] = ()
    if not packed:
        if root.is_dir():
            yield from _right_below(root)
        unpacked = tree_files(root) if root.is_dir() else (single(root),)
        yield from _whole(unpacked, root)
    zipped = tree_files(root) if packed else _in_zips(root, unpacked)
    yield from _whole(zipped, root)
    for file in (*unpacked, *zipped):
        if is_tar(file.path.name):
            yield _of_csv(CsvFile(str(file), partial(unpacked_csv, file, WHOLE_CSVS)))
    for file in (*unpacked, *zipped):
        if is_training_csv(file):
            yield _of_csv(_csv_file(file), (SPLITS[0],))


def _right_below(root: Path) -> Iterator[_Layout]:
    """Layouts that show without a walk through everything below: a data folder may hold much else."""
    for name in WHOLE_CSVS:
        if (root / name).is_file():
            yield _of_csv(_csv_file(single(root / name)))
    if folders := copy_folders(root):
        tree = face_tree(tree_files(root, only=[each.name for each in folders]))
        if tree is not None:
            yield _Layout(partial(tree_samples, tree=tree, place=str(root)), partial(numbers, tree))


def _whole(files: Sequence[TreeFile], root: Path) -> Iterator[_Layout]:
    for name in WHOLE_CSVS:
        named = [file for file in files if file.path.name.casefold() == name]
        if named:
            yield _of_csv(_csv_file(min(named, key=lambda file: (len(file.path.parts), file.path))))
    tree = face_tree(files)
    if tree is not None:
        yield _Layout(partial(tree_samples, tree=tree, place=str(root)), partial(numbers, tree))
    if any(is_parquet(file.path.name) for file in files):
        yield _Layout(
            partial(parquet_samples, files=files, place=str(root)), partial(parquet_numbers, files, str(root))
        )


def _in_zips(root: Path, unpacked: Sequence[TreeFile]) -> tuple[TreeFile, ...]:
    if not any(is_zip(file.path.name) for file in unpacked):
        return ()
    plain = {str(file) for file in unpacked}
    return tuple(file for file in tree_files(root, into_zips=True) if str(file) not in plain)


def _csv_file(file: TreeFile) -> CsvFile:
    return CsvFile(str(file), file.open)


def _of_csv(file: CsvFile, splits: Sequence[str] = SPLITS) -> _Layout:
    return _Layout(partial(csv_samples, file=file), lambda: dict.fromkeys(splits, 1))
