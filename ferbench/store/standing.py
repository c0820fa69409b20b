"""Which predictions finished runs stand on: their records hold the hashes, so nothing else may take their place."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, select

from ferbench.store.schema import runs


def stands_on(connection: Connection, stage: str, content: str, dataset: str, apart_from: Collection[str] = ()) -> bool:
    """Whether a finished run was computed from what a stage says of some samples.

    These are the report and the select samples of the chain's last stage, and what forgetting was measured on. A record
    is text, and is looked through for the stage; so ask only where there is something to lose.

    Parameters
    ----------
    content, dataset : as the predictions are stored
    apart_from : keys of runs that do not count
    """
    query = select(runs.c.key, runs.c.record).where(runs.c.status == "finished", runs.c.record.contains(stage))
    for key, record in connection.execute(query):
        if key in apart_from:
            continue
        try:
            if _names(json.loads(record), stage, content, dataset):
                return True
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            # What it stood on cannot be told; whoever reads this record says that it is broken.
            return True
    return False


def _names(run: Mapping[str, Any], stage: str, content: str, dataset: str) -> bool:
    chain = run["stages"]
    final = bool(chain) and chain[-1] == stage
    if final and content in (run["board"]["fingerprint"], run.get("select_content")):
        return True
    # Rows of an earlier ferbench do not say which samples they selected on.
    if final and not run.get("select_content") and dataset == run["board"]["target"]:
        return True
    return any(each["content"] == content and (final or each["stage"] == stage) for each in run.get("forgetting", ()))
