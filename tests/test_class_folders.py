"""`folder:PATH`: what trees become, against trees made up by hand and at random."""

from __future__ import annotations

import random
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ferbench.cli import root
from ferbench.components import Dataset
from ferbench.data.roles import RoleReader
from ferbench.errors import DatasetError, FerbenchError, UnknownName, UsageError
from ferbench.expressions import BASIC8
from ferbench.references import parse_reference
from ferbench_plugins import class_folders

(FAMILY,) = class_folders.ferbench_register_datasets()

#: Written down here once more, so that the table of ferbench.expressions is not its own witness.
WORDS = {
    "angry": ("angry", "anger"),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "afraid"),
    "happy": ("happy", "joy", "happiness"),
    "sad": ("sad", "sadness"),
    "surprise": ("surprise", "surprised"),
    "neutral": ("neutral", "neutrality"),
    "contempt": ("contempt", "contemptuous"),
}


def tree(root: Path, *paths: str) -> Path:
    """Files, those with an image's name as images of one pixel each."""
    for number, name in enumerate(paths):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg"):
            Image.new("RGB", (3, 2), (number, 1, 2)).save(path)
        else:
            path.touch()
    return root


def resolved(path: Path | str) -> Dataset:
    return FAMILY.resolve(f"folder:{path}")


def labelled(dataset: Dataset, split: str) -> dict[str, str]:
    """The class of each id."""
    samples = dataset.load(split, Path())
    assert samples.labels is not None
    return {each: dataset.classes[label] for each, label in zip(samples.ids, samples.labels, strict=True)}


def warnings(dataset: Dataset, split: str) -> Sequence[str]:
    return dataset.load(split, Path()).warnings


def test_class_folders_are_one_split_that_is_trained_on(tmp_path: Path) -> None:
    dataset = resolved(tree(tmp_path, "Happiness/b.png", "sad/a.PNG", "Happiness/a.jpg", "CONTEMPT/x.png"))
    assert dataset.classes == ("happy", "sad", "contempt")
    assert (dataset.splits, dict(dataset.roles)) == (("all",), {"train": "all"})
    assert labelled(dataset, "all") == {
        "CONTEMPT/x.png": "contempt",
        "Happiness/a.jpg": "happy",
        "Happiness/b.png": "happy",
        "sad/a.PNG": "sad",
    }
    samples = dataset.load("all", tmp_path)
    assert (samples.groups, samples.warnings) == (None, ())
    assert samples.labels is not None
    assert samples.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("folders", "splits", "roles"),
    [
        (["train"], ("train",), {"train": "train"}),
        (["Training", "TEST"], ("train", "test"), {"train": "train", "report": "test"}),
        (["train", "valid"], ("train", "val"), {"train": "train", "report": "val"}),
        (
            ["train", "dev", "test"],
            ("train", "val", "test"),
            {"train": "train", "select": "val", "report": "test"},
        ),
        (["Validation", "Test"], ("val", "test"), {"select": "val", "report": "test"}),
        (["Val"], ("val",), {"report": "val"}),
    ],
)
def test_folders_for_splits_play_their_roles(
    tmp_path: Path, folders: list[str], splits: tuple[str, ...], roles: dict[str, str]
) -> None:
    for number, folder in enumerate(folders):
        tree(tmp_path / folder, f"happy/{number}.png", "sad/0.png")
    dataset = resolved(tmp_path)
    assert (dataset.splits, dict(dataset.roles)) == (splits, roles)
    number = folders.index(next(each for each in folders if each.lower().startswith(splits[0][:2])))
    assert labelled(dataset, splits[0]) == {f"happy/{number}.png": "happy", "sad/0.png": "sad"}


def test_classes_are_those_of_all_splits_together(tmp_path: Path) -> None:
    dataset = resolved(tree(tmp_path, "train/happy/1.png", "train/sad/1.png", "test/fear/1.png"))
    assert dataset.classes == ("fear", "happy", "sad")
    assert labelled(dataset, "test") == {"fear/1.png": "fear"}


