"""`ferbench cache`: what lies in the cache folder, what of it may go, whether it is whole."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import click

from ferbench.cache.folder import KINDS
from ferbench.cli.entry import CommandGroup
from ferbench.cli.options import common_options
from ferbench.cli.session import paint, print_json, print_lines, reading_store, settings_of, warn, width
from ferbench.errors import UsageError

if TYPE_CHECKING:
    from ferbench.cache.folder import CacheEntry
    from ferbench.cache.pruning import Fate, Needs
    from ferbench.settings import Settings


@click.group(cls=CommandGroup)
def cache() -> None:
    """Show, make room in and check the cache folder.

    It holds checkpoints, decoded pictures and features, and is kept within FERBENCH_CACHE_SIZE at the end of each run,
    as far as no row on the board needs what is there.
    """


@cache.command("list")
@click.option("--all", "every", is_flag=True, help="Show every entry, with the rows that it belongs to.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every entry.")
@common_options
@click.pass_context
def list_cache(context: click.Context, every: bool, as_json: bool) -> None:
    """Show what the cache folder holds, by kind."""
    from ferbench.cache.folder import cache_entries
    from ferbench.publish.cache import list_json, list_lines

    settings = settings_of(context)
    needs = _needs(settings)
    entries = cache_entries(settings.cache_folder)
    folder, bound = str(settings.cache_folder), settings.cache_bytes
    if as_json:
        print_json(list_json(folder, bound, entries, needs))
        return
    print_lines(list_lines(folder, bound, entries, needs, time.time(), every=every, width=width(), paint=paint()))


@cache.command()
@click.option("--to", "to", metavar="SIZE", help="Make room until the folder takes no more, such as 20GB.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only this; may be given several times.")
@click.option(
    "--row", "rows", metavar="ROW", multiple=True, help="Only checkpoints of this row; may be given several times."
)
@click.option("--unknown", is_flag=True, help="Also checkpoints that this store does not know.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would go and remove nothing.")
@common_options
@click.pass_context
def prune(
    context: click.Context,
    to: str | None,
    kinds: tuple[str, ...],
    rows: tuple[str, ...],
    unknown: bool,
    yes: bool,
    dry_run: bool,
) -> None:
    """Make room in the cache folder.

    Without options it comes down to FERBENCH_CACHE_SIZE. With --kind, --row or --unknown, and without --to, all that is
    named goes. What is needed by rows on the board, by unfinished work or perhaps by another store goes last, and only
    when you agree; a row whose checkpoint went says so, and cannot predict until it is run again.
    """
    from ferbench.cache.folder import cache_entries
    from ferbench.cache.pruning import FATES, removable
    from ferbench.publish.cache import going_lines, removed_lines
    from ferbench.settings import parse_size

    settings = settings_of(context)
    named = bool(kinds or rows or unknown)
    bound = parse_size(to, "--to") if to is not None else 0 if named else settings.cache_bytes
    needs = _needs(settings)
    entries = cache_entries(settings.cache_folder)
    only_unknown = unknown and to is None and not (kinds or rows)
    chosen = _chosen(entries, needs, kinds, _finals(settings, rows) if rows else None, only_unknown=only_unknown)
    total = sum(entry.bytes for entry in entries)
    others = total - sum(entry.bytes for entry in chosen)
    allowed: Collection[Fate] = [fate for fate in FATES if unknown or fate != "unknown"]
    going = removable(chosen, needs, max(bound - others, 0), allowed)
    print_lines(going_lines(going, needs, width=width()))
    if dry_run or not going:
        return
    agreed, unasked = _agreed(going, needs, yes)
    removed, left = _remove(settings, agreed, needs), total
    left -= sum(entry.bytes for entry in removed)
    print_lines(removed_lines(removed, left, None if named and to is None else bound, width=width()))
    if unasked:
        raise UsageError("there is no terminal to ask about the rest: give --yes to remove that too")


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def verify(context: click.Context, as_json: bool) -> None:
    """Check every entry against its hash and size.

    A checkpoint must be the file whose hash the store has; exit code 1 if something is broken.
    """
    from ferbench.cache.checks import checked
    from ferbench.cache.folder import cache_entries
    from ferbench.publish.cache import fault_lines, faults_json

    settings = settings_of(context)
    entries = cache_entries(settings.cache_folder)
    stored = {entry.name for entry in entries if entry.kind == "checkpoints"}
    with reading_store(settings, or_empty=True) as store:
        needs = store.checkpoint_needs()
        sha256s = {name: result.checkpoint_sha256 for name, result in store.stage_results(stored).items()}
        absent = {
            row
            for final, rows in needs.finals.items()
            if final not in stored and not store.is_pruned(final)
            for row in rows
        }
    found = list(checked(entries, sha256s))
    if as_json:
        print_json(faults_json(found, absent))
    else:
        print_lines(fault_lines(found, absent, width=width(), paint=paint()))
    if any(check.fault is not None for check in found):
        context.exit(1)


def _needs(settings: Settings) -> Needs:
    with reading_store(settings, or_empty=True) as store:
        return store.checkpoint_needs()


def _finals(settings: Settings, rows: Sequence[str]) -> set[str]:
    """The stages that the finished runs of some rows end with; raises UsageError for rows that there are not."""
    with reading_store(settings) as store:
        return {run.stages[-1] for row in rows for run in store.runs(row=row, status="finished") if run.stages}


def _chosen(
    entries: Sequence[CacheEntry],
    needs: Needs,
    kinds: Collection[str],
    finals: Collection[str] | None,
    *,
    only_unknown: bool,
) -> list[CacheEntry]:
    """What the options name; each that is given narrows it down."""
    found = [entry for entry in entries if not kinds or entry.kind in kinds]
    if finals is not None:
        found = [entry for entry in found if entry.kind == "checkpoints" and entry.name in finals]
    if only_unknown:
        found = [entry for entry in found if needs.fate(entry) == "unknown"]
    return found


def _agreed(going: Sequence[CacheEntry], needs: Needs, yes: bool) -> tuple[list[CacheEntry], bool]:
    """What may go after asking, and whether there was nobody to ask."""
    from ferbench.cache.pruning import WITHOUT_ASKING
    from ferbench.publish.cache import by_fate, question

    agreed: list[CacheEntry] = []
    unasked = False
    for fate, own in by_fate(going, needs).items():
        if yes or fate in WITHOUT_ASKING:
            agreed += own
        elif not _may_ask():
            unasked = True
        elif click.confirm(question(fate, own, width=width()), err=True):
            agreed += own
    return agreed, unasked


def _may_ask() -> bool:
    return sys.stdin.isatty()


def _remove(settings: Settings, entries: Sequence[CacheEntry], needs: Needs) -> list[CacheEntry]:
    """Remove entries and mark the rows that lose their checkpoints; gives what is gone."""
    from ferbench.cache.pruning import remove_all
    from ferbench.store import open_store

    finals = [entry for entry in entries if needs.fate(entry) == "board"]
    removed, faults = remove_all(entry for entry in entries if entry not in finals)
    if finals:
        # Opened first: where it cannot be written, nothing goes of which it would have to say that it is gone.
        with open_store(settings.store) as store:
            for entry in finals:
                gone, lines = remove_all([entry])
                store.mark_pruned([each.name for each in gone])
                removed += gone
                faults += lines
    for line in faults:
        warn(line)
    return removed
