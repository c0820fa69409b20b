"""Figures from the literature, read from TOML: one table a figure, its accuracy in percent as printed.

The format:

    [[result]]
    method = "..."
    dataset = "..."            # a dataset's name
    split = "..."              # as the dataset names it; left out where the source does not say
    accuracy_percent = 48.5    # as the source prints it
    n = 431                    # samples; left out where the source does not say
    source = "..., doi ..."
    remark = "..."             # may be left out
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from ferbench.components import Dataset
from ferbench.contract import reported_result_faults
from ferbench.errors import FerbenchError, UsageError
from ferbench.records import ReportedResult

#: What every such figure is called wherever it is shown.
STATUS = "reported, not reproduced"

_NEEDED = ("method", "dataset", "accuracy_percent", "source")
_KEYS = ("method", "dataset", "split", "accuracy_percent", "n", "source", "remark")
_WORDS = {str: "a text", bool: "a truth value", int: "a number", Decimal: "a number", list: "a list", dict: "a table"}


def read_reported_results(path: Path, find: Callable[[str], Dataset] | None = None) -> tuple[ReportedResult, ...]:
    """The figures of a file, in its order.

    Parameters
    ----------
    find : the catalog's look-up, to hold datasets and splits to what there is; None where that is not known yet

    Raises
    ------
    UsageError : not readable, not TOML, an unknown or missing key, a value of the wrong type or range, a dataset or
        split that there is not; with file, number of the table, key and value
    """
    try:
        # As decimals, so that 35.96 is 0.3596 and not a neighbour of it.
        content = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise UsageError(f"reported results {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"reported results {path} is not TOML: {error}") from error
    for key in content:
        if key != "result":
            raise UsageError(f"reported results {path}: unknown key {key!r}: write each figure as a table [[result]]")
    tables = content.get("result", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"reported results {path}: result is no list of tables: write each figure as [[result]]")
    found = []
    for number, table in enumerate(tables, 1):
        where = f"reported results {path}, table {number}"
        result = _result(where, table)
        if find is not None:
            _check_names(where, result, find)
        found.append(result)
    return tuple(found)


def as_json(result: ReportedResult) -> dict[str, Any]:
    """One of `references` in `leaderboard --json`. Scripts rely on it: fields may be added, never changed."""
    return {
        "method": result.method,
        "dataset": result.dataset,
        "split": result.split,
        "n": result.n,
        "accuracy": result.accuracy,
        "source": result.source,
        "remark": result.remark,
        "status": STATUS,
    }


def _result(where: str, table: Mapping[str, object]) -> ReportedResult:
    for key in table:
        if key not in _KEYS:
            raise UsageError(f"{where}: unknown key {key!r}: there are {', '.join(_KEYS)}")
    for key in _NEEDED:
        if key not in table:
            raise UsageError(f"{where}: {key} is missing: every figure has {', '.join(_NEEDED)}")
    result = ReportedResult(
        method=_text(where, table, "method"),
        dataset=_text(where, table, "dataset"),
        split=_text(where, table, "split") if "split" in table else None,
        accuracy=_fraction(where, table["accuracy_percent"]),
        n=_count(where, table["n"]) if "n" in table else None,
        source=_text(where, table, "source"),
        remark=_text(where, table, "remark") if "remark" in table else "",
    )
    if faults := reported_result_faults(result):
        raise UsageError(f"{where}: {faults[0]}")
    return result


def _text(where: str, table: Mapping[str, object], key: str) -> str:
    value = table[key]
    if not isinstance(value, str):
        raise UsageError(f"{where}: {key}={_shown(value)} is {_kind(value)}, not a text: put it in quotation marks")
    # TOML's long texts may run over several lines.
    return " ".join(value.split())


def _fraction(where: str, value: object) -> float:
    said = f"{where}: accuracy_percent={_shown(value)}"
    if type(value) not in (int, Decimal):
        raise UsageError(f"{said} is {_kind(value)}, not a number: write it as the source prints it, such as 48.5")
    percent = Decimal(value)  # type: ignore[arg-type]
    if not percent.is_finite() or not 0 <= percent <= 100:
        raise UsageError(f"{said} is not from 0 to 100")
    if percent <= 1:
        raise UsageError(f"{said} looks like a fraction: write it in percent, {_plain(percent * 100)} for {percent}")
    return float(percent / 100)


def _count(where: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise UsageError(
            f"{where}: n={_shown(value)} is not a whole number from 1: leave n out where the source does not say it"
        )
    return value


def _check_names(where: str, result: ReportedResult, find: Callable[[str], Dataset]) -> None:
    try:
        dataset = find(result.dataset)
    except FerbenchError as error:
        raise UsageError(f"{where}: dataset={result.dataset!r}: {error.line}") from error
    if result.split is None:
        return
    for split in result.split.split("+"):
        if split not in dataset.splits:
            raise UsageError(
                f"{where}: split={result.split!r}: dataset {result.dataset!r} has no split {split!r}: there are "
                f"{', '.join(dataset.splits)}; leave it out where the source does not say it"
            )


def _shown(value: object) -> str:
    return str(value) if isinstance(value, Decimal) else repr(value)


def _kind(value: object) -> str:
    return _WORDS.get(type(value), "a time or date")


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
