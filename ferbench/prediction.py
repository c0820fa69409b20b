"""What a module says of every sample of a role."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ferbench.data.batches import Normalisation, evaluation_batches
from ferbench.data.placement import PlacedImages
from ferbench.errors import TrainingError
from ferbench.memory import is_out_of_memory, release_memory
from ferbench.training import autocast

#: Images that go through a module at once, where memory allows it.
_AT_ONCE = 256


def probabilities(
    module: nn.Module,
    images: PlacedImages,
    normalisation: Normalisation,
    image_size: int,
    device: str,
    precision: str = "fp32",
) -> Tensor:
    """Class probabilities, float32 [n, C] on the CPU, of all images in their order; the module is left in eval mode.

    Raises
    ------
    TrainingError : the module answers with something that is no number
    """
    module.eval()
    at_once = _AT_ONCE
    while True:
        try:
            joined = _answers(
                module, evaluation_batches(images, normalisation, image_size, device, at_once), device, precision
            )
            break
        except Exception as error:
            if not is_out_of_memory(error) or at_once == 1:
                raise
        at_once //= 2
        release_memory(device)
    if not torch.isfinite(joined).all():
        raise TrainingError("the trained network answers with NaN: try a smaller --set lr")
    return joined


@torch.inference_mode()
def _answers(module: nn.Module, batches: Iterable[Tensor], device: str, precision: str) -> Tensor:
    rows = []
    for batch in batches:
        with autocast(device, precision):
            logits = module(batch)
        rows.append(logits.float().softmax(dim=1).cpu())
    return torch.cat(rows)
