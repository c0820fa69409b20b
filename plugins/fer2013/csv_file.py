"""FER2013's CSV files, one split at a time.

`fer2013.csv` and `icml_face_data.csv` hold all splits, `train.csv` only Training and no Usage, `test.csv` no labels.
Columns go by name, in any order and case; other columns are passed over.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, cast

from ferbench import Samples
from ferbench.errors import DatasetError, one_line
from ferbench_plugins.fer2013.csv_rows import LONGEST_ROW, PIXELS, SIDE, CsvTable, Whereabouts, column_names
from ferbench_plugins.fer2013.published import CLASSES, COUNTS, count_warning, missing_split

_BUFFER_BYTES = 1 << 18
#: As many as a processor's second cache holds with all that is made from them.
_ROWS_AT_ONCE = 16

#: Where the splits lie in the file on the disk that was read last: the others are then read without all before them.
_known: dict[tuple[str | int, ...], Whereabouts] = {}


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file that can be read from its start again and again, whether it lies in a folder or in a zip.

    name : what messages call it
    open : gives its bytes as a stream, which need not be seekable
    """

    name: str
    open: Callable[[], IO[bytes]]


def csv_samples(split: str, file: CsvFile) -> Samples:
    """One split of the file, in the file's order; ids are the split's name and the number of the row, from 0.

    Raises
    ------
    DatasetError : names row and value that do not fit, a column that is missing, or what there is in place of the split
    """
    import numpy as np

    from ferbench_plugins.fer2013.digits import PlainNumbers

    plain = PlainNumbers(PIXELS)
    # As one large block, which numpy asks the system for in large pages; most of the time goes to memory.
    images = np.empty((sum(COUNTS[split].values()), PIXELS), np.uint8)
    codes: list[int] = []
    ids: list[str] = []
    with _reading(file) as lines:
        table = CsvTable(file.name, lines)
        identity = _identity(file, lines)
        known = _known.get(identity)
        rows = table.rows(split, known)
        while batch := list(islice(rows, _ROWS_AT_ONCE)):
            start, end = len(ids), len(ids) + len(batch)
            if end > len(images):
                images = np.concatenate([images, np.empty_like(images)])
            if not plain.parse([row.pixels for row in batch], images[start:end]):
                images[start:end] = [table.checked_numbers(row) for row in batch]
            codes += [row.code for row in batch]
            ids += [f"{split}_{row.number:08d}" for row in batch]
    if known is None:
        known = table.passed
        _known.clear()
        if identity:
            _known[identity] = known
    if not codes:
        raise missing_split(split, file.name, known.found)
    if len(ids) < len(images):
        images = images[: len(ids)].copy()
    return Samples(
        images=images.reshape(-1, SIDE, SIDE, 1),
        labels=np.array(codes, dtype=np.int64),
        ids=tuple(ids),
        warnings=count_warning((CLASSES[code] for code in codes), split),
    )


def header_of(file: CsvFile) -> tuple[str, ...] | None:
    """The columns' names in lower case, without blanks around them; None if it is no CSV file of FER2013.

    Raises
    ------
    DatasetError : it cannot be read
    """
    with _reading(file) as lines:
        names = column_names(lines.readline(LONGEST_ROW))
    return names if "pixels" in names else None


def has_usage(header: tuple[str, ...]) -> bool:
    """Whether the rows say their split; without it all of them are Training."""
    return "usage" in header


def _identity(file: CsvFile, lines: io.BufferedReader) -> tuple[str | int, ...]:
    """What tells a file on the disk from others and from what it was before; empty for other streams."""
    try:
        status = os.fstat(lines.fileno())
    except (OSError, AttributeError):
        return ()
    if not lines.seekable():
        return ()
    return (file.name, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@contextmanager
def _reading(file: CsvFile) -> Iterator[io.BufferedReader]:
    try:
        with file.open() as stream, io.BufferedReader(cast(Any, stream), _BUFFER_BYTES) as lines:
            yield lines
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DatasetError(f"{file.name} is damaged inside its zip ({one_line(error)}): get the zip again") from error
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise DatasetError(f"{file.name} cannot be read ({reason}): check the disk and its rights") from error
