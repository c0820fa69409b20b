"""FLOPs against published counts and against sums by hand."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from ferbench.catalog import Catalog
from ferbench.flops import MatrixProduct, forward_flops, matrix_flops_per_second

CATALOG = Catalog.load()


@pytest.mark.parametrize(
    ("name", "size", "giga_macs"),
    [
        ("alexnet", 64, 0.094),
        ("vgg16", 48, 0.824),
        ("tv/resnet18", 48, 0.098),
        ("timm/resnet18", 48, 0.098),
        ("tv/squeezenet1_1", 112, 0.060),
        ("tv/mobilenet_v3_small", 112, 0.016),
    ],
)
def test_flops_are_twice_the_macs_that_other_counters_gave(name: str, size: int, giga_macs: float) -> None:
    module = CATALOG.backbone(name).build(7, size)
    assert forward_flops(module, size) / 2e9 == pytest.approx(giga_macs, abs=0.0006)


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "mobilenet_v2"])
def test_flops_are_those_that_torchvision_publishes(name: str) -> None:
    # Its figure is of 1,000 classes at 224 pixels, in 10^9 MACs. A ViT's attention is what counters like to miss.
    import torchvision

    published = torchvision.models.get_model_weights(name).DEFAULT.meta["_ops"]
    module = torchvision.models.get_model(name)
    assert forward_flops(module, 224) / 2e9 == pytest.approx(published, abs=0.0006)


def test_flops_by_hand_and_everything_left_as_it_was() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grouped = nn.Conv2d(3, 6, 3, padding=1, groups=3)
            self.layer = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, dropout=0.1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.layer(self.grouped(images).flatten(2).transpose(1, 2))

    module = Attention()
    tokens = 8 * 8
    convolution = tokens * 6 * 9 * 1
    projections = tokens * 6 * (18 + 6)
    attention = 2 * tokens * tokens * 6
    feed_forward = tokens * 2 * 6 * 12
    fast = torch.backends.mha.get_fastpath_enabled()
    assert forward_flops(module, 8) == 2 * (convolution + projections + attention + feed_forward)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert not module.training
    assert all(parameter.grad is None for parameter in module.parameters())


def test_the_matrix_rate_is_what_a_stopwatch_says() -> None:
    product = MatrixProduct("cpu", "fp32")
    a, b = torch.randn(product.size, product.size), torch.randn(product.size, product.size)
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        torch.mm(a, b)
        stopwatch = 2 * product.size**3 / (time.perf_counter() - began)
        rates.append(product.flops_per_second(0.05) / stopwatch)
    # The machine may be busy with other things; off by a factor of 2 in the formula would still be seen.
    assert 0.55 < sorted(rates)[1] < 1.8
    assert product.size >= 256 and product.size & (product.size - 1) == 0


def test_measuring_a_rate_leaves_the_settings_of_matrix_products_alone() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    assert matrix_flops_per_second("cpu", "fp32", repeats=1, seconds=0.01) > 1e8
    assert torch.backends.cuda.matmul.allow_tf32 == before
