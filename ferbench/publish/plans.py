"""Plans in words: what a command will train, and what that will cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ferbench.costs import PlanCost
from ferbench.fingerprints import as_plain
from ferbench.publish.layout import aligned, wrapped
from ferbench.publish.quantities import counted, duration, joined, size, whole
from ferbench.stages import Stage, TrainingPart

_TRAINED = {"all": "all layers", "head": "head only", "svm": "head by svm"}

#: What `plan --json` prints, in this order. Scripts rely on it: fields may be added, never changed.
JSON_FIELDS = (
    *("cells", "stages", "unique_stages", "done_stages", "images", "unique_images"),
    *("seconds", "checkpoint_bytes", "peak_memory_bytes"),
)


@dataclass(frozen=True, slots=True)
class WorkLeft:
    """What a command still has to do.

    training : stages that have to be trained, in order
    predicting : trained stages whose predictions are missing
    cells, done_cells : of the matrix, and those of them with a finished run
    seconds : per stage's fingerprint, None where the speed is unknown
    """

    training: tuple[Stage, ...]
    predicting: int
    cells: int
    done_cells: int
    seconds: Mapping[str, float | None]

    @property
    def known_seconds(self) -> float:
        """Of the stages whose speed is known."""
        return sum(self._of(stage) or 0.0 for stage in self.training)

    @property
    def unknown(self) -> int:
        """Stages of unknown speed."""
        return sum(self._of(stage) is None for stage in self.training)

    @property
    def images(self) -> int:
        return sum(stage.recipe.images_seen for stage in self.training)

    def _of(self, stage: Stage) -> float | None:
        return self.seconds.get(stage.fingerprint)


def stage_label(stage: Stage, *, seed: bool = True) -> str:
    """A stage in words that do not depend on the strategy that asked for it."""
    parts = [
        stage.backbone,
        joined([_part(part) for part in stage.parts]),
        _TRAINED.get(stage.recipe.trained, stage.recipe.trained),
        f"{stage.recipe.image_size} px",
    ]
    return " · ".join([*parts, f"seed {stage.seed}"] if seed else parts)


def _part(part: TrainingPart) -> str:
    return part.dataset if part.fraction == 1 else f"{100 * part.share:.3g} % of {part.dataset}"


def estimate(work: WorkLeft) -> str:
    """The time in words; what is unknown is said to be."""
    if not work.unknown and work.known_seconds < 1:
        return "under 1 s"
    if not work.unknown:
        return f"about {duration(work.known_seconds)}"
    if work.unknown == len(work.training):
        return "time unknown, no speed was measured here yet"
    return f"over {duration(work.known_seconds)}, {counted(work.unknown, 'stage')} of unknown speed"


def work_line(work: WorkLeft, cost: PlanCost, device: str) -> str:
    """One line: cells, stages, images, time, device."""
    cells = counted(work.cells, "cell")
    if work.done_cells:
        cells += f", {whole(work.done_cells)} there already"
    if not work.training:
        rest = f"{counted(work.predicting, 'stage')} to predict" if work.predicting else "nothing to train"
        return f"{cells} · {rest} · {device}"
    stages = f"{counted(len(work.training), 'stage')} to train"
    shared = cost.stages - cost.unique_stages
    others = [f"{whole(shared)} more shared"] if shared else []
    others += [f"{whole(cost.done_stages)} done"] if cost.done_stages else []
    if others:
        stages += f" ({', '.join(others)})"
    return f"{cells} · {stages} · {counted(work.images, 'image')} · {estimate(work)} · {device}"


def plan_lines(work: WorkLeft, cost: PlanCost, device: str, *, width: int = 80) -> list[str]:
    """The whole plan as lines: totals, then the stages that are left, alike ones together."""
    left, alone = whole(len(work.training)), f"{whole(cost.stages)} if each cell stood alone"
    time = estimate(work).removeprefix("time ") if work.training else "nothing to train"
    totals = [
        ("cells", whole(work.cells) + (f", {whole(work.done_cells)} there already" if work.done_cells else "")),
        ("stages", f"{whole(cost.unique_stages)}, {whole(cost.done_stages)} done, {left} to train; {alone}"),
        (
            "images",
            f"{whole(cost.unique_images)}, {whole(work.images)} to train; {whole(cost.images)} if alone",
        ),
        ("time", f"{time}, on {device}"),
        ("checkpoints", size(cost.checkpoint_bytes)),
        ("peak memory", size(cost.peak_memory_bytes)),
    ]
    lines = []
    for name, text in totals:
        lines += wrapped(f"{name:<12}{text}", width, hanging=" " * 12)
    if work.training:
        lines += ["", "to train:", *_stage_lines(work, width)]
    return lines


def plan_json(cost: PlanCost) -> dict[str, object]:
    """The cost as `plan --json` prints it."""
    plain = as_plain(cost)
    return {name: plain[name] for name in JSON_FIELDS}


def _stage_lines(work: WorkLeft, width: int) -> list[str]:
    groups: dict[tuple[str, int], list[Stage]] = {}
    for stage in work.training:
        groups.setdefault((stage_label(stage, seed=False), stage.recipe.images_seen), []).append(stage)
    rows = [
        (f"{whole(len(stages))} x", label, f"{whole(images)} images", _each(stages, work.seconds))
        for (label, images), stages in groups.items()
    ]
    lines = aligned(rows, ("right", "left", "right", "right"))
    if max(map(len, lines)) <= width:
        return lines
    return [line for row in rows for line in wrapped("  ".join(row), width, hanging=" " * 4)]


def _each(stages: Sequence[Stage], seconds: Mapping[str, float | None]) -> str:
    known = [value for stage in stages if (value := seconds.get(stage.fingerprint)) is not None]
    return f"{duration(sum(known) / len(known))} each" if len(known) == len(stages) else "time unknown"
