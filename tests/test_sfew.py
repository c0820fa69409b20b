"""SFEW's reader on copies in every layout; independent of it are the counts as printed and the names as made here."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path, PurePath

import fake_sfew
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ferbench.components import Samples
from ferbench.data import decoding
from ferbench.data.decoding import decode_each
from ferbench.data.roles import RoleReader
from ferbench.errors import DatasetError, SplitMissing
from ferbench.expressions import alignment, label_set
from ferbench_plugins import sfew
from ferbench_plugins.sfew.copies import told_split
from ferbench_plugins.sfew.samples import movie

(DATASET,) = sfew.ferbench_register_datasets()

FEW = {"Happy": 3, "Angry": 2, "Sad": 2}


def make_split(folder: Path, counts: dict[str, int], split: str = "Val") -> None:
    fake_sfew.write(folder, split, fake_sfew.plain, counts)


def zipped(folder: Path, to: Path) -> None:
    """The content of a folder as a zip, folders and all."""
    with zipfile.ZipFile(to, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a copy that has the published counts."""
    data_folder = tmp_path_factory.mktemp("data")
    for split in ("Train", "Val", "Test"):
        fake_sfew.write(data_folder / "SFEW" / split / f"{split}_Aligned_Faces", split, fake_sfew.plain)
    return data_folder


def test_counts_are_those_of_the_aligned_faces() -> None:
    assert {split: dict(DATASET.counts[split]) for split in ("Train", "Val")} == {
        split: fake_sfew.published(split) for split in ("Train", "Val")
    }
    assert [sum(DATASET.counts[split].values()) for split in ("Train", "Val")] == [891, 431]
    assert DATASET.splits == ("Train", "Val", "Test")
    assert "Test" not in DATASET.counts


def test_val_is_reported_and_nothing_selects() -> None:
    assert dict(DATASET.roles) == {"train": "Train", "report": "Val"}
    assert DATASET.default_for == "target"
    assert "agreement" in DATASET.licence


@pytest.mark.parametrize("split", ["Train", "Val"])
def test_a_whole_copy_is_read_and_told_from_the_frames(whole: Path, split: str) -> None:
    root = DATASET.locate(whole)
    assert root == whole / "SFEW"
    samples = DATASET.load(split, root)
    (said,) = samples.warnings
    aligned, frames = {"Train": (891, 958), "Val": (431, 436)}[split]
    assert f"these are the {aligned} aligned faces; published numbers mix them with all {frames} frames" in said
    assert samples.labels is not None
    assert samples.labels.dtype == np.int64
    assert np.bincount(samples.labels).tolist() == list(fake_sfew.PUBLISHED[split])
    made = {f"{face.name}/{face.file_name}": face for face in fake_sfew.faces(split)}
    assert sorted(samples.ids) == sorted(made)
    assert samples.groups == tuple(made[identifier].film for identifier in samples.ids)
    for label, identifier in zip(samples.labels, samples.ids, strict=True):
        assert made[identifier].name == DATASET.classes[label]
    assert_pixels(samples, [made[identifier] for identifier in samples.ids])


