"""What a component says of itself, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ferbench.publish.layout import PLAIN, Paint, wrapped
from ferbench.quantities import whole

Fact = str | int | Sequence[str] | Mapping[str, object]

_INDENT = " " * 2


@dataclass(frozen=True, slots=True)
class ComponentView:
    """A component, or a family under its prefix.

    plugin : name and origin of where it comes from
    facts : what is known of it under a word each, in order; an empty one is something that its author left out
    """

    kind: str
    name: str
    plugin: str
    facts: Mapping[str, Fact]


def component_lines(components: Sequence[ComponentView], *, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """A paragraph for each component, one fact a line."""
    lines: list[str] = []
    for number, each in enumerate(components):
        lines += ["", paint.bold(f"{each.kind} {each.name}")] if number else [paint.bold(f"{each.kind} {each.name}")]
        facts: dict[str, Fact] = {"plugin": each.plugin, **each.facts}
        column = max(map(len, facts)) + 2
        for key, value in facts.items():
            word = key.replace("_", " ")
            text = f"{word:<{column}}{_told(value) or 'not stated'}"
            lines += wrapped(text, width, _INDENT, " " * min(column + len(_INDENT), width // 2))
    return lines


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return whole(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(each)}" for key, each in value.items())
    return str(value) if isinstance(value, (str, float)) else ", ".join(map(str, value))  # type: ignore[call-overload]
