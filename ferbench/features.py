"""What a frozen backbone says of images: the input of its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ferbench.data.batches import DeviceImages, Normalisation, evaluation_batches
from ferbench.errors import RecipeError
from ferbench.training import autocast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@torch.inference_mode()
def head_inputs(
    module: nn.Module,
    classifier: str,
    images: DeviceImages,
    normalisation: Normalisation,
    image_size: int,
    device: str,
    precision: str = "fp32",
) -> NDArray[np.float32]:
    """The features that the head gets, float32 [n, d], of all images in their order; the module is left in eval mode.

    classifier : dotted name of the head

    Raises
    ------
    RecipeError : a head that is not one linear layer on one vector an image
    """
    head = module.get_submodule(classifier)
    module.eval()
    caught: list[Tensor] = []
    rows: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda head, inputs: caught.append(inputs[0]))
    try:
        for batch in evaluation_batches(images, normalisation, image_size, device):
            with autocast(device, precision):
                module(batch)
            if not isinstance(head, nn.Linear) or len(caught) != 1 or caught[0].ndim != 2:
                raise RecipeError(
                    f"head_fit=svm needs a head that is one linear layer on one vector an image, and {classifier} is "
                    f"a {type(head).__name__}: take head_fit=sgd, or another backbone"
                )
            rows.append(caught.pop().float().cpu())
    finally:
        hook.remove()
    return torch.cat(rows).numpy()
