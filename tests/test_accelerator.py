"""Pooling whose gradient has one order of additions, against torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ferbench.accelerator import prepare_device, with_deterministic_pooling
from ferbench.catalog import Catalog


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


def test_cuda_searches_for_algorithms_unless_it_must_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    asked: list[bool] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    prepare_device("cpu", deterministic=True)
    assert asked == []
    prepare_device("cuda:0")
    assert torch.backends.cudnn.benchmark and asked == [False]
    prepare_device("cuda:0", deterministic=True)
    assert not torch.backends.cudnn.benchmark and asked == [False, True]
