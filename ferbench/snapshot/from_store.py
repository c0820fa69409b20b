"""Runs out of a store, each with all that it stands on; nothing in it is believed, ours or another's."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferbench.errors import StoreError
from ferbench.records import FurtherScores, Predictions, StageResult
from ferbench.snapshot.checking import Samples
from ferbench.snapshot.found import Found, Refused
from ferbench.snapshot.gathering import Gathering
from ferbench.snapshot.limits import Budget, Limits
from ferbench.snapshot.strict import Unsound, decoded, is_hash, parse_json, sound_text, sound_texts
from ferbench.stages import Stage
from ferbench.store import Store
from ferbench.store.raw_rows import RawPredictions, RawRows

#: Characters of a sample's id or of a group.
LONGEST_ID = 1_000

#: Bytes of one column of predictions, unpacked.
_LONGEST_COLUMN_BYTES = 512 * 2**20

_LONGEST_RECORD = 4 * 2**20


def read_store(
    store: Store, entries: Collection[str] | None = None, samples: Samples | None = None, limits: Limits | None = None
) -> Found:
    """The runs of a store that hold, and those that do not.

    Parameters
    ----------
    entries : hashes of those that are wanted; None for all
    samples : what is known of samples already

    Raises
    ------
    StoreError : a store that cannot be read, or that is larger than the limits
    """
    limits = limits or Limits()
    reading = _Reading(store.location, limits)
    with store.raw_rows() as rows:
        count = rows.count_runs()
        if count > limits.runs:
            raise StoreError(f"{store.location} holds {count:,} runs, at most {limits.runs:,} are read at once")
        gathering = Gathering(samples or Samples())
        for number, text in enumerate(rows.runs(entries), 1):
            reading.read_run(text, f"run {number} of {store.location}", gathering)
        reading.read_stages(rows, gathering)
        reading.read_further(rows, gathering)
        return gathering.found(lambda name: reading.predictions(rows, name))


class _Reading:
    """Decodes rows of one store."""

    def __init__(self, location: str, limits: Limits) -> None:
        self._limits = limits
        self._budget = Budget(location, limits.unpacked_bytes)
        self._texts: dict[tuple[str, ...], tuple[str, ...]] = {}

    def read_run(self, text: object, where: str, gathering: Gathering) -> None:
        try:
            value = self._json(text)
        except Unsound as error:
            gathering.refuse(Refused(None, None, f"{where}: {error}"))
            return
        gathering.add_run(value, where)

    def read_stages(self, rows: RawRows, gathering: Gathering) -> None:
        for fingerprint, stage, result in rows.stages(gathering.wanted_stages()):
            try:
                gathering.add_stage(
                    str(fingerprint),
                    decoded(Stage, self._json(stage), "stage"),
                    decoded(StageResult, self._json(result), "result"),
                )
            except Unsound as error:
                gathering.spoil_stage(str(fingerprint), str(error))

    def read_further(self, rows: RawRows, gathering: Gathering) -> None:
        for stage, record in rows.further_scores(gathering.wanted_stages()):
            try:
                gathering.add_further(str(stage), decoded(FurtherScores, self._json(record), "further scores"))
            except Unsound as error:
                gathering.spoil_stage(str(stage), str(error))

    def predictions(self, rows: RawRows, stage: str) -> dict[str, Predictions]:
        """What a stage has predicted, by content; the first where the same samples stand there under two names."""
        found: dict[str, Predictions] = {}
        for row in rows.predictions(stage):
            if not is_hash(row.content):
                raise Unsound("predictions.content: a SHA-256 in hex is needed")
            content = str(row.content)
            if content not in found:
                found[content] = self._predictions(row)
        return found

    def _json(self, text: object) -> Any:
        if not isinstance(text, str):
            raise Unsound("its record is no text")
        if len(text) > _LONGEST_RECORD:
            raise Unsound(f"its record has {len(text):,} characters")
        self._budget.spend(len(text))
        return parse_json(text)

    def _predictions(self, row: RawPredictions) -> Predictions:
        dataset = sound_text(row.dataset, "predictions.dataset")
        split = sound_text(row.split, "predictions.split")
        n, classes = (self._count(getattr(row, name), name) for name in ("n", "classes"))
        labels = None if row.labels is None else self._array(row.labels, "labels", "<i8", n)
        probabilities = self._array(row.probabilities, "probabilities", "<f4", n * classes)
        return Predictions(
            dataset=dataset,
            split=split,
            ids=self._words(row.ids, "ids"),
            labels=None if labels is None else labels.astype(np.int64),
            probabilities=probabilities.reshape(n, classes).astype(np.float32),
            groups=None if row.groups is None else self._words(row.groups, "groups"),
        )

    def _count(self, value: object, name: str) -> int:
        largest = self._limits.samples if name == "n" else 1_000
        if type(value) is not int or not 0 < value <= largest:
            raise Unsound(f"predictions.{name}: a whole number from 1 to {largest:,} is needed")
        return value

    def _array(self, packed: object, name: str, kind: str, count: int) -> NDArray[Any]:
        data = self._unpacked(packed, name)
        size = np.dtype(kind).itemsize
        if len(data) != count * size:
            raise Unsound(f"predictions.{name}: {len(data):,} bytes where {count * size:,} are needed")
        return np.frombuffer(data, dtype=kind)

    def _words(self, packed: object, name: str) -> tuple[str, ...]:
        values = parse_json(_utf8(self._unpacked(packed, name), f"predictions.{name}"))
        if not isinstance(values, list) or not all(type(value) is str for value in values):
            raise Unsound(f"predictions.{name}: a list of texts is needed")
        words = tuple(values)
        # Many rows speak of the same samples: their ids are kept and looked through once.
        if words not in self._texts:
            sound_texts(words, f"predictions.{name}", LONGEST_ID)
            self._texts[words] = words
        return self._texts[words]

    def _unpacked(self, packed: object, name: str) -> bytes:
        """Bytes from under zlib, of which no more are made than may be."""
        if not isinstance(packed, bytes):
            raise Unsound(f"predictions.{name}: bytes are needed")
        most = min(_LONGEST_COLUMN_BYTES, self._budget.left_bytes)
        stream = zlib.decompressobj()
        try:
            data = stream.decompress(packed, most + 1)
        except zlib.error:
            raise Unsound(f"predictions.{name}: they cannot be unpacked") from None
        self._budget.spend(len(data))
        if len(data) > most or not stream.eof or stream.unused_data:
            raise Unsound(f"predictions.{name}: more is packed into them than they may be")
        return data


def _utf8(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Unsound(f"{where}: they are no UTF-8") from None
