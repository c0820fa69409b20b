"""Pretrained weights that libraries publish: found in a local cache, or downloaded.

A backbone says where its library publishes weights (`Origin`); everything else about getting them is here.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ferbench.components import WeightsFile
from ferbench.errors import WeightsError, one_line
from ferbench.network import network_reachable
from ferbench.state_dicts import weights_file

#: Seconds without a byte after which a download is given up.
DOWNLOAD_SECONDS = 30.0

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """One place where a library publishes a backbone's pretrained weights.

    source : in words, for the row, such as "torchvision AlexNet_Weights.IMAGENET1K_V1"
    url : of a file that torch.hub would cache, or None
    repository, files : on the Hugging Face hub; of the files the first that exists is taken
    """

    source: str
    url: str | None = None
    repository: str | None = None
    files: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")


def find_pretrained(origins: Sequence[Origin], policy: str) -> WeightsFile | None:
    """The first of several published files that is on this machine, or else that can be downloaded now.

    Local caches are looked at first, all of them; then each origin whose host answers is downloaded from once. A failed
    download is a warning under `auto`.
    policy : nothing is looked for unless it is auto or pretrained

    Raises
    ------
    WeightsError : a cached file that is not what its name says; under `pretrained`, a download that failed
    """
    if policy not in ("auto", "pretrained"):
        return None
    for origin in origins:
        cached = _cached(origin)
        if cached is not None:
            return _checked(cached, origin.source)
    for origin in origins:
        if not network_reachable(_host(origin)):
            continue
        try:
            return _checked(_download(origin), origin.source)
        except WeightsError:
            raise
        except Exception as error:  # urllib's, httpx's and the hub's own errors have no common base
            message = f"{origin.source} could not be downloaded from {_host(origin)}: {one_line(error)}"
            if policy == "pretrained":
                raise WeightsError(message) from error
            _LOGGER.warning("%s", message)
    return None


def _host(origin: Origin) -> str:
    if origin.url is not None:
        return urllib.parse.urlsplit(origin.url).hostname or ""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    return urllib.parse.urlsplit(endpoint).hostname or "huggingface.co"


def _torch_hub_path(url: str) -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urllib.parse.urlsplit(url).path).name


def _cached(origin: Origin) -> Path | None:
    if origin.url is not None:
        path = _torch_hub_path(origin.url)
        return path if path.is_file() else None
    return hub_cached(origin.repository or "", origin.files)


def hub_cached(repository: str, files: Sequence[str]) -> Path | None:
    """The first of a repository's files that is in the Hugging Face hub's local cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    for name in files:
        path = try_to_load_from_cache(repository, name)
        if isinstance(path, str):
            return Path(path)
    return None


def _download(origin: Origin) -> Path:
    _LOGGER.info("downloading %s", origin.source)
    if origin.url is None:
        return hub_download(origin.repository or "", origin.files)
    import torch

    path = _torch_hub_path(origin.url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _download_timeout():
        torch.hub.download_url_to_file(origin.url, str(path), _hash_in_name(path.name), progress=False)
    return path


def hub_download(repository: str, files: Sequence[str]) -> Path:
    """Download the first of a repository's files that it has, by the hub's own client, and give its place in the cache.

    Raises what huggingface_hub raises.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    *others, last = files
    for name in others:
        try:
            return Path(hf_hub_download(repository, name))
        except EntryNotFoundError:
            continue
    return Path(hf_hub_download(repository, last))


def _hash_in_name(name: str) -> str | None:
    # torch.hub's convention: resnet18-f37072fd.pth bears the first digits of its SHA-256.
    found = re.search(r"-([0-9a-f]{8,})\.[^.]+$", name)
    return found.group(1) if found else None


def _checked(path: Path, source: str) -> WeightsFile:
    file = weights_file(path, source)
    expected = _hash_in_name(path.name)
    if expected is not None and not file.sha256.startswith(expected):
        raise WeightsError(
            f"{path} is broken or another file: its SHA-256 starts with {file.sha256[: len(expected)]}, its name says "
            f"{expected}; delete it, and it is downloaded again"
        )
    return file


@contextmanager
def _download_timeout() -> Iterator[None]:
    # torch.hub's urlopen has no timeout of its own, so that a silent peer would hold the command for ever.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
