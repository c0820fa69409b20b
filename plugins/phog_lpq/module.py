"""Pictures to descriptors, and a linear head on them."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from ferbench_plugins.phog_lpq.lpq import LPQ_LENGTH, lpq
from ferbench_plugins.phog_lpq.phog import PHOG_LENGTH, phog

#: Of red, green and blue, ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)

_PIXELS_AT_ONCE = 16_384


class PhogLpq(nn.Module):
    """PHOG and LPQ of a batch, without anything to train.

    Takes float32 [n, 3, S, S] in 0..1, gives float32 [n, 4776]: 680 numbers of PHOG, 4,096 of LPQ. Each histogram is
    replaced by its square root, with which a linear machine computes the Bhattacharyya kernel of histograms (Vedaldi
    and Zisserman 2012, doi 10.1109/TPAMI.2011.153; Arandjelovic and Zisserman 2012, doi 10.1109/CVPR.2012.6248018), and
    either descriptor is brought to length 1, so that both weigh the same. That is ours and not the challenge's.
    """

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """float32 [n, 4776]; no gradient goes back to the images."""
        luma = eight_bit_luma(images)
        blocks = torch.split(luma, _block_size(luma))
        shape, texture = (torch.cat([describe(block) for block in blocks]) for describe in (phog, lpq))
        return torch.cat([_hellinger(shape), _hellinger(texture)], dim=1)


def phog_lpq(num_classes: int) -> nn.Sequential:
    """`features`, a PhogLpq, and `head`, a linear layer with random weights, for any image size."""
    head = nn.Linear(PHOG_LENGTH + LPQ_LENGTH, num_classes)
    return nn.Sequential(OrderedDict[str, nn.Module](features=PhogLpq(), head=head))


def eight_bit_luma(images: Tensor) -> Tensor:
    """float32 [n, 3, H, W] in 0..1 to luma [n, H, W] in whole numbers of 0..255, as grey pictures are stored.

    Whole numbers keep what is equal in a picture equal: orientation bins and phase signs then depend neither on the
    device nor on how 0..1 was computed.
    """
    red, green, blue = images.float().unbind(1)
    return torch.round(255 * (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue))


def _block_size(luma: Tensor) -> int:
    """Pictures that are described at once: on a CPU a few, whose planes stay in a core's cache."""
    pixels = luma.shape[1] * luma.shape[2]
    return max(1, _PIXELS_AT_ONCE // pixels if luma.device.type == "cpu" else len(luma))


def _hellinger(histograms: Tensor) -> Tensor:
    return nn.functional.normalize(histograms.sqrt(), dim=1)
