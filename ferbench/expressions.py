"""Names of facial expressions, label sets, and how a dataset's classes land on them: by name, never by index.

A label set is named by a word or spelled out:

- `basic7`: angry, disgust, fear, happy, sad, surprise, neutral
- `basic8`: these and contempt
- `happy/sad/neutral`: a subset, in this order
- `negative=angry+disgust+fear+sad/happy/neutral`: a merge; a class takes the expressions after its `=`

Classes are parted by a slash since a comma already makes an axis of a matrix.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ferbench.errors import DatasetError, UnknownName, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BASIC7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
BASIC8 = (*BASIC7, "contempt")

#: Every spelling that a dataset, folder or user may choose for an expression. The one table of its kind.
_SPELLINGS = {
    "angry": ("angry", "anger"),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "fearful", "afraid", "scared"),
    "happy": ("happy", "happiness", "joy", "joyful"),
    "sad": ("sad", "sadness"),
    "surprise": ("surprise", "surprised"),
    "neutral": ("neutral", "neutrality"),
    "contempt": ("contempt", "contemptuous"),
}
_CANONICAL = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}
_CLASS_NAME = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The classes that a run tells apart, in the order of the head's outputs.

    name : the one spelling of this set, whatever spelling it was asked for by
    classes : names, unique, at least two
    members : for each class the expressions that it takes; no expression is in two classes
    """

    name: str
    classes: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]

    def index(self, name: str) -> int | None:
        """Where a dataset's class of this name lands; -1 if it is an expression outside the set, None if unknown."""
        canonical = expression(name)
        if canonical is None:
            word = _tidied(name)
            return self.classes.index(word) if word in self.classes else None
        for index, members in enumerate(self.members):
            if canonical in members:
                return index
        return -1


def expression(name: str) -> str | None:
    """The canonical name of an expression in any case, noun or adjective; None for a word that is none.

    >>> expression("Happiness"), expression("bored")
    ('happy', None)
    """
    return _CANONICAL.get(_tidied(name))


def label_set(name: str) -> LabelSet:
    """The label set of a name; see this module's docstring for the spelling.

    Raises
    ------
    UnknownName : for a word that is neither a named set nor an expression
    UsageError : for a spelling that cannot be read, an expression in two classes, or fewer than two classes
    """
    text = _tidied(name)
    named = {"basic7": BASIC7, "basic8": BASIC8}
    if text in named:
        return LabelSet(text, named[text], tuple((each,) for each in named[text]))
    if "," in text:
        raise UsageError(f"label set {name!r}: part its classes by slashes, as in {text.replace(',', '/')!r}")
    parts = text.split("/")
    if len(parts) == 1 and "=" not in text and expression(text) is None:
        raise UnknownName("label set", name, [*named, *BASIC8])
    classes, members = zip(*(_parsed_class(part, name) for part in parts), strict=True)
    if len(classes) < 2:
        raise UsageError(f"label set {name!r} has one class: name at least two, as in 'happy/sad/neutral'")
    _refuse_twice(classes, "class", name)
    _refuse_twice([each for taken in members for each in taken], "expression", name)
    for known, basic in named.items():
        if classes == basic and all(len(taken) == 1 for taken in members):
            return LabelSet(known, classes, members)
    return LabelSet("/".join(map(_spelled_class, classes, members)), classes, members)


def alignment(dataset_classes: Sequence[str], labels: LabelSet, dataset: str = "the dataset") -> NDArray[np.int64]:
    """Where each of a dataset's own classes lands in a label set.

    Parameters
    ----------
    dataset_classes : names in the dataset's own label order, length k
    labels : the run's label set
    dataset : its name, for the error

    Returns
    -------
    int64 [k] : index into `labels.classes`, -1 for an expression that the label set leaves out; indexing it with the
        dataset's own labels maps them

    Raises
    ------
    DatasetError : for a class that is no known expression and no class of the label set
    """
    import numpy as np

    landed = [labels.index(name) for name in dataset_classes]
    for name, index in zip(dataset_classes, landed, strict=True):
        if index is None:
            raise DatasetError(
                f"class {name!r} of {dataset} is no known expression and not in the label set {labels.name}: "
                f"rename it to one of {', '.join(dict.fromkeys((*labels.classes, *BASIC8)))}"
            )
    return np.array(landed, dtype=np.int64)


def _tidied(name: str) -> str:
    return name.strip().casefold()


def _parsed_class(part: str, name: str) -> tuple[str, tuple[str, ...]]:
    """One class of a spelled label set, as its name and the expressions it takes."""
    title, equals, taken = (piece.strip() for piece in part.partition("="))
    members = tuple(_required(word, name) for word in (taken if equals else title).split("+"))
    if not equals:
        if len(members) > 1:
            raise UsageError(f"label set {name!r}: give the merge {part!r} a name, as in 'negative={part}'")
        return members[0], members
    own = expression(title)
    if own is not None and own not in members:
        raise UsageError(f"label set {name!r}: the class {title!r} must take {own} itself, or bear another name")
    if own is None and not _CLASS_NAME.fullmatch(title):
        raise UsageError(f"label set {name!r}: {title!r} is no name for a class: use letters, digits, - and _")
    return own or title, tuple(sorted(members, key=BASIC8.index))


def _required(word: str, name: str) -> str:
    if not word.strip():
        raise UsageError(f"label set {name!r} has an empty place: write it as in 'happy/sad/neutral'")
    canonical = expression(word)
    if canonical is None:
        raise UnknownName("expression", word.strip(), BASIC8)
    return canonical


def _refuse_twice(names: Sequence[str], kind: str, label_set_name: str) -> None:
    for position, each in enumerate(names):
        if each in names[:position]:
            raise UsageError(f"label set {label_set_name!r} has the {kind} {each!r} twice: leave one out")


def _spelled_class(title: str, members: tuple[str, ...]) -> str:
    return title if members == (title,) else f"{title}={'+'.join(members)}"
