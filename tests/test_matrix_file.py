"""Matrix files: the same cells as flags give, and faults that name file and key."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import matrix, tiny_catalog

from ferbench.errors import FerbenchError, UsageError
from ferbench.matrix import Matrix, parse_axis, unrolled
from ferbench.matrix_file import MatrixFile, read_matrix
from ferbench.stages import StageChange

FILE = """
# ferbench run --matrix probe.toml
backbones = ["tiny"]
strategies = ["cascade", "target-only"]
targets = ["small"]
auxiliaries = ["big", ["big", "other"], "other, big"]
seeds = [0, 1]
weights = ["random"]

[recipe]
images_seen = 640
lr = [0.1, 0.01]
grey = true
stage1.augment = "flip"

[recipe.stage2]
lr = 0.001

[settings]
device = "cpu"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "probe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def as_matrix(file: MatrixFile) -> Matrix:
    return Matrix(
        file.backbones or (),
        file.strategies or (),
        file.targets or (),
        file.auxiliaries or ((),),
        file.seeds or (0,),
        file.weights or ("auto",),
        file.axes,
        file.epochs,
        file.train_fractions or (1.0,),
    )


def test_a_file_and_flags_give_equal_cells(tmp_path: Path) -> None:
    file = read_matrix(written(tmp_path, FILE.replace('"cascade", "target-only"', '"cascade"')))
    assert file.settings == {"device": "cpu"} and file.epochs is None
    sets = ("images_seen=640", "lr=0.1,0.01", "grey=yes", "stage1.augment=flip", "stage2.lr=0.001")
    asked = matrix("cascade", auxiliaries=(("big",), ("big", "other"), ("other", "big")), seeds=(0, 1))
    catalog = tiny_catalog()
    flags = unrolled(dataclasses.replace(asked, axes=tuple(map(parse_axis, sets))), catalog)
    assert unrolled(as_matrix(file), catalog) == flags
    assert len(flags) == 3 * 2 * 2
    assert {cell.stage_changes for cell in flags} == {(StageChange(1, "augment", "flip"), StageChange(2, "lr", 0.001))}


def test_what_a_file_leaves_out_is_left_to_flags(tmp_path: Path) -> None:
    file = read_matrix(written(tmp_path, "epochs = 3"))
    assert file == MatrixFile(None, None, None, None, None, None, (), 3.0, {})
    assert read_matrix(written(tmp_path, "auxiliaries = []")).auxiliaries == ((),)


BLOCKS = """
backbones = ["tiny", "other"]
strategies = ["cascade"]
auxiliaries = ["big"]
seeds = [0, 1]
train_fractions = [0.5, 1]

[recipe]
images_seen = 640
stage1.lr = 0.1

[[also]]
backbones = ["third"]
auxiliaries = []
recipe.lr = 0.001
recipe.images_seen = 320

[[also]]
seeds = [7]
"""


def test_a_block_takes_what_it_does_not_name_from_above(tmp_path: Path) -> None:
    file = read_matrix(written(tmp_path, BLOCKS))
    first, second = file.also
    assert (first.backbones, first.strategies, first.auxiliaries, first.seeds) == (
        *(("third",), ("cascade",), ((),), (0, 1)),
    )
    assert first.train_fractions == (0.5, 1.0)
    assert sorted((axis.stage or 0, axis.key, axis.values) for axis in first.axes) == [
        *((0, "images_seen", (320,)), (0, "lr", (0.001,)), (1, "lr", (0.1,))),
    ]
    assert (second.backbones, second.seeds, second.axes) == (file.backbones, (7,), file.axes)
    assert first.also == second.also == ()


