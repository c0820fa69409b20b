"""What the support vector machine in a head's place is fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_prefix import ABOUT, IMAGENET, never, placed, prefix_of, tiny_module
from torch import Tensor, nn

from ferbench.data.batches import evaluation_batches
from ferbench.errors import RecipeError
from ferbench.features.cache import FeatureCache
from ferbench.features.svm_inputs import svm_inputs


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path)


def test_the_svm_gets_the_heads_inputs_from_the_same_files(cache: FeatureCache) -> None:
    module = tiny_module()
    images, _ = placed(300)
    module.eval()
    with torch.no_grad():
        batches = evaluation_batches(images, IMAGENET, 12, "cpu")
        expected = torch.cat([module[:6](batch) for batch in batches]).numpy()  # type: ignore[index]
    first = cache.of(prefix_of(module), ABOUT, lambda: images)
    values, features = svm_inputs(cache, module, "6", ABOUT, never)
    assert values.dtype == np.float32
    assert np.array_equal(values, expected)
    assert (features.seconds, features.spent_seconds) == (first.seconds, 0.0)


class Maps(nn.Module):
    """Its head gets a vector a place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)
        self.head = nn.Linear(5, 7)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.stem(images).permute(0, 2, 3, 1)).mean((1, 2))
        return out


class Twice(Maps):
    def forward(self, images: Tensor) -> Tensor:
        pooled = self.stem(images).mean((2, 3))
        out: Tensor = self.head(pooled) + self.head(-pooled)
        return out


@pytest.mark.parametrize(
    ("module", "classifier", "kind"),
    [(Maps(), "head", "Linear"), (Twice(), "head", "Linear"), (Maps(), "stem", "Conv2d")],
)
def test_an_svm_needs_one_linear_layer_on_one_vector(
    cache: FeatureCache, module: nn.Module, classifier: str, kind: str
) -> None:
    images, _ = placed(10)
    says = f"one linear layer on one vector an image, and {classifier} is a {kind}: take head_fit=sgd"
    with pytest.raises(RecipeError, match=says):
        svm_inputs(cache, module, classifier, ABOUT, lambda: images)
