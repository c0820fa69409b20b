"""Names to components, and observers to call: what installed plugins and local plugin files provide.

Loading is cheap: plugins import nothing heavy, and families are resolved when one of their names is asked for.
"""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import pluggy

from ferbench import hookspecs
from ferbench.components import Backbone, BackboneFamily, Dataset, DatasetFamily, FaceDetector, Strategy
from ferbench.composition import JOIN, compose, stages_of
from ferbench.contract import AUTO, reported_result_faults
from ferbench.errors import DuplicateName, PluginError, UsageError
from ferbench.plugin_source import LoadedPlugin, Plugin, brief, describe, from_entry_point, from_file, origin_of
from ferbench.records import EpochResult, ReportedResult, Run, StageResult
from ferbench.shelf import Listing, Shelf
from ferbench.stages import Stage

Warn = Callable[[str], None]

_HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("ferbench_"))


@dataclass(frozen=True, slots=True)
class PluginFailure:
    """An installed plugin that could not be loaded; `origin` is its distribution and version, `line` says why."""

    plugin: str
    origin: str
    line: str


class Catalog:
    """Everything that plugins provide, by name. Made by `load`; an empty one is filled with `add`."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._plugins: dict[str, Plugin] = {}
        self._failures: list[PluginFailure] = []
        self._warned: set[tuple[str, str]] = set()
        self._backbones = Shelf("backbone", Backbone, BackboneFamily)
        self._datasets = Shelf("dataset", Dataset, DatasetFamily)
        self._strategies = Shelf("strategy", Strategy, None)
        self._face_detectors = Shelf("face detector", FaceDetector, None)
        self._reported: dict[str, tuple[ReportedResult, ...]] = {}
        self._hashes: dict[str, str] = {}

    @classmethod
    def load(cls, plugin_files: Sequence[Path] = ()) -> Catalog:
        """All installed plugins in order of name, then local files.

        An installed plugin that is broken goes to `failures`, and the rest stays up.

        Raises
        ------
        DuplicateName : two plugins provide one name, and there is no telling which was meant
        PluginError : one of `plugin_files` is broken; it was asked for
        """
        catalog = cls()
        entry_points = importlib.metadata.entry_points(group=hookspecs.GROUP)
        for entry_point in sorted(entry_points, key=lambda point: (point.name, point.value)):
            try:
                catalog.add(from_entry_point(entry_point))
            except DuplicateName:
                raise
            except PluginError as error:
                catalog._failures.append(PluginFailure(entry_point.name, origin_of(entry_point), error.line))
        for path in dict.fromkeys(Path(path).expanduser().resolve() for path in plugin_files):
            catalog.add(from_file(path))
        return catalog

    def add(self, plugin: Plugin) -> None:
        """Take in one plugin, whole or not at all.

        Raises
        ------
        DuplicateName : it, or a component of it, has the name of one that is there already
        PluginError : a hook that does not exist or fails, or a component that breaks the contract
        """
        if plugin.name in self._plugins:
            raise DuplicateName("plugin", plugin.name, self._plugins[plugin.name].label, plugin.label)
        try:
            self._register(plugin)
            self._check_hooks(plugin)
            self._backbones.put(plugin, self._provided(plugin, "ferbench_register_backbones"))
            self._datasets.put(plugin, self._provided(plugin, "ferbench_register_datasets"))
            self._strategies.put(plugin, self._provided(plugin, "ferbench_register_strategies"))
            self._face_detectors.put(plugin, self._provided(plugin, "ferbench_register_face_detectors"))
            self._reported[plugin.name] = self._results_of(plugin)
        except PluginError:
            for shelf in (self._backbones, self._datasets, self._strategies, self._face_detectors):
                shelf.take_back(plugin)
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            raise
        self._plugins[plugin.name] = plugin

    @property
    def failures(self) -> tuple[PluginFailure, ...]:
        """Installed plugins that could not be loaded, in order of name."""
        return tuple(self._failures)

    def plugins(self) -> tuple[LoadedPlugin, ...]:
        """The plugins in use, in order of name, each with the hash of its source."""
        return tuple(describe(plugin) for _, plugin in sorted(self._plugins.items()))

    def backbone(self, name: str) -> Backbone:
        """The backbone of this name; behind a family's prefix, whatever the family makes of it.

        Raises
        ------
        UnknownName : with a suggestion
        PluginError : a family that fails or gives what breaks the contract
        """
        return self._backbones.get(name)

    def dataset(self, name: str) -> Dataset:
        """The dataset of this name, given without splits. Raises as `backbone` does."""
        return self._datasets.get(name)

    def strategy(self, name: str) -> Strategy:
        """The strategy of this name, or one composed by name with `+`. Raises as `backbone` does.

        What its `stages` gives is checked, as `composition.stages_of` says.
        """
        first, *rest = name.split(JOIN)
        if not first or not all(rest):
            raise UsageError(f"strategy {name!r} is not of the form NAME or NAME{JOIN}NAME")
        found = self._strategies.get(first)
        for part in rest:
            found = compose(found, self._strategies.get(part))
        return replace(found, stages=partial(stages_of, found))

    def face_detector(self, name: str) -> FaceDetector:
        """The face detector of this name; by the name `auto`, the default one. Raises as `backbone` does.

        Raises
        ------
        UsageError : `auto` where there is no default, or more than one
        """
        if name != AUTO:
            return self._face_detectors.get(name)
        detectors = {each.name: self._face_detectors.get(each.name) for each in self._face_detectors.listing()}
        found = [name for name, detector in detectors.items() if detector.default]
        if len(found) == 1:
            return detectors[found[0]]
        told = f"{' and '.join(found)} both are it" if found else "no plugin provides one"
        raise UsageError(f"there is no telling the default face detector, {told}: name one, --set face_detector=NAME")

    def sources(
        self, backbone: str, strategy: str, datasets: Iterable[str], face_detectors: Iterable[str] = ()
    ) -> tuple[tuple[str, str], ...]:
        """The plugins that a cell's parts come from, by name, with the SHA-256 of their source; "" where there is none.

        datasets : names, given without splits. What no plugin provides is left out
        """
        owners = {
            *(self._strategies.owner(part) for part in strategy.split(JOIN)),
            self._backbones.owner(backbone),
            *(self._datasets.owner(name) for name in datasets),
            *(self._face_detectors.owner(name) for name in face_detectors),
        }
        return tuple((name, self._sha256(name)) for name in sorted(name for name in owners if name))

    def _sha256(self, name: str) -> str:
        if name not in self._hashes:
            self._hashes[name] = describe(self._plugins[name]).sha256
        return self._hashes[name]

    def backbones(self) -> tuple[Listing, ...]:
        """Backbones and families of them, in order of name."""
        return self._backbones.listing()

    def datasets(self) -> tuple[Listing, ...]:
        """Datasets and families of them, in order of name."""
        return self._datasets.listing()

    def strategies(self) -> tuple[Listing, ...]:
        """Strategies in order of name, composed ones left out."""
        return self._strategies.listing()

    def face_detectors(self) -> tuple[Listing, ...]:
        """Face detectors in order of name."""
        return self._face_detectors.listing()

    def reported_results(self, plugin: str | None = None) -> tuple[ReportedResult, ...]:
        """Figures from the literature, each once: by name of their plugin, then as it gave them.

        plugin : the name of one, for its figures alone
        """
        named = sorted(self._reported) if plugin is None else [plugin]
        return tuple(dict.fromkeys(result for name in named for result in self._reported.get(name, ())))

    def epoch_finished(self, stage: Stage, epoch: EpochResult, warn: Warn) -> None:
        """Tell the observers. What one raises is one line to `warn`, once for each plugin and hook."""
        self._notify("ferbench_epoch_finished", {"stage": stage, "epoch": epoch}, warn)

    def stage_finished(self, stage: Stage, result: StageResult, warn: Warn) -> None:
        """Tell the observers, as `epoch_finished` does."""
        self._notify("ferbench_stage_finished", {"stage": stage, "result": result}, warn)

    def run_finished(self, run: Run, warn: Warn) -> None:
        """Tell the observers, as `epoch_finished` does."""
        self._notify("ferbench_run_finished", {"run": run}, warn)

    def _register(self, plugin: Plugin) -> None:
        try:
            self._manager.register(plugin.module, plugin.name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin {plugin.label}: {error}") from error

    def _check_hooks(self, plugin: Plugin) -> None:
        """What pluggy's `check_pending` checks, by plugin; and hooks without a mark, which pluggy passes over."""
        for caller in self._manager.get_hookcallers(plugin.module) or ():
            for implementation in self._implementations(caller.name, plugin):
                if not caller.has_spec() and not implementation.optionalhook:
                    close = difflib.get_close_matches(caller.name, _HOOKS, n=1)
                    advice = f"did you mean {close[0]}?" if close else f"there are: {', '.join(_HOOKS)}"
                    raise PluginError(f"plugin {plugin.label}: there is no hook {caller.name}: {advice}")
                if implementation.wrapper or implementation.hookwrapper:
                    raise PluginError(
                        f"plugin {plugin.label}: {caller.name} is a wrapper; hooks here are plain functions"
                    )
        for name in dir(plugin.module):
            member = getattr(plugin.module, name, None)
            marked = self._manager.parse_hookimpl_opts(plugin.module, name) is not None
            if name.startswith("ferbench_") and callable(member) and not marked:
                raise PluginError(f"plugin {plugin.label}: {name} lacks its mark: write @ferbench.hookimpl above it")

    def _results_of(self, plugin: Plugin) -> tuple[ReportedResult, ...]:
        results = self._provided(plugin, "ferbench_register_reported_results")
        for place, result in enumerate(results, 1):
            if faults := reported_result_faults(result):
                raise PluginError(f"plugin {plugin.label}: reported result {place}: {faults[0]}")
        return tuple(cast("list[ReportedResult]", results))

    def _provided(self, plugin: Plugin, hook: str) -> list[object]:
        found: list[object] = []
        for implementation in self._implementations(hook, plugin):
            try:
                found.extend(cast("Iterable[object]", implementation.function()))
            except (Exception, SystemExit) as error:
                raise PluginError(f"plugin {plugin.label}: {hook} raised {brief(error)}") from error
        return found

    def _implementations(self, hook: str, plugin: Plugin) -> list[pluggy.HookImpl]:
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        return [implementation for implementation in caller.get_hookimpls() if implementation.plugin is plugin.module]

    def _notify(self, hook: str, values: Mapping[str, object], warn: Warn) -> None:
        # One by one, since pluggy's own call would stop at the first that raises.
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            try:
                implementation.function(*(values[name] for name in implementation.argnames))
            except (Exception, SystemExit) as error:
                plugin = self._plugins[implementation.plugin_name]
                if (plugin.name, hook) not in self._warned:
                    self._warned.add((plugin.name, hook))
                    warn(f"plugin {plugin.label}: {hook} raised {brief(error)}; the run goes on")
