"""What of a row is published: everything but where on a machine things lie, and what a dataset's licence withholds.

Every run goes through `published` and then `withheld` on its way into a snapshot: before figures are computed, so that
a snapshot agrees with itself.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection
from typing import Any, TypeVar

from ferbench.components import Permit
from ferbench.evidence import Forgetting
from ferbench.pseudonyms import numbered_groups, numbered_ids
from ferbench.records import FurtherScores, Predictions
from ferbench.snapshot.licence import Permits
from ferbench.stages import Cell, InitialWeights, TrainingPart
from ferbench.store.kept import KeptRun

_Named = TypeVar("_Named", Forgetting, FurtherScores, Predictions, TrainingPart)

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


#: A step to this folder or up from it.
_STEP = re.compile(r"(?:^|(?<=[\\/]))\.{1,2}(?:[\\/]|$)")


#: Words of an error that may name a sample: quoted ones, and names of pictures.
_NAMING = re.compile(
    r"""(?<!\w)'[^']*'(?!\w)|(?<!\w)"[^"]*"(?!\w)|[^\s'"(),]+\.(?:png|jpe?g|bmp|gif|tiff?|webp|pgm|ppm)\b""",
    re.IGNORECASE,
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


def withheld(kept: KeptRun, permits: Permits) -> KeptRun:
    """A run without the names of samples that licences do not permit: numbers stand in their place.

    Without `ids` these are numbers in the split's order; without `groups`, films and people are `group 1`, `group 2`
    and so on, and those that were together stay so. Errors and notes lose what may name a sample where any of the
    run's datasets withholds something.

    Parameters
    ----------
    permits : what may be published of a dataset, by its reference
    """
    run, stages = kept.run, kept.stages
    parts = [part.dataset for stage, _ in stages for part in stage.parts]
    if not all({"ids", "groups"} <= {*permits(each)} for each in (run.cell.target, *run.cell.auxiliaries, *parts)):
        error = None if run.error is None else _nameless(run.error)
        run = dataclasses.replace(run, error=error, notes=_all_nameless(run.notes))
        stages = tuple(
            [(stage, dataclasses.replace(result, notes=_all_nameless(result.notes))) for stage, result in stages]
        )
    return dataclasses.replace(
        kept,
        run=run,
        stages=stages,
        predictions={name: _numbered(each, permits(each.dataset)) for name, each in kept.predictions.items()},
    )


def _numbered(predictions: Predictions, permitted: Collection[Permit]) -> Predictions:
    groups = predictions.groups
    return dataclasses.replace(
        predictions,
        ids=predictions.ids if "ids" in permitted else numbered_ids(len(predictions.ids)),
        groups=groups if groups is None or "groups" in permitted else numbered_groups(groups),
    )


def _all_nameless(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_nameless, texts))


def _nameless(text: str) -> str:
    return _NAMING.sub("…", text)


def unlocated(kept: KeptRun) -> KeptRun:
    """A foreign run without paths of weights, data and backbones: nothing is ever opened where another machine says.

    The hashes that it is known by stay those that it came with, though such names are part of them.
    """
    run = kept.run
    cell = dataclasses.replace(
        _without_path(run.cell),
        backbone=without_folders(run.cell.backbone),
        target=without_location(run.cell.target),
        auxiliaries=tuple(map(without_location, run.cell.auxiliaries)),
    )
    board = run.board and dataclasses.replace(run.board, target=without_location(run.board.target))
    return dataclasses.replace(
        kept,
        run=dataclasses.replace(
            run,
            cell=cell,
            board=board,
            weights=dataclasses.replace(run.weights, path=None),
            forgetting=tuple(map(_elsewhere, run.forgetting)),
        ),
        stages=tuple(
            [
                (
                    dataclasses.replace(
                        stage,
                        backbone=without_folders(stage.backbone),
                        weights=dataclasses.replace(stage.weights, path=None),
                        parts=tuple(map(_elsewhere, stage.parts)),
                    ),
                    result,
                )
                for stage, result in kept.stages
            ]
        ),
        predictions={name: _elsewhere(each) for name, each in kept.predictions.items()},
        further=tuple([(stage, _elsewhere(each)) for stage, each in kept.further]),
    )


@functools.lru_cache(maxsize=1024)
def without_location(reference: str) -> str:
    """A dataset's reference that opens nothing: paths lose their folders, those up from the current folder too."""
    cut = without_folders(reference)
    kind, colon, rest = cut.partition(":")
    if colon and _STEP.search(rest):
        return f"{kind}:{CUT}{_STEP.split(rest)[-1].replace(chr(92), '/').rpartition('/')[2]}"
    return cut


def without_folders(text: str) -> str:
    """A text in which every path that begins at a root has lost its folders: `…/name` is left of it."""
    # Most texts hold nothing like it.
    if "/" not in text and "\\" not in text:
        return text
    for pattern, left in _PATHS:
        text = pattern.sub(left, text)
    return text


def _elsewhere(value: _Named) -> _Named:
    return dataclasses.replace(value, dataset=without_location(value.dataset))


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
