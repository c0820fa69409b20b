"""Datasets in words: which there are and where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ferbench.publish.layout import PLAIN, Paint, aligned, total_width, wrapped

_INDENT = " " * 4


@dataclass(frozen=True, slots=True)
class DatasetView:
    """A dataset as `datasets list` and `where` show it.

    roles : role to split; select is "held out of train" where the core makes it
    root : where it lies; None if it was not found or is embedded
    holds : what was found there, in words
    problem : why looking for it failed, or None
    """

    name: str
    family: bool
    default_for: str | None
    embedded: bool
    splits: tuple[str, ...]
    roles: Mapping[str, str]
    licence: str
    citation: str
    steps: str
    root: str | None
    problem: str | None
    summary: str = ""
    holds: str = ""

    @property
    def state(self) -> str:
        """Whether it can be used now."""
        if self.family:
            return "by name"
        if self.embedded:
            return "embedded"
        return "broken" if self.problem else "found" if self.root else "not found"


def dataset_lines(datasets: Sequence[DatasetView], *, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """One line a dataset where the width carries it, else with its splits and licence below."""
    head = ["dataset", "state", "default for", "splits", "licence"]
    rows = [
        [_name(each), each.state, each.default_for or "–", _splits(each) or "–", each.licence or "–"]
        for each in datasets
    ]
    # Splits and licence go below where they are too long to be columns.
    columns = next((n for n in (5, 4) if total_width([head[:n], *(row[:n] for row in rows)]) <= width), 3)
    text = aligned([head[:columns], *(row[:columns] for row in rows)])
    lines = [paint.bold(text[0])]
    for line, each in zip(text[1:], datasets, strict=True):
        lines.append(line)
        below = [_splits(each), each.licence and f"licence: {each.licence}"][columns - 3 :]
        for detail in filter(None, (*below, each.summary, each.problem)):
            lines += [paint.dim(part) for part in wrapped(detail, width, _INDENT, _INDENT + "  ")]
    return lines


def place_lines(
    datasets: Sequence[DatasetView], data_folder: str, *, width: int = 80, paint: Paint = PLAIN
) -> list[str]:
    """Where each dataset was found, or what to do to have it found."""
    lines = [f"data folder: {data_folder}"]
    for each in datasets:
        lines.append(paint.bold(_name(each)))
        for number, text in enumerate(_place(each)):
            part = wrapped(text, width, _INDENT, _INDENT + "  ")
            lines += part if number == 0 else map(paint.dim, part)
    return lines


def _place(dataset: DatasetView) -> Iterator[str]:
    """What was found, then what is looked for."""
    if dataset.family:
        yield dataset.summary or "given with its name"
    elif dataset.embedded:
        yield "embedded: made by its plugin, nothing to fetch"
    elif dataset.problem:
        yield dataset.problem
    elif dataset.root:
        yield f"found: {dataset.root}" + (f", {dataset.holds}" if dataset.holds else "")
        if dataset.steps:
            yield f"looked for: {dataset.steps}"
    else:
        yield f"not found. {dataset.steps[:1].upper()}{dataset.steps[1:]}".rstrip(".") + "."


def _name(dataset: DatasetView) -> str:
    return f"{dataset.name}…" if dataset.family else dataset.name


def _splits(dataset: DatasetView) -> str:
    played: dict[str, list[str]] = {}
    for role, split in dataset.roles.items():
        played.setdefault(split, []).append(role)
    names = dict.fromkeys((*dataset.splits, *dataset.roles.values()))
    return ", ".join(f"{name} ({'+'.join(played[name])})" if name in played else name for name in names)
