"""`ferbench datasets` on copies with known faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from wrapping import says

from ferbench.cli import root

#: A dataset `shots`: class folders below train, report and test; files are named GROUP_NUMBER; test has no labels.
PLUGIN = """
import dataclasses
from pathlib import Path
from ferbench import Dataset, DatasetFamily, Samples, hookimpl
from ferbench.errors import DatasetError, UnknownName

CLASSES = ("happy", "sad")

def load(split, root):
    import numpy as np
    files = sorted((root / split).rglob("*.png"))
    if not files:
        raise DatasetError(f"{root} has no {split}")
    labels = None if split == "test" else np.array([CLASSES.index(f.parent.name) for f in files], dtype=np.int64)
    ids = tuple(f"{f.parent.name}/{f.stem}" for f in files)
    return Samples(files, labels, ids, tuple(f.stem.split("_")[0] for f in files))

def dataset(name, locate, **changes):
    return Dataset(name, 1, CLASSES, ("train", "report", "test"), {"train": "train", "report": "report"}, locate, load,
                   steps="put it into DATA/shots, DATA being the data folder", **changes)

def found(folder):
    return folder / "shots" if (folder / "shots").is_dir() else None

def at(name):
    path = Path(name.removeprefix("at:"))
    if not path.is_dir():
        raise UnknownName("dataset", name, (), advice=f"there is no folder {path}")
    if not any(path.rglob("*.png")):
        raise DatasetError(f"{path} holds no picture")
    return dataset(name, lambda folder: path)

@hookimpl
def ferbench_register_datasets():
    counts = {"train": {"happy": 4, "sad": 2}, "report": {"happy": 1, "sad": 2}}
    return [dataset("shots", found), dataset("shots-published", found, counts=counts),
            dataset("shots-lost", lambda folder: None), DatasetFamily("at:", at, tuple, summary="a folder of shots")]
