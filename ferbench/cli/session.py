"""What commands open: plugins, settings, the store; and how they write to the terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferbench.cli.given import given_plugins, given_settings

if TYPE_CHECKING:
    from ferbench.catalog import Catalog
    from ferbench.components import Dataset
    from ferbench.publish.layout import Paint
    from ferbench.settings import Settings
    from ferbench.store import Store


def settings_of(context: click.Context, table: Mapping[str, str] | None = None) -> Settings:
    """Flag before environment before a matrix file's table before default."""
    from ferbench.settings import resolve_settings

    return resolve_settings(given_settings(context), table)


def catalog_of(context: click.Context) -> Catalog:
    """All plugins; those that are broken are told by `warn_of_failures`, when the command is ready for it."""
    from ferbench.catalog import Catalog

    return Catalog.load(given_plugins(context))


def warn_of_failures(catalog: Catalog) -> None:
    """One warning line for each broken plugin."""
    for failure in catalog.failures:
        warn(failure.line)


def listed_datasets(catalog: Catalog) -> list[Dataset]:
    """The datasets that are listed by name, families left out."""
    from ferbench.components import Dataset

    return [listing.component for listing in catalog.datasets() if isinstance(listing.component, Dataset)]


@contextmanager
def reading_store(settings: Settings, *, or_empty: bool = False) -> Iterator[Store]:
    """The store, opened for reading only; it stays as it is, also if an older ferbench wrote it.

    Parameters
    ----------
    or_empty : where there is none yet, an empty one takes its place until the command ends

    Raises
    ------
    StoreError : no store, or none that can be read
    """
    from ferbench.store import open_store

    if or_empty and "://" not in settings.store and not Path(settings.store).expanduser().exists():
        with tempfile.TemporaryDirectory(prefix="ferbench-") as folder, open_store(f"{folder}/empty.sqlite") as store:
            yield store
        return
    with open_store(settings.store, read_only=True) as store:
        yield store


def store_exists(settings: Settings) -> bool:
    """Whether there is anything to open; a database server is taken at its word."""
    return "://" in settings.store or Path(settings.store).expanduser().exists()


def shown_store(settings: Settings) -> str:
    """Where the store is: a path from the working folder on, or a URL without its password."""
    if "://" in settings.store:
        return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", settings.store)
    path = Path(settings.store).expanduser().absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def warn(line: str) -> None:
    """One warning on stderr."""
    click.echo(f"{click.style('warning:', fg='yellow')} {line}", err=True)


def print_lines(lines: Iterable[str]) -> None:
    """Lines on stdout, written at once."""
    click.echo("\n".join(lines))


def print_json(value: object) -> None:
    """A value as JSON on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def width() -> int:
    """Characters a line: of the terminal, of COLUMNS, else 80."""
    return shutil.get_terminal_size((80, 24)).columns


def paint() -> Paint:
    """Colours, if stdout is a terminal that wants them."""
    from ferbench.publish.layout import Paint

    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Paint(wanted)
