"""Initial weights of a chain: what a policy means on this machine, and putting it into a module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ferbench.components import Backbone, WeightsFile
from ferbench.errors import FerbenchError, WeightsError, one_line
from ferbench.stages import NO_WEIGHTS, RANDOM_WEIGHTS, InitialWeights
from ferbench.state_dicts import file_sha256, weights_file

if TYPE_CHECKING:
    from torch import nn

#: What `--weights` takes besides a file's path.
POLICIES = ("auto", "pretrained", "random")

#: What was found to fit in this process: backbone, SHA-256 of the file, pixels a side.
_FITTING: set[tuple[str, str, int]] = set()


def resolve_weights(backbone: Backbone, policy: str) -> InitialWeights | None:
    """What a cell's `weights` means on this machine.

    policy : auto, pretrained, random, or a file's path; without meaning for a backbone that has no weights. auto and
        pretrained may download
    returns : None if the policy is auto and pretrained weights cannot be had

    Raises
    ------
    WeightsError : pretrained weights that cannot be had, a file that is not there
    """
    if backbone.weightless:
        return NO_WEIGHTS
    if policy == "random":
        return RANDOM_WEIGHTS
    if policy in POLICIES:
        file = backbone.resolve_weights(policy)
        if file is None and policy == "pretrained":
            raise WeightsError(
                f"pretrained weights of {backbone.name} cannot be had: no local cache (torch.hub's or the Hugging Face "
                "hub's) has them and they cannot be downloaded; connect to the network, give a file with "
                "--weights FILE, or take --weights random"
            )
    else:
        path = Path(policy).expanduser()
        if not path.exists():
            raise WeightsError(
                f"--weights {policy}: no such file; weights is {', '.join(POLICIES)}, or a file of weights"
            )
        file = weights_file(path, f"file {path.name}")
    if file is None:
        return None
    return InitialWeights(file.sha256, file.source, str(file.path.absolute()))


def load_initial_weights(backbone: Backbone, module: nn.Module, weights: InitialWeights) -> None:
    """Put a chain's initial weights into a freshly built module; random ones, or none at all, leave it as it is.

    Raises
    ------
    WeightsError : a file that is gone, has changed since it was resolved, or does not fit
    """
    if not weights.is_file:
        return
    if weights.path is None:
        raise WeightsError(f"initial weights of {backbone.name} ({weights.source}) name no file on this machine")
    path = Path(weights.path)
    if file_sha256(path) != weights.sha256:
        raise WeightsError(f"{path} has changed since this command looked at it: run the command again")
    import torch

    # Loaders may build a second network; the caller's random numbers are not theirs to draw.
    try:
        with torch.random.fork_rng(devices=[]):
            backbone.load_weights(module, WeightsFile(path, weights.sha256, weights.source))
    except WeightsError as error:
        if path.name in str(error):
            raise
        # A plugin need not name the file, and a command may have several.
        raise WeightsError(f"weights file {path}: {error}") from error


def check_fit(backbone: Backbone, weights: InitialWeights, num_classes: int, image_size: int) -> None:
    """Refuse weights that would not load when their stage comes; what fits is tried once a process.

    num_classes, image_size : what `Backbone.build` takes; the backbone is built and thrown away, on the CPU
    The caller's random numbers are not drawn. Random weights always fit.

    Raises
    ------
    WeightsError : a file that is gone, has changed since it was resolved, or does not fit
    """
    key = (backbone.name, weights.sha256, image_size)
    if not weights.is_file or key in _FITTING:
        return
    import torch

    with torch.random.fork_rng(devices=[]):
        module = backbone.build(num_classes, image_size)
    try:
        load_initial_weights(backbone, module, weights)
    except FerbenchError:
        raise
    except Exception as error:  # a plugin's loader may raise anything
        raise WeightsError(f"{weights.path} does not fit {backbone.name}: {one_line(error)}") from error
    _FITTING.add(key)
