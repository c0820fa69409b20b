from pathlib import Path

import pytest
from PIL import Image

from ferbench.components import Dataset
from ferbench.data.roles import RoleReader
from ferbench.errors import DatasetError, SplitMissing, UnknownName
from ferbench_plugins import fer2013

(DATASET,) = fer2013.ferbench_register_datasets()


def reader(tmp_path: Path, names: list[str]) -> RoleReader:
    for value, name in enumerate(names):
        path = tmp_path / "data/fer2013" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (48, 48), value % 256).save(path)
    return RoleReader(found, tmp_path / "data", tmp_path / "cache")


def found(name: str) -> Dataset:
    if name != "fer2013":
        raise UnknownName("dataset", name, ["fer2013"])
    return DATASET


def test_a_copy_that_does_not_tell_can_be_a_target(tmp_path: Path) -> None:
    train = [f"train/{name}/{i}.png" for name in ("sad", "happy") for i in range(20)]
    roles = reader(tmp_path, [*train, "test/sad/a.png", "test/happy/b.png"])
    report = roles.report("fer2013")
    assert (report.splits, report.count) == ("test", 2)
    assert (roles.select("fer2013").splits, roles.select("fer2013").count) == ("Training (held out)", 6)
    assert (roles.train("fer2013").splits, roles.train("fer2013").count) == ("Training less held out", 34)


def test_a_copy_that_tells_plays_the_competitions_roles(tmp_path: Path) -> None:
    roles = reader(tmp_path, ["train/sad/Training_1.png", "test/sad/PublicTest_1.png", "test/sad/PrivateTest_1.png"])
    played = [read("fer2013").splits for read in (roles.train, roles.select, roles.report)]
    assert played == ["Training", "PublicTest", "PrivateTest"]


def test_training_alone_has_no_report(tmp_path: Path) -> None:
    roles = reader(tmp_path, [f"train/sad/Training_{i}.png" for i in range(20)])
    assert roles.select("fer2013").splits == "Training (held out)"
    with pytest.raises(DatasetError, match="has no report split: write fer2013:hold-out to report on a fifth of it"):
        roles.report("fer2013")
    assert roles.report("fer2013:hold-out").count == 4


def test_a_role_that_a_copy_lacks_is_not_asked_for_in_vain(tmp_path: Path) -> None:
    roles = reader(tmp_path, [f"train/{name}/{i}.png" for name in ("sad", "happy") for i in range(20)])
    with pytest.raises(SplitMissing, match=r"has no PublicTest, which plays select: get fer2013\.csv from Kaggle"):
        roles.train("fer2013:train+select")
    assert "this copy has no split to select on: 15% of Training are held out" in roles.train("fer2013").warnings
