"""VGG with 11, 13, 16 and 19 layers, with and without BatchNorm, as timm defines them.

timm writes the first two fully connected layers as convolutions, which computes the same numbers and also runs below
224 pixels. Dropout is the paper's (and torchvision's) 0.5; timm's own default is none.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import ferbench
from ferbench.anatomy import refuse_small
from ferbench.pretrained import Origin, find_pretrained
from ferbench.state_dicts import fit, read_state_dict

if TYPE_CHECKING:
    from torch import Tensor, nn

_CLASSIFIER = "head.fc"
_SMALLEST = 32
_NAMES = tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn"))

#: torchvision's fully connected layers, and where they are in timm's module.
_LAYERS = {"classifier.0.": "pre_logits.fc1.", "classifier.3.": "pre_logits.fc2.", "classifier.6.": "head.fc."}


def _build(name: str, num_classes: int, image_size: int) -> nn.Module:
    import timm

    refuse_small(name, image_size, _SMALLEST)
    module: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, drop_rate=0.5)
    return module


def _resolve_weights(name: str, policy: str) -> ferbench.WeightsFile | None:
    from torchvision.models import get_model_weights

    weights = get_model_weights(name)["IMAGENET1K_V1"]
    timm_name = f"{name}.tv_in1k"
    origins = [
        Origin(f"torchvision {weights}", url=weights.url),
        Origin(f"timm {timm_name}", repository=f"timm/{timm_name}"),
    ]
    return find_pretrained(origins, policy)


def _load_weights(module: nn.Module, file: ferbench.WeightsFile) -> None:
    fit(module, timm_naming(read_state_dict(file.path)), _CLASSIFIER, str(file.path))


def timm_naming(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in torchvision's naming turned into timm's; one that is in timm's already comes back as it is.

    Weights of the first two fully connected layers, [4096, 25088] and [4096, 4096], become kernels of 7x7 and 1x1.
    """
    return {_timm_key(key): _timm_value(key, value) for key, value in state.items()}


def _timm_key(key: str) -> str:
    for theirs, ours in _LAYERS.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def _timm_value(key: str, value: Tensor) -> Tensor:
    side = {"classifier.0.weight": 7, "classifier.3.weight": 1}.get(key)
    if side is None or value.ndim != 2 or value.shape[1] % (side * side):
        return value
    return value.reshape(value.shape[0], -1, side, side)


@ferbench.hookimpl
def ferbench_register_backbones() -> list[ferbench.Backbone]:
    """The backbones vgg11 to vgg19_bn."""
    library = f"timm {version('timm')}"
    return [
        ferbench.Backbone(
            name=name,
            version=1,
            build=partial(_build, name),
            resolve_weights=partial(_resolve_weights, name),
            load_weights=_load_weights,
            image_size=224,
            smallest_image_size=_SMALLEST,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            classifier=_CLASSIFIER,
            recipe={} if name.endswith("_bn") else {"lr": 0.003},
            citation="Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, "
            "ICLR 2015, arXiv:1409.1556",
            licence="BSD-3-Clause (torchvision) and Apache-2.0 (timm); weights trained on ImageNet",
            library=library,
        )
        for name in _NAMES
    ]
