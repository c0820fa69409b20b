"""What a support vector machine is fitted on: the input of the head that it takes the place of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from ferbench.data.placement import PlacedImages
from ferbench.errors import RecipeError
from ferbench.features.cache import FeatureCache, FeatureInput, Features
from ferbench.features.frozen_prefix import CaughtInput, NotCaught

if TYPE_CHECKING:
    from numpy.typing import NDArray


def svm_inputs(
    cache: FeatureCache,
    module: nn.Module,
    classifier: str,
    about: FeatureInput,
    images: Callable[[], PlacedImages],
) -> tuple[NDArray[np.float32], Features]:
    """The features that the head gets, float32 [n, d], of all images in their order, and what they cost.

    Raises
    ------
    RecipeError : a head that is not one linear layer on one vector an image
    """
    if not isinstance(module.get_submodule(classifier), nn.Linear):
        raise _unfit(module, classifier)
    try:
        features = cache.of(CaughtInput(module, classifier), about, images)
    except NotCaught:
        raise _unfit(module, classifier) from None
    if features.values[0].ndim != 2:
        raise _unfit(module, classifier)
    return features.values[0].cpu().numpy(), features


def _unfit(module: nn.Module, classifier: str) -> RecipeError:
    kind = type(module.get_submodule(classifier)).__name__
    return RecipeError(
        f"head_fit=svm needs a head that is one linear layer on one vector an image, and {classifier} is a {kind}: "
        "take head_fit=sgd, or another backbone"
    )
