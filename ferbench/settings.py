"""Where things are: flag before environment before TOML before default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

#: Variable of each setting.
VARIABLES: Mapping[str, str] = {
    "store": "FERBENCH_STORE",
    "data": "FERBENCH_DATA",
    "cache": "FERBENCH_CACHE",
    "device": "FERBENCH_DEVICE",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved settings.

    store : path of an SQLite file, or an SQLAlchemy URL
    data_folder : below it, datasets are looked for
    cache_folder : checkpoints, decoded and rendered images; may be deleted at any time between commands
    device : auto, cpu, cuda, cuda:N or mps
    """

    store: str
    data_folder: Path
    cache_folder: Path
    device: str


def in_checkout(folder: Path) -> bool:
    """Whether a folder is the root of a ferbench checkout."""
    pyproject = folder / "pyproject.toml"
    if not (folder / "results").is_dir() or not pyproject.is_file():
        return False
    try:
        return bool(tomllib.loads(pyproject.read_text("utf-8")).get("project", {}).get("name") == "ferbench")
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False


def resolve_settings(
    flags: Mapping[str, str | None] | None = None,
    table: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from flags, then environment variables, then a matrix file's `[settings]` table, then defaults.

    Keys are those of VARIABLES; empty values count as not given.
    """
    variables = os.environ if environment is None else environment

    def given(key: str) -> str | None:
        return (flags or {}).get(key) or variables.get(VARIABLES[key]) or (table or {}).get(key) or None

    here = Path.cwd()
    user_data = platformdirs.user_data_path("ferbench")
    default_store = here / "results" if in_checkout(here) else user_data
    default_data = here / "data" if (here / "data").is_dir() else user_data / "data"
    return Settings(
        store=given("store") or str(default_store / "leaderboard.sqlite"),
        data_folder=Path(given("data") or default_data).expanduser(),
        cache_folder=Path(given("cache") or platformdirs.user_cache_path("ferbench")).expanduser(),
        device=given("device") or "auto",
    )
