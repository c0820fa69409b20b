"""What a plan will cost, from measured speeds; what is not known stays None."""

from __future__ import annotations

import math
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
    checkpoint_bytes : of all that will be written; features, reduced images and partial checkpoints are not counted
    stage_seconds : what is left of each pending stage, by fingerprint: steps, features that no stage before it leaves,
        and what it predicts, on select samples after each epoch included
    training_seconds : what StageResult.train_seconds will be: all of its steps and all of its features, whether or not
        they are there, and nothing else
    shared_by : cells that need a stage, per fingerprint
    calibrated : pending stages whose speed comes from a few steps just now, not from stages trained before
    kept_checkpoint_bytes : of `checkpoint_bytes`, what stays: the stages that cells end with
    peak_checkpoint_bytes : the most that lies there at once, parents that wait for their children included
    critical : the longest chain of pending stages
    feature_seconds : of `stage_seconds`, the features that are trained on
    predicting_seconds : of trained stages whose predictions are missing, by fingerprint
    images_done : what stages that were stopped in the middle had seen, by fingerprint
    tries : recipes to be tried before the cells', counted in the totals as cells are
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
    feature_seconds: Mapping[str, float] = field(default_factory=dict)
    predicting_seconds: Mapping[str, float | None] = field(default_factory=dict)
    images_done: Mapping[str, int] = field(default_factory=dict)
    tries: int = 0


def speed_key(stage: Stage, device_kind: str, threads: int) -> SpeedKey:
    """The key that a stage's speed is looked up by."""
    recipe = stage.recipe
    return SpeedKey(
        stage.backbone, recipe.image_size, stage.trained, recipe.precision, recipe.batch_size, device_kind, threads
    )


def typical_speeds(speeds: Iterable[Speed]) -> dict[SpeedKey, Speed]:
    """One speed for each kind of stage: medians, since one may have shared the machine, and the largest memory.

    A kind that was trained on features here and through the whole network there, where features would have been too
    large, is left out: which of both the next one will be is not known before its network is cut.
    """
    kinds: dict[SpeedKey, list[Speed]] = {}
    for speed in speeds:
        kinds.setdefault(speed.key, []).append(speed)
    return {
        key: _typical(key, found)
        for key, found in kinds.items()
        if len({speed.features_per_second is None for speed in found}) == 1
    }


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
    *,
    selected: Mapping[str, Mapping[str, int]] | None = None,
    steps_done: Mapping[str, int] | None = None,
) -> PlanCost:
    """Cost of a plan.

    Features of a frozen prefix count once for all stages of the plan that can share them, and not for a stage that was
    stopped in the middle, since they come before its first step. Whether another command has left them in the cache is
    not looked at: the estimate is then too high.

    Parameters
    ----------
    done : fingerprints that need no training any more
    evaluated : what a stage predicts when it is trained, per fingerprint: number of images by their content; of what
        is done, stages whose predictions are missing
    calibrated : keys of `measured` that no stage was trained with yet
    selected : what a stage predicts after each epoch to choose its checkpoint, given as `evaluated`
    steps_done : of stages that were stopped in the middle, by fingerprint
    """
    done = frozenset(done)
    pending = [stage for stage in plan.stages if stage.fingerprint not in done]
    keys = {stage.fingerprint: speed_key(stage, device_kind, threads) for stage in pending}
    # A machine's time does not grow with the images alone: of another size nothing is known.
    speeds = {
        stage.fingerprint: measured.get(keys[stage.fingerprint]) if stage.recipe.head_fit == "sgd" else None
        for stage in pending
    }
    left = _Left(evaluated, selected or {}, steps_done or {})
    steps = {stage.fingerprint: left.step_seconds(stage, speeds[stage.fingerprint]) for stage in pending}
    seconds: dict[str, float | None] = {}
    features: dict[str, float] = {}
    for stage in longest_first(pending, steps):
        speed = speeds[stage.fingerprint]
        if speed is None:
            seconds[stage.fingerprint] = None
            continue
        features[stage.fingerprint] = left.feature_seconds(stage, speed)
        seconds[stage.fingerprint] = features[stage.fingerprint] + left.other_seconds(stage, speed)
    predicting = {
        stage.fingerprint: _predicting_seconds(measured.get(speed_key(stage, device_kind, threads)), count)
        for stage in plan.stages
        if stage.fingerprint in done and (count := sum(evaluated.get(stage.fingerprint, {}).values()))
    }
    sizes = {
        name: None if speed is None or speed.parameters is None else _PARAMETER_BYTES * speed.parameters
        for name, speed in speeds.items()
    }
    finals = {cell.stages[-1] for cell in plan.cells}
    every = (*plan.tries, *plan.cells)
    memory = [None if speed is None else speed.peak_memory_bytes for speed in speeds.values()]
    return PlanCost(
        cells=len(plan.cells),
        tries=len(plan.tries),
        stages=sum(len(cell.stages) for cell in every),
        unique_stages=len(plan.stages),
        done_stages=len(plan.stages) - len(pending),
        images=sum(cell.images_seen for cell in every),
        unique_images=sum(stage.recipe.images_seen for stage in plan.stages),
        seconds=_total([*seconds.values(), *predicting.values()]),
        checkpoint_bytes=_whole(_total(list(sizes.values()))),
        peak_memory_bytes=None if None in memory else max((m for m in memory if m is not None), default=0),
        stage_seconds=seconds,
        training_seconds={stage.fingerprint: _training_seconds(stage, speeds[stage.fingerprint]) for stage in pending},
        shared_by=Counter(name for cell in every for name in cell.stages),
        calibrated=frozenset(name for name, key in keys.items() if key in calibrated),
        kept_checkpoint_bytes=_whole(_total([size for name, size in sizes.items() if name in finals])),
        peak_checkpoint_bytes=_peak(longest_first(pending, seconds), sizes, finals),
        critical=critical_path(pending, seconds),
        feature_seconds=features,
        predicting_seconds=predicting,
        images_done={stage.fingerprint: left.images_done(stage) for stage in pending if left.images_done(stage)},
    )


