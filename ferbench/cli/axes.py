"""The options that make a matrix, for every command that plans one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ferbench.cli.completion import complete_backbones, complete_datasets, complete_strategies, complete_weights
from ferbench.cli.session import catalog_of, listed_datasets, settings_of, shown_store
from ferbench.errors import UsageError

if TYPE_CHECKING:
    from ferbench.catalog import Catalog
    from ferbench.defaults import DataChoice
    from ferbench.matrix import Matrix, RecipeAxis, Tune
    from ferbench.matrix_file import MatrixFile
    from ferbench.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

#: More seeds than this in one range are a slip of the finger.
_MOST_SEEDS = 10_000


@dataclass(frozen=True, slots=True)
class AxisOptions:
    """What was typed; the fields are the options' names."""

    backbones: tuple[str, ...]
    strategies: tuple[str, ...]
    targets: tuple[str, ...]
    auxiliaries: tuple[str, ...]
    seeds: tuple[tuple[int, ...], ...]
    weights: tuple[str, ...]
    changes: tuple[str, ...]
    epochs: float | None
    fractions: tuple[tuple[float, ...], ...]
    matrix_file: Path | None
    tune: bool
    tune_by: str | None
    tune_seed: int | None


class Seeds(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """`0`, `0,1,2` or `0-4`, as a tuple."""

    name = "seeds"

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        found: list[int] = []
        for part in value.split(","):
            match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part)
            if match is None:
                self.fail(f"{value!r}: seeds are whole numbers from 0 up, such as 0 or 0,1,2 or 0-4", param, ctx)
            first, last = int(match[1]), int(match[2] or match[1])
            if not first <= last < first + _MOST_SEEDS:
                self.fail(f"{value!r}: the range {part.strip()} goes backwards or is too long", param, ctx)
            found.extend(range(first, last + 1))
        return tuple(found)


