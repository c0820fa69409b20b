"""Tables of faces in Parquet files and Arrow's stream and file formats, with whatever columns they come.

The columns are told by the features that Hugging Face's `datasets` writes into a table's metadata, else by name and
type. Pictures stay in their files until they are asked for, a row group at a time: what is kept is two of those.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import PurePosixPath
from typing import Any

from ferbench.components import ImageFile
from ferbench.data.arrow_columns import Columns, card_names
from ferbench.data.arrow_files import Array, Source, one_line_errors, opened
from ferbench.data.trees import TreeFile
from ferbench.errors import DatasetError

#: Sides of a picture that is given as numbers alone.
SIDE = 48
PIXELS = SIDE * SIDE

_GROUPS_KEPT = 2


@dataclass(frozen=True, slots=True)
class ArrowTable:
    """The rows of one or more files, in order. A column that is not in each of them is None.

    images : one a row, read when asked for; reading them in order is fast
    class_names : as the files spell them; None for a row whose label is missing or -1
    splits : as the files spell them
    groups : subject or film
    ids : from a column of ids or paths, or the names that pictures bear inside; not checked to be unique
    """

    images: Sequence[ImageFile]
    class_names: tuple[str | None, ...] | None
    splits: tuple[str, ...] | None
    groups: tuple[str, ...] | None
    ids: tuple[str, ...] | None


def read_tables(
    files: Sequence[TreeFile],
    names: Sequence[str] | None = None,
    card: str | None = None,
    *,
    unlabelled: bool = False,
    beside: Sequence[TreeFile] = (),
) -> ArrowTable:
    """The rows of Parquet files or Arrow tables, one after the other; the bytes say which format a file has.

    Parameters
    ----------
    files : at least one
    names : what labels that are bare numbers mean, by number; such labels are refused without
    card : text of the README.md beside the files, whose head may name the classes
    unlabelled : take files without a column of labels too
    beside : the listing that the files are from, for tables that hold paths of pictures instead of pictures

    Raises
    ------
    DatasetError : pyarrow is not installed; a file is damaged or unpacks beyond reason; columns that cannot be told;
        a label without a name
    """
    if not files:
        raise DatasetError("there is no Parquet or Arrow file to read")
    on_card = card_names(card) if card is not None else {}
    lying = {file.path: file for file in beside}
    kept = _KeptGroups()
    parts = []
    for file in files:
        with one_line_errors(file):
            parts.append(_read(file, kept, names, on_card, unlabelled, lying))
    images = [image for part in parts for image in part.images]
    return ArrowTable(
        images,
        _joined([part.class_names for part in parts]),
        _joined([part.splits for part in parts]),
        _joined([part.groups for part in parts]),
        _joined([part.ids for part in parts]),
    )


def _joined(columns: Sequence[tuple[Any, ...] | None]) -> tuple[Any, ...] | None:
    there = [column for column in columns if column is not None]
    return tuple(value for column in there for value in column) if len(there) == len(columns) else None


def _read(
    file: TreeFile,
    kept: _KeptGroups,
    names: Sequence[str] | None,
    on_card: Mapping[str, tuple[str, ...]],
    unlabelled: bool,
    beside: Mapping[PurePosixPath, TreeFile],
) -> ArrowTable:
    source = opened(file)
    columns = Columns(source, unlabelled)
    read = _PictureReader(source, kept, columns.image, columns.kind, beside)
    images = [_Picture(read, group, row) for group, rows in enumerate(source.rows) for row in range(rows)]
    found: dict[str, list[Any] | None] = {}
    for job, column in (("label", columns.label), ("split", columns.split), ("group", columns.group)):
        found[job] = None if column is None else source.values(column)
    ids = source.values(columns.id) if columns.id is not None else None
    if ids is None and columns.kind == "struct" and columns.has_paths:
        ids = source.values(columns.image, "path")
    labels = found["label"]
    if labels is not None:
        own = columns.names or on_card.get(columns.label or "")
        labels = _named(labels, file, columns, own, names)
    return ArrowTable(
        images,
        None if labels is None else tuple(labels),
        _texts(found["split"], columns.split, file),
        _texts(found["group"], columns.group, file),
        # A few missing ones leave rows that nothing can name, then none is taken.
        None if ids is None or any(each is None for each in ids) else tuple(map(str, ids)),
    )


def _texts(values: list[Any] | None, column: str | None, file: TreeFile) -> tuple[str, ...] | None:
    if values is None:
        return None
    if None in values:
        raise DatasetError(f"{file}, row {values.index(None) + 1}: column {column!r} is empty: fill or drop it")
    return tuple(str(value).strip() for value in values)


def _named(
    labels: list[Any], file: TreeFile, columns: Columns, own: Sequence[str] | None, given: Sequence[str] | None
) -> list[str | None]:
    """Names for labels: as they stand, by the file's own names, or by the given ones where those are numbers again."""
    named: list[str | None] = []
    for row, label in enumerate(labels, start=1):
        value: object = int(label) if isinstance(label, float) and label.is_integer() else label
        if isinstance(value, int) and value >= 0 and own:
            if value >= len(own):
                raise _beyond(file, row, value, own)
            value = own[value]
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}", value.strip()) and given:
            value = int(value)
        if isinstance(value, int) and value >= 0:
            if not given:
                raise DatasetError(
                    f"{file}, row {row}: label {value} of column {columns.label!r} has no name: neither the file nor a "
                    "README.md beside it lists class names; save it with names, or with labels as words"
                )
            if value >= len(given):
                raise _beyond(file, row, value, given)
            value = given[value]
        # -1 is what the hub's copies write where the truth is withheld.
        if value is None or value == -1 or (isinstance(value, float) and isnan(value)):
            named.append(None)
        elif isinstance(value, str):
            named.append(value.strip() or None)
        else:
            raise DatasetError(f"{file}, row {row}: label {label!r} is neither a word nor the number of one")
    return named