"""

Call = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shots_plugin.py").write_text(PLUGIN, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FERBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def shots(home: Path) -> Path:
    """A sound copy with nothing in it twice."""
    folder = home / "data/shots"
    numbers = iter(range(1, 99))
    for place in ("train/happy/a_1", "train/happy/a_2", "train/happy/b_1", "train/happy/b_2", "train/sad/a_3",
                  "train/sad/b_3", "report/happy/c_1", "report/sad/c_2", "report/sad/d_1", "test/x/e_1"):  # fmt: skip
        put(folder, place, next(numbers))
    return folder


def put(folder: Path, place: str, value: int, *, size: tuple[int, int] = (8, 8), colour: bool = False) -> None:
    """A picture that its value tells from all others."""
    pixels = np.full((*size[::-1], 3), value, np.uint8)
    pixels[0, 0] = (255, 0, 0) if colour else 255
    path = folder / f"{place}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def datasets(home: Path) -> Call:
    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, ["--plugin", "shots_plugin.py", "datasets", *arguments], prog_name="ferbench")
        assert result.exit_code == code, result.output
        # A path is never broken, however long pytest's own folders are.
        lines = [line for line in result.stdout.splitlines() if str(Path.cwd()) not in line]
        assert "--json" in arguments or all(len(line) <= 80 for line in lines)
        return result

    return call


def words(result: Result) -> str:
    return " ".join(result.stdout.split())


def report(datasets: Call, *arguments: str, code: int = 0) -> dict[str, object]:
    (found,) = json.loads(datasets("check", *arguments, "--json", code=code).stdout)["datasets"]
    assert isinstance(found, dict)
    return found


OVERLAPS = ("exact", "across_splits", "label_conflicts", "groups_across_splits")


def test_a_sound_copy_is_described_and_nothing_is_wrong(datasets: Call, shots: Path) -> None:
    put(shots, "report/sad/d_1", 60, size=(12, 20), colour=True)
    text = words(datasets("check", "shots-published"))
    assert "train: 8x8, grey · largest class happy, 66.7 %, 2.0 times sad · 2 groups, largest a with 3" in text
    assert "report: 2 sizes, 8x8 to 12x20, median 8x8, 2 grey and 1 in colour · largest class sad" in text
    assert "happy 4 1 – sad 2 2 – in all 6 3 1 without label" in text
    assert "ok: 3 splits, counts as published, none are published for test" in text
    assert "warning" not in text and "fault" not in text.replace("without a fault", "")
    found = report(datasets, "shots-published")
    assert found["ok"] is True and found["copies"] == 0 and not any(found[word] for word in OVERLAPS)
    split = found["splits"][1]  # type: ignore[index]
    assert split["sizes"] == {
        "smallest": [8, 8], "median": [8, 8], "largest": [12, 20], "distinct": 2, "grey": 2, "coloured": 1
    }  # fmt: skip
    assert split["balance"]["imbalance"] == 2.0 and split["groups"] == {
        "number": 2, "largest": "c", "largest_count": 2
    }  # fmt: skip
    assert (split["split"], split["roles"], split["counts"]) == ("report", ["report"], {"happy": 1, "sad": 2})
    assert (split["withheld"], split["warnings"], split["fault"], split["unreadable"]) == (0, [], None, [])


def test_what_is_there_twice_is_a_warning_and_a_fault_if_asked_for(datasets: Call, shots: Path) -> None:
    put(shots, "train/happy/a_9", 1)
    put(shots, "train/sad/a_8", 2)
    put(shots, "report/happy/b_7", 3)
    text = words(datasets("check", "shots"))
    assert "warning: 3 of 13 pictures are exact copies of another" in text
    assert "warning: 2 copies within train: happy/a_1 = happy/a_9, happy/a_2 = sad/a_8" in text
    assert "warning: 1 of 4 pictures of report is in train too: happy/b_1 = happy/b_7" in text
    assert "warning: 1 picture bears more than one label: train:happy/a_2 (happy) = train:sad/a_8 (sad)" in text
    assert "warning: 1 group of report is in train too: b" in text
    assert "ok: 3 splits, read without a fault" in text
    found = report(datasets, "shots")
    assert found["ok"] is True and found["copies"] == 3
    assert found["exact"] == [["train:happy/a_1", "train:happy/a_9"], ["train:happy/a_2", "train:sad/a_8"]]
    assert found["across_splits"] == [["train:happy/b_1", "report:happy/b_7"]]
    assert found["label_conflicts"] == [["train:happy/a_2", "train:sad/a_8"]]
    assert found["groups_across_splits"] == [["train:b", "report:b"]]
    strict = words(datasets("check", "shots", "--strict", code=1))
    assert strict.count("fault: ") == 5 and "warning: " not in strict and "ok: " not in strict
    assert report(datasets, "shots", "--strict", code=1)["ok"] is False


def test_every_unreadable_image_is_counted_and_the_first_are_named(datasets: Call, shots: Path) -> None:
    broken = [shots / f"train/sad/z_{number:02}.png" for number in range(13)]
    for path in broken:
        path.write_bytes(b"no picture")
    result = datasets("check", "shots-published", code=1)
    text = words(result)
    assert "fault: train: 13 of 19 images cannot be read" in text
    assert "sad 15 for 2" in text, "the counts are those of all files"
    assert text.count("is not an image that can be read") == 10 and "train: 3 more that cannot be read" in text
    assert "report: 8x8, grey" in text, "the other splits are looked at"
    (train, *others) = report(datasets, "shots-published", code=1)["splits"]  # type: ignore[misc]
    assert [str(path) in line for path, line in zip(broken, train["unreadable"], strict=True)] == [True] * 13
    assert train["counts"] == {"happy": 4, "sad": 15} and train["sizes"] is None
    assert [other["fault"] for other in others] == [None, None]
    for path in broken:
        path.unlink()
    assert "ok: " in words(datasets("check", "shots-published"))


def test_a_split_that_is_not_there_is_a_fault_only_if_it_plays_a_role(datasets: Call, shots: Path) -> None:
    (shots / "test/x/e_1.png").unlink()
    text = words(datasets("check", "shots"))
    assert says(text, f"warning: test: {shots} has no test") and "ok: 2 splits" in text
    for path in (shots / "report").rglob("*.png"):
        path.unlink()
    text = words(datasets("check", "shots", code=1))
    assert says(text, f"fault: report: {shots} has no report") and "train: 8x8, grey" in text


def test_an_empty_class_is_named(datasets: Call, shots: Path) -> None:
    (shots / "report/happy/c_1.png").unlink()
    assert "largest class sad, 100.0 % · nothing of happy" in words(datasets("check", "shots"))


def test_one_lost_dataset_does_not_keep_the_others_from_being_checked(
    datasets: Call, shots: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    result = datasets("check", "at:empty", "shots-lost", "shots", code=1)
    assert "ok: 3 splits" in result.stdout
    errors = result.stderr.splitlines()
    assert errors[0] == "error: empty holds no picture"
    assert errors[1].startswith("error: dataset 'shots-lost' was not found in") and len(errors) == 2


def test_names_are_looked_at_before_anything_is_read(datasets: Call, shots: Path) -> None:
    result = datasets("check", "shots", "shots:report", code=2)
    assert result.stdout == "" and result.stderr == (
        "error: 'shots:report' names splits, but all splits of a dataset are checked: write shots\n"
    )
    assert "there is no folder nowhere" in datasets("check", "at:nowhere", code=2).stderr
    assert "did you mean shots" in datasets("check", "shotz", code=2).stderr


def test_a_sheet_goes_into_a_file_or_a_folder(datasets: Call, shots: Path, home: Path) -> None:
    assert "contact sheet: one.png" in datasets("check", "shots", "--sheet", "one.png").stdout
    with Image.open(home / "one.png") as sheet:
        assert sheet.format == "PNG" and sheet.size[0] > 900
    datasets("check", "shots", "at:data/shots", "at:data-shots", "--sheet", "sheets/here", code=2)
    (home / "data-shots").symlink_to(shots)
    datasets("check", "shots", "at:data/shots", "at:data-shots", "--sheet", "sheets/here")
    names = sorted(path.name for path in (home / "sheets/here").iterdir())
    assert names == ["at-data-shots-2.png", "at-data-shots.png", "shots.png"]
    error = datasets("check", "shots", "at:data/shots", "--sheet", "one.png", code=2).stderr
    assert "2 datasets do not go into one file: name a folder" in error
    error = datasets("check", "shots", "--sheet", "one.png/two.png", code=1).stderr
    assert error.startswith("error: contact sheet one.png/two.png cannot be written (")
    for path in shots.rglob("*.png"):
        path.write_bytes(b"")
    error = datasets("check", "shots", "--sheet", "none.png", code=1).stderr
    assert "no split of shots could be read" in error and not (home / "none.png").exists()


def test_where_says_what_was_looked_for_and_what_was_found(datasets: Call, shots: Path) -> None:
    text = words(datasets("where", "shots"))
    assert says(text, f"found: {shots}, a folder with report, test, train")
    assert "looked for: put it into DATA/shots" in text
    (view,) = json.loads(datasets("where", "shots", "--json").stdout)["datasets"]
    assert (view["state"], view["root"], view["holds"]) == ("found", str(shots), "a folder with report, test, train")
    assert "not found. Put it into DATA/shots" in words(datasets("where", "shots-lost"))
    assert "found: data/shots, a folder with" in words(datasets("where", "at:data/shots"))
    for prefix in ("at:", "at:…"):
        assert words(datasets("where", prefix)).endswith("at:… a folder of shots")


def test_list_shows_families_with_what_they_are_for(datasets: Call) -> None:
    text = words(datasets("list"))
    assert "at:… by name" in text and "a folder of shots" in text
