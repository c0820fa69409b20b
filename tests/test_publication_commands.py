"""Commands that make rows again: read by the command line itself and planned, they give the same entries."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from tiny import Bench, matrix, tiny_backbone

import ferbench.cli.axes
from ferbench.cli import root
from ferbench.ensembles import Method, make_ensemble
from ferbench.matrix import Matrix, RecipeAxis, Tune
from ferbench.plan import CellPlan
from ferbench.publication.commands import Commands, command_of
from ferbench.records import Environment, Run

ENVIRONMENT = Environment("cpu", "a processor", 2, "3.11", "2.14", "0.1", "Linux")


def run_of(planned: CellPlan) -> Run:
    """A finished run of a planned cell, as far as commands look at it."""
    return Run(
        key=planned.key,
        entry=planned.entry,
        cell=planned.cell,
        status="finished",
        board=planned.board,
        weights=planned.weights,
        environment=ENVIRONMENT,
        stages=planned.stages,
    )


@pytest.fixture
def read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Matrix]:
    """What `ferbench run` makes of a line, with the tiny components."""
    monkeypatch.setattr(ferbench.cli.axes, "catalog_of", lambda context: bench.catalog)

    def matrix_of(line: str) -> Matrix:
        program, name, *words = shlex.split(line)
        assert program == "ferbench"
        command = root.get_command(click.Context(root), name)
        assert command is not None
        context = command.make_context(name, words, parent=click.Context(root))
        options = {f.name: context.params[f.name] for f in dataclasses.fields(ferbench.cli.axes.AxisOptions)}
        return ferbench.cli.axes.asked(context, ferbench.cli.axes.AxisOptions(**options)).matrix

    return matrix_of


def axes(**values: object) -> tuple[RecipeAxis, ...]:
    """Recipe axes by key; `stage2_lr` is `stage2.lr`."""
    found = []
    for key, value in values.items():
        stage, _, name = key.partition("_") if key.startswith("stage") else ("", "", key)
        several = value if isinstance(value, tuple) else (value,)
        found.append(RecipeAxis(name, several, int(stage.removeprefix("stage")) if stage else None))
    return tuple(found)


#: Each with what differs from the defaults; the first has nothing.
CASES: tuple[dict[str, object], ...] = (
    {"strategies": "target-only", "auxiliaries": ((),)},
    {"strategies": "source-only cascade single-stage", "seeds": (0, 1, 2, 5)},
    {"strategies": "cascade", "auxiliaries": (("big", "other"),), "axes": axes(stage2_lr=0.003, target_share=0.25)},
    {"strategies": "single-stage", "axes": axes(mixing="balanced", grey=True, batch_size=4, lr=1e-05)},
    {"strategies": "cascade+lp-ft", "axes": axes(stage3_weight_decay=1e-07, optimizer="adamw"), "seeds": (7,)},
    {"strategies": "cascade+linear-probe", "axes": axes(head_fit="svm", label_set="happy/sad/bad=angry+disgust+fear")},
    {"strategies": "target-only", "train_fractions": (0.3,), "targets": ("small:te",), "axes": axes(images_seen=80)},
    {"strategies": "cascade", "auxiliaries": (("big:tr+va",),), "weights": ("auto",), "epochs": 2.0},
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["strategies"]))
def test_planning_the_command_gives_the_same_row(
    bench: Bench, read: Callable[[str], Matrix], case: dict[str, object]
) -> None:
    planned = bench.engine.prepare(matrix(**case), calibrate=False).plan.cells  # type: ignore[arg-type]
    rows: dict[str, list[Run]] = {}
    for cell in planned:
        rows.setdefault(cell.entry, []).append(run_of(cell))
    for entry, runs in rows.items():
        line = command_of(runs, bench.catalog, bench.store)
        again = bench.engine.prepare(read(line), calibrate=False).plan.cells
        assert [cell.key for cell in again] == [run.key for run in runs] and {cell.entry for cell in again} == {entry}


def test_the_plainest_command_says_nothing_that_is_the_default(bench: Bench) -> None:
    (cell,) = bench.engine.prepare(matrix("target-only"), calibrate=False).plan.cells
    line = command_of([run_of(cell)], bench.catalog, bench.store, track=True)
    assert line == "ferbench run -b tiny -s target-only -t small --weights random --seed 0 --track --device cpu"


def test_a_tuned_row_is_tried_again_as_it_was(bench: Bench, read: Callable[[str], Matrix]) -> None:
    given = matrix("cascade", seeds=(0, 1), tune=Tune("uar", 5))
    given = dataclasses.replace(given, axes=axes(stage2_lr=(0.1, 0.01), lr=(0.2, 0.02, 0.1), batch_size=4))
    chosen = bench.engine.prepare_chosen(given).plan.cells
    best = chosen[0].cell.tuning
    assert best is not None
    commands = Commands(bench.catalog, bench.store).of([run_of(cell) for cell in chosen])
    again = read(commands[0].line)
    assert again.tune == Tune("uar", 5)
    assert [cell.key for cell in bench.engine.prepare_chosen(again).plan.cells] == [cell.key for cell in chosen]

    # Without tries it is another row, that trains the very same stages.
    untuned = bench.engine.prepare(read(commands[1].line), calibrate=False).plan.cells
    assert [cell.stages for cell in untuned] == [cell.stages for cell in chosen]
    assert {cell.entry for cell in untuned}.isdisjoint({cell.entry for cell in chosen})
    assert commands[2].line == f"ferbench verify {chosen[0].entry[:10]} --infer"


def test_weights_from_a_file_and_from_what_auto_came_to(make_bench: Callable[..., Bench], tmp_path: Path) -> None:
    import torch

    from ferbench.state_dicts import weights_file

    file = tmp_path / "a net's.pt"
    torch.save(tiny_backbone().build(7, 12).state_dict(), file)
    found = weights_file(file, "file of the test")
    from tiny import tiny_catalog

    catalog = tiny_catalog(tiny_backbone("ready", lambda policy: found))
    bench = make_bench("weights", catalog)
    lines = []
    for policy, backbone in ((str(file), "tiny"), ("auto", "ready"), ("auto", "tiny")):
        given = matrix("target-only", weights=(policy,), backbones=(backbone,))
        (cell,) = bench.engine.prepare(given, calibrate=False).plan.cells
        command = Commands(catalog, bench.store).of([run_of(cell)])[0]
        lines.append(shlex.split(command.line)[shlex.split(command.line).index("--weights") + 1])
        assert (cell.weights.sha256[:10] in command.says) == cell.weights.is_file
    assert lines == [str(file), "pretrained", "random"]


def test_what_cannot_be_looked_up_is_set_value_by_value(bench: Bench) -> None:
    (cell,) = bench.engine.prepare(matrix("target-only"), calibrate=False).plan.cells
    run = dataclasses.replace(
        run_of(cell),
        cell=dataclasses.replace(cell.cell, backbone="gone/…/net"),
        sources=(("gone_family", "ab"), ("single_stage", "cd")),
        hardware="cpu, other",
        environment=dataclasses.replace(ENVIRONMENT, device_kind="NVIDIA H100"),
    )
    command = Commands(bench.catalog, bench.store).of([run])[0]
    words = shlex.split(command.line)
    assert sum(word == "--set" for word in words) == len(cell.cell.recipe_values())
    assert "--device" not in words
    # A plugin that is neither installed nor loaded is a file of somebody's.
    assert [words[place + 1] for place, word in enumerate(words) if word == "--plugin"] == ["…/gone_family.py"]
    for said in ("NVIDIA H100", "in the place of …/", "the plugin gone_family", "computed on cpu, other"):
        assert said in command.says


def test_ensembles_are_made_again_of_the_same_rows(bench: Bench) -> None:
    finished = bench.run("cascade source-only target-only", seeds=(0, 1)).finished
    rows = list(dict.fromkeys(run.row for run in finished))
    store = bench.store
    mean = make_ensemble(store, rows[:2], Method())
    seeds = make_ensemble(store, rows[:1], Method(over_seeds=True))
    both = make_ensemble(store, rows, Method(over_seeds=True))
    nested = make_ensemble(store, [mean.row, rows[2]], Method())
    greedy = make_ensemble(store, rows, Method(greedy=True, metric="accuracy", steps=3))
    wanted = {
        mean.row: sorted(rows[:2]),
        seeds.row: rows[:1],
        both.row: [*sorted(rows), "--over-seeds"],
        nested.row: sorted([mean.row, rows[2]]),
        greedy.row: [*sorted(rows), "--greedy", "--by", "accuracy", "--steps", "3"],
    }
    for row, words in wanted.items():
        runs = [run for run, _ in store.run_predictions(row)]
        made, verify = Commands(bench.catalog, store).of(runs)
        assert shlex.split(made.line) == ["ferbench", "ensemble", *words]
        assert verify.line == f"ferbench verify {row} --members"

    # What no guess explains is not claimed.
    runs = [dataclasses.replace(run, entry="ab" * 32) for run, _ in store.run_predictions(greedy.row)]
    assert "not recorded" in Commands(bench.catalog, store).of(runs)[0].says
