"""VGG-CNN-M-2048: the network of eight layers that the paper of 2015 fine-tuned beside AlexNet.

Its weights were released for Caffe and for non-commercial use. ferbench never downloads them: `convert` turns the files
into one that is found from then on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ferbench
from ferbench.anatomy import refuse_small
from ferbench.errors import WeightsError
from ferbench.state_dicts import fit, read_state_dict, weights_file
from ferbench_plugins.vgg_cnn_m.released import (
    CITATION,
    CLASSIFIER,
    IMAGE_SIZE,
    NAME,
    SMALLEST_IMAGE_SIZE,
    USAGE,
    WEIGHTS_LICENCE,
    WEIGHTS_SOURCE,
    converted_path,
)

if TYPE_CHECKING:
    from torch import nn


def _build(num_classes: int, image_size: int) -> nn.Module:
    from ferbench_plugins.vgg_cnn_m.architecture import VggCnnM

    refuse_small(NAME, image_size, SMALLEST_IMAGE_SIZE)
    return VggCnnM(num_classes)


def _resolve_weights(policy: str) -> ferbench.WeightsFile | None:
    if policy not in ("auto", "pretrained"):
        return None
    path = converted_path()
    if path.is_file():
        return weights_file(path, WEIGHTS_SOURCE)
    if policy == "auto":
        return None
    # The general line advises to connect to the network, which would not help here.
    raise WeightsError(
        f"pretrained weights of {NAME} are not in {path}: they are never downloaded; get Caffe's files from the Visual "
        f"Geometry Group (non-commercial use) and run `{USAGE}`, or take --weights random"
    )


def _load_weights(module: nn.Module, file: ferbench.WeightsFile) -> None:
    from ferbench_plugins.vgg_cnn_m.caffemodel import looks_like_caffemodel

    if looks_like_caffemodel(file.path):
        raise WeightsError(f"{file.path} is a file of Caffe's: convert it once, with its mean image, by `{USAGE}`")
    fit(module, read_state_dict(file.path), CLASSIFIER, str(file.path))


@ferbench.hookimpl
def ferbench_register_backbones() -> list[ferbench.Backbone]:
    """The one backbone `vgg-cnn-m-2048`."""
    return [
        ferbench.Backbone(
            name=NAME,
            version=1,
            build=_build,
            resolve_weights=_resolve_weights,
            load_weights=_load_weights,
            image_size=IMAGE_SIZE,
            smallest_image_size=SMALLEST_IMAGE_SIZE,
            # The module subtracts its mean image itself, from values of 0 to 255.
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            classifier=CLASSIFIER,
            # A third of what suits AlexNet: conv1 sees values of +-128 instead of +-2, and its gradients are as much
            # larger. It is also the rate at which Caffe's users fine-tuned such networks, a tenth of that for training.
            recipe={"lr": 0.001},
            citation=CITATION,
            licence=f"MIT (ferbench's code); {WEIGHTS_LICENCE}",
        )
    ]
