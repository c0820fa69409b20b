"""What the options that every command takes were given; kept in the context, wherever on the line they stood."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

_SETTINGS = "ferbench.settings"
_PLUGINS = "ferbench.plugins"


def keep_setting(context: click.Context, key: str, value: str | bool | None) -> None:
    """Note a value; an option that is absent after the command's name does not undo one that stands before it."""
    if value:
        context.meta.setdefault(_SETTINGS, {})[key] = value


def keep_plugins(context: click.Context, files: Iterable[Path]) -> None:
    """Note plugin files, in addition to those noted before."""
    context.meta.setdefault(_PLUGINS, []).extend(files)


def given_settings(context: click.Context) -> dict[str, str]:
    """The settings that flags gave, by their key in `settings.VARIABLES`."""
    return {key: value for key, value in context.meta.get(_SETTINGS, {}).items() if key != "debug"}


def given_plugins(context: click.Context) -> tuple[Path, ...]:
    """The local plugin files of this command."""
    return tuple(context.meta.get(_PLUGINS, ()))


def debugging(context: click.Context) -> bool:
    """Whether tracebacks are wanted."""
    return "debug" in context.meta.get(_SETTINGS, {})
