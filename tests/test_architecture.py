"""The shape of the house: who may import whom, what names may stand where, what importing pulls in."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from ferbench.catalog import Catalog

ROOT = Path(__file__).parents[1]

#: Modules and packages of ferbench from the ground up, with the number of their floor. A line imports only from lines
#: above it; where one module of a floor stands on another, the floor has several lines.
FLOORS: tuple[tuple[int, str], ...] = (
    (0, "errors fingerprints network version"),
    (0, "recipes"),
    (0, "stages"),
    (0, "evidence"),
    (0, "records"),
    (1, "components"),
    (1, "hookspecs"),
    (2, "anatomy defaults expressions initialisation memory plugin_source quantities recent_states references"),
    (2, "pseudonyms resampling settings whole_files"),
    (2, "metrics placed_module prediction_hash state_dicts"),
    (2, "accelerator contract environment flops matrix over_seeds pretrained trainable weights"),
    (2, "composition matrix_file occupancy reported_results shelf"),
    (2, "catalog"),
    (3, "checkpoints data plan tuning"),
    (3, "audit averaging cache faces reliability schedule"),
    (3, "costs"),
    (4, "compilation optimization portions svm_head"),
    (4, "training"),
    (4, "features partials"),
    (4, "prediction"),
    (5, "workbench"),
    (5, "fitting"),
    (5, "worker"),
    (6, "comparison generalisation row_filter"),
    (6, "calibration executors leaderboard store"),
    (6, "board_view"),
    (6, "competitors curves forgetting further snapshot speed time_to_accuracy"),
    (6, "reach"),
    (6, "pages"),
    (6, "publish"),
    (7, "ensembles inference preparation rows testing trained"),
    (7, "engine merging saliency verification"),
    (7, "export publication recognition"),
    (8, "cli"),
    (8, "__main__"),
)
LINE = {part: line for line, (_, parts) in enumerate(FLOORS) for part in parts.split()}
FLOOR = {part: number for number, parts in FLOORS for part in parts.split()}

#: The highest floor that plugins may stand on.
FOR_PLUGINS = 3


def modules(folder: str, package: str) -> dict[str, Path]:
    """Dotted names of all modules below a folder of the checkout."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT / folder).with_suffix("").parts
        found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


CORE = modules("ferbench", "ferbench")
PLUGINS = modules("plugins", "ferbench_plugins")
ALL = CORE | PLUGINS


def imported(module: str) -> Iterator[str]:
    """All that a module imports, wherever in it, submodules by their own names."""
    path = ALL[module]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in ALL else origin


def part(module: str) -> str:
    """The module or package right below ferbench that a dotted name belongs to; empty for ferbench itself."""
    return module.split(".")[1] if "." in module else ""


def test_every_module_has_a_floor_and_every_floor_its_modules() -> None:
    assert {part(module) for module in CORE} - {""} == LINE.keys()


def test_every_package_is_installed() -> None:
    """An editable install has them all, a plain one those that are listed."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    packages = {name for name, path in ALL.items() if path.name == "__init__.py"}
    assert set(listed) == packages and len(set(listed)) == len(listed)


@pytest.mark.parametrize("module", CORE)
def test_a_module_imports_from_lower_floors_alone(module: str) -> None:
    if module == "ferbench":
        allowed = {"components", "hookspecs", "recipes", "records", "stages", "version"}
    else:
        allowed = {name for name, line in LINE.items() if line < LINE[part(module)]} | {part(module)}
    ours = {part(each) for each in imported(module) if each.split(".")[0] == "ferbench"}
    assert ours - allowed == set()


@pytest.mark.parametrize("module", PLUGINS)
def test_a_plugin_stands_on_the_lower_floors_and_on_no_other_plugin(module: str) -> None:
    for each in imported(module):
        if each.split(".")[0] == "ferbench":
            assert not part(each) or FLOOR[part(each)] <= FOR_PLUGINS, each
        if each.split(".")[0] == "ferbench_plugins":
            assert part(each) == part(module), each


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {module: {each for each in imported(module) if each in ALL and each != module} for module in ALL}
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) == set(ALL)


def test_the_core_imports_no_plugin_and_nobody_imports_the_folder_by_its_name() -> None:
    for module in ALL:
        tops = {each.split(".")[0] for each in imported(module)}
        assert "plugins" not in tops, module
        assert module in PLUGINS or "ferbench_plugins" not in tops, module


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and value of every text in a module's code; docstrings are for people and left out."""
    tree = ast.parse(path.read_text("utf-8"))
    prose = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def test_no_name_of_a_plugin_appears_in_the_core() -> None:
    """Neither as a value nor in a message; the command line's sentences alone may give names as examples."""
    catalog = Catalog.load()
    names = {each.name for each in (*catalog.backbones(), *catalog.datasets(), *catalog.strategies())}
    assert {"cascade", "vgg16", "fer2013"} <= names
    prefixes = {name for name in names if name.endswith(("/", ":", "@"))}
    word = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, sorted(names - prefixes)))})" + r"(?![\w-])")
    prefixed = re.compile("|".join(map(re.escape, prefixes)))
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for module, path in CORE.items()
        for line, text in texts(path)
        if not (part(module) == "cli" and " " in text.strip())
        if word.search(text) or prefixed.match(text)
    ]
    assert found == []


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "misc", "helpers", "helper", "lib", "common"}
    assert not {path for path in ALL.values() if drawers & {path.stem, *path.relative_to(ROOT).parts[:-1]}}


def pulled_in(statement: str) -> set[str]:
    """Top-level modules from outside the standard library that a statement imports in a fresh process."""
    tops = "print(*sorted({name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    before, after = (
        subprocess.run([sys.executable, "-c", f"import sys; {code}{tops}"], capture_output=True, text=True, check=True)
        for code in ("", f"{statement}; ")
    )
    return set(after.stdout.split()) - set(before.stdout.split())


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import ferbench", {"ferbench", "pluggy"}),
        ("import ferbench.cli", {"ferbench", "pluggy", "click"}),
        ("import ferbench.catalog", {"ferbench", "pluggy"}),
    ],
)
def test_what_importing_pulls_in(statement: str, allowed: set[str]) -> None:
    assert pulled_in(statement) - allowed == set()
