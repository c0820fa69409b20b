"""Every error that ferbench raises on purpose.

FerbenchError                exit code 1, one line for people
├── UsageError               exit code 2: the call itself is wrong
│   ├── UnknownName          no component of that name, with a suggestion
│   └── RecipeError          a recipe key or value that does not fit
├── PluginError              a plugin that breaks the contract
│   ├── DuplicateName        two plugins claim one name
│   └── DetectorMissing      the face detector that a stage's faces were found by is not here
├── DatasetError             data that cannot be read or used
│   ├── SplitMissing         a copy without that split
│   └── DatasetMissing       not found; names the steps to get it
├── WeightsError             weights that cannot be had, read or fitted
├── TrainingError            a stage that cannot go on (a loss that is not finite)
├── CheckpointError          a stored checkpoint that is not what it says
│   └── CheckpointLost       one that was there is gone or damaged; training its stage again brings it back
├── ExportError              a trained network that cannot be written for use elsewhere
└── StoreError               the leaderboard file cannot be used
    └── StoreOutdated        it was written by an older ferbench

The message is the one line: what was wrong, where, what to do next. The CLI's edge prints it, once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Names that an error lists where none is close to the one that was asked for.
_LISTED = 20


class FerbenchError(Exception):
    """A failure with one line for people; the process ends with `exit_code`."""

    exit_code = 1

    @property
    def line(self) -> str:
        """The message on one line, whatever it was built from."""
        return " ".join(str(self).split())


class UsageError(FerbenchError):
    """The command was called wrongly."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that no plugin provides.

    Parameters
    ----------
    kind : what was looked for, such as "backbone"
    name : the name as given
    known : the names there are, for the suggestion
    advice : said in place of a suggestion
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], advice: str = "") -> None:
        self.advised = bool(advice)
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        if advice:
            pass
        elif close:
            advice = f"did you mean {' or '.join(close)}?"
        elif names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            advice = f"there are: {', '.join(names[:_LISTED])}{more}"
        else:
            advice = "there are none"
        super().__init__(f"no {kind} named {name!r}: {advice}")


class RecipeError(UsageError):
    """A recipe key that does not exist or a value of the wrong type or range."""


class PluginError(FerbenchError):
    """A plugin that breaks the contract of the hooks."""


class DuplicateName(PluginError):
    """Two plugins provide a component of the same kind and name."""

    def __init__(self, kind: str, name: str, first: str, second: str) -> None:
        super().__init__(
            f"{kind} {name!r} is provided twice, by {first} and by {second}: uninstall or rename one of them"
        )


class DetectorMissing(PluginError):
    """Pictures cannot be cut as a stage had them cut.

    Parameters
    ----------
    found_by : identity of the detector that the stage's faces were found by
    here : what there is in its place, in words
    """

    def __init__(self, found_by: str, here: str) -> None:
        super().__init__(
            f"faces were found by {found_by}, which is not here ({here}): install that one, or run the cell again, "
            "which makes another row"
        )


class DatasetError(FerbenchError):
    """Data that cannot be read or used."""


class SplitMissing(DatasetError):
    """A copy that can be read, without one of the splits."""


class DatasetMissing(DatasetError):
    """Data that was not found where it is looked for.

    Parameters
    ----------
    name : the dataset
    place : where was looked
    steps : what to do to have it there
    """

    def __init__(self, name: str, place: str, steps: str) -> None:
        super().__init__(f"dataset {name!r} was not found in {place}: {steps}")


class WeightsError(FerbenchError):
    """Weights that cannot be had, read or fitted."""


class TrainingError(FerbenchError):
    """A stage that cannot go on."""


class CheckpointError(FerbenchError):
    """A stored checkpoint that cannot be written or read."""


class CheckpointLost(CheckpointError):
    """A checkpoint that is missing, damaged or not the one that was stored.

    fingerprint : of the stage whose training brings it back
    """

    def __init__(self, fingerprint: str, message: str) -> None:
        super().__init__(message)
        self.fingerprint = fingerprint


class ExportError(FerbenchError):
    """A trained network that cannot be written for use elsewhere."""


class StoreError(FerbenchError):
    """The store cannot be opened, read or written."""


class StoreOutdated(StoreError):
    """A store of an older ferbench: opening it for writing brings it up to date."""


def one_line(error: BaseException, length: int = 200) -> str:
    """A foreign exception's message on one line, its type's name where it has none, cut after `length` characters."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= length else words[:length] + "…"
