import io
import json
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ferbench import Samples
from ferbench.data.decoding import decode_each
from ferbench.data.trees import TreeFile
from ferbench.errors import DatasetError
from ferbench.expressions import alignment, label_set
from ferbench_plugins import fer2013
from ferbench_plugins.fer2013 import kaggle_folders, places
from ferbench_plugins.fer2013.kaggle_folders import face_tree, tree_samples
from ferbench_plugins.fer2013.published import split_of_test

(DATASET,) = fer2013.ferbench_register_datasets()
OFFICIAL = ("Training", "PublicTest", "PrivateTest")
RANDOM = np.random.default_rng(0)


def faces(number: int) -> NDArray[np.uint8]:
    """uint8 [number, 2304] with every value from 0 to 255, hence one, two and three digits."""
    return RANDOM.integers(0, 256, (number, 2304), dtype=np.uint8)


def row(code: object, pixels: NDArray[np.uint8], usage: str) -> str:
    return f"{code},{' '.join(map(str, pixels.tolist()))},{usage}"


def write_csv(folder: Path, rows: list[str], name: str = "fer2013.csv", header: str = "emotion,pixels,Usage") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in [header, *rows]))
    return path


def touch_tree(root: Path, names: list[str]) -> None:
    """Empty files at the given places: a reader that lists does not look into them."""
    for folder in {(root / name).parent for name in names}:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).touch()


def zipped(path: Path, content: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def zip_tree(path: Path, names: Mapping[str, int], top: str = "") -> Path:
    """A zip of what `make_tree` makes."""
    content = {}
    for name, value in names.items():
        buffer = io.BytesIO()
        Image.new("L", (48, 48), value).save(buffer, "PNG" if name.casefold().endswith("png") else "JPEG", quality=95)
        content[top + name] = buffer.getvalue()
    return zipped(path, content)


def make_tree(root: Path, names: dict[str, int]) -> None:
    """Image files at the given places, each a flat grey of the given value."""
    for name, value in names.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (48, 48), value).save(path, quality=95)


def found(samples: Samples) -> dict[str, str]:
    """Class by id."""
    assert samples.labels is not None
    return {each: DATASET.classes[label] for each, label in zip(samples.ids, samples.labels.tolist(), strict=True)}


def test_counts_add_up_to_the_published_totals() -> None:
    totals = {split: sum(counts.values()) for split, counts in DATASET.counts.items()}
    assert totals == {"Training": 28_709, "PublicTest": 3_589, "PrivateTest": 3_589, "test": 7_178}
    # The whole file's totals for the codes 0 to 6: the classes must stand in the order of the codes.
    by_code = [sum(DATASET.counts[split][name] for split in OFFICIAL) for name in DATASET.classes]
    assert by_code == [4953, 547, 5121, 8989, 6077, 4002, 6198]


def test_roles_are_the_competitions() -> None:
    assert dict(DATASET.roles) == {"train": "Training", "select": "PublicTest", "report": "PrivateTest"}
    assert DATASET.default_for == "auxiliary"
    assert "not redistributable" in DATASET.licence


# Kaggle's folders

KAGGLE = {
    "train/angry/Training_3908.jpg": 10,
    "train/surprise/Training_3908.jpg": 15,
    "train/happy/Training_99.jpg": 20,
    "test/happy/PublicTest_7.jpg": 30,
    "test/neutral/PrivateTest_8.jpg": 40,
    "test/sad/PrivateTest_1.jpg": 50,
}


def test_the_prefix_says_the_split_wherever_the_file_lies(tmp_path: Path) -> None:
    make_tree(tmp_path, KAGGLE | {"test/fear/Training_5.jpg": 60, "validation/fear/PrivateTest_6.jpg": 70})
    assert found(DATASET.load("Training", tmp_path)) == {
        "angry/Training_3908": "angry",
        "surprise/Training_3908": "surprise",
        "happy/Training_99": "happy",
        "fear/Training_5": "fear",
    }
    assert found(DATASET.load("PublicTest", tmp_path)) == {"happy/PublicTest_7": "happy"}
    assert found(DATASET.load("PrivateTest", tmp_path)) == {
        "neutral/PrivateTest_8": "neutral",
        "sad/PrivateTest_1": "sad",
        "fear/PrivateTest_6": "fear",
    }


def test_files_decode_to_what_their_labels_say(tmp_path: Path) -> None:
    make_tree(tmp_path, KAGGLE)
    samples = DATASET.load("Training", tmp_path)
    grey = {
        DATASET.classes[i]: int(image[0, 0, 0])
        for i, image in zip(samples.labels, decode_each(samples.images), strict=True)
    }
    assert grey == pytest.approx({"angry": 10, "surprise": 15, "happy": 20}, abs=1)


