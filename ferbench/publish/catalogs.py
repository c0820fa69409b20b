"""Plugins and datasets in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ferbench.publish.layout import PLAIN, Align, Paint, aligned, total_width, wrapped
from ferbench.publish.quantities import counted, whole

_INDENT = " " * 4


@dataclass(frozen=True, slots=True)
class Provided:
    """A component's name, or a family's prefix."""

    kind: str
    name: str
    family: bool
    summary: str
    citation: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class PluginView:
    """A plugin; `broken` is the one line of what is wrong, or None."""

    name: str
    origin: str
    sha256: str
    provides: tuple[Provided, ...]
    broken: str | None


def plugin_lines(plugins: Sequence[PluginView], *, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """Plugins with what they provide, one paragraph a kind."""
    lines: list[str] = []
    for plugin in plugins:
        mark = f"sha256 {plugin.sha256[:10]}" if plugin.sha256 else "broken" if plugin.broken else "no source"
        lines.append(f"{paint.bold(plugin.name)}  {plugin.origin}  {paint.dim(mark)}")
        if plugin.broken:
            lines += [paint.bad(line) for line in wrapped(plugin.broken, width, _INDENT)]
        for text in _provided(plugin.provides):
            lines += wrapped(text, width, _INDENT, _INDENT + "  ")
        if not plugin.provides and not plugin.broken:
            lines.append(f"{_INDENT}no component, it observes")
    return lines


def _provided(provided: Sequence[Provided]) -> list[str]:
    texts = []
    plain: dict[str, list[str]] = {}
    for each in provided:
        if each.family or each.summary:
            name = f"{each.name}…" if each.family else each.name
            texts.append(f"{each.kind} {name}" + (f": {each.summary}" if each.summary else ""))
        else:
            plain.setdefault(each.kind, []).append(each.name)
    return [f"{kind} {', '.join(names)}" for kind, names in plain.items()] + texts


@dataclass(frozen=True, slots=True)
class DatasetView:
    """A dataset as `datasets list` and `where` show it.

    roles : role to split; select is "held out of train" where the core makes it
    root : where it lies; None if it was not found or is embedded
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
        if each.family:
            text = each.summary or "given with its name"
        elif each.embedded:
            text = "embedded: made by its plugin, nothing to fetch"
        elif each.problem:
            text = each.problem
        elif each.root:
            text = f"found: {each.root}"
        else:
            text = f"not found. {each.steps[:1].upper()}{each.steps[1:]}".rstrip(".") + "."
        lines += [paint.bold(_name(each)), *wrapped(text, width, _INDENT)]
    return lines


def _name(dataset: DatasetView) -> str:
    return f"{dataset.name}…" if dataset.family else dataset.name


def _splits(dataset: DatasetView) -> str:
    played: dict[str, list[str]] = {}
    for role, split in dataset.roles.items():
        played.setdefault(split, []).append(role)
    names = dict.fromkeys((*dataset.splits, *dataset.roles.values()))
    return ", ".join(f"{name} ({'+'.join(played[name])})" if name in played else name for name in names)


@dataclass(frozen=True, slots=True)
class SplitCheck:
    """One split as it was read. `counts` and `published` hold samples per class; `published` may be empty.

    fault : why it could not be read, or in which way it differs from what is published; None where all is well
    """

    split: str
    roles: tuple[str, ...]
    counts: Mapping[str, int]
    withheld: int
    published: Mapping[str, int]
    warnings: tuple[str, ...]
    fault: str | None

    @property
    def total(self) -> int:
        return sum(self.counts.values()) + self.withheld


def check_lines(
    name: str, splits: Sequence[SplitCheck], root: str, *, width: int = 80, paint: Paint = PLAIN
) -> list[str]:
    """Counts per class and split, against the published ones, then warnings and faults."""
    lines = [f"{paint.bold(name)}  {root}"]
    readable = [split for split in splits if split.total]
    classes = list(dict.fromkeys(label for split in readable for label in (*split.published, *split.counts)))
    titles = [f"{split.split} ({'+'.join(split.roles)})" if split.roles else split.split for split in readable]
    rows = [["", *titles]] + [[label, *(_count(split, label) for split in readable)] for label in classes]
    rows.append(["in all", *(_total(split) for split in readable)])
    if readable and total_width(rows) + len(_INDENT) <= width:
        lines += [_INDENT + line for line in aligned(rows, _sides(len(readable)))]
    else:
        for title, split in zip(titles, readable, strict=True):
            counts = ", ".join(f"{label} {_count(split, label)}" for label in classes)
            lines += wrapped(f"{title}: {_total(split)} ({counts})", width, _INDENT, _INDENT + "  ")
    for split in splits:
        for warning in split.warnings:
            lines += [paint.warning(line) for line in wrapped(f"warning: {warning}", width, _INDENT, _INDENT + "  ")]
    for split in splits:
        if split.fault:
            lines += [paint.bad(line) for line in wrapped(f"fault: {split.fault}", width, _INDENT, _INDENT + "  ")]
    if not any(split.fault for split in splits):
        known = all(split.published for split in splits)
        verdict = "all counts as published" if known else "read without a fault, no counts are published for it"
        lines.append(_INDENT + paint.good(f"ok: {counted(len(splits), 'split')}, {verdict}"))
    return lines


def _sides(columns: int) -> list[Align]:
    numbers: list[Align] = ["right"] * columns
    return ["left", *numbers]


def _count(split: SplitCheck, label: str) -> str:
    found = split.counts.get(label, 0)
    wanted = split.published.get(label, 0) if split.published else found
    return whole(found) if found == wanted else f"{whole(found)} of {whole(wanted)}"


def _total(split: SplitCheck) -> str:
    wanted = sum(split.published.values()) if split.published else split.total
    text = whole(split.total) if split.total == wanted else f"{whole(split.total)} of {whole(wanted)}"
    return f"{text}, {whole(split.withheld)} without label" if split.withheld else text