def test_a_blocks_kind_of_budget_takes_the_place_of_the_other(tmp_path: Path) -> None:
    file = read_matrix(written(tmp_path, "recipe.images_seen = 640\n[[also]]\nepochs = 2\n[[also]]\nseeds = [1]"))
    assert [(block.epochs, [axis.key for axis in block.axes]) for block in file.also] == [
        *((2.0, []), (None, ["images_seen"])),
    ]
    (block,) = read_matrix(written(tmp_path, "epochs = 2\n[[also]]\nrecipe.images_seen = 640")).also
    assert block.epochs is None and [axis.key for axis in block.axes] == ["images_seen"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train_fractions = 0.5", "train_fractions is a list of numbers above 0 and at most 1"),
        ("train_fractions = [0]", "train_fractions is a list of numbers above 0 and at most 1"),
        ("train_fractions = [true]", "train_fractions is a list of numbers above 0 and at most 1"),
        ("train_fractions = [1.5]", "train_fractions is a list of numbers above 0 and at most 1"),
        ("also = 3", "also holds blocks of axes, each below a line [[also]]"),
        ("[[also]]\nbackbone = ['x']", "unknown key 'backbone', there are backbones,"),
        ("[[also]]\nsettings.device = 'cpu'", "unknown key 'settings'"),
        ("[[also]]\nalso = []", "unknown key 'also'"),
        ("backbone = ['tiny']", "unknown key 'backbone', there are backbones,"),
        ("backbones = 'tiny'", "backbones is a list of names"),
        ("backbones = []", "backbones is a list of names"),
        ("targets = ['']", "targets is a list of names"),
        ("strategies = [1]", "strategies is a list of names"),
        ("weights = {}", "weights is a list of names"),
        ("auxiliaries = 'big'", "auxiliaries is a list of chains"),
        ("auxiliaries = [1]", "auxiliaries is a list of chains"),
        ("auxiliaries = [['big', 2]]", "auxiliaries is a list of chains"),
        ("seeds = 3", "seeds is a list of whole numbers"),
        ("seeds = [true]", "seeds is a list of whole numbers"),
        ("seeds = [-1]", "seeds is a list of whole numbers"),
        ("epochs = true", "epochs=True is no positive number"),
        ("epochs = 0", "epochs=0 is no positive number"),
        ("epochs = nan", "epochs=nan is no positive number"),
        ("epochs = inf", "epochs=inf is no positive number"),
        ("epochs = 'two'", "epochs='two' is no positive number"),
        ("recipe = 1", "recipe is a table"),
        ("recipe.lrr = 1", "no recipe value named 'lrr'"),
        ("recipe.lr = []", "lr is an empty list"),
        ("recipe.lr = [[0.1]]", "recipe value lr=[0.1]: a number is needed"),
        ("recipe.lr = true", "recipe value lr=True: a number is needed"),
        ("recipe.batch_size = 'many'", "batch_size=many: a whole number is needed"),
        ("recipe.stage0.lr = 1", "recipe key stage0.lr"),
        ("recipe.stage2.lr.x = 1", "recipe value lr={'x': 1}: a number is needed"),
        ("settings = 1", "settings holds text values"),
        ("settings.store = 1", "settings holds text values"),
        ("settings.stor = 'x'", "unknown setting 'stor', there are store, data, cache, cache_size, device, "),
        ("a = ", "is not TOML"),
        ("a = 1\na = 2", "is not TOML"),
    ],
)
def test_faults_of_a_file_name_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_matrix(path)
    assert caught.value.line.startswith(f"matrix file {path}") and message in caught.value.line


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "gone.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=f"matrix file {path}: {reason}"):
            read_matrix(path)
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(UsageError, match="is not TOML"):
        read_matrix(tmp_path / "latin.toml")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["lr", "grey", "x"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(
    table=st.dictionaries(
        st.sampled_from(
            ["backbones", "auxiliaries", "seeds", "epochs", "recipe", "settings", "also", "train_fractions", "x"]
        ),
        _VALUES,
        max_size=3,
    )
)
def test_any_table_is_a_matrix_or_one_line(table: dict[str, object]) -> None:
    path = mock.Mock(spec=Path)
    path.read_text.return_value = ""
    with mock.patch.object(tomllib, "loads", return_value=table):
        try:
            read_matrix(path)
        except FerbenchError as error:
            assert error.exit_code == 2