def assert_pixels(samples: Samples, made: list[fake_sfew.Face]) -> None:
    """Each picture's colour is that of the face it was made for."""
    for image, face in zip(decode_each(samples.images), made, strict=True):
        assert image[0, 0].tolist() == [face.index % 256, face.index // 256, len(face.split) * 40]


def test_test_has_no_labels_and_the_file_names_for_ids(whole: Path) -> None:
    samples = DATASET.load("Test", whole / "SFEW")
    made = {face.file_name: face for face in fake_sfew.faces("Test")}
    assert samples.labels is None
    assert samples.warnings == ()
    assert len(samples.ids) == 372
    assert sorted(samples.ids) == sorted(made)
    assert samples.groups == tuple(made[identifier].film for identifier in samples.ids)


def test_every_picture_is_decoded_once(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    plain = decoding._decoded

    def counted(image: object, absent: str) -> object:
        decoded.append(str(image))
        return plain(image, absent)  # type: ignore[arg-type]

    monkeypatch.setattr(decoding, "_decoded", counted)

    def sizes() -> list[int]:
        reader = RoleReader(lambda name: DATASET, whole, tmp_path / "cache")
        return [reader.train("sfew").count, reader.select("sfew").count, reader.report("sfew").count]

    first = sizes()
    assert first[0] + first[1] == 891
    assert first[2] == 431
    assert len(decoded) == len(set(decoded)) == 891 + 431
    assert sizes() == first
    assert len(decoded) == 891 + 431


def test_a_hold_out_of_films_never_shares_one_with_train(whole: Path, tmp_path: Path) -> None:
    reader = RoleReader(lambda name: DATASET, whole, tmp_path / "cache")
    train, select = reader.train("sfew").groups, reader.select("sfew").groups
    assert train is not None
    assert select is not None
    assert not set(train) & set(select)


LAYOUTS: dict[str, Callable[[Path], None]] = {}


def layout(name: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def keep(make: Callable[[Path], None]) -> Callable[[Path], None]:
        LAYOUTS[name] = make
        return make

    return keep


def laid_out(pattern: str, test: str = "") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for split in ("Train", "Val"):
            fake_sfew.write(root / pattern.format(split), split, fake_sfew.plain, FEW)
        if test:
            fake_sfew.write(root / test, "Test", fake_sfew.plain)

    return make


LAYOUTS["aligned below"] = laid_out("{0}/{0}_Aligned_Faces", "Test/Test_Aligned_Faces")
LAYOUTS["aligned side by side"] = laid_out("{0}_Aligned_Faces", "Test_Aligned_Faces")
LAYOUTS["newer zips' names"] = laid_out("SFEW_2/{0}/{0}_Aligned_Faces_new", "SFEW_2/Test/Test_Aligned_Faces")
LAYOUTS["plain"] = laid_out("{0}", "Test")
LAYOUTS["numbered"] = laid_out("{0}_SFEW_2_0", "Test_SFEW_2_0")


@layout("doubled")
def doubled(root: Path) -> None:
    laid_out("Final_SFEW_2_{0}", "Final_SFEW_2_Test")(root)
    for split in ("Train", "Val"):
        for name in FEW:
            folder = root / f"Final_SFEW_2_{split}" / name
            inner = folder.rename(folder.with_name("once"))
            folder.mkdir()
            inner.rename(folder / name)


@layout("csv")
def with_csv(root: Path) -> None:
    rows = ["image_name,label,emotion,original_split"]
    (root / "sfew2.0_images").mkdir(parents=True)
    for split in ("Test", "Val", "Train"):
        for face in fake_sfew.faces(split, None if split == "Test" else FEW):
            (root / "sfew2.0_images" / face.file_name).write_bytes(fake_sfew.plain(face))
            told = ",".join(("", "") if split == "Test" else ("9", face.name.upper()))
            rows.append(f"{face.file_name},{told},{split}_Aligned_Faces")
    (root / "sfew_2.0_labels.csv").write_text("\ufeff" + "\r\n".join(rows), "utf-8")


@pytest.mark.parametrize("pack", ["folders", "one zip", "a zip beside the folder", "a zip a split"])
@pytest.mark.parametrize("name", list(LAYOUTS))
def test_every_layout_gives_the_same_samples(name: str, pack: str, tmp_path: Path) -> None:
    made, root = tmp_path / "made", tmp_path / "data" / "sfew"
    LAYOUTS[name](made)
    if pack == "folders":
        root.parent.mkdir()
        made.rename(root)
    elif pack == "one zip":
        root.mkdir(parents=True)
        zipped(made, root / "SFEW_2.0.zip")
    elif pack == "a zip beside the folder":
        root.parent.mkdir()
        zipped(made, root.with_name("sfew 2.0.zip"))
        root = root.with_name("sfew 2.0.zip")
    else:
        root.mkdir(parents=True)
        for each in [each for each in made.iterdir() if each.is_dir()]:
            zipped(each, root / f"{each.name}.zip")
        for each in [each for each in made.iterdir() if each.is_file()]:
            each.rename(root / each.name)
    assert DATASET.locate(tmp_path / "data") == root
    for split in ("Train", "Val"):
        samples = DATASET.load(split, root)
        expected = {f"{face.name}/{face.file_name}": face for face in fake_sfew.faces(split, FEW)}
        assert sorted(samples.ids) == sorted(expected)
        faces = [expected[identifier] for identifier in samples.ids]
        assert samples.labels is not None
        assert [DATASET.classes[label] for label in samples.labels] == [face.name for face in faces]
        assert samples.groups == tuple(face.film for face in faces)
        assert_pixels(samples, faces)
    samples = DATASET.load("Test", root)
    assert samples.labels is None
    assert sorted(samples.ids) == sorted(face.file_name for face in fake_sfew.faces("Test"))


def test_labels_land_by_name(whole: Path) -> None:
    labels = label_set("basic7")
    samples = DATASET.load("Val", whole / "SFEW")
    landed = alignment(DATASET.classes, labels)[samples.labels]
    for identifier, index in zip(samples.ids, landed, strict=True):
        assert labels.classes[index] == identifier.partition("/")[0].lower()


@pytest.mark.parametrize(
    ("place", "root"),
    [
        ("Train/Train_Aligned_Faces", "."),
        ("Train_Aligned_Faces", "."),
        ("sfew/Train/Train_Aligned_Faces", "sfew"),
        ("SFEW_2.0/Train_Aligned_Faces", "SFEW_2.0"),
        ("sfew/SFEW_2/Train/Train_Aligned_Faces", "sfew"),
        ("sfew/Train", "sfew"),
        ("Final_SFEW_2_Train", "."),
        ("SFEW_train", "."),
        ("Train", "."),
    ],
)
def test_copies_are_found_where_people_put_them(tmp_path: Path, place: str, root: str) -> None:
    make_split(tmp_path / place, {"Happy": 1})
    assert DATASET.locate(tmp_path) == tmp_path / root
    assert len(DATASET.load("Train", tmp_path / root).ids) == 1


@pytest.mark.parametrize("place", ["other/Train/Happy", "sfew/Happy", "train/Happy", "sfew/Test/Happy"])
def test_other_trees_are_not_taken_for_it(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    Image.new("RGB", (4, 5)).save(tmp_path / place / "face.png")
    assert DATASET.locate(tmp_path) is None
    assert DATASET.locate(tmp_path / "gone") is None


def test_a_copy_in_the_data_folder_is_read_apart_from_what_lies_beside(tmp_path: Path) -> None:
    make_split(tmp_path / "Train_Aligned_Faces", FEW)
    make_split(tmp_path / "fer2013/train", {"Happy": 1})
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert DATASET.locate(tmp_path) == tmp_path
    assert len(DATASET.load("Train", tmp_path).ids) == 7


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Train_Aligned_Faces", "Train"),
        ("Val_Aligned_Faces_new", "Val"),
        ("Final_SFEW_2_Test", "Test"),
        ("Train_SFEW_2_0", "Train"),
        ("VALIDATION", "Val"),
        ("SfewTrainFaces", "Train"),
        ("train_val", None),
        ("latest", None),
        ("trainer", None),
        ("Angry", None),
        ("", None),
    ],
)
def test_names_tell_a_split_by_a_whole_word(name: str, split: str | None) -> None:
    assert told_split(name) == split


def test_all_frames_instead_of_the_aligned_faces_are_told(tmp_path: Path) -> None:
    make_split(tmp_path / "Val_Aligned_Faces", fake_sfew.published("Val") | {"Fear": 47, "Sad": 77})
    samples = DATASET.load("Val", tmp_path)
    assert len(samples.ids) == 436
    (warning,) = samples.warnings
    assert warning == (
        "Val has 436 images here and 431 as published (Fear 47 for 46, Sad 77 for 73): these are all frames (436), not "
        "the aligned faces (431); published numbers mix both, compare scores only at the same n"
    )


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"Fear": 47, "Sad": 72}, "as many as the aligned faces, but under other labels: is the copy changed?"),
        ({"Fear": 47}, "published numbers mix the aligned faces (431) with all frames (436), compare scores only at"),
    ],
)
def test_other_numbers_are_told(tmp_path: Path, counts: dict[str, int], said: str) -> None:
    make_split(tmp_path / "Val", fake_sfew.published("Val") | counts)
    assert said in DATASET.load("Val", tmp_path).warnings[-1]


