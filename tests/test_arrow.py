"""Tables are written by pyarrow, pandas and `datasets` themselves, and read back by ferbench."""

from __future__ import annotations

import gc
import io
import json
import subprocess
import sys
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ferbench.data import arrow_files
from ferbench.data.arrow import ArrowTable, read_tables
from ferbench.data.arrow_columns import card_names
from ferbench.data.decoding import decode_each
from ferbench.data.trees import TreeFile, tree_files
from ferbench.errors import DatasetError

NAMES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
ROWS = 30
PIXELS = np.random.default_rng(0).integers(0, 256, (ROWS, 48, 48)).astype(np.uint8)
LABELS = [row % 7 for row in range(ROWS)]

datasets.disable_progress_bars()


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


PNGS = [png(pixels) for pixels in PIXELS]
STRUCTS = [{"bytes": data, "path": f"{row}.png"} for row, data in enumerate(PNGS)]
TEXTS = [" ".join(map(str, pixels.ravel())) for pixels in PIXELS]


def written(
    folder: Path, columns: dict[str, object] | pa.Table, name: str = "a.parquet", **options: int
) -> list[TreeFile]:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    if name.endswith(".parquet"):
        pq.write_table(table, folder / name, **options)
    else:
        kind = pa.ipc.new_file if name.endswith("file.arrow") else pa.ipc.new_stream
        with kind(folder / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=options.get("row_group_size"))
    return [file for file in tree_files(folder) if file.path.name == name]


def pixels_of(table: ArrowTable) -> np.ndarray:
    return np.stack([image[:, :, 0] for image in decode_each(table.images)])


def with_features(table: pa.Table, features: dict[str, object]) -> pa.Table:
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


# --- what it holds ----------------------------------------------------------------------------------------------------


def hub_table() -> datasets.Dataset:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    return datasets.Dataset.from_dict(
        {"image": [Image.fromarray(pixels) for pixels in PIXELS], "label": LABELS}, features=features
    )


def parquet_of_datasets(folder: Path) -> None:
    hub_table().to_parquet(folder / "a.parquet", batch_size=7)


def stream_of_datasets(folder: Path) -> None:
    hub_table().save_to_disk(folder)


def parquet_of_pandas(folder: Path) -> None:
    pd.DataFrame({"image": STRUCTS, "label": [NAMES[label] for label in LABELS]}).to_parquet(folder / "a.parquet")


def binary_column(folder: Path) -> None:
    written(
        folder, {"Emotion": pa.array([NAMES[i] for i in LABELS]).dictionary_encode(), "Img": PNGS}, row_group_size=4
    )


def large_types_in_the_file_format(folder: Path) -> None:
    names = pa.array([NAMES[label].upper() for label in LABELS], pa.large_string())
    written(folder, {"photo": pa.array(PNGS, pa.large_binary()), "class": names}, "a-file.arrow", row_group_size=11)


def one_struct_of_an_odd_name(folder: Path) -> None:
    written(folder, {"x": STRUCTS, "note": ["a"] * ROWS, "label_text": [NAMES[i] for i in LABELS], "label": LABELS})


