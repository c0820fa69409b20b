"""Building without drawing: the same module once a state is loaded, and faster than drawing one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ferbench.catalog import Catalog
from ferbench.initialisation import uninitialised


@pytest.mark.parametrize("name", ["alexnet", "tv/mobilenet_v3_small", "timm/resnet10t", "timm/vit_tiny_patch16_224"])
def test_with_a_state_on_top_it_is_the_module_that_was_drawn(name: str) -> None:
    backbone = Catalog.load().backbone(name)
    size = max(64, backbone.smallest_image_size)
    torch.manual_seed(0)
    drawn = backbone.build(7, size).eval()
    torch.manual_seed(1)
    with uninitialised():
        module = backbone.build(7, size).eval()
    module.load_state_dict(drawn.state_dict())
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        assert torch.equal(module(images), drawn(images))


def test_initialisers_are_themselves_again_whatever_happens() -> None:
    before = nn.init.kaiming_uniform_
    with pytest.raises(ValueError, match="x"), uninitialised():
        assert nn.init.kaiming_uniform_ is not before
        raise ValueError("x")
    assert nn.init.kaiming_uniform_ is before
    torch.manual_seed(0)
    one = nn.Linear(3, 4).weight
    torch.manual_seed(0)
    assert torch.equal(one, nn.Linear(3, 4).weight)
