"""Where plugins come from: entry points and local files, imported with failures told in one line, and hashed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from ferbench.errors import PluginError


@dataclass(frozen=True, slots=True)
class Plugin:
    """A module or object with hooks. `origin` is its distribution and version, or its file."""

    name: str
    origin: str
    module: object

    @property
    def label(self) -> str:
        """How errors name it."""
        return f"{self.name} ({self.origin})"


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin in use.

    path : its file, or its folder if it is a package; None where there is no source on disk
    sha256 : of its Python source, over all files of a package; empty where there is none
    """

    name: str
    origin: str
    path: Path | None
    sha256: str


def origin_of(entry_point: importlib.metadata.EntryPoint) -> str:
    """Distribution and version, such as "ferbench 0.1.0"."""
    return f"{entry_point.dist.name} {entry_point.dist.version}" if entry_point.dist else entry_point.value


def from_entry_point(entry_point: importlib.metadata.EntryPoint) -> Plugin:
    """Import an installed plugin. Raises PluginError, whatever its import raises."""
    origin = origin_of(entry_point)
    try:
        return Plugin(entry_point.name, origin, entry_point.load())
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin {entry_point.name} ({origin}) could not be imported: {brief(error)}") from error


def from_file(path: Path) -> Plugin:
    """Import a local file under a module name that no other has. Raises PluginError, whatever its import raises."""
    if path.is_dir():
        raise PluginError(f"plugin {path} is a folder: name a .py file in it")
    if not path.is_file():
        raise PluginError(f"plugin file {path} does not exist")
    name = f"ferbench_local_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"plugin file {path} is not Python source: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look a module up by its name while it is still being executed.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(
            f"plugin file {path}{_line_in(path, error)} could not be loaded: {_brief_in(path, error)}"
        ) from error
    return Plugin(path.stem, str(path), module)


def describe(plugin: Plugin) -> LoadedPlugin:
    """A plugin with its place on disk and the hash of its source."""
    module = plugin.module if inspect.ismodule(plugin.module) else inspect.getmodule(type(plugin.module))
    file = getattr(module, "__file__", None)
    if file is None:
        return LoadedPlugin(plugin.name, plugin.origin, None, "")
    path = Path(file)
    if path.name != "__init__.py":
        return LoadedPlugin(plugin.name, plugin.origin, path, hashlib.sha256(path.read_bytes()).hexdigest())
    digest = hashlib.sha256()
    for source in sorted(path.parent.rglob("*.py")):
        digest.update(f"{source.relative_to(path.parent).as_posix()}\0{source.stat().st_size}\0".encode())
        digest.update(source.read_bytes())
    return LoadedPlugin(plugin.name, plugin.origin, path.parent, digest.hexdigest())


def brief(error: BaseException) -> str:
    """An exception's type and message on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


def _brief_in(path: Path, error: BaseException) -> str:
    # Python puts file and line behind a syntax error's message; both are named already.
    if isinstance(error, SyntaxError) and error.filename == str(path) and error.msg:
        return f"{type(error).__name__}: {' '.join(error.msg.split())}"
    return brief(error)


def _line_in(path: Path, error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f" line {lines[-1]}" if lines else ""
