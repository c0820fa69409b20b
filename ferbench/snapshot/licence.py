"""What of a dataset's samples may be published: what its licence permits, and what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from ferbench.components import Dataset, Permit
from ferbench.errors import FerbenchError
from ferbench.pseudonyms import are_numbers, numbered_groups
from ferbench.records import Predictions
from ferbench.references import parse_reference
from ferbench.store.kept import KeptRun

#: What a dataset's reference permits.
Permits = Callable[[str], Collection[Permit]]

#: Of permits, those that matter to a snapshot, which holds neither pictures nor weights.
NAMES: tuple[Permit, ...] = ("ids", "groups")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one split's samples.

    what : `ids`, `groups` or both
    """

    dataset: str
    split: str
    what: tuple[Permit, ...]


def nothing(dataset: str) -> Collection[Permit]:
    """What is permitted where no licence is known."""
    return ()


def permits_of(find: Callable[[str], Dataset]) -> Permits:
    """What the licences of datasets permit; nothing of one that no plugin here knows.

    Parameters
    ----------
    find : the catalog's look-up of a dataset by name
    """
    known: dict[str, Collection[Permit]] = {}

    def permits(dataset: str) -> Collection[Permit]:
        if dataset not in known:
            try:
                known[dataset] = frozenset(parse_reference(dataset, find).dataset.licence_permits)
            except FerbenchError:
                known[dataset] = frozenset()
        return known[dataset]

    return permits


def asked_too(permits: Permits, asked: Collection[Permit]) -> Permits:
    """What is permitted, and what is asked for whatever the licence says."""
    return lambda dataset: {*permits(dataset), *asked}


def withheld_of(predictions: Predictions) -> tuple[Permit, ...]:
    """Which names are numbers, as they are where they were withheld."""
    groups = predictions.groups
    numbers = {"ids": are_numbers(predictions.ids), "groups": groups is not None and numbered_groups(groups) == groups}
    return tuple([name for name in NAMES if numbers[name]])


def names_of(runs: Iterable[KeptRun], wanted: Callable[[Predictions], Collection[Permit]]) -> tuple[Names, ...]:
    """For each split of which runs hold predictions the names that are wanted of it, by dataset and split."""
    found: dict[tuple[str, str], set[Permit]] = {}
    for kept in runs:
        for predictions in kept.predictions.values():
            what = found.setdefault((predictions.dataset, predictions.split), set())
            what.update(wanted(predictions))
    return tuple(
        Names(dataset, split, tuple([name for name in NAMES if name in what]))
        for (dataset, split), what in sorted(found.items())
        if what
    )


def against_licence(runs: Iterable[KeptRun], permits: Permits, asked: Collection[Permit]) -> tuple[Names, ...]:
    """Names that are published because they were asked for, and that the licence does not permit."""

    def published(predictions: Predictions) -> set[Permit]:
        there = {"ids", *(() if predictions.groups is None else ("groups",))}
        named = there - {*withheld_of(predictions)} - {*permits(predictions.dataset)}
        return {name for name in NAMES if name in named and name in asked}

    return names_of(runs, published)
