"""Foreign JSON as records: each field of the type, the length and the range that it must have, or it is refused.

`store.codec` trusts what ferbench wrote; what somebody else wrote is read here. What a record's annotations cannot say
(hashes, fractions, what fits in a column) stands in the tables below.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal, NoReturn, TypeVar, Union

from ferbench.errors import RecipeError
from ferbench.recipes import Recipe, RecipeValue, typed
from ferbench.stages import StageChange

T = TypeVar("T")

#: Characters of any text in a record. Errors and notes are the longest; what is longer is no sentence.
LONGEST_TEXT = 4_000

#: Members of any list in a record.
LONGEST_LIST = 20_000

#: Past these a number means nothing here, or does not fit into a column.
_LARGEST = 2**53
_LARGEST_COLUMN = 2**31 - 1

#: Terminal escapes and other controls, ends of lines, marks that turn the direction of text round, half characters.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)

_HEX = re.compile("[0-9a-f]{64}")

#: Texts that are SHA-256, by class and field; True where there may be none.
_HASHES: dict[tuple[str, str], bool] = {
    ("Stage", "fingerprint"): False,
    ("Stage", "parent"): False,
    ("Stage", "select"): False,
    ("StageResult", "fingerprint"): False,
    ("StageResult", "checkpoint_sha256"): True,
    ("StageResult", "tracked"): True,
    ("TrainingPart", "content"): False,
    ("Board", "fingerprint"): False,
    ("Run", "key"): False,
    ("Run", "entry"): False,
    ("Run", "stages"): False,
    ("Run", "predictions_sha256"): True,
    ("Run", "select_content"): True,
    ("Run", "select_sha256"): True,
    ("Forgetting", "content"): False,
    ("Forgetting", "stage"): False,
    ("Forgetting", "before_sha256"): True,
    ("Forgetting", "after_sha256"): True,
    ("Member", "entry"): False,
    ("Member", "stage"): False,
    ("FurtherScores", "content"): False,
}

#: Numbers from 0 to 1, and what rounding may put on top of it.
_LARGEST_FRACTION = 1.000001
_FRACTIONS = frozenset(
    {
        *(("Cell", "train_fraction"), ("Run", "train_fraction"), ("TrainingPart", "fraction")),
        *(("Run", "select_accuracy"), ("EpochResult", "select_accuracy"), ("EpochResult", "target_accuracy")),
        *(("Board", "majority"), ("Forgetting", "before"), ("Forgetting", "after"), ("Member", "weight")),
        *(("ReliabilityBin", name) for name in ("low", "high", "confidence", "accuracy")),
    }
)

#: Whole numbers that are columns of four bytes in some databases.
_IN_COLUMNS = frozenset(
    {
        *(("Board", "n"), ("Board", "excluded"), ("Board", "protocol"), ("Environment", "threads")),
        *(("StageResult", "threads"), ("StageResult", "micro_batch"), ("FurtherScores", "n")),
    }
)

_Decode = Callable[[Any, str], Any]


class Unsound(Exception):
    """What is wrong with a foreign row, in words that can be shown: `stage 2.recipe.lr: a number is needed`."""


def parse_json(text: str | bytes) -> Any:
    """JSON with no key twice in an object and no number that is none; bounded by the length of the text alone.

    Raises
    ------
    Unsound : anything else
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise Unsound("it is nested too deeply") from None
    except ValueError as error:
        raise Unsound(f"it is no JSON ({quoted(str(error))})") from None


def decoded(kind: type[T], value: object, where: str) -> T:
    """The record of a dataclass from JSON's own types.

    Fields that the value lacks take their defaults. A field that the class lacks is refused: what a newer ferbench
    would say by it must not be lost.

    Parameters
    ----------
    where : what the record is, for the message

    Raises
    ------
    Unsound : a value that is not of its field's type, length or range
    """
    record: T = _decoder(typing.cast(Any, kind), None)(value, where)
    return record


def sound_text(value: object, where: str, longest: int = LONGEST_TEXT) -> str:
    """A text that can be stored and shown as it is.

    Raises
    ------
    Unsound : no text, too long, or with characters that a terminal would obey
    """
    if not isinstance(value, str):
        raise Unsound(f"{where}: a text is needed")
    if len(value) > longest:
        raise Unsound(f"{where}: it has {len(value):,} characters, at most {longest:,} are taken")
    found = _UNPRINTABLE.search(value)
    if found:
        raise Unsound(f"{where}: it holds the character U+{ord(found[0]):04X}, which cannot be shown")
    return value


def sound_texts(values: Iterable[str], where: str, longest: int) -> None:
    """As `sound_text` for many at once, each known to be a text."""
    values = list(values)
    if max(map(len, values), default=0) > longest or _UNPRINTABLE.search("".join(values)):
        for number, value in enumerate(values, 1):
            sound_text(value, f"{where} {number}", longest)


