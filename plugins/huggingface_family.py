"""Image classification networks of transformers, as `hf/NAME` of the Hugging Face hub or `hf/FOLDER` on this machine.

A folder is what `save_pretrained` writes: config.json, model.safetensors and, if images are not normalised as
ImageNet's usually are, preprocessor_config.json. Code that comes with a repository is never run.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ferbench
from ferbench.anatomy import build_checked, examine
from ferbench.errors import UnknownName, WeightsError
from ferbench.network import network_reachable
from ferbench.pretrained import Origin, find_pretrained, hub_cached, hub_download
from ferbench.state_dicts import fit, read_state_dict, refuse_misfits, weights_file

if TYPE_CHECKING:
    from torch import Tensor, nn

_PREFIX = "hf/"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

#: A pooler stands before the head in some files for other tasks; transformers leaves it out for classification.
_POOLER = "pooler."


@lru_cache(maxsize=64)
def _resolve(full_name: str) -> ferbench.Backbone:
    place = full_name.removeprefix(_PREFIX)
    config = _config(full_name, place)
    preprocessing = _preprocessing(place, config)
    image_size = preprocessing["image_size"]
    anatomy = examine(full_name, partial(_make, config), image_size)
    return ferbench.Backbone(
        name=full_name,
        version=1,
        build=partial(build_checked, anatomy),
        resolve_weights=partial(_resolve_weights, place),
        load_weights=partial(_load_weights, anatomy.classifier),
        image_size=image_size,
        smallest_image_size=anatomy.smallest_image_size,
        mean=preprocessing["mean"],
        std=preprocessing["std"],
        classifier=anatomy.classifier,
        recipe=anatomy.recipe,
        citation=f"transformers' {config.model_type}, from {place}",
        licence="Apache-2.0 (transformers); weights: see their origin",
        library=f"transformers {version('transformers')}, config {_digest(config)}",
    )


def _folder(place: str) -> Path | None:
    folder = Path(place).expanduser()
    return folder if folder.is_dir() else None


def _file(place: str, name: str) -> Path | None:
    """One of a folder's or repository's small files, or None where it has none or it cannot be had."""
    folder = _folder(place)
    if folder is not None:
        return folder / name if (folder / name).is_file() else None
    cached = hub_cached(place, [name])
    if cached is not None or not network_reachable("huggingface.co"):
        return cached
    try:
        return hub_download(place, [name])
    except Exception:  # the hub's, httpx's and the operating system's errors have no common base
        return None


def _json(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no JSON object but {type(content).__name__}")
    return content


def _config(full_name: str, place: str) -> Any:
    if not network_reachable("huggingface.co"):
        # Read by transformers when it is imported; without it, it asks the network again and again.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        path = _file(place, "config.json") if place else None
    except ValueError:  # not a name that the hub allows
        path = None
    if path is None:
        raise _NoSuchNetwork(full_name)
    content = _json(path)
    from transformers import AutoConfig, AutoModelForImageClassification

    try:
        with _quietly():
            config = AutoConfig.from_pretrained(path.parent, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a config of an unknown kind or with fields that its class refuses
        raise WeightsError(
            f"{path} is no config that transformers can use: {' '.join(str(error).split())[:200]}"
        ) from error
    if type(config) not in AutoModelForImageClassification._model_mapping:
        raise WeightsError(
            f"{path}: transformers has no image classification for {content.get('model_type', 'this kind of network')}"
        )
    return config


class _NoSuchNetwork(UnknownName):
    def __init__(self, full_name: str) -> None:
        super().__init__("backbone", full_name, ())
        self.args = (
            f"no backbone named {full_name!r}: it is neither a folder with a config.json nor in the Hugging Face hub's "
            "local cache, and the hub does not give it",
        )


def _digest(config: Any) -> str:
    # A folder's name does not say what network is in it; its architecture belongs to the fingerprint.
    content = config.to_dict()
    for key in ("_name_or_path", "transformers_version", "id2label", "label2id", "label_names", "num_classes"):
        content.pop(key, None)
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _preprocessing(place: str, config: Any) -> dict[str, Any]:
    """Image size in pixels, mean and std of RGB: from the image processor's file, else from the config."""
    content = _json(_file(place, "preprocessor_config.json"))
    inner = getattr(config, "pretrained_cfg", None) or {}  # timm's own, in timm's wrapper
    mean, std = content.get("image_mean", inner.get("mean")), content.get("image_std", inner.get("std"))
    if content.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    sizes = (
        getattr(config, "image_size", None),
        content.get("crop_size"),
        content.get("size"),
        (inner.get("input_size") or [None])[-1],
    )
    image_size = next((pixels for pixels in map(_pixels, sizes) if pixels), 224)
    return {"image_size": image_size, "mean": _channels(mean, _IMAGENET[0]), "std": _channels(std, _IMAGENET[1])}


