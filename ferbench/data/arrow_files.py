"""Parquet files and Arrow's stream and file formats as row groups, read a column and a group at a time.

What is damaged is one line, and what would unpack beyond reason is not unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from typing import TYPE_CHECKING, Any, TypeAlias

from ferbench.data.trees import TreeFile
from ferbench.errors import DatasetError, one_line

if TYPE_CHECKING:
    import pyarrow as pa

#: Bytes, unpacked, of the largest row group that is read, and of a table that has to be unpacked from a zip.
_LARGEST_GROUP = 1 << 30
_LARGEST_ZIPPED = 4 << 30
#: A larger one that is packed more than this many times over is a bomb.
_LARGE_GROUP = 64 << 20
_HIGHEST_RATIO = 200
_MOST_ROWS = 50_000_000
_ROWS_AT_ONCE = 64

# pyarrow comes without types, so that its objects are looked at as they are.
Array: TypeAlias = Any


class Source:
    """One file as row groups, which Arrow's own formats call batches.

    rows : how many each group has
    """

    file: TreeFile
    schema: pa.Schema
    rows: list[int]

    def group(self, index: int, column: str, field: str | None = None) -> Array:
        """One column of one group, or one field of a column of structs, as a checked array."""
        raise NotImplementedError

    def values(self, column: str, field: str | None = None) -> list[Any]:
        """One column of all groups as Python's own values."""
        return [value for index in range(len(self.rows)) for value in self.group(index, column, field).to_pylist()]


class _Parquet(Source):
    def __init__(self, file: TreeFile, content: Array) -> None:
        import pyarrow.parquet as pq

        self.file = file
        with one_line_errors(file):
            self._parquet = pq.ParquetFile(content)
            self.schema = self._parquet.schema_arrow
            metadata = self._parquet.metadata
            self.rows = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
        _check_rows(file, self.rows)

    def group(self, index: int, column: str, field: str | None = None) -> Array:
        import pyarrow as pa

        path = column if field is None else f"{column}.{field}"
        with one_line_errors(self.file):
            self._check_size(index)
            arrays, size = [], 0
            # A few rows at a time: what a dictionary of long values unfolds to is not in the metadata.
            for batch in self._parquet.iter_batches(_ROWS_AT_ONCE, row_groups=[index], columns=[path]):
                size += batch.nbytes
                if size > _LARGEST_GROUP:
                    raise self._too_large(index, size)
                batch.validate(full=True)
                arrays.append(batch.column(0))
            kind = arrays[0].type if arrays else self.schema.field(column).type
            whole = pa.chunked_array(arrays, type=kind)
            if len(whole) != self.rows[index]:
                raise ValueError(f"row group {index} has {len(whole)} rows in place of {self.rows[index]}")
            return whole if field is None else pa.chunked_array([chunk.field(field) for chunk in whole.chunks])

    def _check_size(self, index: int) -> None:
        # Of whole groups, since pyarrow ends the process where it finds fault with a single column's metadata.
        size = self._parquet.metadata.row_group(index).total_byte_size
        if size > _LARGE_GROUP and size > _HIGHEST_RATIO * self.file.size:
            raise DatasetError(
                f"{self.file}: row group {index} would unpack to {size >> 20} MB from {self.file.size} bytes, as a "
                "bomb does: get it from its publisher"
            )
        if size > _LARGEST_GROUP:
            raise self._too_large(index, size)

    def _too_large(self, index: int, size: int) -> DatasetError:
        return DatasetError(
            f"{self.file}: row group {index} has {size >> 20} MB: write the file with smaller ones, as in "
            "pyarrow.parquet.write_table(…, row_group_size=1000)"
        )


class _Ipc(Source):
    """Arrow's own formats; the batches of a file on disk lie in its memory map and take no memory of their own."""

    def __init__(self, file: TreeFile, content: Array, as_file: bool) -> None:
        import pyarrow as pa

        self.file = file
        with one_line_errors(file):
            if as_file:
                reader = pa.ipc.open_file(content)
                batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
            else:
                reader = pa.ipc.open_stream(content)
                batches = iter(reader)
            self.schema = reader.schema
            self._batches, size = [], 0
            for batch in batches:
                size += batch.nbytes
                if size > _LARGE_GROUP and size > _HIGHEST_RATIO * file.size:
                    raise DatasetError(
                        f"{file} of {file.size} bytes unpacks to more than {size >> 20} MB, as a bomb does: get it "
                        "from its publisher"
                    )
                self._batches.append(batch)
        self.rows = [batch.num_rows for batch in self._batches]
        _check_rows(file, self.rows)

    def group(self, index: int, column: str, field: str | None = None) -> Array:
        with one_line_errors(self.file):
            array = self._batches[index].column(column)
            array.validate(full=True)
            return array if field is None else array.field(field)


def _check_rows(file: TreeFile, rows: Sequence[int]) -> None:
    if sum(rows) > _MOST_ROWS:
        raise DatasetError(f"{file} claims {sum(rows)} rows, more than any dataset of faces: get it again")
    if not sum(rows):
        raise DatasetError(f"{file} has no row: remove it or get it again")


def opened(file: TreeFile) -> Source:
    """A file of any of the formats, told by its first bytes; on disk it is mapped into memory, from a zip unpacked.

    Raises
    ------
    DatasetError : pyarrow is not installed; a file that is damaged, empty or larger than it may be
    """
    try:
        import pyarrow as pa
        import pyarrow.ipc
    except ImportError:
        raise DatasetError(
            f"{file} can be read with pyarrow alone, which is not installed: pip install 'ferbench[arrow]'"
        ) from None
    if not file.size:
        raise DatasetError(f"{file} is empty: get it again")
    with one_line_errors(file), file.open() as stream:
        start = stream.read(6)
        if isinstance(stream, BufferedReader):
            content = pa.memory_map(str(stream.name))
        else:
            if file.size > _LARGEST_ZIPPED:
                raise DatasetError(f"{file} has {file.size >> 20} MB: unpack the zip and name the folder")
            content = pa.BufferReader(start + stream.read(_LARGEST_ZIPPED))
    if start[:4] == b"PAR1":
        return _Parquet(file, content)
    return _Ipc(file, content, as_file=start == b"ARROW1")


@contextmanager
def one_line_errors(file: TreeFile) -> Iterator[None]:
    """Whatever a broken file leads pyarrow into becomes a DatasetError in one line."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # pyarrow raises its own, OSError, KeyError and more for broken files
        raise DatasetError(
            f"{file} is no Parquet or Arrow table that can be read ({one_line(error, 120)}): get it again"
        ) from error
