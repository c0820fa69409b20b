"""Where things are: flag before environment before TOML before default."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ferbench.errors import UsageError

#: Variable of each setting.
VARIABLES: Mapping[str, str] = {
    "store": "FERBENCH_STORE",
    "data": "FERBENCH_DATA",
    "cache": "FERBENCH_CACHE",
    "cache_size": "FERBENCH_CACHE_SIZE",
    "device": "FERBENCH_DEVICE",
    "deterministic": "FERBENCH_DETERMINISTIC",
    "keep_seconds": "FERBENCH_KEEP_SECONDS",
}

#: Between two partial checkpoints: what a kill costs at most, against a second or two of writing.
DEFAULT_KEEP_SECONDS = 300.0

_YES_OR_NO = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}

#: The largest backbone here leaves 537 MB a row and seed: room for ninety of them, or for the smallest in thousands,
#: on a disk as laptops have it.
DEFAULT_CACHE_BYTES = 50 * 10**9

_UNITS = {
    **{unit: 1000**power for power, unit in enumerate(("b", "kb", "mb", "gb", "tb"))},
    **{unit: 1024**power for power, unit in enumerate(("kib", "mib", "gib", "tib"), start=1)},
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved settings.

    store : path of an SQLite file, or an SQLAlchemy URL
    data_folder : below it, datasets are looked for
    cache_folder : checkpoints, decoded and rendered images; may be deleted at any time between commands
    device : auto, cpu, cuda, cuda:N or mps
    deterministic : on CUDA, the same bits every time, and slower; a CPU gives them anyway
    keep_seconds : a stage is kept on disk at this distance while it is trained; 0 keeps it after every step
    cache_bytes : what the cache folder is kept within at the end of a run, as far as nothing that is needed must go
    """

    store: str
    data_folder: Path
    cache_folder: Path
    device: str
    cache_bytes: int = DEFAULT_CACHE_BYTES
    deterministic: bool = False
    keep_seconds: float = DEFAULT_KEEP_SECONDS


def parse_size(text: str, what: str) -> int:
    """Bytes from such as `20GB`, `1.5 TB` or `500 MiB`; a thousand kB are an MB, and 1,024 KiB a MiB. `0` is none.

    what : the setting or option, for the message

    Raises
    ------
    UsageError : no size
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)", text.strip().lower(), re.ASCII)
    unit = _UNITS.get(found[2] or "b") if found else None
    if found is None or unit is None or (not found[2] and float(found[1])):
        raise UsageError(f"{what} is {text!r}, which is no size: give a number and its unit, such as 20GB or 500MB")
    return int(float(found[1]) * unit)


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
        cache_bytes=DEFAULT_CACHE_BYTES
        if (size := given("cache_size")) is None
        else parse_size(size, VARIABLES["cache_size"]),
        deterministic=_parse_yes_or_no(given("deterministic") or "no", VARIABLES["deterministic"]),
        keep_seconds=DEFAULT_KEEP_SECONDS
        if (seconds := given("keep_seconds")) is None
        else _parse_seconds(seconds, VARIABLES["keep_seconds"]),
    )


def _parse_yes_or_no(text: str, what: str) -> bool:
    if text.strip().lower() not in _YES_OR_NO:
        raise UsageError(f"{what} is {text!r}: it is yes or no")
    return _YES_OR_NO[text.strip().lower()]


def _parse_seconds(text: str, what: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{what} is {text!r}: give a number of seconds, such as 300")
    return seconds
