"""Which checkpoints the rows of a store stand on, and which of them unfinished work may go on from."""

from __future__ import annotations

import json
from collections import defaultdict

from sqlalchemy import Connection, select

from ferbench.cache.pruning import Needs
from ferbench.store.schema import runs, stages


def all_needs(connection: Connection) -> Needs:
    """What every run and every stage says.

    A stage of no finished run was trained for cells that are still to come; those of a failed run are what it goes on
    from when it is run again.
    """
    known = frozenset(connection.scalars(select(stages.c.fingerprint)))
    finals: dict[str, dict[str, None]] = defaultdict(dict)
    ended: set[str] = set()
    failed: set[str] = set()
    query = select(runs.c.entry, runs.c.status, runs.c.final_stage, runs.c.record).order_by(runs.c.id)
    for entry, status, final, record in connection.execute(query):
        try:
            fields = json.loads(record)
            chain, members = fields["stages"], [member["stage"] for member in fields.get("members", ())]
        except (ValueError, KeyError, TypeError, AttributeError):
            # Whoever reads this record says that it is broken; its row still stands on its last stage.
            chain, members = [], []
        if status == "finished":
            ended.update(chain)
            # An ensemble has no checkpoint of its own.
            for last in members or [final]:
                if last is not None:
                    finals[last][entry[:10]] = None
        else:
            failed.update(chain)
    return Needs(
        finals={final: tuple(rows) for final, rows in finals.items()},
        known=known,
        unfinished=(known - ended) | (known & failed),
        unpaid=known - ended,
    )
