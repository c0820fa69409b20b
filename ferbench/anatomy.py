"""What a library's backbone turns out to be: where its head sits, which image sizes it takes, what suits its training.

Libraries do not say all of this as data, so it is found by building the network on torch's `meta` device and sending
shapes through it: no memory, no arithmetic. The few networks that cannot be built there are built on the CPU.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ferbench.errors import PluginError, RecipeError, one_line
from ferbench.recipes import RecipeValue

if TYPE_CHECKING:
    from torch import nn

#: A number of classes that is no width inside any network, so that the head can be told from everything else.
MARK = 1009

#: Smaller faces than this hold too little to be worth a benchmark, even where a network takes them.
SMALLEST_ASKED = 32

Build = Callable[[int, int], "nn.Module"]


@dataclass(slots=True)
class Anatomy:
    """What was found out about one backbone.

    classifier : dotted name of the head
    smallest_image_size : the smallest size from 32 pixels up that it takes; not every larger one need work
    recipe : recipe values that suit its kind of network
    device : where shapes are tried, `meta` or `cpu`
    taken : sizes known to work
    """

    name: str
    build: Build
    image_size: int
    classifier: str
    smallest_image_size: int
    recipe: Mapping[str, RecipeValue]
    device: str
    taken: set[int] = field(default_factory=set)


def examine(name: str, build: Build, image_size: int) -> Anatomy:
    """Find out a backbone's head, smallest image size and kind.

    build : as a Backbone's, not checked for sizes
    image_size : one that it is known to take

    Raises
    ------
    PluginError : no head, several heads, or an output that is no tensor of logits
    """
    device = "meta"
    try:
        _send(build, image_size, device)
    except Exception:  # whatever a network does that meta tensors cannot
        device = "cpu"
        try:
            _send(build, image_size, device)
        except Exception as error:
            raise PluginError(
                f"backbone {name} cannot be used: at {image_size} pixels it fails with: {one_line(error, 120)}"
            ) from error
    with _aside(device):
        module = build(MARK, image_size)
    heads = [key for key, part in module.named_modules() if _ends_in_mark(part)]
    if len(heads) != 1:
        raise PluginError(
            f"backbone {name} cannot be used: it has {len(heads)} classification heads"
            f"{' (' + ', '.join(heads) + ')' if heads else ''}, and ferbench fine-tunes networks with one"
        )
    anatomy = Anatomy(name, build, image_size, heads[0], image_size, suited_recipe(module), device, {image_size})
    anatomy.smallest_image_size = _smallest(anatomy)
    return anatomy


def build_checked(anatomy: Anatomy, num_classes: int, image_size: int) -> nn.Module:
    """Build a backbone for an image size, or refuse the size in one line.

    Raises
    ------
    RecipeError : a size that the network does not take
    """
    refuse_small(anatomy.name, image_size, anatomy.smallest_image_size)
    reason = _refusal(anatomy, image_size)
    if reason is None:
        return anatomy.build(num_classes, image_size)
    below = image_size // 32 * 32
    near = {size for size in (below, below + 32) if size and _refusal(anatomy, size) is None}
    sizes = ", ".join(str(size) for size in sorted(near | {anatomy.smallest_image_size, anatomy.image_size}))
    raise RecipeError(
        f"backbone {anatomy.name} does not take image_size {image_size} ({reason}); it takes, among others: {sizes}"
    )


def refuse_small(name: str, image_size: int, smallest: int) -> None:
    """Raise one line about an image size below a backbone's smallest, a RecipeError; return otherwise."""
    if image_size < smallest:
        raise RecipeError(f"backbone {name} needs images of {smallest} pixels or more, image_size is {image_size}")


def suited_recipe(module: nn.Module) -> dict[str, RecipeValue]:
    """Recipe values by the kind of normalisation.

    Networks with BatchNorm or GroupNorm take the general default (SGD). Those with LayerNorm alone (transformers,
    ConvNeXt) were trained with AdamW, and SGD at a common rate hardly moves them. Those with none (AlexNet, VGG)
    diverge at rates that suit BatchNorm.
    """
    from torch import nn

    kinds = [type(part).__mro__ for part in module.modules()]
    if any(base in kind for kind in kinds for base in (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)):
        return {}
    if any("LayerNorm" in base.__name__ for kind in kinds for base in kind):
        return {"optimizer": "adamw", "lr": 1e-4, "weight_decay": 0.05}
    return {"lr": 0.003}


@contextlib.contextmanager
def _aside(device: str) -> Iterator[None]:
    # Building draws random numbers and libraries warn; neither may be felt by whoever asked.
    import torch

    with torch.random.fork_rng(devices=[]), torch.device(device), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


def _send(build: Build, image_size: int, device: str) -> None:
    import torch

    with _aside(device):
        module = build(MARK, image_size).eval()
        logits = module(torch.zeros(2, 3, image_size, image_size, device=device))
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, MARK):
        raise PluginError(f"its output is {getattr(logits, 'shape', type(logits).__name__)}, not logits [n, classes]")


def _ends_in_mark(part: nn.Module) -> bool:
    weight = getattr(part, "weight", None)
    return weight is not None and not list(part.children()) and weight.ndim > 1 and weight.shape[0] == MARK


def _refusal(anatomy: Anatomy, image_size: int) -> str | None:
    if image_size in anatomy.taken:
        return None
    try:
        _send(anatomy.build, image_size, anatomy.device)
    except Exception as error:  # assertions, shape and value errors: each library's own
        return one_line(error, 120)
    anatomy.taken.add(image_size)
    return None


def _smallest(anatomy: Anatomy) -> int:
    low = SMALLEST_ASKED - 1
    for size in range(SMALLEST_ASKED, anatomy.image_size, 8):
        if _refusal(anatomy, size) is None:
            # Between a size that fails and one that works, convolutions fail up to a point and work from there.
            high = size
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if _refusal(anatomy, middle) is None else (middle, high)
            return high
        low = size
    return anatomy.image_size
