"""Which samples of a dataset play which role, and what they are called in the run's label set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ferbench.components import ROLES, Dataset, Role
from ferbench.data.split_cache import SplitCache, StoredSplit
from ferbench.errors import DatasetError, DatasetMissing, UsageError
from ferbench.expressions import alignment, label_set
from ferbench.references import DatasetReference, parse_reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Share of train that plays select where a dataset has no split for it.
HELD_OUT = Fraction(15, 100)


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Samples of one role, labels in the label set's order, in an order that depends on their content alone.

    splits : the published splits they come from, for the row
    images : uint8 [n, H, W, C], or a list of uint8 [H, W, C] where sizes differ
    labels : int64 [n], or None where withheld
    content : hash of pixels, expressions and groups
    excluded : samples outside the label set, left out
    """

    dataset: str
    splits: str
    images: NDArray[np.uint8] | list[NDArray[np.uint8]]
    labels: NDArray[np.int64] | None
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None
    content: str
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
        self._roles: dict[tuple[str, Role, str], LabelledImages] = {}

    def root(self, dataset: Dataset) -> Path:
        """Where a dataset lies; embedded data lies nowhere, its root is the data folder.

        Raises
        ------
        DatasetMissing : with the steps to have it
        """
        if dataset.embedded:
            return self._data_folder
        root = dataset.locate(self._data_folder)
        if root is None:
            raise DatasetMissing(dataset.name, str(self._data_folder), dataset.steps)
        return root

    def train(self, reference: str, labels: str = "basic7") -> LabelledImages:
        """What is trained on: the train role less any held-out part, or the splits that the reference names."""
        return self._role(reference, "train", labels)

    def select(self, reference: str, labels: str = "basic7") -> LabelledImages:
        """What checkpoints and values are chosen on."""
        return self._role(reference, "select", labels)

    def report(self, reference: str, labels: str = "basic7") -> LabelledImages:
        """What is reported on: the report role, or the splits that the reference names."""
        return self._role(reference, "report", labels)

    def _role(self, text: str, role: Role, labels: str) -> LabelledImages:
        key = (text, role, labels)
        if key not in self._roles:
            self._roles[key] = self._labelled(parse_reference(text, self._find), role, labels)
        return self._roles[key]

    def _labelled(self, reference: DatasetReference, role: Role, labels: str) -> LabelledImages:
        dataset = reference.dataset
        classes = label_set(labels)
        index_of = dict(zip(dataset.classes, alignment(dataset.classes, classes, dataset.name).tolist(), strict=True))
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
            raise DatasetError(f"dataset {dataset.name!r} has no sample of label set {labels} in its {role} role")
        rows.sort()
        withheld = any(label == -2 for *_, label in rows)
        grouped = all(choice.stored.groups is not None for choice in chosen)
        return LabelledImages(
            dataset=dataset.name,
            splits="+".join(choice.split for choice in chosen),
            images=_gathered(chosen, [(part, index) for _, _, part, index, _ in rows]),
            labels=None if withheld else np.array([label for *_, label in rows], dtype=np.int64),
            ids=tuple(identifier for _, identifier, *_ in rows),
            groups=tuple((chosen[part].stored.groups or ())[index] for _, _, part, index, _ in rows)
            if grouped
            else None,
            content=hashlib.sha256("\n".join(row[0] for row in rows).encode()).hexdigest(),
            excluded=excluded,
            synthetic=dataset.embedded,
            warnings=tuple(line for choice in chosen for line in choice.stored.warnings),
        )

    def _chosen(self, reference: DatasetReference, role: Role) -> list[_Chosen]:
        dataset = reference.dataset
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
            raise DatasetError(f"dataset {dataset.name!r} has no {role} split: {named or 'take another dataset'}")
        if "select" in dataset.roles or role == "report":
            return self._whole(dataset, dataset.roles[role])
        train = self._whole(dataset, dataset.roles["train"])
        held = held_out(train.stored)
        rest = np.setdiff1d(train.indices, held)
        return (
            _Chosen(train.split + _HELD, train.stored, held)
            if role == "select"
            else _Chosen(train.split + _LESS, train.stored, rest)
        )


_HELD = " (held out)"
_LESS = " less held out"


def _names_role(reference: DatasetReference, role: Role) -> bool:
    """Whether the reference's splits are meant for this role: a target's report splits are never trained on."""
    if not reference.splits:
        return False
    train = reference.dataset.roles.get("train")
    trains = "train" in reference.splits or train in reference.splits
    return trains if role == "train" else not trains


def check_target(reference: DatasetReference) -> None:
    """Raise UsageError where a target's named splits hold what it is trained on."""
    if _names_role(reference, "train"):
        name = reference.dataset.name
        raise UsageError(f"target {name}:{'+'.join(reference.splits)} would report on training data")


def check_auxiliary(reference: DatasetReference) -> None:
    """Raise UsageError where an auxiliary's named splits are none that it would be trained on."""
    if reference.splits and not _names_role(reference, "train"):
        name, named = reference.dataset.name, "+".join(reference.splits)
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


def held_out(stored: StoredSplit) -> NDArray[np.int64]:
    """Indices of about 15 % of a split: whole groups where there are groups, else a share of each class.

    Chosen by a hash of content, so that every seed and every order of files holds out the same samples. Never none: of
    few large groups the smallest is taken, of very few samples one. A single group cannot be parted from the rest, so
    that its samples are taken by class.
    """
    wanted = HELD_OUT * len(stored.ids)
    if stored.groups is not None and len(set(stored.groups)) > 1:
        members: dict[str, list[int]] = {}
        for index, group in enumerate(stored.groups):
            members.setdefault(group, []).append(index)
        held: list[int] = []
        for group in sorted(members, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
            # A group that would overshoot by more than it helps is passed over.
            if abs(len(held) + len(members[group]) - wanted) < abs(len(held) - wanted):
                held.extend(members[group])
        if not held:
            held = min(members.values(), key=lambda indices: (len(indices), stored.digests[indices[0]]))
        return np.array(sorted(held), dtype=np.int64)
    by_class: dict[str, list[int]] = {}
    for index, name in enumerate(stored.class_names or ("",) * len(stored.ids)):
        by_class.setdefault(name, []).append(index)
    held = []
    for indices in by_class.values():
        indices.sort(key=lambda i: (stored.digests[i], stored.ids[i]))
        held.extend(indices[: round(HELD_OUT * len(indices))])
    if not held:
        held = [min(range(len(stored.ids)), key=lambda i: (stored.digests[i], stored.ids[i]))]
    return np.array(sorted(held), dtype=np.int64)


def _gathered(
    chosen: Sequence[_Chosen], places: Sequence[tuple[int, int]]
) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
    """Images in the order of (part, index) places."""
    by_part = []
    position: dict[tuple[int, int], int] = {}
    for part, choice in enumerate(chosen):
        indices = np.array([index for p, index in places if p == part], dtype=np.int64)
        position.update({(part, int(index)): row for row, index in enumerate(indices)})
        by_part.append(choice.stored.images(indices))
    if len(by_part) == 1 and isinstance(by_part[0], np.ndarray):
        return by_part[0]
    images = [by_part[part][position[part, index]] for part, index in places]
    if all(image.shape == images[0].shape for image in images):
        return np.stack(images)
    return images
