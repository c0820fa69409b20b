"""Plugins imported from files and packages, and the hash of their source."""

from __future__ import annotations

import hashlib
import importlib
import pickle
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ferbench.errors import PluginError
from ferbench.plugin_source import describe, from_entry_point, from_file


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_a_file_is_hashed_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.py", "X = 1\n")
    described = describe(from_file(path))
    assert (described.name, described.origin, described.path) == ("mine", str(path), path)
    assert described.sha256 == hashlib.sha256(b"X = 1\n").hexdigest()


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    one, two = (from_file(written(tmp_path / folder / "mine.py", f"X = {folder!r}\n")) for folder in "ab")
    assert (one.module.X, two.module.X) == ("a", "b")  # type: ignore[attr-defined]


def test_classes_of_a_file_survive_pickling(tmp_path: Path) -> None:
    text = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Point:\n    x: 'int'\n"
    point = from_file(written(tmp_path / "mine.py", text)).module.Point(3)  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(point)) == point


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n\nimport no_such_thing\n", "line 3 could not be loaded: ModuleNotFoundError: No module named"),
        ("x = (\n", "line 1 could not be loaded: SyntaxError: '(' was never closed"),
        ("def f():\n    raise ValueError('a\\nb')\nf()\n", "line 2 could not be loaded: ValueError: a b"),
        ("import sys\nsys.exit(3)\n", "line 2 could not be loaded: SystemExit: 3"),
    ],
)
def test_a_broken_file_is_one_line_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path / "broken.py", text)
    before = set(sys.modules)
    with pytest.raises(PluginError) as caught:
        from_file(path)
    assert str(caught.value).startswith(f"plugin file {path} {said}")
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("line ") == 1
    assert str(caught.value).count("broken.py") == 1
    assert not {name for name in set(sys.modules) - before if name.startswith("ferbench_local")}


def test_a_file_that_is_not_there_or_no_python(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="does not exist"):
        from_file(tmp_path / "none.py")
    with pytest.raises(PluginError, match=r"is a folder: name a \.py file"):
        from_file(tmp_path)
    with pytest.raises(PluginError, match=r"must end in \.py"):
        from_file(written(tmp_path / "mine.txt", ""))


def test_a_package_is_hashed_over_all_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    written(tmp_path / "hashed_package/__init__.py", "A = 1\n")
    inner = written(tmp_path / "hashed_package/inner/part.py", "B = 2\n")
    point = EntryPoint("packaged", "hashed_package", "ferbench")
    importlib.invalidate_caches()
    first = describe(from_entry_point(point))
    assert first.path == tmp_path / "hashed_package"
    inner.write_text("B = 3\n", "utf-8")
    second = describe(from_entry_point(point))
    inner.rename(inner.with_name("other.py"))
    third = describe(from_entry_point(point))
    assert len({first.sha256, second.sha256, third.sha256}) == 3
    written(tmp_path / "hashed_package/table.txt", "not source")
    assert describe(from_entry_point(point)).sha256 == third.sha256


def test_an_entry_point_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(PluginError, match=r"^plugin gone \(no_such_module\) could not be imported: Mod"):
        from_entry_point(EntryPoint("gone", "no_such_module", "ferbench"))
