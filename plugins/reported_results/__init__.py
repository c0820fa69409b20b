"""Figures from papers on facial expression recognition, to be shown beside measured rows and never among them.

The data is results.toml, where each figure has its source.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ferbench import ReportedResult, hookimpl
from ferbench.reported_results import read_reported_results

RESULTS = Path(__file__).with_name("results.toml")


@hookimpl
def ferbench_register_reported_results() -> Iterable[ReportedResult]:
    return read_reported_results(RESULTS)
