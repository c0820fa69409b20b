"""What a plan will cost, from measured speeds; what is not known stays None."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ferbench.plan import Plan
from ferbench.records import Speed, SpeedKey
from ferbench.stages import Stage

#: An image's forward pass alone against forward, backward and update; evaluation is estimated by it.
_EVALUATION_SHARE = 1 / 3


@dataclass(frozen=True, slots=True)
class PlanCost:
    """Totals of a plan. `stages` and `images` are as if each cell stood alone, `unique_*` as they will be trained.

    seconds : of what is not done yet; None where a speed is not known
    stage_seconds : per pending stage's fingerprint
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


def speed_key(stage: Stage, device_kind: str, threads: int) -> SpeedKey:
    """The key that a stage's speed is looked up by."""
    recipe = stage.recipe
    return SpeedKey(
        stage.backbone, recipe.image_size, recipe.trained, recipe.precision, recipe.batch_size, device_kind, threads
    )


def plan_cost(
    plan: Plan,
    done: Collection[str],
    measured: Mapping[SpeedKey, Speed],
    device_kind: str,
    threads: int,
    evaluated: Mapping[str, int],
) -> PlanCost:
    """Cost of a plan.

    Parameters
    ----------
    done : fingerprints that need no training any more
    evaluated : number of images that a stage predicts when it is trained, per fingerprint
    """
    done = frozenset(done)
    seconds: dict[str, float | None] = {}
    memory: list[int | None] = []
    disk: list[int | None] = []
    for stage in plan.stages:
        if stage.fingerprint in done:
            continue
        # A machine's time does not grow with the images alone: of another size nothing is known.
        by_steps = stage.recipe.head_fit == "sgd"
        known = measured.get(speed_key(stage, device_kind, threads)) if by_steps else None
        images = stage.recipe.images_seen + _EVALUATION_SHARE * evaluated.get(stage.fingerprint, 0)
        seconds[stage.fingerprint] = None if known is None else images / known.images_per_second
        memory.append(None if known is None else known.peak_memory_bytes)
        # float32 parameters are all but a few kilobytes of a checkpoint.
        disk.append(None if known is None or known.parameters is None else 4 * known.parameters)
    return PlanCost(
        cells=len(plan.cells),
        stages=sum(len(cell.stages) for cell in plan.cells),
        unique_stages=len(plan.stages),
        done_stages=sum(stage.fingerprint in done for stage in plan.stages),
        images=sum(cell.images_seen for cell in plan.cells),
        unique_images=sum(stage.recipe.images_seen for stage in plan.stages),
        seconds=_total(list(seconds.values())),
        checkpoint_bytes=_whole(_total(disk)),
        peak_memory_bytes=None if None in memory else max((m for m in memory if m is not None), default=0),
        stage_seconds=seconds,
    )


def _total(values: list[float | None] | list[int | None]) -> float | None:
    return None if None in values else float(sum(value for value in values if value is not None))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
