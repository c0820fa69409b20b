"""Where in a picture a trained network has looked: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) by captum.

The map is taken where the last convolution ends: after its normalisation and activation, and in a residual network
after the addition, before anything is pooled. A network that is shown small pictures may have a single place left
there; the last convolution whose map has three by three is taken then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ferbench.errors import PluginError, UsageError
from ferbench.portions import as_many_as_fit
from ferbench.trained import Trained

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

#: Anchors of the colours that maps are shown in, from nothing to most, RGB: matplotlib's "inferno" at five places,
#: whose lightness rises throughout, so that it can be read in grey too.
_COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float32)

#: How much of a picture is covered where the map is 1, and where it is 0.
_MOST, _LEAST = 0.6, 0.4

#: A map of fewer places a side shows nothing; an earlier one is taken then, if there is one.
_FEWEST_PLACES = 3


def class_activation(
    trained: Trained, images: Sequence[NDArray[np.uint8]], classes: Sequence[int]
) -> NDArray[np.float32]:
    """How much each place of a picture speaks for a class.

    Parameters
    ----------
    images : uint8 [H, W, C] each, of any sizes
    classes : of each, the class that is asked for, an index into `trained.classes`

    Returns
    -------
    float32 [n, S, S] over the network's S x S view of each picture, enlarged bilinearly from the network's own map;
    0 where nothing speaks for the class, 1 where most does. All zero where nothing does anywhere

    Raises
    ------
    UsageError : captum is not installed
    PluginError : the backbone does not end in convolutions, so that it has no such map
    """
    check_installed()
    size = trained.image_size
    if not len(images):
        return np.empty((0, size, size), np.float32)
    layer = last_map(trained.module, trained.prepared(images[:1]), trained.backbone.name)

    def some(at_once: int) -> Tensor:
        parts = range(0, len(images), at_once)
        return torch.cat([_maps(trained, layer, images[s : s + at_once], classes[s : s + at_once]) for s in parts])

    maps = as_many_as_fit(some, trained.device)
    whole = functional.interpolate(maps, (size, size), mode="bilinear", align_corners=False)[:, 0]
    most = whole.amax(dim=(1, 2), keepdim=True)
    return (whole / most.clamp(min=torch.finfo(whole.dtype).tiny)).clamp(0, 1).numpy()


def overlaid(image: NDArray[np.uint8], activation: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A picture under its map in colours, dark where nothing speaks for the class and bright where most does.

    Parameters
    ----------
    image : uint8 [H, W, C], C 1 or 3
    activation : float32 [S, S] of 0..1, stretched over the picture

    Returns
    -------
    uint8 [H, W, 3]
    """
    height, width = image.shape[:2]
    stretched = functional.interpolate(
        torch.from_numpy(activation)[None, None], (height, width), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    places = stretched * (len(_COLOURS) - 1)
    anchors = np.arange(len(_COLOURS))
    colours = np.stack([np.interp(places, anchors, channel) for channel in _COLOURS.T], axis=2)
    cover = (_LEAST + (_MOST - _LEAST) * stretched)[:, :, None]
    # The picture itself is seen in grey: its own colours would be taken for the map's.
    grey = image.mean(axis=2, keepdims=True)
    mixed: NDArray[np.uint8] = np.clip((1 - cover) * grey + cover * colours, 0, 255).round().astype(np.uint8)
    return mixed


@dataclass(frozen=True, slots=True)
class _Step:
    """A module that an example went through, in the order in which they ended."""

    module: nn.Module
    inputs: int
    output: Tensor


def last_map(module: nn.Module, example: Tensor, backbone: str) -> nn.Module:
    """The module whose output is the last map that convolutions make of an example float32 [1, 3, S, S].

    Raises
    ------
    PluginError : there is none: no convolution, or one that only cuts a picture into patches, as transformers do
    """
    steps: list[_Step] = []

    def note(part: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if isinstance(output, torch.Tensor):
            first = inputs[0] if inputs else None
            steps.append(_Step(part, first.ndim if isinstance(first, torch.Tensor) else 0, output))

    hooks = [part.register_forward_hook(note) for part in module.modules()]
    try:
        with torch.no_grad():
            module(example)
    finally:
        for hook in hooks:
            hook.remove()
    # What keeps places apart: convolutions, and full layers that are applied to each place by itself.
    spatial = [
        step
        for step in steps
        if (isinstance(step.module, nn.Conv2d) and min(step.output.shape[2:]) > 1)
        or (isinstance(step.module, nn.Linear) and step.inputs > 2)
    ]
    convolutions = [place for place, step in enumerate(spatial) if isinstance(step.module, nn.Conv2d)]
    if not convolutions or convolutions[-1] < (len(spatial) - 1) / 2:
        raise PluginError(
            f"backbone {backbone} does not end in convolutions, so that Grad-CAM has no map to show: leave out the "
            "explanation, or take a row of a convolutional backbone"
        )
    fine = [place for place in convolutions if min(spatial[place].output.shape[2:]) >= _FEWEST_PLACES]
    last = spatial[(fine or convolutions)[-1]]
    behind = steps[next(place for place, step in enumerate(steps) if step is last) :]
    times = [sum(step.module is each.module for each in steps) for step in behind]
    same = [
        step.module
        for step, often in zip(behind, times, strict=True)
        if step.output.ndim == 4 and step.output.shape[2:] == last.output.shape[2:] and often == 1
    ]
    return same[-1] if same else last.module


def check_installed() -> None:
    """Raise UsageError where captum is not installed."""
    try:
        import captum  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise UsageError("explanations need captum, which is not installed: pip install 'ferbench[explain]'") from error


def _maps(trained: Trained, layer: nn.Module, images: Sequence[NDArray[np.uint8]], classes: Sequence[int]) -> Tensor:
    """float32 [n, 1, h, w] on the CPU, in units of the network's own."""
    from captum.attr import LayerGradCam  # type: ignore[import-untyped]

    inputs = trained.prepared(images).requires_grad_()
    target = torch.tensor(list(classes), dtype=torch.int64, device=trained.device)
    found: Tensor = LayerGradCam(trained.module, layer).attribute(inputs, target, relu_attributions=True)
    return found.detach().float().cpu()
