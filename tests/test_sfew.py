from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferbench.errors import DatasetError, DatasetMissing
from ferbench.expressions import alignment, label_set
from ferbench_plugins import sfew

(DATASET,) = sfew.ferbench_register_datasets()

#: As printed for the distributed aligned faces: angry, disgust, fear, happy, neutral, sad, surprise.
PUBLISHED = {"Train": (178, 52, 78, 184, 144, 161, 94), "Val": (77, 23, 46, 72, 84, 73, 56)}
MOVIES = ("AboutABoy", "Harry_Potter_and_the_Goblet", "21", "I_Am_Sam")


def make_split(folder: Path, counts: dict[str, int]) -> None:
    """Class folders with tiny faces, the file names as distributed; films take turns."""
    content = None
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            path = folder / name / f"{MOVIES[number % len(MOVIES)]}_{number:06d}440_{number:08d}.png"
            if content is None:
                Image.new("RGB", (4, 5), (200, 100, 50)).save(path)
                content = path.read_bytes()
            path.write_bytes(content)


def published(split: str) -> dict[str, int]:
    return dict(zip(DATASET.classes, PUBLISHED[split], strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a copy that has the published counts."""
    data_folder = tmp_path_factory.mktemp("data")
    for split in sfew.SPLITS:
        make_split(data_folder / "SFEW" / split / f"{split}_Aligned_Faces", published(split))
    return data_folder


def test_counts_are_those_of_the_aligned_faces() -> None:
    assert {split: dict(DATASET.counts[split]) for split in DATASET.splits} == {s: published(s) for s in PUBLISHED}
    assert [sum(DATASET.counts[split].values()) for split in ("Train", "Val")] == [891, 431]


def test_val_is_reported_and_nothing_selects() -> None:
    assert dict(DATASET.roles) == {"train": "Train", "report": "Val"}
    assert DATASET.default_for == "target"
    assert "agreement" in DATASET.licence


@pytest.mark.parametrize("split", ["Train", "Val"])
def test_a_whole_copy_is_read_without_a_warning(whole: Path, split: str) -> None:
    root = DATASET.locate(whole)
    assert root == whole / "SFEW"
    samples = DATASET.load(split, root)
    assert samples.warnings == ()
    assert samples.labels.dtype == np.int64
    assert np.bincount(samples.labels).tolist() == list(PUBLISHED[split])
    assert len(samples.images) == len(set(samples.ids)) == len(samples.groups) == sum(PUBLISHED[split])
    for path, label, name, group in zip(samples.images, samples.labels, samples.ids, samples.groups, strict=True):
        assert path.parent.name == DATASET.classes[label]
        assert name == f"{path.parent.name}/{path.name}"
        assert path.name.startswith(f"{group}_")
    assert set(samples.groups) == set(MOVIES)


def test_labels_land_by_name(whole: Path) -> None:
    labels = label_set("basic7")
    samples = DATASET.load("Val", whole / "SFEW")
    landed = alignment(DATASET.classes, labels)[samples.labels]
    for path, index in zip(samples.images, landed, strict=True):
        assert labels.classes[index] == path.parent.name.lower()


@pytest.mark.parametrize(
    ("place", "root"),
    [
        ("Train/Train_Aligned_Faces", "."),
        ("Train_Aligned_Faces", "."),
        ("sfew/Train/Train_Aligned_Faces", "sfew"),
        ("SFEW_2.0/Train_Aligned_Faces", "SFEW_2.0"),
        ("sfew/SFEW_2/Train/Train_Aligned_Faces", "sfew/SFEW_2"),
    ],
)
def test_copies_are_found_where_people_put_them(tmp_path: Path, place: str, root: str) -> None:
    make_split(tmp_path / place, {"Happy": 1})
    assert DATASET.locate(tmp_path) == tmp_path / root
    assert len(DATASET.load("Train", tmp_path / root).ids) == 1


@pytest.mark.parametrize("place", ["other/Train/Happy", "sfew/Train/Happy", "Train/Happy"])
def test_other_trees_are_not_taken_for_it(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    assert DATASET.locate(tmp_path) is None
    assert DATASET.locate(tmp_path / "gone") is None


def test_all_frames_instead_of_the_aligned_faces_are_told(tmp_path: Path) -> None:
    make_split(tmp_path / "Val_Aligned_Faces", published("Val") | {"Fear": 47, "Sad": 77})
    samples = DATASET.load("Val", tmp_path)
    assert len(samples.ids) == 436
    (warning,) = samples.warnings
    assert warning == (
        "Val has 436 images here and 431 as published (Fear 47 for 46, Sad 77 for 73): published numbers mix "
        "the aligned faces (431) with all frames (436), compare scores only at the same n"
    )


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
    assert sfew.movie(Path(name)) == film


def test_an_image_that_names_no_film_is_its_own_group_and_told(tmp_path: Path) -> None:
    make_split(tmp_path / "Train_Aligned_Faces", {"Happy": 1})
    image = tmp_path / "Train_Aligned_Faces/Happy/face.png"
    Image.new("RGB", (4, 5)).save(image)
    samples = DATASET.load("Train", tmp_path)
    assert samples.groups == ("AboutABoy", "face")
    assert "1 images of Train do not name their film, each counts as its own: Happy/face.png" in samples.warnings


def test_one_frame_may_show_two_faces(tmp_path: Path) -> None:
    for name in ("Angry", "Fear"):
        make_split(tmp_path / "Train_Aligned_Faces", {name: 1})
    samples = DATASET.load("Train", tmp_path)
    assert samples.ids == ("Angry/AboutABoy_000000440_00000000.png", "Fear/AboutABoy_000000440_00000000.png")
    assert samples.groups == ("AboutABoy", "AboutABoy")


def test_folder_names_in_other_words_and_stray_files(tmp_path: Path) -> None:
    folder = tmp_path / "Val_Aligned_Faces"
    make_split(folder, {"anger": 1, "HAPPINESS": 2})
    (folder / "anger/Thumbs.db").touch()
    (folder / "anger/notes.txt").touch()
    samples = DATASET.load("Val", tmp_path)
    assert [DATASET.classes[label] for label in samples.labels] == ["Angry", "Happy", "Happy"]
    assert samples.warnings[0] == "1 file passed over, not images by their names: anger/notes.txt"


def test_a_folder_of_no_class_is_an_error(tmp_path: Path) -> None:
    make_split(tmp_path / "Val_Aligned_Faces", {"Happy": 1, "Contempt": 1})
    with pytest.raises(DatasetError, match="Contempt is no class of sfew: its classes are Angry, Disgust"):
        DATASET.load("Val", tmp_path)


def test_a_missing_split_tells_how_to_have_it(tmp_path: Path) -> None:
    make_split(tmp_path / "Train_Aligned_Faces", {"Happy": 1})
    with pytest.raises(DatasetMissing, match=r"'sfew \(Val\)' was not found in .*: ask the authors for it"):
        DATASET.load("Val", tmp_path)


def test_empty_folders_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "Val_Aligned_Faces/Happy").mkdir(parents=True)
    with pytest.raises(DatasetError, match="Val_Aligned_Faces holds no images in class folders"):
        DATASET.load("Val", tmp_path)