def test_labels_land_by_name_from_both_layouts(tmp_path: Path) -> None:
    make_tree(tmp_path, {f"train/{name}/Training_{i}.jpg": i for i, name in enumerate(DATASET.classes)})
    write_csv(tmp_path / "csv", [row(i, face, "Training") for i, face in enumerate(faces(7))])
    labels = label_set("happy/negative=angry+sad+fear+disgust/neutral")
    landed = alignment(DATASET.classes, labels)
    expected = {"happy": 0, "angry": 1, "sad": 1, "fear": 1, "disgust": 1, "neutral": 2, "surprise": -1}
    for root in (tmp_path, tmp_path / "csv"):
        samples = DATASET.load("Training", root)
        assert {DATASET.classes[i]: int(landed[i]) for i in samples.labels} == expected


def test_augmented_copies_are_no_samples_and_named(tmp_path: Path) -> None:
    copies = {f"train/angry/Training_3908.jpg{i}.jpg": 99 for i in range(5)} | {"test/sad/PrivateTest_1.jpg0.jpg": 99}
    make_tree(tmp_path, KAGGLE | copies)
    samples = DATASET.load("Training", tmp_path)
    assert len(samples.ids) == 3
    assert samples.warnings[0] == (
        "5 files passed over, their names are not the official ones (augmented copies?): "
        "train/angry/Training_3908.jpg0.jpg, train/angry/Training_3908.jpg1.jpg, train/angry/Training_3908.jpg2.jpg, …"
    )
    assert DATASET.load("PrivateTest", tmp_path).warnings[0].startswith("1 file passed over")
    assert not any("passed over" in warning for warning in DATASET.load("PublicTest", tmp_path).warnings)


def test_second_copies_of_an_image_are_passed_over(tmp_path: Path) -> None:
    make_tree(tmp_path, KAGGLE | {"validation/sad/PrivateTest_1.jpg": 50})
    samples = DATASET.load("PrivateTest", tmp_path)
    assert sorted(samples.ids) == ["neutral/PrivateTest_8", "sad/PrivateTest_1"]
    assert "1 file passed over, second copies of images" in samples.warnings[0]


def test_stray_files_are_ignored_and_others_told(tmp_path: Path) -> None:
    make_tree(tmp_path, KAGGLE | {"__MACOSX/train/angry/._Training_3908.jpg": 1, "train/__MACOSX/x.jpg": 1})
    for name in (".DS_Store", "Thumbs.db", "notes.txt"):
        (tmp_path / "train/angry" / name).touch()
    (tmp_path / "train/.DS_Store").touch()
    samples = DATASET.load("Training", tmp_path)
    assert len(samples.ids) == 3
    assert samples.warnings[0] == "1 file passed over, not images by their names: train/angry/notes.txt"


def test_class_folders_in_other_words(tmp_path: Path) -> None:
    make_tree(tmp_path, {"Train/Anger/Training_1.jpg": 1, "Train/HAPPINESS/Training_2.JPG": 2})
    samples = DATASET.load("Training", tmp_path)
    assert found(samples) == {"angry/Training_1": "angry", "happy/Training_2": "happy"}


def test_an_unknown_class_folder_is_an_error(tmp_path: Path) -> None:
    make_tree(tmp_path, KAGGLE | {"train/contempt/Training_1.jpg": 1})
    with pytest.raises(DatasetError, match=r"train/contempt \(with .*\) is no class of fer2013: its classes are angry"):
        DATASET.load("Training", tmp_path)


def test_a_tree_without_a_split_says_what_there_is(tmp_path: Path) -> None:
    make_tree(tmp_path, {name: value for name, value in KAGGLE.items() if "Public" not in name})
    with pytest.raises(DatasetError, match=r"no PublicTest images of fer2013, only: Training 3, PrivateTest 2; use a"):
        DATASET.load("PublicTest", tmp_path)


