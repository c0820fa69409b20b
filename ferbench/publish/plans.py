"""Plans in words: what a command will train, and what that will cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ferbench.costs import PlanCost
from ferbench.fingerprints import as_plain
from ferbench.publish.layout import Align, aligned, wrapped, wrapped_facts
from ferbench.quantities import counted, duration, joined, size, whole
from ferbench.stages import Stage, TrainingPart

_TRAINED = {"all": "all layers", "head": "head only", "svm": "head by svm"}

#: What `plan --json` prints first, in this order. Scripts rely on it: fields may be added, never changed.
JSON_FIELDS = (
    *("cells", "stages", "unique_stages", "done_stages", "images", "unique_images"),
    *("seconds", "checkpoint_bytes", "peak_memory_bytes", "kept_checkpoint_bytes", "peak_checkpoint_bytes"),
    "tries",
)


@dataclass(frozen=True, slots=True)
class WorkLeft:
    """What a command still has to do.

    training : stages that have to be trained, in order
    predicting : trained stages whose predictions are missing
    cells, done_cells : of the matrix, and those of them with a finished run
    seconds : per stage's fingerprint, None where the speed is unknown
    images_done : what stages that were stopped in the middle had seen, by fingerprint
    """

    training: tuple[Stage, ...]
    predicting: tuple[Stage, ...]
    cells: int
    done_cells: int
    seconds: Mapping[str, float | None]
    images_done: Mapping[str, int] = field(default_factory=dict)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All that something has to be done for."""
        return self.training + self.predicting

    @property
    def known_seconds(self) -> float:
        """Of the stages whose speed is known."""
        return sum(self.seconds_of(stage) or 0.0 for stage in self.stages)

    @property
    def unknown(self) -> int:
        """Stages of unknown speed."""
        return sum(self.seconds_of(stage) is None for stage in self.stages)

    @property
    def images(self) -> int:
        """Images to train on, those left aside that an earlier command has trained on."""
        return sum(stage.recipe.images_seen for stage in self.training) - self.images_before

    @property
    def images_before(self) -> int:
        """Images that stages were trained on before they were stopped in the middle."""
        return sum(self.images_done.get(stage.fingerprint, 0) for stage in self.training)

    def seconds_of(self, stage: Stage) -> float | None:
        """Of one stage; None where its speed is unknown."""
        return self.seconds.get(stage.fingerprint)


def stage_label(stage: Stage, *, seed: bool = True) -> str:
    """A stage in words that do not depend on the strategy that asked for it."""
    cut = [] if stage.recipe.faces == "none" else [f"faces {stage.recipe.faces}"]
    parts = [stage.backbone, *_what(stage), *cut, f"{stage.recipe.image_size} px"]
    return " · ".join([*parts, f"seed {stage.seed}"] if seed else parts)


def _what(stage: Stage) -> tuple[str, str]:
    """What is trained on, and what is trained."""
    return joined([_part(part) for part in stage.parts]), _trained(stage.trained)


def _trained(trained: str) -> str:
    part, on_features, _ = trained.partition(" on features")
    return _TRAINED.get(trained) or (f"from {part}" if part != "head" else "head") + on_features


def _part(part: TrainingPart) -> str:
    return part.dataset if part.fraction == 1 else f"{100 * part.share:.3g} % of {part.dataset}"


def estimate(work: WorkLeft) -> str:
    """The time in words; what is unknown is said to be."""
    if not work.unknown and work.known_seconds < 1:
        return "under 1 s"
    if not work.unknown:
        return f"about {duration(work.known_seconds)}"
    if work.unknown == len(work.stages):
        return "time unknown, no speed was measured here yet"
    return f"over {duration(work.known_seconds)}, {counted(work.unknown, 'stage')} of unknown speed"


