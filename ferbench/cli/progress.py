"""What a user sees while a command works: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, TextIO

import click

from ferbench.cli.session import warn
from ferbench.publish.plans import WorkLeft, stage_label
from ferbench.publish.progress import LogRate, TimeLeft, as_planned, figures, run_line, stage_lines, truth_line
from ferbench.quantities import percent

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from ferbench.costs import PlanCost
    from ferbench.records import Run, StageResult
    from ferbench.stages import Stage
    from ferbench.training import Progress


#: Characters that the figures beside a bar may take.
_FIGURES = 75


class QuietReporter:
    """Tells warnings and nothing else; the others tell more."""

    def warn(self, line: str) -> None:
        warn(line)

    def stage_started(self, stage: Stage, number: int, total: int) -> None: ...
    def stage_progress(self, stage: Stage, progress: Progress) -> None: ...
    def stage_finished(self, stage: Stage, result: StageResult) -> None: ...
    def stage_failed(self, stage: Stage, line: str, trace: str) -> None: ...
    def run_finished(self, run: Run) -> None: ...


class LineReporter(QuietReporter):
    """Plain lines.

    Parameters
    ----------
    stream : where they go; stderr where stdout belongs to JSON
    debug : print tracebacks of stages that fail
    """

    def __init__(self, stream: TextIO, *, debug: bool = False) -> None:
        self._stream = stream
        self._debug = debug
        self._rate = LogRate()
        self._left = TimeLeft((), {})
        self._trained: frozenset[str] = frozenset()
        self._cost: PlanCost | None = None
        self._began = 0.0

    def begin(self, work: WorkLeft, cost: PlanCost) -> None:
        """Before the first stage."""
        self._left = TimeLeft(work.stages, work.seconds)
        self._trained = frozenset(stage.fingerprint for stage in work.training)
        self._cost = cost

    def end(self) -> None:
        """After the last stage: how far off the estimate was."""
        line = truth_line(self._left)
        if line is not None:
            self.say(line)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """While something without measurable progress is done."""
        yield

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def say(self, line: str) -> None:
        click.echo(line, file=self._stream)

    def stage_started(self, stage: Stage, number: int, total: int) -> None:
        self._left.started(stage)
        self._began = time.monotonic()
        self._rate.restart(self._began)
        verb = "" if stage.fingerprint in self._trained else "predicting, trained already: "
        self.say(f"stage {number}/{total}  {verb}{stage_label(stage)}")

    def stage_progress(self, stage: Stage, progress: Progress) -> None:
        self._leave_out(progress)
        share = progress.images_seen / progress.images_total
        if share < 1 and self._rate.due(time.monotonic(), share):
            self.say(f"  {percent(share, 0):>3} %  {self.figures(progress)}")

    def stage_finished(self, stage: Stage, result: StageResult) -> None:
        now = time.monotonic()
        cost = self._cost
        self._left.finished(stage, now - self._began, comparable=cost is None or as_planned(result, cost))
        self._began = now
        estimated = None if cost is None else cost.training_seconds.get(stage.fingerprint)
        for line in stage_lines(result, estimated):
            self.say(f"  {line}")

    def stage_failed(self, stage: Stage, line: str, trace: str) -> None:
        if self._debug:
            click.echo(trace.rstrip(), err=True)

    def run_finished(self, run: Run) -> None:
        self.say(run_line(run))

    def _leave_out(self, progress: Progress) -> None:
        """Time a stage anew while faces are looked for: no plan estimates that, and it says nothing of other stages."""
        if progress.making == "faces":
            self._began = time.monotonic()

    def figures(self, progress: Progress) -> str:
        """Loss, speed and time left in words."""
        left = self._left.left(progress.seconds_left)
        return figures(progress.loss, progress.images_per_second, progress.seconds_left, left, progress.making)


class BarReporter(LineReporter):
    """The same lines above a bar that moves."""

    def __init__(self, stream: TextIO, *, debug: bool = False) -> None:
        super().__init__(stream, debug=debug)
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self._console = Console(file=stream, highlight=False, markup=False, soft_wrap=True)
        self._bar: Bar = Bar(
            BarColumn(bar_width=min(max(self._console.width - _FIGURES, 4), 40)),
            TextColumn("{task.percentage:>3.0f} %  {task.description}", markup=False),
            console=self._console,
            transient=True,
            refresh_per_second=4,
        )
        self._task: TaskID | None = None

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        with self._console.status(what, spinner="line"):
            yield

    def warn(self, line: str) -> None:
        # Through the console, which moves the bar out of the way.
        self._console.print(f"warning: {line}", style="yellow")

    def say(self, line: str) -> None:
        self._console.print(line)

    def stage_started(self, stage: Stage, number: int, total: int) -> None:
        self._hide()
        super().stage_started(stage, number, total)
        if stage.fingerprint in self._trained:
            self._task = self._bar.add_task("starting", total=stage.recipe.images_seen)
            self._bar.start()

    def stage_progress(self, stage: Stage, progress: Progress) -> None:
        self._leave_out(progress)
        if self._task is not None:
            seen, total, words = progress.images_seen, progress.images_total, self.figures(progress)
            self._bar.update(self._task, completed=seen, total=total, description=words)

    def stage_finished(self, stage: Stage, result: StageResult) -> None:
        self._hide()
        super().stage_finished(stage, result)

    def stage_failed(self, stage: Stage, line: str, trace: str) -> None:
        self._hide()
        super().stage_failed(stage, line, trace)

    def _hide(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        self._bar.stop()


def reporter_for(stream: TextIO, *, debug: bool) -> LineReporter:
    """Bars where a person looks on, lines elsewhere."""
    return BarReporter(stream, debug=debug) if stream.isatty() else LineReporter(stream, debug=debug)


def output(*, to_stderr: bool) -> TextIO:
    """The stream that people read."""
    return sys.stderr if to_stderr else sys.stdout
