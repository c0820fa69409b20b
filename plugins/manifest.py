"""Pictures of one's own that a CSV file lists, as `manifest:FILE.csv`.

Columns, in any order and case, others are ignored:

- `path`: relative to the file, and below its folder
- `label`: an expression in any case, noun or adjective; empty in the whole of test where the truth is withheld
- `split`: train, val (or valid, validation, dev) or test; without this column there is one split, `all`
- `group`: subject or film; may be left out

UTF-8, with comma, semicolon or tab between fields, quoted as RFC 4180 says. FILE is relative to the working folder.
"""

from __future__ import annotations

import csv
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from ferbench import Dataset, DatasetFamily, Samples, hookimpl
from ferbench.data.own_paths import own_path
from ferbench.data.split_names import SPLITS, WHOLE, occurring, roles_of, split_name
from ferbench.errors import DatasetError, UnknownName
from ferbench.expressions import BASIC8, expression

PREFIX = "manifest:"

_REQUIRED = ("path", "label")
_COLUMNS = (*_REQUIRED, "split", "group")
_DELIMITERS = ",;\t"
#: Characters of a line, and as csv has it of a field; longer ones are a lost quote or no text at all.
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Row:
    """A sample. `number` is its row as an editor counts; `label` is an expression, or None where withheld."""

    number: int
    path: str
    label: str | None
    split: str
    group: str


@hookimpl
def ferbench_register_datasets() -> Iterable[DatasetFamily]:
    return [
        DatasetFamily(
            prefix=PREFIX,
            resolve=_resolve,
            names=tuple,
            summary="pictures that a CSV file lists: manifest:FILE.csv with columns path, label, split and maybe group",
        )
    ]


def _resolve(name: str) -> Dataset:
    path = _path(name)
    rows = read_manifest(path)
    splits = tuple(split for split in (*SPLITS, WHOLE) if any(row.split == split for row in rows))
    classes = occurring((row.label for row in rows if row.label is not None), str(path))
    return Dataset(
        name=name,
        version=1,
        classes=classes,
        splits=splits,
        roles=roles_of(splits),
        locate=lambda data_folder: path.parent if path.is_file() else None,
        load=partial(_load, path, rows, classes),
        # Beside the manifest may lie anything, such as results that change with every run.
        files=partial(_files, path, rows),
        steps=f"put the file back to {path}",
        licence="your own",
    )


def _path(name: str) -> Path:
    path = own_path(name, PREFIX)
    if not path.is_file():
        what = f"{path} is a folder, name the CSV file in it" if path.is_dir() else f"there is no file {path}"
        raise UnknownName("dataset", name, (), advice=what)
    return path


