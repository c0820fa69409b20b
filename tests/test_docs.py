"""The plugin author's guide says what the code says, and its examples run."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import ferbench
from ferbench import hookspecs
from ferbench.catalog import Catalog
from ferbench.hookspecs import GROUP
from ferbench.records import Recipe
from ferbench.testing import check_backbone, check_dataset, check_strategy

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "plugins/README.md").read_text("utf-8")
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("ferbench_")}
COMPONENTS = (
    ferbench.Backbone,
    ferbench.BackboneFamily,
    ferbench.Dataset,
    ferbench.DatasetFamily,
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
    assert len(signatures) == 6


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.__name__)
def test_every_field_stands_in_the_guide_in_order(component: type) -> None:
    documented = re.findall(r"^\| `(\w+)` \| \S", section(f"`{component.__name__}`"), re.MULTILINE)
    assert documented == [field.name for field in dataclasses.fields(component)]


def test_the_public_surface_is_components_records_of_hooks_and_the_marker() -> None:
    in_signatures = set(re.findall(r"[A-Z]\w+", " ".join(str(inspect.signature(hook)) for hook in HOOKS.values())))
    in_signatures -= {"Iterable", "None"}
    named = {component.__name__ for component in COMPONENTS}
    assert set(ferbench.__all__) == in_signatures | named | {"Recipe", "hookimpl", "__version__"}


def written(tmp_path: Path, title: str, name: str) -> tuple[Catalog, ModuleType]:
    path = tmp_path / f"{name}.py"
    path.write_text(code(title, "python"), "utf-8")
    catalog = Catalog.load([path])
    [module] = [each for each in list(catalog_modules(path))]
    return catalog, module


def catalog_modules(path: Path) -> list[ModuleType]:
    import sys

    return [module for module in list(sys.modules.values()) if getattr(module, "__file__", None) == str(path)]
