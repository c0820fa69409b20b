"""In which order stages are trained: the longest chain first, and what hangs together one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ferbench.stages import Stage

#: Seconds; paths that differ by less count as equally long, since sums differ in their last digits.
_EQUAL_SECONDS = 1e-3


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The longest chain of stages that wait for each other: no number of devices is done before it.

    seconds : None where a stage's time is not known; the path is then the longest in images
    """

    stages: tuple[str, ...]
    images: int
    seconds: float | None


NO_PATH = CriticalPath((), 0, 0.0)


def longest_first(stages: Iterable[Stage], seconds: Mapping[str, float | None]) -> tuple[Stage, ...]:
    """Stages in the order to train them in, parents before children.

    Of the stages that wait for no other the one at the head of the longest path comes first, and all that goes on from
    a stage follows it at once, again by the longest path. So the first rows are finished early, and a parent's
    checkpoint is needed for as short a time as can be. Paths of equal length keep the order that they came in.

    Parameters
    ----------
    stages : parents before children; a stage whose parent is not among them waits for nobody
    seconds : per fingerprint of a stage that has to be trained, None where unknown: then images count in place of
        seconds. A stage that is not in it costs nothing
    """
    given = list(stages)
    ahead = _remaining(given, _costs(given, seconds))
    roots, children = _tree(given)
    order: list[Stage] = []
    # The last one is taken next, hence the shortest path lies at the bottom.
    waiting = _by_path(roots, ahead)
    while waiting:
        stage = waiting.pop()
        order.append(stage)
        waiting += _by_path(children.get(stage.fingerprint, []), ahead)
    return tuple(order)


def critical_path(stages: Iterable[Stage], seconds: Mapping[str, float | None]) -> CriticalPath:
    """The longest path through some stages; the arguments are those of `longest_first`."""
    given = list(stages)
    ahead = _remaining(given, _costs(given, seconds))
    roots, children = _tree(given)
    path: list[Stage] = []
    while roots:
        path.append(_by_path(roots, ahead)[-1])
        roots = children.get(path[-1].fingerprint, [])
    trained = [stage for stage in path if stage.fingerprint in seconds]
    known = [value for stage in trained if (value := seconds[stage.fingerprint]) is not None]
    return CriticalPath(
        stages=tuple(stage.fingerprint for stage in path),
        images=sum(stage.recipe.images_seen for stage in trained),
        seconds=sum(known) if len(known) == len(trained) else None,
    )


def _costs(stages: Sequence[Stage], seconds: Mapping[str, float | None]) -> dict[str, float]:
    trained = [stage for stage in stages if stage.fingerprint in seconds]
    known = {stage.fingerprint: value for stage in trained if (value := seconds[stage.fingerprint]) is not None}
    if len(known) == len(trained):
        return known
    return {stage.fingerprint: float(stage.recipe.images_seen) for stage in trained}


def _remaining(stages: Sequence[Stage], costs: Mapping[str, float]) -> dict[str, float]:
    """Per fingerprint the longest path from a stage on, itself included."""
    after: dict[str, float] = {}
    ahead: dict[str, float] = {}
    for stage in reversed(stages):
        ahead[stage.fingerprint] = costs.get(stage.fingerprint, 0.0) + after.get(stage.fingerprint, 0.0)
        if stage.parent is not None:
            after[stage.parent] = max(after.get(stage.parent, 0.0), ahead[stage.fingerprint])
    return ahead


def _tree(stages: Sequence[Stage]) -> tuple[list[Stage], dict[str, list[Stage]]]:
    """The stages that wait for nobody, and the others by parent."""
    there = {stage.fingerprint for stage in stages}
    roots: list[Stage] = []
    children: dict[str, list[Stage]] = {}
    for stage in stages:
        if stage.parent is None or stage.parent not in there:
            roots.append(stage)
        else:
            children.setdefault(stage.parent, []).append(stage)
    return roots, children


def _by_path(stages: Sequence[Stage], ahead: Mapping[str, float]) -> list[Stage]:
    """Shortest path first; of equal ones the first comes last."""
    return sorted(stages, key=lambda stage: -round(ahead[stage.fingerprint] / _EQUAL_SECONDS))[::-1]
