"""Every matrix file in benchmarks/ reads, opens with the command that runs it, and names components that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from ferbench.catalog import Catalog
from ferbench.matrix import Matrix, unrolled
from ferbench.matrix_file import read_matrix

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "benchmarks" / "matrices").glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_matrix_file_is_complete_and_says_how_it_is_run(path: Path) -> None:
    head = path.read_text("utf-8").split("\n\n")[0]
    assert f"ferbench run --matrix {path.relative_to(ROOT).as_posix()}" in head
    assert "Takes" in head and "Expect" in head
    file = read_matrix(path)
    assert file.backbones and file.strategies and file.targets
    matrix = Matrix(
        backbones=file.backbones,
        strategies=file.strategies,
        targets=file.targets,
        auxiliaries=file.auxiliaries or ((),),
        seeds=file.seeds or (0,),
        weights=file.weights or ("auto",),
        axes=file.axes,
    )
    assert unrolled(matrix, Catalog.load())


def test_there_are_matrix_files() -> None:
    assert FILES
