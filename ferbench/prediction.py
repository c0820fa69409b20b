"""What a module says of every sample of a role: of its images, or of the features that a frozen part has of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from ferbench.data.batches import Normalisation, evaluation_batches
from ferbench.data.placement import PlacedImages
from ferbench.errors import TrainingError
from ferbench.features.cache import Features
from ferbench.portions import as_many_as_fit
from ferbench.training import autocast


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

    def batches(at_once: int) -> Iterator[Tensor]:
        return evaluation_batches(images, normalisation, image_size, device, at_once)

    return answers(module, batches, device, precision)


def feature_probabilities(rest: nn.Module, features: Features, device: str, precision: str = "fp32") -> Tensor:
    """The same from the features of all samples; `rest` is what comes behind the frozen part.

    Raises
    ------
    TrainingError : the module answers with something that is no number
    """

    def batches(at_once: int) -> Iterator[Tensor]:
        for start in range(0, features.count, at_once):
            yield features.rows(slice(start, start + at_once)).to(device)

    return answers(rest, batches, device, precision)


def answers(module: nn.Module, batches: Callable[[int], Iterable[Tensor]], device: str, precision: str) -> Tensor:
    """Of a module, which is left in eval mode, for as many rows at once as there is room for; raises as above.

    batches : gives all rows in their order, at most so many at once
    """
    module.eval()
    joined = as_many_as_fit(lambda at_once: _joined(module, batches(at_once), device, precision), device)
    if not torch.isfinite(joined).all():
        raise TrainingError("the trained network answers with NaN: try a smaller --set lr")
    return joined


@torch.inference_mode()
def _joined(module: nn.Module, batches: Iterable[Tensor], device: str, precision: str) -> Tensor:
    rows = []
    for batch in batches:
        with autocast(device, precision):
            logits = module(batch)
        rows.append(logits.float().softmax(dim=1).cpu())
    return torch.cat(rows)
