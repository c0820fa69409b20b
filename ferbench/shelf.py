"""The components of one kind: by name, and families of them by prefix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ferbench.components import Backbone, BackboneFamily, Dataset, DatasetFamily, FaceDetector, Strategy
from ferbench.contract import Component, component_faults
from ferbench.errors import DuplicateName, FerbenchError, PluginError, UnknownName
from ferbench.plugin_source import Plugin, brief

Single = TypeVar("Single", bound=Backbone | Dataset | FaceDetector | Strategy)
Family = BackboneFamily | DatasetFamily


@dataclass(frozen=True, slots=True)
class Listing:
    """A component's name or a family's prefix, and the name of the plugin that it comes from."""

    name: str
    plugin: str
    component: Component

    @property
    def is_family(self) -> bool:
        """Whether `name` is a prefix with components behind it."""
        return isinstance(self.component, (BackboneFamily, DatasetFamily))


class Shelf(Generic[Single]):
    """What the plugins provide of one kind.

    kind : the word for it in messages, such as "backbone"
    """

    def __init__(self, kind: str, single: type[Single], family: type[Family] | None) -> None:
        self.kind = kind
        self._single = single
        self._family = family
        self._singles: dict[str, tuple[Plugin, Single]] = {}
        self._families: dict[str, tuple[Plugin, Family]] = {}
        self._resolved: dict[str, Single] = {}

    def put(self, plugin: Plugin, components: Sequence[object]) -> None:
        """Put a plugin's components among the others.

        Raises
        ------
        DuplicateName : a name or prefix that another component claims
        PluginError : a component that breaks the contract
        """
        for component in components:
            if isinstance(component, self._single):
                self._check(plugin, component, component.name)
                if other := self._claimant(component.name):
                    raise DuplicateName(self.kind, component.name, other.label, plugin.label)
                self._singles[component.name] = (plugin, component)
            elif isinstance(component, (BackboneFamily, DatasetFamily)) and type(component) is self._family:
                self._check(plugin, component, component.prefix)
                if other := self._rival(component.prefix):
                    raise DuplicateName(f"{self.kind} prefix", component.prefix, other.label, plugin.label)
                self._families[component.prefix] = (plugin, component)
            else:
                raise PluginError(f"plugin {plugin.label}: {component!r} is given as a {self.kind}, but is none")

    def take_back(self, plugin: Plugin) -> None:
        """Remove all that a plugin has put here."""
        self._singles = {name: entry for name, entry in self._singles.items() if entry[0] is not plugin}
        self._families = {prefix: entry for prefix, entry in self._families.items() if entry[0] is not plugin}

    def get(self, name: str) -> Single:
        """The component of this name; a family's is resolved once.

        Raises
        ------
        UnknownName : with a suggestion
        PluginError : a family that fails or gives what breaks the contract
        """
        if name in self._singles:
            return self._singles[name][1]
        if name not in self._resolved:
            self._resolved[name] = self._from_family(name)
        return self._resolved[name]

    def owner(self, name: str) -> str | None:
        """The name of the plugin that provides a component, itself or by a family; None where none does."""
        plugin = self._claimant(name)
        return None if plugin is None else plugin.name

    def listing(self) -> tuple[Listing, ...]:
        """Everything here, in order of name."""
        entries = {**self._singles, **self._families}
        return tuple(Listing(name, plugin.name, component) for name, (plugin, component) in sorted(entries.items()))

    def _from_family(self, name: str) -> Single:
        for prefix, (plugin, family) in self._families.items():
            if not name.startswith(prefix):
                continue
            try:
                component = family.resolve(name)
            except FerbenchError:
                raise
            except (Exception, SystemExit) as error:
                raise PluginError(f"plugin {plugin.label}: {self.kind} {name!r}: {brief(error)}") from error
            if not isinstance(component, self._single):
                raise PluginError(f"plugin {plugin.label}: {component!r} is given as {self.kind} {name!r}, but is none")
            self._check(plugin, component, name, prefix)
            return component
        beside = self._moved(name) or [f"{prefix}…" for prefix in self._families]
        raise UnknownName(self.kind, name, [*self._singles, *beside])

    def _moved(self, name: str) -> list[str]:
        """The name behind the right prefix, if its prefix is misspelt. Families are not asked, that may be slow."""
        parts = re.fullmatch(r"([^/:@]*[/:@])(.+)", name)
        if not parts:
            return []
        close = difflib.get_close_matches(parts[1], self._families, n=1, cutoff=0.6)
        return [prefix + parts[2] for prefix in close]

    def _check(self, plugin: Plugin, component: Component, name: object, prefix: str | None = None) -> None:
        if faults := component_faults(component, prefix):
            raise PluginError(f"plugin {plugin.label}: {self.kind} {name!r}: {faults[0]}")

    def _claimant(self, name: str) -> Plugin | None:
        if name in self._singles:
            return self._singles[name][0]
        return next((plugin for prefix, (plugin, _) in self._families.items() if name.startswith(prefix)), None)

    def _rival(self, prefix: str) -> Plugin | None:
        """Who provides names that this prefix would catch, or catches names of this prefix."""
        for other, (plugin, _) in self._families.items():
            if other.startswith(prefix) or prefix.startswith(other):
                return plugin
        return next((plugin for name, (plugin, _) in self._singles.items() if name.startswith(prefix)), None)
