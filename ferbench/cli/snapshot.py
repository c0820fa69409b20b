"""`ferbench snapshot FOLDER`: rows as text, to be kept, sent and merged elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from ferbench.cli.options import common_options, where_option
from ferbench.cli.session import print_json, print_lines, reading_store, settings_of, warn, width


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("rows", nargs=-1, metavar="[ROW]...")
@where_option("Only rows that fit, as `ferbench leaderboard --where` shows them")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def snapshot(
    context: click.Context, folder: Path, rows: tuple[str, ...], where: tuple[str, ...], as_json: bool
) -> None:
    """Write rows into FOLDER as text, for others to merge.

    They go into runs.jsonl and predictions.csv.gz. The same rows give the same bytes, so that a snapshot can be kept
    under version control. `ferbench merge FOLDER` takes its rows into a store. Without ROW, all rows are written.
    Folders of this machine are not published.

    \b
    ferbench snapshot results/evidence-cpu-2.14
    ferbench snapshot out --where target=sfew 4f1c20
    """
    from ferbench.publish.merging import refused_name, snapshot_json, snapshot_lines
    from ferbench.snapshot import read_store, write_snapshot
    from ferbench.snapshot.choice import chosen_entries

    with reading_store(settings_of(context)) as store:
        choice = chosen_entries(store, rows, where)
        found = read_store(store, choice.entries)
    written = write_snapshot(folder, found.runs)
    if as_json:
        print_json(snapshot_json(str(folder), written, choice.members, found.refused))
    else:
        for refused in found.refused:
            warn(f"left out: {refused_name(refused)}{refused.reason}")
        print_lines(snapshot_lines(str(folder), written, choice.members, width=width()))
    if found.refused:
        context.exit(1)
