"""Caffe's binary files, read without Caffe: weights (`.caffemodel`) and mean images (`.binaryproto`).

Both are protocol buffers (wire format: protobuf.dev/programming-guides/encoding; messages: Caffe's caffe.proto). What
weights need is read, every other field is stepped over:

- NetParameter: `layers` = 2, the form of 2014 (V1LayerParameter: name 4, blobs 6), or `layer` = 100 (LayerParameter:
  name 1, blobs 7)
- BlobProto: num, channels, height, width = 1 to 4, or `shape` = 7 (`dim` = 1); `data` = 5, packed or one by one
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ferbench.errors import WeightsError

#: A layer's arrays, float32 in Caffe's shapes and channel order: first the weight, then the bias.
Blobs = tuple[NDArray[np.float32], ...]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: Protocol buffers allow no larger file.
_LARGEST_FILE = (1 << 31) - 1
#: Fields walked in one file. Caffe's own files have some hundreds.
_MOST_FIELDS = 100_000
#: Caffe's own bound on a blob's dimensions.
_MOST_DIMENSIONS = 32


def read_layers(path: Path) -> dict[str, Blobs]:
    """A network's weights by layer, in the file's order; layers without weights are left out.

    Raises
    ------
    WeightsError : a file that cannot be read, is no network of Caffe's, is cut off, or has no weights
    """
    try:
        layers = _layers(_content(path))
    except _Malformed as error:
        raise WeightsError(f"{path} cannot be read as a .caffemodel: {error}") from None
    if not layers:
        raise WeightsError(f"{path} holds no layer with weights: give the .caffemodel of a trained network")
    return layers


def read_blob(path: Path) -> NDArray[np.float32]:
    """The one array of a `.binaryproto`, float32, in the shape that the file says.

    Raises
    ------
    WeightsError : a file that cannot be read, holds no array, or is cut off
    """
    try:
        return _blob(_content(path), "the array")
    except _Malformed as error:
        raise WeightsError(f"{path} cannot be read as a .binaryproto: {error}") from None


def looks_like_caffemodel(path: Path) -> bool:
    """Whether a file opens as Caffe's networks do: with field 1, the network's name, in printable characters."""
    try:
        with path.open("rb") as stream:
            start = stream.read(2 + 127)
    except OSError:
        return False
    if len(start) < 3 or start[0] != 1 << 3 | _BYTES:
        return False
    length, name = start[1], start[2 : 2 + start[1]]
    return 0 < length == len(name) and name.isascii() and name.decode("ascii").isprintable()


_CUT_OFF = "the file is cut off or of another kind: copy it again"


class _Malformed(Exception):
    """What is wrong with the bytes, as a clause."""


@dataclass(slots=True)
class _Walked:
    fields: int = 0


@dataclass(frozen=True, slots=True)
class _Message:
    """A message's bytes. All messages of a file share `walked`, which bounds the work that a file can ask for."""

    buffer: memoryview
    walked: _Walked = field(default_factory=_Walked)

    def fields(self) -> Iterator[tuple[int, int | memoryview]]:
        """Number and value of each field: an int or bytes.

        Fixed 32-bit values that follow each other under one number come as one value, as if they had been packed.
        """
        position = 0
        while position < len(self.buffer):
            self.walked.fields += 1
            if self.walked.fields > _MOST_FIELDS:
                raise _Malformed(f"it has more than {_MOST_FIELDS:,} fields, which no network has")
            start = position
            tag, position = _varint(self.buffer, start)
            number, kind = tag >> 3, tag & 7
            if number == 0 or kind not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
                raise _Malformed("it has a field of a kind that does not exist")
            if kind == _VARINT:
                value, position = _varint(self.buffer, position)
                yield number, value
            elif kind == _FIXED32:
                values, position = _run(self.buffer, start, position - start)
                yield number, values
            else:
                length, position = _varint(self.buffer, position) if kind == _BYTES else (8, position)
                left = len(self.buffer) - position
                if length > left:
                    raise _Malformed(f"a field of {length:,} bytes has {left:,} left; {_CUT_OFF}")
                position += length
                yield number, self.buffer[position - length : position]

    def within(self, value: int | memoryview) -> _Message:
        """A value of `fields` as a message of its own."""
        if isinstance(value, int):
            raise _Malformed("it is another kind of file, with a number where a message belongs")
        return _Message(value, self.walked)