def test_aligned_faces_go_before_frames_and_are_named(tmp_path: Path) -> None:
    make_split(tmp_path / "Val/Val_Aligned_Faces", FEW)
    make_split(tmp_path / "Val", FEW | {"Fear": 4})
    samples = DATASET.load("Val", tmp_path)
    assert len(samples.ids) == 7
    assert samples.warnings[0] == (
        "Val: the aligned faces in Val/Val_Aligned_Faces are taken, the 11 images in Val are passed over"
    )


def test_what_is_unpacked_goes_before_zips_which_are_not_even_opened(tmp_path: Path) -> None:
    make_split(tmp_path / "sfew/Val/Val_Aligned_Faces", FEW)
    (tmp_path / "sfew/Val_Aligned_Faces.zip").write_bytes(b"PK cut off")
    root = DATASET.locate(tmp_path)
    assert root is not None
    assert len(DATASET.load("Val", root).ids) == 7
    with pytest.raises(DatasetError, match=r"Val_Aligned_Faces\.zip is no whole zip"):
        DATASET.load("Train", root)


def test_a_zip_inside_a_zip_is_told(tmp_path: Path) -> None:
    make_split(tmp_path / "made", FEW)
    zipped(tmp_path / "made", tmp_path / "Train.zip")
    (tmp_path / "sfew").mkdir()
    with zipfile.ZipFile(tmp_path / "sfew/SFEW.zip", "w") as archive:
        archive.write(tmp_path / "Train.zip", "SFEW/Train.zip")
    with pytest.raises(DatasetError, match=r"SFEW.zip: SFEW/Train.zip is a zip inside a zip: unpack the outer one"):
        DATASET.load("Train", tmp_path / "sfew")


