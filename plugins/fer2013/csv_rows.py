"""The rows of FER2013's CSV files, checked one by one. They are named as an editor counts: the header is row 1."""

from __future__ import annotations

import difflib
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ferbench.errors import DatasetError, SplitMissing
from ferbench_plugins.fer2013.published import CLASSES, SPLITS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 48
PIXELS = SIDE * SIDE
#: What a file without Usage holds.
TRAINING = SPLITS[0]
#: Seven times what 2,304 numbers take: without a bound a file that is one endless line would fill the memory.
LONGEST_ROW = 1 << 16

_PADDING = ' \t\r\n"'
_BLANKS = _PADDING.encode()
_CODES = {str(code).encode(): code for code in range(len(CLASSES))}
_USAGES = {name.encode(): name for name in SPLITS}
_ROW_ENDS = {word + end: name for word, name in _USAGES.items() for end in (b"\n", b"\r\n", b"")}


class Row(NamedTuple):
    """A row of the wanted split: its number from 0 without the header, and its pixels, still text."""

    number: int
    code: int
    pixels: bytes
    #: As an editor counts.
    row: int
    #: The last one, without a line end.
    unended: bool


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What was passed of a file.

    found : how many rows of each split
    first : where each split's first row starts, in bytes; row and number of the row before it
    """

    found: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[int, int, int]] = field(default_factory=dict)


class CsvTable:
    """The rows behind a header."""

    def __init__(self, name: str, lines: io.BufferedReader) -> None:
        self._name = name
        self._lines = lines
        self.passed = Whereabouts()
        header = lines.readline(LONGEST_ROW)
        self._start = len(header)
        self._columns = column_names(header)
        there = ", ".join(self._columns)
        if not header:
            raise DatasetError(f"{name} is empty: get the file again")
        if not {"emotion", "pixels", "usage"} & set(self._columns):
            raise DatasetError(
                f"{name}, row 1: {_shown(header)} is not the header emotion,pixels,Usage: get the file again"
            )
        for column in ("emotion", "pixels"):
            if column not in self._columns:
                why = " (test.csv has no labels)" if self._columns == ("pixels",) else ""
                raise DatasetError(f"{name}, row 1: no column {column}, only {there}{why}: use a whole fer2013.csv")
        for column in ("emotion", "pixels", "usage"):
            if self._columns.count(column) > 1:
                raise DatasetError(f"{name}, row 1: column {column} stands twice in {there}: remove one of them")

    def rows(self, split: str, known: Whereabouts | None = None) -> Iterator[Row]:
        """Rows of one split; of the others only the Usage is looked at.

        Parameters
        ----------
        known : where the splits lie, from the end of an earlier reading of the same file; the stream must then seek

        Raises
        ------
        DatasetError : names the row and what is wrong with it
        """
        width, readline = len(self._columns), self._lines.readline
        found, first = self.passed.found, self.passed.first
        emotion, pixels = self._columns.index("emotion"), self._columns.index("pixels")
        usage = self._columns.index("usage") if "usage" in self._columns else None
        if usage is None and split != TRAINING:
            raise SplitMissing(
                f"{self._name} has no column Usage: it holds {TRAINING} alone; use a whole fer2013.csv for {split}"
            )
        start, row, number = self._start, 1, -1
        if known and known.found[split]:
            start, row, number = known.first[split]
            self._lines.seek(start)
        end = start
        while (line := readline(LONGEST_ROW)) and not (known and found[split] == known.found[split]):
            start, end, row = end, end + len(line), row + 1
            if usage == width - 1:  # rows of other splits, most of the file, need not be taken apart
                passed = _ROW_ENDS.get(line[line.rfind(b",") + 1 :], split)
                if passed != split:
                    if not found[passed]:
                        first[passed] = (start, row - 1, number)
                    found[passed] += 1
                    number += 1
                    continue
            fields = _fields(line)
            unended = not line.endswith(b"\n")
            if len(fields) != width or len(line) == LONGEST_ROW:
                if not line.strip(_BLANKS):
                    continue
                self._check_shape(line, len(fields), row)
            word = TRAINING.encode() if usage is None else fields[usage].strip(_BLANKS)
            if word not in _USAGES:
                raise self.fault(row, _unknown_usage(word), unended)
            name = _USAGES[word]
            if not found[name]:
                first[name] = (start, row - 1, number)
            found[name] += 1
            number += 1
            if name == split:
                code = fields[emotion].strip(_BLANKS)
                if code not in _CODES:
                    raise self.fault(row, f"emotion {_shown(code)} is no code from 0 to {len(CLASSES) - 1}", unended)
                yield Row(number, _CODES[code], fields[pixels].strip(_BLANKS), row, unended)

    def _check_shape(self, line: bytes, fields: int, row: int) -> None:
        unended = not line.endswith(b"\n")
        if unended and len(line) == LONGEST_ROW:
            raise self.fault(row, f"it does not end after {LONGEST_ROW} bytes")
        if fields != len(self._columns):
            what = f"{fields} columns instead of {len(self._columns)} in {_shown(line)}"
            raise self.fault(row, what, unended)

    def checked_numbers(self, row: Row) -> NDArray[np.uint8]:
        """uint8 [2304] of one row, whatever blanks part its numbers.

        Raises
        ------
        DatasetError : names the row and the pixel that is no number from 0 to 255, or how many there are
        """
        import numpy as np

        words = row.pixels.split()
        for place, word in enumerate(words, start=1):
            # Python refuses to make a number of thousands of digits.
            if not word.isdigit() or len(word) > 100 or int(word) > 255:
                raise self.fault(row.row, f"pixel {place} is {_shown(word)}, not a number from 0 to 255", row.unended)
        if len(words) != PIXELS:
            raise self.fault(row.row, f"{len(words)} pixels instead of {PIXELS} ({SIDE}x{SIDE})", row.unended)
        return np.array([int(word) for word in words], dtype=np.uint8)

    def fault(self, row: int, what: str, cut_off: bool = False) -> DatasetError:
        """The error to raise for a row."""
        advice = "is the file cut off here? Get it again" if cut_off else "correct the row or get the file again"
        return DatasetError(f"{self._name}, row {row}: {what}: {advice}")


def _fields(line: bytes) -> list[bytes]:
    """As `line.split(b",")`, which looks at long rows byte by byte and takes three times as long."""
    fields, start = [], 0
    while (comma := line.find(b",", start)) >= 0:
        fields.append(line[start:comma])
        start = comma + 1
    return [*fields, line[start:]]


def column_names(header: bytes) -> tuple[str, ...]:
    """Names in lower case, without blanks, quotes and byte order mark."""
    return tuple(name.strip(_PADDING).casefold() for name in header.decode("utf-8-sig", "replace").split(","))


def _unknown_usage(word: bytes) -> str:
    by_folded = {name.casefold(): name for name in SPLITS}
    close = difflib.get_close_matches(word.decode("utf-8", "replace").casefold(), by_folded, n=1)
    meant = f", did you mean {by_folded[close[0]]}?" if close else ""
    return f"Usage {_shown(word)} is none of {', '.join(SPLITS)}{meant}"


def _shown(value: bytes) -> str:
    """A value as it stands in the file, cut where it is long."""
    text = value.decode("utf-8-sig", "replace").strip()
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
