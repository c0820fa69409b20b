"""Which samples of a dataset play which role, and what they are called in the run's label set."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from ferbench.components import ROLES, Dataset, Role
from ferbench.data.pictures import Pictures
from ferbench.data.split_cache import SplitCache, StoredSplit
from ferbench.data.subsets import held_out, nested_part
from ferbench.errors import DatasetError, DatasetMissing, SplitMissing, UsageError
from ferbench.expressions import alignment, label_set
from ferbench.references import HOLD_OUT, DatasetReference, parse_reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Share of train that plays select where a dataset has no split for it.
FOR_SELECT = Fraction(15, 100)

#: Share of train that is reported on where that is asked for.
FOR_REPORT = Fraction(20, 100)


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Samples of one role, labels in the label set's order, in an order that depends on their content alone.

    splits : the published splits they come from, for the row
    images : uint8 [H, W, C] each, read from the cache when they are asked for
    labels : int64 [n], or None where withheld
    content : hash of pixels, expressions and groups
    pictures : hash of each sample's pixels alone
    whole : samples there would be without a fraction
    excluded : samples outside the label set, left out
    """

    dataset: str
    splits: str
    images: Pictures
    labels: NDArray[np.int64] | None
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None
    content: str
    pictures: tuple[str, ...]
    whole: int
    excluded: int
    synthetic: bool
    warnings: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Indices of one split's samples that play the role."""

    split: str
    stored: StoredSplit
    indices: NDArray[np.int64]


