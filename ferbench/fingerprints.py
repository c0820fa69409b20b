"""Names by content: records as canonical JSON, its hash, and seeds that are hashes of coordinates."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

#: Raised when the meaning of a published number changes. Part of every row.
PROTOCOL_VERSION = 1

#: Raised when the way from stored pixels to network input changes, which face a picture is of and how it is cut to it
#: included. Part of every stage's fingerprint.
PREPROCESSING_VERSION = 1


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: object) -> str:
    """JSON with one spelling for one value: sorted keys, no spaces, no NaN.

    Raises
    ------
    ValueError : for NaN and infinities
    TypeError : for what JSON has no word for
    """
    # What most values are; an encoder is slow to start.
    if value is None:
        return "null"
    if type(value) is int:
        return str(value)
    return _ENCODER.encode(value)


def fingerprint(value: object) -> str:
    """SHA-256 of a value's canonical JSON, as 64 hex digits."""
    return fingerprint_of_json(canonical_json(value))


def spelled(value: Mapping[str, object]) -> dict[str, str]:
    """The canonical JSON of each of an object's values, to be put together by `joined_object`.

    Where many objects differ in a value or two, the others are spelled once.
    """
    return {key: canonical_json(each) for key, each in value.items()}


def joined_object(pieces: Mapping[str, str]) -> str:
    """The canonical JSON of an object from that of each of its values."""
    return "{" + ",".join([f"{_spelled_key(key)}:{pieces[key]}" for key in sorted(pieces)]) + "}"


def joined_array(pieces: Iterable[str]) -> str:
    """The canonical JSON of an array from that of each of its values."""
    return f"[{','.join(pieces)}]"


def fingerprint_of_json(text: str) -> str:
    """The fingerprint of a value from its canonical JSON."""
    return hashlib.sha256(text.encode()).hexdigest()


@functools.lru_cache(maxsize=1024)
def _spelled_key(key: str) -> str:
    return canonical_json(key)


def derived_seed(seed: int, stage_index: int, purpose: str, step: int = 0) -> int:
    """A 63-bit seed for one use of randomness, from coordinates alone.

    Nothing else may seed anything: two strategies of one seed then share data order and head initialisation, and
    going on in the middle of a stage needs only the step.
    """
    digest = hashlib.sha256(f"{seed}/{stage_index}/{purpose}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def as_plain(record: Any) -> Any:
    """A record as JSON's own types: dataclasses to objects, tuples to lists."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: as_plain(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(key): as_plain(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [as_plain(value) for value in record]
    return record
