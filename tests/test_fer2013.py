import csv
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ferbench import Samples
from ferbench.data.decoding import decode
from ferbench.errors import DatasetError
from ferbench.expressions import alignment, label_set
from ferbench_plugins import fer2013

(DATASET,) = fer2013.ferbench_register_datasets()
RANDOM = np.random.default_rng(0)


def faces(number: int) -> NDArray[np.uint8]:
    """uint8 [number, 2304] with every value from 0 to 255, hence one, two and three digits."""
    return RANDOM.integers(0, 256, (number, 2304), dtype=np.uint8)


def row(code: object, pixels: NDArray[np.uint8], usage: str) -> str:
    return f"{code},{' '.join(map(str, pixels.tolist()))},{usage}"


def write_csv(folder: Path, rows: list[str], end: str = "\n", header: str = "emotion,pixels,Usage") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fer2013.csv"
    path.write_bytes("".join(line + end for line in [header, *rows]).encode())
    return path


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
    assert totals == {"Training": 28_709, "PublicTest": 3_589, "PrivateTest": 3_589}
    # The whole file's totals for the codes 0 to 6: the classes must stand in the order of the codes.
    by_code = [sum(DATASET.counts[split][name] for split in DATASET.splits) for name in DATASET.classes]
    assert by_code == [4953, 547, 5121, 8989, 6077, 4002, 6198]


def test_roles_are_the_competitions() -> None:
    assert dict(DATASET.roles) == {"train": "Training", "select": "PublicTest", "report": "PrivateTest"}
    assert DATASET.default_for == "auxiliary"
    assert "not redistributable" in DATASET.licence


# fer2013.csv


def test_a_csv_as_torchvision_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    pixels, usages = faces(60), ["Training"] * 41 + ["PublicTest"] * 10 + ["PrivateTest"] * 9
    rows = [row(i % 7, pixels[i], usage) for i, usage in enumerate(usages)]
    write_csv(tmp_path / "fer2013", rows)
    monkeypatch.setattr("torchvision.datasets.fer2013.check_integrity", lambda *_, **__: True)
    ours = {split: DATASET.load(split, tmp_path / "fer2013") for split in DATASET.splits}
    for theirs_split, ours_splits in (("train", ["Training"]), ("test", ["PublicTest", "PrivateTest"])):
        theirs = torchvision.datasets.FER2013(tmp_path, theirs_split)
        expected = [(np.asarray(image).tobytes(), label) for image, label in theirs]
        read = [
            (image.tobytes(), label)
            for split in ours_splits
            for image, label in zip(ours[split].images, ours[split].labels.tolist(), strict=True)
        ]
        assert read == expected


@st.composite
def csvs(draw: st.DrawFn) -> tuple[NDArray[np.uint8], list[int], list[str]]:
    number = draw(st.integers(1, 20))
    seed = draw(st.integers(0, 2**32 - 1))
    highest = draw(st.sampled_from([1, 10, 11, 100, 101, 256]))
    pixels = np.random.default_rng(seed).integers(0, highest, (number, 2304), dtype=np.uint8)
    codes = draw(st.lists(st.integers(0, 6), min_size=number, max_size=number))
    usages = draw(st.lists(st.sampled_from(fer2013.SPLITS), min_size=number, max_size=number))
    return pixels, codes, usages


