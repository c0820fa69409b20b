"""A row's page as HTML: what it is, what must be read first, and charts of what it did."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ferbench.evidence import ReliabilityBin
from ferbench.pages.board import hex_name
from ferbench.pages.row import ChainStage, CurvePoint, GroupScore, RowPage
from ferbench.publish.boards import beats, protocol_words
from ferbench.publish.reliability import NO_TEMPERATURE
from ferbench.publish.site.shell import Shell
from ferbench.quantities import counted, joined, percent, ranges, whole
from ferbench.records import Interval
from ferbench.reliability import is_bound
from ferbench.stages import TrainingPart, Tuning
from ferbench.tuning import at_an_edge, reached

_Each = TypeVar("_Each")

#: Epochs of a stage in a curve's table, and in its drawing.
_TABLE_EPOCHS, _DRAWN_EPOCHS = 12, 100

#: Films or subjects that are drawn; the table has all of them.
_DRAWN_GROUPS = 40

#: Digits of a fraction, and of a loss, in charts' data.
_DIGITS = 5

_INTERVALS: Mapping[str, str] = {
    "t": "Student's t over seeds",
    "wilson": "Wilson's, over samples",
    "bootstrap": "a bootstrap over samples",
    "cluster-bootstrap": "a bootstrap over films or subjects",
}

#: Starts of notes whose matter the page tells in its own place: as a warning, a section, or in its first sentence.
_TOLD = (
    *("synthetic faces", "does not beat the majority line", "1 seed", "random weights", "tuned: ", "never trained on "),
    *("trained on synthetic faces too", "selected on the reported split"),
)
_ON_REPORTED = " reported pictures are among those trained on"


@dataclass(frozen=True, slots=True)
class StageView:
    """A stage of the chain in words.

    data : what it was trained on, one line a dataset
    facts : pairs of what and how much
    shared : other rows that stand on it, each with whether it has a page
    fingerprints : pairs of seed and fingerprint
    """

    title: str
    data: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    shared: tuple[tuple[str, bool], ...]
    fingerprints: tuple[tuple[int, str], ...]
    notes: tuple[str, ...]


def row_html(page: RowPage, shell: Shell, root: str) -> str:
    """A row's page, complete without a script.

    root : from the page's folder to the site's, `../../../`
    """
    entry, board = page.entry, page.board
    return shell.render(
        "row.html",
        root,
        crumbs=[(f"{board.target} {board.split}", "../index.html"), (page.row, None)],
        page=page,
        title=f"{entry.backbone}, {entry.strategy}",
        about=_sentence(page),
        interval=_INTERVALS.get(entry.accuracy.kind, entry.accuracy.kind),
        warnings=list(_warnings(page)),
        notes=_other_notes(page),
        changed=[line for line in page.recipe if line.changed],
        chain=[_stage(page, stage) for stage in page.chain],
        tuned=_tuned(page.tuning),
        curves=_curves(page.curve),
        curve_table=list(_curve_table(page.curve, page.entry.seeds)),
        shares=_shares(page.confusion),
        confusion_text=_tab_separated(page.confusion, page.classes),
        reliability=_reliability(page),
        bins=_bins(page),
        temperature=_temperature(page),
        groups=_groups(page),
        group_word="film or subject" if "groups" in page.permits else "group",
        commands=[(_pieces(each.line), each.says) for each in page.commands],
        link=hex_name,
        bibtex="\n\n".join(each.bibtex for each in page.citations if each.bibtex),
    )


def _sentence(page: RowPage) -> str:
    entry, board = page.entry, page.board
    if page.members:
        start = f"The mean of what {counted(len(page.members), 'row')} answered ({entry.backbone})"
    else:
        along = f" with {joined(list(entry.auxiliaries))}" if entry.auxiliaries else ""
        weights = "random weights" if page.weights.is_random else entry.weights
        start = f"{entry.backbone}, trained by {entry.strategy}{along}"
        start += f" from {weights}" if page.weights.is_file or page.weights.is_random else ""
        part = entry.train_fraction
        start += f" on {100 * part:.3g} % of {board.target}'s train samples" if 0 < part < 1 else ""
    seeds = counted(len(entry.seeds), "seed")
    place = f"It has rank {entry.rank} among the {whole(page.rows)} rows of its board."
    if page.rows == 1:
        place = "It is the only row of its board."
    return (
        f"{start}, answers {percent(entry.accuracy.mean)} % of the {whole(board.n)} samples of {board.target} "
        f"{board.split} right ({_ends(entry.accuracy)}; {seeds}). {place}"
    )


def _ends(interval: Interval) -> str:
    return f"95 % interval {percent(interval.low)} to {percent(interval.high)} %"


def _warnings(page: RowPage) -> Iterator[str]:
    """What must be read before the figures, a sentence each."""
    if said := protocol_words(page.board):
        yield _sentence_of(said)
    yield from _of_board(page)
    yield from _of_training(page)
    if len(page.entry.seeds) == 1 and not page.members:
        yield "One seed alone: how much seeds differ is not known, and the interval is that of the samples."
    for failed in page.failed:
        yield f"Seed {failed.seed} failed and is in none of these figures: {failed.error}"


def _of_board(page: RowPage) -> Iterator[str]:
    notes, board = page.entry.notes, page.board
    if board.synthetic:
        yield "Synthetic faces: these figures tell strategies apart, and say nothing of real faces."
    elif "trained on synthetic faces too" in notes:
        yield "It was trained on synthetic faces, too."
    if not beats(page.entry, board):
        yield f"It does not beat the majority line: one answer for all samples has {percent(board.majority)} %."
    yield from (_sentence_of(note) for note in notes if _ON_REPORTED in note)
    if "selected on the reported split" in notes:
        yield "Something was chosen on the very samples that are reported, so that its figures flatter it."


def _of_training(page: RowPage) -> Iterator[str]:
    notes = page.entry.notes
    if page.weights.is_random or any(note.startswith("random weights") for note in notes):
        what = "Members" if page.members else "It"
        yield f"{what} started from random weights, not from pretrained ones."
    if page.tuning is not None and (edges := at_an_edge(page.tuning)):
        yield f"The best {joined(edges)} lay at the edge of what was tried: better values may lie beyond."
    yield from (f"It was {note}." for note in notes if note.startswith("never trained on "))


def _sentence_of(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


def _other_notes(page: RowPage) -> list[str]:
    return [
        note
        for note in page.entry.notes
        if not note.startswith(_TOLD) and _ON_REPORTED not in note and " failed: " not in note
    ]


def _stage(page: RowPage, stage: ChainStage) -> StageView:
    recipe = stage.recipe
    size = f"{recipe.image_size} px{', grey' if recipe.grey else ''}"
    passes = recipe.images_seen / max(1, sum(part.count for part in stage.parts))
    facts = [
        ("images seen", f"{whole(recipe.images_seen)} ({passes:.3g} passes)"),
        ("trained", _trained(stage)),
    ]
    if recipe.head_fit == "sgd":
        facts += [
            ("learning rate", f"{recipe.lr:g}, {recipe.schedule}, {recipe.optimizer}, batches of {recipe.batch_size}"),
            ("pictures", f"{size}, {'no' if recipe.augment == 'none' else recipe.augment} augmentation"),
        ]
    else:
        facts.append(("pictures", size))
    facts.append(("precision", recipe.precision))
    if recipe.checkpoint != "last":
        facts.append(("checkpoint", recipe.checkpoint))
    if stage.micro_batches:
        facts.append(("micro-batch", joined([str(each) for each in stage.micro_batches])))
    if stage.pruned:
        facts.append(("pruned", f"the checkpoint of seed{'s' * (len(stage.pruned) > 1)} {ranges(stage.pruned)}"))
    return StageView(
        title=joined([part.dataset for part in stage.parts]),
        data=tuple(map(_part, stage.parts)),
        facts=tuple(facts),
        shared=tuple([(row, row in page.linked) for row in stage.shared]),
        fingerprints=tuple(zip(page.entry.seeds, stage.fingerprints, strict=True)),
        notes=stage.notes,
    )


def _part(part: TrainingPart) -> str:
    some = f", {100 * part.share:.3g} % of {whole(part.whole)}" if part.whole and part.count != part.whole else ""
    synthetic = ", synthetic" if part.synthetic else ""
    return f"{part.dataset} {part.splits}: {whole(part.count)}{some}{synthetic}"


def _trained(stage: ChainStage) -> str:
    if stage.recipe.head_fit != "sgd":
        return f"the head alone, fitted by {stage.recipe.head_fit}"
    if stage.recipe.trainable == "all":
        what = "the whole network"
    else:
        what = "the head alone" if stage.recipe.trainable == "head" else f"from {stage.recipe.trainable} on"
    return f"{what}, with a new head" if stage.recipe.head == "new" and stage.number > 1 else what


def _pieces(line: str) -> list[str]:
    """A command in pieces of which none is broken: each option with its value."""
    return re.split(r" (?=--?[a-z])", line)


def _tuned(tuning: Tuning | None) -> list[tuple[tuple[str, ...], str, bool]]:
    """Each try's values, what it reached, and whether it was taken."""
    if tuning is None:
        return []
    return [
        (
            tuple([str(value).lower() if isinstance(value, bool) else str(value) for _, value in each.values]),
            reached(each, tuning.metric),
            each.values == tuning.chosen,
        )
        for each in tuning.tries
    ]


