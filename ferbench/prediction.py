"""What a module says of every sample of a role."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ferbench.data.batches import DeviceImages, Normalisation, evaluation_batches
from ferbench.errors import TrainingError
from ferbench.training import autocast


@torch.inference_mode()
def probabilities(
    module: nn.Module,
    images: DeviceImages,
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
    rows = []
    for batch in evaluation_batches(images, normalisation, image_size, device):
        with autocast(device, precision):
            logits = module(batch)
        rows.append(logits.float().softmax(dim=1).cpu())
    joined = torch.cat(rows)
    if not torch.isfinite(joined).all():
        raise TrainingError("the trained network answers with NaN: try a smaller --set lr")
    return joined
