"""`ferbench plugins`: what is installed, what it provides, and what one of them says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from ferbench.cli.completion import complete_components
from ferbench.cli.options import common_options
from ferbench.cli.session import catalog_of, paint, print_json, print_lines, warn_of_failures, width
from ferbench.errors import UnknownName

if TYPE_CHECKING:
    from ferbench.catalog import Catalog
    from ferbench.components import Backbone, Dataset, FaceDetector, Strategy
    from ferbench.contract import Component
    from ferbench.publish.catalogs import PluginView
    from ferbench.publish.components import ComponentView, Fact
    from ferbench.shelf import Listing


@click.command()
@click.argument("name", required=False, shell_complete=complete_components)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def plugins(context: click.Context, name: str | None, as_json: bool) -> None:
    """List plugins and what they provide, or show NAME.

    NAME is a backbone, dataset, strategy or face detector, which is shown with its citation and licence, or a plugin.
    Without it, broken plugins are listed with the reason.
    """
    from ferbench.fingerprints import as_plain
    from ferbench.publish.catalogs import plugin_lines
    from ferbench.publish.components import component_lines

    catalog = catalog_of(context)
    views = plugin_views(catalog)
    components: list[ComponentView] = []
    if name is not None:
        warn_of_failures(catalog)
        components = component_views(catalog, name)
        views = [] if components else [view for view in views if view.name == name]
        if not (components or views):
            raise _unknown(catalog, name)
    if as_json:
        print_json({"plugins": as_plain(views)} | ({} if name is None else {"components": as_plain(components)}))
    elif components:
        print_lines(component_lines(components, width=width(), paint=paint()))
    else:
        print_lines(plugin_lines(views, width=width(), paint=paint()))


def plugin_views(catalog: Catalog) -> list[PluginView]:
    """Every plugin in order of name, the broken ones among them."""
    from ferbench.publish.catalogs import PluginView, Provided

    provided: dict[str, list[Provided]] = {}
    for kind, listings in _shelves(catalog).items():
        for listing in listings:
            component = listing.component
            summary, citation, licence = (getattr(component, word, "") for word in ("summary", "citation", "licence"))
            each = Provided(kind, listing.name, listing.is_family, summary, citation, licence)
            provided.setdefault(listing.plugin, []).append(each)
    for plugin in catalog.plugins():
        if results := catalog.reported_results(plugin.name):
            # Not by the datasets' names: those are the names of components.
            on = ", ".join(dict.fromkeys(result.dataset for result in results))
            each = Provided("reported results", "from the literature", False, f"{len(results)} on {on}")
            provided.setdefault(plugin.name, []).append(each)
    views = [
        PluginView(plugin.name, plugin.origin, plugin.sha256, tuple(provided.get(plugin.name, ())), None)
        for plugin in catalog.plugins()
    ]
    views += [PluginView(failure.plugin, failure.origin, "", (), failure.line) for failure in catalog.failures]
    return sorted(views, key=lambda view: view.name)


def component_views(catalog: Catalog, name: str) -> list[ComponentView]:
    """Whatever bears a name, one of each kind at most; a family by its prefix, its members by their full names.

    Raises
    ------
    UnknownName : a family that has no such member
    """
    from ferbench.composition import JOIN
    from ferbench.publish.components import ComponentView

    find: dict[str, Callable[[str], Component]] = {
        "backbone": catalog.backbone,
        "dataset": catalog.dataset,
        "strategy": catalog.strategy,
        "face detector": catalog.face_detector,
    }
    origins = {plugin.name: f"{plugin.name} ({plugin.origin})" for plugin in catalog.plugins()}
    views = []
    for kind, listings in _shelves(catalog).items():
        by_name = {listing.name: listing for listing in listings}
        parts = name.split(JOIN) if kind == "strategy" else [name]
        sources = [_source(by_name, part) for part in parts]
        plugins = [origins[source.plugin] for source in sources if source is not None]
        if len(plugins) < len(parts):
            continue
        family = _named(by_name, name)
        component = find[kind](name) if family is None else family.component
        title = name if family is None else f"{family.name}…"
        views.append(ComponentView(kind, title, ", ".join(dict.fromkeys(plugins)), _facts(component)))
    return views


def _shelves(catalog: Catalog) -> dict[str, tuple[Listing, ...]]:
    return {
        "backbone": catalog.backbones(),
        "dataset": catalog.datasets(),
        "strategy": catalog.strategies(),
        "face detector": catalog.face_detectors(),
    }


def _named(listed: dict[str, Listing], name: str) -> Listing | None:
    """The family of this prefix, with or without the dots that a listing puts behind it."""
    found = listed.get(name.removesuffix("…"))
    return found if found is not None and found.is_family else None


def _source(listed: dict[str, Listing], name: str) -> Listing | None:
    """The listing that a name is to be had from."""
    if name in listed:
        return listed[name]
    return next((each for each in listed.values() if each.is_family and name.startswith(each.name)), None)


def _facts(component: Component) -> dict[str, Fact]:
    from ferbench.components import Backbone, Dataset, FaceDetector, Strategy

    if isinstance(component, Backbone):
        return _backbone_facts(component)
    if isinstance(component, Dataset):
        return _dataset_facts(component)
    if isinstance(component, Strategy):
        return _strategy_facts(component)
    if isinstance(component, FaceDetector):
        return _face_detector_facts(component)
    return {"summary": component.summary, "names": f"{component.prefix}NAME"}


def _backbone_facts(backbone: Backbone) -> dict[str, Fact]:
    return {
        "citation": backbone.citation,
        "licence": backbone.licence,
        "library": backbone.library,
        "version": backbone.version,
        "image_size": backbone.image_size,
        "smallest_image_size": backbone.smallest_image_size,
        "head": backbone.classifier,
        **({"recipe": dict(backbone.recipe)} if backbone.recipe else {}),
    }


def _dataset_facts(dataset: Dataset) -> dict[str, Fact]:
    published = {split: sum(counts.values()) for split, counts in dataset.counts.items()}
    return {
        "citation": dataset.citation,
        "licence": dataset.licence,
        "version": dataset.version,
        "classes": dataset.classes,
        "splits": dataset.splits,
        "roles": {str(role): split for role, split in dataset.roles.items()},
        **({"published_counts": published} if published else {}),
        "embedded": dataset.embedded,
        **({"default_for": dataset.default_for} if dataset.default_for else {}),
        **({"recipe": dict(dataset.recipe)} if dataset.recipe else {}),
        **({"steps": dataset.steps} if dataset.steps else {}),
    }


def _face_detector_facts(detector: FaceDetector) -> dict[str, Fact]:
    return {
        "citation": detector.citation,
        "licence": detector.licence,
        "library": detector.library,
        "version": detector.version,
        "default": detector.default,
    }


def _strategy_facts(strategy: Strategy) -> dict[str, Fact]:
    return {"summary": strategy.summary, "citation": strategy.citation}


def _unknown(catalog: Catalog, name: str) -> UnknownName:
    known = {view.name for view in plugin_views(catalog)}
    rest = name[max(name.rfind("/"), name.rfind(":"), name.rfind("@")) + 1 :]
    for listings in _shelves(catalog).values():
        for listing in listings:
            known.add(listing.name + rest if listing.is_family and rest != name else listing.name)
    return UnknownName("component or plugin", name, known)
