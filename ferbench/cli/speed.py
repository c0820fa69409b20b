"""`ferbench speed`: how fast backbones are on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ferbench.cli.completion import complete_backbones
from ferbench.cli.entry import INTERRUPTED
from ferbench.cli.given import debugging
from ferbench.cli.options import common_options
from ferbench.cli.session import (
    catalog_of,
    paint,
    print_json,
    print_lines,
    reading_store,
    settings_of,
    shown_store,
    store_exists,
    warn,
    warn_of_failures,
    width,
)
from ferbench.errors import FerbenchError, UsageError

if TYPE_CHECKING:
    from ferbench.catalog import Catalog
    from ferbench.components import Backbone
    from ferbench.records import SpeedMeasurement
    from ferbench.speed import Measuring

#: What `recipes.RECIPE_RANGES` allows.
_LARGEST_IMAGE, _LARGEST_BATCH = 4_096, 65_536

#: More repetitions than this are a slip of the finger.
_MOST_REPEATS = 1_000


class Sizes(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """`64` or `64,224`, as a tuple."""

    name = "sizes"

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        found = []
        for part in value.split(","):
            text = part.strip()
            if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= _LARGEST_IMAGE:
                self.fail(
                    f"{text!r} is no number of pixels from 1 to {_LARGEST_IMAGE:,}, such as 64 or 64,224", param, ctx
                )
            found.append(int(text))
        return tuple(found)


@click.command()
@click.option(
    *("-b", "--backbone", "backbones"),
    metavar="NAME",
    multiple=True,
    shell_complete=complete_backbones,
    help="Network to measure, such as vgg16 or timm/resnet18; may be given several times.",
)
@click.option(
    *("--image-size", "sizes"),
    type=Sizes(),
    multiple=True,
    metavar="64,224",
    help="Pixels a side.  [default: the backbone's own]",
)
@click.option(
    "--batch-size", type=click.IntRange(1, _LARGEST_BATCH), default=32, show_default=True, help="Images a batch."
)
@click.option(
    "--precision",
    type=click.Choice(("auto", "fp32", "bf16")),
    default="auto",
    show_default=True,
    help="auto is bf16 on a GPU that has it, else fp32.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1, _MOST_REPEATS),
    default=5,
    show_default=True,
    help="Repetitions, of about 3 seconds a backbone.",
)
@click.option("--compile", "compiled", is_flag=True, help="Measure what torch.compile makes of them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def speed(
    context: click.Context,
    backbones: tuple[str, ...],
    sizes: tuple[tuple[int, ...], ...],
    batch_size: int,
    precision: str,
    repeats: int,
    compiled: bool,
    as_json: bool,
) -> None:
    """Measure how fast backbones are, or show what was measured.

    Training and inference in batches, one image alone, memory and FLOPs, on a device that nothing else should use
    meanwhile; all layers are trained, from random weights, on which speed does not depend. Without --backbone, all that
    was measured before is shown.

    \b
    ferbench speed -b alexnet -b tv/mobilenet_v2 --image-size 64
    ferbench speed
    """
    if not backbones:
        _refuse_options_alone(context)
        _show_stored(context, as_json=as_json)
        return
    from ferbench.speed import Measuring

    catalog = catalog_of(context)
    warn_of_failures(catalog)
    errors: list[tuple[FerbenchError, str]] = []
    wanted = _wanted(catalog, backbones, [size for group in sizes for size in group], errors)
    done = _measured(context, wanted, Measuring(batch_size, precision, repeats, compiled), errors)
    if as_json:
        from ferbench.publish.speed import speeds_json

        print_json(speeds_json(done))
    elif done:
        _show(done)
    for error, trace in errors:
        if debugging(context) and trace:
            click.echo(trace.rstrip(), err=True)
        click.echo(f"error: {error.line}", err=True)
    if errors:
        context.exit(max(error.exit_code for error, _ in errors))


def _refuse_options_alone(context: click.Context) -> None:
    for option in ("sizes", "batch_size", "precision", "repeats", "compiled"):
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            raise UsageError("name a backbone to measure, such as --backbone vgg16, or leave the other options out")


def _wanted(
    catalog: Catalog, names: Sequence[str], sizes: Sequence[int], errors: list[tuple[FerbenchError, str]]
) -> list[tuple[Backbone, int]]:
    """Backbones with their sizes; what cannot be found is an error for later."""
    found = []
    for name in dict.fromkeys(names):
        try:
            backbone = catalog.backbone(name)
        except FerbenchError as error:
            errors.append((error, ""))
            continue
        found += [(backbone, size) for size in dict.fromkeys(sizes or [backbone.image_size])]
    return found


def _measured(
    context: click.Context,
    wanted: Sequence[tuple[Backbone, int]],
    measuring: Measuring,
    errors: list[tuple[FerbenchError, str]],
) -> list[SpeedMeasurement]:
    """Measured and stored; what failed is an error for later."""
    if not wanted:
        return []
    from ferbench.environment import chosen_device
    from ferbench.speed import measured_speeds
    from ferbench.store import open_store

    settings = settings_of(context)
    device = chosen_device(settings.device)
    # Opened first, since a store that cannot be written should not be found out after minutes.
    with open_store(settings.store) as store:
        try:
            click.echo(
                f"Measuring on {device}, nothing else should run there · store {shown_store(settings)}", err=True
            )
            done, failed = measured_speeds(wanted, device, measuring, _show_turn)
        except KeyboardInterrupt:
            click.echo("stopped: nothing was stored, the same command begins anew", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)
        for measurement in done:
            store.save_speed_measurement(measurement)
    errors += [(failure.error, failure.trace) for failure in failed]
    for note in dict.fromkeys(note for measurement in done for note in measurement.notes):
        warn(note)
    return done


def _show_turn(name: str, number: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{number}/{total}  {name}"[: width() + 3], nl=False, err=True)


def _show_stored(context: click.Context, *, as_json: bool) -> None:
    from ferbench.publish.speed import speeds_json

    settings = settings_of(context)
    stored: list[SpeedMeasurement] = []
    if store_exists(settings):
        with reading_store(settings) as store:
            stored = store.speed_measurements()
    if as_json:
        print_json(speeds_json(stored))
    elif stored:
        _show(stored)
    else:
        click.echo(f"no speeds in {shown_store(settings)} yet: start with `ferbench speed --backbone vgg16`")


def _show(measurements: Sequence[SpeedMeasurement]) -> None:
    from ferbench.publish.layout import wrapped
    from ferbench.publish.speed import SPEED_LEGEND, speed_lines

    lines = speed_lines(measurements, width=width(), paint=paint())
    print_lines([*lines, "", *(paint().dim(line) for line in wrapped(SPEED_LEGEND, width()))])
