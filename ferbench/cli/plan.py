"""`ferbench plan`: what a matrix would train, and what that would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ferbench.cli.axes import AxisOptions, asked, axis_options
from ferbench.cli.options import common_options
from ferbench.cli.session import print_json, print_lines, reading_store, warn_of_failures, width

if TYPE_CHECKING:
    from ferbench.engine import Engine
    from ferbench.preparation import Prepared
    from ferbench.publish.plans import WorkLeft


@click.command()
@axis_options
@click.option("--force", is_flag=True, help="Plan finished cells again.")
@click.option("--calibrate", is_flag=True, help="Measure unknown speeds with a few training steps.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def plan(context: click.Context, axes: AxisOptions, force: bool, calibrate: bool, as_json: bool) -> None:
    """Show what a matrix would train, and train nothing.

    Cells, stages, images, time, disk and memory, as stages trained here before have taken them; what is unknown is
    said to be.
    """
    show_plan(context, axes, force=force, calibrate=calibrate, as_json=as_json)


def show_plan(
    context: click.Context,
    axes: AxisOptions,
    *,
    force: bool,
    calibrate: bool,
    as_json: bool,
    forgetting: bool = True,
    track: bool = False,
) -> None:
    """Print a plan. The store is only read."""
    plan = asked(context, axes)
    if not as_json:
        click.echo(plan.data)
    warn_of_failures(plan.catalog)
    from ferbench.cli.progress import QuietReporter
    from ferbench.engine import Engine
    from ferbench.publish.plans import plan_json, plan_lines

    with reading_store(plan.settings, or_empty=True) as store:
        engine = Engine(plan.catalog, store, plan.settings, QuietReporter(), forgetting=forgetting, track=track)
        prepared = engine.prepare(plan.matrix, force=force, calibrate=calibrate)
    work = work_left(prepared)
    if as_json:
        print_json(plan_json(work, prepared.cost))
    else:
        print_lines(plan_lines(work, prepared.cost, device_words(engine), width=width()))


def work_left(prepared: Prepared) -> WorkLeft:
    """What a prepared plan leaves to do, as publish takes it."""
    from ferbench.publish.plans import WorkLeft

    return WorkLeft(
        training=tuple(task.stage for task in prepared.tasks if task.trained is None),
        predicting=tuple(task.stage for task in prepared.tasks if task.trained is not None),
        cells=len(prepared.plan.cells),
        done_cells=len(prepared.finished),
        seconds={**prepared.cost.stage_seconds, **prepared.cost.predicting_seconds},
        images_done=prepared.cost.images_done,
    )


def device_words(engine: Engine) -> str:
    """The device as rows name it, and the CPU's threads where it computes."""
    from ferbench.quantities import counted

    kind, threads = engine.environment.device_kind, engine.environment.threads
    return f"{kind} ({counted(threads, 'thread')})" if kind == "cpu" else kind
