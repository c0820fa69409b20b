"""`ferbench export ROW DIR`: a row's network as files for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options
from ferbench.cli.session import (
    catalog_of,
    paint,
    print_json,
    print_lines,
    reading_store,
    settings_of,
    warn,
    warn_of_failures,
    width,
)
from ferbench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from ferbench.catalog import Catalog
    from ferbench.pages.exported import Exported
    from ferbench.records import Run
    from ferbench.store import Store

_FORMATS = ("onnx", "safetensors")


@click.command()
@click.argument("row")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--seed", metavar="N", type=int, help="The run of this seed; the smallest seed otherwise.")
@click.option(
    "--format",
    "formats",
    metavar="FORMAT[,FORMAT]",
    help="onnx, safetensors, or both; both where the packages for ONNX are installed.",
)
@click.option(
    "--opset",
    metavar="N",
    type=click.IntRange(18, 23),
    default=18,
    show_default=True,
    help="The version of ONNX's operators.",
)
@click.option(
    "--with",
    "asked",
    type=click.Choice(["weights"]),
    help="Say on the card that the weights are passed on, whatever the licences of their datasets permit.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def export(
    context: click.Context,
    row: str,
    folder: Path,
    seed: int | None,
    formats: str | None,
    opset: int,
    asked: str | None,
    as_json: bool,
) -> None:
    """Write the network of ROW for other programs.

    model.onnx takes pictures of any size and gives calibrated probabilities, preprocessing inside; it is compared with
    torch on the row's own report split before it is written. model.safetensors has the weights, config.json what they
    are of, README.md is a model card with an example for each file. Needs `pip install 'ferbench[export]'` for ONNX.

    \b
    ferbench export 4f1c20 my-network
    ferbench export 4f1c20 my-network --seed 2 --format onnx
    """
    wanted = _wanted(formats)
    from ferbench.export.exporting import Wanted, chosen_run
    from ferbench.export.exporting import export as written
    from ferbench.publish.export import export_json, export_lines, warning_lines

    settings = settings_of(context)
    catalog = catalog_of(context)
    warn_of_failures(catalog)
    with reading_store(settings) as store:
        runs = store.runs(row=row, status="finished")
        if not runs:
            raise StoreError(f"row {row} has no finished run in {store.location}: `ferbench leaderboard` shows why")
        run = chosen_run(runs, seed)
        exported = written(
            run,
            folder,
            store,
            catalog,
            settings,
            Wanted(wanted, exactly=formats is not None, opset=opset, passed_on=asked is not None),
            lambda files: _card(files, run, runs, store, catalog),
        )
    for line in warning_lines(exported):
        warn(line)
    if as_json:
        print_json(export_json(exported))
    else:
        print_lines(export_lines(exported, width(), paint()))


def _wanted(text: str | None) -> tuple[str, ...]:
    """The formats that are named.

    Raises
    ------
    UsageError : another format, or none
    """
    if text is None:
        return _FORMATS
    named = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in named if name not in _FORMATS]
    if unknown or not named:
        raise UsageError(f"--format {text}: it is {' or '.join(_FORMATS)}, or both with a comma between them")
    return named


def _card(files: Exported, run: Run, runs: list[Run], store: Store, catalog: Catalog) -> str:
    """The row's model card, with what is to be said of the files."""
    from ferbench.leaderboard import leaderboards
    from ferbench.publication.commands import Commands
    from ferbench.publication.model_cards import model_card_of
    from ferbench.publish.export import card_section
    from ferbench.publish.model_card import model_card
    from ferbench.snapshot.redaction import published
    from ferbench.store import KeptRun

    assert run.board is not None
    on_board = [each for each in runs if each.board == run.board]
    tables = leaderboards(store.leaderboard_rows(), store.speed_measurements())
    entry = next(
        entry
        for table in tables
        if table.board.fingerprint == run.board.fingerprint
        for entry in table.entries
        if entry.row == run.row
    )
    public = [published(KeptRun(each, ())).run for each in on_board]
    command = Commands(catalog, store).of(public, looked_up=run.cell)[0].line
    # The chain is that of the first run that is given.
    ordered = [run, *(each for each in on_board if each.key != run.key)]
    card = model_card_of(
        entry,
        ordered,
        run.board,
        catalog,
        command,
        chain=[(store.stage(each), store.stage_result(each)) for each in run.stages],
        seed=run.cell.seed,
        passed_on=files.passed_on,
    )
    return model_card(card, card_section(files))
