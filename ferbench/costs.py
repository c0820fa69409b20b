"""What a plan will cost, from measured speeds; what is not known stays None."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ferbench.plan import Plan
from ferbench.records import Speed, SpeedKey
from ferbench.schedule import NO_PATH, CriticalPath, critical_path, longest_first
from ferbench.stages import Stage

#: An image's forward pass alone against forward, backward and update, where everything is trained.
_FORWARD_SHARE = 1 / 3

#: float32 parameters are all but a few kilobytes of a checkpoint.
_PARAMETER_BYTES = 4


@dataclass(frozen=True, slots=True)
class PlanCost:
    """Totals of a plan. `stages` and `images` are as if each cell stood alone, `unique_*` as they will be trained.

    seconds : of what is not done yet; None where a speed is not known
    checkpoint_bytes : of all that will be written
    stage_seconds : per pending stage's fingerprint, with what it predicts
    training_seconds : of that, training alone
    shared_by : cells that need a stage, per fingerprint
    calibrated : pending stages whose speed comes from a few steps just now, not from stages trained before
    kept_checkpoint_bytes : of that, what stays: the stages that cells end with
    peak_checkpoint_bytes : the most that lies there at once, parents that wait for their children included; partial
        checkpoints of stages that take long come on top
    critical : the longest chain of pending stages
    """

    cells: int
    stages: int
    unique_stages: int
    done_stages: int
    images: int
    unique_images: int
    seconds: float | None
    checkpoint_bytes: int | None
    peak_memory_bytes: int | None
    stage_seconds: Mapping[str, float | None]
    training_seconds: Mapping[str, float | None] = field(default_factory=dict)
    shared_by: Mapping[str, int] = field(default_factory=dict)
    calibrated: frozenset[str] = frozenset()
    kept_checkpoint_bytes: int | None = None
    peak_checkpoint_bytes: int | None = None
    critical: CriticalPath = NO_PATH


def speed_key(stage: Stage, device_kind: str, threads: int) -> SpeedKey:
    """The key that a stage's speed is looked up by."""
    recipe = stage.recipe
    return SpeedKey(
        stage.backbone, recipe.image_size, stage.trained, recipe.precision, recipe.batch_size, device_kind, threads
    )


def typical_speeds(speeds: Iterable[Speed]) -> dict[SpeedKey, Speed]:
    """One speed for each kind of stage: medians, since one may have shared the machine, and the largest memory."""
    kinds: dict[SpeedKey, list[Speed]] = {}
    for speed in speeds:
        kinds.setdefault(speed.key, []).append(speed)
    return {key: _typical(key, found) for key, found in kinds.items()}


def _typical(key: SpeedKey, found: Sequence[Speed]) -> Speed:
    features = [speed.features_per_second for speed in found if speed.features_per_second is not None]
    memory = [speed.peak_memory_bytes for speed in found if speed.peak_memory_bytes is not None]
    return Speed(
        key,
        images_per_second=statistics.median(speed.images_per_second for speed in found),
        peak_memory_bytes=max(memory, default=None),
        parameters=next((speed.parameters for speed in found if speed.parameters is not None), None),
        features_per_second=statistics.median(features) if features else None,
    )