def _curves(points: Sequence[CurvePoint]) -> dict[str, object] | None:
    if not points:
        return None
    seeds = sorted({point.seed for point in points})
    ends: dict[int, int] = {}
    for point in points:
        ends[point.stage] = max(point.images_seen, ends.get(point.stage, 0))
    lines = []
    for seed in seeds:
        for stage in ends:
            own = _thinned([each for each in points if each.seed == seed and each.stage == stage], _DRAWN_EPOCHS)
            lines.append(
                {
                    "seed": seed,
                    "stage": stage,
                    "images": [each.images_seen for each in own],
                    "loss": [_rounded(each.loss) for each in own],
                    "select": [_rounded(each.select_accuracy) for each in own],
                    "target": [_rounded(each.target_accuracy) for each in own],
                }
            )
    measured = {
        "select": any(each.select_accuracy is not None for each in points),
        "target": any(each.target_accuracy is not None for each in points),
    }
    return {"seeds": seeds, "ends": list(ends.values()), "lines": lines, **measured}


def _curve_table(
    points: Sequence[CurvePoint], seeds: Sequence[int]
) -> Iterator[tuple[int, int, list[tuple[float | None, float | None, float | None]]]]:
    """Stage and images of some of the epochs, and each seed's loss, select and target accuracy there."""
    by_place: dict[tuple[int, int], dict[int, CurvePoint]] = {}
    for point in points:
        by_place.setdefault((point.stage, point.images_seen), {})[point.seed] = point
    stages = Counter(stage for stage, _ in by_place)
    for stage in sorted(stages):
        own = sorted(place for place in by_place if place[0] == stage)
        for place in _thinned(own, _TABLE_EPOCHS):
            found = [by_place[place].get(seed) for seed in seeds]
            yield (
                *place,
                [
                    (None, None, None) if each is None else (each.loss, each.select_accuracy, each.target_accuracy)
                    for each in found
                ],
            )


