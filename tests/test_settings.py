"""Flag before environment before TOML before default."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ferbench.settings import VARIABLES, Settings, in_checkout, resolve_settings


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def value(settings: Settings, key: str) -> str:
    return str(
        {"store": settings.store, "data": settings.data_folder, "cache": settings.cache_folder}.get(
            key, settings.device
        )
    )


@pytest.mark.parametrize("key", VARIABLES)
def test_each_source_stands_over_the_next(elsewhere: Path, key: str) -> None:
    sources = {"flag": "from-flag", "environment": "from-environment", "table": "from-table"}
    for given in itertools.product((True, False), repeat=3):
        present = [name for name, there in zip(sources, given, strict=True) if there]
        settings = resolve_settings(
            {key: sources["flag"] if "flag" in present else None},
            {key: sources["table"]} if "table" in present else None,
            {VARIABLES[key]: sources["environment"]} if "environment" in present else {},
        )
        if present:
            assert value(settings, key) == sources[present[0]]
        else:
            assert value(settings, key) == value(resolve_settings(environment={}), key)


def test_empty_values_count_as_not_given(elsewhere: Path) -> None:
    empty = resolve_settings({"device": ""}, {"device": ""}, {"FERBENCH_DEVICE": ""})
    assert empty.device == "auto"
    assert resolve_settings({"device": ""}, {"device": "mps"}, {"FERBENCH_DEVICE": "cuda"}).device == "cuda"


def test_the_processes_own_variables_are_the_environment(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERBENCH_STORE", "postgresql://host/board")
    assert resolve_settings().store == "postgresql://host/board"


def test_defaults_outside_a_checkout_are_the_users_own_folders(elsewhere: Path, tmp_path: Path) -> None:
    # conftest puts the user's folders below tmp_path.
    settings = resolve_settings(environment={})
    for path in (Path(settings.store), settings.data_folder, settings.cache_folder):
        assert path.is_relative_to(tmp_path / "home") and not path.exists()
    assert Path(settings.store).name == "leaderboard.sqlite" and settings.device == "auto"
    (elsewhere / "data").mkdir()
    assert resolve_settings(environment={}).data_folder == elsewhere / "data"


def test_in_a_checkout_the_store_lies_in_its_results(elsewhere: Path) -> None:
    (elsewhere / "results").mkdir()
    assert not in_checkout(elsewhere)
    (elsewhere / "pyproject.toml").write_text('[project]\nname = "another"\n')
    assert not in_checkout(elsewhere)
    for broken in ("[project", "", "\x00"):
        (elsewhere / "pyproject.toml").write_text(broken)
        assert not in_checkout(elsewhere)
    (elsewhere / "pyproject.toml").write_text('[project]\nname = "ferbench"\n')
    assert in_checkout(elsewhere)
    assert resolve_settings(environment={}).store == str(elsewhere / "results" / "leaderboard.sqlite")
    assert in_checkout(Path(__file__).parents[1])


def test_a_tilde_is_the_home_folder(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    settings = resolve_settings(environment={"FERBENCH_DATA": "~/faces", "FERBENCH_CACHE": "~/cache"})
    assert (settings.data_folder, settings.cache_folder) == (Path("/home/someone/faces"), Path("/home/someone/cache"))