def _varint(buffer: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(buffer):
            raise _Malformed(f"it ends in the middle of a field; {_CUT_OFF}")
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Malformed("a number in it has more than 10 bytes")


def _run(buffer: memoryview, start: int, tag_length: int) -> tuple[memoryview, int]:
    # All values from `start` on that stand under the same tag, as bytes without tags, and where they end. fc6 has 75
    # million: where they are not packed, a step of Python for each would take minutes.
    step = tag_length + 4
    whole = (len(buffer) - start) // step
    if whole == 0:
        raise _Malformed(f"it ends in the middle of a number; {_CUT_OFF}")
    rows = np.frombuffer(buffer, np.uint8, whole * step, start).reshape(whole, step)
    # Looked at in windows that double, so that many short runs in a large file cost no more than one long one.
    run, window = 1, 64
    while run < whole:
        same = (rows[run : run + window, :tag_length] == rows[0, :tag_length]).all(axis=1)
        if not same.all():
            run += int(same.argmin())
            break
        run, window = run + len(same), 2 * window
    return memoryview(rows[:run, tag_length:].tobytes()), start + run * step


def _content(path: Path) -> _Message:
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise _Malformed(f"it has {size:,} bytes, and no such file has more than {_LARGEST_FILE:,}")
        return _Message(memoryview(path.read_bytes()))
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error


def _layers(network: _Message) -> dict[str, Blobs]:
    layers: dict[str, Blobs] = {}
    for number, value in network.fields():
        if number not in (2, 100):
            continue
        name, blobs = _layer(network.within(value), *((4, 6) if number == 2 else (1, 7)))
        if name in layers and blobs:
            raise _Malformed(f"two layers named {name!r} have weights")
        if blobs:
            layers[name] = blobs
    return layers


def _layer(layer: _Message, name_number: int, blobs_number: int) -> tuple[str, Blobs]:
    name, blobs = "", []
    for number, value in layer.fields():
        if number == name_number and not isinstance(value, int):
            name = bytes(value[:200]).decode("utf-8", "replace")
        elif number == blobs_number:
            blobs.append(layer.within(value))
    return name, tuple(_blob(blob, f"layer {name!r}") for blob in blobs)


def _blob(blob: _Message, what: str) -> NDArray[np.float32]:
    legacy, shape = [0, 0, 0, 0], None
    parts: list[NDArray[np.float32]] = []
    for number, value in blob.fields():
        if 1 <= number <= 4 and isinstance(value, int):
            legacy[number - 1] = value
        elif number == 5 and not isinstance(value, int):
            parts.append(_floats(value, what))
        elif number == 7:
            shape = _dimensions(blob.within(value), what)
    dimensions = tuple(legacy) if shape is None else shape
    count = sum(part.size for part in parts)
    if count == 0:
        raise _Malformed(f"{what} has no values")
    if math.prod(dimensions) != count:
        raise _Malformed(f"{what} is {in_words(dimensions)} and has {count:,} values")
    return (parts[0] if len(parts) == 1 else np.concatenate(parts)).reshape(dimensions)


def _floats(packed: memoryview, what: str) -> NDArray[np.float32]:
    if len(packed) % 4:
        raise _Malformed(f"{what} has {len(packed):,} bytes of values, which are no whole number of floats")
    return np.frombuffer(packed, np.dtype("<f4")).astype(np.float32, copy=False)


def _dimensions(shape: _Message, what: str) -> tuple[int, ...]:
    found: list[int] = []
    for number, value in shape.fields():
        if number != 1:
            continue
        if isinstance(value, int):
            found.append(value)
            continue
        position = 0
        while position < len(value) and len(found) <= _MOST_DIMENSIONS:
            length, position = _varint(value, position)
            found.append(length)
    if len(found) > _MOST_DIMENSIONS:
        raise _Malformed(f"{what} has more than {_MOST_DIMENSIONS} dimensions")
    return tuple(found)


def in_words(shape: Sequence[int]) -> str:
    """A shape for people, as in 96x3x7x7."""
    return "x".join(str(length) for length in shape) or "without a shape"