def plan_cost(
    plan: Plan,
    done: Collection[str],
    measured: Mapping[SpeedKey, Speed],
    device_kind: str,
    threads: int,
    evaluated: Mapping[str, Mapping[str, int]],
    calibrated: Collection[SpeedKey] = (),
) -> PlanCost:
    """Cost of a plan.

    Features of a frozen prefix count once for all stages of the plan that can share them. Whether an earlier command
    has left them in the cache is not looked at: the estimate is then too high.

    Parameters
    ----------
    done : fingerprints that need no training any more
    evaluated : what a stage predicts when it is trained, per fingerprint: number of images by their content
    calibrated : keys of `measured` that no stage was trained with yet
    """
    done = frozenset(done)
    pending = [stage for stage in plan.stages if stage.fingerprint not in done]
    keys = {stage.fingerprint: speed_key(stage, device_kind, threads) for stage in pending}
    # A machine's time does not grow with the images alone: of another size nothing is known.
    speeds = {
        stage.fingerprint: measured.get(keys[stage.fingerprint]) if stage.recipe.head_fit == "sgd" else None
        for stage in pending
    }
    steps = {stage.fingerprint: _step_seconds(stage, speeds[stage.fingerprint]) for stage in pending}
    training, seconds = _seconds(longest_first(pending, steps), speeds, evaluated)
    sizes = {
        name: None if speed is None or speed.parameters is None else _PARAMETER_BYTES * speed.parameters
        for name, speed in speeds.items()
    }
    finals = {cell.stages[-1] for cell in plan.cells}
    memory = [None if speed is None else speed.peak_memory_bytes for speed in speeds.values()]
    return PlanCost(
        cells=len(plan.cells),
        stages=sum(len(cell.stages) for cell in plan.cells),
        unique_stages=len(plan.stages),
        done_stages=len(plan.stages) - len(pending),
        images=sum(cell.images_seen for cell in plan.cells),
        unique_images=sum(stage.recipe.images_seen for stage in plan.stages),
        seconds=_total(list(seconds.values())),
        checkpoint_bytes=_whole(_total(list(sizes.values()))),
        peak_memory_bytes=None if None in memory else max((m for m in memory if m is not None), default=0),
        stage_seconds=seconds,
        training_seconds=training,
        shared_by=Counter(name for cell in plan.cells for name in cell.stages),
        calibrated=frozenset(name for name, key in keys.items() if key in calibrated),
        kept_checkpoint_bytes=_whole(_total([size for name, size in sizes.items() if name in finals])),
        peak_checkpoint_bytes=_peak(longest_first(pending, seconds), sizes, finals),
        critical=critical_path(pending, seconds),
    )


def _step_seconds(stage: Stage, speed: Speed | None) -> float | None:
    return None if speed is None else stage.recipe.images_seen / speed.images_per_second


def _seconds(
    order: Iterable[Stage], speeds: Mapping[str, Speed | None], evaluated: Mapping[str, Mapping[str, int]]
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Of each stage's training, and that with what it predicts; features that one before it has computed are there."""
    there: set[object] = set()
    training: dict[str, float | None] = {}
    together: dict[str, float | None] = {}
    for stage in order:
        name, speed = stage.fingerprint, speeds[stage.fingerprint]
        steps = _step_seconds(stage, speed)
        if speed is None or steps is None:
            training[name] = together[name] = None
            continue
        predicted = evaluated.get(name, {})
        if speed.features_per_second is None or not stage.feature_images:
            training[name] = steps
            together[name] = steps + _forward_share(speed) * sum(predicted.values()) / speed.images_per_second
            continue
        views = [(part.content, view, part.count) for part in stage.parts for view in range(stage.recipe.views or 0)]
        trained_on = _new_images(stage, views, there)
        then = _new_images(stage, [(content, 0, count) for content, count in predicted.items()], there)
        training[name] = steps + trained_on / speed.features_per_second
        together[name] = steps + (trained_on + then) / speed.features_per_second
    return training, together


def _new_images(stage: Stage, views: Iterable[tuple[str, int, int]], there: set[object]) -> int:
    """Of these views, given as content, view and number of images, how many images are not there yet; they are then."""
    images = 0
    for content, view, count in views:
        same = (_frozen(stage), content, view)
        if same not in there:
            there.add(same)
            images += count
    return images


def _forward_share(speed: Speed) -> float:
    """What predicting an image takes of a training step's time for one; too high where little is trained."""
    return _FORWARD_SHARE if speed.key.trainable == "all" else 1.0


def _frozen(stage: Stage) -> object:
    """What the features of an image depend on: where the frozen part comes from, and how it is shown."""
    recipe = stage.recipe
    random = stage.parent is None and stage.weights.is_random
    start = stage.parent or (stage.weights.sha256, stage.seed if random else None)
    return stage.backbone, start, recipe.trainable, recipe.image_size, recipe.grey, recipe.precision


def _peak(order: Iterable[Stage], sizes: Mapping[str, int | None], finals: Collection[str]) -> int | None:
    """The most bytes of checkpoints at once, where a parent goes as soon as no child and no cell needs it."""
    order = list(order)
    if None in sizes.values():
        return None
    waiting = Counter(stage.parent for stage in order if stage.parent is not None)
    there: dict[str, int] = {}
    held = peak = 0
    for stage in order:
        there[stage.fingerprint] = sizes[stage.fingerprint] or 0
        held += there[stage.fingerprint]
        peak = max(peak, held)
        if stage.parent is None:
            continue
        waiting[stage.parent] -= 1
        if not waiting[stage.parent] and stage.parent not in finals:
            held -= there.pop(stage.parent, 0)
    return peak


def _total(values: list[float | None] | list[int | None]) -> float | None:
    return None if None in values else float(sum(value for value in values if value is not None))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
