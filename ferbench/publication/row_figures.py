"""Figures of a row over all its seeds, by ferbench.metrics of what its runs said of their board."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ferbench.metrics import ClassScore, class_scores, confusion, correctness
from ferbench.over_seeds import mean_over_seeds
from ferbench.pages.row import Calibrated, GroupScore, HardSample
from ferbench.records import Entry, Predictions, Run
from ferbench.reliability import at_temperature, reliability_bins
from ferbench.resampling import group_numbers

#: Samples that are shown as the hardest.
HARDEST = 12


def confusion_over_seeds(said: Sequence[Predictions]) -> tuple[tuple[int, ...], ...]:
    """Counts summed over seeds; rows are the truth."""
    total = np.sum([confusion(each) for each in said], axis=0)
    return tuple([tuple(line) for line in total.tolist()])


def class_scores_over_seeds(said: Sequence[Predictions], classes: Sequence[str]) -> tuple[ClassScore, ...]:
    """Each class's scores, means over seeds; the recall is None where the truth has no sample of it."""
    by_seed = [class_scores(each, classes) for each in said]
    found = []
    for of_class in zip(*by_seed, strict=True):
        precision, f1 = (sum(getattr(each, name) for each in of_class) / len(of_class) for name in ("precision", "f1"))
        recall = mean_over_seeds([each.recall for each in of_class])
        found.append(ClassScore(of_class[0].name, precision, recall, f1, of_class[0].support))
    return tuple(found)


def calibrated_over_seeds(entry: Entry, runs: Sequence[Run], said: Sequence[Predictions]) -> Calibrated:
    """Bins of all seeds' answers together; at each seed's own temperature where every seed has one."""
    before = reliability_bins(_together(said))
    fitted = [run.calibration for run in runs if run.calibration is not None]
    if len(fitted) < len(runs):
        return Calibrated(before, entry.ece)
    scaled = [at_temperature(each, of.temperature) for each, of in zip(said, fitted, strict=True)]
    after = reliability_bins(_together(scaled))
    return Calibrated(
        before=before,
        ece=entry.ece,
        after=after,
        after_ece=entry.calibrated_ece,
        after_brier=mean_over_seeds([each.brier for each in fitted]),
        temperature=entry.temperature,
        select_n=max(each.select_n for each in fitted),
    )


def group_scores(said: Sequence[Predictions]) -> tuple[GroupScore, ...]:
    """Films or subjects, best first; none where there are no groups, one alone, or every sample is its own."""
    first = said[0]
    n = len(first.ids)
    numbers, count = group_numbers(first.groups, n)
    if first.groups is None or not 1 < count < n:
        return ()
    sizes = np.bincount(numbers, minlength=count)
    right = np.stack([np.bincount(numbers, correctness(each), minlength=count) for each in said]) / sizes
    names = dict(zip(numbers.tolist(), first.groups, strict=True))
    found = [
        GroupScore(names[number], int(sizes[number]), *(float(value) for value in _spread(right[:, number])))
        for number in range(count)
    ]
    return tuple(sorted(found, key=lambda group: (-group.accuracy, -group.n, group.name)))


def hardest_places(said: Sequence[Predictions], most: int = HARDEST) -> tuple[int, ...]:
    """Samples that most seeds get wrong, by their number in the board's order, from 0; hardest first.

    Of those with equally many, the ones whose label has the least probability come first, mean over seeds. A sample
    that no seed gets wrong is not among them.
    """
    wrong = _wrong(said)
    order = np.lexsort((_of_truth(said), -wrong))
    return tuple([place for place in order[:most].tolist() if wrong[place]])


def hard_samples(said: Sequence[Predictions], classes: Sequence[str], places: Sequence[int]) -> Iterator[HardSample]:
    """What was said of some samples, in the order of `places`."""
    first = said[0]
    assert first.labels is not None
    wrong, of_truth = _wrong(said), _of_truth(said)
    answers = np.stack([each.probabilities.argmax(axis=1) for each in said])
    for place in places:
        counted = Counter(answers[:, place].tolist())
        yield HardSample(
            place=place,
            name=first.ids[place],
            group=None if first.groups is None else first.groups[place],
            truth=classes[first.labels[place]],
            wrong=int(wrong[place]),
            answers=tuple([(classes[answer], seeds) for answer, seeds in counted.most_common()]),
            of_truth=float(of_truth[place]),
        )


def _together(said: Sequence[Predictions]) -> Predictions:
    """All seeds' answers as those of one split."""
    first = said[0]
    labels = None if first.labels is None else np.concatenate([each.labels for each in said if each.labels is not None])
    return dataclasses.replace(
        first,
        ids=first.ids * len(said),
        labels=labels,
        probabilities=np.concatenate([each.probabilities for each in said]),
        groups=None,
    )


def _wrong(said: Sequence[Predictions]) -> NDArray[np.int64]:
    wrong: NDArray[np.int64] = np.sum([~correctness(each) for each in said], axis=0)
    return wrong


def _of_truth(said: Sequence[Predictions]) -> NDArray[np.float64]:
    labels = said[0].labels
    assert labels is not None
    mean: NDArray[np.float64] = np.mean(
        [each.probabilities[np.arange(len(labels)), labels].astype(np.float64) for each in said], axis=0
    )
    return mean


def _spread(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return values.mean(), values.min(), values.max()
