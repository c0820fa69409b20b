"""Shell completion by the names that plugins provide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from ferbench.cli.given import given_plugins

if TYPE_CHECKING:
    from ferbench.catalog import Catalog
    from ferbench.shelf import Listing

#: A family may hold thousands; more than these no shell shows usefully.
_MOST = 200


def complete_backbones(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Backbones; those of a family once its prefix is typed."""
    return _offered(context, incomplete, lambda catalog: catalog.backbones())


def complete_strategies(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Strategies, also behind a `+`."""
    first, joined, last = incomplete.rpartition("+")
    return _offered(context, last, lambda catalog: catalog.strategies(), first + joined)


def complete_datasets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Datasets, also behind the comma of a chain."""
    first, comma, last = incomplete.rpartition(",")
    return _offered(context, last, lambda catalog: catalog.datasets(), first + comma)


def complete_components(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Whatever has a name."""

    def everything(catalog: Catalog) -> tuple[Listing, ...]:
        return (*catalog.backbones(), *catalog.datasets(), *catalog.strategies(), *catalog.face_detectors())

    return _offered(context, incomplete, everything)


def complete_weights(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The policies, and files."""
    policies = [CompletionItem(word) for word in ("auto", "pretrained", "random") if word.startswith(incomplete)]
    return policies or [CompletionItem(incomplete, type="file")]


def complete_devices(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The kinds of device."""
    return [CompletionItem(word) for word in ("auto", "cpu", "cuda", "mps") if word.startswith(incomplete)]


def _offered(
    context: click.Context, incomplete: str, listed: Callable[[Catalog], tuple[Listing, ...]], before: str = ""
) -> list[CompletionItem]:
    from ferbench.catalog import Catalog
    from ferbench.components import BackboneFamily, DatasetFamily

    items: list[CompletionItem] = []
    try:
        for listing in listed(Catalog.load(given_plugins(context))):
            component = listing.component
            summary = getattr(component, "summary", "") or None
            if isinstance(component, (BackboneFamily, DatasetFamily)) and incomplete.startswith(listing.name):
                names = [name for name in component.names() if name.startswith(incomplete)]
                items.extend(CompletionItem(before + name) for name in names[:_MOST])
            elif listing.name.startswith(incomplete):
                items.append(CompletionItem(before + listing.name, help=summary))
    except Exception:  # a shell that waits for a word must not be shown an error
        return items
    return items
