"""`ferbench compare`: which rows are better than which, and what the data cannot tell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options
from ferbench.cli.session import paint, print_json, print_lines, reading_store, settings_of, width
from ferbench.errors import FerbenchError, UsageError

if TYPE_CHECKING:
    from ferbench.comparison import AcrossBoards
    from ferbench.competitors import Outcome
    from ferbench.store import Store


@click.command()
@click.argument("rows", metavar="[ROW]...", nargs=-1)
@click.option(
    "--where",
    metavar="CONDITION",
    multiple=True,
    help="Choose rows by their properties, as in `leaderboard`; may be given several times.",
)
@click.option("--by", metavar="KEY[,KEY]", help="Compare not row with row but what has these properties.")
@click.option("--against", metavar="NAME", help="Only pairs with this one: a ROW, or a name that --by makes.")
@click.option(
    "--metric",
    type=click.Choice(["accuracy", "uar", "macro_f1"]),
    default="accuracy",
    show_default=True,
    help="What is compared.",
)
@click.option(
    "--diagram",
    metavar="FILE.svg",
    type=click.Path(path_type=Path),
    help="Write the critical-difference diagram, from six boards up.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def compare(
    context: click.Context,
    rows: tuple[str, ...],
    where: tuple[str, ...],
    by: str | None,
    against: str | None,
    metric: str,
    diagram: Path | None,
    as_json: bool,
) -> None:
    """Tell which ROW is ahead, or that the data cannot tell.

    ROW is the first digits of a row's name on the leaderboard. With --where, rows that fit are compared, and the ROWs
    that are named. Predictions of the same samples are compared, seed by seed.

    With --by strategy, rows are put together by their strategy, and matched by backbone, weights, part of train and
    device. Ensembles take part if they are named, or asked for with --where ensemble=yes. Where rows are on several
    boards, pairs are made on each of them, and ranks are compared over all.

    \b
    ferbench compare 0123456789 abcdef0123
    ferbench compare --by strategy --where backbone=vgg16 --against single-stage
    """
    with reading_store(settings_of(context)) as store:
        outcome = _outcome(store, rows, where, by, against, metric)
    if diagram is not None:
        _write_diagram(diagram, outcome.across)
    from ferbench.publish.comparison import comparison_json, comparison_lines

    if as_json:
        print_json(comparison_json(outcome.boards, outcome.metric, outcome.across, outcome.left_out))
        return
    lines = comparison_lines(outcome.boards, outcome.left_out, width=width(), paint=paint())
    if outcome.across is not None:
        lines += ["", *_across(outcome.across)]
    print_lines(lines)


def _outcome(
    store: Store, rows: tuple[str, ...], where: tuple[str, ...], by: str | None, against: str | None, metric: str
) -> Outcome:
    from ferbench.competitors import Question, choose, compare_boards, name_competitors, property_key, read_answers
    from ferbench.row_filter import parse_where

    keys = () if by is None else tuple(dict.fromkeys(property_key(key) for key in by.split(",")))
    named = [*rows]
    asked = parse_where(where)
    chosen_by_what_they_are = any(each.key != "seed" for each in asked.conditions)
    if against and not keys and (rows or chosen_by_what_they_are) and re.fullmatch(r"[0-9a-fA-F]{4,64}", against):
        named.append(against)
    entries = [store.runs(row=row)[0].entry for row in named]
    if len(named) > len(rows) and entries[-1] in entries[:-1]:
        entries.pop()
    question = Question(tuple(entries), asked, keys)
    chosen, failed = choose(question, store.leaderboard_rows())
    boards, alone = name_competitors(question, chosen)
    answers = [read_answers(board, store.run_predictions) for board in boards]
    return compare_boards(answers, metric, against=against, left_out=(*failed, *alone))


def _across(across: AcrossBoards) -> list[str]:
    from ferbench.comparison import FEWEST_BOARDS
    from ferbench.publish.comparison import across_lines
    from ferbench.publish.critical_difference import diagram_lines

    drawn = diagram_lines(across, width()) if across.boards >= FEWEST_BOARDS else []
    return across_lines(across, drawn, fewest=FEWEST_BOARDS, width=width(), paint=paint())


def _write_diagram(path: Path, across: AcrossBoards | None) -> None:
    from ferbench.comparison import FEWEST_BOARDS
    from ferbench.publish.critical_difference import diagram_svg

    boards = 0 if across is None else across.boards
    if across is None or boards < FEWEST_BOARDS:
        there = f"these competitors are together on {boards}" if boards else "these are not together on several"
        raise UsageError(f"--diagram {path}: it is drawn from {FEWEST_BOARDS} boards up, and {there}")
    try:
        path.write_text(diagram_svg(across), "utf-8")
    except OSError as error:
        raise FerbenchError(f"--diagram {path}: it cannot be written ({error.strerror or error})") from error
