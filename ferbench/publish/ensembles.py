"""What `ferbench ensemble` did, in lines."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ferbench.publish.layout import wrapped
from ferbench.quantities import ranges
from ferbench.records import Run


def made_lines(
    runs: Sequence[Run],
    made: Collection[int],
    there_already: Collection[int],
    made_again: Collection[int],
    *,
    width: int,
) -> list[str]:
    """The row, and what of it is new.

    runs : of one row
    made, there_already, made_again : seeds, those made again among those made
    """
    first = runs[0]
    new = set(made) - set(made_again)
    states = [
        *([f"{_seeds(new)} made"] if new else []),
        *([f"{_seeds(made_again)} made again, of members that changed since"] if made_again else []),
        *([f"{_seeds(there_already)} there already"] if there_already else []),
    ]
    text = f"row {first.row} · {first.cell.backbone} · {first.cell.strategy}: {'; '.join(states)}"
    return wrapped(text, width, hanging="  ")


def _seeds(seeds: Collection[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {ranges(seeds)}"
