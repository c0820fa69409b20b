"""The download of 2013: `fer2013.tar.gz` with `fer2013/fer2013.csv` in it, unpacked as it is read."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from io import BufferedReader, RawIOBase
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

from ferbench.data.trees import TreeFile
from ferbench.errors import DatasetError, one_line

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: The CSV has 287 MB; what is much larger is something else.
_LARGEST_ENTRY = 1 << 30


def is_tar(name: str) -> bool:
    """Whether a file's name is that of FER2013's archive."""
    folded = name.casefold()
    return folded.startswith("fer2013") and folded.endswith((".tar.gz", ".tgz", ".tar"))


def unpacked_csv(file: TreeFile, names: Sequence[str]) -> IO[bytes]:
    """The first entry of one of these names as a stream that cannot go back.

    Raises
    ------
    DatasetError : no such entry, one that is far too large, or a damaged archive, which may show while reading
    """
    packed = file.open()
    try:
        archive = tarfile.open(fileobj=packed, mode="r|*")  # noqa: SIM115 (closed with the entry)
        for entry in archive:
            _check_size(file, entry)
            content = archive.extractfile(entry) if entry.isfile() else None
            if content is not None and PurePosixPath(entry.name).name.casefold() in names:
                return BufferedReader(_Entry(file, content, packed))
    except DatasetError:
        packed.close()
        raise
    except Exception as error:  # tarfile lets errors of the unpackers through
        packed.close()
        raise _damaged(file, error) from error
    packed.close()
    raise DatasetError(f"{file} holds no {' and no '.join(names)}: get it from its publisher")


class _Entry(RawIOBase):
    """An entry's bytes; damage is told in one line."""

    def __init__(self, file: TreeFile, content: IO[bytes], packed: IO[bytes]) -> None:
        self._file = file
        self._content = content
        self._packed = packed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self._content.read(len(view))
        except Exception as error:
            raise _damaged(self._file, error) from error
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._packed.close()
        super().close()


def _check_size(file: TreeFile, entry: tarfile.TarInfo) -> None:
    if entry.size > _LARGEST_ENTRY:
        raise DatasetError(
            f"{file}: entry {entry.name!r} would unpack to {entry.size >> 20} MB: get it from its publisher"
        )


def _damaged(file: TreeFile, error: Exception) -> DatasetError:
    return DatasetError(f"{file} is no whole tar archive ({one_line(error, 100)}): get it again")
