"""`ferbench leaderboard`: what the store holds, ranked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferbench.cli.board_options import BoardOptions, board_options
from ferbench.cli.board_rows import read_rows, references_of_target
from ferbench.cli.boards import (
    print_boards_csv,
    print_boards_json,
    print_boards_latex,
    print_boards_markdown,
    show_found,
    show_reported,
)
from ferbench.cli.options import common_options
from ferbench.cli.session import catalog_of, settings_of, shown_store, warn_of_failures

if TYPE_CHECKING:
    from ferbench.records import ReportedResult


@click.command()
@board_options
@common_options
@click.pass_context
def leaderboard(context: click.Context, options: BoardOptions) -> None:
    """Show every board with its rows, best first.

    \b
    ferbench leaderboard --where 'backbone=vgg*' --sort time --top 5
    ferbench leaderboard --where 'lr<0.01' --where seeds=5 --csv > rows.csv
    """
    options.check()
    reported = _reported(context, options.files) if options.with_references else None
    found = read_rows(options, settings_of(context))
    if options.target is not None:
        reported = references_of_target(found, reported, options.target)
    if options.json:
        print_boards_json(found, options, reported)
    elif options.csv:
        print_boards_csv(found, options)
    elif options.markdown:
        print_boards_markdown(found, options, reported or ())
    elif options.latex:
        print_boards_latex(found, options, reported or ())
    else:
        if found.runs and not (options.target is not None and not found.boards):
            show_found(found, options, reported or ())
        elif found.runs:
            click.echo(f"no board of {options.target} yet")
        else:
            click.echo(
                f"no results in {shown_store(settings_of(context))} yet: start with "
                "`ferbench run --strategy cascade --backbone vgg16`"
            )
        show_reported(found, reported or ())


def _reported(context: click.Context, files: Sequence[Path]) -> tuple[ReportedResult, ...]:
    """What plugins and then the user's own files report, each figure once."""
    from ferbench.reported_results import read_reported_results

    catalog = catalog_of(context)
    warn_of_failures(catalog)
    own = (result for file in files for result in read_reported_results(file, catalog.dataset))
    return tuple(dict.fromkeys((*catalog.reported_results(), *own)))
