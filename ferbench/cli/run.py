"""`ferbench run`: train and score what a matrix asks for."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from ferbench.cli.axes import AxisOptions, asked, axis_options
from ferbench.cli.boards import show_boards, show_generalisation
from ferbench.cli.completion import complete_datasets
from ferbench.cli.given import debugging
from ferbench.cli.options import common_options
from ferbench.cli.plan import device_words, show_plan, work_left
from ferbench.cli.session import print_json, warn_of_failures
from ferbench.cli.stopping import StopRequest
from ferbench.errors import UsageError

if TYPE_CHECKING:
    from ferbench.cli.progress import LineReporter
    from ferbench.engine import Engine
    from ferbench.matrix import Matrix
    from ferbench.preparation import Prepared
    from ferbench.publish.plans import WorkLeft
    from ferbench.store import Store

#: Real data on a CPU that takes longer than this is asked about first.
ASK_FROM_SECONDS = 30 * 60


@click.command()
@axis_options
@click.option("--force", is_flag=True, help="Run finished cells again.")
@click.option("--yes", is_flag=True, help="Do not ask before a long run on a CPU.")
@click.option(
    *("--also-report", "also_report"),
    metavar="A,B",
    multiple=True,
    shell_complete=complete_datasets,
    help="Score every row on these datasets' report splits too, finished rows from their checkpoints.",
)
@click.option("--no-forgetting", is_flag=True, help="Do not measure how auxiliaries are still known at the end.")
@click.option("--track", is_flag=True, help="Measure accuracy on the target's select samples after each epoch.")
@click.option("--dry-run", is_flag=True, help="Show the plan only, as `ferbench plan` does.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the boards of this command as JSON; progress goes to stderr."
)
@common_options
@click.pass_context
def run(
    context: click.Context,
    axes: AxisOptions,
    force: bool,
    yes: bool,
    also_report: tuple[str, ...],
    no_forgetting: bool,
    track: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train and score every cell of a matrix.

    Every option that may be given several times is an axis; all combinations are run. What is finished already is not
    run again, and a command that was stopped goes on where it was. The leaderboard is shown at the end.

    \b
    ferbench run --strategy cascade --backbone vgg16
    ferbench run -s single-stage -s cascade -b tv/mobilenet_v2 --seed 0-2
    """
    if dry_run:
        beside = {"forgetting": not no_forgetting, "track": track}
        show_plan(context, axes, force=force, calibrate=False, as_json=as_json, **beside)
        return
    from ferbench.cli.progress import output, reporter_for

    began = time.monotonic()
    reporter = reporter_for(output(to_stderr=as_json), debug=debugging(context))
    wanted = asked(context, axes)
    reporter.say(wanted.data)
    warn_of_failures(wanted.catalog)
    with reporter, reporter.busy("loading torch"):
        from ferbench.engine import Engine
        from ferbench.publish.plans import work_line
        from ferbench.publish.progress import summary_line
        from ferbench.quantities import counted
        from ferbench.store import open_store
    with open_store(wanted.settings.store) as store, reporter:
        engine = Engine(wanted.catalog, store, wanted.settings, reporter, forgetting=not no_forgetting, track=track)
        further = engine.further_reports(_named(also_report) or wanted.also_report)
        with reporter.busy("reading the data, measuring speeds"):
            prepared = engine.prepare(wanted.matrix, force=force)
            further.check(prepared.plan.cells)
        work = work_left(prepared)
        reporter.say(work_line(work, prepared.cost, device_words(engine)))
        if not yes:
            _ask(engine, prepared, work)
        with StopRequest(reporter.say) as stop:
            if wanted.matrix.tune is not None:
                prepared = _tuned(engine, wanted.matrix, reporter, stop, force=force)
                work = work_left(prepared)
            reporter.begin(work, prepared.cost)
            outcome = engine.run(prepared, force=force, stop=stop.asked)
            reporter.end()
            with reporter.busy("scoring further datasets"):
                scored = further.score((*outcome.finished, *outcome.skipped), force=force)
            if further.references:
                reporter.say(f"also reported on {', '.join(further.references)}: {counted(scored, 'run')} scored now")
        reporter.say(summary_line(outcome.finished, outcome.failed, len(outcome.skipped), time.monotonic() - began))
        _show_results(store, prepared, as_json=as_json, further=bool(further.references))
    if outcome.failed:
        context.exit(1)


def _named(also_report: tuple[str, ...]) -> tuple[str, ...]:
    from ferbench.matrix import parse_chain

    return tuple(name for text in also_report for name in parse_chain(text))


def _tuned(engine: Engine, matrix: Matrix, reporter: LineReporter, stop: StopRequest, *, force: bool) -> Prepared:
    """Try what there is to choose from, and plan the rows that come of it."""
    from ferbench.publish.plans import work_line
    from ferbench.publish.tuning import tuning_lines

    tries = engine.prepare_tries(matrix, force=force)
    if tries.tasks:
        reporter.begin(work_left(tries), tries.cost)
        engine.run(tries, stop=stop.asked)
        reporter.end()
    for line in tuning_lines(engine.tunings(matrix)):
        reporter.say(line)
    prepared = engine.prepare_chosen(matrix, force=force)
    reporter.say(work_line(work_left(prepared), prepared.cost, device_words(engine)))
    return prepared


def _ask(engine: Engine, prepared: Prepared, work: WorkLeft) -> None:
    """Whether a long run is meant.

    Raises
    ------
    UsageError : there is nobody to ask
    click.exceptions.Exit : it is not meant
    """
    if prepared.synthetic or engine.device != "cpu" or work.known_seconds <= ASK_FROM_SECONDS:
        return
    from ferbench.publish.plans import estimate

    if not sys.stdin.isatty():
        raise UsageError(
            f"this takes {estimate(work)} on the CPU and there is no terminal to ask: give --yes to run it, or a "
            "smaller budget with --epochs or --set images_seen=…"
        )
    if not click.confirm(f"This takes {estimate(work)} on the CPU. Run it?", err=True):
        click.echo("nothing was trained", err=True)
        raise click.exceptions.Exit(1)


def _show_results(store: Store, prepared: Prepared, *, as_json: bool, further: bool) -> None:
    """The boards that this command's cells are on, with all their rows, and its own rows on further datasets."""
    from ferbench.leaderboard import as_json as boards_json
    from ferbench.leaderboard import leaderboards

    boards = {cell.board.fingerprint for cell in prepared.plan.cells}
    tables = [
        table
        for table in leaderboards(store.leaderboard_rows(), store.speed_measurements())
        if table.board.fingerprint in boards
    ]
    if as_json:
        print_json(boards_json(tables))
    else:
        click.echo()
        own = [cell.entry for cell in prepared.plan.cells]
        show_boards(tables, own)
        if further:
            click.echo()
            show_generalisation(store, tables, own)
