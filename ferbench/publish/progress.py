"""How far a command is: time left over all stages, and the lines of a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ferbench.costs import PlanCost
from ferbench.publish.layout import wrapped, wrapped_facts
from ferbench.quantities import counted, duration, percent, size, whole
from ferbench.records import Run, StageResult
from ferbench.stages import Stage

#: A log gets a line at this distance at the earliest, once a tenth of the stage has gone by ...
LOG_SECONDS = 10.0
LOG_SHARE = 0.1
#: ... and at this one at the latest.
LOG_SILENCE_SECONDS = 300.0

#: Of lines below a stage's name, which are indented by two.
_STAGE_WIDTH = 78


class TimeLeft:
    """Seconds left of a whole command, from estimates that are corrected by what stages really took.

    Parameters
    ----------
    stages : that will be trained, in order, or predict
    estimates : seconds per fingerprint, None where unknown

    Attributes
    ----------
    estimated, taken : of the finished stages whose time was estimated, and that did what was estimated
    compared, finished_stages : how many these are, and how many are finished in all
    """

    def __init__(self, stages: Sequence[Stage], estimates: Mapping[str, float | None]) -> None:
        self._waiting = {stage.fingerprint: estimates.get(stage.fingerprint) for stage in stages}
        self._current: tuple[str, float | None] = ("", None)
        self.estimated = 0.0
        self.taken = 0.0
        self.compared = 0
        self.finished_stages = 0

    def started(self, stage: Stage) -> None:
        """The stage is no longer among those that wait."""
        self._current = (stage.fingerprint, self._waiting.pop(stage.fingerprint, None))

    def finished(self, stage: Stage, seconds: float, *, comparable: bool = True) -> None:
        """A stage took so many seconds, with what it predicted. It may be another than the one that was started: a
        parent whose checkpoint was lost is trained on the way.

        comparable : it had to do what its estimate is of (`as_planned`)
        """
        self.finished_stages += 1
        name, estimate = self._current
        if comparable and name == stage.fingerprint and estimate is not None:
            self.compared += 1
            self.estimated += estimate
            self.taken += seconds

    def left(self, stage_seconds: float) -> float | None:
        """With so many seconds left of the current stage; None if a waiting stage's time is unknown."""
        waiting = 0.0
        for seconds in self._waiting.values():
            if seconds is None:
                return None
            waiting += seconds
        factor = self.taken / self.estimated if self.estimated else 1.0
        return stage_seconds + factor * waiting


class LogRate:
    """Decides which reports of a stage become a line of a log."""

    def __init__(self) -> None:
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """A stage begins."""
        self._said, self._share = now, 0.0

    def due(self, now: float, share: float) -> bool:
        """Whether a report at this time, with this share of the stage done, is to be written."""
        quiet = now - self._said
        # Steps begin at nothing again after the features that they are done on.
        self._share = min(self._share, share)
        if (quiet >= LOG_SECONDS and share - self._share >= LOG_SHARE) or quiet >= LOG_SILENCE_SECONDS:
            self._said, self._share = now, share
            return True
        return False


def figures(
    loss: float | None, images_per_second: float, stage_left: float, all_left: float | None, making: str = "features"
) -> str:
    """Loss, or what is made before there is one, speed and time left, of the stage and of the whole command."""
    rate = _rate(images_per_second)
    whole_time = "unknown" if all_left is None else _calm(all_left)
    what = making if loss is None else f"loss {loss:.3f}"
    return f"{what}  {rate}  left {_calm(stage_left)}, in all {whole_time}"


def stage_lines(result: StageResult, estimated: float | None, width: int = _STAGE_WIDTH) -> list[str]:
    """What a stage has just cost; what of it was there already, and what the stage itself notes, on lines of their own.

    estimated : seconds that `train_seconds` was expected to be
    """
    expected = "" if estimated is None else f" (estimated {duration(estimated)})"
    facts = [
        f"trained {whole(result.images_seen)} images in {duration(result.train_seconds)}{expected}",
        _rate(result.images_per_second),
        *([f"loss {result.history[-1].loss:.3f}"] if result.history else []),
    ]
    others = []
    if result.features_per_second is not None:
        features = f"features of the frozen part took {duration(result.feature_seconds)} of it"
        others.append(f"{features} once, and were there already" if _found_features(result) else features)
    if result.resumed_at:
        others.append(f"went on from image {whole(result.resumed_at)}, where an earlier command had stopped")
    if result.compile_seconds >= 1:
        others.append(f"compiling took {duration(result.compile_seconds)} more")
    lines = wrapped_facts(facts, width, hanging="  ", between=",")
    return lines + [line for each in (*others, *result.notes) for line in wrapped(each, width, hanging="  ")]


def as_planned(result: StageResult, cost: PlanCost) -> bool:
    """Whether a stage had to do what its estimate is of.

    It had less to do where its features were found, which no plan looks for, and more where what was kept of it could
    not be gone on with.
    """
    name = result.fingerprint
    found = _found_features(result) and cost.feature_seconds.get(name, 0.0) > 0
    return not found and bool(result.resumed_at) == (name in cost.images_done)


def _found_features(result: StageResult) -> bool:
    """Stand-alone cost counts features in full; what was spent tells whether they were there."""
    if result.features_per_second is None or result.spent_seconds is None:
        return False
    steps = result.train_seconds - result.feature_seconds
    return result.spent_seconds - result.compile_seconds < steps + result.feature_seconds / 2


def truth_line(left: TimeLeft) -> str | None:
    """Estimate and truth side by side; None where nothing was estimated."""
    if not left.compared:
        return None
    some = f"{whole(left.compared)} of " if left.compared < left.finished_stages else ""
    stages = counted(left.finished_stages, "stage")
    return f"{some}{stages} estimated {duration(left.estimated)}, took {duration(left.taken)}"


def run_line(run: Run) -> str:
    """One line for a run that has just ended."""
    cell = run.cell
    chain = [f"with {', '.join(cell.auxiliaries)}"] if cell.auxiliaries else []
    chain += [f"{100 * run.train_fraction:.3g} % of train"] if 0 < run.train_fraction < 1 else []
    what = " · ".join([cell.backbone, cell.strategy, *chain, f"on {cell.target}", f"seed {cell.seed}"])
    if run.status == "failed":
        return f"failed {run.row}  {what}: {run.error}"
    accuracy = next((score.value for score in run.scores if score.metric == "accuracy"), None)
    return f"finished {run.row}  {what}" + ("" if accuracy is None else f": accuracy {percent(accuracy)} %")


def summary_line(finished: Sequence[Run], failed: Sequence[Run], skipped: int, seconds: float) -> str:
    """What a command did."""
    parts = [f"{whole(len(finished))} finished"]
    parts += [f"{whole(len(failed))} failed"] if failed else []
    parts += [f"{whole(skipped)} there already"] if skipped else []
    parts.append(f"wall time {duration(seconds)}")
    peak = max((run.peak_memory_bytes for run in finished), default=0)
    return " · ".join([*parts, f"peak memory {size(peak)}"] if peak else parts)


def _rate(images_per_second: float) -> str:
    return f"{images_per_second:,.0f} images/s" if images_per_second >= 9.95 else f"{images_per_second:.1f} images/s"


def _calm(seconds: float) -> str:
    """In whole seconds: tenths would only flicker."""
    return f"{round(seconds)} s" if seconds < 59.5 else duration(seconds)
