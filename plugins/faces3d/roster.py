"""Which samples a split has: expression, published label, id, and who or which film it belongs to.

All of it follows from (dataset, split, index): the first samples of a larger split are those of a smaller one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ferbench_plugins.faces3d.seeds import random_for
from ferbench_plugins.faces3d.splits import EXPRESSIONS, SOURCE, SPLITS

#: Samples of each expression in every 100 (source) and in every film of 35: uneven as in FER2013 and SFEW, but less.
SOURCE_BLOCK = {"angry": 13, "disgust": 7, "fear": 13, "happy": 21, "sad": 16, "surprise": 13, "neutral": 17}
FILM_BLOCK = {"angry": 6, "disgust": 3, "fear": 4, "happy": 7, "sad": 5, "surprise": 4, "neutral": 6}
#: Pictures of one person in the source.
PICTURES_A_PERSON = 4

#: Share of labels in the source's train and select splits that say something else than what is shown. FER2013's own
#: share isn't known: people agree with its labels on 65 +- 5 % (arXiv 1307.0414), but not for noise alone.
LABEL_NOISE = 0.12
NOISY_SPLITS = ("train", "select")
#: What a wrong label says instead, by share: the expressions that people take for one another.
CONFUSIONS: Mapping[str, Mapping[str, float]] = {
    "angry": {"disgust": 0.4, "sad": 0.3, "neutral": 0.3},
    "disgust": {"angry": 0.7, "sad": 0.3},
    "fear": {"surprise": 0.6, "sad": 0.4},
    "happy": {"neutral": 0.6, "surprise": 0.4},
    "sad": {"neutral": 0.5, "fear": 0.3, "angry": 0.2},
    "surprise": {"fear": 0.7, "happy": 0.3},
    "neutral": {"sad": 0.6, "angry": 0.2, "happy": 0.2},
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample.

    expression : what is shown
    label : what its label says
    id : unique within the dataset
    group : the person (source) or the film (film); never in two splits
    """

    dataset: str
    split: str
    index: int
    expression: str
    label: str
    id: str
    group: str


def entry_at(dataset: str, split: str, index: int) -> Entry:
    """The sample at a place of a split."""
    # Groups are numbered alternately over the splits, so that any split may grow without meeting another.
    per_group = PICTURES_A_PERSON if dataset == SOURCE else sum(FILM_BLOCK.values())
    group_number = index // per_group * len(SPLITS) + SPLITS.index(split)
    group = f"person{group_number:05d}" if dataset == SOURCE else f"film{group_number:02d}"
    name = f"{split}_{index:05d}" if dataset == SOURCE else f"{group}_{index:05d}"
    expression = _expression_at(dataset, split, index)
    label = _noisy_label(expression, dataset, split, index) if is_noisy(dataset, split) else expression
    return Entry(dataset, split, index, expression, label, name, group)


def is_noisy(dataset: str, split: str) -> bool:
    """Whether some labels of the split are wrong on purpose."""
    return dataset == SOURCE and split in NOISY_SPLITS


def class_counts(dataset: str, split: str, count: int) -> dict[str, int]:
    """How many of the first `count` samples bear each label."""
    labels = [entry_at(dataset, split, index).label for index in range(count)]
    return {expression: labels.count(expression) for expression in EXPRESSIONS}


def _expression_at(dataset: str, split: str, index: int) -> str:
    shares = SOURCE_BLOCK if dataset == SOURCE else FILM_BLOCK
    block = [expression for expression, count in shares.items() for _ in range(count)]
    number, place = divmod(index, len(block))
    order = random_for(dataset, split, "block", number).permutation(len(block))
    return block[int(order[place])]


def _noisy_label(expression: str, dataset: str, split: str, index: int) -> str:
    random = random_for(dataset, split, index, "label")
    if random.uniform() >= LABEL_NOISE:
        return expression
    others = CONFUSIONS[expression]
    return str(random.choice(list(others), p=list(others.values())))
