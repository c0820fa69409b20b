"""Plugins in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ferbench.publish.layout import PLAIN, Paint, wrapped

_INDENT = " " * 4


@dataclass(frozen=True, slots=True)
class Provided:
    """A component's name, or a family's prefix."""

    kind: str
    name: str
    family: bool
    summary: str
    citation: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class PluginView:
    """A plugin; `broken` is the one line of what is wrong, or None."""

    name: str
    origin: str
    sha256: str
    provides: tuple[Provided, ...]
    broken: str | None


def plugin_lines(plugins: Sequence[PluginView], *, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """Plugins with what they provide, one paragraph a kind."""
    lines: list[str] = []
    for plugin in plugins:
        mark = f"sha256 {plugin.sha256[:10]}" if plugin.sha256 else "broken" if plugin.broken else "no source"
        lines.append(f"{paint.bold(plugin.name)}  {plugin.origin}  {paint.dim(mark)}")
        if plugin.broken:
            lines += [paint.bad(line) for line in wrapped(plugin.broken, width, _INDENT)]
        for text in _provided(plugin.provides):
            lines += wrapped(text, width, _INDENT, _INDENT + "  ")
        if not plugin.provides and not plugin.broken:
            lines.append(f"{_INDENT}no component, it observes")
    return lines


def _provided(provided: Sequence[Provided]) -> list[str]:
    texts = []
    plain: dict[str, list[str]] = {}
    for each in provided:
        if each.family or each.summary:
            name = f"{each.name}…" if each.family else each.name
            texts.append(f"{each.kind} {name}" + (f": {each.summary}" if each.summary else ""))
        else:
            plain.setdefault(each.kind, []).append(each.name)
    return [f"{kind} {', '.join(names)}" for kind, names in plain.items()] + texts