def test_ids_are_what_stored_rows_were_made_with(tmp_path: Path) -> None:
    """Class and name where names tell, else the path below what holds the split folders: unpacked, nested or zipped."""
    make_tree(tmp_path / "plain", KAGGLE)
    make_tree(tmp_path / "deep/archive/images", KAGGLE)
    zip_tree(tmp_path / "archive.zip", KAGGLE, "fer/")
    for root in (tmp_path / "plain", tmp_path / "deep", tmp_path / "archive.zip"):
        ids = {split: DATASET.load(split, root).ids for split in OFFICIAL}
        assert ids == {
            "Training": ("angry/Training_3908", "happy/Training_99", "surprise/Training_3908"),
            "PublicTest": ("happy/PublicTest_7",),
            "PrivateTest": ("neutral/PrivateTest_8", "sad/PrivateTest_1"),
        }
    nameless = {"Train/Angry/im0.png": 1, "Train/angry2.png": 1, "valid/Joy/a b.png": 1, "test/sad/im2.PNG": 1}
    make_tree(tmp_path / "nameless", nameless)
    make_tree(tmp_path / "below/archive", nameless)
    zip_tree(tmp_path / "nameless.zip", nameless, "fer2013/")
    for root in (tmp_path / "nameless", tmp_path / "below", tmp_path / "nameless.zip"):
        assert {split: DATASET.load(split, root).ids for split in OFFICIAL} == {
            "Training": ("Train/Angry/im0.png",),
            "PublicTest": ("valid/Joy/a b.png",),
            "PrivateTest": ("test/sad/im2.PNG",),
        }


def test_a_split_of_augmented_copies_alone_says_so(tmp_path: Path) -> None:
    make_tree(tmp_path, {"train/sad/Training_1.jpg": 1, "test/sad/PublicTest_1.jpg0.jpg": 2})
    with pytest.raises(DatasetError, match=r"no PublicTest images of fer2013, only: Training 1; .*1 file passed over"):
        DATASET.load("PublicTest", tmp_path)


def test_official_names_need_no_split_folders(tmp_path: Path) -> None:
    make_tree(tmp_path / "fer2013", {"angry/Training_1.jpg": 1, "sad/PrivateTest_2.jpg": 2, "sad/odd.jpg": 3})
    root = DATASET.locate(tmp_path)
    assert root == tmp_path / "fer2013"
    samples = DATASET.load("PrivateTest", root)
    assert samples.ids == ("sad/PrivateTest_2",)
    assert "1 file passed over" in samples.warnings[0] and "sad/odd.jpg" in samples.warnings[0]


def test_what_lies_beside_the_copy_is_told(tmp_path: Path) -> None:
    make_tree(tmp_path / "a", KAGGLE)
    make_tree(tmp_path / "a", {"train/cover.jpg": 1})
    assert "1 file passed over, they lie in no class folder of this copy: train/cover.jpg" in "\n".join(
        DATASET.load("Training", tmp_path / "a").warnings
    )
    make_tree(tmp_path / "b/one", KAGGLE)
    make_tree(tmp_path / "b/two", {"train/angry/Training_55.jpg": 1})
    samples = DATASET.load("Training", tmp_path / "b")
    assert len(samples.ids) == 3 and "two/train/angry/Training_55.jpg" in samples.warnings[0]


# Copies whose names do not tell

NAMELESS = {"train/angry/im0.png": 10, "train/happy/im0.png": 20, "test/happy/im1.png": 30, "test/sad/im2.png": 40}


def test_without_telling_names_the_folder_decides_and_says_so(tmp_path: Path) -> None:
    make_tree(tmp_path, NAMELESS)
    samples = DATASET.load("Training", tmp_path)
    assert found(samples) == {"train/angry/im0.png": "angry", "train/happy/im0.png": "happy"}
    assert samples.warnings[0] == (
        "Training is what lies in train: the file names do not say which official split they are of (n = 2)"
    )


def test_a_test_folder_that_does_not_tell_is_neither_split(tmp_path: Path) -> None:
    make_tree(tmp_path, NAMELESS)
    samples = DATASET.load("test", tmp_path)
    assert found(samples) == {"test/happy/im1.png": "happy", "test/sad/im2.png": "sad"}
    assert samples.warnings[0] == (
        "test is what lies in test: the file names do not say which official split they are of; "
        "a test folder usually is PublicTest and PrivateTest together (n = 2)"
    )
    for split in ("PublicTest", "PrivateTest"):
        with pytest.raises(DatasetError, match=r"which of its 2 test images are PublicTest .*: fer2013:test names all"):
            DATASET.load(split, tmp_path)


def test_where_names_tell_both_are_named(tmp_path: Path) -> None:
    make_tree(tmp_path / "a", KAGGLE)
    write_csv(tmp_path / "b", [row(1, faces(1)[0], split) for split in OFFICIAL])
    for root in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(
            DatasetError, match=r"tells PublicTest .* apart: fer2013:PublicTest\+PrivateTest names both"
        ):
            DATASET.load("test", root)


@pytest.mark.parametrize("name", ["validation", "Val", "valid", "PublicTest"])
def test_a_validation_folder_is_public_test(tmp_path: Path, name: str) -> None:
    make_tree(tmp_path, NAMELESS | {f"{name}/fear/im3.png": 50})
    samples = DATASET.load("PublicTest", tmp_path)
    assert found(samples) == {f"{name}/fear/im3.png": "fear"}
    assert samples.warnings[0].startswith(f"PublicTest is what lies in {name}: ")
    private = DATASET.load("PrivateTest", tmp_path)
    assert private.warnings[0].startswith("PrivateTest is what lies in test: ")
    assert "together" not in private.warnings[0]


