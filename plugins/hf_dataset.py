"""Data of one's own in the formats of Hugging Face's `datasets`, as `hfds:PATH`; read with pyarrow, nothing is run.

PATH is a folder, relative to the working folder:

- what `save_to_disk` writes, of one dataset or of several splits
- a copy of a repository of the hub, or `datasets`' own cache of it: Parquet or Arrow files whose names or folders say
  train, validation or test, as `data/train-00000-of-00001.parquet` does

Without splits by name a column `split` tells them, else there is one split, `all`. ClassLabels and labels as words are
read; labels of test may be missing or -1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ferbench import Dataset, DatasetFamily, Samples, hookimpl
from ferbench.components import ImageFile
from ferbench.data.arrow import ArrowTable, read_tables
from ferbench.data.own_paths import own_path
from ferbench.data.split_names import SPLITS, WHOLE, occurring, roles_of, split_name
from ferbench.data.trees import TreeFile, tree_files
from ferbench.errors import DatasetError, UnknownName
from ferbench.expressions import BASIC8, expression

PREFIX = "hfds:"

_DICT = "dataset_dict.json"
_STATE = "state.json"
_CARD = "readme.md"
#: What `datasets` keeps of intermediate steps.
_INTERMEDIATE = ("cache-", "tmp")


@dataclass(slots=True)
class _Split:
    """One split's samples; `labels` are expressions, None where withheld."""

    images: list[ImageFile]
    labels: list[str | None]
    groups: list[str] | None
    ids: list[str] | None


@hookimpl
def ferbench_register_datasets() -> Iterable[DatasetFamily]:
    return [
        DatasetFamily(
            prefix=PREFIX,
            resolve=_resolve,
            names=tuple,
            summary="a folder saved by Hugging Face datasets, or of Parquet files from its hub: hfds:PATH",
        )
    ]


def _resolve(name: str) -> Dataset:
    text = name.removeprefix(PREFIX)
    text = text.rstrip("/") or text[:1]
    root = _path(name)
    found = read_splits(root)
    classes = occurring((label for split in found.values() for label in split.labels if label), str(root))
    return Dataset(
        name=PREFIX + text,
        version=1,
        classes=classes,
        splits=tuple(found),
        roles=roles_of(found),
        locate=lambda data_folder: root if root.is_dir() else None,
        load=partial(_load, found, classes),
        steps=f"put the folder back to {root}",
        licence="see where it is from",
    )


def _path(name: str) -> Path:
    root = own_path(name, PREFIX)
    if not root.is_dir():
        what = f"{root} is a file, name its folder" if root.exists() else f"there is no folder {root}"
        raise UnknownName("dataset", name, (), advice=what)
    return root


def _load(found: Mapping[str, _Split], classes: tuple[str, ...], split: str, root: Path) -> Samples:
    """One split; its pictures are read when they are asked for."""
    import numpy as np

    if split not in found:
        raise DatasetError(f"{root} has no split {split!r}; there are {', '.join(found)}")
    chosen = found[split]
    count = len(chosen.images)
    named = chosen.ids if chosen.ids is not None and len(set(chosen.ids)) == count else None
    withheld = any(label is None for label in chosen.labels)
    return Samples(
        images=chosen.images,
        labels=None if withheld else np.array([classes.index(label or "") for label in chosen.labels], dtype=np.int64),
        ids=tuple(named or (f"{split}/{number:06d}" for number in range(count))),
        groups=None if chosen.groups is None else tuple(chosen.groups),
    )


def read_splits(root: Path) -> dict[str, _Split]:
    """All splits of a folder, train first; pictures are left in their files.

    Raises
    ------
    DatasetError : there is no table; files, splits, columns or labels that cannot be told
    """
    listing = tree_files(root)
    by_split = _saved(root, listing) or _by_name(root, listing)
    card = _card(listing)
    found: dict[str, _Split] = {}
    for named, files in by_split.items():
        table = read_tables(files, card=card, unlabelled=named == "test", beside=listing)
        for row, split in enumerate(_split_of_rows(table, named)):
            part = found.get(split)
            if part is None:
                part = found[split] = _Split(
                    [], [], None if table.groups is None else [], None if table.ids is None else []
                )
            part.images.append(table.images[row])
            part.labels.append(_label(table, row))
            if part.groups is not None and table.groups is not None:
                part.groups.append(table.groups[row])
            if part.ids is not None and table.ids is not None:
                part.ids.append(table.ids[row])
    for split, part in found.items():
        missing = [label is None for label in part.labels]
        if any(missing) and (split != "test" or not all(missing)):
            raise DatasetError(
                f"{part.images[missing.index(True)]}: the label is missing: test alone may be without labels, and then "
                "all of it"
            )
    return {split: found[split] for split in (*SPLITS, WHOLE) if split in found}


