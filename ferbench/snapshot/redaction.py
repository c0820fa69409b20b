"""What of a row is published: everything but where on a machine things lie.

`published` is the one place through which every run goes on its way into a snapshot. What else must be withheld of it,
as a licence may ask for, is to be withheld here: before figures are computed, so that a snapshot agrees with itself.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

from ferbench.records import Predictions
from ferbench.stages import Cell, InitialWeights
from ferbench.store.kept import KeptRun

#: What stands in the place of the folders of a path.
CUT = "…/"

#: What parts the policies of an ensemble's members.
_BETWEEN = " + "

#: A part of a path.
_PART = r"[^\s\\/'\"<>|]+"

#: Home folders, which have their owner's name; then what lies below them, below a root and on a Windows share. Not what
#: follows a word, as in `a/b` or `images/s`, and not the host of an address.
_PATHS = (
    (re.compile(rf"(?<![\w.…-])(?<!:/)/(?:home|Users)/{_PART}"), "~"),
    (re.compile(rf"(?<!\w)[A-Za-z]:[\\/]Users[\\/]{_PART}"), "~"),
    (re.compile(rf"(?<![\w.…-])~[\w.-]*[\\/](?:{_PART}[\\/])*(?=[^\s\\/])"), CUT),
    (re.compile(rf"(?<![\w.…-])(?<!:/)/(?:{_PART}/)+(?=[^\s/])"), CUT),
    (re.compile(rf"(?<!\w)[A-Za-z]:[\\/](?:{_PART}[\\/])*(?=[^\s\\/])"), CUT),
    (re.compile(rf"\\\\(?:{_PART}\\)+(?=[^\s\\/])"), CUT),
)


def published(kept: KeptRun) -> KeptRun:
    """A run as anybody may have it: the folders of paths are cut, and where weights lay is left out."""
    return dataclasses.replace(
        kept,
        run=_cut(kept.run),
        stages=tuple([(_cut(stage), _cut(result)) for stage, result in kept.stages]),
        predictions={name: _cut_predictions(each) for name, each in kept.predictions.items()},
        further=tuple([(stage, _cut(each)) for stage, each in kept.further]),
    )


def unlocated(kept: KeptRun) -> KeptRun:
    """A foreign run without the paths of weights: nothing is ever opened where another machine says."""
    run = kept.run
    return dataclasses.replace(
        kept,
        run=dataclasses.replace(run, cell=_without_path(run.cell), weights=dataclasses.replace(run.weights, path=None)),
        stages=tuple(
            [
                (dataclasses.replace(stage, weights=dataclasses.replace(stage.weights, path=None)), result)
                for stage, result in kept.stages
            ]
        ),
    )


def without_folders(text: str) -> str:
    """A text in which every path that begins at a root has lost its folders: `…/name` is left of it."""
    # Most texts hold nothing like it.
    if "/" not in text and "\\" not in text:
        return text
    for pattern, left in _PATHS:
        text = pattern.sub(left, text)
    return text


def _without_path(cell: Cell) -> Cell:
    """Where a policy is a file, its name is left; an ensemble has the policies of its members."""
    policies = [_name_of(policy) for policy in cell.weights.split(_BETWEEN)]
    return dataclasses.replace(cell, weights=_BETWEEN.join(policies))


def _name_of(policy: str) -> str:
    folders, name = re.fullmatch(r"(.*[/\\])?([^/\\]*)", policy, re.DOTALL).groups()  # type: ignore[union-attr]
    return CUT + name if folders and folders != CUT else policy


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return without_folders(value)
    if isinstance(value, tuple):
        return tuple([_cut(each) for each in value])
    if isinstance(value, InitialWeights):
        value = dataclasses.replace(value, path=None)
    if isinstance(value, Cell):
        value = _without_path(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{f.name: _cut(getattr(value, f.name)) for f in dataclasses.fields(value)})
    return value


def _cut_predictions(predictions: Predictions) -> Predictions:
    return dataclasses.replace(
        predictions,
        dataset=without_folders(predictions.dataset),
        split=without_folders(predictions.split),
        ids=_cut_all(predictions.ids),
        groups=None if predictions.groups is None else _cut_all(predictions.groups),
    )


@functools.lru_cache(maxsize=64)
def _cut_all(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Many rows speak of the same samples."""
    return tuple(map(without_folders, texts))
