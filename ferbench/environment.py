"""What a row was computed with: machine, versions, git."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from ferbench.errors import UsageError
from ferbench.records import Environment
from ferbench.settings import in_checkout
from ferbench.version import VERSION

_LIBRARIES = ("torch", "torchvision", "timm", "transformers", "numpy")


def usable_cores() -> int:
    """Cores that this process may use, which in a container are often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """The CPU's model name where the system tells it, else its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def chosen_device(device: str) -> str:
    """The torch device for a setting; `auto` takes CUDA, then MPS, then the CPU.

    Raises
    ------
    UsageError : a word that is no device, or a device that this machine lacks
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda:0"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, index = device.partition(":")
    numbered = kind == "cuda" and index.isdecimal()
    if kind not in ("cpu", "cuda", "mps") or (colon and not numbered):
        raise UsageError(f"device {device!r}: it is auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {device!r}: torch sees {torch.cuda.device_count()} CUDA device(s) here")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"device {device!r}: torch sees none here")
    return f"cuda:{index or 0}" if kind == "cuda" else kind


def device_kind(device: str) -> str:
    """`cpu`, or the accelerator's model name: rows of two kinds are never put together."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(torch.device(device))
    return device


def automatic_precision(device: str) -> str:
    """What `precision=auto` means on a device: bf16 on CUDA that has it, else fp32.

    A CPU stays with fp32 even where it has bf16: small networks lose speed by it there.
    """
    import torch

    if device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp32"


def git_commit() -> str | None:
    """The commit of the checkout that ferbench runs from, with `+` where files were changed; None when installed."""
    folder = Path(__file__).resolve().parent.parent
    if not in_checkout(folder):
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=5)
    return done.stdout.strip()


def current_environment(device: str) -> Environment:
    """This process's environment, for its rows."""
    import torch

    versions = []
    for name in _LIBRARIES:
        try:
            versions.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return Environment(
        device_kind=device_kind(device),
        processor=processor_name(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        ferbench=VERSION,
        platform=platform.platform(),
        versions=tuple(versions),
        git_commit=git_commit(),
    )