def _split_of_rows(table: ArrowTable, named: str) -> list[str]:
    """The split of each row: as its file is named, else as a column says."""
    if named != WHOLE or table.splits is None:
        return [named] * len(table.images)
    splits = []
    for row, word in enumerate(table.splits):
        split = split_name(word)
        if split is None:
            raise DatasetError(
                f"{table.images[row]}: split {word[:60]!r} is unknown: there are train, val (or valid, validation, "
                "dev) and test"
            )
        splits.append(split)
    return splits


def _label(table: ArrowTable, row: int) -> str | None:
    word = None if table.class_names is None else table.class_names[row]
    if word is None:
        return None
    label = expression(word)
    if label is None:
        strangers = sorted({each for each in table.class_names or () if each and expression(each) is None})
        raise DatasetError(
            f"{table.images[row]}: class {word[:60]!r} is no expression: there are {', '.join(BASIC8)}; rename or "
            f"leave out {', '.join(each[:60] for each in strangers[:10])} and save the dataset again"
        )
    return label


def _saved(root: Path, listing: Sequence[TreeFile]) -> dict[str, list[TreeFile]]:
    """Files by split of what `save_to_disk` wrote; empty if it did not write this."""
    at = {file.path: file for file in listing}
    if states := at.get(PurePosixPath(_DICT)):
        names = _json(states).get("splits")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise DatasetError(f"{states} names no splits: save the dataset again")
        by_split: dict[str, list[TreeFile]] = {}
        for name in names:
            split = split_name(name)
            if split is None or split in by_split:
                known = "train, validation (or val, valid, dev) and test, each once"
                raise DatasetError(f"{states}: split {name!r} is unknown or there already: there may be {known}")
            by_split[split] = _data_files(root, PurePosixPath(name), at)
        return by_split
    if state := at.get(PurePosixPath(_STATE)):
        named = _json(state).get("_split")
        return {
            (split_name(named) if isinstance(named, str) else None) or WHOLE: _data_files(root, PurePosixPath(), at)
        }
    return {}


def _data_files(root: Path, folder: PurePosixPath, at: Mapping[PurePosixPath, TreeFile]) -> list[TreeFile]:
    """The tables that a saved dataset names, in its order."""
    state = at.get(folder / _STATE)
    if state is None:
        raise DatasetError(f"{root / folder / _STATE} does not exist: the copy of the data is incomplete")
    content = _json(state)
    if content.get("_indices_data_files"):
        raise DatasetError(
            f"{state} keeps a choice of rows apart, as old versions did: save it again with datasets 2.0"
        )
    listed = content.get("_data_files")
    names = [each.get("filename") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    if not names or None in names:
        raise DatasetError(f"{state} names no data files: save the dataset again")
    paths = [folder / str(name) for name in names]
    if absent := [path for path in paths if path not in at]:
        raise DatasetError(f"{root / absent[0]} does not exist: the copy of the data is incomplete")
    return [at[path] for path in paths]


def _json(file: TreeFile) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise DatasetError(f"{file} is no JSON of a saved dataset: get it again")
    return content


def _by_name(root: Path, listing: Sequence[TreeFile]) -> dict[str, list[TreeFile]]:
    """Files by split where names or folders tell it."""
    tables = [
        file
        for file in listing
        if file.path.suffix.casefold() in (".parquet", ".arrow") and not file.path.name.startswith(_INTERMEDIATE)
    ]
    if not tables:
        raise DatasetError(
            f"{root} holds no saved dataset ({_DICT}, {_STATE}) and no .parquet or .arrow file: name the folder "
            "that does"
        )
    by_split: dict[str, list[TreeFile]] = {}
    for file in tables:
        by_split.setdefault(_split_word(file.path) or WHOLE, []).append(file)
    if WHOLE in by_split and len(by_split) > 1:
        raise DatasetError(
            f"{by_split[WHOLE][0]}: neither its name nor its folder says train, validation or test, as those of "
            "others do: rename or remove it"
        )
    for split, files in by_split.items():
        folders = sorted({str(file.path.parent) for file in files})
        if len(folders) > 1:
            raise DatasetError(
                f"{root} holds {split} in several folders, which may be one dataset in several versions: "
                f"{', '.join(folders[:5])}; name one of them, or a folder with one of them"
            )
    return by_split


def _split_word(path: PurePosixPath) -> str | None:
    """The split that a file's name tells, else the nearest folder's; None where none does or a name tells two."""
    for name in (path.stem, *reversed(path.parent.parts)):
        told = {split for word in re.split(r"[^a-zA-Z]+", name) if (split := split_name(word))}
        if told:
            return told.pop() if len(told) == 1 else None
    return None


def _card(listing: Sequence[TreeFile]) -> str | None:
    """The text of the repository's README.md."""
    cards = [file for file in listing if file.path.name.casefold() == _CARD and len(file.path.parts) == 1]
    return cards[0].read_bytes().decode("utf-8", "replace") if cards else None
