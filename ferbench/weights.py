"""Initial weights: found here or downloaded, read without unpickling anything but tensors, fitted or refused.

A backbone says where its library publishes weights (`Origin`) and how a file's names map onto its module; everything
else about weights is here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import threading
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ferbench.components import Backbone, WeightsFile
from ferbench.errors import WeightsError
from ferbench.records import RANDOM_WEIGHTS, InitialWeights

if TYPE_CHECKING:
    from torch import Tensor, nn

#: What `--weights` takes besides a file's path.
POLICIES = ("auto", "pretrained", "random")

#: Seconds that one command may spend on finding out whether there is a network, all hosts together.
PROBE_SECONDS = 2.0

#: Seconds without a byte after which a download is given up.
DOWNLOAD_SECONDS = 30.0

#: Keys under which training scripts put the state dict in their checkpoints.
_WRAPPERS = ("state_dict", "model")

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


# --- policies ---------------------------------------------------------------------------------------------------------


def resolve_weights(backbone: Backbone, policy: str) -> InitialWeights | None:
    """What a cell's `weights` means on this machine.

    policy : auto, pretrained, random, or a file's path. auto and pretrained may download
    returns : None if the policy is auto and pretrained weights cannot be had

    Raises
    ------
    WeightsError : pretrained weights that cannot be had, a file that is not there
    """
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
    """Put a chain's initial weights into a freshly built module; random ones leave it as it is.

    Raises
    ------
    WeightsError : a file that is gone, has changed since it was resolved, or does not fit
    """
    if weights.is_random:
        return
    if weights.path is None:
        raise WeightsError(f"initial weights of {backbone.name} ({weights.source}) name no file on this machine")
    path = Path(weights.path)
    if file_sha256(path) != weights.sha256:
        raise WeightsError(f"{path} has changed since this command looked at it: run the command again")
    import torch

    # Loaders may build a second network; the caller's random numbers are not theirs to draw.
    with torch.random.fork_rng(devices=[]):
        backbone.load_weights(module, WeightsFile(path, weights.sha256, weights.source))


# --- files ------------------------------------------------------------------------------------------------------------


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hex digits; computed once a process while its size and time stay.

    Raises
    ------
    WeightsError : a file that cannot be read
    """
    try:
        status = path.stat()
        return _file_sha256(path.absolute(), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"weights file {path} cannot be read: {error.strerror or error}") from error