def numbered(folder: str, counts: Mapping[str, int]) -> list[str]:
    return [f"{folder}/{name}/{i}.png" for name, count in counts.items() for i in range(count)]


def test_7178_images_are_never_private_test(tmp_path: Path) -> None:
    both = numbered("test", DATASET.counts["test"])
    assert len(both) == 7178
    touch_tree(tmp_path, [*both, "train/sad/1.png"])
    assert len(DATASET.load("test", tmp_path).ids) == 7178
    touch_tree(tmp_path, ["val/sad/1.png"])
    samples = DATASET.load("test", tmp_path)
    # No warning of a difference from the published counts: these are the sums of the table's two lines.
    assert len(samples.ids) == 7178 and len(samples.warnings) == 1
    with pytest.raises(DatasetError, match="which of its 7178 test images"):
        DATASET.load("PrivateTest", tmp_path)


def test_published_counts_tell_private_test(tmp_path: Path) -> None:
    touch_tree(tmp_path, [*numbered("test", DATASET.counts["PrivateTest"]), "train/sad/1.png"])
    samples = DATASET.load("PrivateTest", tmp_path)
    assert len(samples.ids) == 3589 and "file names do not say" in samples.warnings[0]
    with pytest.raises(DatasetError, match="no PublicTest images of fer2013, only: Training 1, PrivateTest 3589"):
        DATASET.load("PublicTest", tmp_path)


def test_which_split_a_part_called_test_is() -> None:
    public, private = DATASET.counts["PublicTest"], DATASET.counts["PrivateTest"]
    assert split_of_test(private, has_validation=False) == "PrivateTest"
    assert split_of_test(public, has_validation=False) == "PublicTest"
    assert split_of_test(dict(private) | {"sad": 593}, has_validation=False) == "test"
    assert split_of_test(dict(private) | {"sad": 593}, has_validation=True) == "PrivateTest"
    assert split_of_test({"happy": 5383}, has_validation=True) == "PrivateTest"
    assert split_of_test({"happy": 5384}, has_validation=True) == "test"
    assert split_of_test({}, has_validation=False) == "test"


WORDS = st.sampled_from(
    ["train", "Test", "val", "angry", "HAPPY", "Sadness", "archive", "more", "PrivateTest", "publictest"]
)
NAMES = st.sampled_from(
    [
        *(f"{split}_{number}.jpg" for split in OFFICIAL for number in range(2)),
        *("Training_1.jpg0.jpg", "training_7.PNG", "PublicTest_x.png", "face.png", "1.jpg", "notes.txt", "Training_1"),
    ]
)


SPLIT_AND_CLASS = st.tuples(st.sampled_from(["train", "test", "valid"]), st.sampled_from(["sad", "Fear"])).map(list)
FOLDERS = st.one_of(SPLIT_AND_CLASS, st.lists(WORDS, max_size=4))
TREES = st.lists(st.tuples(FOLDERS, NAMES).map(lambda each: "/".join([*each[0], each[1]])), min_size=1, max_size=12)


@given(TREES.map(lambda paths: list(dict.fromkeys(paths))))
def test_every_image_of_a_copy_is_one_sample_or_told(paths: list[str]) -> None:
    try:
        copy = face_tree([TreeFile(PurePosixPath(path), 1, path) for path in paths])
    except DatasetError as error:
        assert error.line.startswith("folder ")
        return
    if copy is None:
        return
    sampled: Counter[str] = Counter()
    lines: list[str] = []
    with mock.patch.object(kaggle_folders, "passed_over", lambda files, reason: " ".join(map(str, files))):
        for split in DATASET.splits:
            try:
                samples = tree_samples(split, copy, "copy")
            except DatasetError as error:
                lines.append(error.line)
                continue
            assert len(set(samples.ids)) == len(samples.ids) == len(samples.images) == len(samples.labels)
            sampled.update(map(str, samples.images))
            lines += samples.warnings
    images = {path for path in paths if path.casefold().endswith((".jpg", ".png"))}
    assert sampled and set(sampled.values()) == {1} and set(sampled) <= images
    told = {word for line in lines for word in line.replace("(", " ").replace(")", " ").replace(";", " ").split()}
    assert images <= told | set(sampled)


# Zips and other packed copies


