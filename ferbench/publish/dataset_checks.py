"""A copy of a dataset as it was read, in words and as JSON: counts, sizes, balance, groups, duplicates, faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from ferbench.audit import Balance, Groups, Overlaps, Pair, Place, Sizes
from ferbench.fingerprints import as_plain
from ferbench.publish.layout import PLAIN, Align, Paint, aligned, total_width, wrapped, wrapped_facts
from ferbench.quantities import counted, joined, percent, whole

_INDENT = " " * 4
_HANGING = _INDENT + "  "

#: Of many files, pictures or groups so many are named; the JSON has them all.
_FILES_NAMED = 10
_NAMED = 3


@dataclass(frozen=True, slots=True)
class SplitCheck:
    """One split as it was read. `counts` and `published` hold samples per class; `published` may be empty.

    fault : why it could not be read, or in which way it differs from what is published; None where all is well
    unreadable : one line for each image that cannot be read; `counts` has these samples in it
    sizes, balance, groups : None where there is nothing to say, or the split could not be read
    """

    split: str
    roles: tuple[str, ...]
    counts: Mapping[str, int]
    withheld: int
    published: Mapping[str, int]
    warnings: tuple[str, ...]
    fault: str | None
    unreadable: tuple[str, ...] = ()
    sizes: Sizes | None = None
    balance: Balance | None = None
    groups: Groups | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values()) + self.withheld

    @property
    def title(self) -> str:
        """Its name, with the roles that it plays."""
        return f"{self.split} ({'+'.join(self.roles)})" if self.roles else self.split


def check_json(name: str, root: str, splits: Sequence[SplitCheck], overlaps: Overlaps, *, ok: bool) -> object:
    """A check for scripts; pairs name samples and groups as SPLIT:NAME."""
    found = {field: [[str(place) for place in pair] for pair in pairs] for field, pairs in _lists(overlaps).items()}
    return {"name": name, "root": root, "splits": as_plain(splits), "ok": ok, "copies": overlaps.copies, **found}


def _lists(overlaps: Overlaps) -> dict[str, tuple[Pair, ...]]:
    return {
        "exact": overlaps.exact,
        "across_splits": overlaps.across_splits,
        "label_conflicts": overlaps.label_conflicts,
        "groups_across_splits": overlaps.groups_across_splits,
    }


def check_lines(
    name: str,
    splits: Sequence[SplitCheck],
    root: str,
    *,
    overlaps: Overlaps | None = None,
    strict: bool = False,
    width: int = 80,
    paint: Paint = PLAIN,
) -> list[str]:
    """Counts per class and split, against the published ones, what the splits are like, then warnings and faults.

    strict : call what is there more than once a fault
    """
    lines = [f"{paint.bold(name)}  {root}"]
    readable = [split for split in splits if split.total]
    lines += _counts(readable, width)
    for split in readable:
        if facts := list(_facts(split)):
            lines += wrapped_facts([f"{split.split}: {facts[0]}", *facts[1:]], width, _INDENT, _HANGING)
    doubles = list(_doubles(overlaps, splits)) if overlaps is not None else []
    told = _merged((split.split, line) for split in splits for line in _faults(split))
    noted = _merged((split.split, line) for split in splits for line in split.warnings)
    faults = list(told.values()) + (doubles if strict else [])
    warnings = [line for text, line in noted.items() if text not in told] + ([] if strict else doubles)
    lines += _marked("warning: ", warnings, width, paint.warning)
    lines += _marked("fault: ", faults, width, paint.bad)
    if not faults:
        lines += [paint.good(line) for line in wrapped(f"ok: {_verdict(readable)}", width, _INDENT, _HANGING)]
    return lines


def _counts(splits: Sequence[SplitCheck], width: int) -> list[str]:
    """A column a split, or a paragraph a split where the width does not carry it."""
    if not splits:
        return []
    classes = list(dict.fromkeys(label for split in splits for label in (*split.published, *split.counts)))
    titles = [split.title for split in splits]
    rows = [["", *titles]] + [[label, *(_count(split, label) for split in splits)] for label in classes]
    rows.append(["in all", *map(_total, splits)])
    if total_width(rows) + len(_INDENT) <= width:
        numbers: list[Align] = ["right"] * len(splits)
        return [_INDENT + line for line in aligned(rows, ["left", *numbers])]
    lines = []
    for title, split in zip(titles, splits, strict=True):
        counts = ", ".join(f"{label} {_count(split, label)}" for label in classes)
        lines += wrapped(f"{title}: {_total(split)} ({counts})", width, _INDENT, _HANGING)
    return lines


def _count(split: SplitCheck, label: str) -> str:
    if split.withheld:
        return "–"
    found = split.counts.get(label, 0)
    wanted = split.published.get(label, 0) if split.published else found
    return whole(found) if found == wanted else f"{whole(found)} of {whole(wanted)}"


def _total(split: SplitCheck) -> str:
    wanted = sum(split.published.values()) if split.published else split.total
    text = whole(split.total) if split.total == wanted else f"{whole(split.total)} of {whole(wanted)}"
    return f"{text} without label" if split.withheld else text


def _facts(split: SplitCheck) -> Iterator[str]:
    if split.sizes is not None:
        yield _sizes(split.sizes)
    if balance := split.balance:
        yield f"largest class {balance.largest}, {percent(balance.largest_share)} %" + (
            f", {balance.imbalance:.1f} times {balance.smallest}" if balance.imbalance is not None else ""
        )
        if balance.empty:
            yield f"nothing of {', '.join(balance.empty)}"
    if groups := split.groups:
        yield f"{counted(groups.number, 'group')}, largest {groups.largest} with {whole(groups.largest_count)}"


def _sizes(sizes: Sizes) -> str:
    colours = "grey" if not sizes.coloured else "colour"
    if sizes.grey and sizes.coloured:
        colours = f"{whole(sizes.grey)} grey and {whole(sizes.coloured)} in colour"
    if sizes.distinct == 1:
        return f"{_size(sizes.largest)}, {colours}"
    return (
        f"{whole(sizes.distinct)} sizes, {_size(sizes.smallest)} to {_size(sizes.largest)}, median "
        f"{_size(sizes.median)}, {colours}"
    )


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _doubles(overlaps: Overlaps, splits: Sequence[SplitCheck]) -> Iterator[str]:
    """A line for each kind of thing that is there more than once, by split."""
    total = {split.split: split.total for split in splits}
    if overlaps.copies:
        yield f"{whole(overlaps.copies)} of {counted(sum(total.values()), 'picture')} are exact copies of another"
    for (split, _), pairs in _by_splits(overlaps.exact).items():
        yield f"{counted(len(pairs), 'copy', 'copies')} within {split}: {_named(pairs)}"
    for (earlier, later), pairs in _by_splits(overlaps.across_splits).items():
        share = f"{whole(len(pairs))} of {counted(total[later], 'picture')} of {later}"
        yield f"{share} {_are(len(pairs))} in {earlier} too: {_named(pairs)}"
    if overlaps.label_conflicts:
        pictures = len({first for first, _ in overlaps.label_conflicts})
        bear = "picture bears" if pictures == 1 else "pictures bear"
        yield f"{whole(pictures)} {bear} more than one label: {_named(overlaps.label_conflicts, _labelled)}"
    for (earlier, later), pairs in _by_splits(overlaps.groups_across_splits).items():
        names = ", ".join(place.name for place, _ in pairs[:_NAMED]) + _more(pairs)
        yield f"{counted(len(pairs), 'group')} of {later} {_are(len(pairs))} in {earlier} too: {names}"


def _by_splits(pairs: Sequence[Pair]) -> dict[tuple[str, str], list[Pair]]:
    found: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        found.setdefault((pair[0].split, pair[1].split), []).append(pair)
    return found


def _named(pairs: Sequence[Pair], text: Callable[[Place], str] = attrgetter("name")) -> str:
    """The first pairs, one for each picture."""
    firsts = dict.fromkeys(first for first, _ in pairs)
    shown = [next(pair for pair in pairs if pair[0] == first) for first in islice(firsts, _NAMED)]
    return ", ".join(f"{text(a)} = {text(b)}" for a, b in shown) + ("" if len(shown) == len(pairs) else ", …")


def _labelled(place: Place) -> str:
    return f"{place} ({place.label})"


def _more(pairs: Sequence[Pair]) -> str:
    return ", …" if len(pairs) > _NAMED else ""


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _faults(split: SplitCheck) -> Iterator[str]:
    if split.fault:
        yield split.fault
    yield from split.unreadable[:_FILES_NAMED]
    if (more := len(split.unreadable) - _FILES_NAMED) > 0:
        yield f"{split.split}: {whole(more)} more that cannot be read, --json names all"


def _merged(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Split and line of each to one line for each text: a file that spoils three splits is told of once."""
    named: dict[str, list[str]] = {}
    for split, line in lines:
        text = line.removeprefix(f"{split}: ")
        named.setdefault(text, []).extend([split] if text != line else [])
    return {text: f"{', '.join(splits)}: {text}" if splits else text for text, splits in named.items()}


def _marked(mark: str, texts: Sequence[str], width: int, paint: Callable[[str], str]) -> list[str]:
    return [paint(line) for text in texts for line in wrapped(mark + text, width, _INDENT, _HANGING)]


def _verdict(splits: Sequence[SplitCheck]) -> str:
    unknown = [split.split for split in splits if not split.published]
    read = counted(len(splits), "split")
    if not unknown:
        return f"{read}, all counts as published"
    if len(unknown) == len(splits):
        return f"{read}, read without a fault, no counts are published for it"
    return f"{read}, counts as published, none are published for {joined(unknown)}"