def work_line(work: WorkLeft, cost: PlanCost, device: str) -> str:
    """One line: cells, stages, images, time, device."""
    cells = counted(work.cells, "cell")
    if cost.tries:
        cells = f"{counted(cost.tries, 'try', 'tries')}, {cells}" if work.cells else counted(cost.tries, "try", "tries")
    if work.done_cells:
        cells += f", {whole(work.done_cells)} there already"
    if not work.training:
        predict = f"{counted(len(work.predicting), 'stage')} to predict · {estimate(work)}"
        return f"{cells} · {predict if work.predicting else 'nothing to train'} · {device}"
    stages = f"{counted(len(work.training), 'stage')} to train"
    shared = cost.stages - cost.unique_stages
    others = [f"{whole(shared)} more shared"] if shared else []
    others += [f"{whole(cost.done_stages)} done"] if cost.done_stages else []
    if others:
        stages += f" ({', '.join(others)})"
    if work.predicting:
        stages += f", {whole(len(work.predicting))} to predict"
    return f"{cells} · {stages} · {counted(work.images, 'image')} · {estimate(work)} · {device}"


def plan_lines(work: WorkLeft, cost: PlanCost, device: str, *, width: int = 80) -> list[str]:
    """The whole plan as lines: totals, then the stages that are left, alike ones together."""
    lines = []
    for name, text in _totals(work, cost, device):
        lines += wrapped(f"{name:<12}{text}", width, hanging=" " * 12)
    if work.training:
        lines += ["", *_table(_groups(work, cost), width), "", *_legend(cost, width)]
    return lines


def plan_json(work: WorkLeft, cost: PlanCost) -> dict[str, object]:
    """The plan as `plan --json` prints it: totals, the longest chain, and what is left to train in its order."""
    plain = as_plain(cost)
    return {name: plain[name] for name in JSON_FIELDS} | {
        "critical_path": as_plain(cost.critical),
        "left": [_stage_json(stage, work, cost) for stage in work.training],
    }


def _stage_json(stage: Stage, work: WorkLeft, cost: PlanCost) -> dict[str, object]:
    return {
        "fingerprint": stage.fingerprint,
        "parent": stage.parent,
        "backbone": stage.backbone,
        "datasets": [part.dataset for part in stage.parts],
        "trained": stage.trained,
        "image_size": stage.recipe.image_size,
        "seed": stage.seed,
        "images": stage.recipe.images_seen,
        "images_done": work.images_done.get(stage.fingerprint, 0),
        "seconds": work.seconds_of(stage),
        "training_seconds": cost.training_seconds.get(stage.fingerprint),
        "calibrated": stage.fingerprint in cost.calibrated,
        "shared_by": cost.shared_by.get(stage.fingerprint, 1),
    }


def _totals(work: WorkLeft, cost: PlanCost, device: str) -> list[tuple[str, str]]:
    done = f"{whole(cost.done_stages)} done, " if cost.done_stages else ""
    predict = f", {whole(len(work.predicting))} to predict" if work.predicting else ""
    before = f", {whole(work.images_before)} were before a stop" if work.images_before else ""
    alone = "if each cell and try stood alone" if cost.tries else "if each cell stood alone"
    time = f"{estimate(work).removeprefix('time ') if work.stages else 'nothing to train'}, on {device}"
    longest = cost.critical
    if longest.seconds is not None and len(work.training) > len(longest.stages):
        time += f"; longest chain {duration(longest.seconds)}"
    tries = [("tries", f"{whole(cost.tries)}, to choose the cells' recipes; what follows counts the first of each")]
    totals = [
        *(tries if cost.tries else []),
        ("cells", whole(work.cells) + (f", {whole(work.done_cells)} there already" if work.done_cells else "")),
        ("stages", f"{done}{whole(len(work.training))} to train{predict}; {whole(cost.stages)} {alone}"),
        ("images", f"{whole(work.images)} to train on{before}; {whole(cost.images)} {alone}"),
        ("time", time),
    ]
    if not work.training:
        return totals
    disk = f"{size(cost.kept_checkpoint_bytes)} of checkpoints to keep"
    if cost.peak_checkpoint_bytes != cost.kept_checkpoint_bytes:
        disk += f", {size(cost.peak_checkpoint_bytes)} at most while it runs"
    if cost.kept_checkpoint_bytes is None:
        disk = "unknown"
    elif any(stage.feature_images or stage.recipe.head_fit == "svm" for stage in work.training):
        disk += "; features of frozen parts, reduced images and stages in the middle come on top"
    else:
        disk += "; reduced images and stages in the middle come on top"
    return [*totals, ("disk", disk), ("memory", size(cost.peak_memory_bytes))]