@pytest.mark.parametrize(
    ("name", "film"),
    [
        ("AboutABoy_003314887_00000077.png", "AboutABoy"),
        ("I_Am_Sam_000933240_00000010.png", "I_Am_Sam"),
        ("21_000933240_00000010.png", "21"),
        ("AboutABoy_00000077.png", None),
        ("_1_2.png", None),
        ("face.png", None),
    ],
)
def test_the_film_is_what_precedes_time_and_frame(name: str, film: str | None) -> None:
    assert movie(PurePath(name)) == film


def test_an_image_that_names_no_film_is_its_own_group_and_told(tmp_path: Path) -> None:
    make_split(tmp_path / "Train_Aligned_Faces", {"Happy": 1})
    Image.new("RGB", (4, 5)).save(tmp_path / "Train_Aligned_Faces/Happy/face.png")
    samples = DATASET.load("Train", tmp_path)
    assert samples.groups is not None
    assert samples.groups[-1] == "face"
    assert "1 images of Train do not name their film, each counts as its own: Happy/face.png" in samples.warnings


def test_one_frame_may_show_two_faces(tmp_path: Path) -> None:
    name = "AboutABoy_000000440_00000000.png"
    for label in ("Angry", "Fear"):
        (tmp_path / "Train_Aligned_Faces" / label).mkdir(parents=True)
        Image.new("RGB", (4, 5)).save(tmp_path / "Train_Aligned_Faces" / label / name)
    samples = DATASET.load("Train", tmp_path)
    assert samples.ids == (f"Angry/{name}", f"Fear/{name}")
    assert samples.groups == ("AboutABoy", "AboutABoy")