@pytest.mark.parametrize("around", ["", "My Faces/", "download/faces/"])
def test_a_zip_is_read_as_its_folder_is_and_one_around_it_is_looked_through(tmp_path: Path, around: str) -> None:
    names = [f"{split}/{name}/{n}.png" for split in ("train", "test") for name in ("happy", "sad") for n in (1, 2)]
    folder = tree(tmp_path / "faces", *(around + name for name in names), f"{around}README.txt", "__MACOSX/x.png")
    with zipfile.ZipFile(tmp_path / "faces.ZIP", "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    for dataset in (resolved(folder), resolved(tmp_path / "faces.ZIP")):
        assert dataset.splits == ("train", "test")
        assert labelled(dataset, "test") == {
            "happy/1.png": "happy",
            "happy/2.png": "happy",
            "sad/1.png": "sad",
            "sad/2.png": "sad",
        }
        assert warnings(dataset, "test") == warnings(dataset, "train") == ()


def test_names_are_as_typed_and_places_follow_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path / "my faces", "happy/1.png", "sad/1.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for typed, name in (("my faces//", "my faces"), ("./my faces", "./my faces"), ("~/my faces", "~/my faces")):
        dataset = FAMILY.resolve(f"folder:{typed}")
        assert dataset.name == f"folder:{name}"
        assert dataset.locate(Path("/elsewhere")) == tmp_path / "my faces"


def test_folders_below_all_classes_are_groups(tmp_path: Path) -> None:
    dataset = resolved(
        tree(tmp_path, "train/happy/ann/1.png", "train/sad/ann/1.png", "train/sad/bob/2.png", "val/happy/1.png")
    )
    samples = dataset.load("train", tmp_path)
    assert samples.ids == ("happy/ann/1.png", "sad/ann/1.png", "sad/bob/2.png")
    assert samples.groups == ("ann", "ann", "bob")
    assert dataset.load("val", tmp_path).groups is None


def test_folders_below_some_classes_are_passed_over_and_so_are_deeper_ones(tmp_path: Path) -> None:
    dataset = resolved(tree(tmp_path, "happy/1.png", "sad/1.png", "sad/old/2.png", "sad/a/b/3.png", "4.png"))
    assert list(labelled(dataset, "all")) == ["happy/1.png", "sad/1.png"]
    assert warnings(dataset, "all") == (
        "3 files passed over, not right in a class folder as other images are: 4.png, sad/a/b/3.png, sad/old/2.png",
    )


def test_a_doubled_class_folder_is_one(tmp_path: Path) -> None:
    dataset = resolved(tree(tmp_path, "happy/happy/1.png", "sad/Sadness/1.png"))
    assert labelled(dataset, "all") == {"happy/happy/1.png": "happy", "sad/Sadness/1.png": "sad"}
    assert dataset.load("all", tmp_path).groups is None


def test_two_words_for_one_class_are_one(tmp_path: Path) -> None:
    dataset = resolved(tree(tmp_path, "happy/1.png", "joy/1.png", "sad/1.png"))
    assert labelled(dataset, "all") == {"happy/1.png": "happy", "joy/1.png": "happy", "sad/1.png": "sad"}


def test_what_is_no_sample_is_told_and_counted(tmp_path: Path) -> None:
    tree(
        tmp_path, "train/happy/1.png", "train/sad/1.png", "train/sad/a.txt", "train/sad/b.heic", "train/happy/Thumbs.db"
    )
    (tmp_path / "train/fear").mkdir()
    (tmp_path / "val/happy").mkdir(parents=True)
    tree(tmp_path, "train/angry/notes.md", "cover.jpg", "train/__MACOSX/happy/1.png")
    assert warnings(resolved(tmp_path), "train") == (
        "folder val holds no image: there is no split val",
        "1 file passed over, not right in a class folder as other images are: cover.jpg",
        "3 files passed over, not images by their names: train/angry/notes.md, train/sad/a.txt, train/sad/b.heic",
        "class folder train/angry holds no image",
        "class folder train/fear holds no image",
    )


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["happy/1.png", "bored/1.png"], r"folder bored \(with 1.png\) is named after no expression: .*contempt"),
        (["train/happy/1.png", "train/bored/1.png"], r"folder train/bored \(with 1.png\) is named after no expression"),
        (["train/happy/1.png", "extra/sad/1.png"], r"folder extra .* is named after no expression"),
        (["happy/1.png", "happy/2.png", "sad/1.txt"], r"has one class alone \(happy\): at least two"),
        (["a.png", "b.png"], "holds no image in a class folder: name the folders angry, disgust"),
        (["bored/1.png"], "holds no image in a class folder"),
        (["happy/1.txt", "sad/2.txt"], "holds no image in a class folder"),
        ([], "holds no image in a class folder"),
        (["train/happy/1.png", "sad/1.png"], "sad/1.png is in no split, but there is a folder for train: move it"),
        (["val/happy/1.png", "Valid/sad/1.png"], "Valid and val are both the split val: put them together"),
        (["train/happy/1.png", "train/sad/1.png", "test/1.png"], "test/1.png and the other images of test are in no"),
    ],
)
def test_trees_that_cannot_be_understood_are_one_line(tmp_path: Path, paths: list[str], said: str) -> None:
    with pytest.raises(DatasetError, match=said) as caught:
        resolved(tree(tmp_path, *paths))
    assert str(tmp_path) in caught.value.line


