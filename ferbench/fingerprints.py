"""Names by content: records as canonical JSON, its hash, and seeds that are hashes of coordinates."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: Raised when the meaning of a published number changes. Part of every row.
PROTOCOL_VERSION = 1

#: Raised when the way from stored pixels to network input changes. Part of every stage's fingerprint.
PREPROCESSING_VERSION = 1


def canonical_json(value: object) -> str:
    """JSON with one spelling for one value: sorted keys, no spaces, no NaN.

    Raises
    ------
    ValueError : for NaN and infinities
    TypeError : for what JSON has no word for
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: object) -> str:
    """SHA-256 of a value's canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


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
