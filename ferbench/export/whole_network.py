"""A network with what stands before and behind it in evaluation, as one module: pictures in, probabilities out.

Preprocessing is that of data.blocks and data.batches, written in operations that ONNX has for sides of any length.
Stretching is two matrix products, whose weights are those of torch's antialiased bilinear interpolation. It is made to
be exported: in torch itself, evaluation's own preprocessing is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ferbench.data.blocks import LUMA

if TYPE_CHECKING:
    from ferbench.data.batches import Normalisation


class WholeNetwork(nn.Module):
    """Takes `images`, uint8 [n, height, width, 3] RGB; gives probabilities and logits, float32 [n, C] both, and the
    stretched pictures, float32 [n, 1 or 3, S, S] of 0..255.

    Parameters
    ----------
    network : float32 [n, 3, S, S], normalised, to logits [n, C]
    image_size : S; every picture is stretched to S x S
    grey : pictures are turned into luma first
    temperature : what logits are divided by before the softmax; None for 1
    """

    def __init__(
        self, network: nn.Module, normalisation: Normalisation, image_size: int, grey: bool, temperature: float | None
    ) -> None:
        super().__init__()
        self.network = network
        self._size = image_size
        self._grey = grey
        self._temperature = 1.0 if temperature is None else temperature
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (normalisation.mean, normalisation.std))
        self.scale: Tensor
        self.bias: Tensor
        self.luma: Tensor
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("bias", -mean / std, persistent=False)
        self.register_buffer("luma", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pixels = images.permute(0, 3, 1, 2).float()
        if self._grey:
            pixels = (pixels * self.luma).sum(dim=1, keepdim=True).round()
        stretched = self._stretched(pixels)
        logits = self.network(stretched * self.scale + self.bias).float()
        return (logits / self._temperature).softmax(dim=1), logits, stretched

    def _stretched(self, pixels: Tensor) -> Tensor:
        """float32 [n, C, H, W] to [n, C, S, S]; what is reduced is rounded, since it is kept in whole grey levels."""
        down, height = self._weights(pixels.shape[2])
        across, width = self._weights(pixels.shape[3])
        stretched = down @ (pixels @ across.T)
        # A value and not a branch: the sides are not known when the file is written.
        return torch.where(torch.maximum(height, width) > self._size, stretched.round(), stretched)

    def _weights(self, side: int) -> tuple[Tensor, Tensor]:
        """What each of S pixels is the mean of, float32 [S, side], and the side as a tensor.

        Triangles around the pixels' centres, as wide as a pixel of the coarser of the two pictures. Rounded where
        torch's kernel (_compute_indices_min_size_weights_aa) rounds: in 96 pixels made 64, sums are often exactly half
        of a grey level, and one that falls to the other side changes an answer by more than all other rounding does.
        """
        places = torch.arange(side, dtype=torch.float32)
        length = torch.ones_like(places).sum()
        step = (length / self._size).double()
        centres = (step * (torch.arange(self._size, dtype=torch.float64) + 0.5)).float()
        narrower = (1 / step.clamp(min=1.0)).float().double()
        distances = (((places[None] - centres[:, None]).double() + 0.5) * narrower).float().abs()
        weights = (1 - distances).clamp(min=0.0)
        # By a cumulative sum, which adds from left to right wherever it is computed.
        return weights / weights.cumsum(dim=1)[:, -1:], length
