"""What a command means where it does not say: which datasets, and the recipe."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tiny import bar_dataset, tiny_backbone

from ferbench.components import Dataset
from ferbench.defaults import choose_data, default_recipe
from ferbench.errors import UsageError
from ferbench.recipes import Recipe


def dataset(name: str, part: str | None, *, embedded: bool = False) -> Dataset:
    """A real one is found where a folder of its name lies in the data folder."""
    return dataclasses.replace(
        bar_dataset(name, 1),
        default_for=part,  # type: ignore[arg-type]
        embedded=embedded,
        locate=lambda folder: folder / name if (folder / name).is_dir() else None,
    )


PAIR = [dataset("drawn-many", "auxiliary", embedded=True), dataset("drawn-few", "target", embedded=True)]
REAL = [dataset("many", "auxiliary"), dataset("few", "target"), dataset("none", None)]
ALL = [*PAIR, *REAL]


def test_without_real_data_the_embedded_pair_is_taken_and_the_reason_names_what_is_missing(tmp_path: Path) -> None:
    choice = choose_data(ALL, tmp_path)
    assert (choice.targets, choice.auxiliaries) == (("drawn-few",), (("drawn-many",),))
    for word in ("drawn-many then drawn-few", "embedded synthetic faces", "many and few", str(tmp_path)):
        assert word in choice.reason


def test_both_real_ones_are_needed(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    choice = choose_data(ALL, tmp_path)
    assert choice.targets == ("drawn-few",) and "few" in choice.reason and "many and few" not in choice.reason
    (tmp_path / "few").mkdir()
    choice = choose_data(ALL, tmp_path)
    assert (choice.targets, choice.auxiliaries) == (("few",), (("many",),))
    assert "many then few" in choice.reason and f"found in {tmp_path}" in choice.reason


def test_what_is_named_is_taken(tmp_path: Path) -> None:
    for name in ("many", "few"):
        (tmp_path / name).mkdir()
    choice = choose_data(ALL, tmp_path, ("a", "b"), (("c", "d"),))
    assert (choice.targets, choice.auxiliaries) == (("a", "b"), (("c", "d"),)) and "as named" in choice.reason
    # A target alone goes without a chain: which data to pass through is for the user to say.
    assert choose_data(ALL, tmp_path, ("a",)).auxiliaries == ((),)


def test_with_auxiliaries_named_only_the_target_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    choice = choose_data(ALL, tmp_path, auxiliaries=(("mine",), ("mine", "other")))
    assert (choice.targets, choice.auxiliaries) == (("few",), (("mine",), ("mine", "other")))


def test_of_several_the_first_by_name_is_taken_whatever_order_they_come_in(tmp_path: Path) -> None:
    more = [*ALL, dataset("a-few", "target", embedded=True)]
    assert choose_data(more, tmp_path).targets == choose_data(more[::-1], tmp_path).targets == ("a-few",)


def test_without_any_default_the_user_is_asked(tmp_path: Path) -> None:
    for some in ([], [REAL[2]], [PAIR[0]], [PAIR[1]]):
        with pytest.raises(UsageError, match="--target"):
            choose_data(some, tmp_path)
    assert choose_data([PAIR[1]], tmp_path, auxiliaries=(("mine",),)).targets == ("drawn-few",)


def test_defaults_come_from_the_backbone_and_then_from_the_target() -> None:
    backbone = dataclasses.replace(tiny_backbone(), recipe={"lr": 0.3, "batch_size": 16}, image_size=224)
    plain = dataclasses.replace(bar_dataset("d", 1), recipe={})
    assert default_recipe(backbone, plain) == Recipe(lr=0.3, batch_size=16, image_size=224)
    own = dataclasses.replace(plain, recipe={"batch_size": 4, "image_size": 48})
    assert default_recipe(backbone, own) == Recipe(lr=0.3, batch_size=4, image_size=48)
    # A dataset's size is raised to the smallest that the backbone takes.
    large = dataclasses.replace(backbone, smallest_image_size=63)
    assert default_recipe(large, own).image_size == 63
