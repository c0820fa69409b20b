"""`ferbench datasets`: which there are, where they lie, whether a copy is whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferbench.cli.completion import complete_datasets
from ferbench.cli.entry import CommandGroup
from ferbench.cli.options import common_options
from ferbench.cli.session import catalog_of, paint, print_json, print_lines, settings_of, warn_of_failures, width
from ferbench.errors import FerbenchError, UsageError

if TYPE_CHECKING:
    from ferbench.catalog import Catalog
    from ferbench.cli.dataset_checks import DatasetCheck
    from ferbench.components import Dataset, DatasetFamily
    from ferbench.publish.datasets import DatasetView

#: Of what lies in a folder so many names are shown.
_NAMED = 6


@click.group(cls=CommandGroup)
def datasets() -> None:
    """List datasets, find them, check copies of them."""


@datasets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def list_datasets(context: click.Context, as_json: bool) -> None:
    """List datasets with splits, roles and licence."""
    from ferbench.publish.datasets import dataset_lines

    views = _views(context)
    if as_json:
        _print_views(views)
    else:
        print_lines(dataset_lines(views, width=width(), paint=paint()))


@datasets.command()
@click.argument("name", required=False, shell_complete=complete_datasets)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def where(context: click.Context, name: str | None, as_json: bool) -> None:
    """Show where a dataset (or each) was found, or how to get it."""
    from ferbench.publish.datasets import place_lines

    views = _views(context, name)
    if as_json:
        _print_views(views)
    else:
        folder = str(settings_of(context).data_folder)
        print_lines(place_lines(views, folder, width=width(), paint=paint()))


@datasets.command()
@click.argument("names", nargs=-1, required=True, shell_complete=complete_datasets)
@click.option(
    "--sheet",
    metavar="FILE.png",
    type=click.Path(path_type=Path),
    help="Draw some faces of every class there; a folder takes a file for each dataset.",
)
@click.option("--strict", is_flag=True, help="Count duplicates, leaks and label conflicts as faults.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every file, pair and group.")
@common_options
@click.pass_context
def check(context: click.Context, names: tuple[str, ...], sheet: Path | None, strict: bool, as_json: bool) -> None:
    """Read whole datasets and say what is in them.

    For each split: counts against the published ones, unreadable images, sizes, balance, groups (films or people), and
    pictures that are there twice, pixel by pixel.

    Exit code 1 for faults: a split with a role that cannot be read, an unreadable image, counts that differ from the
    published ones. What is there twice is a warning, since published data has it: copies of a picture within a split
    or in two splits, one picture with two labels, a film or person in two splits.
    """
    from ferbench.cli.dataset_checks import check_dataset, sheet_files, write_sheet
    from ferbench.data.split_cache import SplitCache

    settings, catalog = settings_of(context), catalog_of(context)
    warn_of_failures(catalog)
    names = tuple(dict.fromkeys(names))
    files = {} if sheet is None else dict(zip(names, sheet_files(sheet, names), strict=True))
    chosen, lost = _chosen(catalog, names)
    cache = SplitCache(settings.cache_folder)
    report: list[object] = []
    faulty = False
    for name, dataset in chosen.items():
        try:
            done = check_dataset(dataset, settings.data_folder, cache)
            faulty |= done.is_faulty(strict=strict)
            if as_json:
                report.append(_as_json(done, strict=strict))
            else:
                _print(done, strict=strict)
            if name in files:
                write_sheet(done, files[name])
                if not as_json:
                    print_lines([f"    contact sheet: {files[name]}"])
        except FerbenchError as error:
            lost.append(error)
    if as_json and (report or not lost):
        print_json({"datasets": report})
    for other in lost[:-1]:
        click.echo(f"error: {other.line}", err=True)
    if lost:
        raise lost[-1]
    if faulty:
        context.exit(1)


def _as_json(done: DatasetCheck, *, strict: bool) -> object:
    from ferbench.publish.dataset_checks import check_json

    ok = not done.is_faulty(strict=strict)
    return check_json(done.dataset.name, done.place, done.splits, done.overlaps, ok=ok)


def _print(done: DatasetCheck, *, strict: bool) -> None:
    from ferbench.publish.dataset_checks import check_lines

    lines = check_lines(
        done.dataset.name,
        done.splits,
        done.place,
        overlaps=done.overlaps,
        strict=strict,
        width=width(),
        paint=paint(),
    )
    print_lines(lines)


def _chosen(catalog: Catalog, names: Sequence[str]) -> tuple[dict[str, Dataset], list[FerbenchError]]:
    """The datasets of these names, and why some could not be opened; a wrong name ends all before anything is read."""
    from ferbench.references import parse_reference

    found: dict[str, Dataset] = {}
    lost: list[FerbenchError] = []
    for name in names:
        try:
            reference = parse_reference(name, catalog.dataset)
        except UsageError:
            raise
        except FerbenchError as error:
            lost.append(error)
            continue
        if reference.splits:
            whole = reference.dataset.name
            raise UsageError(f"{name!r} names splits, but all splits of a dataset are checked: write {whole}")
        found[name] = reference.dataset
    return found, lost


def _views(context: click.Context, name: str | None = None) -> list[DatasetView]:
    from ferbench.components import Dataset, DatasetFamily

    folder, catalog = settings_of(context).data_folder, catalog_of(context)
    warn_of_failures(catalog)
    listed = {each.name: each.component for each in catalog.datasets()}
    shown = {name: each for name, each in listed.items() if isinstance(each, (Dataset, DatasetFamily))}
    if name is None:
        return [_view(each, component, folder) for each, component in shown.items()]
    # A family is asked for as it is listed, its members by their whole names.
    prefix = name.removesuffix("…")
    family = shown.get(prefix)
    return [_view(prefix, family, folder) if family else _view(name, catalog.dataset(name), folder)]


def _view(name: str, component: Dataset | DatasetFamily, data_folder: Path) -> DatasetView:
    from ferbench.components import DatasetFamily
    from ferbench.publish.datasets import DatasetView

    if isinstance(component, DatasetFamily):
        return DatasetView(name, True, None, False, (), {}, "", "", "", None, None, component.summary)
    root: Path | None = None
    problem: str | None = None
    if not component.embedded:
        try:
            root = component.locate(data_folder)
        except FerbenchError as error:
            problem = error.line
    roles: dict[str, str] = {str(role): split for role, split in component.roles.items()}
    if "select" not in roles and "train" in roles:
        roles["select"] = "held out of train"
    return DatasetView(
        name=name,
        family=False,
        default_for=component.default_for,
        embedded=component.embedded,
        splits=component.splits,
        roles=roles,
        licence=component.licence,
        citation=component.citation,
        steps=component.steps,
        root=None if root is None else str(root),
        problem=problem,
        holds="" if root is None else _holds(root),
    )


def _holds(root: Path) -> str:
    """What lies at a place, in a few words."""
    from ferbench.data.trees import is_stray
    from ferbench.quantities import size

    try:
        if root.is_file():
            return f"a file of {size(root.stat().st_size)}"
        names = sorted(each.name for each in root.iterdir() if not is_stray(each.name))
    except OSError as error:
        return f"which cannot be read ({error.strerror or error})"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"a folder with {', '.join(names[:_NAMED])}{more}" if names else "an empty folder"


def _print_views(views: list[DatasetView]) -> None:
    from ferbench.fingerprints import as_plain

    print_json({"datasets": [{**as_plain(view), "state": view.state} for view in views]})
