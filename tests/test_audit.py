"""What is in a dataset twice, and what its splits are like, on pictures made by hand and at random."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.audit import Balance, Groups, Overlaps, Pair, Sizes, balance_of, groups_of, overlaps_of, sizes_of
from ferbench.data.split_cache import StoredSplit

Sample = tuple[str, np.ndarray, str | None, str]


def picture(value: int, height: int = 4, width: int = 4, channels: int = 1) -> np.ndarray:
    """One of 65,536 pictures of a shape, told apart by two pixels."""
    pixels = np.full((height, width, channels), 7, np.uint8)
    pixels[0, 0, 0], pixels[-1, -1, -1] = divmod(value, 256)
    return pixels


def split(samples: Sequence[Sample], *, grouped: bool = False) -> StoredSplit:
    ids, images, labels, groups = zip(*samples, strict=True)
    return StoredSplit(
        pixels=np.concatenate([image.ravel() for image in images]),
        shapes=np.array([image.shape for image in images], np.int64),
        class_names=None if labels[0] is None else labels,
        ids=ids,
        groups=groups if grouped else None,
        digests=tuple(f"{number:064}" for number in range(len(ids))),
        pictures=tuple(f"{image.shape} {image.tobytes().hex()}" for image in images),
        warnings=(),
    )


def named(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    return [(str(first), str(second)) for first, second in pairs]


def test_nothing_is_found_where_nothing_is_twice() -> None:
    train = split([("a", picture(1), "sad", "f"), ("b", picture(2), "sad", "f")], grouped=True)
    report = split([("a", picture(3), "happy", "g")], grouped=True)
    found = overlaps_of({"train": train, "report": report})
    assert found == Overlaps(0, (), (), (), ()) and not found.any


def test_copies_are_told_by_where_they_are_and_how_they_are_labelled() -> None:
    train = split(
        [
            ("z", picture(1), "sad", "f"),
            ("a", picture(1), "sad", "f"),
            ("m", picture(1), "happy", "g"),
            ("b", picture(2), "sad", "g"),
            ("c", picture(3), "sad", "h"),
        ],
        grouped=True,
    )
    report = split(
        [("p", picture(1), "sad", "h"), ("q", picture(2), "happy", "k"), ("r", picture(2), "sad", "f")], grouped=True
    )
    withheld = split([("t", picture(3), None, ""), ("u", picture(9), None, "")])
    found = overlaps_of({"train": train, "report": report, "test": withheld})
    # Pictures 1 (four samples), 2 (three) and 3 (two) less one each.
    assert found.copies == 3 + 2 + 1 and found.any
    assert named(found.exact) == [("train:a", "train:m"), ("train:a", "train:z"), ("report:q", "report:r")]
    assert named(found.across_splits) == [
        ("train:a", "report:p"),
        ("train:b", "report:q"),
        ("train:b", "report:r"),
        ("train:c", "test:t"),
    ]
    assert named(found.label_conflicts) == [("train:a", "train:m"), ("train:b", "report:q")]
    assert [(first.label, second.label) for first, second in found.label_conflicts] == [("sad", "happy")] * 2
    assert named(found.groups_across_splits) == [("train:f", "report:f"), ("train:h", "report:h")]


def test_shape_is_part_of_a_picture() -> None:
    images = [np.zeros(shape, np.uint8) for shape in ((2, 6, 1), (6, 2, 1), (2, 2, 3), (3, 4, 1))]
    assert not overlaps_of({"all": split([(str(n), image, "sad", "") for n, image in enumerate(images)])}).any


SPLITS = ("train", "select", "report")
PLACES = st.lists(
    st.tuples(st.sampled_from(SPLITS), st.integers(0, 30), st.sampled_from(("sad", "happy"))), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(PLACES, st.randoms(use_true_random=False))
def test_planted_copies_are_always_found_and_different_pictures_never(
    planted: list[tuple[str, int, str]], random: object
) -> None:
    """Against every pair of samples, compared pixel by pixel."""
    by_split: dict[str, list[Sample]] = {}
    for number, (where, value, label) in enumerate(planted):
        by_split.setdefault(where, []).append((f"{number:02}", picture(value), label, ""))
    ordered = {each: by_split[each] for each in SPLITS if each in by_split}
    for samples in ordered.values():
        random.shuffle(samples)  # type: ignore[attr-defined]
    found = overlaps_of({name: split(samples) for name, samples in ordered.items()})
    value_of = {f"{where}:{number:02}": value for number, (where, value, _) in enumerate(planted)}
    label_of = {f"{where}:{number:02}": label for number, (where, _, label) in enumerate(planted)}
    assert found.copies == len(planted) - len(set(value_of.values()))

    def reached(pairs: Sequence[Pair]) -> set[str]:
        return {str(place) for pair in pairs for place in pair}

    twins = [pair for pair in combinations(sorted(value_of), 2) if value_of[pair[0]] == value_of[pair[1]]]
    within = {each for a, b in twins if a.split(":")[0] == b.split(":")[0] for each in (a, b)}
    crossing = {each for a, b in twins if a.split(":")[0] != b.split(":")[0] for each in (a, b)}
    disputed = {value_of[a] for a, b in twins if label_of[a] != label_of[b]}
    assert reached(found.exact) == within
    assert reached(found.across_splits) <= crossing
    # The later samples of a picture all stand in a pair with an earlier split's.
    assert {str(later) for _, later in found.across_splits} == {
        each for each in crossing if any(value_of[each] == value_of[o] and earlier(o, each) for o in crossing)
    }
    assert {value_of[str(first)] for first, _ in found.label_conflicts} == disputed
    for first, second in (*found.exact, *found.across_splits, *found.label_conflicts):
        assert value_of[str(first)] == value_of[str(second)]


def earlier(one: str, other: str) -> bool:
    first, second = (SPLITS.index(each.partition(":")[0]) for each in (one, other))
    return first < second


def test_the_order_of_files_does_not_matter() -> None:
    samples: list[Sample] = [(str(n), picture(n % 3), ("sad", "happy")[n % 2], "") for n in range(9)]
    assert overlaps_of({"all": split(samples)}) == overlaps_of({"all": split(samples[::-1])})


def test_sizes_are_ordered_by_area_and_given_as_width_and_height() -> None:
    images = [picture(0, *shape) for shape in ((2, 9, 1), (5, 4, 3), (3, 3, 1), (8, 8, 3), (8, 8, 1))]
    stored = split([(str(n), image, "sad", "") for n, image in enumerate(images)])
    assert sizes_of(stored) == Sizes((3, 3), (4, 5), (8, 8), distinct=4, grey=3, coloured=2)


def test_balance_names_the_ends_and_what_is_empty() -> None:
    assert balance_of({"sad": 2, "happy": 6, "fear": 2}) == Balance("happy", 0.6, "sad", 3.0, ())
    assert balance_of({"sad": 0, "happy": 6}) == Balance("happy", 1.0, "sad", None, ("sad",))
    assert balance_of({}) is None and balance_of({"sad": 0}) is None


def test_groups_are_counted() -> None:
    samples = [(str(n), picture(n), "sad", film) for n, film in enumerate(("b", "a", "a", "b", "c"))]
    assert groups_of(split(samples, grouped=True)) == Groups(3, "a", 2)
    assert groups_of(split(samples)) is None
