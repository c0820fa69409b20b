"""Every network of timm, as `timm/NAME`, or `timm/NAME.TAG` for one of its several pretrained weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import ferbench
from ferbench.anatomy import build_checked, examine
from ferbench.errors import UnknownName, WeightsError
from ferbench.pretrained import Origin, find_pretrained
from ferbench.state_dicts import fit, read_state_dict

if TYPE_CHECKING:
    from torch import Tensor, nn

_PREFIX = "timm/"

#: Where `build` leaves the image size on the module, for weights whose shape depends on it.
_SIZE = "ferbench_image_size"


def _names() -> Sequence[str]:
    import timm

    return [_PREFIX + name for name in sorted({name.split(".")[0] for name in timm.list_models(pretrained=True)})]


def _settings(full_name: str) -> Any:
    import timm

    network = full_name.removeprefix(_PREFIX)
    base, _, tag = network.partition(".")
    if not base or not timm.is_model(base):
        raise UnknownName("backbone", full_name, _names())
    if tag and not timm.is_model_pretrained(network):
        raise UnknownName("backbone", full_name, [_PREFIX + name for name in timm.list_pretrained(f"{base}.*")])
    return timm.get_pretrained_cfg(network) or timm.models.PretrainedCfg()


@lru_cache(maxsize=64)
def _resolve(full_name: str) -> ferbench.Backbone:
    settings = _settings(full_name)
    network = full_name.removeprefix(_PREFIX)
    image_size = int(settings.input_size[-1])
    anatomy = examine(full_name, partial(_make, network, settings), image_size)
    return ferbench.Backbone(
        name=full_name,
        version=1,
        build=partial(build_checked, anatomy),
        resolve_weights=partial(find_pretrained, _origins(network, settings)),
        load_weights=partial(_load_weights, network, settings, anatomy.classifier),
        image_size=image_size,
        smallest_image_size=anatomy.smallest_image_size,
        mean=tuple(settings.mean),
        std=tuple(settings.std),
        classifier=anatomy.classifier,
        recipe=anatomy.recipe,
        citation=_citation(network, settings),
        licence=f"Apache-2.0 (timm); weights: {settings.license or 'see their origin'}",
        library=f"timm {version('timm')}",
    )


def _make(network: str, settings: Any, num_classes: int, image_size: int) -> nn.Module:
    import timm

    module = timm.create_model(network, num_classes=num_classes, **_size_option(settings, image_size))
    setattr(module, _SIZE, image_size)
    return module


def _size_option(settings: Any, image_size: int) -> dict[str, Any]:
    # Networks of fixed size are told theirs; all others take what comes and refuse the argument.
    return {"img_size": image_size} if settings.fixed_input_size else {}


def _origins(network: str, settings: Any) -> list[Origin]:
    source = f"timm {network.partition('.')[0]}.{settings.tag}" if settings.tag else f"timm {network}"
    origins = []
    if settings.hf_hub_id:
        files = (settings.hf_hub_filename,) if settings.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
        origins.append(Origin(source, repository=settings.hf_hub_id, files=files))
    # .npz files hold another framework's layout; the hub has the same weights in torch's.
    if settings.url and not settings.url.endswith(".npz"):
        origins.append(Origin(source, url=settings.url))
    return origins


def _citation(network: str, settings: Any) -> str:
    papers = settings.paper_ids
    papers = ", ".join(papers) if isinstance(papers, (list, tuple)) else papers
    return papers or settings.origin_url or f"timm's {network}, https://github.com/huggingface/pytorch-image-models"


def _load_weights(network: str, settings: Any, classifier: str, module: nn.Module, file: ferbench.WeightsFile) -> None:
    state = read_state_dict(file.path)
    head = f"{classifier}."
    as_given = dict(state)
    attempts = [as_given]
    if not any(key.startswith(head) for key in state):
        # A file without a head: the module's own stands in for it, since timm's loader wants one.
        own = {key: value for key, value in module.state_dict().items() if key.startswith(head)}
        attempts.append({**state, **own})
    for attempt in attempts:
        try:
            loaded = _as_timm_loads(network, settings, attempt, classifier, getattr(module, _SIZE, None))
        except Exception as error:  # strict loading and each network's own filter fail in many ways
            failure = error
        else:
            fit(module, loaded, classifier, str(file.path))
            return
    # timm lists every key over many lines; `fit` says the same in one.
    fit(module, as_given, classifier, str(file.path))
    raise WeightsError(f"{file.path} does not fit {network}: {' '.join(str(failure).split())[:200]}") from failure


def _as_timm_loads(
    network: str, settings: Any, state: dict[str, Tensor], classifier: str, image_size: int | None
) -> dict[str, Tensor]:
    """The state dict as timm's own loader turns it: old names, position embeddings of another image size.

    timm has no public way to its filters but loading. Told the head's size, its loader is strict about all keys.
    """
    import timm

    head = state.get(f"{classifier}.weight")
    num_classes = int(head.shape[0]) if head is not None and head.ndim else int(settings.num_classes)
    donor = timm.create_model(
        network,
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": dict(state), "num_classes": num_classes, "label_offset": 0},
        num_classes=num_classes,
        **_size_option(settings, image_size or settings.input_size[-1]),
    )
    return donor.state_dict()


@ferbench.hookimpl
def ferbench_register_backbones() -> list[ferbench.BackboneFamily]:
    """The family `timm/`."""
    return [
        ferbench.BackboneFamily(
            prefix=_PREFIX,
            resolve=_resolve,
            names=_names,
            summary="timm's networks with pretrained weights",
        )
    ]
