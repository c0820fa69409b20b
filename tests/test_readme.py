"""The README says what the program does: its commands exist, its examples parse, its help is what click prints."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ferbench.catalog import Catalog
from ferbench.cli import root
from ferbench.competitors import (
    Question,
    choose,
    compare_boards,
    name_competitors,
    property_key,
    read_answers,
)
from ferbench.plugin_source import from_file
from ferbench.publication.from_snapshot import opened_snapshot
from ferbench.row_filter import parse_where
from ferbench.testing import check_strategy

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SNAPSHOT = ROOT / "results" / "evidence-cpu-2.14.1"
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


def _table(lines: Iterable[str], first: str) -> list[dict[str, str]]:
    """The Markdown table whose first title is `first`, a line a row."""
    found = list(itertools.dropwhile(lambda line: not line.startswith(f"| {first} |" if first else "| |"), lines))
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in itertools.takewhile(lambda line: line.startswith("|"), found)
    ]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_the_board_of_the_readme_is_the_snapshots() -> None:
    page = _table((SNAPSHOT / "leaderboard.md").read_text("utf-8").splitlines(), "#")
    shown = _table(README.splitlines(), "#")
    assert len(shown) == 6
    for mine, there in zip(shown, page, strict=False):
        assert mine == {title: there[title] for title in mine}


def test_the_comparisons_of_the_readme_are_the_snapshots() -> None:
    question = Question((), parse_where(()), (property_key("strategy"),))
    with opened_snapshot(SNAPSHOT) as store:
        chosen, _ = choose(question, store.leaderboard_rows())
        boards, _ = name_competitors(question, chosen)
        (board,) = compare_boards([read_answers(each, store.run_predictions) for each in boards]).boards
    shown = {line[""]: line for line in _table(README.splitlines(), "")}
    pairs = {(pair.a, pair.b): pair for pair in board.pairs}
    for (a, b), pair in pairs.items():
        first, second, sign = (a, b, 1) if shown.get(a, {}).get(b) else (b, a, -1)
        words = f"{100 * sign * pair.difference:+.1f}"
        said = f"**{words}**" if pair.verdict != "undecided" else words
        assert shown[first][second] == f"{said} ({pair.holm_p:.2g})"
        assert shown[first]["accuracy %"] == f"{100 * board.means[first]:.1f}"
    assert len(pairs) == 15


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