@pytest.mark.parametrize(
    "place", ["fer2013.zip", "FER-2013 (1).zip", "fer2013/archive.zip", "archive.zip", "faces/fer2013/x.zip"]
)
def test_zips_are_read_where_people_put_them(tmp_path: Path, place: str) -> None:
    zip_tree(tmp_path / place, KAGGLE)
    root = DATASET.locate(tmp_path)
    assert root is not None
    samples = DATASET.load("Training", root)
    assert found(samples) == {
        "angry/Training_3908": "angry",
        "happy/Training_99": "happy",
        "surprise/Training_3908": "surprise",
    }
    grey = [int(image[0, 0, 0]) for image in decode_each(samples.images)]
    assert grey == pytest.approx([10, 20, 15], abs=1)
    assert "archive" not in "".join(samples.warnings)


def test_other_zips_are_not_taken_for_it(tmp_path: Path) -> None:
    zip_tree(tmp_path / "archive.zip", NAMELESS)
    zipped(tmp_path / "faces.zip", {"train.csv": b"path,label\nx.png,sad\n", "README": b""})
    (tmp_path / "half.zip").write_bytes(b"PK\3\4 and no more")
    assert DATASET.locate(tmp_path) is None
    zip_tree(tmp_path / "fer2013.zip", NAMELESS)
    assert DATASET.locate(tmp_path) == tmp_path / "fer2013.zip"


def test_split_folders_in_a_zip_each_are_one_copy(tmp_path: Path) -> None:
    for part in ("train", "test"):
        own = {name: value for name, value in KAGGLE.items() if name.startswith(part)}
        # Some zips hold the folder itself, others what is in it.
        zip_tree(tmp_path / f"fer2013/{part}.zip", own if part == "train" else {n[5:]: v for n, v in own.items()})
    root = DATASET.locate(tmp_path)
    assert root is not None
    assert [len(DATASET.load(split, root).ids) for split in OFFICIAL] == [3, 1, 2]


