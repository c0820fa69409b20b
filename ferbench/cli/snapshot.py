"""`ferbench snapshot FOLDER`: rows as text, to be kept, sent and merged elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options, permits_asked, where_option
from ferbench.cli.session import (
    catalog_of,
    print_json,
    print_lines,
    reading_store,
    settings_of,
    warn,
    warn_of_failures,
    width,
)
from ferbench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from ferbench.components import Permit


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("rows", nargs=-1, metavar="[ROW]...")
@where_option("Only rows that fit, as `ferbench leaderboard --where` shows them")
@click.option(
    "--with",
    "asked",
    metavar="WHAT[,WHAT]",
    multiple=True,
    help="Publish ids or groups (films, people) of samples, whatever the dataset's licence says.",
)
@click.option("--rebuild", is_flag=True, help="Make the pages of the snapshot in FOLDER anew; no store is read.")
@click.option("--check", is_flag=True, help="Say whether its pages are what its rows give; exit code 1 if not.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def snapshot(
    context: click.Context,
    folder: Path,
    rows: tuple[str, ...],
    where: tuple[str, ...],
    asked: tuple[str, ...],
    rebuild: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Write rows into FOLDER as text, for others to merge.

    They go into runs.jsonl and predictions.csv.gz; leaderboard.md and leaderboard.html are made of these two alone. The
    same rows give the same bytes, so that a snapshot can be kept under version control. `ferbench merge FOLDER` takes
    its rows into a store. Without ROW, all rows are written.

    Folders of this machine are not published. Ids and groups of samples are published where the dataset's licence
    permits it, as its plugin says; else numbers stand in their place.

    \b
    ferbench snapshot results/evidence-cpu-2.14
    ferbench snapshot out --where target=sfew 4f1c20
    ferbench snapshot results/evidence-cpu-2.14 --check
    """
    if rebuild or check:
        if (rebuild and check) or rows or where or asked:
            raise UsageError("--rebuild and --check take the FOLDER of a snapshot and nothing else: give one of them")
        _look_at_pages(context, folder, rebuild=rebuild, as_json=as_json)
        return
    from ferbench.publication.from_snapshot import write_pages
    from ferbench.publish.merging import against_licence_line, refused_name, snapshot_json, snapshot_lines
    from ferbench.snapshot import read_store, write_snapshot
    from ferbench.snapshot.choice import chosen_entries
    from ferbench.snapshot.licence import against_licence, asked_too, permits_of

    names = _asked(asked)
    catalog = catalog_of(context)
    warn_of_failures(catalog)
    permits = permits_of(catalog.dataset)
    with reading_store(settings_of(context)) as store:
        choice = chosen_entries(store, rows, where)
        found = read_store(store, choice.entries)
    for refused in found.refused:
        warn(f"left out: {refused_name(refused)}{refused.reason}")
    if not found.runs:
        raise StoreError(
            "none of its rows holds what it says, so that no snapshot is written: `ferbench verify` says more"
        )
    written = write_snapshot(folder, found.runs, asked_too(permits, names))
    write_pages(folder)
    against = against_licence(found.runs, permits, names)
    if against:
        warn(against_licence_line(against))
    if as_json:
        print_json(snapshot_json(str(folder), written, choice.members, found.refused, against))
    else:
        print_lines(snapshot_lines(str(folder), written, choice.members, width=width()))
    if found.refused:
        context.exit(1)


def _look_at_pages(context: click.Context, folder: Path, *, rebuild: bool, as_json: bool) -> None:
    from ferbench.publication.from_snapshot import PAGES, differing_pages, write_pages
    from ferbench.publish.layout import wrapped
    from ferbench.quantities import joined, size

    if rebuild:
        size_bytes = write_pages(folder)
        if as_json:
            print_json({"folder": str(folder), "pages": list(PAGES), "size_bytes": size_bytes})
        else:
            print_lines(wrapped(f"{folder}: {joined(list(PAGES))}, {size(size_bytes)}", width(), hanging="  "))
        return
    differing = differing_pages(folder)
    if as_json:
        print_json({"folder": str(folder), "ok": not differing, "differing": list(differing)})
    elif differing:
        line = f"{folder}: {joined(list(differing))} not as its rows give: make anew with --rebuild"
        print_lines(wrapped(line, width(), hanging="  "))
    else:
        print_lines(wrapped(f"{folder}: {joined(list(PAGES))} are what its rows give", width(), hanging="  "))
    if differing:
        context.exit(1)


def _asked(texts: tuple[str, ...]) -> tuple[Permit, ...]:
    from ferbench.snapshot.licence import NAMES

    return permits_asked(texts, NAMES, f"a snapshot holds {' and '.join(NAMES)}, and nothing else to ask for")