def _beyond(file: TreeFile, row: int, label: int, names: Sequence[str]) -> DatasetError:
    return DatasetError(
        f"{file}, row {row}: label {label} is none of 0 to {len(names) - 1} ({', '.join(names)}): correct it"
    )


class _Picture:
    """One row's picture, still in its file. `group` and `row` count from 0, the row within its group."""

    __slots__ = ("_group", "_read", "_row")

    def __init__(self, read: _PictureReader, group: int, row: int) -> None:
        self._read = read
        self._group = group
        self._row = row

    def __str__(self) -> str:
        return self._read.name(self._group, self._row)

    def read_bytes(self) -> bytes:
        return self._read.content(self._group, self._row)


class _KeptGroups:
    """The columns of pictures of the row groups that were read last, of whichever file of a table."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Source, int], Array] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, source: Source, group: int, column: str) -> Array:
        with self._lock:
            if (source, group) not in self._kept:
                self._kept[source, group] = source.group(group, column)
                if len(self._kept) > _GROUPS_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end((source, group))
            return self._kept[source, group]


class _PictureReader:
    """Pictures of one file by row."""

    def __init__(
        self, source: Source, kept: _KeptGroups, column: str, kind: str, beside: Mapping[PurePosixPath, TreeFile]
    ) -> None:
        self._source = source
        self._kept = kept
        self._column = column
        self._kind = kind
        self._beside = beside

    def name(self, group: int, row: int) -> str:
        return f"{self._source.file}, row {sum(self._source.rows[:group]) + row + 1}"

    def content(self, group: int, row: int) -> bytes:
        with one_line_errors(self._source.file):
            value = self._kept.get(self._source, group, self._column)[row].as_py()
        if self._kind == "pixels":
            return self._numbers(value, group, row)
        if isinstance(value, dict):
            data, path = value.get("bytes"), value.get("path")
            if data is None and path is not None:
                return self._file(str(path), group, row).read_bytes()
            value = data
        if not value:
            raise DatasetError(f"{self.name(group, row)}: there is no picture in column {self._column!r}: drop the row")
        return bytes(value)

    def _file(self, path: str, group: int, row: int) -> TreeFile:
        place = self._source.file.path.parent / path.replace("\\", "/")
        if file := self._beside.get(place):
            return file
        raise DatasetError(
            f"{self.name(group, row)}: the picture is not in the table, and its path {path!r} is no file beside it: "
            "save the dataset with its pictures inside"
        )

    def _numbers(self, value: object, group: int, row: int) -> bytes:
        """A grey picture that is given as numbers, as a file in PGM's binary format."""
        if isinstance(value, str):
            words = value.split()
            if not value.isascii() or not "".join(words).isdecimal():
                word = next((word for word in words if not re.fullmatch(r"[0-9]+", word, re.ASCII)), "")
                raise DatasetError(f"{self.name(group, row)}: pixel {word[:20]!r} is no number from 0 to 255")
            numbers: list[Any] = words
        else:
            numbers = list(_flat(value))
        if len(numbers) != PIXELS:
            raise DatasetError(f"{self.name(group, row)}: {len(numbers)} pixels instead of {PIXELS} ({SIDE}x{SIDE})")
        try:
            return b"P5 %d %d 255\n" % (SIDE, SIDE) + bytes(map(int, numbers) if isinstance(value, str) else numbers)
        except (ValueError, TypeError):
            raise DatasetError(f"{self.name(group, row)}: a pixel is no number from 0 to 255") from None


def _flat(value: object) -> Iterator[object]:
    if not isinstance(value, list):
        yield value
        return
    for each in value:
        yield from _flat(each)
