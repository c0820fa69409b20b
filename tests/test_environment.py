"""What a row says of the machine, against what the system says."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

import ferbench
from ferbench import environment
from ferbench.environment import (
    automatic_precision,
    chosen_device,
    current_environment,
    device_kind,
    git_commit,
    processor_name,
    usable_cores,
)
from ferbench.errors import UsageError


def test_the_environment_is_that_of_this_process() -> None:
    found = current_environment("cpu")
    assert (found.device_kind, found.threads) == ("cpu", torch.get_num_threads())
    assert (found.python, found.torch) == (platform.python_version(), torch.__version__)
    assert found.ferbench == ferbench.__version__ and found.platform == platform.platform()
    versions = dict(found.versions)
    assert versions["numpy"] == metadata.version("numpy") and versions["timm"] == metadata.version("timm")
    assert found.processor == processor_name() != ""


def test_a_library_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_LIBRARIES", ("torch", "surely-not-installed"))
    assert dict(current_environment("cpu").versions).keys() == {"torch"}


def test_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    if nproc := shutil.which("nproc"):
        # nproc heeds OMP_NUM_THREADS unless it is told not to.
        clean = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
        assert usable_cores() == int(subprocess.check_output([nproc], env=clean))


def test_the_processors_name_falls_back_on_its_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(self: Path, *arguments: object) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert processor_name() == platform.processor() or platform.machine()


def machine(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "asked", "expected"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (2, True, "auto", "cuda:0"),
        (2, False, "cuda", "cuda:0"),
        (2, False, "cuda:1", "cuda:1"),
        (2, False, "cpu", "cpu"),
        (0, True, "mps", "mps"),
    ],
)
def test_devices(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, asked: str, expected: str) -> None:
    machine(monkeypatch, cuda, mps)
    assert chosen_device(asked) == expected


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("gpu", "it is auto, cpu, cuda, cuda:N or mps"),
        *((word, "it is auto, cpu, cuda, cuda:N or mps") for word in ("cpu:3", "cpu:0", "mps:1", "cpu:", "cuda:")),
        ("cuda:x", "it is auto, cpu, cuda, cuda:N or mps"),
        ("cuda:²", "it is auto, cpu, cuda, cuda:N or mps"),
        ("cuda:2", r"torch sees 2 CUDA device\(s\) here"),
        ("mps", "torch sees none here"),
        ("", "it is auto"),
    ],
)
def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch, asked: str, message: str) -> None:
    machine(monkeypatch, 2, False)
    with pytest.raises(UsageError, match=message):
        chosen_device(asked)


def test_accelerators_are_told_apart_by_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Model of {device}")
    assert device_kind("cuda:1") == "Model of cuda:1"
    assert (device_kind("cpu"), device_kind("mps")) == ("cpu", "mps")


def test_bf16_is_for_cuda_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, has=has: has)
        assert automatic_precision("cuda:0") == ("bf16" if has else "fp32")
    assert automatic_precision("cpu") == automatic_precision("mps") == "fp32"


def test_the_commit_is_gits_with_a_mark_where_files_were_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "ferbench").mkdir(parents=True)
    monkeypatch.setattr(environment, "__file__", str(checkout / "ferbench" / "environment.py"))
    assert git_commit() is None
    (checkout / "results").mkdir()
    (checkout / "pyproject.toml").write_text('[project]\nname = "ferbench"\n')
    # A checkout without git, such as an unpacked archive.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert git_commit() is None

    def git(*arguments: str) -> str:
        name = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", "-C", str(checkout), *name, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert git_commit() == git("rev-parse", "HEAD")
    (checkout / "results" / "new").touch()
    assert git_commit() == git("rev-parse", "HEAD")
    (checkout / "pyproject.toml").write_text('[project]\nname = "ferbench"\n\n')
    assert git_commit() == git("rev-parse", "HEAD") + "+"
