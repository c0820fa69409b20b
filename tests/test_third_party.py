"""The guide's plugin, built as a wheel and installed in a fresh environment, stands beside the built-in ones."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "plugins/README.md").read_text("utf-8")

ASK = """
import json
from ferbench.catalog import Catalog
from ferbench.recipes import Recipe
catalog = Catalog.load()
[mine] = [each for each in catalog.plugins() if each.name == "acme"]
print(json.dumps({
    "names": [each.name for each in (*catalog.backbones(), *catalog.datasets(), *catalog.strategies())],
    "shares": [spec.share for spec in catalog.strategy("rehearsal+linear-probe").stages("t", ("a",), Recipe())],
    "origin": mine.origin, "sha256": mine.sha256, "path": str(mine.path),
    "failures": [each.line for each in catalog.failures],
}))
"""


def code(heading: str, language: str) -> str:
    [found] = re.findall(rf"^## {heading}\n.*?^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)[:1]
    return str(found)


def said(command: list[str | Path], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the guide's plugin from its wheel.

    ferbench and torch, which is too large to be installed again, come from the environment that runs the tests.
    """
    folder = tmp_path_factory.mktemp("stranger")
    source, environment = folder / "acme", folder / "environment"
    source.mkdir()
    (source / "acme.py").write_text(code("A complete one", "python"), "utf-8")
    (source / "pyproject.toml").write_text(code("Packaging it", "toml"), "utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    said([*pip, "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, source], folder)
    [wheel] = folder.glob("*.whl")
    venv.create(environment, with_pip=False, symlinks=True)
    inside = environment / "bin/python"
    [site] = said([inside, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).splitlines()
    # A path alone would leave out the .pth files behind it, and with them an editable ferbench.
    purelib = sysconfig.get_path("purelib")
    (Path(site) / "outer.pth").write_text(f"import site; site.addsitedir({purelib!r})\n", "utf-8")
    said([*pip, "--python", inside, "install", "--quiet", "--no-deps", "--no-index", wheel], folder)
    return inside


def test_a_strangers_components_stand_beside_the_built_in_ones(python: Path, tmp_path: Path) -> None:
    answer = json.loads(said([python, "-c", ASK], tmp_path))
    assert {"acme-small", "studio", "rehearsal", "cascade", "alexnet"} <= set(answer["names"])
    assert answer["failures"] == []
    assert answer["origin"] == "ferbench-acme 1.0"
    assert answer["shares"] == pytest.approx([0.25, 0.25, 0.5])
    assert answer["sha256"] == hashlib.sha256(code("A complete one", "python").encode()).hexdigest()
    assert Path(answer["path"]).is_relative_to(python.parents[1])


def test_the_environment_that_runs_the_tests_is_left_alone(python: Path, tmp_path: Path) -> None:
    names = "from ferbench.catalog import Catalog; print(*(each.name for each in Catalog.load().plugins()))"
    assert "acme" in said([python, "-c", names], tmp_path).split()
    assert "acme" not in said([sys.executable, "-c", names], tmp_path).split()


def test_the_command_line_lists_the_stranger_and_where_it_is_from(python: Path, tmp_path: Path) -> None:
    listed = said([python, "-m", "ferbench", "plugins"], tmp_path)
    assert all(word in listed for word in ("acme", "ferbench-acme 1.0", "rehearsal", "acme-small", "studio"))