def test_a_link_out_of_the_folder_and_a_damaged_zip_are_refused(tmp_path: Path) -> None:
    tree(tmp_path / "other", "1.png")
    tree(tmp_path / "faces", "happy/1.png", "sad/1.png")
    (tmp_path / "faces/happy/2.png").symlink_to(tmp_path / "other/1.png")
    with pytest.raises(DatasetError, match=r"happy/2.png is a link that leads out of"):
        resolved(tmp_path / "faces")
    (tmp_path / "faces.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match=r"faces.zip is no whole zip"):
        resolved(tmp_path / "faces.zip")


@pytest.mark.parametrize("text", ["gone", "gone/", "", "notes.txt", "~nobody-of-this-name/x", "a\0b", "x" * 5000])
def test_what_is_not_there_is_an_unknown_name_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tree(tmp_path, "notes.txt"))
    with pytest.raises(UnknownName, match="no dataset named") as caught:
        FAMILY.resolve(f"folder:{text}")
    assert caught.value.advised
    assert "\n" not in caught.value.line


def test_references_with_splits_find_the_folder(tmp_path: Path) -> None:
    tree(tmp_path / "a:b", "train/happy/1.png", "train/sad/1.png", "val/sad/2.png")

    def find(name: str) -> Dataset:
        if name.startswith("folder:"):
            return FAMILY.resolve(name)
        raise UnknownName("dataset", name, ())

    found = parse_reference(f"folder:{tmp_path}/a:b:train+val", find)
    assert found.dataset.name == f"folder:{tmp_path}/a:b"
    assert found.splits == ("train", "val")
    with pytest.raises(UnknownName, match=f"there is no folder or zip {tmp_path}/gone"):
        parse_reference(f"folder:{tmp_path}/gone:val", find)
    with pytest.raises(UnknownName, match=f"there is no folder or zip {tmp_path}/gone"):
        parse_reference(f"folder:{tmp_path}/gone", find)


def test_images_of_every_size_and_mode_are_read_by_role(tmp_path: Path) -> None:
    """Grey stays one channel, colour becomes RGB, alpha lies on black, an EXIF turn is undone."""
    root = tmp_path / "faces"
    for split in ("train", "test"):
        for name in ("happy", "sad"):
            (root / split / name).mkdir(parents=True)
    happy, sad = root / "train/happy", root / "train/sad"
    Image.new("CMYK", (5, 7), (0, 255, 255, 0)).save(happy / "cmyk.JPEG", quality=100)
    Image.fromarray(np.full((6, 4), 0x80FF, np.uint16)).save(happy / "deep.PNG")
    Image.new("P", (9, 3), 1).save(happy / "palette.gif")
    Image.new("RGBA", (4, 4), (200, 100, 50, 0)).save(sad / "alpha.Webp", lossless=True)
    turned = Image.new("RGB", (8, 2), (10, 20, 200))
    turned.save(sad / "turned.jpg", exif=exif_of(orientation=6))
    Image.new("1", (700, 20), 1).save(sad / "long.bmp")
    for stray in ("train/__MACOSX/happy/._cmyk.JPEG", "train/happy/Thumbs.db", "train/sad/.DS_Store", "desktop.ini"):
        (root / stray).parent.mkdir(parents=True, exist_ok=True)
        (root / stray).write_bytes(b"not an image")
    for name in ("happy", "sad"):
        Image.new("RGB", (3, 3), (1, 2, 3)).save(root / "test" / name / "1.png")
    dataset = resolved(root)
    reader = RoleReader(lambda name: dataset, tmp_path / "none", tmp_path / "cache")
    train = {
        **read(reader, "train"),
        **read(reader, "select"),
    }
    assert {name: image.shape for name, image in train.items()} == {
        "happy/cmyk.JPEG": (7, 5, 3),
        "happy/deep.PNG": (6, 4, 1),
        "happy/palette.gif": (3, 9, 1),
        "sad/alpha.Webp": (4, 4, 1),
        "sad/turned.jpg": (8, 2, 3),
        "sad/long.bmp": (15, 512, 1),
    }
    assert train["happy/deep.PNG"].ravel().tolist() == [0x80] * 24
    assert train["sad/alpha.Webp"].max() == 0
    assert train["happy/cmyk.JPEG"][0, 0, 0] > 200 > 60 > train["happy/cmyk.JPEG"][0, 0, 1]
    assert set(read(reader, "report")) == {"happy/1.png", "sad/1.png"}


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def read(reader: RoleReader, role: str) -> dict[str, np.ndarray]:
    found = getattr(reader, role)("folder")
    return dict(zip(found.ids, list(found.images), strict=True))


def cased(word: str) -> st.SearchStrategy[str]:
    return st.tuples(*(st.sampled_from([c.lower(), c.upper()]) for c in word)).map("".join)


