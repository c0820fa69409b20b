"""The root command, and the one place where errors become a line on stderr and an exit code."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from ferbench.cli.options import common_options
from ferbench.errors import FerbenchError
from ferbench.version import VERSION

#: What shells report for a process that Ctrl-C ended: 128 and the signal's number.
INTERRUPTED = 130


class CommandGroup(click.Group):
    """A group that suggests a command for a misspelt one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not (name.startswith("-") or ctx.resilient_parsing):
            close = difflib.get_close_matches(name, self.commands, n=3)
            known = ", ".join(self.list_commands(ctx))
            advice = f"did you mean {' or '.join(close)}?" if close else f"there are: {known}"
            raise click.UsageError(f"no command {name!r}: {advice}", ctx)
        return super().resolve_command(ctx, args)


class RootGroup(CommandGroup):
    """Ends every command in the same way: 0, or one line and 1 (failure), 2 (usage) or 130 (stopped)."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        arguments = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in arguments
        try:
            code = super().main(arguments, prog_name, complete_var, standalone_mode=False, **extra)
        except click.Abort:
            code = _end("stopped: the same command goes on from here", INTERRUPTED, None)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = error.exit_code
        except click.ClickException as error:
            code = _end(f"error: {_with_help(error)}", error.exit_code, error if debug else None)
        except FerbenchError as error:
            code = _end(f"error: {error.line}", error.exit_code, error if debug else None)
        except Exception as error:  # whatever a plugin or library raises, a person gets one line
            what = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
            advice = "" if debug else "; run again with --debug to see where it comes from"
            code = _end(f"error: unexpected {what}{advice}", 1, error if debug else None)
        sys.exit(code if isinstance(code, int) else 0)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if os.environ.get("NO_COLOR"):
            extra.setdefault("color", False)
        return super().make_context(info_name, args, parent, **extra)


def _end(line: str, code: int, error: BaseException | None) -> int:
    if error is not None:
        traceback.print_exception(error, file=sys.stderr)
    click.echo(line, err=True)
    return code


def _with_help(error: click.ClickException) -> str:
    """click's message on one line, with the command that explains the options."""
    message = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return message if context is None else f"{message} (see {context.command_path} --help)"


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "--version", message="%(prog)s %(version)s")
@common_options
def root() -> None:
    """Which backbone and which fine-tuning strategy is best on a small dataset of faces.

    \b
    ferbench run --strategy cascade --backbone vgg16
    ferbench leaderboard
    """
