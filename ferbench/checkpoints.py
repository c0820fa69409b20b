"""Trained weights on disk: one safetensors file a stage, named by fingerprint, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from ferbench.errors import CheckpointError, CheckpointLost
from ferbench.recent_states import RecentStates
from ferbench.whole_files import whole_file

if TYPE_CHECKING:
    from torch import Tensor, nn


def write_whole(path: Path, content: bytes, what: str) -> None:
    """Write a file of the cache folder whole or not at all.

    Raises
    ------
    CheckpointError : the folder cannot be written or the disk is full; nothing is left behind
    """
    try:
        with whole_file(path) as file:
            file.write(content)
    except OSError as error:
        raise CheckpointError(
            f"{what} of {len(content) / 1e6:.0f} MB cannot be written to {path.parent}: "
            f"{error.strerror or error}; free room or name another folder with FERBENCH_CACHE"
        ) from error


def _used_now(path: Path) -> None:
    """A file's time tells when it was last of use; a cache that is only read goes by when it was written."""
    with contextlib.suppress(OSError):
        os.utime(path)


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does, so that it need not be read again."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class Checkpoints:
    """The checkpoint folder below the cache folder."""

    def __init__(self, cache_folder: Path) -> None:
        self.folder = cache_folder / "checkpoints"
        self._recent = RecentStates()
        self._written: dict[str, tuple[str, tuple[int, int, int] | None]] = {}

    def path(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint}.safetensors"

    def holds(self, fingerprint: str) -> bool:
        return self.path(fingerprint).is_file()

    def save(self, fingerprint: str, module: nn.Module) -> str:
        """Write a module's state; gives the file's SHA-256.

        Raises
        ------
        CheckpointError : the folder cannot be written or the disk is full; nothing is left behind
        """
        from safetensors.torch import save

        # Cloned one by one: safetensors refuses tensors that share memory, as tied weights do.
        state = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
        content = save(state, metadata={"stage": fingerprint})
        # Both wait for something else than Python: one for the processor, the other for the disk.
        with ThreadPoolExecutor(1) as beside:
            digest = beside.submit(lambda: hashlib.sha256(content).hexdigest())
            write_whole(self.path(fingerprint), content, "checkpoint")
        self._recent.put(fingerprint, state)
        self._written[fingerprint] = (digest.result(), _mark(self.path(fingerprint)))
        return digest.result()

    def load(self, fingerprint: str, sha256: str | None = None) -> dict[str, Tensor]:
        """A stage's state, which nobody may write into: as it was saved a moment ago, or read.

        Raises
        ------
        CheckpointLost : not there, not readable, or not of the given hash
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.path(fingerprint)
        recent = self._at_hand(fingerprint, sha256)
        if recent is not None:
            return dict(recent)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointLost(
                fingerprint, f"checkpoint {path} cannot be read: {error.strerror}; run again with --force"
            ) from error
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise CheckpointLost(
                fingerprint, f"checkpoint {path} is not the file that was stored: run again with --force"
            )
        try:
            state = load(content)
        except SafetensorError as error:
            raise CheckpointLost(fingerprint, f"checkpoint {path} is damaged: run again with --force") from error
        _used_now(path)
        return state

    def _at_hand(self, fingerprint: str, sha256: str | None) -> Mapping[str, Tensor] | None:
        """A state that this process has written, while its file is still the one that was written."""
        digest, mark = self._written.get(fingerprint, ("", None))
        if mark is None or digest != (sha256 or digest) or _mark(self.path(fingerprint)) != mark:
            return None
        state = self._recent.get(fingerprint)
        if state is not None:
            _used_now(self.path(fingerprint))
            self._written[fingerprint] = (digest, _mark(self.path(fingerprint)))
        return state

    def remove(self, fingerprint: str) -> None:
        self._recent.drop(fingerprint)
        self.path(fingerprint).unlink(missing_ok=True)