class RoleReader:
    """Roles of datasets by reference; each is read once a process."""

    def __init__(self, find: Callable[[str], Dataset], data_folder: Path, cache_folder: Path) -> None:
        self._find = find
        self._data_folder = data_folder
        self._cache = SplitCache(cache_folder)
        self._roles: dict[tuple[str, Role | None, str, float], LabelledImages] = {}
        self._roots: dict[str, Path] = {}
        self._roles_at: dict[Path, Mapping[Role, str]] = {}

    def root(self, dataset: Dataset) -> Path:
        """Where a dataset lies; embedded data lies nowhere, its root is the data folder.

        Raises
        ------
        DatasetMissing : with the steps to have it
        """
        if dataset.embedded:
            return self._data_folder
        if dataset.name not in self._roots:
            root = dataset.locate(self._data_folder)
            if root is None:
                raise DatasetMissing(dataset.name, str(self._data_folder), dataset.steps)
            self._roots[dataset.name] = root
        return self._roots[dataset.name]

    def roles_of(self, dataset: Dataset) -> Mapping[Role, str]:
        """Which split plays which role in the copy on this machine; raises as `root` does where copies differ."""
        if dataset.roles_at is None:
            return dataset.roles
        root = self.root(dataset)
        if root not in self._roles_at:
            self._roles_at[root] = dataset.roles_at(root)
        return self._roles_at[root]

    def train(self, reference: str, labels: str = "basic7", fraction: float = 1.0) -> LabelledImages:
        """What is trained on: the train role less any held-out part, or the splits that the reference names.

        Of it the part of size `fraction` that `subsets.nested_part` gives.
        """
        return self._role(reference, "train", labels, fraction)

    def select(self, reference: str, labels: str = "basic7") -> LabelledImages:
        """What checkpoints and values are chosen on."""
        return self._role(reference, "select", labels)

    def report(self, reference: str, labels: str = "basic7") -> LabelledImages:
        """What is reported on: the report role, or the splits that the reference names."""
        return self._role(reference, "report", labels)

    def named(self, reference: str, labels: str = "basic7") -> LabelledImages:
        """Exactly the published splits that the reference names, whatever role they play."""
        return self._role(reference, None, labels)

    def _role(self, text: str, role: Role | None, labels: str, fraction: float = 1.0) -> LabelledImages:
        key = (text, role, labels, fraction)
        if key not in self._roles:
            reference = self._of_copy(parse_reference(text, self._find))
            self._roles[key] = self._labelled(reference, role, labels, fraction)
        return self._roles[key]

    def _of_copy(self, reference: DatasetReference) -> DatasetReference:
        """The reference with the roles that the copy on this machine can play."""
        dataset = reference.dataset
        if dataset.roles_at is None:
            return reference
        root, there = self.root(dataset), self.roles_of(dataset)
        for split in reference.splits:
            # `train+select` must not quietly be train alone.
            if split in dataset.roles and split not in there:
                own = dataset.roles[cast("Role", split)]
                raise SplitMissing(
                    f"the copy of {dataset.name} at {root} has no {own}, which plays {split}: {dataset.steps}"
                )
        return DatasetReference(dataclasses.replace(dataset, roles=there), reference.splits)

    def _labelled(self, reference: DatasetReference, role: Role | None, labels: str, fraction: float) -> LabelledImages:
        dataset = reference.dataset
        classes = label_set(labels)
        index_of = dict(zip(dataset.classes, alignment(dataset.classes, classes, dataset.name).tolist(), strict=True))
        if role is None:
            chosen = [self._whole(dataset, split) for split in reference.splits]
        else:
            chosen = self._chosen(reference, role)
        rows: list[tuple[str, str, int, int, int]] = []
        excluded = 0
        for part, choice in enumerate(chosen):
            names = choice.stored.class_names
            for index in choice.indices.tolist():
                label = -2 if names is None else index_of[names[index]]
                if label == -1:
                    excluded += 1
                    continue
                rows.append((choice.stored.digests[index], choice.stored.ids[index], part, index, label))
        if not rows:
            where = f"its {role} role" if role else "+".join(reference.splits)
            raise DatasetError(f"dataset {dataset.name!r} has no sample of label set {labels} in {where}")
        rows.sort()
        withheld = any(label == -2 for *_, label in rows)
        grouped = all(choice.stored.groups is not None for choice in chosen)
        splits = "+".join(choice.split for choice in chosen)
        whole = len(rows)
        if fraction < 1:
            groups = [(chosen[part].stored.groups or ())[index] for _, _, part, index, _ in rows] if grouped else None
            rows = [rows[i] for i in nested_part([label for *_, label in rows], groups, fraction)]
            splits += f" ({100 * len(rows) / whole:.3g} %)"
        return LabelledImages(
            dataset=dataset.name,
            splits=splits,
            images=Pictures(
                [(choice.stored.pixels, choice.stored.shapes) for choice in chosen],
                np.array([part for _, _, part, _, _ in rows], dtype=np.int64),
                np.array([index for _, _, _, index, _ in rows], dtype=np.int64),
            ),
            labels=None if withheld else np.array([label for *_, label in rows], dtype=np.int64),
            ids=tuple(identifier for _, identifier, *_ in rows),
            groups=tuple((chosen[part].stored.groups or ())[index] for _, _, part, index, _ in rows)
            if grouped
            else None,
            content=hashlib.sha256("\n".join(row[0] for row in rows).encode()).hexdigest(),
            pictures=tuple(chosen[part].stored.pictures[index] for _, _, part, index, _ in rows),
            whole=whole,
            excluded=excluded,
            synthetic=dataset.embedded,
            warnings=(*(line for choice in chosen for line in choice.stored.warnings), *_on_roles(dataset, role)),
        )

    def _chosen(self, reference: DatasetReference, role: Role) -> list[_Chosen]:
        dataset = reference.dataset
        if reference.splits == (HOLD_OUT,):
            return [self._of_hold_out(dataset, role)]
        # Named splits replace the role that a reference is used for: train of an auxiliary, report of a target.
        named = reference.splits if role != "select" and _names_role(reference, role) else ()
        if not named:
            chosen = [self._of_role(dataset, role)]
            if role == "select" and _names_role(reference, "train"):
                _check_unused(reference, chosen, self._chosen(reference, "train"))
            return chosen
        chosen = [self._of_role(dataset, n) if n in ROLES else self._whole(dataset, n) for n in named]
        joined: dict[str, _Chosen] = {}
        for choice in chosen:
            name = choice.split.removesuffix(_LESS).removesuffix(_HELD)
            before = joined.get(name)
            indices = choice.indices if before is None else np.union1d(before.indices, choice.indices)
            whole = len(indices) == len(choice.stored.ids)
            joined[name] = _Chosen(name if whole else choice.split, choice.stored, indices)
        return list(joined.values())

    def _whole(self, dataset: Dataset, split: str) -> _Chosen:
        stored = self._cache.split(dataset, self.root(dataset), split)
        return _Chosen(split, stored, np.arange(len(stored.ids)))

    def _of_role(self, dataset: Dataset, role: Role) -> _Chosen:
        if role not in dataset.roles and (role == "report" or "train" not in dataset.roles):
            others = [split for split in dataset.splits if split not in dataset.roles.values()]
            named = f"name one, as in {dataset.name}:{others[-1]}" if others and role == "report" else ""
            if role == "report" and "train" in dataset.roles and (dataset.roles_at or not named):
                named = f"write {dataset.name}:{HOLD_OUT} to report on a fifth of it that is held out of train"
            raise DatasetError(f"dataset {dataset.name!r} has no {role} split: {named or 'take another dataset'}")
        if "select" in dataset.roles or role == "report":
            return self._whole(dataset, dataset.roles[role])
        train = self._whole(dataset, dataset.roles["train"])
        return _parted(train, FOR_SELECT, _HELD)[role == "train"]

    def _of_hold_out(self, dataset: Dataset, role: Role) -> _Chosen:
        """A role of a dataset without a report split: a fifth of train is reported on."""
        if "report" in dataset.roles:
            raise UsageError(f"{dataset.name} reports on {dataset.roles['report']}, nothing is held out for it")
        report, rest = _parted(self._whole(dataset, dataset.roles["train"]), FOR_REPORT, _REPORTED)
        if role == "report":
            return report
        if "select" in dataset.roles:
            return rest if role == "train" else self._whole(dataset, dataset.roles["select"])
        return _parted(rest, FOR_SELECT, _HELD)[role == "train"]