def read_manifest(path: Path) -> tuple[_Row, ...]:
    """The rows of a manifest, checked but for the pictures themselves.

    Raises
    ------
    DatasetError : names the file, the row (the header is row 1), the value and what to do
    """
    records = _records(path)
    header = next(records, None)
    if header is None:
        raise DatasetError(f"{path} is empty: its first row must name the columns {', '.join(_COLUMNS)}")
    place = _places(path, *header)
    rows: list[_Row] = []
    first_of: dict[str, _Row] = {}
    for number, fields in records:
        row = _row(path, number, fields, header[1], place)
        first = first_of.setdefault(row.path, row)
        if first is not row:
            both = "" if row.split == first.split else f", there in split {first.split} and here in {row.split}"
            raise _fault(path, number, f"{row.path!r} is in row {first.number} already{both}: leave one of them out")
        rows.append(row)
    if not rows:
        raise DatasetError(f"{path} has a header and no row below it: list a picture a row")
    _check_labels(path, rows)
    if all(not row.group for row in rows):
        return tuple(rows)
    if alone := next((row for row in rows if not row.group), None):
        raise _fault(path, alone.number, "group is empty: name its subject or film, or drop the column")
    return tuple(rows)


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Row number and fields of each record that is not blank, the header first."""
    try:
        # Bytes that are no UTF-8 come as surrogates, so that the row is known.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            delimiter = _delimiter(stream.readline(_LONGEST_LINE))
            stream.seek(0)
            reader = csv.reader(_lines(path, stream), delimiter=delimiter, strict=True)
            start = 1
            try:
                for fields in reader:
                    if any(field.strip() for field in fields):
                        yield start, fields
                    start = reader.line_num + 1
            except csv.Error as error:
                raise _fault(path, start, f"{error}: is a quote not closed, or within a text?") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror or error}): check its rights") from error


def _lines(path: Path, stream: IO[str]) -> Iterator[str]:
    number = 0
    while line := stream.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise _fault(path, number, f"the line is longer than {_LONGEST_LINE} characters: is this a CSV file?")
        if not line.isascii() and (bad := re.search("[\ud800-\udfff]", line)):
            byte = ord(bad[0]) - 0xDC00
            raise _fault(path, number, f"byte {byte:#04x} is not UTF-8: save the file as CSV in UTF-8")
        yield line


def _delimiter(header: str) -> str:
    """Of the characters that part fields the one that finds most of the known columns."""
    return max(
        _DELIMITERS,
        key=lambda each: sum(field.strip(' \t\r\n"').casefold() in _COLUMNS for field in header.split(each)),
    )


def _places(path: Path, number: int, header: Sequence[str]) -> dict[str, int]:
    names = [field.strip().casefold() for field in header]
    for column in _COLUMNS:
        if names.count(column) > 1:
            raise _fault(path, number, f"column {column!r} is there twice: rename one of them")
    if missing := [column for column in _REQUIRED if column not in names]:
        there = ", ".join(_shown(field) for field in header[:20])
        raise _fault(
            path, number, f"there is no column {' and none '.join(missing)}, only {there}: name it in the header"
        )
    return {column: names.index(column) for column in _COLUMNS if column in names}


def _row(path: Path, number: int, fields: Sequence[str], header: Sequence[str], place: dict[str, int]) -> _Row:
    if len(fields) <= max(place.values()):
        raise _fault(path, number, f"{len(fields)} fields where the header has {len(header)}: complete the row")
    if any(field.strip() for field in fields[len(header) :]):
        raise _fault(
            path, number, f"{len(fields)} fields where the header has {len(header)}: put fields with commas into quotes"
        )
    value = {column: fields[index].strip() for column, index in place.items()}
    split = split_name(value["split"]) if "split" in value else WHOLE
    if split is None:
        known = "train, val (or valid, validation, dev) and test"
        raise _fault(path, number, f"split {_shown(value['split'])} is unknown: there are {known}")
    label = expression(value["label"])
    if label is None and value["label"]:
        raise _fault(path, number, f"label {_shown(value['label'])} is no expression: there are {', '.join(BASIC8)}")
    return _Row(number, _normal(path, number, value["path"]), label, split, value.get("group", ""))


def _normal(manifest: Path, number: int, written: str) -> str:
    """A path as it is told apart from others: with slashes, without detours."""
    if not written:
        raise _fault(manifest, number, "path is empty: name a picture")
    if any(ord(character) < 32 for character in written):
        raise _fault(manifest, number, f"path {_shown(written)} holds a control character: rename the file")
    path = posixpath.normpath(written.replace("\\", "/"))
    if path.startswith(("/", "../")) or path == ".." or re.match(r"[A-Za-z]:", path):
        raise _fault(
            manifest,
            number,
            f"path {_shown(written)} leads out of {manifest.parent}: put the manifest above its pictures and write "
            "paths relative to it",
        )
    return path


def _check_labels(path: Path, rows: Sequence[_Row]) -> None:
    labelled = {split: next((r for r in rows if r.split == split and r.label is not None), None) for split in SPLITS}
    for row in rows:
        if row.label is None and row.split != "test":
            raise _fault(path, row.number, "label is empty: name an expression; test alone may be without labels")
        if row.label is None and (other := labelled["test"]):
            raise _fault(
                path, row.number, f"label is empty, while row {other.number} of test has one: label all of test or none"
            )


def _files(manifest: Path, rows: Sequence[_Row], split: str, root: Path) -> list[Path]:
    return [manifest, *(root / row.path for row in rows if row.split == split)]


def _load(manifest: Path, rows: Sequence[_Row], classes: tuple[str, ...], split: str, root: Path) -> Samples:
    """One split. Raises DatasetError for pictures that are not there, are no files or lie elsewhere."""
    import numpy as np

    chosen = [row for row in rows if row.split == split]
    if not chosen:
        raise DatasetError(f"{manifest} has no split {split!r}; there are {', '.join({row.split: 0 for row in rows})}")
    _check_files(manifest, root, chosen)
    withheld = any(row.label is None for row in chosen)
    return Samples(
        images=[root / row.path for row in chosen],
        labels=None if withheld else np.array([classes.index(row.label or "") for row in chosen], dtype=np.int64),
        ids=tuple(row.path for row in chosen),
        groups=tuple(row.group for row in chosen) if chosen[0].group else None,
    )


def _check_files(manifest: Path, root: Path, rows: Sequence[_Row]) -> None:
    real = root.resolve()
    inside: dict[str, bool] = {}
    missing: list[_Row] = []
    for row in rows:
        folder = posixpath.dirname(row.path)
        if folder not in inside:
            inside[folder] = (root / folder).resolve().is_relative_to(real)
        file = root / row.path
        try:
            status = os.lstat(file)
            linked = stat.S_ISLNK(status.st_mode)
            mode = os.stat(file).st_mode if linked else status.st_mode  # noqa: PTH116  (a tenth of pathlib's time)
        except FileNotFoundError:
            missing.append(row)
            continue
        except OSError as error:
            raise _fault(manifest, row.number, f"{file} cannot be read ({error.strerror}): check its rights") from error
        if not inside[folder] or (linked and not file.resolve().is_relative_to(real)):
            raise _fault(manifest, row.number, f"{file} is a link that leads out of {root}: put a copy there")
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no plain file"
            raise _fault(manifest, row.number, f"{file} is {kind}: name a picture")
    if missing:
        more = f" (and {len(missing) - 1} more are not there)" if len(missing) > 1 else ""
        raise _fault(
            manifest,
            missing[0].number,
            f"picture {root / missing[0].path} does not exist{more}: correct the path or remove the row",
        )


def _fault(path: Path, number: int, what: str) -> DatasetError:
    return DatasetError(f"{path}, row {number}: {what}")


def _shown(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:60]}…")