def _pixels(size: object) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("height") or size.get("shortest_edge")
    if isinstance(size, Sequence) and size:
        size = size[0]
    return size if isinstance(size, int) else None


def _channels(values: object, default: tuple[float, float, float]) -> tuple[float, float, float]:
    if isinstance(values, (list, tuple)) and len(values) == 3:
        return (float(values[0]), float(values[1]), float(values[2]))
    return default


def _make(config: Any, num_classes: int, image_size: int) -> nn.Module:
    from transformers import AutoModelForImageClassification

    config = copy.deepcopy(config)
    config.num_labels = num_classes
    network: Any = AutoModelForImageClassification.from_config(config)  # type: ignore[no-untyped-call,unused-ignore]
    network = network.float()  # a config may ask for the half precision that its weights are stored in
    # ViTs have one position embedding a patch, and a switch that interpolates them for another size.
    own_size = _pixels(getattr(config, "image_size", None))
    accepted = inspect.signature(network.forward).parameters
    interpolates = own_size not in (None, image_size) and "interpolate_pos_encoding" in accepted
    module: nn.Module = _logits_class()(network, {"interpolate_pos_encoding": True} if interpolates else {})
    return module


@lru_cache(maxsize=1)
def _logits_class() -> Any:
    import torch
    from torch import nn

    class Logits(nn.Module):
        """A network of transformers that answers with its logits alone, float32 [n, classes]."""

        def __init__(self, network: nn.Module, options: dict[str, bool]) -> None:
            super().__init__()
            self.network = network
            self.options = options

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(pixel_values=images, **self.options).logits
            return logits

    return Logits


def _resolve_weights(place: str, policy: str) -> ferbench.WeightsFile | None:
    folder = _folder(place)
    if folder is None:
        return find_pretrained([Origin(f"Hugging Face {place}", repository=place, files=_WEIGHTS)], policy)
    found = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    return weights_file(found[0], f"folder {folder.name}") if found else None


def _load_weights(classifier: str, module: Any, file: ferbench.WeightsFile) -> None:
    state = read_state_dict(file.path)
    inner = classifier.removeprefix("network.")
    fit(module.network, _as_transformers_loads(module.network, inner, state, file), inner, str(file.path))


def _as_transformers_loads(
    network: Any, head: str, state: dict[str, Tensor], file: ferbench.WeightsFile
) -> dict[str, Tensor]:
    """The state dict as transformers' own loader turns it, which knows the names of older versions."""
    with _quietly():
        donor, report = type(network).from_pretrained(
            None,
            config=copy.deepcopy(network.config),
            state_dict=dict(state),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    wanted = {
        kind: [key for key in map(_key, report[kind]) if not key.startswith(f"{head}.") and _POOLER not in key]
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
    }
    refuse_misfits(wanted["missing_keys"], wanted["unexpected_keys"], wanted["mismatched_keys"], str(file.path))
    loaded: dict[str, Tensor] = donor.state_dict()
    return loaded


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    # transformers prints bars, and a table of the head that does not fit, which is no news here.
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _key(entry: object) -> str:
    # Mismatches come as (name, shape in the file, shape in the network).
    return str(entry[0] if isinstance(entry, (tuple, list)) else entry)


@ferbench.hookimpl
def ferbench_register_backbones() -> list[ferbench.BackboneFamily]:
    """The family `hf/`; the hub's names cannot be listed."""
    return [
        ferbench.BackboneFamily(
            prefix=_PREFIX,
            resolve=_resolve,
            names=tuple,
            summary="transformers' image classification: a name of the Hugging Face hub, or a local folder",
        )
    ]