class Fractions(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """`0.1,0.5,1`, as a tuple."""

    name = "fractions"

    def convert(
        self, value: str | tuple[float, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        found: list[float] = []
        for part in value.split(","):
            try:
                number = float(part)
            except ValueError:
                number = 0.0
            if not 0 < number <= 1:
                self.fail(f"{part.strip()!r} is no number above 0 and at most 1, such as 0.25", param, ctx)
            found.append(number)
        return tuple(found)


def axis_options(command: Command) -> Command:
    """Add the axes' options; the command gets them as one `axes: AxisOptions`."""

    def collected(*positional: Any, **options: Any) -> Any:
        own = {field.name: options.pop(field.name) for field in dataclasses.fields(AxisOptions)}
        return command(*positional, axes=AxisOptions(**own), **options)

    collected.__name__, collected.__doc__ = command.__name__, command.__doc__
    collected.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]


_OPTIONS = (
    click.option(
        *("-b", "--backbone", "backbones"),
        metavar="NAME",
        multiple=True,
        shell_complete=complete_backbones,
        help="Network to fine-tune, such as vgg16 or timm/resnet18.",
    ),
    click.option(
        *("-s", "--strategy", "strategies"),
        metavar="NAME",
        multiple=True,
        shell_complete=complete_strategies,
        help="Way of fine-tuning, such as cascade; composed by +.",
    ),
    click.option(
        *("-t", "--target", "targets"),
        metavar="DATASET",
        multiple=True,
        shell_complete=complete_datasets,
        help="Dataset that is reported on.",
    ),
    click.option(
        *("-a", "--auxiliary", "auxiliaries"),
        metavar="A,B",
        multiple=True,
        shell_complete=complete_datasets,
        help="Chain of datasets that are passed through, in order.",
    ),
    click.option(
        *("--seed", "seeds"), type=Seeds(), multiple=True, metavar="0,1,2", help="Seeds, also 0-4.  [default: 0]"
    ),
    click.option(
        *("--weights", "weights"),
        metavar="WHICH",
        multiple=True,
        shell_complete=complete_weights,
        help="auto, pretrained, random or a file.  [default: auto]",
    ),
    click.option(
        *("--set", "changes"),
        metavar="KEY=VALUE",
        multiple=True,
        help="Recipe value; key=a,b is an axis, stage2.lr=… is for one stage.",
    ),
    click.option(
        *("--epochs", "epochs"),
        type=click.FloatRange(min=0, min_open=True),
        metavar="N",
        help="Budget as passes over all named data, instead of --set images_seen.",
    ),
    click.option(
        *("--train-fraction", "fractions"),
        type=Fractions(),
        multiple=True,
        metavar="0.1,0.5,1",
        help="Parts of the target's train samples to train on.  [default: 1]",
    ),
    click.option(
        *("--tune", "tune"),
        is_flag=True,
        help="Choose among the values that --set gives several of, instead of reporting each: every cell gets the same "
        "tries, compared on select with a seed that is not reported.",
    ),
    click.option(
        *("--tune-by", "tune_by"),
        metavar="METRIC",
        help="What tries are compared by: accuracy, uar, macro_f1, nll, brier or ece.  [default: accuracy]",
    ),
    click.option(
        *("--tune-seed", "tune_seed"),
        type=click.IntRange(min=0),
        metavar="N",
        help="Seed of the tries, none that is reported.  [default: 1000000]",
    ),
    click.option(
        *("--matrix", "matrix_file"),
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE.toml",
        help="Read axes from a file; options override what it names.",
    ),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command line asks for, names filled in but not looked up.

    data : which datasets, why, and which store, for the first line that is printed
    also_report : further datasets that the matrix file has rows scored on
    """

    settings: Settings
    catalog: Catalog
    matrix: Matrix
    data: str
    also_report: tuple[str, ...] = ()


def asked(context: click.Context, axes: AxisOptions) -> Asked:
    """Options before the matrix file before defaults.

    Raises
    ------
    UsageError : no backbone or no strategy, a file that cannot be read
    RecipeError : a `--set` that no recipe takes
    """
    from ferbench.defaults import choose_data
    from ferbench.matrix import parse_chain
    from ferbench.matrix_file import MatrixFile, read_matrix

    nothing = MatrixFile(None, None, None, None, None, None, (), None, {})
    file = nothing if axes.matrix_file is None else read_matrix(axes.matrix_file)
    if not axes.backbones and not file.backbones:
        raise UsageError("name a backbone, such as --backbone vgg16; `ferbench plugins` lists what there is")
    if not axes.strategies and not file.strategies:
        raise UsageError("name a strategy, such as --strategy cascade; `ferbench plugins` lists what there is")
    settings = settings_of(context, file.settings)
    catalog = catalog_of(context)
    chains = tuple(parse_chain(text) for text in axes.auxiliaries)
    listed = listed_datasets(catalog)
    matrices: list[Matrix] = []
    reasons: dict[str, None] = {}
    for block in (file, *file.also):
        block_chains = chains if axes.auxiliaries else block.auxiliaries or ()
        choice = choose_data(listed, settings.data_folder, axes.targets or block.targets or (), block_chains)
        matrices.append(_matrix(axes, block, choice))
        reasons[choice.reason] = None
    matrix = dataclasses.replace(matrices[0], also=tuple(matrices[1:]), tune=_tune(axes, file))
    data = f"Data: {'; '.join(reasons)} · store {shown_store(settings)}"
    return Asked(settings, catalog, matrix, data, file.also_report or ())


def _tune(axes: AxisOptions, file: MatrixFile) -> Tune | None:
    from ferbench.matrix import Tune
    from ferbench.metrics import METRICS

    if not axes.tune and file.tune is None:
        if axes.tune_by is not None or axes.tune_seed is not None:
            raise UsageError("--tune-by and --tune-seed say how recipe values are chosen: give --tune, too")
        return None
    given = file.tune or Tune()
    metric = given.metric if axes.tune_by is None else axes.tune_by
    if metric not in METRICS:
        raise UsageError(f"--tune-by {metric}: tries are compared by one of {', '.join(METRICS)}")
    return Tune(metric, given.seed if axes.tune_seed is None else axes.tune_seed)


def _matrix(axes: AxisOptions, file: MatrixFile, choice: DataChoice) -> Matrix:
    from ferbench.matrix import Matrix, parse_axis

    own = merged([parse_axis(text) for text in axes.changes])
    inherited = merged(file.axes)
    budget = axes.epochs is not None or ("images_seen", None) in own
    if budget:
        inherited.pop(("images_seen", None), None)
    return Matrix(
        backbones=axes.backbones or file.backbones or (),
        strategies=axes.strategies or file.strategies or (),
        targets=choice.targets,
        auxiliaries=choice.auxiliaries,
        seeds=tuple(seed for group in axes.seeds for seed in group) or file.seeds or (0,),
        weights=axes.weights or file.weights or ("auto",),
        axes=tuple({**inherited, **own}.values()),
        epochs=axes.epochs if budget else file.epochs,
        train_fractions=tuple(part for group in axes.fractions for part in group) or file.train_fractions or (1.0,),
    )


def merged(axes: Sequence[RecipeAxis]) -> dict[tuple[str, int | None], RecipeAxis]:
    """One axis a key and stage: `--set lr=0.1 --set lr=0.2` is `--set lr=0.1,0.2`."""
    found: dict[tuple[str, int | None], RecipeAxis] = {}
    for axis in axes:
        place = (axis.key, axis.stage)
        before = found[place].values if place in found else ()
        found[place] = dataclasses.replace(axis, values=tuple(dict.fromkeys((*before, *axis.values))))
    return found
