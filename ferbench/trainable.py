"""Which part of a backbone a recipe trains: everything, the head, or what lies behind a cut."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ferbench.components import Backbone
from ferbench.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn

#: What `trainable` may say besides a module's name.
WORDS = ("all", "head")


@dataclass(frozen=True, slots=True)
class TrainedPart:
    """Parameters that are trained, and the modules that are in training mode while they are.

    The frozen rest stays in evaluation mode, so that its BatchNorm and dropout stand still.
    """

    module: nn.Module
    body: tuple[nn.Parameter, ...]
    head: tuple[nn.Parameter, ...]
    live: tuple[nn.Module, ...]

    def set_modes(self) -> None:
        """Put every module into its mode for training."""
        self.module.eval()
        for part in self.live:
            part.train()


def trained_modules(module: nn.Module, classifier: str, trainable: str) -> tuple[str, ...]:
    """Dotted names of the modules that are trained, in registered order; the whole has the name "".

    Raises
    ------
    RecipeError : no module of that name, or one behind which the head is not
    """
    names = [name for name, _ in module.named_modules()]
    if trainable == "all":
        return tuple(names)
    if trainable == "head":
        return tuple(name for name in names if name == classifier or name.startswith(f"{classifier}."))
    if trainable not in names[1:]:
        close = difflib.get_close_matches(trainable, names[1:], n=3)
        advice = f"did you mean {' or '.join(close)}?" if close else f"there are, among others: {_top(names)}"
        raise RecipeError(f"trainable={trainable}: it is all, head or a module of the backbone, {advice}")
    first = names.index(trainable)
    if classifier and names.index(classifier) < first:
        raise RecipeError(
            f"trainable={trainable} would leave the head {classifier} as it is: name a module that comes before it, "
            "or head"
        )
    return tuple(names[first:])


def trained_part(module: nn.Module, classifier: str, trainable: str) -> TrainedPart:
    """What of a module is trained; sets `requires_grad` of every parameter, and the modes.

    classifier : dotted name of the head; "" where the module is the head itself

    Raises
    ------
    RecipeError : see `trained_modules`
    """
    live = tuple(module.get_submodule(name) for name in trained_modules(module, classifier, trainable))
    chosen = {id(parameter) for part in live for parameter in part.parameters(recurse=False)}
    head = {id(parameter) for parameter in module.get_submodule(classifier).parameters()}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in chosen)
    trained = [parameter for parameter in module.parameters() if id(parameter) in chosen]
    part = TrainedPart(
        module,
        body=tuple(parameter for parameter in trained if id(parameter) not in head),
        head=tuple(parameter for parameter in trained if id(parameter) in head),
        live=live,
    )
    part.set_modes()
    return part


def check_trainable(backbone: Backbone, trainable: str, image_size: int) -> None:
    """Raise RecipeError where a backbone has no such part; nothing is allocated for it where torch can help it."""
    if trainable in WORDS:
        return
    import torch

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        module = backbone.build(7, image_size)
    try:
        trained_modules(module, backbone.classifier, trainable)
    except RecipeError as error:
        raise RecipeError(f"backbone {backbone.name}: {error}") from None


def _top(names: list[str]) -> str:
    return ", ".join(name for name in names[1:] if name.count(".") == 0)
