"""`fer2013.csv`, checked row by row. Rows are named as an editor counts them: the header is row 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ferbench import Samples
from ferbench.errors import DatasetError
from ferbench_plugins.fer2013.published import CLASSES, SPLITS, count_warning, missing_split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CSV_NAME = "fer2013.csv"
SIDE = 48
PIXELS = SIDE * SIDE

_COLUMNS = [b"emotion", b"pixels", b"usage"]
_CODES = {str(code).encode(): code for code in range(len(CLASSES))}
_USAGES = {name.encode(): name for name in SPLITS}
_PADDING = b' \t\r\n"'
_READ_BYTES = 1 << 18
#: More would outgrow what malloc keeps between two calls; giving memory back each time costs more than it saves.
_ROWS_AT_ONCE = 4


class _Row(NamedTuple):
    """A row of the wanted split: `row` as an editor counts, `number` from 0 without the header, `pixels` still text."""

    row: int
    number: int
    code: int
    pixels: bytes


def csv_samples(split: str, path: Path) -> Samples:
    """One split of the file. Raises DatasetError with row and value, and where the split is missing."""
    import numpy as np

    codes: list[int] = []
    ids: list[str] = []
    images: list[NDArray[np.uint8]] = []
    rows = _csv_rows(split, path)
    while batch := list(islice(rows, _ROWS_AT_ONCE)):
        images.append(_parsed(batch, path))
        codes.extend(each.code for each in batch)
        ids.extend(f"{split}_{each.number:08d}" for each in batch)
    if not codes:
        raise missing_split(split, path, {name: sum(1 for _ in _csv_rows(name, path)) for name in SPLITS})
    return Samples(
        images=np.concatenate(images).reshape(-1, SIDE, SIDE, 1),
        labels=np.array(codes, dtype=np.int64),
        ids=tuple(ids),
        warnings=count_warning((CLASSES[code] for code in codes), split),
    )


def _csv_rows(split: str, path: Path) -> Iterator[_Row]:
    """Rows of one split; of the others only the Usage is looked at."""
    with path.open("rb", buffering=_READ_BYTES) as file:
        header = file.readline().removeprefix(b"\xef\xbb\xbf")
        if [name.strip(_PADDING).lower() for name in header.split(b",")] != _COLUMNS:
            raise DatasetError(
                f"{path}, row 1: {_shown(header)} is not the header emotion,pixels,Usage: get the file again"
            )
        number = -1
        for row, line in enumerate(file, start=2):
            usage = line[line.rfind(b",") + 1 :].strip(_PADDING)
            if usage not in _USAGES:
                if not line.strip():
                    continue
                raise DatasetError(
                    f"{path}, row {row}: Usage {_shown(usage)} is none of {', '.join(SPLITS)}: is the copy cut off?"
                )
            number += 1
            if _USAGES[usage] == split:
                yield _row(row, number, line, path)


def _row(row: int, number: int, line: bytes, path: Path) -> _Row:
    fields = line.split(b",")
    if len(fields) != len(_COLUMNS):
        raise DatasetError(f"{path}, row {row}: {len(fields)} columns instead of 3 in {_shown(line)}")
    emotion = fields[0].strip(_PADDING)
    if emotion not in _CODES:
        raise DatasetError(f"{path}, row {row}: emotion {_shown(emotion)} is no code from 0 to 6")
    return _Row(row, number, _CODES[emotion], fields[1].strip(_PADDING))


def _parsed(batch: Sequence[_Row], path: Path) -> NDArray[np.uint8]:
    """Pixels of a few rows, uint8 [n, 2304]; all at once if they are spelled plainly, else number by number."""
    import numpy as np

    pixels = _parsed_at_once([each.pixels for each in batch])
    return pixels if pixels is not None else np.stack([_parsed_carefully(each, path) for each in batch])


def _parsed_at_once(texts: Sequence[bytes]) -> NDArray[np.uint8] | None:
    """uint8 [n, 2304], or None unless each row is 2,304 numbers 0-255 of one to three digits parted by single spaces.

    For each place of the text the number that would end there is made from it and the two places before it, all within
    uint8; those right before a space are the real ones.
    """
    import numpy as np

    places = np.frombuffer(b" ".join([b" ", *texts, b""]), np.uint8)
    is_space = places == ord(" ")
    is_digit = places - np.uint8(ord("0")) < 10
    if not (is_space ^ is_digit).all():
        return None
    third_in_a_row = is_digit[:-2] & is_digit[1:-1] & is_digit[2:]
    if (third_in_a_row[1:] & third_in_a_row[:-1]).any() or (is_space[2:] & is_space[1:-1]).any():
        return None
    start = 2
    for each in texts:
        end = start + len(each) + 1
        if np.count_nonzero(is_space[start:end]) != PIXELS:
            return None
        start = end
    digits = places & 15  # a space has none of these bits and counts as 0
    hundreds = digits[:-2] * third_in_a_row
    below_hundred = digits[2:] + digits[1:-1] * np.uint8(10)
    numbers = below_hundred + hundreds * np.uint8(100)
    if hundreds.max() > 2 or (numbers < below_hundred).any():  # beyond 255 the sum has wrapped round
        return None
    return np.compress(is_space[3:], numbers[:-1]).reshape(len(texts), PIXELS)


def _parsed_carefully(row: _Row, path: Path) -> NDArray[np.uint8]:
    """uint8 [2304] of one row, whatever blanks part its numbers."""
    import numpy as np

    words = row.pixels.split()
    for place, word in enumerate(words, start=1):
        if not word.isdigit() or int(word) > 255:
            raise DatasetError(f"{path}, row {row.row}: pixel {place} is {_shown(word)}, not a number from 0 to 255")
    if len(words) != PIXELS:
        raise DatasetError(f"{path}, row {row.row}: {len(words)} pixels instead of {PIXELS} (48x48)")
    return np.array([int(word) for word in words], dtype=np.uint8)


def _shown(value: bytes) -> str:
    """A value as it stands in the file, cut where it is long."""
    text = value.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