@pytest.mark.parametrize(
    "write",
    [
        parquet_of_datasets,
        stream_of_datasets,
        parquet_of_pandas,
        binary_column,
        large_types_in_the_file_format,
        one_struct_of_an_odd_name,
    ],
)
def test_pictures_and_names_come_back_whatever_wrote_them(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    table = read_tables([file for file in tree_files(tmp_path) if file.path.suffix in (".parquet", ".arrow")])
    assert [name and name.lower() for name in table.class_names or ()] == [NAMES[label] for label in LABELS]
    assert (pixels_of(table) == PIXELS).all()
    assert table.splits is None
    assert table.groups is None


@pytest.mark.parametrize("pixels", [TEXTS, [p.ravel().tolist() for p in PIXELS], [p.tolist() for p in PIXELS]])
def test_pictures_as_numbers_are_48_by_48(tmp_path: Path, pixels: list[object]) -> None:
    files = written(tmp_path, {"emotion": LABELS, "pixels": pixels, "Usage": ["Training"] * 20 + ["PublicTest"] * 10})
    table = read_tables(files, FER2013)
    assert (pixels_of(table) == PIXELS).all()
    assert table.class_names == tuple(FER2013[label] for label in LABELS)
    assert table.splits == ("Training",) * 20 + ("PublicTest",) * 10


def test_rows_of_several_files_follow_each_other_with_groups_and_ids(tmp_path: Path) -> None:
    names = [NAMES[label] for label in LABELS]
    for number, part in enumerate((slice(0, 12), slice(12, ROWS))):
        columns = {"image": PNGS[part], "label": names[part], "Subject": LABELS[part], "id": list(range(ROWS))[part]}
        written(tmp_path, columns, f"{number}.parquet")
    table = read_tables(tree_files(tmp_path))
    assert (pixels_of(table) == PIXELS).all()
    assert table.groups == tuple(map(str, LABELS))
    assert table.ids == tuple(map(str, range(ROWS)))


def test_names_that_pictures_bear_are_ids(tmp_path: Path) -> None:
    table = read_tables(written(tmp_path, {"image": STRUCTS, "label": ["sad"] * ROWS}))
    assert table.ids == tuple(f"{row}.png" for row in range(ROWS))


def test_any_row_can_be_asked_for_in_any_order(tmp_path: Path) -> None:
    table = read_tables(written(tmp_path, {"image": PNGS, "label": ["sad"] * ROWS}, row_group_size=3))
    for row in np.random.default_rng(1).permutation(ROWS):
        assert table.images[row].read_bytes() == PNGS[row]


def test_a_parquet_file_inside_a_zip_is_read(tmp_path: Path) -> None:
    written(tmp_path, {"image": PNGS, "label": ["sad"] * ROWS})
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.parquet", "data/a.parquet")
    table = read_tables(tree_files(tmp_path / "a.zip"))
    assert (pixels_of(table) == PIXELS).all()
    assert str(table.images[4]).endswith("a.zip: data/a.parquet, row 5")


def test_paths_without_bytes_are_files_beside_the_table(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    for row in range(3):
        (tmp_path / f"faces/{row}.png").write_bytes(PNGS[row])
    images = [{"bytes": None, "path": f"faces/{row}.png"} for row in range(3)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    files = written(
        tmp_path, {"image": pa.array([*images, {"bytes": None, "path": "../x.png"}], kind), "label": ["sad"] * 4}
    )
    table = read_tables(files, beside=tree_files(tmp_path))
    assert [image.read_bytes() for image in table.images[:3]] == PNGS[:3]
    with pytest.raises(
        DatasetError, match=r"row 4: .* its path '../x.png' is no file beside it: save the dataset with"
    ):
        table.images[3].read_bytes()


# --- labels -----------------------------------------------------------------------------------------------------------

CARD = """---
license: mit
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '1': sad
          '0': happy
---
# Faces
"""


def test_the_card_beside_the_files_names_the_numbers(tmp_path: Path) -> None:
    files = written(tmp_path, {"image": PNGS[:3], "label": [1, 0, 1]})
    assert read_tables(files, card=CARD).class_names == ("sad", "happy", "sad")


@pytest.mark.parametrize(
    "card",
    [
        "",
        "# no head",
        "---\n[\n---\n",
        "---\ndataset_info: 3\n---\n",
        "---\n- 1\n---\n",
        CARD.replace("'1'", "'2'"),
        CARD.replace("'1'", "one"),
        "---\n" + "[" * 1200 + "\n---\n",
    ],
)
def test_a_card_without_names_is_passed_over(tmp_path: Path, card: str) -> None:
    files = written(tmp_path, {"image": PNGS[:3], "label": [1, 0, 1]})
    assert card_names(card) == {}
    with pytest.raises(
        DatasetError, match=r"row 1: label 1 of column 'label' has no name: neither the file nor a README"
    ):
        read_tables(files, card=card)


def test_a_card_of_several_configurations_counts_where_they_agree() -> None:
    info = "  features:\n  - name: label\n    dtype:\n      class_label:\n        names: [happy, {}]\n"
    item = info.replace("  features", "- features")
    cards = ["---\ndataset_info:\n" + item.format("sad") + item.format(second) + "---\n" for second in ("sad", "fear")]
    assert [card_names(card) for card in cards] == [{"label": ("happy", "sad")}, {}]


def test_the_files_own_names_go_before_given_ones_unless_they_are_numbers(tmp_path: Path) -> None:
    plain = pa.table({"image": PNGS[:3], "label": [0, 1, 1]})
    for names, expected in ((["sad", "happy"], ("sad", "happy", "happy")), (["3", "4"], ("happy", "sad", "sad"))):
        table = with_features(plain, {"label": {"names": names, "_type": "ClassLabel"}})
        assert read_tables(written(tmp_path, table), FER2013).class_names == expected


def test_numbers_as_text_or_as_fractions_go_by_the_given_names(tmp_path: Path) -> None:
    for labels in (["6", "0", " 3 "], [6.0, 0.0, 3.0]):
        files = written(tmp_path, {"image": PNGS[:3], "label": labels})
        assert read_tables(files, FER2013).class_names == ("neutral", "angry", "happy")


@pytest.mark.parametrize("labels", [[None, 1], [-1, 1], [float("nan"), 1.0], ["", "disgust"]])
def test_missing_labels_are_none(tmp_path: Path, labels: list[object]) -> None:
    files = written(tmp_path, {"image": PNGS[:2], "label": labels})
    assert read_tables(files, FER2013).class_names == (None, "disgust")


def test_a_table_without_labels_is_read_on_demand_alone(tmp_path: Path) -> None:
    files = written(tmp_path, {"image": PNGS, "note": ["a"] * ROWS})
    assert read_tables(files, unlabelled=True).class_names is None
    with pytest.raises(
        DatasetError, match=r"which column holds the labels .* there are image \(binary\), note \(string\)"
    ):
        read_tables(files)


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"label": [1]}, r"which column holds the pictures cannot be told.* there are label \(int64\)"),
        ({"a": [PNGS[0]], "b": [PNGS[1]], "label": ["sad"]}, r"pictures cannot be told.* a \(binary\), b \(binary\)"),
        ({"image": ["a.png"], "label": ["sad"]}, "pictures cannot be told"),
        ({"image": [PNGS[0]], "label": [[1, 0]]}, "labels cannot be told"),
        ({"image": [PNGS[0]], "label": [7]}, r"row 1: label 7 is none of 0 to 6 \(angry, disgust"),
        ({"image": [PNGS[0]], "label": [-2]}, "row 1: label -2 is neither a word nor"),
        ({"image": [PNGS[0]], "label": [0.5]}, r"row 1: label 0\.5 is neither"),
        (
            {"image": [PNGS[0], PNGS[1]], "label": ["sad", "sad"], "split": ["train", None]},
            "row 2: column 'split' is empty",
        ),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.string())}, "has no row"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(tmp_path: Path, columns: dict[str, object], line: str) -> None:
    with pytest.raises(DatasetError, match=line) as caught:
        read_tables(written(tmp_path, columns), FER2013)
    assert "a.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "line"),
    [
        (TEXTS[0].rpartition(" ")[0], r"row 1: 2303 pixels instead of 2304 \(48x48\)"),
        ("256 " + TEXTS[0].partition(" ")[2], "row 1: a pixel is no number from 0 to 255"),
        ("x " + TEXTS[0].partition(" ")[2], "row 1: pixel 'x' is no number from 0 to 255"),
        ("9" * 5000 + " " + TEXTS[0].partition(" ")[2], "row 1: a pixel is no number"),
        ("", "row 1: pixel '' is no number"),
    ],
)
def test_bad_pixels_are_named(tmp_path: Path, pixels: str, line: str) -> None:
    table = read_tables(written(tmp_path, {"pixels": [pixels], "label": ["sad"]}))
    with pytest.raises(DatasetError, match=line):
        table.images[0].read_bytes()


