"""What rows score on further datasets, pure: beside their board, and ranked on none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ferbench.errors import StoreError
from ferbench.over_seeds import interval_json, interval_over_seeds
from ferbench.records import Entry, FurtherScores, Interval, Score

_METRICS = ("accuracy", "uar", "macro_f1")


@dataclass(frozen=True, slots=True)
class FurtherEntry:
    """One row on one further dataset's report split.

    of : the split's samples, as FurtherScores has them; its scores are those of the first seed
    seeds : those that were scored on it, which may be some of the row's only
    trained_on : samples that the row was trained on, the most of any seed
    """

    of: FurtherScores
    seeds: tuple[int, ...]
    accuracy: Interval
    uar: Interval
    macro_f1: Interval
    trained_on: int = 0

    @property
    def samples(self) -> tuple[str, str, str, str]:
        """What rows must agree in to stand in one column: dataset, split, content, label set."""
        return self.of.dataset, self.of.split, self.of.content, self.of.label_set


def further_entries(entry: Entry, scored: Mapping[str, Sequence[FurtherScores]]) -> tuple[FurtherEntry, ...]:
    """All that a row was scored on, by name.

    Parameters
    ----------
    scored : by the fingerprint of the stage that was scored (`Store.further_scores`)

    Raises
    ------
    StoreError : scores without accuracy, UAR or macro-F1
    """
    found: dict[tuple[str, str, str, str], list[tuple[int, FurtherScores]]] = defaultdict(list)
    for seed, stage in zip(entry.seeds, entry.final_stages, strict=False):
        for each in scored.get(stage or "", ()):
            found[each.dataset, each.split, each.content, each.label_set].append((seed, each))
    return tuple(_entry(own) for _, own in sorted(found.items()))


def as_json(found: Sequence[FurtherEntry]) -> list[dict[str, Any]]:
    """`further` of an entry in `leaderboard --generalisation --json`. Fields may be added, never changed."""
    return [
        {
            "dataset": each.of.dataset,
            "split": each.of.split,
            "n": each.of.n,
            "excluded": each.of.excluded,
            "label_set": each.of.label_set,
            "content": each.of.content,
            "synthetic": each.of.synthetic,
            "trained_on": each.trained_on,
            "seeds": list(each.seeds),
            "accuracy": interval_json(each.accuracy),
            "uar": interval_json(each.uar),
            "macro_f1": interval_json(each.macro_f1),
        }
        for each in found
    ]


def _entry(own: Sequence[tuple[int, FurtherScores]]) -> FurtherEntry:
    scores: dict[str, list[Score]] = defaultdict(list)
    for _, each in own:
        for score in each.scores:
            scores[score.metric].append(score)
    first, seeds = own[0][1], tuple(seed for seed, _ in own)
    for metric in _METRICS:
        if len(scores[metric]) != len(seeds):
            raise StoreError(
                f"the store's scores on {first.dataset} {first.split} lack {metric}: run with --also-report again"
            )
    accuracy, uar, macro_f1 = (interval_over_seeds(scores[metric]) for metric in _METRICS)
    return FurtherEntry(first, seeds, accuracy, uar, macro_f1, max(each.trained_on for _, each in own))
