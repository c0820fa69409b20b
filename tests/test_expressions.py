import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.errors import DatasetError, UnknownName, UsageError
from ferbench.expressions import BASIC7, BASIC8, LabelSet, alignment, expression, label_set

SPELLINGS = st.sampled_from(
    [
        "anger",
        "Angry",
        "DISGUST",
        "disgusted",
        "fear",
        "Fearful",
        "afraid",
        "happiness",
        "joy",
        "Sadness",
        "sad",
        "Surprised",
        "neutral",
        "contempt",
    ]
)


@st.composite
def label_sets(draw: st.DrawFn) -> LabelSet:
    """Label sets of every kind: each expression goes to one of a few classes or to none."""
    places = draw(st.lists(st.integers(-1, 4), min_size=8, max_size=8).filter(lambda p: len({*p} - {-1}) >= 2))
    taken = [[name for name, place in zip(BASIC8, places, strict=True) if place == index] for index in range(5)]
    parts = [names[0] if len(names) == 1 else f"class{i}={'+'.join(names)}" for i, names in enumerate(taken) if names]
    return label_set("/".join(draw(st.permutations(parts))))


def test_the_named_sets_are_the_seven_and_eight_of_the_field() -> None:
    assert label_set("basic7").classes == BASIC7
    assert BASIC7 == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert label_set("basic8").classes == (*BASIC7, "contempt")
    assert label_set(" Basic7 ") == label_set("basic7")


@pytest.mark.parametrize(
    ("word", "canonical"),
    [
        ("anger", "angry"),
        ("Angry", "angry"),
        ("happiness", "happy"),
        ("JOY", "happy"),
        ("sadness", "sad"),
        ("Surprised", "surprise"),
        ("fearful", "fear"),
        ("afraid", "fear"),
        ("disgusted", "disgust"),
        (" Neutral ", "neutral"),
        ("contempt", "contempt"),
        ("bored", None),
        ("negative", None),
        ("", None),
    ],
)
def test_words_for_expressions(word: str, canonical: str | None) -> None:
    assert expression(word) == canonical


def test_every_canonical_name_is_its_own_spelling() -> None:
    assert [expression(name) for name in BASIC8] == list(BASIC8)


def test_a_subset_keeps_its_own_order() -> None:
    found = label_set("happy/sad/neutral")
    assert found.classes == ("happy", "sad", "neutral")
    assert found.members == (("happy",), ("sad",), ("neutral",))


def test_a_merge_takes_what_stands_after_its_name() -> None:
    found = label_set("negative=anger+Disgust+fear+sadness/happiness/neutral")
    assert found.name == "negative=angry+disgust+fear+sad/happy/neutral"
    assert found.classes == ("negative", "happy", "neutral")
    assert found.members == (("angry", "disgust", "fear", "sad"), ("happy",), ("neutral",))


def test_a_set_has_one_name_however_it_is_spelled() -> None:
    assert label_set("Joy/sadness").name == label_set("happy/sad").name == "happy/sad"
    assert label_set("bad=sad+angry/happy") == label_set("bad=angry+sad/happy")
    assert label_set("/".join(BASIC7)).name == "basic7"
    assert label_set("happy=happy/sad").name == "happy/sad"


@given(label_sets())
def test_the_name_of_a_set_gives_the_set(labels: LabelSet) -> None:
    assert label_set(labels.name) == labels


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("basic9", "no label set named 'basic9': did you mean basic"),
        ("hapy/sad", "no expression named 'hapy': did you mean happy"),
        ("happy,sad", "part its classes by slashes, as in 'happy/sad'"),
        ("happy", "has one class"),
        ("happy/sad/joy", "has the class 'happy' twice"),
        ("bad=sad+angry/sad", "has the expression 'sad' twice"),
        ("sad+angry/happy", "give the merge 'sad+angry' a name, as in 'negative=sad+angry'"),
        ("happy=sad+fear/neutral", "the class 'happy' must take happy itself"),
        ("happy//sad", "has an empty place"),
        ("bad=/happy", "has an empty place"),
        ("=sad/happy", "'' is no name for a class"),
        ("two words=sad/happy", "'two words' is no name for a class"),
        ("", "no label set named ''"),
    ],
)
def test_what_cannot_be_read_is_one_line(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        label_set(name)
    assert message in caught.value.line


def test_unknown_names_are_of_their_own_kind() -> None:
    with pytest.raises(UnknownName):
        label_set("basic9")
    with pytest.raises(UnknownName):
        label_set("happy/bored")


def test_alignment_by_hand() -> None:
    sfew = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
    found = alignment(sfew, label_set("basic7"))
    assert found.dtype == np.int64
    assert found.tolist() == [0, 1, 2, 3, 6, 4, 5]


def test_expressions_outside_the_set_land_nowhere() -> None:
    assert alignment(["contempt", "anger"], label_set("basic7")).tolist() == [-1, 0]
    merge = label_set("negative=angry+sad/happy")
    assert alignment(["Sad", "Neutral", "Happy", "Anger"], merge).tolist() == [0, -1, 1, 0]


def test_a_class_of_the_sets_own_name_lands_there() -> None:
    assert alignment(["Happy", "Negative"], label_set("negative=angry+sad/happy")).tolist() == [1, 0]


def test_a_class_that_is_no_expression_is_an_error() -> None:
    with pytest.raises(
        DatasetError, match="class 'bored' of mine is no known expression and not in the label set basic7"
    ):
        alignment(["happy", "bored"], label_set("basic7"), "mine")


@given(st.lists(SPELLINGS, min_size=1, unique=True), label_sets(), st.randoms(use_true_random=False))
def test_a_datasets_own_order_never_changes_where_a_label_lands(classes, labels, random) -> None:
    permuted = random.sample(classes, len(classes))
    landed = dict(zip(classes, alignment(classes, labels).tolist(), strict=True))
    assert dict(zip(permuted, alignment(permuted, labels).tolist(), strict=True)) == landed
    for name, index in landed.items():
        taken = labels.members[index] if index >= 0 else set(BASIC8).difference(*labels.members)
        assert expression(name) in taken