def is_hash(value: object) -> bool:
    """Whether a value is a SHA-256 in hex."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def quoted(value: object, longest: int = 60) -> str:
    """A foreign value in a message: in ASCII, and not more of it than a line can take."""
    text = ascii(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large")
    return number


@functools.cache
def _decoder(kind: Any, place: tuple[str, str] | None) -> _Decode:
    """How to read a value of an annotated type; `place` is the class and the field that it stands in."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _record_decoder(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _tuple_decoder(arguments, place)
    if origin is Literal:
        return _word_decoder(arguments)
    if origin in (Union, types.UnionType):
        others = tuple(argument for argument in arguments if argument is not type(None))
        inner = _decoder(others[0], place) if len(others) == 1 else _value_decoder(others)
        return inner if len(others) == len(arguments) else _optional(inner)
    return _plain_decoder(kind, place)


def _plain_decoder(kind: Any, place: tuple[str, str] | None) -> _Decode:
    if kind is str:
        return _text_decoder(place)
    if kind is bool:
        return _truth
    if kind is int:
        return _whole_decoder(_LARGEST_COLUMN if place in _IN_COLUMNS else _LARGEST)
    if kind is float:
        return _number_decoder(_LARGEST_FRACTION if place in _FRACTIONS else float(_LARGEST))
    raise TypeError(f"no way to read a {kind}")


def _record_decoder(kind: type[Any]) -> _Decode:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    fields = {name: _decoder(hints[name], (kind.__name__, name)) for name in names}
    needed = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise Unsound(f"{where}: an object is needed")
        for name in value:
            if name not in fields:
                raise Unsound(f"{where}: field {quoted(name)} is not known to this ferbench; a newer one may read it")
        for name in needed - value.keys():
            raise Unsound(f"{where}.{name}: it is missing")
        record = kind(**{name: fields[name](each, f"{where}.{name}") for name, each in value.items()})
        if kind is Recipe:
            for field in dataclasses.fields(kind):
                _check_recipe_value(field.name, getattr(record, field.name), f"{where}.{field.name}")
        if kind is StageChange:
            _check_recipe_value(record.key, record.value, f"{where}.value")
        return record

    return decode


def _check_recipe_value(key: str, value: RecipeValue, where: str) -> None:
    try:
        sound = typed(key, value) == value
    except RecipeError:
        sound = False
    if not sound:
        raise Unsound(f"{where}: {quoted(value)} is no value of {quoted(key)}")


def _tuple_decoder(arguments: tuple[Any, ...], place: tuple[str, str] | None) -> _Decode:
    many = len(arguments) == 2 and arguments[1] is Ellipsis
    decoders = [_decoder(argument, place) for argument in (arguments[:1] if many else arguments)]

    def decode(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Unsound(f"{where}: a list is needed")
        if len(value) > LONGEST_LIST or not (many or len(value) == len(decoders)):
            raise Unsound(f"{where}: it has {len(value):,} members, which is not what it may have")
        each = decoders * len(value) if many else decoders
        return tuple([own(item, f"{where}[{n}]") for n, (own, item) in enumerate(zip(each, value, strict=True), 1)])

    return decode


def _word_decoder(words: tuple[Any, ...]) -> _Decode:
    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, str) or value not in words:
            raise Unsound(f"{where}: it is one of {', '.join(words)}")
        return value

    return decode


def _value_decoder(kinds: tuple[Any, ...]) -> _Decode:
    """Of a recipe's value, which is of one of several types."""
    decoders = {kind: _decoder(kind, None) for kind in kinds}

    def decode(value: Any, where: str) -> Any:
        if type(value) not in decoders:
            raise Unsound(f"{where}: a text, a number, or true or false is needed")
        return decoders[type(value)](value, where)

    return decode


def _optional(inner: _Decode) -> _Decode:
    return lambda value, where: None if value is None else inner(value, where)


def _text_decoder(place: tuple[str, str] | None) -> _Decode:
    if place == ("InitialWeights", "sha256"):
        return _weights_hash
    if place not in _HASHES:
        return sound_text
    may_be_empty = _HASHES[place]

    def decode(value: Any, where: str) -> str:
        if not (is_hash(value) or (may_be_empty and value == "")):
            raise Unsound(f"{where}: a SHA-256 in hex is needed")
        return str(value)

    return decode


def _weights_hash(value: Any, where: str) -> str:
    if not (is_hash(value) or value in ("random", "none")):
        raise Unsound(f"{where}: a SHA-256 in hex, random or none is needed")
    return str(value)


def _truth(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise Unsound(f"{where}: true or false is needed")
    return value


def _whole_decoder(largest: int) -> _Decode:
    def decode(value: Any, where: str) -> int:
        if type(value) is not int:
            raise Unsound(f"{where}: a whole number is needed")
        if not 0 <= value <= largest:
            raise Unsound(f"{where}: it lies between 0 and {largest}")
        return value

    return decode


def _number_decoder(largest: float) -> _Decode:
    def decode(value: Any, where: str) -> float:
        if type(value) not in (int, float):
            raise Unsound(f"{where}: a number is needed")
        if not 0 <= value <= largest:
            raise Unsound(f"{where}: it lies between 0 and {largest:g}")
        return float(value)

    return decode
