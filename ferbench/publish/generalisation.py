"""Rows against further datasets: columns beside the accuracy on the board, which alone is ranked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ferbench.generalisation import FurtherEntry
from ferbench.publish.board_columns import NAMING, View, known_column
from ferbench.quantities import percent, whole
from ferbench.records import Entry

_LEGEND = (
    "accuracy % on the board and on further datasets' report splits, ± standard deviation over seeds; seen: samples "
    "whose picture the row was trained on; ranks are the board's own, and no row is ranked by the others"
)


def generalisation_view(found: Mapping[str, Sequence[FurtherEntry]]) -> View:
    """A column for every further dataset that a row of one board was scored on.

    Parameters
    ----------
    found : by ROW, of the rows that are shown
    """
    samples = {each.samples: each for own in found.values() for each in own}
    titles = _titles(list(samples))
    columns = []
    for key in sorted(samples):
        columns.append(known_column(f"{titles[key]} %", _accuracy(found, key), f"{titles[key]} % "))
    facts = [_fact(titles[key], samples[key]) for key in sorted(samples)]
    return View(
        columns=(*NAMING, *columns),
        leaving=(
            *("weights", "device", "with", "size", "seeds", "backbone", "±", "train"),
            *(column.title for column in reversed(columns)),
            "strategy",
        ),
        legend=_LEGEND,
        facts=tuple(facts) or ("on further datasets: none yet, see `ferbench run --also-report`",),
    )


def _titles(samples: Sequence[tuple[str, str, str, str]]) -> dict[tuple[str, str, str, str], str]:
    """Dataset and split; with the content's first digits where data of one name has changed."""
    named = Counter((dataset, split) for dataset, split, *_ in samples)
    return {key: f"{key[0]} {key[1]}" + (f" {key[2][:6]}" if named[key[0], key[1]] > 1 else "") for key in samples}


def _fact(title: str, entry: FurtherEntry) -> str:
    excluded = f", {whole(entry.of.excluded)} outside the label set" if entry.of.excluded else ""
    synthetic = ", synthetic" if entry.of.synthetic else ""
    return f"{title}: n {whole(entry.of.n)}{excluded}{synthetic}"


def _accuracy(
    found: Mapping[str, Sequence[FurtherEntry]], samples: tuple[str, str, str, str]
) -> Callable[[Entry], str | None]:
    def text(entry: Entry) -> str | None:
        for each in found.get(entry.row, ()):
            if each.samples == samples:
                spread = "" if each.accuracy.sd is None else f" ± {percent(each.accuracy.sd)}"
                some = (
                    "" if len(each.seeds) == len(entry.seeds) else f" ({len(each.seeds)} of {len(entry.seeds)} seeds)"
                )
                seen = f", {whole(each.trained_on)} seen" if each.trained_on else ""
                return percent(each.accuracy.mean) + spread + some + seen
        return None

    return text