@settings(max_examples=40, deadline=None)
@given(csvs(), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_what_is_written_is_read(tmp_path_factory, content, end: str, quoted: bool, blank_line: bool) -> None:
    pixels, codes, usages = content
    rows = [row(*each) for each in zip(codes, pixels, usages, strict=True)]
    if quoted:
        rows = [",".join(f'"{field}"' for field in each.split(",")) for each in rows]
    folder = tmp_path_factory.mktemp("csv")
    path = write_csv(folder, rows + [""] * blank_line, end)
    with path.open(newline="") as file:
        independent = [
            (int(r["emotion"]), bytes(map(int, r["pixels"].split())), r["Usage"]) for r in csv.DictReader(file)
        ]
    for split in fer2013.SPLITS:
        expected = [(code, face) for code, face, usage in independent if usage == split]
        if not expected:
            with pytest.raises(DatasetError, match=f"holds no {split} images of fer2013, only: "):
                DATASET.load(split, folder)
            continue
        samples = DATASET.load(split, folder)
        assert samples.images.dtype == np.uint8
        assert samples.images.shape == (len(expected), 48, 48, 1)
        assert samples.labels.dtype == np.int64
        assert list(zip(samples.labels.tolist(), map(bytes, samples.images), strict=True)) == expected
        places = [i for i, usage in enumerate(usages) if usage == split]
        assert samples.ids == tuple(f"{split}_{place:08d}" for place in places)


CORRUPTIBLE = faces(20)
BAD_PIXELS = st.sampled_from(["256", "300", "999", "1000", "0123", "-1", "+1", "1.5", "abc", "1_0", "0x1", "²", "NaN"])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 19), st.integers(0, 2303), BAD_PIXELS)
def test_a_bad_pixel_is_named(tmp_path_factory, place: int, pixel: int, bad: str) -> None:
    words = [str(value) for value in CORRUPTIBLE[place].tolist()]
    words[pixel] = bad
    rows = [row(3, face, "Training") for face in CORRUPTIBLE]
    rows[place] = f"3,{' '.join(words)},Training"
    path = write_csv(tmp_path_factory.mktemp("csv"), rows)
    if bad == "0123":  # four digits, but a number within the range
        assert DATASET.load("Training", path.parent).images[place].ravel()[pixel] == 123
        return
    with pytest.raises(DatasetError) as caught:
        DATASET.load("Training", path.parent)
    assert caught.value.line == (f"{path}, row {place + 2}: pixel {pixel + 1} is '{bad}', not a number from 0 to 255")


@pytest.mark.parametrize("pixels", [0, 1, 2303, 2305, 4608])
@pytest.mark.parametrize("place", [0, 7, 8, 19])
def test_a_wrong_number_of_pixels_is_named(tmp_path: Path, place: int, pixels: int) -> None:
    rows = [row(0, face, "Training") for face in CORRUPTIBLE]
    rows[place] = row(0, np.resize(CORRUPTIBLE[place], pixels), "Training")
    path = write_csv(tmp_path, rows)
    with pytest.raises(DatasetError) as caught:
        DATASET.load("Training", tmp_path)
    assert caught.value.line == f"{path}, row {place + 2}: {pixels} pixels instead of 2304 (48x48)"


def test_a_pixel_that_moved_to_the_next_row_is_noticed(tmp_path: Path) -> None:
    rows = [row(0, face, "Training") for face in CORRUPTIBLE]
    rows[2] = row(0, CORRUPTIBLE[2][:-1], "Training")
    rows[3] = row(0, np.append(CORRUPTIBLE[3], CORRUPTIBLE[2][-1]), "Training")
    write_csv(tmp_path, rows)
    with pytest.raises(DatasetError, match="row 4: 2303 pixels"):
        DATASET.load("Training", tmp_path)


def test_other_blanks_between_numbers_change_nothing(tmp_path: Path) -> None:
    pixels = faces(3)
    rows = [row(0, face, "Training") for face in pixels]
    rows[1] = rows[1].replace(" ", "  ", 5).replace(",Training", "  ,Training")
    rows[2] = rows[2].replace(" ", "\t")
    write_csv(tmp_path, rows)
    assert (DATASET.load("Training", tmp_path).images.reshape(3, 2304) == pixels).all()


@pytest.mark.parametrize("code", ["7", "-1", "", "x", "3.0", "happy"])
def test_a_bad_code_is_named(tmp_path: Path, code: str) -> None:
    pixels = faces(2)
    path = write_csv(tmp_path, [row(0, pixels[0], "Training"), row(code, pixels[1], "Training")])
    with pytest.raises(DatasetError) as caught:
        DATASET.load("Training", tmp_path)
    assert caught.value.line == f"{path}, row 3: emotion {code!r} is no code from 0 to 6"


@pytest.mark.parametrize("usage", ["Test", "training", ""])
def test_an_unknown_usage_is_named_whatever_split_is_read(tmp_path: Path, usage: str) -> None:
    pixels = faces(2)
    path = write_csv(tmp_path, [row(0, pixels[0], "Training"), row(1, pixels[1], usage)])
    with pytest.raises(DatasetError) as caught:
        DATASET.load("Training", tmp_path)
    assert f"{path}, row 3: Usage {usage!r} is none of Training, PublicTest, PrivateTest" in caught.value.line


