"""What was released under which name and terms, and where its converted weights lie."""

from __future__ import annotations

from pathlib import Path

NAME = "vgg-cnn-m-2048"
RELEASED_NAME = "VGG_CNN_M_2048"
COMMAND = "python -m ferbench_plugins.vgg_cnn_m.convert"
USAGE = f"{COMMAND} {RELEASED_NAME}.caffemodel VGG_mean.binaryproto"
CITATION = (
    "Chatfield, Simonyan, Vedaldi and Zisserman, Return of the Devil in the Details: Delving Deep into Convolutional "
    "Nets, BMVC 2014, arXiv:1405.3531"
)
WEIGHTS_SOURCE = f"{RELEASED_NAME} of the Visual Geometry Group, Oxford, converted from Caffe"
WEIGHTS_LICENCE = "weights for non-commercial use only"

#: Dotted name of the head within the module.
CLASSIFIER = "fc8"

#: Pixels a side that the weights and their mean image were made for.
IMAGE_SIZE = 224

#: Below it the last pooling has nothing left to pool: the sides of the maps at 41 are 18, 9, 4, 2, 1 (conv1, pool1,
#: conv2, pool2, pool5).
SMALLEST_IMAGE_SIZE = 41


def converted_path() -> Path:
    """Where `convert` puts its file and `--weights auto` looks for it, below torch.hub's folder."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / "vgg_cnn_m_2048.safetensors"
