"""Axes to cells: values as they were typed, every combination once, and faults that name the value."""

from __future__ import annotations

import dataclasses
import itertools
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import matrix, tiny_backbone, tiny_catalog

from ferbench.catalog import Catalog
from ferbench.errors import RecipeError, UnknownName, UsageError
from ferbench.matrix import RecipeAxis, check_image_size, parse_axis, parse_chain, unrolled
from ferbench.recipes import RECIPE_CHOICES
from ferbench.stages import Cell, StageChange


@cache
def catalog() -> Catalog:
    return tiny_catalog()


def cells(strategies: str, *sets: str, budget: int | None = None, **axes: object) -> tuple[Cell, ...]:
    asked = dataclasses.replace(matrix(strategies, **axes), axes=tuple(map(parse_axis, sets)))
    return unrolled(asked, catalog(), budget)


# --- --set ------------------------------------------------------------------------------------------------------------


@given(values=st.lists(st.floats(0, 1000), min_size=1, max_size=4), stage=st.none() | st.integers(1, 9))
def test_numbers_come_back_as_they_were_typed(values: list[float], stage: int | None) -> None:
    prefix = "" if stage is None else f"stage{stage}."
    axis = parse_axis(f"{prefix}lr={','.join(map(repr, values))}")
    assert axis == RecipeAxis("lr", tuple(values), stage)


@given(key=st.sampled_from(sorted(RECIPE_CHOICES)), data=st.data())
def test_words_come_back_as_they_were_typed(key: str, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.sampled_from(RECIPE_CHOICES[key]), min_size=1, max_size=3))
    assert parse_axis(f" {key} = {' , '.join(words)} ") == RecipeAxis(key, tuple(words))


