"""Manifests are written by the csv module and by hand, and read through the family as a run reads them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ferbench import Dataset
from ferbench.catalog import Catalog
from ferbench.data.roles import RoleReader
from ferbench.data.split_cache import SplitCache
from ferbench.errors import DatasetError, UnknownName, UsageError
from ferbench.plugin_source import Plugin
from ferbench.testing import check_dataset
from ferbench_plugins import manifest

(FAMILY,) = manifest.ferbench_register_datasets()

NOUNS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprise": "surprise",
    "neutral": "neutrality",
    "contempt": "contempt",
}
BASIC8 = tuple(NOUNS)


def resolved(path: Path) -> Dataset:
    return FAMILY.resolve(f"manifest:{path}")


def pictured(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 5), number, np.uint8)).save(path)


def listed(folder: Path, text: str, *, pictures: bool = True) -> Path:
    """A manifest of the text, and a picture for each `….png` in it."""
    path = folder / "faces.csv"
    path.write_bytes(text.encode())
    if pictures:
        words = text.replace(";", ",").replace("\t", ",").replace("\n", ",").replace('"', "").split(",")
        pictured(folder, *dict.fromkeys(word for word in words if word.endswith("g") and word[-5:-4].isalnum()))
    return path


PLAIN = """path,label,split,group
a/1.png,Happy,train,ann
a/2.png,sadness,TRAIN,bob
b/3.png,HAPPINESS,valid,cid
b/4.png,contempt,test,dan
"""


def test_a_manifest_is_read_with_labels_by_name_splits_and_groups(tmp_path: Path) -> None:
    dataset = resolved(listed(tmp_path, PLAIN))
    assert dataset.classes == ("happy", "sad", "contempt")
    assert dataset.splits == ("train", "val", "test")
    assert dict(dataset.roles) == {"train": "train", "select": "val", "report": "test"}
    root = dataset.locate(Path("/nowhere"))
    assert root == tmp_path
    train = dataset.load("train", root)
    assert train.ids == ("a/1.png", "a/2.png")
    assert train.groups == ("ann", "bob")
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1]
    assert list(map(str, train.images)) == [str(tmp_path / "a/1.png"), str(tmp_path / "a/2.png")]
    assert dataset.load("test", root).ids == ("b/4.png",)


def test_the_conformance_suite_has_nothing_to_say(tmp_path: Path) -> None:
    path = listed(tmp_path, PLAIN)
    check_dataset(resolved(path), tmp_path, prefix="manifest:")


def test_without_a_split_column_all_is_one_split(tmp_path: Path) -> None:
    dataset = resolved(listed(tmp_path, "path,label\n1.png,fear\n2.png,joy\n"))
    assert (dataset.splits, dict(dataset.roles)) == (("all",), {"train": "all"})
    assert dataset.load("all", tmp_path).ids == ("1.png", "2.png")


def test_labels_of_the_whole_of_test_may_be_withheld(tmp_path: Path) -> None:
    dataset = resolved(listed(tmp_path, "path,label,split\n1.png,fear,train\n2.png,joy,train\n3.png,,test\n"))
    assert dataset.load("test", tmp_path).labels is None
    assert dataset.load("train", tmp_path).labels is not None


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_spreadsheets_write_is_read(tmp_path: Path, delimiter: str, line_end: str, mark: str) -> None:
    text = "\n".join(["Label,Remark,PATH,Split", 'joy,"a, b","x, y/1.png",train', "", 'fear,"two\nlines",2.png,Train'])
    rows = list(csv.reader(io.StringIO(text)))
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(rows)
    pictured(tmp_path, "x, y/1.png", "2.png")
    dataset = resolved(listed(tmp_path, mark + stream.getvalue(), pictures=False))
    assert dataset.load("train", tmp_path).ids == ("x, y/1.png", "2.png")


def test_paths_are_told_apart_in_their_plainest_form(tmp_path: Path) -> None:
    pictured(tmp_path, "a/1.png", "a/2.png")
    text = "path,label\n./a//1.png,joy\na\\2.png,fear\n"
    assert resolved(listed(tmp_path, text, pictures=False)).load("all", tmp_path).ids == ("a/1.png", "a/2.png")
    with pytest.raises(DatasetError, match=r"row 3: 'a/1.png' is in row 2 already: leave one"):
        resolved(listed(tmp_path, "path,label\na/1.png,joy\na/../a/1.png,joy\n", pictures=False))


# --- any table --------------------------------------------------------------------------------------------------------

cell = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8)
file_name = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters='/\\:.~" '), min_size=1, max_size=8
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_table_comes_back_whatever_its_order_case_and_quoting(tmp_path: Path, data: st.DataObject) -> None:
    names = data.draw(st.lists(file_name, min_size=2, max_size=8, unique=True))
    labels = ["happy", "sad", *(data.draw(st.sampled_from(BASIC8)) for _ in names[2:])]
    splits = [data.draw(st.sampled_from(("train", "val", "test"))) for _ in names]
    groups = [data.draw(cell.filter(str.strip)).strip() for _ in names]
    spelled = {
        "path": [f"d/{name}.png" for name in names],
        "label": [data.draw(st.sampled_from((each, NOUNS[each], each.upper(), f" {each} "))) for each in labels],
        "split": [data.draw(st.sampled_from((each, each.upper(), f"{each} "))) for each in splits],
        "group": groups,
        "remark": [data.draw(cell) for _ in names],
    }
    order = data.draw(st.permutations(list(spelled)))
    header = [data.draw(st.sampled_from((each, each.upper(), each.title(), f" {each}"))) for each in order]
    quoting = data.draw(st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)))
    delimiter = data.draw(st.sampled_from(",;\t"))
    path = tmp_path / "any.csv"
    with path.open("w", encoding=data.draw(st.sampled_from(("utf-8", "utf-8-sig"))), newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter, quoting=quoting)
        writer.writerow(header)
        writer.writerows(zip(*(spelled[each] for each in order), strict=True))
    read = [(row.path, row.label, row.split, row.group) for row in manifest.read_manifest(path)]
    assert read == list(zip(spelled["path"], labels, splits, groups, strict=True))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(b"path,label,split\na,joy,train\nb,".__add__)))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    try:
        manifest.read_manifest(path)
    except DatasetError as error:
        assert str(error).startswith(str(path))
        assert len(error.line) < 600


# --- faults -----------------------------------------------------------------------------------------------------------

HEAD = "path,label,split\n1.png,joy,train\n2.png,fear,train\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "faces.csv is empty: its first row must name the columns path, label, split, group"),
        ("\n\n", "is empty"),
        ("path,label\n", "has a header and no row below it"),
        ("path,emotion\n1.png,joy\n", "row 1: there is no column label, only 'path', 'emotion'"),
        ("1.png,joy,train\n", "row 1: there is no column path and none label, only '1.png', 'joy', 'train'"),
        ("path,label,Path\n1.png,joy,1.png\n", "row 1: column 'path' is there twice"),
        (HEAD + "3.png,joy,holdout\n", r"row 4: split 'holdout' is unknown: there are train, val \(or valid"),
        (HEAD + "3.png,joy,\n", "row 4: split '' is unknown"),
        (HEAD + "3.png,bored,train\n", "row 4: label 'bored' is no expression: there are angry, disgust, fear, happy"),
        (HEAD + "3.png,3,train\n", "row 4: label '3' is no expression"),
        (HEAD + "\n\n3.png,bored,train\n", "row 6: label 'bored'"),
        (HEAD + '"3\n.png",joy,train\n', "row 4: path .* holds a control character"),
        (HEAD + "3.png,joy\n", "row 4: 2 fields where the header has 3: complete the row"),
        (HEAD + "3,x.png,joy,train\n", "row 4: 4 fields where the header has 3: put fields with commas into quotes"),
        (HEAD + "1.png,joy,train\n", "row 4: '1.png' is in row 2 already: leave one of them out"),
        (HEAD + "1.png,joy,test\n", "row 4: '1.png' is in row 2 already, there in split train and here in test"),
        (HEAD + ",joy,train\n", "row 4: path is empty"),
        (HEAD + "../3.png,joy,train\n", r"row 4: path '../3.png' leads out of .*: put the manifest above its pictures"),
        (HEAD + "/a/3.png,joy,train\n", "row 4: path '/a/3.png' leads out"),
        (HEAD + "C:\\3.png,joy,train\n", "row 4: path .* leads out"),
        (HEAD + "a/..,joy,train\n", r"row 4: .*/\. is a folder|row 4: .* is a folder: name a picture"),
        (HEAD + "3.png,,train\n", "row 4: label is empty: name an expression; test alone may be without labels"),
        (
            HEAD + "3.png,joy,test\n4.png,,test\n",
            "row 5: label is empty, while row 4 of test has one: label all of test",
        ),
        ("path,label,group\n1.png,joy,ann\n2.png,fear,\n", "row 3: group is empty: name its subject or film"),
        ("path,label\n1.png,joy\n2.png,happy\n", r"faces.csv has one class alone \(happy\): at least two"),
        ("path,label,split\n1.png,,test\n", "has no label at all"),
        (HEAD + '"3.png,joy,train\n4.png,joy,train\n', "row 4: unexpected end of data: is a quote not closed"),
        (HEAD + '"3.png"x,joy,train\n', "row 4: .*: is a quote not closed, or within a text"),
        (HEAD + "x" * 2_000_000, "row 4: the line is longer than 1048576 characters: is this a CSV file"),
        (HEAD + "x" * 200_000 + "\n", "row 4: field larger than field limit"),
        (HEAD + "," * 5000 + "x\n", "row 4: 5001 fields where the header has 3"),
    ],
)
def test_a_fault_is_one_line_with_row_and_value(tmp_path: Path, text: str, line: str) -> None:
    path = listed(tmp_path, text)
    with pytest.raises(DatasetError, match=line) as caught:
        resolved(path).load("train", tmp_path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (HEAD.encode() + b"3\xe4.png,joy,train\n", "row 4: byte 0xe4 is not UTF-8: save the file as CSV in UTF-8"),
        (HEAD.encode("utf-16"), "row 1: byte 0xff is not UTF-8"),
    ],
)
def test_a_file_that_is_not_utf8_is_one_line(tmp_path: Path, content: bytes, line: str) -> None:
    (tmp_path / "faces.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=line):
        resolved(tmp_path / "faces.csv")


def test_pictures_that_are_not_there_are_counted_and_the_first_named(tmp_path: Path) -> None:
    path = listed(tmp_path, HEAD + "3.png,joy,test\n")
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").unlink()
    dataset = resolved(path)
    with pytest.raises(
        DatasetError, match=r"row 2: picture .*1\.png does not exist \(and 1 more are not there\): correct"
    ):
        dataset.load("train", tmp_path)
    assert dataset.load("test", tmp_path).ids == ("3.png",)


def test_links_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "mine"
    pictured(tmp_path, "out.png", "away/2.png", "mine/real/1.png")
    (inside / "1.png").symlink_to("real/1.png")
    (inside / "2.png").symlink_to(tmp_path / "out.png")
    (inside / "linked").symlink_to(tmp_path / "away")
    for second, row in (("2.png", "2.png"), ("linked/2.png", "linked/2.png")):
        path = listed(inside, f"path,label,split\n1.png,joy,val\n{second},fear,train\n", pictures=False)
        dataset = resolved(path)
        assert dataset.load("val", inside).ids == ("1.png",)
        with pytest.raises(DatasetError, match=rf"row 3: .*{row} is a link that leads out of .*: put a copy there"):
            dataset.load("train", inside)


# --- within the house -------------------------------------------------------------------------------------------------


def catalog() -> Catalog:
    found = Catalog()
    found.add(Plugin("manifest", "test", manifest))
    return found


def test_files_are_named_from_the_working_folder_and_splits_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(tmp_path, PLAIN)
    monkeypatch.chdir(tmp_path)
    find = catalog().dataset
    reader = RoleReader(find, tmp_path, tmp_path / "cache")
    assert find("manifest:faces.csv").name == "manifest:faces.csv"
    assert reader.report("manifest:faces.csv:val", "basic8").ids == ("b/3.png",)
    assert reader.train("manifest:faces.csv", "basic8").groups is not None
    for name, line in (
        ("manifest:gone.csv", "no dataset named 'manifest:gone.csv': there is no file .*gone.csv"),
        ("manifest:gone.csv:val", "there is no file .*gone.csv"),
        ("manifest:.", "is a folder, name the CSV file in it"),
        ("manifest:", "write a path after manifest:"),
        ("manifest:~no-such-user/faces.csv", "'~no-such-user/faces.csv' cannot be looked for"),
        ("manifest:" + "x" * 5000, "cannot be looked for .*File name too long"),
    ):
        with pytest.raises(UnknownName, match=line):
            reader.train(name)


def test_a_decoded_split_is_kept_until_the_manifest_or_one_of_its_pictures_changes(tmp_path: Path) -> None:
    path = listed(tmp_path, PLAIN)
    loads: list[str] = []

    def digests(split: str) -> tuple[str, ...]:
        dataset = resolved(path)
        stored = SplitCache(tmp_path / "cache").split(dataset, tmp_path, split)
        loads[:] = [str(each) for each in sorted((tmp_path / "cache/splits").iterdir())]
        return stored.digests

    first = digests("train")
    (tmp_path / "results.txt").touch()
    pictured(tmp_path, "b/unlisted.png")
    assert digests("train") == first
    assert len(loads) == 1
    Image.fromarray(np.full((7, 7), 200, np.uint8)).save(tmp_path / "a/1.png")
    assert digests("train") != first
    assert len(loads) == 2
    path.write_text(PLAIN.replace("Happy", "fear"), "utf-8")
    digests("train")
    assert len(loads) == 3


def test_two_manifests_of_one_folder_are_two_datasets(bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    rows = {"one.csv": range(20), "two.csv": range(20, 40)}
    for number in range(40):
        Image.new("L", (4, 4), number * 6).save(tmp_path / f"{number}.png")
    for file, numbers in rows.items():
        lines = [f"{number}.png,{('happy', 'sad')[number % 2]}" for number in numbers]
        (tmp_path / file).write_text("\n".join(["path,label", *lines]) + "\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    axes = {"targets": ("manifest:one.csv:hold-out",), "recipe": {"images_seen": 64, "batch_size": 8, "image_size": 12}}
    assert len(bench.run("cascade", auxiliaries=(("manifest:two.csv",),), **axes).finished) == 1
    with pytest.raises(UsageError, match=r"manifest:one\.csv is the target and, as manifest:\./one\.csv, an auxiliary"):
        bench.run("cascade", auxiliaries=(("manifest:./one.csv",),), **axes)