def _on_roles(dataset: Dataset, role: Role | None) -> tuple[str, ...]:
    """What is said of a copy that lacks the split to select on which others have."""
    if role != "train" or dataset.roles_at is None or "select" in dataset.roles:
        return ()
    return (f"this copy has no split to select on: {float(FOR_SELECT):.0%} of {dataset.roles['train']} are held out",)


_HELD = " (held out)"
_REPORTED = " (held out to report)"
_LESS = " less held out"


def _parted(whole: _Chosen, share: Fraction, suffix: str) -> tuple[_Chosen, _Chosen]:
    """What is held out of a choice, and the rest."""
    held = held_out(whole.stored, whole.indices, share)
    name = whole.split.removesuffix(_LESS)
    return (
        _Chosen(name + suffix, whole.stored, held),
        _Chosen(name + _LESS, whole.stored, np.setdiff1d(whole.indices, held)),
    )


def _names_role(reference: DatasetReference, role: Role) -> bool:
    """Whether the reference's splits are meant for this role: a target's report splits are never trained on."""
    if not reference.splits:
        return False
    train = reference.dataset.roles.get("train")
    trains = "train" in reference.splits or train in reference.splits
    return trains if role == "train" else not trains


def check_target(reference: DatasetReference, what: str = "target") -> None:
    """Raise UsageError where a target's named splits hold what it is trained on.

    what : it is called in the message
    """
    if _names_role(reference, "train"):
        name = reference.dataset.name
        raise UsageError(f"{what} {name}:{'+'.join(reference.splits)} would report on training data")


def check_auxiliary(reference: DatasetReference) -> None:
    """Raise UsageError where an auxiliary's named splits are none that it would be trained on."""
    name, named = reference.dataset.name, "+".join(reference.splits)
    if reference.splits == (HOLD_OUT,):
        raise UsageError(f"auxiliary {name}:{named} reports on nothing: write {name}")
    if reference.splits and not _names_role(reference, "train"):
        raise UsageError(f"auxiliary {name}:{named} leaves out what it is trained on: write {name}:train+{named}")


def _check_unused(reference: DatasetReference, select: list[_Chosen], train: list[_Chosen]) -> None:
    """Raise UsageError where a reference trains on select samples: they can choose nothing any more."""
    for choice in select:
        if any(np.intersect1d(choice.indices, t.indices).size for t in train if t.stored is choice.stored):
            name = reference.dataset.name
            raise UsageError(
                f"{name}:{'+'.join(reference.splits)} trains on the select part of {name}, so that nothing is left to "
                f"choose a checkpoint on: take checkpoint=last, or {name}:train"
            )
