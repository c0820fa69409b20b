"""How recipes were chosen, in lines for a log."""

from __future__ import annotations

from collections.abc import Iterable

from ferbench.publish.layout import wrapped, wrapped_facts
from ferbench.recipes import in_words
from ferbench.stages import Cell, Try, Tuning
from ferbench.tuning import at_an_edge, reached

_WIDTH = 80


def tuning_lines(found: Iterable[tuple[Cell, Tuning]], width: int = _WIDTH) -> list[str]:
    """For each row-to-be what was tried and taken.

    found : its first try's cell, and how its tries compare
    """
    lines: list[str] = []
    for cell, tuning in found:
        chain = [f"with {', '.join(cell.auxiliaries)}"] if cell.auxiliaries else []
        what = [cell.backbone, cell.strategy, *chain, f"on {cell.target}"]
        share = [f"{100 * cell.train_fraction:.3g} % of train"] if cell.train_fraction < 1 else []
        chosen = in_words(tuning.chosen)
        if all(each.score is None for each in tuning.tries):
            chosen += " for want of a better one: every try failed"
        elif edges := at_an_edge(tuning):
            chosen += f" ({' and '.join(edges)} at the edge of what was tried)"
        lines += wrapped(f"chosen  {' · '.join([*what, *share])}: {chosen}", width, hanging="  ")
        facts = [f"{tuning.metric} on select", *(_tried(each, tuning.metric) for each in tuning.tries)]
        lines += wrapped_facts(facts, width, "  ", "  ", between=",")
    return lines


def _tried(each: Try, metric: str) -> str:
    return f"{reached(each, metric)} with {in_words(each.values)}"