CLASS_FOLDERS = st.sampled_from([(name, word) for name, words in WORDS.items() for word in words]).flatmap(
    lambda pair: cased(pair[1]).map(lambda folder: (pair[0], folder))
)
FILES = st.text(alphabet="abcXYZ019_- é", min_size=1, max_size=6).filter(lambda text: text.strip() == text)
SUFFIXES = st.sampled_from([".png", ".JPG", ".jpeg", ".Tif", ".webp", ".bmp"])
IMAGES = st.tuples(CLASS_FOLDERS, FILES, SUFFIXES)
TREES = st.dictionaries(
    st.sampled_from(["train", "val", "test"]),
    st.lists(IMAGES, min_size=1, max_size=8, unique_by=lambda each: (each[0][1], each[1], each[2])),
    min_size=1,
)
SPELLINGS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test",)}


@settings(max_examples=60, deadline=None)
@given(trees=TREES, data=st.data())
def test_every_image_of_any_tree_is_one_sample_of_its_folders_class(
    trees: dict[str, list[tuple[tuple[str, str], str, str]]], data: st.DataObject
) -> None:
    flat = len(trees) == 1 and data.draw(st.booleans())
    above = {
        split: "" if flat else data.draw(st.sampled_from(SPELLINGS[split]).flatmap(cased)) + "/" for split in trees
    }
    expected = {
        "all" if flat else split: {f"{folder}/{stem}{suffix}": name for (name, folder), stem, suffix in images}
        for split, images in trees.items()
    }
    paths = [above[split] + f"{folder}/{stem}{suffix}" for split in trees for (_, folder), stem, suffix in trees[split]]
    seen = []
    for order in (paths, random.Random(len(paths)).sample(paths, len(paths))):
        with tempfile.TemporaryDirectory() as place:
            for path in order:
                (Path(place) / path).parent.mkdir(parents=True, exist_ok=True)
                (Path(place) / path).touch()
            found = {name for images in expected.values() for name in images.values()}
            if len(found) < 2:
                with pytest.raises(DatasetError, match="one class alone"):
                    resolved(place)
                return
            dataset = resolved(place)
            assert dataset.classes == tuple(name for name in BASIC8 if name in found)
            assert {split: labelled(dataset, split) for split in dataset.splits} == expected
            seen.append([dataset.load(split, Path(place)).ids for split in dataset.splits])
            assert all(warnings(dataset, split) == () for split in dataset.splits)
    assert seen[0] == seen[1]


PARTS = st.sampled_from(["train", "Val", "happy", "SAD", "bored", "x.png", "y.JPG", "z.txt", ".hidden", "__MACOSX"])


@settings(max_examples=120, deadline=None)
@given(paths=st.lists(st.lists(PARTS, min_size=1, max_size=4).map("/".join), max_size=6))
def test_any_tree_is_a_dataset_or_one_line(paths: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        for path in paths:
            try:
                (Path(place) / path).parent.mkdir(parents=True, exist_ok=True)
                (Path(place) / path).touch()
            except OSError:  # one path's file is another's folder
                continue
        try:
            dataset = resolved(place)
        except FerbenchError as error:
            assert error.line
            return
        assert len(dataset.classes) >= 2
        for split in dataset.splits:
            samples = dataset.load(split, Path(place))
            assert samples.labels is not None
            assert len(samples.ids) == len(set(samples.ids)) == len(samples.labels) == len(samples.images) > 0


def test_one_folder_under_two_names_is_not_two_datasets(bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    tree(tmp_path / "faces", *(f"{name}/{number}.png" for name in ("happy", "sad") for number in range(20)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"folder:faces is the target and, as folder:\./faces, an auxiliary at once"):
        bench.run("cascade", targets=("folder:faces:hold-out",), auxiliaries=(("folder:./faces",),))


def test_a_board_keeps_its_first_name_and_its_rows_their_predictions(
    bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    paths = [
        f"{split}/{name}/{number}.png" for split in ("train", "test") for name in ("happy", "sad") for number in "1234"
    ]
    tree(tmp_path / "faces", *paths)
    monkeypatch.chdir(tmp_path)
    axes = {"auxiliaries": ((),), "recipe": {"images_seen": 16, "batch_size": 8, "image_size": 12}}
    (first,) = bench.run("target-only", targets=("folder:faces",), **axes).finished
    (second,) = bench.run("target-only", targets=("folder:./faces",), seeds=(1,), **axes).finished
    assert first.board.fingerprint == second.board.fingerprint
    (board,) = bench.store.boards().values()
    assert board.target == "folder:faces"
    for run in (first, second):
        ((found, predictions),) = bench.store.run_predictions(run.row)
        assert found.key == run.key and len(predictions.ids) == 8
    arguments = ["leaderboard", "--store", bench.store.location, "-t", "folder:./faces"]
    result = CliRunner().invoke(root, arguments, prog_name="ferbench")
    assert result.exit_code == 0 and "folder:faces test" in result.stdout
