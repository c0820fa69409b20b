"""Anatomy: heads, sizes and kinds found on networks whose answers are known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ferbench.anatomy import build_checked, examine, refuse_small, suited_recipe
from ferbench.errors import PluginError, RecipeError


def convolutional(num_classes: int, image_size: int) -> nn.Module:
    """Takes 41 pixels and more: (41 - 1) / 4 = 10, the last kernel."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=4),
        nn.Conv2d(4, 4, 10),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, num_classes),
    )


def patched(num_classes: int, image_size: int) -> nn.Module:
    """Takes multiples of 48 only, and is built for one size."""
    if image_size % 48:
        raise ValueError(f"{image_size} is no multiple\nof 48")
    return nn.Sequential(nn.Conv2d(3, 1, 48, stride=48), nn.Flatten(), nn.Linear((image_size // 48) ** 2, num_classes))


def test_head_and_smallest_size_of_a_convolutional_network() -> None:
    found = examine("a/b", convolutional, 224)
    assert (found.classifier, found.smallest_image_size, found.device) == ("4", 41, "meta")
    assert build_checked(found, 7, 41)(torch.zeros(2, 3, 41, 41)).shape == (2, 7)
    with pytest.raises(RuntimeError):
        convolutional(7, 40)(torch.zeros(2, 3, 40, 40))
    with pytest.raises(RecipeError, match="needs images of 41 pixels or more, image_size is 40"):
        build_checked(found, 7, 40)


def test_a_size_between_those_that_work_is_refused_in_one_line() -> None:
    found = examine("a/b", patched, 96)
    assert found.smallest_image_size == 48
    with pytest.raises(RecipeError) as caught:
        build_checked(found, 7, 100)
    assert str(caught.value) == (
        "backbone a/b does not take image_size 100 (100 is no multiple of 48); it takes, among others: 48, 96"
    )
    assert build_checked(found, 7, 144)(torch.zeros(2, 3, 144, 144)).shape == (2, 7)


def test_a_network_that_cannot_be_built_without_data_is_built_on_the_cpu() -> None:
    def build(num_classes: int, image_size: int) -> nn.Module:
        width = int(torch.arange(5).max())
        return nn.Sequential(nn.Conv2d(3, width, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))

    found = examine("a/b", build, 64)
    assert (found.device, found.classifier, found.smallest_image_size) == ("cpu", "3", 32)


def test_looking_and_building_draw_the_random_numbers_of_building_alone() -> None:
    found = examine("a/b", convolutional, 224)
    torch.manual_seed(1)
    expected = convolutional(7, 64)
    torch.manual_seed(1)
    examine("a/b", convolutional, 224)
    built = build_checked(found, 7, 64)
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), built.parameters(), strict=True))


def test_several_heads_none_and_what_is_no_classifier_are_refused() -> None:
    class Two(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, num_classes), nn.Linear(3, num_classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x.mean((2, 3))) + self.b(x.mean((2, 3)))

    with pytest.raises(PluginError, match=r"2 classification heads \(a, b\)"):
        examine("a/b", lambda classes, size: Two(classes), 32)
    with pytest.raises(PluginError, match="0 classification heads"):
        examine("a/b", lambda classes, size: nn.Sequential(nn.AdaptiveAvgPool2d((1, classes)), Reduce()), 32)
    with pytest.raises(PluginError, match="not logits"):
        examine("a/b", lambda classes, size: nn.Conv2d(3, 3, 1), 32)


class Reduce(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2))


def test_recipes_by_normalisation() -> None:
    assert suited_recipe(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.LayerNorm(3))) == {}
    assert suited_recipe(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)))["optimizer"] == "adamw"
    assert suited_recipe(nn.Sequential(nn.Linear(3, 3))) == {"lr": 0.003}


def test_the_smallest_size_itself_is_taken() -> None:
    refuse_small("a", 63, 63)
    with pytest.raises(RecipeError, match="a needs images of 63 pixels or more, image_size is 62"):
        refuse_small("a", 62, 63)