def test_a_file_that_was_cut_off_is_noticed(tmp_path: Path) -> None:
    path = write_csv(tmp_path, [row(0, face, "Training") for face in faces(3)])
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DatasetError, match=r"row 4: Usage .*is the copy cut off\?"):
        DATASET.load("Training", tmp_path)


def test_a_row_with_another_number_of_columns_is_named(tmp_path: Path) -> None:
    face = faces(1)[0]
    path = write_csv(tmp_path, [row(0, face, "Training"), row("0,0", face, "Training")])
    with pytest.raises(DatasetError, match=re.escape(f"{path}, row 3: 4 columns instead of 3")):
        DATASET.load("Training", tmp_path)


@pytest.mark.parametrize("header", ["", "emotion,pixels", "version https://git-lfs.github.com/spec/v1", "a,b,c"])
def test_another_header_is_named(tmp_path: Path, header: str) -> None:
    path = write_csv(tmp_path, [], header=header)
    with pytest.raises(DatasetError) as caught:
        DATASET.load("Training", tmp_path)
    assert f"{path}, row 1: {header!r} is not the header emotion,pixels,Usage" in caught.value.line


def test_a_header_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    write_csv(tmp_path, [row(6, faces(1)[0], "Training")], header="\ufeffemotion,pixels,Usage")
    assert found(DATASET.load("Training", tmp_path)) == {"Training_00000000": "neutral"}


def test_a_missing_split_says_what_there_is(tmp_path: Path) -> None:
    write_csv(tmp_path, [row(0, face, "Training") for face in faces(2)])
    with pytest.raises(
        DatasetError, match=r"holds no PublicTest images of fer2013, only: Training 2; use a whole copy"
    ):
        DATASET.load("PublicTest", tmp_path)


def test_counts_that_differ_are_a_warning(tmp_path: Path) -> None:
    write_csv(tmp_path, [row(1, face, "PublicTest") for face in faces(56)])
    (warning,) = DATASET.load("PublicTest", tmp_path).warnings
    assert warning.startswith("PublicTest has 56 images here and 3589 as published (angry 0 for 467, fear 0 for 496,")


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
        DATASET.classes[i]: int(image[0, 0, 0]) for i, image in zip(samples.labels, decode(samples.images), strict=True)
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
    with pytest.raises(DatasetError, match="contempt is no class of fer2013: its classes are angry, disgust"):
        DATASET.load("Training", tmp_path)


def test_a_tree_without_a_split_says_what_there_is(tmp_path: Path) -> None:
    make_tree(tmp_path, {name: value for name, value in KAGGLE.items() if "Public" not in name})
    with pytest.raises(DatasetError, match=r"no PublicTest images of fer2013, only: Training 3, PrivateTest 2; use a"):
        DATASET.load("PublicTest", tmp_path)


NAMELESS = {"train/angry/im0.png": 10, "train/happy/im0.png": 20, "test/happy/im1.png": 30, "test/sad/im2.png": 40}


def test_without_telling_names_the_folder_decides_and_says_so(tmp_path: Path) -> None:
    make_tree(tmp_path, NAMELESS)
    assert found(DATASET.load("Training", tmp_path)) == {"train/angry/im0.png": "angry", "train/happy/im0.png": "happy"}
    samples = DATASET.load("PrivateTest", tmp_path)
    assert found(samples) == {"test/happy/im1.png": "happy", "test/sad/im2.png": "sad"}
    assert samples.warnings[0] == (
        "PrivateTest is what lies in test: the file names do not say which official split they are of; "
        "without a validation folder a test folder usually is PublicTest and PrivateTest together (n = 2)"
    )
    with pytest.raises(DatasetError, match="no PublicTest images of fer2013, only: Training 2, PrivateTest 2"):
        DATASET.load("PublicTest", tmp_path)


@pytest.mark.parametrize("name", ["validation", "Val", "valid", "PublicTest"])
def test_a_validation_folder_is_public_test(tmp_path: Path, name: str) -> None:
    make_tree(tmp_path, NAMELESS | {f"{name}/fear/im3.png": 50})
    samples = DATASET.load("PublicTest", tmp_path)
    assert found(samples) == {f"{name}/fear/im3.png": "fear"}
    assert samples.warnings[0].startswith(f"PublicTest is what lies in {name}: ")
    assert "together" not in DATASET.load("PrivateTest", tmp_path).warnings[0]


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
    assert DATASET.locate(tmp_path) == tmp_path / root


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
