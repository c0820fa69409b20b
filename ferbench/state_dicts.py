"""Files of weights: read without unpickling anything but tensors, and fitted to a module or refused."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ferbench.components import WeightsFile
from ferbench.errors import WeightsError, one_line

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Keys under which training scripts put the state dict in their checkpoints.
_WRAPPERS = ("state_dict", "model")


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
        raise WeightsError(f"weights file {path} cannot be read: {error.strerror or error}; name another") from error


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
        raise WeightsError(f"weights file {path} cannot be read: {error.strerror or error}; name another") from error
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 30


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is broken as a safetensors file: {one_line(error)}; fetch it anew") from error


def _read_torch(path: Path) -> object:
    import pickle
    import warnings

    import torch

    # torch's own words are never passed on, neither errors nor warnings: they advise to load the file unsafely.
    try:
        # A stream, since for a path torch.load would believe the suffix.
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is broken or not a plain state dict: code that a pickle names would have to run to read it, and "
            "ferbench never does that; save its tensors with safetensors.torch.save_file and give that file"
        ) from error
    except Exception as error:  # torch.load has no list of what it raises on a broken file
        raise WeightsError(
            f"{path} is neither safetensors nor a state dict saved by torch, or it is broken; "
            "fetch it anew, or save its tensors with safetensors.torch.save_file and give that file"
        ) from error


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
