"""`ferbench plugins`: what is installed and what it provides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options
from ferbench.cli.session import catalog_of, paint, print_json, print_lines, width

if TYPE_CHECKING:
    from ferbench.catalog import Catalog
    from ferbench.publish.catalogs import PluginView


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def plugins(context: click.Context, as_json: bool) -> None:
    """List plugins and what they provide.

    Broken ones are listed with the reason.
    """
    from ferbench.fingerprints import as_plain
    from ferbench.publish.catalogs import plugin_lines

    views = plugin_views(catalog_of(context))
    if as_json:
        print_json({"plugins": as_plain(views)})
    else:
        print_lines(plugin_lines(views, width=width(), paint=paint()))


def plugin_views(catalog: Catalog) -> list[PluginView]:
    """Every plugin in order of name, the broken ones among them."""
    from ferbench.components import BackboneFamily, DatasetFamily
    from ferbench.publish.catalogs import PluginView, Provided

    provided: dict[str, list[Provided]] = {}
    for kind, listings in (
        ("backbone", catalog.backbones()),
        ("dataset", catalog.datasets()),
        ("strategy", catalog.strategies()),
    ):
        for listing in listings:
            component = listing.component
            family = isinstance(component, (BackboneFamily, DatasetFamily))
            summary = getattr(component, "summary", "")
            provided.setdefault(listing.plugin, []).append(Provided(kind, listing.name, family, summary))
    views = [
        PluginView(plugin.name, plugin.origin, plugin.sha256, tuple(provided.get(plugin.name, ())), None)
        for plugin in catalog.plugins()
    ]
    views += [PluginView(failure.plugin, failure.origin, "", (), failure.line) for failure in catalog.failures]
    return sorted(views, key=lambda view: view.name)