@given(text=st.text(max_size=40) | st.from_regex(r"(stage.{0,2}\.)?(lr|grey|augment|batch_size)=.{0,12}"))
def test_any_text_is_an_axis_or_one_line_for_people(text: str) -> None:
    try:
        axis = parse_axis(text)
    except RecipeError as error:
        assert error.exit_code == 2 and "\n" not in error.line
    else:
        assert axis.values and (axis.stage is None or axis.stage >= 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr", "--set lr: write key=value"),
        ("lr=", "--set lr=: write key=value"),
        ("lr=0.1,", "lr=: a number is needed"),
        ("lrr=1", "no recipe value named 'lrr': did you mean lr"),
        ("batch_size=1.5", "batch_size=1.5: a whole number is needed"),
        ("lr=nan", "lr=nan: a number is needed"),
        ("lr=-1", "lr=-1: it lies between 0 and 1000"),
        ("augment=lots", "augment=lots: it is one of none, flip, standard"),
        ("stage0.lr=1", "recipe key stage0.lr: a stage is written stage1"),
        ("stage².lr=1", "recipe key stage².lr: a stage is written stage1"),
        ("part2.lr=1", "recipe key part2.lr: a stage is written stage1"),
        ("stage2.images_seen=5", "stage2.images_seen: images_seen belongs to the whole chain"),
        ("stage2.label_set=basic8", "stage2.label_set: label_set belongs to the whole chain"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_axis(text)
    assert message in caught.value.line


def test_a_chain_is_parted_by_commas() -> None:
    assert parse_chain("a, b:train+select ,c") == ("a", "b:train+select", "c")
    assert parse_chain("") == ()


# --- unrolling --------------------------------------------------------------------------------------------------------


def test_every_combination_of_the_axes_is_there_once_and_in_order() -> None:
    found = cells(
        "cascade single-stage",
        "lr=0.1,0.2",
        "batch_size=4,8",
        auxiliaries=(("big",), ("other",)),
        weights=("random", "auto"),
        seeds=(0, 1, 0),
    )
    expected = itertools.product(
        ("random", "auto"), ("cascade", "single-stage"), ("big", "other"), (0.1, 0.2), (4, 8), (0, 1)
    )
    assert [(c.weights, c.strategy, c.auxiliaries[0], c.recipe.lr, c.recipe.batch_size, c.seed) for c in found] == list(
        expected
    )


def test_strategies_without_use_for_auxiliaries_give_one_cell() -> None:
    found = cells("target-only linear-probe cascade", auxiliaries=(("big",), ("other",), ("big", "other")))
    assert [(cell.strategy, cell.auxiliaries) for cell in found] == [
        ("target-only", ()),
        ("linear-probe", ()),
        ("cascade", ("big",)),
        ("cascade", ("other",)),
        ("cascade", ("big", "other")),
    ]


def test_the_recipe_is_default_then_backbone_then_target_then_the_users() -> None:
    (cell,) = cells("target-only")
    # 64 images, batches of 8 and 12 pixels are the tiny dataset's own; momentum is the general default.
    assert (cell.recipe.images_seen, cell.recipe.batch_size, cell.recipe.image_size) == (64, 8, 12)
    assert cell.recipe.momentum == 0.9
    (own,) = cells("target-only", "batch_size=16", "image_size=20")
    assert (own.recipe.batch_size, own.recipe.image_size, own.recipe.images_seen) == (16, 20, 64)


def test_the_last_of_two_values_for_one_key_stands() -> None:
    (cell,) = cells("cascade", "lr=0.1,0.2", "stage2.lr=0.3,0.4", "lr=0.5", "stage2.lr=0.6")
    assert cell.recipe.lr == 0.5 and cell.stage_changes == (StageChange(2, "lr", 0.6),)
    assert cells("cascade", "stage2.lr=0.1", "stage1.lr=0.2") == cells("cascade", "stage1.lr=0.2", "stage2.lr=0.1")


def test_a_budget_in_images_takes_the_place_of_the_default() -> None:
    (cell,) = cells("cascade", budget=4000)
    assert cell.recipe.images_seen == 4000
    with pytest.raises(UsageError, match="as epochs or as images_seen, not both"):
        cells("cascade", "images_seen=5", budget=4000)


@pytest.mark.parametrize("chain", [("small",), ("big", "small:va"), ("small:train+report",)])
def test_the_target_is_no_auxiliary_whatever_splits_are_named(chain: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="'small' is the target and an auxiliary at once"):
        cells("cascade", auxiliaries=(chain,))
    with pytest.raises(UsageError, match="'small' is the target and an auxiliary at once"):
        cells("cascade", targets=("small:va",), auxiliaries=(chain,))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"backbones": ("tinny",)}, UnknownName, "no backbone named 'tinny': did you mean tiny"),
        ({"targets": ("smal",)}, UnknownName, "no dataset named 'smal'"),
        ({"auxiliaries": (("bigg",),)}, UnknownName, "no dataset named 'bigg'"),
        ({"auxiliaries": ((),)}, UsageError, "name one with -a"),
        ({"targets": ("small:xx",)}, UsageError, "has no split 'xx'"),
    ],
)
def test_names_that_do_not_exist_are_told(arguments: dict[str, object], error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        cells("cascade", **arguments)
    assert message in caught.value.line


def test_values_that_do_not_fit_the_cell_are_told() -> None:
    with pytest.raises(UnknownName, match="cascad"):
        cells("cascad")
    with pytest.raises(RecipeError, match=r"stage3 is set, but cascade has 2 stage\(s\) here"):
        cells("cascade", "stage3.lr=0.1")
    with pytest.raises(RecipeError, match="image_size=7 is too small for tiny: the smallest is 8"):
        cells("cascade", "image_size=7")
    with pytest.raises(RecipeError, match="image_size=5 is too small"):
        cells("cascade", "stage2.image_size=5")
    with pytest.raises(RecipeError, match="target_share between 0 and 1"):
        cells("cascade", "target_share=1")


def test_pictures_too_small_for_the_backbone_are_refused_with_the_smallest() -> None:
    check_image_size(tiny_backbone(), 8)
    with pytest.raises(RecipeError, match=r"image_size=7 is too small for tiny: .* --set image_size=8"):
        check_image_size(tiny_backbone(), 7)