def test_an_image_in_a_class_folder_and_in_its_double_is_one(tmp_path: Path) -> None:
    make_split(tmp_path / "Val_Aligned_Faces", {"Happy": 1, "Sad": 1})
    make_split(tmp_path / "Val_Aligned_Faces/Happy", {"Happy": 1, "Sad": 0})
    happy = tmp_path / "Val_Aligned_Faces/Happy"
    (image,) = (each for each in happy.iterdir() if each.is_file())
    (inner,) = (happy / "Happy").iterdir()
    inner.rename(inner.with_name(image.name))
    samples = DATASET.load("Val", tmp_path)
    assert len(samples.ids) == 2
    assert samples.warnings[0].startswith("1 file passed over, second copies of images that are there under the same")


def test_folder_names_in_other_words_and_stray_files(tmp_path: Path) -> None:
    folder = tmp_path / "Val_Aligned_Faces"
    make_split(folder, {"Angry": 1, "Happy": 2})
    (folder / "Angry").rename(folder / "anger")
    (folder / "Happy").rename(folder / "HAPPINESS")
    (folder / "anger/Thumbs.db").touch()
    (folder / "anger/notes.txt").touch()
    (folder / "face.png").touch()
    samples = DATASET.load("Val", tmp_path)
    assert samples.labels is not None
    assert [DATASET.classes[label] for label in samples.labels] == ["Angry", "Happy", "Happy"]
    assert samples.warnings[:2] == (
        "1 file passed over, not images by their names: Val_Aligned_Faces/anger/notes.txt",
        "1 file passed over, in no class folder: Val_Aligned_Faces/face.png",
    )


def test_a_folder_of_no_class_is_an_error(tmp_path: Path) -> None:
    make_split(tmp_path / "Val_Aligned_Faces", {"Happy": 1, "Sad": 1})
    (tmp_path / "Val_Aligned_Faces/Sad").rename(tmp_path / "Val_Aligned_Faces/Contempt")
    with pytest.raises(
        DatasetError, match=r"Val_Aligned_Faces/Contempt .* is no class of sfew: its classes are Angry, "
    ):
        DATASET.load("Val", tmp_path)


def test_a_missing_split_tells_how_to_have_it(tmp_path: Path) -> None:
    make_split(tmp_path / "Train_Aligned_Faces", {"Happy": 1})
    with pytest.raises(SplitMissing, match="has no Val of sfew: ask the authors for it"):
        DATASET.load("Val", tmp_path)
    with pytest.raises(SplitMissing, match=r"has no Test of sfew: it has no labels and is there for a"):
        DATASET.load("Test", tmp_path)


def test_images_in_no_class_folder_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "Val_Aligned_Faces").mkdir()
    (tmp_path / "Val_Aligned_Faces/face.png").touch()
    with pytest.raises(DatasetError, match=r"Val_Aligned_Faces/face.png and .* lie in no class folder such as Angry"):
        DATASET.load("Val", tmp_path)


def test_labels_of_test_are_not_read(tmp_path: Path) -> None:
    make_split(tmp_path / "Test", FEW)
    samples = DATASET.load("Test", tmp_path)
    assert samples.labels is None
    assert samples.warnings == (
        "Test: the class folders in Test are not read, its labels are withheld",
        "Test has 7 images here and 372 as published: scores on it are not the challenge's",
    )