def csv_bytes(rows: list[str], header: str) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def tar_bytes(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        folder = tarfile.TarInfo("fer2013")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for each, content in (("fer2013/README", b"notes"), (name, data)):
            info = tarfile.TarInfo(each)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_the_challenges_zip(tmp_path: Path) -> None:
    pixels = faces(3)
    usages = [
        f"{code}, {split},{' '.join(map(str, face))}"
        for code, split, face in zip((0, 3, 6), OFFICIAL, pixels.tolist(), strict=True)
    ]
    path = zipped(
        tmp_path / "challenges-in-representation-learning.zip",
        {
            "example_submission.csv": b"id,emotion\n",
            "fer2013.tar.gz": b"not looked at",
            "icml_face_data.csv": csv_bytes(usages, "emotion, Usage, pixels"),
            "test.csv": csv_bytes([], "pixels"),
            "train.csv": csv_bytes([], "emotion,pixels"),
        },
    )
    assert DATASET.locate(tmp_path) == path
    for split, label, face in zip(OFFICIAL, (0, 3, 6), pixels, strict=True):
        samples = DATASET.load(split, path)
        assert samples.labels.tolist() == [label]
        assert np.array_equal(np.asarray(samples.images).reshape(-1), face)


def test_the_download_of_2013(tmp_path: Path) -> None:
    face = faces(1)[0]
    data = tar_bytes("fer2013/fer2013.csv", csv_bytes([row(4, face, "PrivateTest")], "emotion,pixels,Usage"))
    (tmp_path / "fer2013").mkdir()
    (tmp_path / "fer2013/fer2013.tar.gz").write_bytes(data)
    root = DATASET.locate(tmp_path)
    assert root == tmp_path / "fer2013"
    samples = DATASET.load("PrivateTest", root)
    assert np.array_equal(np.asarray(samples.images).reshape(-1), face) and samples.labels.tolist() == [4]
    (tmp_path / "fer2013/fer2013.tar.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match=r"fer2013.tar.gz is no whole tar archive \(.*\): get it again"):
        DATASET.load("PrivateTest", root)
    (tmp_path / "fer2013/fer2013.tar.gz").write_bytes(tar_bytes("fer2013/other.csv", b""))
    with pytest.raises(DatasetError, match=r"holds no fer2013.csv and no icml_face_data.csv"):
        DATASET.load("PrivateTest", root)


#: Which layout is read first; each is told by the label of its one Training image.
PREFERENCE = ["fer2013.csv", "icml", "folders", "zip of icml", "zip of folders", "tar", "train.csv"]


@given(st.sets(st.sampled_from(PREFERENCE), min_size=1))
def test_the_first_layout_that_is_there_is_read(tmp_path_factory: pytest.TempPathFactory, layouts: set[str]) -> None:
    root = tmp_path_factory.mktemp("data") / "fer2013"
    root.mkdir()
    for code, layout in enumerate(PREFERENCE):
        if layout not in layouts:
            continue
        rows = [row(code, faces(1)[0], "Training")]
        tree = {f"train/{DATASET.classes[code]}/Training_1.jpg": 9}
        if layout == "folders":
            make_tree(root, tree)
        elif layout == "zip of folders":
            zip_tree(root / "archive.zip", tree)
        elif layout == "zip of icml":
            zipped(root / "challenge.zip", {"a/icml_face_data.csv": csv_bytes(rows, "emotion,pixels,Usage")})
        elif layout == "tar":
            table = csv_bytes(rows, "emotion,pixels,Usage")
            (root / "fer2013.tar.gz").write_bytes(tar_bytes("fer2013/fer2013.csv", table))
        elif layout == "train.csv":
            write_csv(root, [rows[0].removesuffix(",Training")], "train.csv", "emotion,pixels")
        else:
            write_csv(root, rows, "icml_face_data.csv" if layout == "icml" else layout)
    place = DATASET.locate(root.parent)
    assert place == root
    labels = DATASET.load("Training", place).labels
    assert PREFERENCE[int(labels[0])] == min(layouts, key=PREFERENCE.index)


def test_train_csv_is_training_alone(tmp_path: Path) -> None:
    write_csv(tmp_path, [row(5, faces(1)[0], "")[:-1]], "train.csv", "emotion,pixels")
    root = DATASET.locate(tmp_path)
    assert root == tmp_path / "train.csv"
    assert found(DATASET.load("Training", root)) == {"Training_00000000": "surprise"}
    for split in ("PublicTest", "PrivateTest", "test"):
        with pytest.raises(DatasetError, match="Training"):
            DATASET.load(split, root)


# Parquet files


def table_file(
    path: Path,
    labels: list[object],
    *,
    names: tuple[str, ...] = (),
    paths: list[str] | None = None,
    label: str = "label",
    **columns: list[object],
) -> None:
    """A file as `datasets` writes it: pictures as bytes and path, names of labels in the metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [{"bytes": b"picture %d" % i, "path": None if paths is None else paths[i]} for i in range(len(labels))]
    table = pa.table({"image": pictures, label: labels, **columns})
    if names:
        feature = {"names": list(names), "_type": "ClassLabel"}
        info = {"info": {"features": {"image": {"_type": "Image"}, label: feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path)


ALPHABETICAL = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def test_hub_files_go_by_their_names(tmp_path: Path) -> None:
    data = tmp_path / "fer2013/data"
    table_file(data / "train-00000-of-00002.parquet", [0, 4], names=ALPHABETICAL)
    table_file(data / "train-00001-of-00002.parquet", [6], names=ALPHABETICAL)
    table_file(data / "public_test-00000-of-00001.parquet", [5], names=ALPHABETICAL)
    table_file(data / "private_test-00000-of-00001.parquet", [1, 3], names=ALPHABETICAL)
    root = DATASET.locate(tmp_path)
    assert root == tmp_path / "fer2013"
    samples = DATASET.load("Training", root)
    assert found(samples) == {
        "Training/00000000": "angry",
        "Training/00000001": "neutral",
        "Training/00000002": "surprise",
    }
    assert [image.read_bytes() for image in samples.images] == [b"picture 0", b"picture 1", b"picture 0"]
    assert list(found(DATASET.load("PublicTest", root)).values()) == ["sad"]
    assert list(found(DATASET.load("PrivateTest", root)).values()) == ["disgust", "happy"]
    with pytest.raises(DatasetError, match="apart"):
        DATASET.load("test", root)
    packed = zipped(tmp_path / "zips/FER2013.zip", {f"hub/{each.name}": each.read_bytes() for each in data.iterdir()})
    assert DATASET.locate(packed.parent) == packed
    assert DATASET.load("Training", packed).ids == samples.ids


@pytest.mark.parametrize("third", [None, "validation", "valid/0000"])
def test_a_hub_file_called_test_is_mixed_unless_there_is_validation(tmp_path: Path, third: str | None) -> None:
    root = tmp_path / "fer2013"
    for name in ("train", "test", third):
        if name is not None:
            table_file(root / f"{name}.parquet", ["happy", "Sadness"], names=())
    splits = {split: _number(split, root) for split in DATASET.splits}
    mixed = {"Training": 2, "PublicTest": 0, "PrivateTest": 0, "test": 2}
    assert splits == (mixed if third is None else {"Training": 2, "PublicTest": 2, "PrivateTest": 2, "test": 0})


def _number(split: str, root: Path) -> int:
    try:
        return len(DATASET.load(split, root).ids)
    except DatasetError as error:
        assert "PublicTest" in error.line and "fer2013:" in error.line
        return 0


def test_a_usage_column_says_the_split(tmp_path: Path) -> None:
    usages = ["Training", "PublicTest", "PrivateTest", "Training"]
    path = tmp_path / "fer2013/train.parquet"
    table_file(path, ["sad", "fear", "happy", "angry"], label="emotion", Usage=usages)
    root = DATASET.locate(tmp_path)
    assert root is not None
    assert list(found(DATASET.load("Training", root)).values()) == ["sad", "angry"]
    assert list(found(DATASET.load("PrivateTest", root)).values()) == ["happy"]
    table_file(path, ["sad"], label="emotion", Usage=["Trainng"])
    with pytest.raises(DatasetError, match=r"train.parquet, row 1: 'Trainng': which split of fer2013 it is cannot be"):
        DATASET.load("Training", root)


def test_official_names_in_tables_say_the_split(tmp_path: Path) -> None:
    names = ["PublicTest_1.jpg", "test/PrivateTest_2.jpg"]
    table_file(tmp_path / "fer2013/test.parquet", ["sad", "fear"], paths=names)
    assert found(DATASET.load("PublicTest", tmp_path / "fer2013")) == {"sad/PublicTest_1": "sad"}
    assert found(DATASET.load("PrivateTest", tmp_path / "fer2013")) == {"fear/PrivateTest_2": "fear"}


@pytest.mark.parametrize("order", [DATASET.classes, ALPHABETICAL])
@pytest.mark.parametrize("split", ["PrivateTest", "test"])
def test_bare_numbers_are_told_by_published_counts(tmp_path: Path, order: tuple[str, ...], split: str) -> None:
    counts = DATASET.counts[split]
    table_file(tmp_path / "test.parquet", [code for code, name in enumerate(order) for _ in range(counts[name])])
    samples = DATASET.load(split, tmp_path)
    assert Counter(found(samples).values()) == counts
    assert samples.warnings[0].startswith("labels are numbers without names, read as 0 angry, 1 disgust, ")


def test_bare_numbers_that_cannot_be_told_are_refused(tmp_path: Path) -> None:
    table_file(tmp_path / "train.parquet", [0, 1, 5])
    with pytest.raises(DatasetError, match="labels are numbers without names, and no split has as many of each as pub"):
        DATASET.load("Training", tmp_path)


def test_rows_of_tables_that_are_no_samples(tmp_path: Path) -> None:
    table_file(tmp_path / "train.parquet", ["sad", None, "joy"])
    pq.write_table(pa.table({"image": [{"bytes": b"x", "path": "x"}]}), tmp_path / "test.parquet")
    samples = DATASET.load("Training", tmp_path)
    assert [DATASET.classes[label] for label in samples.labels] == ["sad", "happy"]
    assert samples.warnings[0] == "1 rows without a label passed over"
    assert samples.warnings[1] == "1 file passed over, their rows have no label: test.parquet"
    table_file(tmp_path / "train.parquet", ["sad", "contempt"])
    with pytest.raises(
        DatasetError, match=r"train.parquet, row 2: label 'contempt' is no class of fer2013: its classes"
    ):
        DATASET.load("Training", tmp_path)
    table_file(tmp_path / "train.parquet", ["sad"])
    table_file(tmp_path / "faces.parquet", ["sad"])
    with pytest.raises(
        DatasetError, match=r"faces.parquet: which split of fer2013 it is cannot be told: name the file"
    ):
        DATASET.load("Training", tmp_path)


# Copies at fault, each one line


def test_an_empty_class_is_told(tmp_path: Path) -> None:
    make_tree(tmp_path, KAGGLE)
    (tmp_path / "train/disgust").mkdir()
    assert "disgust 0 for 436" in DATASET.load("Training", tmp_path).warnings[-1]


def test_a_damaged_zip_is_named(tmp_path: Path) -> None:
    path = zip_tree(tmp_path / "fer2013.zip", KAGGLE)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert DATASET.locate(tmp_path) == path
    with pytest.raises(DatasetError, match=r"fer2013.zip is no whole zip \(.*\): get it again"):
        DATASET.load("Training", path)


def test_a_protected_zip_is_named(tmp_path: Path) -> None:
    path = zip_tree(tmp_path / "fer2013/x.zip", KAGGLE)
    data = bytearray(path.read_bytes())
    # The general purpose bits of each entry in the central directory.
    place = data.find(b"PK\1\2")
    while place >= 0:
        (bits,) = struct.unpack_from("<H", data, place + 8)
        struct.pack_into("<H", data, place + 8, bits | 1)
        place = data.find(b"PK\1\2", place + 1)
    path.write_bytes(data)
    root = DATASET.locate(tmp_path)
    assert root == tmp_path / "fer2013"
    with pytest.raises(DatasetError, match=r"x.zip is protected by a password .*: unpack it and name the folder"):
        DATASET.load("Training", root)


def test_an_entry_that_leads_out_is_refused(tmp_path: Path) -> None:
    path = zip_tree(tmp_path / "fer2013.zip", KAGGLE | {"../train/angry/Training_1.jpg": 1})
    with pytest.raises(DatasetError, match=r"entry '../train/angry/Training_1.jpg' leads out of the zip"):
        DATASET.load("Training", path)


def test_a_link_out_of_the_copy_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path / "fer2013", KAGGLE)
    make_tree(tmp_path, {"else/Training_5.jpg": 1})
    (tmp_path / "fer2013/train/fear").symlink_to(tmp_path / "else")
    with pytest.raises(DatasetError, match="fear is a link that leads out of"):
        DATASET.load("Training", tmp_path / "fer2013")


def test_a_folder_without_a_copy_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"holds no FER2013: neither fer2013.csv nor icml_face_data.csv, nor folders"
    ):
        DATASET.load("Training", tmp_path)


# Where copies are found


@pytest.mark.parametrize(
    ("place", "root"),
    [
        (".", "."),
        ("fer2013", "fer2013"),
        ("FER2013", "FER2013"),
        ("FER-2013", "FER-2013"),
        ("fer2013/archive", "fer2013/archive"),
        ("faces/fer2013", "faces/fer2013"),
        ("fer2013/fer2013", "fer2013/fer2013"),
    ],
)
def test_copies_are_found_where_people_put_them(tmp_path: Path, place: str, root: str) -> None:
    make_tree(tmp_path / place, KAGGLE)
    assert DATASET.locate(tmp_path) == tmp_path / root
    write_csv(tmp_path / place, [])
    # Straight in the data folder it is the file alone: what else lies there is no part of the copy.
    assert DATASET.locate(tmp_path) == (tmp_path / "fer2013.csv" if place == "." else tmp_path / root)


def test_the_csv_is_read_where_both_are_there(tmp_path: Path) -> None:
    make_tree(tmp_path, KAGGLE)
    write_csv(tmp_path, [row(5, faces(1)[0], "Training")])
    assert found(DATASET.load("Training", tmp_path)) == {"Training_00000000": "surprise"}


def test_other_trees_are_not_taken_for_it(tmp_path: Path) -> None:
    make_tree(tmp_path, NAMELESS)
    make_tree(tmp_path / "other", KAGGLE)
    assert DATASET.locate(tmp_path) is None
    assert DATASET.locate(tmp_path / "gone") is None
    make_tree(tmp_path / "fer2013", NAMELESS)
    assert DATASET.locate(tmp_path) == tmp_path / "fer2013"


def test_finding_a_copy_lists_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path / "fer2013", KAGGLE)
    zip_tree(tmp_path / "other.zip", KAGGLE)
    monkeypatch.setattr(places, "tree_files", None)
    assert DATASET.locate(tmp_path) == tmp_path / "fer2013"


def test_class_folders_may_lie_a_level_deeper(tmp_path: Path) -> None:
    deeper = {name.replace("/", "/images/", 1): value for name, value in KAGGLE.items()}
    make_tree(tmp_path / "fer2013/archive", deeper)
    root = DATASET.locate(tmp_path)
    assert root == tmp_path / "fer2013/archive"
    assert [len(DATASET.load(split, root).ids) for split in OFFICIAL] == [3, 1, 2]


def test_the_csv_may_be_a_link_to_another_disk(tmp_path: Path) -> None:
    there = write_csv(tmp_path / "disk", [row(5, faces(1)[0], "Training")], "big.csv")
    (tmp_path / "data/fer2013").mkdir(parents=True)
    (tmp_path / "data/fer2013/fer2013.csv").symlink_to(there)
    root = DATASET.locate(tmp_path / "data")
    assert root == tmp_path / "data/fer2013"
    assert found(DATASET.load("Training", root)) == {"Training_00000000": "surprise"}


def test_other_datasets_beside_a_loose_copy_are_let_be(tmp_path: Path) -> None:
    make_tree(tmp_path, KAGGLE | {"sfew/Train/Angry/film_1_2.png": 1, "sfew/Train/contempt/film_1_2.png": 1})
    (tmp_path / "elsewhere").symlink_to("/")
    root = DATASET.locate(tmp_path)
    assert root == tmp_path
    samples = DATASET.load("Training", root)
    assert len(samples.ids) == 3 and "sfew" not in "".join(samples.warnings)
