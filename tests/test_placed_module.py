"""Modules that compute the same in another way, against torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ferbench.catalog import Catalog
from ferbench.placed_module import (
    WholeInputConv2d,
    on_device,
    with_deterministic_pooling,
    with_whole_inputs_multiplied,
)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    wanted=st.tuples(st.one_of(st.none(), st.integers(1, 8)), st.one_of(st.none(), st.integers(1, 8))),
)
def test_matrix_pooling_is_adaptive_pooling(size: tuple[int, int], wanted: tuple[int | None, int | None]) -> None:
    plain = nn.Sequential(nn.AdaptiveAvgPool2d(wanted))
    other = with_deterministic_pooling(nn.Sequential(nn.AdaptiveAvgPool2d(wanted)))
    one = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    two = one.detach().clone().requires_grad_()
    weights = torch.randn(plain(one).shape, generator=torch.Generator().manual_seed(1))
    (plain(one) * weights).sum().backward()
    (other(two) * weights).sum().backward()
    torch.testing.assert_close(plain(one), other(two))
    torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "tv/resnet18"])
def test_a_backbone_answers_as_before_and_its_weights_keep_their_names(name: str) -> None:
    module = Catalog.load().backbone(name).build(7, 64).eval()
    names, images = list(module.state_dict()), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = module(images)
        after = with_deterministic_pooling(module)(images)
    assert list(module.state_dict()) == names
    assert not any(isinstance(part, nn.AdaptiveAvgPool2d) for part in module.modules())
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (3, {}),
        (3, {"stride": 2, "bias": False}),
        (5, {}),
        (3, {"padding": 1}),
        (3, {"groups": 2}),
        (5, {"dilation": 2}),
    ],
)
def test_a_window_as_large_as_its_input_is_a_matrix_product(size: int, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(4, 6, 3, **options)).to(memory_format=torch.channels_last)  # type: ignore[call-overload,arg-type]
    other = with_whole_inputs_multiplied(copy.deepcopy(plain))
    images = torch.randn(2, 4, size, size).contiguous(memory_format=torch.channels_last)
    one, two = images.clone().requires_grad_(), images.clone().requires_grad_()
    answers = plain(one), other(two)
    torch.testing.assert_close(*answers)
    for answer in answers:
        answer.square().sum().backward()
    torch.testing.assert_close(one.grad, two.grad)
    for ours, theirs in zip(other.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
        assert ours.grad.stride() == ours.stride()  # type: ignore[union-attr]
    assert isinstance(other[0], WholeInputConv2d) == (not {"padding", "groups", "dilation"} & options.keys())


@pytest.mark.parametrize("name", ["vgg11", "alexnet", "tv/resnet18"])
def test_a_backbone_on_its_device_answers_as_it_was_built(name: str) -> None:
    module = Catalog.load().backbone(name).build(7, 64).eval()
    names, images = list(module.state_dict()), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = module(images)
        after = on_device(module, "cpu")(images.contiguous(memory_format=torch.channels_last))
    assert list(module.state_dict()) == names
    assert any(isinstance(part, WholeInputConv2d) for part in module.modules()) == (name == "vgg11")
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)