def test_a_row_without_a_picture_is_named(tmp_path: Path) -> None:
    table = read_tables(written(tmp_path, {"image": [PNGS[0], None], "label": ["sad", "sad"]}))
    with pytest.raises(DatasetError, match="row 2: there is no picture in column 'image'"):
        table.images[1].read_bytes()


# --- damage -----------------------------------------------------------------------------------------------------------


def read_all(file: Path) -> None:
    """Everything in a file, or DatasetError in one line."""
    try:
        table = read_tables(list(tree_files(file.parent)), FER2013)
        for image in table.images:
            image.read_bytes()
    except DatasetError as error:
        assert str(error).count("\n") == 0
        assert file.name in str(error)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from([b"", b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff"]), rest=st.binary(max_size=300))
def test_garbage_is_one_line(tmp_path: Path, start: bytes, rest: bytes) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(start + rest + (b"PAR1" if start == b"PAR1" else b""))
    read_all(file)


WHOLE: dict[str, bytes] = {}


@pytest.fixture(scope="module", autouse=True)
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("whole")
    columns = {"image": STRUCTS[:4], "label": ["sad", "happy", "sad", "fear"], "n": [1, 2, 3, 4]}
    for name in ("a.parquet", "a-file.arrow", "a.arrow"):
        written(folder, columns, name, row_group_size=2)
        WHOLE[name] = (folder / name).read_bytes()


@pytest.mark.parametrize("name", ["a.parquet", "a-file.arrow", "a.arrow"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_or_changed_file_is_read_or_refused_in_one_line(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray(WHOLE[name])
    # The head and the end hold what says where everything lies.
    place = st.one_of(st.integers(0, 900), st.integers(len(content) - 1200, len(content) - 1))
    for at, value in data.draw(st.lists(st.tuples(place, st.integers(0, 255)), max_size=4)):
        content[at] = value
    end = data.draw(st.one_of(st.just(len(content)), st.integers(1, len(content))))
    (tmp_path / name).write_bytes(content[:end])
    read_all(tmp_path / name)


def test_an_empty_file_and_no_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").touch()
    with pytest.raises(DatasetError, match=r"a\.parquet is empty: get it again"):
        read_tables(tree_files(tmp_path))
    with pytest.raises(DatasetError, match="there is no Parquet or Arrow file"):
        read_tables([])


def test_a_row_group_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_files, "_LARGE_GROUP", 1 << 20)
    table = pa.table({"image": [bytes(4_000_000)], "label": ["sad"]})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(DatasetError, match=r"row group 0 would unpack to 3 MB from \d+ bytes, as a bomb does"):
        read_tables(tree_files(tmp_path)).images[0].read_bytes()


def test_batches_that_swell_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_files, "_LARGE_GROUP", 1 << 20)
    table = pa.table({"image": [bytes(1_000_000)] * 9, "label": ["sad"] * 9})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=1)
    with pytest.raises(DatasetError, match=r"a\.arrow of \d+ bytes unpacks to more than 1 MB, as a bomb does"):
        read_tables(tree_files(tmp_path))


def test_what_is_kept_is_two_row_groups_whatever_the_number_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        written(tmp_path, {"image": PNGS, "label": ["sad"] * ROWS}, f"{number}.parquet", row_group_size=10)
    table = read_tables(tree_files(tmp_path))
    read: list[tuple[str, int]] = []
    whole = arrow_files._Parquet.group
    kept: list[weakref.ref[object]] = []

    def watched(self: arrow_files._Parquet, index: int, column: str, field: str | None = None) -> object:
        read.append((self.file.path.name, index))
        array = whole(self, index, column, field)
        kept.append(weakref.ref(array))
        return array

    monkeypatch.setattr(arrow_files._Parquet, "group", watched)
    assert [image.read_bytes() for image in table.images] == PNGS * 4
    assert read == [(f"{number}.parquet", index) for number in range(4) for index in range(3)]
    gc.collect()
    assert [reference() is not None for reference in kept] == [False] * 10 + [True] * 2


def test_a_dictionary_that_unfolds_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_files, "_LARGEST_GROUP", 32 << 20)
    files = written(tmp_path, {"image": [bytes(100_000)] * 1000, "label": ["sad"] * 1000})
    assert files[0].size < 100_000
    with pytest.raises(DatasetError, match=r"row group 0 has \d+ MB: write the file with smaller ones"):
        read_tables(files).images[0].read_bytes()


def test_without_pyarrow_the_line_says_what_to_install(tmp_path: Path) -> None:
    files = written(tmp_path, {"image": PNGS[:1], "label": ["sad"]})
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\n"
        "from ferbench.data.arrow import read_tables\n"
        "from ferbench.data.trees import tree_files\n"
        f"read_tables(tree_files(Path({str(tmp_path)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "DatasetError: " in done.stderr
    assert done.stderr.rstrip().endswith("which is not installed: pip install 'ferbench[arrow]'")
    assert str(files[0]) in done.stderr


def test_importing_the_reader_does_not_import_pyarrow() -> None:
    code = "import sys, ferbench.data.arrow; assert not {'pyarrow', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
