"""Every matrix file in benchmarks/ reads, opens with the command that runs it, and names components that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from ferbench.catalog import Catalog
from ferbench.matrix import Matrix, unrolled
from ferbench.matrix_file import read_matrix
from ferbench.stages import Cell

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "benchmarks" / "matrices").glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_matrix_file_is_complete_and_says_how_it_is_run(path: Path) -> None:
    head = path.read_text("utf-8").split("\n\n")[0]
    assert f"ferbench run --matrix {path.relative_to(ROOT).as_posix()}" in head
    assert "Takes" in head and "Expect" in head
    file = read_matrix(path)
    assert file.backbones and file.strategies and file.targets
    assert cells_of(path)


def cells_of(path: Path) -> list[Cell]:
    file = read_matrix(path)
    matrices = (
        Matrix(
            backbones=block.backbones or (),
            strategies=block.strategies or (),
            targets=block.targets or (),
            auxiliaries=block.auxiliaries or ((),),
            seeds=block.seeds or (0,),
            weights=block.weights or ("auto",),
            axes=block.axes,
            train_fractions=block.train_fractions or (1.0,),
        )
        for block in (file, *file.also)
    )
    catalog = Catalog.load()
    return [cell for matrix in matrices for cell in unrolled(matrix, catalog)]


def test_the_papers_matrix_has_its_networks_data_and_strategies_and_the_baseline() -> None:
    cells = cells_of(ROOT / "benchmarks/matrices/ng2015.toml")
    named = {(cell.backbone, cell.strategy, cell.auxiliaries) for cell in cells}
    assert named == {("phog-lpq", "target-only", ())} | {
        (backbone, strategy, (auxiliary,))
        for backbone in ("alexnet", "vgg-cnn-m-2048")
        for strategy in ("single-stage", "cascade")
        for auxiliary in ("fer2013", "fer2013:train+select")
    }
    assert {cell.target for cell in cells} == {"sfew"}
    machine = next(cell for cell in cells if cell.backbone == "phog-lpq")
    assert (machine.recipe.trainable, machine.recipe.head_fit) == ("head", "svm")


def test_there_are_matrix_files() -> None:
    assert FILES