@dataclass(frozen=True, slots=True)
class _Group:
    """Alike stages: a line of the table.

    cells : that need each of them
    """

    title: str
    label: str
    cells: int
    stages: tuple[Stage, ...]
    seconds: tuple[float | None, ...]
    calibrated: bool

    @property
    def row(self) -> tuple[str, str, str, str, str, str]:
        known = [value for value in self.seconds if value is not None]
        each, together = "unknown", "unknown"
        if len(known) == len(self.seconds):
            # The first of alike stages may pay for the features of all: each is then a mean.
            each, together = duration(sum(known) / len(known)), duration(sum(known))
            if self.calibrated:
                each, together = f"~{each}", f"~{together}"
        images = whole(self.stages[0].recipe.images_seen)
        return f"{whole(len(self.stages))} x", self.label, images, whole(self.cells), each, together


def _groups(work: WorkLeft, cost: PlanCost) -> list[_Group]:
    alike: dict[tuple[str, str, int, int], list[Stage]] = {}
    for stage in work.training:
        title = f"{stage.backbone} · {stage.recipe.image_size} px"
        cells = cost.shared_by.get(stage.fingerprint, 1)
        alike.setdefault((title, " · ".join(_what(stage)), stage.recipe.images_seen, cells), []).append(stage)
    groups = []
    for (title, label, _, cells), stages in alike.items():
        recipes = len({stage.recipe for stage in stages})
        groups.append(
            _Group(
                title,
                f"{label} · {recipes} recipes" if recipes > 1 else label,
                cells,
                tuple(stages),
                tuple(work.seconds_of(stage) for stage in stages),
                any(stage.fingerprint in cost.calibrated for stage in stages),
            )
        )
    return groups


_TITLES = ("", "to train", "images", "cells", "each", "in all")
_SIDES: tuple[Align, ...] = ("right", "left", "right", "right", "right", "right")


def _table(groups: Sequence[_Group], width: int) -> list[str]:
    titles = list(dict.fromkeys(group.title for group in groups))
    ordered = sorted(groups, key=lambda group: titles.index(group.title))
    lines = aligned([_TITLES, *(group.row for group in ordered)], _SIDES)
    narrow = max(map(len, lines)) > width
    found = [] if narrow else [lines[0]]
    for number, (group, line) in enumerate(zip(ordered, lines[1:], strict=True)):
        if number == 0 or ordered[number - 1].title != group.title:
            found += wrapped(group.title, width)
        found += _folded(group, width) if narrow else [line]
    return found


def _folded(group: _Group, width: int) -> list[str]:
    """A line of the table where there is no room for columns."""
    count, label, images, cells, each, together = group.row
    time = "time unknown" if each == "unknown" else f"{each} each, {together} in all"
    facts = (f"{images} images", counted(int(cells.replace(",", "")), "cell"), time)
    return wrapped(f"{count} {label}", width, " " * 2, " " * 4) + wrapped_facts(facts, width, " " * 4)


def _legend(cost: PlanCost, width: int) -> list[str]:
    words = "cells: that need each of these stages"
    if cost.calibrated:
        words += "; ~: from a few steps just now"
        if any(value is not None and name not in cost.calibrated for name, value in cost.stage_seconds.items()):
            words += ", other times from stages trained here before"
    return wrapped(words, width)
