"""Flag before environment before TOML before default."""

from __future__ import annotations

import itertools
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from ferbench.errors import UsageError
from ferbench.settings import VARIABLES, Settings, in_checkout, parse_size, resolve_settings


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


def test_the_size_of_the_cache(elsewhere: Path) -> None:
    assert resolve_settings(environment={}).cache_bytes == 50 * 10**9
    assert resolve_settings(environment={"FERBENCH_CACHE_SIZE": "500MB"}).cache_bytes == 500 * 10**6
    assert resolve_settings(None, {"cache_size": "2 GiB"}, {}).cache_bytes == 2 * 2**30
    with pytest.raises(UsageError, match=r"FERBENCH_CACHE_SIZE is 'lots', which is no size: .* such as 20GB or 500MB"):
        resolve_settings(environment={"FERBENCH_CACHE_SIZE": "lots"})


def test_partial_checkpoints_and_determinism(elsewhere: Path) -> None:
    settings = resolve_settings(environment={})
    assert (settings.keep_seconds, settings.deterministic) == (300.0, False)
    settings = resolve_settings(environment={"FERBENCH_KEEP_SECONDS": "0", "FERBENCH_DETERMINISTIC": "Yes"})
    assert (settings.keep_seconds, settings.deterministic) == (0.0, True)
    for words in ("soon", "-1", "inf", "nan"):
        with pytest.raises(UsageError, match=r"FERBENCH_KEEP_SECONDS is .*: give a number of seconds, such as 300"):
            resolve_settings(environment={"FERBENCH_KEEP_SECONDS": words})
    with pytest.raises(UsageError, match="FERBENCH_DETERMINISTIC is 'maybe': it is yes or no"):
        resolve_settings(environment={"FERBENCH_DETERMINISTIC": "maybe"})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("0.0", 0),
        ("7 B", 7),
        ("20GB", 20 * 10**9),
        (" 1.5 tb ", 1_500_000_000_000),
        (".5kB", 500),
        ("3.MB", 3_000_000),
        ("3KiB", 3072),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, "--to") == size


@pytest.mark.parametrize("text", ["", "20", "GB", "20GBs", "-3GB", "1e3GB", "20 G B", "nanGB", "٣GB", "1,5GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        parse_size(text, "--to")


@hypothesis.given(st.integers(0, 10**15), st.sampled_from([("B", 1), ("kB", 10**3), ("MB", 10**6), ("MiB", 2**20)]))
def test_whole_sizes_are_exact(number: int, unit: tuple[str, int]) -> None:
    name, factor = unit
    if number * factor < 2**53:
        assert parse_size(f"{number}{name}", "--to") == number * factor


@pytest.mark.parametrize("key", ["store", "data", "cache", "device"])
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