@lru_cache(maxsize=256)
def _file_sha256(path: Path, size: int, modified: int) -> str:
    del size, modified  # part of the cache's key only
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_file(path: Path, source: str) -> WeightsFile:
    """A file on this machine with its hash; `source` says in words what it is. Raises WeightsError."""
    return WeightsFile(path, file_sha256(path), source)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A file's tensors by name, on the CPU.

    Reads safetensors and torch's own format (told apart by content, whatever the suffix), the latter with
    `weights_only=True`. A state dict under `state_dict` or `model` is taken out of a checkpoint, and the `module.`
    that DataParallel puts before every name is taken off.

    Raises
    ------
    WeightsError : not there, of another format, broken, or a pickle that needs more than tensors to be read
    """
    content = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    return _as_state_dict(content, path)


def _is_safetensors(path: Path) -> bool:
    # The format opens with the header's length, 8 bytes little-endian, and the header is a JSON object.
    try:
        with path.open("rb") as stream:
            start = stream.read(9)
    except OSError as error:
        raise WeightsError(f"weights file {path} cannot be read: {error.strerror or error}") from error
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 30


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is broken as a safetensors file: {_one_line(error)}") from error


def _read_torch(path: Path) -> object:
    import pickle

    import torch

    try:
        # A stream, since for a path torch.load would believe the suffix.
        with path.open("rb") as stream:
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no list of what it raises on a broken file
        if isinstance(error, pickle.UnpicklingError) and _wants_code(str(error)):
            raise WeightsError(
                f"{path} is not a plain state dict: to read it, code that it names would have to run, and ferbench "
                "never does that; save its tensors with safetensors.torch.save_file and give that file"
            ) from error
        raise WeightsError(
            f"{path} is neither safetensors nor a state dict saved by torch, or it is broken: {_one_line(error)}"
        ) from error


def _wants_code(message: str) -> bool:
    return any(words in message for words in ("GLOBAL", "unrecognized function", "Can only build", "Can only create"))


def _as_state_dict(content: object, path: Path) -> dict[str, Tensor]:
    import torch

    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no state dict (names with tensors) but {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise WeightsError(
                f"{path} holds no state dict: {str(key)[:80]!r} is no tensor but {type(value).__name__}"
                f" (looked for tensors at the top and under {' and '.join(_WRAPPERS)})"
            )
    if all(key.startswith("module.") for key in content):
        return {key.removeprefix("module."): value for key, value in content.items()}
    return content if isinstance(content, dict) else dict(content)


def _one_line(error: BaseException, length: int = 200) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= length else words[:length] + "…"


# --- fitting ----------------------------------------------------------------------------------------------------------


def fit(module: nn.Module, state: Mapping[str, Tensor], classifier: str, name: str = "the weights") -> None:
    """Put weights into a module, all of them but the head's, or refuse.

    state : in the module's own naming; the head's entries are ignored, whatever their shape
    classifier : dotted name of the head within the module; it keeps its values
    name : of the weights, for the message
    `num_batches_tracked` (absent from files older than torch 0.4.1) may be missing.

    Raises
    ------
    WeightsError : something other than the head is missing, left over, or of another shape; the module is unchanged
    """
    head = classifier + "."
    own = {key: value for key, value in module.state_dict().items() if not key.startswith(head)}
    given = OrderedDict((key, value) for key, value in state.items() if not key.startswith(head))
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in own]
    mismatched = [
        f"{key} ({_shape(value)} in the file, {_shape(own[key])} in the backbone)"
        for key, value in given.items()
        if key in own and (value.shape != own[key].shape or value.is_floating_point() != own[key].is_floating_point())
    ]
    refuse_misfits(missing, unexpected, mismatched, name)
    # Some modules (torchvision's MNASNet) refuse a state dict that does not say the version of its layout.
    metadata = getattr(state, "_metadata", None) or getattr(module.state_dict(), "_metadata", None)
    given._metadata = metadata  # type: ignore[attr-defined]
    module.load_state_dict(given, strict=False)


def refuse_misfits(missing: Sequence[str], unexpected: Sequence[str], mismatched: Sequence[str], name: str) -> None:
    """Raise one line about weights that do not fit, naming the first key of each kind; return if there is none.

    Raises
    ------
    WeightsError : if any of the three lists holds a key
    """
    kinds = (("missing", missing), ("not the backbone's", unexpected), ("of another shape", mismatched))
    found = [f"{_first(keys)} {'is' if len(keys) == 1 else 'are'} {kind}" for kind, keys in kinds if keys]
    if found:
        raise WeightsError(
            f"{name} do not fit: {'; '.join(found)}. Everything but the head must be there: "
            "give weights of the same architecture"
        )


def _first(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"


def _shape(tensor: Tensor) -> str:
    shape = "x".join(str(length) for length in tensor.shape) or "a number"
    return shape if tensor.is_floating_point() else f"{shape} of {str(tensor.dtype).removeprefix('torch.')}"


# --- finding pretrained weights ---------------------------------------------------------------------------------------


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
            message = f"{origin.source} could not be downloaded from {_host(origin)}: {_one_line(error)}"
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


# --- network ----------------------------------------------------------------------------------------------------------


class NetworkProbe:
    """Whether hosts can be reached, each asked once, all together within a number of seconds.

    A machine without network may hold a name look-up or a connection for minutes. The asking is done in a thread that
    is left behind when time is up; once the seconds are spent, every further host counts as out of reach.

    Parameters
    ----------
    seconds : for all hosts together
    """

    def __init__(self, seconds: float = PROBE_SECONDS) -> None:
        self._left = seconds
        self._answers: dict[str, bool] = {}
        self._lock = threading.Lock()

    def reachable(self, host: str, timeout: float = PROBE_SECONDS) -> bool:
        """True if a TCP connection to the host, or to the proxy that is set for it, opens in time."""
        if _is_offline() or not host:
            return False
        with self._lock:
            if host not in self._answers:
                start = time.monotonic()
                self._answers[host] = _connects(*_address(host), min(timeout, self._left))
                self._left = max(0.0, self._left - (time.monotonic() - start))
            return self._answers[host]


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _address(host: str) -> tuple[str, int]:
    import urllib.request

    proxy = urllib.request.getproxies().get("https")
    if proxy and not urllib.request.proxy_bypass(host):
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.hostname:
            return parts.hostname, parts.port or 80
    return host, 443


def _connects(host: str, port: int, seconds: float) -> bool:
    if seconds <= 0:
        return False
    opened = threading.Event()

    def ask() -> None:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
        except OSError:
            return
        opened.set()

    # A daemon, because a name look-up cannot be interrupted and must not hold the process at its end.
    thread = threading.Thread(target=ask, name=f"probe {host}", daemon=True)
    thread.start()
    thread.join(seconds)
    return opened.is_set()


_PROBE = NetworkProbe()


def network_reachable(host: str, timeout: float = PROBE_SECONDS) -> bool:
    """Whether a host can be reached; asked once a process, two seconds at most for all hosts together.

    False without asking where HF_HUB_OFFLINE is set, whatever the host: who sets it wants no network.
    """
    return _PROBE.reachable(host, timeout)
