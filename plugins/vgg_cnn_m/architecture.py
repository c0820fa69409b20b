"""CNN-M with a 2,048-wide second fully connected layer, layer by layer as VGG_CNN_M_2048's prototxt has it.

Chatfield, Simonyan, Vedaldi and Zisserman, Return of the Devil in the Details, BMVC 2014, arXiv:1405.3531, table 1.
Layers bear the names that they have in the released files. Three things are Caffe's and not torch's habit:

- pooled sizes are rounded up (`ceil_mode`)
- local response normalisation has local_size 5, alpha 0.0005, beta 0.75, k 2; Caffe and torch both divide alpha by the
  number of channels summed over, so that the numbers carry over as they are
- what is subtracted is a mean image, of values 0 to 255, and the difference is not scaled
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ferbench_plugins.vgg_cnn_m.released import CLASSIFIER, IMAGE_SIZE

#: Mean colour of ImageNet's training images, RGB in 0..255: torchvision's 0.485, 0.456, 0.406.
IMAGENET_MEAN = (123.675, 116.28, 103.53)

#: Sides of the map that fc6 takes: pool5's at 224 pixels.
_GRID = 6

#: Root mean square of an ImageNet pixel less the mean, in 0..255: torchvision's 0.229, 0.224, 0.225, averaged.
_PIXEL_SPREAD = 57.6


@dataclass(frozen=True, slots=True)
class Widths:
    """Outputs of each layer; the defaults are VGG_CNN_M_2048's, other values are for small files of its structure."""

    convolutions: tuple[int, int, int, int, int] = (96, 256, 512, 512, 512)
    fully_connected: tuple[int, int] = (4096, 2048)


RELEASED = Widths()


class VggCnnM(nn.Module):
    """The network.

    Input: float32 [n, 3, S, S], RGB in 0..1, S of 41 or more. Output: logits [n, num_classes].
    `mean_image`, float32 [3, 224, 224], RGB in 0..255, is a buffer and part of the weights; at other sizes it is
    resized bilinearly. fc6 needs a map of 6x6. At 224 pixels pool5 gives that, and the adaptive pooling before fc6
    changes nothing; at smaller sizes it repeats values, at larger ones it averages them, as in torchvision's AlexNet.
    """

    mean_image: Tensor

    def __init__(self, num_classes: int, widths: Widths = RELEASED) -> None:
        super().__init__()
        first, second, third, fourth, fifth = widths.convolutions
        sixth, seventh = widths.fully_connected
        self.register_buffer("mean_image", _plain_mean())
        self.conv1 = nn.Conv2d(3, first, 7, stride=2)
        self.norm1 = nn.LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)
        self.pool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = nn.Conv2d(first, second, 5, stride=2, padding=1)
        self.norm2 = nn.LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv3 = nn.Conv2d(second, third, 3, padding=1)
        self.conv4 = nn.Conv2d(third, fourth, 3, padding=1)
        self.conv5 = nn.Conv2d(fourth, fifth, 3, padding=1)
        self.pool5 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.grid = nn.AdaptiveAvgPool2d(_GRID)
        self.fc6 = nn.Linear(fifth * _GRID * _GRID, sixth)
        self.drop6 = nn.Dropout(0.5)
        self.fc7 = nn.Linear(sixth, seventh)
        self.drop7 = nn.Dropout(0.5)
        self.fc8 = nn.Linear(seventh, num_classes)
        self._initialise()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, num_classes] of float32 images [n, 3, S, S] in 0..1."""
        maps = images * 255 - self._mean(images)
        maps = self.pool1(self.norm1(functional.relu(self.conv1(maps))))
        maps = self.pool2(self.norm2(functional.relu(self.conv2(maps))))
        maps = functional.relu(self.conv3(maps))
        maps = functional.relu(self.conv4(maps))
        maps = functional.relu(self.conv5(maps))
        vectors = self.grid(self.pool5(maps)).flatten(1)
        vectors = self.drop6(functional.relu(self.fc6(vectors)))
        vectors = self.drop7(functional.relu(self.fc7(vectors)))
        logits: Tensor = self.fc8(vectors)
        return logits

    def _mean(self, images: Tensor) -> Tensor:
        size = images.shape[-2:]
        if size == self.mean_image.shape[-2:]:
            return self.mean_image
        return functional.interpolate(self.mean_image[None], size, mode="bilinear", align_corners=False)

    def _initialise(self) -> None:
        # He et al. (arXiv:1502.01852) for what ReLU follows: torch's own draw has variance 1 / (3 fan_in), theirs has
        # 2 / fan_in. conv1 is made smaller by the spread of its input, so that every map begins near a spread of one;
        # else the first steps of SGD end in a loss that is not finite.
        with torch.no_grad():
            for name, layer in self.named_children():
                if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None and name != CLASSIFIER:
                    layer.weight.mul_(math.sqrt(6) / (_PIXEL_SPREAD if name == "conv1" else 1))
                    layer.bias.zero_()


def _plain_mean() -> Tensor:
    return torch.tensor(IMAGENET_MEAN).view(3, 1, 1).repeat(1, IMAGE_SIZE, IMAGE_SIZE)
