"""Folders are written by the real `datasets`, read without it, and compared sample by sample."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCardData
from PIL import Image

from ferbench import Dataset as FerDataset
from ferbench.catalog import Catalog
from ferbench.data.decoding import decode_each
from ferbench.data.roles import RoleReader
from ferbench.errors import DatasetError, UnknownName
from ferbench.plugin_source import Plugin
from ferbench.testing import check_dataset
from ferbench_plugins import hf_dataset

(FAMILY,) = hf_dataset.ferbench_register_datasets()

NAMES = ("anger", "happiness", "sad", "contempt")
OURS = {"anger": "angry", "happiness": "happy", "sad": "sad", "contempt": "contempt"}
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (40, 9, 8, 3)).astype(np.uint8)
LABELS = [row % 3 for row in range(40)]

datasets.disable_progress_bars()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def resolved(folder: Path) -> FerDataset:
    return FAMILY.resolve(f"hfds:{folder}")


def made(rows: slice = slice(None), *, label: Any = None, **columns: list[object]) -> datasets.Dataset:
    """Rows of the 40 pictures; labels are a ClassLabel unless another feature is given."""
    labels: list[object] = LABELS[rows] if label is None else [NAMES[each] for each in LABELS[rows]]
    features = {"image": datasets.Image(), "label": label or datasets.ClassLabel(names=list(NAMES))}
    features |= {name: datasets.Value("string") for name in columns}
    images = [Image.fromarray(pixels) for pixels in PIXELS[rows]]
    return datasets.Dataset.from_dict(
        {"image": images, "label": labels, **columns}, features=datasets.Features(features)
    )


def samples(folder: Path, split: str) -> Iterator[tuple[bytes, str]]:
    """Pixels and expression of each sample as ferbench reads it."""
    dataset = resolved(folder)
    loaded = dataset.load(split, folder)
    assert loaded.labels is not None
    assert len(set(loaded.ids)) == len(loaded.ids)
    assert not isinstance(loaded.images, np.ndarray)
    for pixels, label in zip(decode_each(loaded.images), loaded.labels, strict=True):
        yield pixels.tobytes(), dataset.classes[label]


def as_datasets_reads(dataset: datasets.Dataset) -> Iterator[tuple[bytes, str]]:
    """The same from `datasets` itself."""
    for row in dataset:
        label = row["label"]
        word = dataset.features["label"].int2str(label) if isinstance(label, int) else label
        yield np.asarray(row["image"].convert("RGB")).tobytes(), OURS[word]


# --- saved ------------------------------------------------------------------------------------------------------------


def test_saved_splits_are_read_sample_by_sample(tmp_path: Path) -> None:
    whole = datasets.DatasetDict(
        train=made(slice(0, 24)),
        validation=made(slice(24, 30)),
        test=made(slice(30, 40), label=datasets.Value("string")),
    )
    whole.save_to_disk(tmp_path)
    dataset = resolved(tmp_path)
    assert dataset.classes == ("angry", "happy", "sad")
    assert dataset.splits == ("train", "val", "test")
    assert dict(dataset.roles) == {"train": "train", "select": "val", "report": "test"}
    again = datasets.load_from_disk(str(tmp_path))
    for ours, theirs in (("train", "train"), ("val", "validation"), ("test", "test")):
        assert list(samples(tmp_path, ours)) == list(as_datasets_reads(again[theirs]))
    check_dataset(dataset, tmp_path, prefix="hfds:")


def test_filtered_and_shuffled_rows_come_in_their_order_from_several_files(tmp_path: Path) -> None:
    chosen = made().shuffle(seed=3).filter(lambda row: row["label"] != 1)
    chosen.save_to_disk(tmp_path, num_shards=3)
    assert len(list(tmp_path.glob("data-*.arrow"))) == 3
    expected = list(as_datasets_reads(chosen))
    assert len(expected) == sum(label != 1 for label in LABELS)
    assert list(samples(tmp_path, "all")) == expected
    assert resolved(tmp_path).classes == ("angry", "sad")


def test_pictures_that_were_files_are_inside_what_was_saved(tmp_path: Path) -> None:
    for row in range(6):
        Image.fromarray(PIXELS[row]).save(tmp_path / f"{row}.png")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    files = [str(tmp_path / f"{row}.png") for row in range(6)]
    datasets.Dataset.from_dict({"image": files, "label": LABELS[:6]}, features=features).save_to_disk(
        tmp_path / "saved"
    )
    for file in files:
        Path(file).unlink()
    assert [pixels for pixels, _ in samples(tmp_path / "saved", "all")] == [each.tobytes() for each in PIXELS[:6]]
    assert resolved(tmp_path / "saved").load("all", tmp_path).ids == tuple(f"{row}.png" for row in range(6))


def test_one_saved_split_keeps_its_name_if_it_has_one(tmp_path: Path) -> None:
    made().to_parquet(tmp_path / "p.parquet")
    loaded = datasets.load_dataset("parquet", data_files={"train": str(tmp_path / "p.parquet")}, split="train")
    loaded.save_to_disk(tmp_path / "saved")
    assert resolved(tmp_path / "saved").splits == ("train",)
    assert list(samples(tmp_path / "saved", "train")) == list(as_datasets_reads(made()))


def test_a_split_column_and_a_subject_column_are_used(tmp_path: Path) -> None:
    words = ["Train", "valid", "test", "train"] * 10
    made(split=words, subject=[f"s{row % 5}" for row in range(40)]).save_to_disk(tmp_path)
    dataset = resolved(tmp_path)
    assert dataset.splits == ("train", "val", "test")
    loaded = dataset.load("val", tmp_path)
    assert loaded.groups == tuple(f"s{row % 5}" for row in range(40) if row % 4 == 1)
    assert [pixels for pixels, _ in samples(tmp_path, "val")] == [PIXELS[row].tobytes() for row in range(1, 40, 4)]


# --- copies of the hub ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        (
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/validation-00000-of-00001.parquet",
        ),
        ("train/0000.parquet", "train/0001.parquet", "valid/0000.parquet"),
        ("fer_train_0.parquet", "fer_train_1.parquet", "fer_dev.parquet"),
    ],
)
def test_parquet_files_tell_their_split_by_name_or_folder(tmp_path: Path, names: tuple[str, ...]) -> None:
    parts = (slice(0, 10), slice(10, 24), slice(24, 40))
    for name, part in zip(names, parts, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        made(part).to_parquet(tmp_path / name)
    assert dict(resolved(tmp_path).roles) == {"train": "train", "report": "val"}
    assert list(samples(tmp_path, "train")) == list(as_datasets_reads(made(slice(0, 24))))
    assert list(samples(tmp_path, "val")) == list(as_datasets_reads(made(slice(24, 40))))


def test_the_cache_of_datasets_itself_is_read(tmp_path: Path) -> None:
    made().to_parquet(tmp_path / "p.parquet")
    files = {"train": str(tmp_path / "p.parquet"), "test": str(tmp_path / "p.parquet")}
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    (folder,) = {file.parent for file in (tmp_path / "cache").rglob("*-train.arrow")}
    assert resolved(folder).splits == ("train", "test")
    assert list(samples(folder, "test")) == list(as_datasets_reads(made()))


def test_the_card_names_the_classes_of_a_copy_without_metadata(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    info = datasets.DatasetInfo(features=features)
    card = DatasetCardData()
    datasets.info.DatasetInfosDict(default=info).to_dataset_card_data(card)
    (tmp_path / "README.md").write_text(f"---\n{card}\n---\n# Faces\n", "utf-8")
    made().to_parquet(tmp_path / "with.parquet")
    pq.write_table(pq.read_table(tmp_path / "with.parquet").replace_schema_metadata(None), tmp_path / "train.parquet")
    (tmp_path / "with.parquet").unlink()
    assert list(samples(tmp_path, "train")) == list(as_datasets_reads(made()))


@pytest.mark.parametrize("withheld", ["column", "minus one"])
def test_labels_of_test_may_be_withheld(tmp_path: Path, withheld: str) -> None:
    made(slice(0, 20)).to_parquet(tmp_path / "train.parquet")
    test = made(slice(20, 40)).remove_columns("label")
    if withheld == "minus one":
        test = test.add_column("label", [-1] * 20)
    test.to_parquet(tmp_path / "test.parquet")
    assert resolved(tmp_path).load("test", tmp_path).labels is None
    shutil.move(tmp_path / "test.parquet", tmp_path / "val.parquet")
    line = "which column holds the labels" if withheld == "column" else "val.parquet, row 1: the label is missing: test"
    with pytest.raises(DatasetError, match=line):
        resolved(tmp_path)


# --- faults -----------------------------------------------------------------------------------------------------------


def test_classes_that_are_no_expressions_are_named(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["sad", "cat", "dog"])})
    images = [Image.fromarray(pixels) for pixels in PIXELS[:4]]
    datasets.Dataset.from_dict({"image": images, "label": [0, 2, 1, 0]}, features=features).save_to_disk(tmp_path)
    with pytest.raises(
        DatasetError, match=r"row 2: class 'dog' is no expression: there are angry, .* leave out cat, dog"
    ):
        resolved(tmp_path)


def test_one_class_is_too_few(tmp_path: Path) -> None:
    made().filter(lambda row: row["label"] == 1).save_to_disk(tmp_path)
    with pytest.raises(DatasetError, match=r"has one class alone \(happy\): at least two"):
        resolved(tmp_path)


def test_splits_that_are_none_are_named(tmp_path: Path) -> None:
    datasets.DatasetDict(train=made(), holdout=made()).save_to_disk(tmp_path / "saved")
    with pytest.raises(DatasetError, match=r"dataset_dict.json: split 'holdout' is unknown"):
        resolved(tmp_path / "saved")
    made(split=["holdout"] * 40).save_to_disk(tmp_path / "column")
    with pytest.raises(DatasetError, match="row 1: split 'holdout' is unknown: there are train, val"):
        resolved(tmp_path / "column")


def test_files_that_do_not_tell_their_split_beside_others_are_named(tmp_path: Path) -> None:
    made().to_parquet(tmp_path / "train.parquet")
    made().to_parquet(tmp_path / "more.parquet")
    with pytest.raises(DatasetError, match=r"more\.parquet: neither its name nor its folder says train, validation or"):
        resolved(tmp_path)


def test_several_versions_of_one_split_are_not_mixed(tmp_path: Path) -> None:
    for folder in ("cropped", "full"):
        (tmp_path / folder).mkdir()
        made().to_parquet(tmp_path / folder / "train.parquet")
    with pytest.raises(DatasetError, match=r"holds train in several folders, .*: cropped, full; name one of them"):
        resolved(tmp_path)
    assert len(list(samples(tmp_path / "full", "train"))) == 40


def test_a_copy_that_is_not_whole_is_one_line(tmp_path: Path) -> None:
    datasets.DatasetDict(train=made(), test=made()).save_to_disk(tmp_path)
    data = tmp_path / "test/data-00000-of-00001.arrow"
    whole = data.read_bytes()
    for change, line in (
        (lambda: data.write_bytes(whole[: len(whole) // 2]), "data-00000-of-00001.arrow is no Parquet or Arrow table"),
        (lambda: data.write_bytes(b""), "data-00000-of-00001.arrow is empty"),
        (data.unlink, "test/data-00000-of-00001.arrow does not exist: the copy of the data is incomplete"),
        ((tmp_path / "test/state.json").unlink, "test/state.json does not exist"),
        (lambda: (tmp_path / "dataset_dict.json").write_text('{"splits": 3}'), "dataset_dict.json names no splits"),
        (lambda: (tmp_path / "dataset_dict.json").write_text("[" * 100_000), "dataset_dict.json is no JSON"),
    ):
        change()
        with pytest.raises(DatasetError, match=line) as caught:
            resolved(tmp_path)
        assert "\n" not in str(caught.value)


def test_what_old_versions_saved_with_indices_apart_is_refused(tmp_path: Path) -> None:
    made().save_to_disk(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text("utf-8"))
    (tmp_path / "state.json").write_text(json.dumps(state | {"_indices_data_files": [{"filename": "indices.arrow"}]}))
    with pytest.raises(DatasetError, match="keeps a choice of rows apart, as old versions did: save it again"):
        resolved(tmp_path)


def test_a_folder_without_tables_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(
        DatasetError, match=r"holds no saved dataset .* and no \.parquet or \.arrow file: name the folder"
    ):
        resolved(tmp_path)


def test_a_pickle_in_the_metadata_is_never_run(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    metadata = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": b"cos\nabort\n(tR."}
    schema = pa.schema([pa.field("image", kind, metadata=metadata), pa.field("label", pa.string())])
    rows = [{"bytes": b"x", "path": None}] * 2
    pq.write_table(
        pa.table([pa.array(rows, kind), pa.array(["sad", "happy"])], schema=schema), tmp_path / "train.parquet"
    )
    assert resolved(tmp_path).load("train", tmp_path).images[0].read_bytes() == b"x"


# --- within the house -------------------------------------------------------------------------------------------------


def test_folders_are_named_from_the_working_folder_and_splits_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets.DatasetDict(train=made(slice(0, 30)), test=made(slice(30, 40))).save_to_disk(tmp_path / "saved")
    monkeypatch.chdir(tmp_path)
    catalog = Catalog()
    catalog.add(Plugin("hf_dataset", "test", hf_dataset))
    reader = RoleReader(catalog.dataset, tmp_path, tmp_path / "cache")
    assert reader.report("hfds:saved").count == 10
    assert catalog.dataset("hfds:saved/").name == "hfds:saved"
    assert reader.train("hfds:saved:train+select").count == 30
    assert reader.train("hfds:saved").count + reader.select("hfds:saved").count == 30
    (tmp_path / "file").touch()
    for name, line in (
        ("hfds:gone", "no dataset named 'hfds:gone': there is no folder .*gone"),
        ("hfds:gone:val", "there is no folder .*gone"),
        ("hfds:file", "file is a file, name its folder"),
        ("hfds:", "write a path after hfds:"),
        ("hfds:~no-such-user/saved", "'~no-such-user/saved' cannot be looked for"),
        ("hfds:" + "x" * 5000, "cannot be looked for .*File name too long"),
    ):
        with pytest.raises(UnknownName, match=line):
            reader.train(name)
