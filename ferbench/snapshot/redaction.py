"""What of a row is published: everything but where on a machine things lie, and what a dataset's licence withholds.

Every run goes through `published` and then `withheld` on its way into a snapshot: before figures are computed, so that
a snapshot agrees with itself.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from ferbench.components import Permit
from ferbench.data.decoding import SUFFIXES
from ferbench.evidence import Forgetting
from ferbench.pseudonyms import numbered_groups, numbered_ids
from ferbench.records import Entry, FurtherScores, Predictions, RunSummary
from ferbench.references import CUT
from ferbench.snapshot.licence import Permits
from ferbench.stages import Cell, InitialWeights, TrainingPart
from ferbench.store.kept import KeptRun

_Record = TypeVar("_Record")
_Named = TypeVar("_Named", Forgetting, FurtherScores, Predictions, TrainingPart)

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


#: Fields of records whose whole value is a name, so that a folder with a space is told from the words around it.
_NAMES = frozenset(("auxiliaries", "backbone", "dataset", "target", "weights"))

#: What the patterns above take for the end of a path, though a folder's name may have it.
_ENDS = re.compile(r"[\s'\"<>|]")

_START, _DRIVE = r"(?<![\w.…-])(?<!:/)", r"(?<!\w)[A-Za-z]:[\\/]"

#: The folders of a path that goes from a root to the end of a name; a home folder goes with its owner's name.
_ROOTED = re.compile(
    rf"(?P<home>(?:{_START}/(?:home|Users)/|{_DRIVE}Users[\\/])[^\\/:]+[\\/]*(?=$|:))"
    rf"|(?:{_START}(?:/[^\\/]+/|~[\w.-]*[\\/])|{_DRIVE}|\\\\[^\\/]+\\)(?:.*[\\/])?(?=[^\\/])",
    re.DOTALL,
)


#: A step to this folder or up from it.
_STEP = re.compile(r"(?:^|(?<=[\\/]))\.{1,2}(?:[\\/]|$)")


#: What stands in the place of an error, of which nobody can say what in it names a sample.
_WITHHELD = "withheld: it may name a sample (see the store that it comes from)"

#: The error in a row's note of its failed runs.
_FAILED = re.compile(r"\A(\d+ runs? failed: ).*", re.DOTALL)

_PICTURE = "|".join(sorted(suffix[1:] for suffix in SUFFIXES))

#: What of a note may name a sample: all up to the last name of a picture, for it may have spaces, and quoted words. The
#: core's own notes name none; a plugin's that names one in other ways is not seen through.
_NAMING = re.compile(
    rf"""\A.*\.(?:{_PICTURE})\b|(?<!\w)'[^']*'(?!\w)|(?<!\w)"[^"]*"(?!\w)""",
    re.IGNORECASE | re.DOTALL,
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
    and so on, and those that were together stay so. Where any of the run's datasets withholds something, its error
    is withheld, and its notes lose what may name a sample.

    Parameters
    ----------
    permits : what may be published of a dataset, by its reference
    """
    run, stages = kept.run, kept.stages
    parts = [part.dataset for stage, _ in stages for part in stage.parts]
    if not _may_be_named((run.cell.target, *run.cell.auxiliaries, *parts), permits):
        run = dataclasses.replace(run, error=run.error and _WITHHELD, notes=_all_nameless(run.notes))
        stages = tuple(
            [(stage, dataclasses.replace(result, notes=_all_nameless(result.notes))) for stage, result in stages]
        )
    return dataclasses.replace(
        kept,
        run=run,
        stages=stages,
        predictions={name: _numbered(each, permits(each.dataset)) for name, each in kept.predictions.items()},
    )


def withheld_summary(run: RunSummary, permits: Permits) -> RunSummary:
    """A summary whose error and notes name no sample that licences do not permit, as `withheld` has it of a run."""
    if _may_be_named((run.target, *run.auxiliaries), permits):
        return run
    return dataclasses.replace(run, error=run.error and _WITHHELD, notes=_all_nameless(run.notes))


def withheld_entry(entry: Entry, target: str, permits: Permits) -> Entry:
    """A row whose notes name no such sample; `target` is its board's dataset as its runs have it."""
    if _may_be_named((target, *entry.auxiliaries), permits):
        return entry
    return dataclasses.replace(
        entry, notes=_all_nameless([_FAILED.sub(rf"\1{_WITHHELD}", note) for note in entry.notes])
    )


def _may_be_named(datasets: Iterable[str], permits: Permits) -> bool:
    return all({"ids", "groups"} <= {*permits(each)} for each in datasets)


def _numbered(predictions: Predictions, permitted: Collection[Permit]) -> Predictions:
    groups = predictions.groups
    return dataclasses.replace(
        predictions,
        ids=predictions.ids if "ids" in permitted else numbered_ids(len(predictions.ids)),
        groups=groups if groups is None or "groups" in permitted else numbered_groups(groups),
    )


def _all_nameless(texts: Iterable[str]) -> tuple[str, ...]:
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
        backbone=name_without_folders(run.cell.backbone),
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
                        backbone=name_without_folders(stage.backbone),
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
    cut = name_without_folders(reference)
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


def name_without_folders(name: str) -> str:
    """A dataset's reference, a backbone or a file as `without_folders` has it, whatever signs its folders have."""
    if not _ENDS.search(name):
        return without_folders(name)
    if _BETWEEN in name:
        return _BETWEEN.join(map(name_without_folders, name.split(_BETWEEN)))
    return _ROOTED.sub(lambda found: "~" if found["home"] else CUT, name)


def _elsewhere(value: _Named) -> _Named:
    return dataclasses.replace(value, dataset=without_location(value.dataset))


def _without_path(cell: Cell) -> Cell:
    """Where a policy is a file, its name is left; an ensemble has the policies of its members."""
    policies = [_name_of(policy) for policy in cell.weights.split(_BETWEEN)]
    return dataclasses.replace(cell, weights=_BETWEEN.join(policies))


def _name_of(policy: str) -> str:
    folders, name = re.fullmatch(r"(.*[/\\])?([^/\\]*)", policy, re.DOTALL).groups()  # type: ignore[union-attr]
    return CUT + name if folders and folders != CUT else policy


def cut(value: _Record) -> _Record:
    """A record in whose texts the folders of paths are cut, and in which where weights lay is left out."""
    return _cut(value)  # type: ignore[no-any-return]


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
        fields = [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
        return dataclasses.replace(value, **{name: _cut_field(name, of) for name, of in fields})
    return value


def _cut_field(field: str, value: Any) -> Any:
    if field in _NAMES and isinstance(value, str):
        return name_without_folders(value)
    if field in _NAMES and isinstance(value, tuple):
        return tuple(map(name_without_folders, value))
    return _cut(value)


def _cut_predictions(predictions: Predictions) -> Predictions:
    return dataclasses.replace(
        predictions,
        dataset=name_without_folders(predictions.dataset),
        split=without_folders(predictions.split),
        ids=_cut_all(predictions.ids),
        groups=None if predictions.groups is None else _cut_all(predictions.groups),
    )


@functools.lru_cache(maxsize=64)
def _cut_all(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Many rows speak of the same samples."""
    return tuple(map(without_folders, texts))
