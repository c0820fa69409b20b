"""How much of what somebody else wrote is read. None of it depends on what the file says of itself.

A field of a block of predictions is held as a text, which with its number takes 70 bytes at most until the block ends:
1.4 GB with these bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

from ferbench.errors import StoreError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one store or snapshot.

    runs : records of any kind
    samples : of one split
    line_bytes : of a line of runs.jsonl; a stage's history is the longest part of one
    sample_bytes : of a line of predictions.csv
    unpacked_bytes : of all that is decompressed and all lines together
    fields : of one block of predictions, whose lines have some 17 each
    """

    runs: int = 200_000
    samples: int = 1_000_000
    line_bytes: int = 4 * 2**20
    sample_bytes: int = 16 * 2**10
    unpacked_bytes: int = 2**30
    fields: int = 20_000_000


class Budget:
    """Counts what has been unpacked of one source.

    Parameters
    ----------
    source : what it is of, for the message
    """

    def __init__(self, source: str, limit_bytes: int) -> None:
        self._source = source
        self._limit_bytes = limit_bytes
        self._spent_bytes = 0

    @property
    def left_bytes(self) -> int:
        return self._limit_bytes - self._spent_bytes

    def spend(self, count_bytes: int) -> None:
        """Raises StoreError where it is more than is left."""
        self._spent_bytes += count_bytes
        if self._spent_bytes > self._limit_bytes:
            raise StoreError(
                f"{self._source} unpacks to more than {self._limit_bytes:,} bytes: take it apart, or do not trust it"
            )
