"""The plugin author's guide says what the code says, and its examples run."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ferbench
from ferbench import hookspecs
from ferbench.catalog import Catalog
from ferbench.hookspecs import GROUP
from ferbench.plugin_source import Plugin, from_file
from ferbench.recipes import Recipe
from ferbench.records import Environment, Run
from ferbench.shelf import Listing
from ferbench.stages import RANDOM_WEIGHTS, Cell
from ferbench.testing import check_strategy

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "plugins/README.md").read_text("utf-8")
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("ferbench_")}
COMPONENTS = (
    ferbench.Backbone,
    ferbench.BackboneFamily,
    ferbench.Dataset,
    ferbench.DatasetFamily,
    ferbench.Face,
    ferbench.FaceDetector,
    ferbench.ReportedResult,
    ferbench.Samples,
    ferbench.StageSpec,
    ferbench.Strategy,
    ferbench.WeightsFile,
)


def section(title: str) -> str:
    """The text below a heading, up to the next one of any level."""
    return re.split(r"^#{1,6} ", GUIDE.split(f" {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def code(title: str, language: str) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)[0]


def test_every_hook_stands_in_the_guide_with_its_exact_signature() -> None:
    headings = re.findall(r"^### `(ferbench_\w+.*)`$", GUIDE, re.MULTILINE)
    signatures = []
    for name, hook in HOOKS.items():
        signature = inspect.signature(hook)
        arguments = ", ".join(f"{each.name}: {each.annotation}" for each in signature.parameters.values())
        signatures.append(f"{name}({arguments}) -> {signature.return_annotation}")
    assert headings == signatures
    assert len(signatures) == 8


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.__name__)
def test_every_field_stands_in_the_guide_in_order(component: type) -> None:
    documented = re.findall(r"^\| `(\w+)` \| \S", section(f"`{component.__name__}`"), re.MULTILINE)
    assert documented == [field.name for field in dataclasses.fields(component)]


def test_the_public_surface_is_components_records_of_hooks_and_the_marker() -> None:
    in_signatures = set(re.findall(r"[A-Z]\w+", " ".join(str(inspect.signature(hook)) for hook in HOOKS.values())))
    in_signatures -= {"Iterable", "None"}
    named = {component.__name__ for component in COMPONENTS}
    assert set(ferbench.__all__) == in_signatures | named | {"ImageFile", "Recipe", "hookimpl", "__version__"}


def loaded(folder: Path, title: str) -> tuple[Catalog, Plugin]:
    """The guide's plugin below a heading, beside the built-in ones."""
    path = folder / "example.py"
    path.write_text(code(title, "python"), "utf-8")
    catalog, plugin = Catalog.load(), from_file(path)
    catalog.add(plugin)
    return catalog, plugin


def names(listings: tuple[Listing, ...], plugin: Plugin) -> list[str]:
    return [each.name for each in listings if each.plugin == plugin.name]


def test_the_shortest_plugin_conforms(tmp_path: Path) -> None:
    catalog, plugin = loaded(tmp_path, "The shortest one")
    assert names(catalog.strategies(), plugin) == ["inside-out"]
    check_strategy(catalog.strategy("inside-out"))
    assert len(code("The shortest one", "python").splitlines()) <= 15


def test_the_complete_plugin_has_one_of_each_kind(tmp_path: Path) -> None:
    catalog, plugin = loaded(tmp_path, "A complete one")
    assert names(catalog.backbones(), plugin) == ["acme-small"]
    assert names(catalog.datasets(), plugin) == ["studio"]
    assert names(catalog.strategies(), plugin) == ["rehearsal"]
    assert len(code("A complete one", "python").splitlines()) <= 85


def test_the_complete_plugins_observer_writes_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, _ = loaded(tmp_path, "A complete one")
    monkeypatch.chdir(tmp_path)
    cell = Cell("vgg11", "random", "cascade", "t", ("a",), Recipe(), 0)
    environment = Environment("cpu", "a processor", 2, "3.11", "2.6", "0.1", "linux")
    warnings: list[str] = []
    catalog.run_finished(
        Run("k", "0123456789abcdef", cell, "finished", None, RANDOM_WEIGHTS, environment), warnings.append
    )
    assert warnings == []
    assert (tmp_path / "finished.log").read_text() == "0123456789 vgg11 cascade finished\n"


def test_the_packaging_example_uses_the_entry_point_group() -> None:
    project = tomllib.loads(code("Packaging it", "toml"))
    assert project["project"]["entry-points"] == {GROUP: {"acme": "acme"}}


def test_the_guides_tests_run_over_the_guides_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, plugin = loaded(tmp_path, "A complete one")
    for picture in ("train/happy/anna_03.png", "train/sad/anna_04.png", "test/sad/ben_01.png"):
        path = tmp_path / "tests/data/studio" / picture
        path.parent.mkdir(parents=True)
        Image.fromarray(np.zeros((20, 20), np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "acme", plugin.module)
    written: dict[str, Any] = {}
    exec(code("Checking it", "python"), written)
    tests = [function for name, function in written.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()
