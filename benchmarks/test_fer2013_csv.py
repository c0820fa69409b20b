"""fer2013.csv read for the first time, against pandas with numpy parsing a row at a time; then from the cache.

The peer in both its common forms: `np.array(row.split())`, as most notebooks have it, and `np.fromstring`, the fastest.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from goals import CACHED_LOAD, FAR_TOO_SLOW, FIRST_LOAD
from numpy.typing import NDArray

from ferbench.catalog import Catalog
from ferbench.data.roles import RoleReader
from ferbench_plugins.fer2013 import csv_file
from ferbench_plugins.fer2013.csv_file import CsvFile, csv_samples
from ferbench_plugins.fer2013.published import COUNTS, SPLITS

SIDE = 48


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the published 35,887 rows and about 300 MB.

    Grey values as in the real faces: mean 129, standard deviation 65, changing slowly.
    """
    path = tmp_path_factory.mktemp("data") / "fer2013" / "fer2013.csv"
    path.parent.mkdir()
    random = np.random.default_rng(0)
    words = np.array([str(value) for value in range(256)], dtype=object)
    with path.open("w") as file:
        file.write("emotion,pixels,Usage\n")
        for split in SPLITS:
            codes = np.repeat(np.arange(len(COUNTS[split])), list(COUNTS[split].values()))
            for code in random.permutation(codes):
                smooth = np.kron(random.normal(129, 64, (8, 8)), np.ones((6, 6)))
                face = np.clip(smooth + random.normal(0, 11, (SIDE, SIDE)), 0, 255).astype(np.uint8)
                file.write(f"{code},{' '.join(words[face.ravel()])},{split}\n")
    return path


PEERS: dict[str, Callable[[str], NDArray[np.uint8]]] = {
    "np.array(row.split())": lambda row: np.array(row.split(), dtype=np.uint8),
    "np.fromstring(row)": lambda row: np.fromstring(row, dtype=np.uint8, sep=" "),
}


@pytest.mark.parametrize("form", PEERS)
def test_first_load_against_pandas(against: Callable[..., float], csv_path: Path, form: str) -> None:
    import pandas

    file = CsvFile(str(csv_path), partial(csv_path.open, "rb"))
    parse = PEERS[form]

    def ours() -> int:
        csv_file._known.clear()  # nothing remembered of an earlier reading
        return sum(len(csv_samples(split, file).images) for split in SPLITS)

    def peer() -> int:
        table = pandas.read_csv(csv_path)
        return len(np.stack([parse(row) for row in table.pixels]))

    assert ours() == peer() == 35_887
    what = f"fer2013.csv, all three splits, against pandas and {form}"
    assert against(ours, peer, rounds=5, what=what, goal=FIRST_LOAD) > 1


def test_load_from_cache(  # type: ignore[no-untyped-def]
    benchmark, noted: Any, csv_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    catalog = Catalog.load()

    def load() -> int:
        roles = RoleReader(catalog.dataset, csv_path.parent.parent, cache)
        return sum(role("fer2013").count for role in (roles.train, roles.select, roles.report))

    start = time.perf_counter()
    assert load() == 35_887
    benchmark.extra_info["first_seconds"] = time.perf_counter() - start
    benchmark.pedantic(load, rounds=5, iterations=1)
    seconds = statistics.median(benchmark.stats.stats.data)
    noted.figure("fer2013.csv, all three splits from the cache", CACHED_LOAD, seconds)
    assert seconds < FAR_TOO_SLOW * CACHED_LOAD.bound
