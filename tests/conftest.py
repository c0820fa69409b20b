"""Fixtures: no folder of the user's own is touched; engines over stores and caches of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny import Bench, Recorder, tiny_catalog

from ferbench.catalog import Catalog
from ferbench.engine import Engine
from ferbench.settings import VARIABLES, Settings
from ferbench.store import Store, open_store


@pytest.fixture(autouse=True)
def _no_user_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the user's own settings is read or written."""
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name.lower()))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Engines by folder name: two of one name share store and cache, as two commands would."""
    stores: list[Store] = []

    def make(name: str = "bench", catalog: Catalog | None = None, stop_after: int | None = None) -> Bench:
        folder = tmp_path / name
        settings = Settings(str(folder / "board.sqlite"), folder / "data", folder / "cache", "cpu")
        store = open_store(settings.store)
        stores.append(store)
        reporter = Recorder(stop_after=stop_after)
        catalog = catalog or tiny_catalog()
        return Bench(folder, store, catalog, reporter, Engine(catalog, store, settings, reporter))

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()
