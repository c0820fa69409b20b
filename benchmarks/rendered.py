"""The embedded pair's faces, rendered once a session, for benchmarks that want a cache folder without stages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ferbench.catalog import Catalog
from ferbench.data.roles import RoleReader

TARGET, AUXILIARY = "faces3d-film", "faces3d-source"

_rendered: list[Path] = []


def cache_with_faces(folder: Path, factory: pytest.TempPathFactory) -> Path:
    """A cache folder below `folder` that holds the pair's decoded splits and nothing else."""
    if not _rendered:
        made = factory.mktemp("rendered")
        roles = RoleReader(Catalog.load().dataset, made, made)
        for name in (TARGET, AUXILIARY):
            assert roles.train(name).count and roles.select(name).count and roles.report(name).count
        _rendered.append(made)
    cache = folder / "cache"
    shutil.copytree(_rendered[0], cache)
    return cache
