"""The options of `ferbench leaderboard`, and which of them go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ferbench.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class BoardOptions:
    """What was typed; the fields are the options' names."""

    target: str | None
    where: tuple[str, ...]
    sort: str
    top: int | None
    references: bool
    files: tuple[Path, ...]
    curves: bool
    cost: bool
    calibration: bool
    generalisation: bool
    reach: float | None
    json: bool
    csv: bool
    markdown: bool
    latex: bool

    @property
    def with_references(self) -> bool:
        """Whether published figures are asked for."""
        return self.references or bool(self.files)

    def check(self) -> None:
        """Refuse what cannot be shown together.

        Raises
        ------
        UsageError : two forms, two choices of columns, or what a form has no place for
        """
        forms = _given(self, ("json", "csv", "markdown", "latex"))
        if len(forms) > 1:
            raise UsageError(f"{' and '.join(forms)} are two ways to print the same: give one of them")
        views = _given(self, ("curves", "cost", "calibration", "generalisation"))
        if len(views) > 1 and not (self.json or self.csv):
            raise UsageError(f"{' and '.join(views)} show different columns: give one of them, or --json for all")
        if self.curves and (self.csv or self.markdown or self.latex):
            raise UsageError(f"--curves cannot be printed with {forms[0]}: give --json, or leave one of them out")
        if self.with_references and self.csv:
            raise UsageError("published figures are no rows of the CSV: give another form, or no references")


def board_options(command: Command) -> Command:
    """Add the options; the command gets them as one `options: BoardOptions`."""

    def collected(*positional: Any, **given: Any) -> Any:
        own = {field.name: given.pop(field.name) for field in dataclasses.fields(BoardOptions)}
        return command(*positional, options=BoardOptions(**own), **given)

    collected.__name__, collected.__doc__ = command.__name__, command.__doc__
    collected.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]


def _given(options: BoardOptions, names: tuple[str, ...]) -> list[str]:
    return [f"--{name}" for name in names if getattr(options, name)]


_OPTIONS = (
    click.option("-t", "--target", metavar="DATASET", help="Only boards of this dataset."),
    click.option(
        "--where",
        metavar="CONDITION",
        multiple=True,
        help="Only rows that fit: backbone=vgg*,alexnet or strategy!=cascade or 'accuracy>40%'. Several must all fit; "
        "ranks stay those of the whole board.",
    ),
    click.option(
        "--sort",
        metavar="KEY[-]",
        default="rank",
        show_default=True,
        help="Order rows by accuracy, uar, time, memory, nll, …, best first; a - behind turns it round.",
    ),
    click.option("--top", metavar="N", type=click.IntRange(min=1), help="Only the first so many rows of every board."),
    click.option("--references", is_flag=True, help="Show published figures too, apart: reported, not reproduced."),
    click.option(
        "--references-from",
        "files",
        metavar="FILE.toml",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Show those of a file too; may be given several times.",
    ),
    click.option("--curves", is_flag=True, help="Show accuracy over the part of train that was trained on."),
    click.option("--cost", is_flag=True, help="Show what rows cost, beside their accuracy."),
    click.option("--calibration", is_flag=True, help="Show how far probabilities can be trusted: NLL, Brier, ECE."),
    click.option(
        "--generalisation", is_flag=True, help="Show accuracy on further datasets, of `ferbench run --also-report`."
    ),
    click.option(
        "--reach",
        metavar="PERCENT",
        type=click.FloatRange(0, 100, min_open=True),
        help="Show how long rows were trained until select accuracy reached this.",
    ),
    click.option("--json", is_flag=True, help="Print JSON."),
    click.option("--csv", is_flag=True, help="Print CSV, one line a row, every value."),
    click.option("--markdown", is_flag=True, help="Print Markdown tables."),
    click.option("--latex", is_flag=True, help="Print LaTeX tables, for booktabs."),
)