class _Left:
    """Seconds of what is left of stages; features that one asked about before has computed are there."""

    def __init__(
        self,
        evaluated: Mapping[str, Mapping[str, int]],
        selected: Mapping[str, Mapping[str, int]],
        steps_done: Mapping[str, int],
    ) -> None:
        self._evaluated = evaluated
        self._selected = selected
        self._steps_done = steps_done
        self._there: set[object] = set()

    def images_done(self, stage: Stage) -> int:
        """Images of the steps that an earlier command has kept."""
        done = self._steps_done.get(stage.fingerprint, 0) * stage.recipe.batch_size
        return min(done, stage.recipe.images_seen)

    def step_seconds(self, stage: Stage, speed: Speed | None) -> float | None:
        """Of the steps alone."""
        images = stage.recipe.images_seen - self.images_done(stage)
        return None if speed is None else images / speed.images_per_second

    def feature_seconds(self, stage: Stage, speed: Speed) -> float:
        """Of the features that the steps are done on."""
        if speed.features_per_second is None or not stage.feature_images:
            return 0.0
        views = [(part.content, view, part.count) for part in stage.parts for view in range(stage.recipe.views or 0)]
        images = self._new_images(stage, views)
        return 0.0 if self.images_done(stage) else images / speed.features_per_second

    def other_seconds(self, stage: Stage, speed: Speed) -> float:
        """Of steps, and of what is predicted after each epoch and in the end."""
        name = stage.fingerprint
        steps = self.step_seconds(stage, speed) or 0.0
        in_the_end, each_epoch = self._evaluated.get(name, {}), self._selected.get(name, {})
        looks = _epochs_left(stage, self._steps_done.get(name, 0)) * sum(each_epoch.values())
        if speed.features_per_second is None or not stage.feature_images:
            images = looks + sum(in_the_end.values())
            return steps + _forward_share(speed) * images / speed.images_per_second
        predicted = [(content, 0, count) for content, count in {**each_epoch, **in_the_end}.items()]
        frozen = self._new_images(stage, predicted) / speed.features_per_second
        return steps + frozen + _FORWARD_SHARE * looks / speed.images_per_second

    def _new_images(self, stage: Stage, views: Iterable[tuple[str, int, int]]) -> int:
        """Of views, given as content, view and number of images, how many images are not there; they are then."""
        images = 0
        for content, view, count in views:
            same = (_frozen(stage), content, view)
            if same not in self._there:
                self._there.add(same)
                images += count
        return images


def _training_seconds(stage: Stage, speed: Speed | None) -> float | None:
    """As if nothing of the stage was there."""
    if speed is None:
        return None
    features = 0.0 if speed.features_per_second is None else stage.feature_images / speed.features_per_second
    return stage.recipe.images_seen / speed.images_per_second + features


def _predicting_seconds(speed: Speed | None, images: int) -> float | None:
    """Of a stage that is trained: images go through the whole network, of which features are nearly all."""
    if speed is None:
        return None
    if speed.features_per_second is not None:
        return images / speed.features_per_second
    # The speed of a support vector machine is that of fitting it.
    return None if speed.key.trainable == "svm" else _forward_share(speed) * images / speed.images_per_second


def _epochs_left(stage: Stage, steps_done: int) -> int:
    """Epochs that the training loop has still to end, the last one cut short or not."""
    steps = stage.recipe.steps
    steps_an_epoch = stage.recipe.steps_an_epoch(sum(part.count for part in stage.parts))
    return math.ceil(steps / steps_an_epoch) - min(steps_done, steps) // steps_an_epoch


def _forward_share(speed: Speed) -> float:
    """What predicting an image takes of a training step's time for one; too high where little is trained."""
    return _FORWARD_SHARE if speed.key.trainable == "all" else 1.0


def _frozen(stage: Stage) -> object:
    """What the features of an image depend on: where the frozen part comes from, and how it is shown."""
    recipe = stage.recipe
    # Without a file the seed draws what nothing is loaded into, as the name of the features' files has it.
    start = stage.parent or (stage.weights.sha256, None if stage.weights.is_file else stage.seed)
    shown = (recipe.image_size, recipe.grey, recipe.faces, stage.detector)
    return stage.backbone, start, recipe.trainable, recipe.precision, *shown


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
