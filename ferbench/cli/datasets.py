"""`ferbench datasets`: which there are, where they lie, whether a copy is whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferbench.cli.completion import complete_datasets
from ferbench.cli.entry import CommandGroup
from ferbench.cli.options import common_options
from ferbench.cli.session import catalog_of, paint, print_json, print_lines, settings_of, warn_of_failures, width
from ferbench.errors import FerbenchError

if TYPE_CHECKING:
    from ferbench.components import Dataset, DatasetFamily
    from ferbench.data.split_cache import SplitCache
    from ferbench.publish.catalogs import DatasetView, SplitCheck


@click.group(cls=CommandGroup)
def datasets() -> None:
    """List datasets, find them, check copies of them."""


@datasets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def list_datasets(context: click.Context, as_json: bool) -> None:
    """List datasets with splits, roles and licence."""
    from ferbench.publish.catalogs import dataset_lines

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
    from ferbench.publish.catalogs import place_lines

    views = _views(context, name)
    if as_json:
        _print_views(views)
    else:
        folder = str(settings_of(context).data_folder)
        print_lines(place_lines(views, folder, width=width(), paint=paint()))


@datasets.command()
@click.argument("names", nargs=-1, required=True, shell_complete=complete_datasets)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def check(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Read datasets and compare counts with published ones.

    Exit code 1 if a split cannot be read or differs.
    """
    from ferbench.data.split_cache import SplitCache
    from ferbench.fingerprints import as_plain
    from ferbench.publish.catalogs import check_lines

    settings, catalog = settings_of(context), catalog_of(context)
    warn_of_failures(catalog)
    cache = SplitCache(settings.cache_folder)
    report: list[dict[str, object]] = []
    faulty = False
    for dataset in [catalog.dataset(name) for name in dict.fromkeys(names)]:
        root = _root(dataset, settings.data_folder)
        checks = [_checked(dataset, root, split, cache) for split in dataset.splits]
        faulty |= any(each.fault for each in checks)
        place = "embedded" if dataset.embedded else str(root)
        if as_json:
            report.append({"name": dataset.name, "root": place, "splits": as_plain(checks)})
        else:
            print_lines(check_lines(dataset.name, checks, place, width=width(), paint=paint()))
    if as_json:
        print_json({"datasets": report})
    if faulty:
        context.exit(1)


def _views(context: click.Context, name: str | None = None) -> list[DatasetView]:
    settings, catalog = settings_of(context), catalog_of(context)
    warn_of_failures(catalog)
    if name is not None:
        return [_view(name, catalog.dataset(name), settings.data_folder)]
    from ferbench.components import Dataset, DatasetFamily

    return [
        _view(listing.name, listing.component, settings.data_folder)
        for listing in catalog.datasets()
        if isinstance(listing.component, (Dataset, DatasetFamily))
    ]


def _view(name: str, component: Dataset | DatasetFamily, data_folder: Path) -> DatasetView:
    from ferbench.components import DatasetFamily
    from ferbench.publish.catalogs import DatasetView

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
    )


def _print_views(views: list[DatasetView]) -> None:
    from ferbench.fingerprints import as_plain

    print_json({"datasets": [{**as_plain(view), "state": view.state} for view in views]})


def _root(dataset: Dataset, data_folder: Path) -> Path:
    """As the data layer finds it. Raises DatasetMissing."""
    from ferbench.data.roles import RoleReader

    return RoleReader(lambda name: dataset, data_folder, data_folder).root(dataset)


def _checked(dataset: Dataset, root: Path, split: str, cache: SplitCache) -> SplitCheck:
    """One split, read as a run would read it."""
    from ferbench.data.folders import count_difference
    from ferbench.publish.catalogs import SplitCheck

    roles = tuple(role for role, own in dataset.roles.items() if own == split)
    published = dict(dataset.counts.get(split, {}))
    fault: str | None
    warnings: tuple[str, ...]
    try:
        stored = cache.split(dataset, root, split)
    except FerbenchError as error:
        # A split that plays no role need not be in every copy.
        fault, warnings = (f"{split}: {error.line}", ()) if roles else (None, (f"{split}: {error.line}",))
        return SplitCheck(split, roles, {}, 0, published, warnings, fault)
    names = stored.class_names
    counts = {**dict.fromkeys(dataset.classes, 0), **Counter(names)} if names is not None else {}
    fault = count_difference(names, published, split) if names is not None and published else None
    warnings = stored.warnings
    if fault is not None:
        # A reader may warn of the same difference and say more about it.
        fault = next((line for line in warnings if line.startswith(fault)), fault)
        warnings = tuple(line for line in warnings if line != fault)
    withheld = 0 if names is not None else len(stored.ids)
    return SplitCheck(split, roles, counts, withheld, published, warnings, fault)
