"""fer2013.csv read for the first time, against pandas with numpy parsing a row at a time; then from the cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ferbench.catalog import Catalog
from ferbench.data.roles import RoleReader
from ferbench_plugins.fer2013.csv_file import CsvFile, csv_samples
from ferbench_plugins.fer2013.published import COUNTS, SPLITS

SIDE = 48


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the published 35,887 rows and about 300 MB; grey values change slowly, as they do in faces."""
    path = tmp_path_factory.mktemp("data") / "fer2013" / "fer2013.csv"
    path.parent.mkdir()
    random = np.random.default_rng(0)
    words = np.array([str(value) for value in range(256)], dtype=object)
    with path.open("w") as file:
        file.write("emotion,pixels,Usage\n")
        for split in SPLITS:
            codes = np.repeat(np.arange(len(COUNTS[split])), list(COUNTS[split].values()))
            for code in random.permutation(codes):
                steps = random.normal(0, 12, (SIDE, SIDE))
                steps[:, 0] = random.normal(128, 50, SIDE)
                face = np.clip(steps.cumsum(axis=1), 0, 255).astype(np.uint8)
                file.write(f"{code},{' '.join(words[face.ravel()])},{split}\n")
    return path


def test_first_load_against_pandas(against: Callable[..., float], csv_path: Path) -> None:
    import pandas

    file = CsvFile(str(csv_path), partial(csv_path.open, "rb"))

    def ours() -> int:
        return sum(len(csv_samples(split, file).images) for split in SPLITS)

    def peer() -> int:
        table = pandas.read_csv(csv_path)
        return len(np.stack([np.fromstring(row, dtype=np.uint8, sep=" ") for row in table.pixels]))

    assert ours() == peer() == 35_887
    ratio = against(ours, peer, what="fer2013.csv, all three splits, against pandas and numpy.fromstring row by row")
    assert ratio > 0


def test_load_from_cache(benchmark, csv_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:  # type: ignore[no-untyped-def]
    cache = tmp_path_factory.mktemp("cache")
    catalog = Catalog.load()

    def load() -> int:
        roles = RoleReader(catalog.dataset, csv_path.parent.parent, cache)
        return sum(role("fer2013").count for role in (roles.train, roles.select, roles.report))

    start = time.perf_counter()
    assert load() == 35_887
    benchmark.extra_info["first_seconds"] = time.perf_counter() - start
    benchmark.pedantic(load, rounds=5, iterations=1)
