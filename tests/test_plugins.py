"""Every built-in plugin conforms to what ferbench asks of strangers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferbench.catalog import Catalog
from ferbench.components import BackboneFamily, DatasetFamily
from ferbench.errors import RecipeError
from ferbench.matrix import check_image_size
from ferbench.testing import check_backbone, check_dataset, check_strategy

ROOT = Path(__file__).parents[1]
CATALOG = Catalog.load()

#: A quick member of every family; `hf/` takes a folder, which the test makes.
MEMBERS = {"timm/": "resnet10t", "tv/": "squeezenet1_1", "hf/": ""}

#: The same of datasets; those behind a colon take a path, which the test makes.
DATASET_MEMBERS = {"faces3d-source@": "14", "faces3d-film@": "14", "folder:": "", "manifest:": "", "hfds:": ""}

#: These take seconds to fill with random numbers.
LARGE = re.compile(r"vgg")

BACKBONES = [each.name for each in CATALOG.backbones() if not isinstance(each.component, BackboneFamily)]
BACKBONE_FAMILIES = [each.name for each in CATALOG.backbones() if isinstance(each.component, BackboneFamily)]
DATASETS = [each.name for each in CATALOG.datasets() if not isinstance(each.component, DatasetFamily)]
DATASET_FAMILIES = [each.name for each in CATALOG.datasets() if isinstance(each.component, DatasetFamily)]


def test_all_load() -> None:
    assert CATALOG.failures == ()


def test_entry_points_are_the_files_of_plugins() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    files = {path.stem for path in (ROOT / "plugins").glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}
    declared = pyproject["project"]["entry-points"]["ferbench"]
    assert declared == {name: f"ferbench_plugins.{name}" for name in files | packages}
    assert packages == {
        package.removeprefix("ferbench_plugins.")
        for package in pyproject["tool"]["setuptools"]["packages"]
        if package.startswith("ferbench_plugins.")
    }


def test_every_plugin_provides_something() -> None:
    listings = (*CATALOG.backbones(), *CATALOG.datasets(), *CATALOG.strategies(), *CATALOG.face_detectors())
    silent = {each.name for each in CATALOG.plugins()} - {each.plugin for each in listings}
    assert silent == {"reported_results"}
    assert CATALOG.reported_results("reported_results")


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone(name: str) -> None:
    backbone = CATALOG.backbone(name)
    check_backbone(backbone, values=not LARGE.match(name))
    assert backbone.citation
    assert backbone.licence
    with pytest.raises(RecipeError, match=f"{backbone.smallest_image_size}"):
        check_image_size(backbone, backbone.smallest_image_size - 1)


@pytest.mark.parametrize("prefix", BACKBONE_FAMILIES)
def test_backbone_family(prefix: str, tmp_path: Path) -> None:
    member = MEMBERS[prefix]
    if not member:
        from transformers import ResNetConfig

        member = str(tmp_path)
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic").save_pretrained(
            tmp_path
        )
    backbone = CATALOG.backbone(prefix + member)
    check_backbone(backbone, prefix=prefix)
    assert backbone.library


@pytest.mark.parametrize("name", DATASETS)
def test_dataset(name: str, tmp_path: Path) -> None:
    dataset = CATALOG.dataset(name)
    check_dataset(dataset, None if dataset.embedded else made_up(name, tmp_path), load=not dataset.embedded)
    assert dataset.citation or dataset.embedded


@pytest.mark.parametrize("prefix", DATASET_FAMILIES)
def test_dataset_family(prefix: str, tmp_path: Path) -> None:
    if member := DATASET_MEMBERS[prefix]:
        check_dataset(CATALOG.dataset(prefix + member), prefix=prefix)
    else:
        check_dataset(CATALOG.dataset(f"{prefix}{of_ones_own(prefix, tmp_path)}"), tmp_path, prefix=prefix)


@pytest.mark.parametrize("name", [each.name for each in CATALOG.strategies()])
def test_strategy(name: str) -> None:
    strategy = CATALOG.strategy(name)
    check_strategy(strategy)
    assert strategy.summary


def of_ones_own(prefix: str, folder: Path) -> Path:
    """Four pictures of two classes in train and test, as a family's path names them."""
    draw = np.random.default_rng(0)
    places = [(split, label) for split in ("train", "test") for label in ("happy", "sad")]
    for split, label in places:
        (folder / split / label).mkdir(parents=True)
        Image.fromarray(draw.integers(0, 256, (9, 8, 3), np.uint8)).save(folder / split / label / "a.png")
    if prefix == "manifest:":
        rows = [f"{split}/{label}/a.png,{label},{split}" for split, label in places]
        (folder / "faces.csv").write_text("\n".join(["path,label,split", *rows]) + "\n", "utf-8")
        return folder / "faces.csv"
    if prefix == "hfds:":
        import datasets

        features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["sad", "happy"]))
        table = {
            split: datasets.Dataset.from_dict(
                {"image": [str(folder / split / label / "a.png") for label in ("happy", "sad")], "label": [1, 0]},
                features=features,
            )
            for split in ("train", "test")
        }
        datasets.DatasetDict(table).save_to_disk(folder / "saved")
        return folder / "saved"
    return folder


def made_up(name: str, folder: Path) -> Path:
    """A copy of a published dataset with its layout and without its faces."""
    draw = np.random.default_rng(0)
    if name == "fer2013":
        rows = [
            f"{label},{' '.join(map(str, draw.integers(0, 256, 48 * 48)))},{usage}"
            for usage in ("Training", "PublicTest", "PrivateTest")
            for label in range(7)
        ]
        (folder / "fer2013").mkdir()
        (folder / "fer2013/fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    else:
        assert name == "sfew"
        for split in ("Train", "Val"):
            for label in ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"):
                place = folder / f"sfew/{split}/{split}_Aligned_Faces/{label}"
                place.mkdir(parents=True)
                pixels = draw.integers(0, 256, (181, 143, 3), np.uint8)
                Image.fromarray(pixels).save(place / "AboutABoy_003314887_00000077.png")
    return folder