def test_a_csv_whose_files_are_numbered_has_no_films(tmp_path: Path) -> None:
    (tmp_path / "sfew2.0_images").mkdir()
    rows = ["label,Emotion, IMAGE_NAME ,original_split"]
    for number in range(4):
        Image.new("RGB", (4, 5)).save(tmp_path / f"sfew2.0_images/image_{number:06d}.png")
        rows.append(f"0,{('happy', 'sad')[number % 2]},image_{number:06d}.png,{('train', 'VAL')[number // 2]}")
    (tmp_path / "sfew_2.0_labels.csv").write_text("\n".join(rows))
    samples = DATASET.load("Train", tmp_path)
    assert samples.ids == ("Happy/image_000000.png", "Sad/image_000001.png")
    assert samples.groups is None
    assert samples.warnings[0].startswith("no image of Train names its film (the first is image_000000.png)")


HEADER = "image_name,label,emotion,original_split\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "sfew_2.0_labels.csv is empty"),
        ("image_name,label,emotion\n", "row 1: no column original_split among image_name, label, emotion"),
        (
            "image_name,label,original_split\n",
            "row 1: no column emotion, and what the codes in label stand for differs",
        ),
        (HEADER + "a.png,0,happy\n", "row 2: 3 columns instead of 4 in 'a.png,0,happy'"),
        (HEADER + "a.png,0,happy,train\nb.png,0,bored,train\n", "row 3: emotion 'bored' is none of Angry, Disgust"),
        (HEADER + "a.png,0,contempt,train\n", "row 2: emotion 'contempt' is none of Angry"),
        (HEADER + "\na.png,0,happy,other\n", "row 3: original_split 'other' is none of Train, Val, Test"),
        (HEADER + "c.png,0,happy,train\n", "row 2: image 'c.png' is not there: the copy of the data is incomplete"),
        (HEADER + "../a.png,0,happy,train\n", "row 2: image '../a.png' is not there"),
        (HEADER + ",0,happy,train\n", "row 2: image '' is not there"),
        (HEADER + "a.png,0,happy,train\na.png,0,sad,val\n", "row 3: a.png was in row 2 already"),
        (HEADER + "twice.png,0,happy,train\n", "row 2: image 'twice.png' may be .* or .*: write more of its path"),
        (HEADER.encode() + b"\xff.png,0,happy,train\n", "is no text in UTF-8"),
    ],
)
def test_faults_of_the_csv_are_one_line_with_row_and_value(tmp_path: Path, text: str | bytes, said: str) -> None:
    for name in ("a.png", "b.png", "one/twice.png", "two/twice.png"):
        (tmp_path / "sfew2.0_images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 5)).save(tmp_path / "sfew2.0_images" / name)
    (tmp_path / "sfew_2.0_labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=said) as caught:
        DATASET.load("Train", tmp_path)
    assert "sfew_2.0_labels.csv" in caught.value.line


def test_a_csv_without_its_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "sfew_2.0_labels.csv").write_text(HEADER + "a.png,0,happy,train\n")
    with pytest.raises(
        DatasetError, match=r"sfew_2.0_labels.csv lists no image of Train that is there: put its folder"
    ):
        DATASET.load("Train", tmp_path)


CELLS = st.sampled_from(["a.png", "b.png", "x", "", "happy", "SADNESS", "7", "Train", "val", "test", '"', "\0", "é"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a.png", "b.png"]), CELLS, st.sampled_from(["Happy", "sad", "joy"]), CELLS)
        | st.lists(CELLS, max_size=5).map(tuple),
        max_size=3,
    )
)
def test_any_rows_are_samples_or_one_line(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    (tmp_path / "sfew_2.0_labels.csv").write_text(HEADER + "\n".join(map(",".join, rows)))
    try:
        samples = DATASET.load("Train", tmp_path)
    except DatasetError as error:
        assert "\n" not in error.line
    else:
        trained = [row for row in rows if len(row) > 3 and row[3] == "Train"]
        assert sorted(each.rpartition("/")[2] for each in samples.ids) == sorted(row[0] for row in trained)
