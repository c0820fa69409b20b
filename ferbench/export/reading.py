"""An exported folder read again: config.json and model.safetensors to a network that takes pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ferbench.catalog import Catalog
from ferbench.components import Backbone
from ferbench.data.batches import Normalisation, evaluation_batches
from ferbench.data.placement import place
from ferbench.errors import ExportError, WeightsError, one_line
from ferbench.export.about import FORMAT
from ferbench.state_dicts import read_state_dict
from ferbench.svm_head import put_svm_head

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


class ExportedNetwork:
    """What was exported, in eval mode on the CPU.

    labels : the expressions, in the order of probabilities
    about : the content of config.json
    """

    def __init__(self, module: nn.Module, about: Mapping[str, Any]) -> None:
        self._module = module.eval()
        self.about = about
        self.labels = tuple(str(label) for label in about["labels"])

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (calibrated where the row is) and logits, float32 [n, C] both.

        images : uint8 [n, H, W, C] of any sides, C 3 (RGB) or 1
        """
        if not len(images):
            nothing = np.empty((0, len(self.labels)), np.float32)
            return nothing, nothing
        size, normalisation = self.about["image_size"], Normalisation(self.about["mean"], self.about["std"])
        placed = place(images, size, "cpu", grey=self.about["grey"])
        with torch.inference_mode():
            batches = evaluation_batches(placed, normalisation, size, "cpu")
            logits = torch.cat([self._module(batch) for batch in batches])
            probabilities = (logits / (self.about["temperature"] or 1.0)).softmax(dim=1)
        return probabilities.numpy(), logits.numpy()


def load_exported(
    folder: str | Path, backbone: str | None = None, plugins: Sequence[str | Path] = ()
) -> ExportedNetwork:
    """Read what `ferbench export` has written.

    Parameters
    ----------
    backbone : where config.json names one without the folder that it lies in
    plugins : files of plugins that the backbone is from

    Raises
    ------
    ExportError : a file that is missing, of a newer format, or of other weights than the backbone has
    UnknownName : no plugin here provides the backbone
    """
    about = _read_config(Path(folder) / CONFIG)
    return read_exported(
        Path(folder), Catalog.load([Path(each) for each in plugins]).backbone(backbone or about["backbone"])
    )


def read_exported(folder: Path, backbone: Backbone) -> ExportedNetwork:
    """The same with the backbone at hand."""
    about = _read_config(folder / CONFIG)
    with torch.random.fork_rng(devices=[]):
        module = backbone.build(len(about["labels"]), about["image_size"])
    if about["head_fit"] == "svm":
        put_svm_head(module, backbone.classifier)
    try:
        module.load_state_dict(read_state_dict(folder / WEIGHTS))
    except WeightsError as error:
        raise ExportError(error.line) from error
    except RuntimeError as error:
        raise ExportError(
            f"{folder / WEIGHTS} does not fit {backbone.name}, {_version(backbone.version, backbone.library)}; it was "
            f"written with {_version(about['backbone_version'], about['library'])}: {one_line(error)}"
        ) from error
    return ExportedNetwork(module, about)


def _version(version: int, library: str) -> str:
    return f"version {version}" + (f" of {library}" if library else "")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}): name a folder of `ferbench export`") from error
    except ValueError as error:
        raise ExportError(f"{path} is no JSON ({one_line(error)}): export the row anew") from error
    written = found.get("ferbench_export") if isinstance(found, dict) else None
    if written != FORMAT:
        raise ExportError(
            f"{path} is of format {written} and format {FORMAT} can be read here: name a folder of `ferbench export`, "
            "or take the ferbench that wrote it"
        )
    return dict(found)