def _thinned(found: Sequence[_Each], most: int) -> list[_Each]:
    """Some of them at even distances, the last one always."""
    step = -(-len(found) // most)
    return [each for place, each in enumerate(found, 1) if (len(found) - place) % max(step, 1) == 0]


def _shares(counts: Sequence[Sequence[int]]) -> list[list[float | None]]:
    """Each count as a part of its row."""
    return [[count / sum(line) if sum(line) else None for count in line] for line in counts]


def _tab_separated(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    lines = ["\t".join(["truth", *classes])]
    lines += ["\t".join([name, *map(str, line)]) for name, line in zip(classes, counts, strict=True)]
    return "\n".join(lines)


def _reliability(page: RowPage) -> dict[str, object]:
    return {"before": _filled(page.calibrated.before), "after": _filled(page.calibrated.after)}


def _filled(bins: Sequence[ReliabilityBin]) -> list[dict[str, object]]:
    return [
        {"confidence": _rounded(each.confidence), "accuracy": _rounded(each.accuracy), "count": each.count}
        for each in bins
        if each.count
    ]


def _bins(page: RowPage) -> list[tuple[str, ReliabilityBin, ReliabilityBin | None]]:
    """Both diagrams' bins side by side, those left out that nothing is in."""
    after: Sequence[ReliabilityBin | None] = page.calibrated.after or [None] * len(page.calibrated.before)
    return [
        (f"{percent(one.low, 0)}–{percent(one.high, 0)}", one, other)
        for one, other in zip(page.calibrated.before, after, strict=True)
        if one.count or (other is not None and other.count)
    ]


def _temperature(page: RowPage) -> str:
    found = page.calibrated
    if found.temperature is None:
        return f"{NO_TEMPERATURE[:1].upper()}{NO_TEMPERATURE[1:]}."
    on = f"fitted on select (n {whole(found.select_n)})"
    one = f"The temperature {found.temperature:.3g} was {on}; it changes"
    several = f"Temperatures were {on}, one a seed, {found.temperature:.3g} in the mean; they change"
    text = f"{one if len(page.seeds) == 1 else several} no answer, and scores on the board are without."
    if ends := [each.seed for each in page.seeds if each.temperature is not None and is_bound(each.temperature)]:
        whose = "That" if len(page.seeds) == 1 else f"That of seed{'s' * (len(ends) > 1)} {ranges(ends)}"
        text += f" {whose} is an end of what is tried: select has no best one."
    return text


def _groups(page: RowPage) -> dict[str, object] | None:
    if not page.groups:
        return None
    drawn = page.groups
    if len(drawn) > _DRAWN_GROUPS:
        largest = sorted(drawn, key=lambda group: (-group.n, group.name))[:_DRAWN_GROUPS]
        drawn = tuple([group for group in drawn if group in largest])
    return {
        "groups": [_group(group) for group in drawn],
        "mean": _rounded(page.entry.accuracy.mean),
        "majority": _rounded(page.board.majority),
    }


def _group(group: GroupScore) -> dict[str, object]:
    figures = {name: _rounded(getattr(group, name)) for name in ("accuracy", "low", "high")}
    return {"name": group.name, "n": group.n, **figures}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
