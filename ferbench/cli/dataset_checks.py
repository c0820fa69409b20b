"""Reading a copy of a dataset for `ferbench datasets check`: as a run would read it, and on where a run would stop."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ferbench.audit import Overlaps, balance_of, groups_of, overlaps_of, sizes_of
from ferbench.data.decoding import image_faults
from ferbench.data.folders import count_difference
from ferbench.errors import DatasetError, FerbenchError, SplitMissing, UsageError
from ferbench.publish.dataset_checks import SplitCheck

if TYPE_CHECKING:
    from ferbench.components import Dataset
    from ferbench.data.split_cache import SplitCache, StoredSplit


@dataclass(frozen=True, slots=True)
class DatasetCheck:
    """What was found, and the splits that could be read, by name."""

    dataset: Dataset
    place: str
    splits: tuple[SplitCheck, ...]
    overlaps: Overlaps
    stored: Mapping[str, StoredSplit] = field(repr=False)

    def is_faulty(self, *, strict: bool) -> bool:
        """Whether a fault was found; where `strict`, anything that is there more than once is one."""
        return any(split.fault for split in self.splits) or (strict and self.overlaps.any)


def check_dataset(dataset: Dataset, data_folder: Path, cache: SplitCache) -> DatasetCheck:
    """Read all splits; one that cannot be read does not keep the others from being looked at.

    Raises
    ------
    DatasetMissing : there is no copy
    """
    from ferbench.data.roles import RoleReader

    reader = RoleReader(lambda name: dataset, data_folder, data_folder)
    root = reader.root(dataset)
    dataset = replace(dataset, roles=reader.roles_of(dataset))
    stored: dict[str, StoredSplit] = {}
    checks: list[SplitCheck] = []
    for split in dataset.splits:
        try:
            stored[split] = cache.split(dataset, root, split)
            checks.append(_read(dataset, split, stored[split]))
        except FerbenchError as error:
            # A split that plays no role need not be in every copy.
            if not isinstance(error, SplitMissing) or _roles(dataset, split):
                checks.append(_unread(dataset, root, split, error))
    place = "embedded" if dataset.embedded else str(root)
    return DatasetCheck(dataset, place, tuple(checks), overlaps_of(stored), stored)


def _read(dataset: Dataset, split: str, stored: StoredSplit) -> SplitCheck:
    names = stored.class_names
    published = dict(dataset.counts.get(split, {}))
    counts = _counts(dataset, names)
    fault = count_difference(names, published, split) if names is not None and published else None
    warnings = stored.warnings
    if fault is not None:
        # A reader may warn of the same difference and say more about it.
        fault = next((line for line in warnings if line.startswith(fault)), fault)
        warnings = tuple(line for line in warnings if line != fault)
    there = [name for name, count in counts.items() if count]
    if "train" in _roles(dataset, split) and len(there) == 1 and not published:
        warnings += (f"{split} holds one class alone ({there[0]}), nothing to tell apart: add pictures of another",)
    return SplitCheck(
        split=split,
        roles=_roles(dataset, split),
        counts=counts,
        withheld=0 if names is not None else len(stored.ids),
        published=published,
        warnings=warnings,
        fault=fault,
        sizes=sizes_of(stored),
        balance=balance_of(counts),
        groups=groups_of(stored),
    )


def _unread(dataset: Dataset, root: Path, split: str, error: FerbenchError) -> SplitCheck:
    """A split that cannot be read; if single images are the reason, all of them are named."""
    roles = _roles(dataset, split)
    published = dict(dataset.counts.get(split, {}))
    try:
        samples = dataset.load(split, root)
        files = samples.images if isinstance(samples.images, Sequence) else ()
        unreadable = tuple(image_faults(files))
    except FerbenchError:
        unreadable = ()
    if error.line not in unreadable:
        line = f"{split}: {error.line}"
        return SplitCheck(split, roles, {}, 0, published, () if roles else (line,), line if roles else None)
    labels = samples.labels
    names = None if labels is None else tuple(dataset.classes[label] for label in labels.tolist())
    fault = f"{split}: {len(unreadable)} of {len(samples.ids)} images cannot be read, it was not looked at further"
    if names is not None and published and (difference := count_difference(names, published, split)):
        fault = f"{fault}; {difference}"
    withheld = 0 if names is not None else len(samples.ids)
    return SplitCheck(split, roles, _counts(dataset, names), withheld, published, samples.warnings, fault, unreadable)


def _roles(dataset: Dataset, split: str) -> tuple[str, ...]:
    return tuple(role for role, own in dataset.roles.items() if own == split)


def _counts(dataset: Dataset, names: Sequence[str] | None) -> dict[str, int]:
    return {} if names is None else {**dict.fromkeys(dataset.classes, 0), **Counter(names)}


def sheet_files(place: Path, names: Sequence[str]) -> list[Path]:
    """Where the contact sheet of each dataset goes: `place` itself, or into it if it is no PNG by its name.

    Raises
    ------
    UsageError : several datasets, and one file
    """
    if place.suffix.casefold() == ".png" and not place.is_dir():
        if len(names) > 1:
            raise UsageError(f"--sheet {place}: {len(names)} datasets do not go into one file: name a folder")
        return [place]
    files: list[Path] = []
    for name in names:
        stem = file = re.sub(r"[^\w.@-]+", "-", name).strip("-.")
        # Two paths may look alike once their slashes are gone.
        for number in itertools.count(2):
            if place / f"{file}.png" not in files:
                break
            file = f"{stem}-{number}"
        files.append(place / f"{file}.png")
    return files


def write_sheet(check: DatasetCheck, file: Path) -> None:
    """Draw a contact sheet of the splits that could be read.

    Raises
    ------
    DatasetError : no split could be read, or the file cannot be written
    """
    from ferbench.publish.contact_sheet import contact_sheet

    if not check.stored:
        raise DatasetError(f"no split of {check.dataset.name} could be read: there is nothing for {file} to show")
    titles = {split.title: check.stored[split.split] for split in check.splits if split.split in check.stored}
    sheet = contact_sheet(check.dataset.name, titles, check.dataset.classes)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(file, format="PNG")
    except OSError as error:
        raise DatasetError(f"contact sheet {file} cannot be written ({error.strerror or error})") from error
