"""Options that every command takes, before or after its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ferbench.cli.completion import complete_devices
from ferbench.cli.given import keep_plugins, keep_setting
from ferbench.errors import UsageError

if TYPE_CHECKING:
    from ferbench.components import Permit

Command = TypeVar("Command", bound=Callable[..., Any])


def common_options(command: Command) -> Command:
    """Add --store, --data-dir, --device, --plugin and --debug; what they get is kept in the context."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def where_option(help_text: str) -> Callable[[Command], Command]:
    """`--where` of commands that take rows by name, too; `help_text` says what is done with the rows that fit."""
    return click.option(
        "--where",
        metavar="CONDITION",
        multiple=True,
        help=f"{help_text}; may be given several times, then all must fit.",
    )


def permits_asked(texts: Sequence[str], known: Sequence[Permit], there_is: str) -> tuple[Permit, ...]:
    """What `--with WHAT[,WHAT]`, given several times, asks for, in the order of `known`.

    there_is : what is said where something else is asked for

    Raises
    ------
    UsageError : something that is not among `known`
    """
    words = [word.strip().lower() for text in texts for word in text.split(",") if word.strip()]
    if unknown := [word for word in words if word not in known]:
        raise UsageError(f"--with {unknown[0]!r}: {there_is}")
    return tuple([each for each in known if each in words])


def _keep(key: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    return lambda context, parameter, value: keep_setting(context, key, value)


def _keep_plugins(context: click.Context, parameter: click.Parameter, value: tuple[Path, ...]) -> None:
    keep_plugins(context, value)


_OPTIONS = (
    click.option(
        "--store",
        metavar="URL",
        callback=_keep("store"),
        expose_value=False,
        help="Where results are kept: an SQLite file or a database's URL.  [FERBENCH_STORE]",
    ),
    click.option(
        "--data-dir",
        metavar="FOLDER",
        callback=_keep("data"),
        expose_value=False,
        help="Below it, datasets are looked for.  [FERBENCH_DATA]",
    ),
    click.option(
        "--device",
        metavar="DEVICE",
        callback=_keep("device"),
        expose_value=False,
        shell_complete=complete_devices,
        help="auto, cpu, cuda, cuda:N or mps.  [FERBENCH_DEVICE]",
    ),
    click.option(
        "--plugin",
        metavar="FILE.py",
        multiple=True,
        type=click.Path(path_type=Path),
        callback=_keep_plugins,
        expose_value=False,
        help="Load a plugin from a file; may be given several times.",
    ),
    click.option(
        "--debug",
        is_flag=True,
        callback=_keep("debug"),
        expose_value=False,
        help="Show tracebacks of errors.",
    ),
)
