"""Every image classification network of torchvision, as `tv/NAME`, or `tv/NAME.WEIGHTS` for other weights.

The default weights are IMAGENET1K_V1 where there are such, the ones that the literature on transfer learning used, and
torchvision's own DEFAULT otherwise. Auxiliary heads (googlenet, inception_v3) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import ferbench
from ferbench.anatomy import build_checked, examine
from ferbench.errors import UnknownName
from ferbench.pretrained import Origin, find_pretrained
from ferbench.state_dicts import fit, read_state_dict

if TYPE_CHECKING:
    from torch import Tensor, nn

_PREFIX = "tv/"

#: Networks with auxiliary heads. Their weights expect the input scaling that `transform_input` does.
_INCEPTIONS: Mapping[str, tuple[str, ...]] = {
    "googlenet": ("aux1.", "aux2."),
    "inception_v3": ("AuxLogits.",),
}

#: torchvision's DenseNet files are older than its present names: `norm.1` is now `norm1`.
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)$")


def _networks() -> list[str]:
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models))


def _names() -> Sequence[str]:
    return [_PREFIX + name for name in _networks()]


def _weights(full_name: str, network: str, tag: str) -> Any:
    from torchvision.models import get_model_weights

    kinds = get_model_weights(network)
    if tag:
        if tag not in kinds.__members__:
            raise UnknownName("backbone", full_name, [f"{_PREFIX}{network}.{kind}" for kind in kinds.__members__])
        return kinds[tag]
    return kinds["IMAGENET1K_V1"] if "IMAGENET1K_V1" in kinds.__members__ else kinds["DEFAULT"]


@lru_cache(maxsize=64)
def _resolve(full_name: str) -> ferbench.Backbone:
    network, _, tag = full_name.removeprefix(_PREFIX).partition(".")
    if network not in _networks():
        raise UnknownName("backbone", full_name, _names())
    weights = _weights(full_name, network, tag)
    preset = weights.transforms()
    image_size = int(preset.crop_size[0])
    anatomy = examine(full_name, partial(_make, network), image_size)
    origin = Origin(f"torchvision {weights}", url=weights.url)
    return ferbench.Backbone(
        name=full_name,
        version=1,
        build=partial(build_checked, anatomy),
        resolve_weights=partial(find_pretrained, [origin]),
        load_weights=partial(_load_weights, network, anatomy.classifier),
        image_size=image_size,
        smallest_image_size=anatomy.smallest_image_size,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        classifier=anatomy.classifier,
        recipe=anatomy.recipe,
        citation=f"torchvision's {network}, {weights.meta.get('recipe', 'https://github.com/pytorch/vision')}",
        licence="BSD-3-Clause (torchvision); weights trained on ImageNet",
        library=f"torchvision {version('torchvision')}",
    )


def _make(network: str, num_classes: int, image_size: int) -> nn.Module:
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    if network in _INCEPTIONS:
        options = {"aux_logits": False, "transform_input": True, "init_weights": True}
    elif network.startswith("vit_"):
        options = {"image_size": image_size}
    elif network.startswith("maxvit_"):
        options = {"input_size": (image_size, image_size)}
    module: nn.Module = get_model(network, weights=None, num_classes=num_classes, **options)
    return module


def _load_weights(network: str, classifier: str, module: nn.Module, file: ferbench.WeightsFile) -> None:
    state = read_state_dict(file.path)
    if network.startswith("densenet"):
        state = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
    for auxiliary in _INCEPTIONS.get(network, ()):
        state = {key: value for key, value in state.items() if not key.startswith(auxiliary)}
    if network.startswith("vit_"):
        state = _resized_positions(module, state)
    fit(module, state, classifier, str(file.path))


def _resized_positions(module: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    # A ViT has one position embedding a patch: at another image size they are interpolated (Dosovitskiy 2021, 3.2).
    from torchvision.models.vision_transformer import interpolate_embeddings

    embedding = state.get("encoder.pos_embedding")
    if embedding is None or embedding.ndim != 3 or embedding.shape[2] != module.hidden_dim:
        return state
    resized: dict[str, Tensor] = interpolate_embeddings(module.image_size, module.patch_size, dict(state))
    return resized


@ferbench.hookimpl
def ferbench_register_backbones() -> list[ferbench.BackboneFamily]:
    """The family `tv/`."""
    return [
        ferbench.BackboneFamily(
            prefix=_PREFIX,
            resolve=_resolve,
            names=_names,
            summary="torchvision's image classification networks",
        )
    ]
