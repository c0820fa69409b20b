"""The README says what the program does: its commands exist, its examples parse, its help is what click prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ferbench.catalog import Catalog
from ferbench.cli import root
from ferbench.plugin_source import from_file
from ferbench.testing import check_strategy

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
CALLS = sorted(
    {
        line.strip()
        for line in README.replace("\\\n", " ").splitlines()
        if re.match(r"\s+ferbench [a-z]", line)  # indented, as examples are; prose names commands in backticks
    }
)


@pytest.mark.parametrize("command", [[], ["run"]])
def test_the_help_in_the_readme_is_what_the_program_prints(command: list[str]) -> None:
    result = CliRunner().invoke(root, [*command, "--help"], prog_name="ferbench", terminal_width=78)
    assert result.exit_code == 0
    assert f"```\n{result.output.rstrip()}\n```" in README


@pytest.mark.parametrize("call", CALLS)
def test_every_call_in_the_readme_parses(call: str) -> None:
    name, *arguments = shlex.split(call)[1:]
    command = root.get_command(click.Context(root), name)
    assert command is not None, f"README calls {name!r}, which is no command"
    command.make_context(name, list(arguments), resilient_parsing=False)


def test_there_are_calls_to_check() -> None:
    assert len(CALLS) >= 5


def test_every_strategy_of_the_table_is_there() -> None:
    named = re.findall(r"^\| ((?:`[a-z+-]+`(?:, )?)+)", README, re.M)
    strategies = {name for cell in named for name in re.findall(r"`([a-z+-]+)`", cell)} - {"sfew"}
    catalog = Catalog.load()
    assert {"cascade", "single-stage", "lp-ft"} <= strategies
    for name in strategies:
        assert catalog.strategy(name).name == name


def test_the_plugin_of_the_readme_loads_and_conforms(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(\"\"\"mine\.py.*?)```", README, re.S)
    path = tmp_path / "mine.py"
    path.write_text(source, "utf-8")
    catalog = Catalog.load([path])
    check_strategy(catalog.strategy("inside-out"))
    assert from_file(path).name == "mine"
    assert len(source.splitlines()) <= 15
