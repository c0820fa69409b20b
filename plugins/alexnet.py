"""AlexNet, as torchvision defines it: the one-column variant of "One weird trick", not the network of 2012."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import ferbench
from ferbench.anatomy import refuse_small
from ferbench.pretrained import Origin, find_pretrained
from ferbench.state_dicts import fit, read_state_dict

if TYPE_CHECKING:
    from torch import nn

_CLASSIFIER = "classifier.6"
_SMALLEST = 63


def _build(num_classes: int, image_size: int) -> nn.Module:
    from torchvision.models import alexnet

    refuse_small("alexnet", image_size, _SMALLEST)
    module: nn.Module = alexnet(weights=None, num_classes=num_classes)
    return module


def _resolve_weights(policy: str) -> ferbench.WeightsFile | None:
    from torchvision.models import AlexNet_Weights

    weights = AlexNet_Weights.IMAGENET1K_V1
    return find_pretrained([Origin(f"torchvision {weights}", url=weights.url)], policy)


def _load_weights(module: nn.Module, file: ferbench.WeightsFile) -> None:
    fit(module, read_state_dict(file.path), _CLASSIFIER, str(file.path))


@ferbench.hookimpl
def ferbench_register_backbones() -> list[ferbench.Backbone]:
    """The one backbone `alexnet`."""
    return [
        ferbench.Backbone(
            name="alexnet",
            version=1,
            build=_build,
            resolve_weights=_resolve_weights,
            load_weights=_load_weights,
            image_size=224,
            smallest_image_size=_SMALLEST,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            classifier=_CLASSIFIER,
            recipe={"lr": 0.003},
            citation="Krizhevsky, One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997",
            licence="BSD-3-Clause (torchvision); weights trained on ImageNet",
            library=f"torchvision {version('torchvision')}",
        )
    ]
