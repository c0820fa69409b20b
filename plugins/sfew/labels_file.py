"""A copy as one CSV, `sfew_2.0_labels.csv` with columns `image_name,label,emotion,original_split`, and one folder.

Columns are found by name in any case. Labels come from `emotion`: the codes of `label` are another order in every
copy. Splits are told as folders are, so that `Val_Aligned_Faces` and `val` are both Val. Rows are named as an editor
counts them: the header is row 1.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import PurePosixPath

from ferbench.data.folders import is_image
from ferbench.data.trees import TreeFile
from ferbench.errors import DatasetError
from ferbench.expressions import expression
from ferbench_plugins.sfew.copies import told_split, words
from ferbench_plugins.sfew.published import CLASSES, SPLITS, TEST

_NAME = re.compile(r"sfew.*labels?.*\.csv", re.IGNORECASE)
_OWN_NAME = {expression(name): name for name in CLASSES}


@dataclass(frozen=True, slots=True)
class Labelled:
    """An image with its class; None in Test, whose labels are withheld."""

    name: str | None
    file: TreeFile


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    image_name: str
    split: str
    emotion: str


def labels_files(files: Iterable[TreeFile]) -> list[TreeFile]:
    """The files of a listing that are such a CSV by their names."""
    return [file for file in files if _NAME.fullmatch(file.path.name)]


def labelled_images(table: TreeFile, files: Iterable[TreeFile], split: str) -> list[Labelled]:
    """The images of one split in the order of the rows; none if no row is of this split or the listing has no images.

    Parameters
    ----------
    table : the CSV
    files : the listing that it is from; the images lie below its own folder, in one called `…images` if there is one

    Raises
    ------
    DatasetError : names file, row and value: a missing column, a split, emotion or image that does not exist, an image
        that is named twice
    """
    rows = list(_rows(table))
    images = _Images(table, files)
    if images.empty:
        return []
    first_row: dict[str, int] = {}
    found: list[Labelled] = []
    for row in rows:
        if (first := first_row.setdefault(row.image_name, row.number)) != row.number:
            raise DatasetError(f"{table}, row {row.number}: {row.image_name} was in row {first} already: leave one out")
        if row.split != split:
            continue
        name = None
        if split != TEST:
            name = _OWN_NAME.get(expression(row.emotion))
            if name is None:
                raise DatasetError(
                    f"{table}, row {row.number}: emotion {row.emotion!r} is none of {', '.join(CLASSES)}: mend the row"
                )
        found.append(Labelled(name, images.named(row)))
    return found


class _Images:
    def __init__(self, table: TreeFile, files: Iterable[TreeFile]) -> None:
        self._table = table
        folder = table.path.parent
        below = [file for file in files if is_image(file) and file.path.is_relative_to(folder)]
        apart = [file for file in below if any("images" in words(part) for part in file.path.parent.parts)]
        self._by_name: dict[str, list[TreeFile]] = {}
        for file in apart or below:
            self._by_name.setdefault(file.path.name, []).append(file)

    @property
    def empty(self) -> bool:
        return not self._by_name

    def named(self, row: _Row) -> TreeFile:
        path = PurePosixPath(row.image_name.replace("\\", "/"))
        wanted = path.parts
        found = [file for file in self._by_name.get(path.name, ()) if file.path.parts[-len(wanted) :] == wanted]
        where = f"{self._table}, row {row.number}: image {row.image_name!r}"
        if not found:
            raise DatasetError(f"{where} is not there: the copy of the data is incomplete")
        if len(found) > 1:
            raise DatasetError(f"{where} may be {found[0]} or {found[1]}: write more of its path")
        return found[0]


def _rows(table: TreeFile) -> Iterator[_Row]:
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{table} is no text in UTF-8 (byte {error.start}): save it again as UTF-8") from error
    reader = csv.reader(StringIO(text, newline=""))
    try:
        header = next(reader, None)
        if header is None:
            raise DatasetError(f"{table} is empty: get it again")
        columns = _columns(header, table)
        for fields in reader:
            if not any(map(str.strip, fields)):
                continue
            number = reader.line_num
            if len(fields) < len(header):
                raise DatasetError(
                    f"{table}, row {number}: {len(fields)} columns instead of {len(header)} in {','.join(fields)!r}"
                )
            image_name, original_split, emotion = (fields[column].strip() for column in columns)
            split = told_split(original_split)
            if split is None:
                raise DatasetError(
                    f"{table}, row {number}: original_split {original_split!r} is none of {', '.join(SPLITS)}: "
                    "mend the row"
                )
            yield _Row(number, image_name, split, emotion)
    except csv.Error as error:
        raise DatasetError(f"{table}, row {reader.line_num}: {error}: get the file again") from error


def _columns(header: Sequence[str], table: TreeFile) -> tuple[int, int, int]:
    """Where image_name, original_split and emotion stand."""
    found = [name.strip().casefold() for name in header]
    missing = [name for name in ("image_name", "original_split", "emotion") if name not in found]
    if missing == ["emotion"] and "label" in found:
        raise DatasetError(
            f"{table}, row 1: no column emotion, and what the codes in label stand for differs from copy to copy: add "
            "a column emotion with names such as Angry"
        )
    if missing:
        raise DatasetError(f"{table}, row 1: no column {missing[0]} among {', '.join(header)}: get the file again")
    return found.index("image_name"), found.index("original_split"), found.index("emotion")
