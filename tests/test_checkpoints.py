"""Checkpoints whole or not at all: killed writers, full disks, damaged and exchanged files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny import tiny_backbone
from torch import nn

from ferbench.checkpoints import Checkpoints
from ferbench.errors import CheckpointError, CheckpointLost

NAME = "ab" * 32


def module(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return tiny_backbone().build(7, 12)


def files(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_what_is_saved_comes_back_and_the_hash_is_the_files(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert not checkpoints.holds(NAME)
    sha256 = checkpoints.save(NAME, module())
    assert checkpoints.holds(NAME) and files(checkpoints) == [f"{NAME}.safetensors"]
    assert hashlib.sha256(checkpoints.path(NAME).read_bytes()).hexdigest() == sha256
    state = checkpoints.load(NAME, sha256)
    expected = module().state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    # Equal weights are equal bytes, so that two trainings can be compared by hash.
    assert checkpoints.save(NAME, module()) == sha256 != checkpoints.save(NAME, module(1))


def test_the_file_is_plain_safetensors_that_names_its_stage(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(NAME, module())
    content = checkpoints.path(NAME).read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header.pop("__metadata__") == {"stage": NAME}
    assert header.keys() == module().state_dict().keys()


def test_tied_weights_and_strided_ones_are_kept(tmp_path: Path) -> None:
    tied = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    tied["b"].weight = tied["a"].weight
    tied["c"] = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(NAME, tied)
    state = checkpoints.load(NAME)
    assert torch.equal(state["a.weight"], state["b.weight"])
    assert torch.equal(state["c.weight"], tied["c"].weight)


def test_another_file_in_its_place_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    sha256 = checkpoints.save(NAME, module())
    checkpoints.save(NAME, module(1))
    assert checkpoints.load(NAME)["0.weight"].shape == (8, 3, 3, 3)
    with pytest.raises(CheckpointError, match=r"is not the file that was stored: run again with --force"):
        checkpoints.load(NAME, sha256)


def test_missing_and_damaged_files_are_one_line_with_advice(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match=r"cannot be read: No such file .* --force"):
        checkpoints.load(NAME)
    checkpoints.save(NAME, module())
    content = checkpoints.path(NAME).read_bytes()
    for damaged in (content[:-5], content[:20], b"", b"\x80\x04N."):
        checkpoints.path(NAME).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"is damaged: run again with --force"):
            checkpoints.load(NAME)
    checkpoints.remove(NAME)
    checkpoints.remove(NAME)
    assert not checkpoints.holds(NAME)


def test_a_full_disk_leaves_the_old_checkpoint_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    sha256 = checkpoints.save(NAME, module())

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"of 0 MB cannot be written to .*No space left.*FERBENCH_CACHE"):
        checkpoints.save(NAME, module(1))
    monkeypatch.undo()
    assert files(checkpoints) == [f"{NAME}.safetensors"]
    checkpoints.load(NAME, sha256)


def test_a_size_limit_of_the_system_is_told_in_one_line(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; from torch import nn\n"
        "from ferbench.checkpoints import Checkpoints; from ferbench.errors import CheckpointError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try: Checkpoints(Path(sys.argv[1])).save('cd', nn.Linear(100, 100))\n"
        "except CheckpointError as error: print(error.line)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot be written to" in done.stdout and "File too large" in done.stdout
    assert files(Checkpoints(tmp_path)) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(CheckpointError, match=r"checkpoint of 0 MB cannot be written to .*checkpoints: File exists"):
        Checkpoints(tmp_path).save(NAME, module())


WRITER = """
import sys
from pathlib import Path
import torch
from torch import nn
from ferbench.checkpoints import Checkpoints

checkpoints = Checkpoints(Path(sys.argv[1]))
module = nn.Linear(1500, 1500)
print("ready", flush=True)
number = 0
while True:
    number += 1
    with torch.no_grad():
        module.weight.fill_(number)
        module.bias.fill_(number)
    checkpoints.save("kill", module)
"""


def test_a_writer_that_is_killed_leaves_no_checkpoint_by_halves(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 30
        while not checkpoints.holds("kill") and time.monotonic() < deadline:
            time.sleep(0.005)
        # Readers beside the writer see one whole state or another.
        seen = set()
        for _ in range(10):
            state = checkpoints.load("kill")
            values = set(state["weight"].flatten().tolist()) | set(state["bias"].tolist())
            assert len(values) == 1
            seen |= values
            time.sleep(0.02)
        # Killed while a new file is there by halves, as far as one can look.
        while not list(checkpoints.folder.glob("new-*")) and time.monotonic() < deadline:
            pass
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
    assert len(seen) > 1
    state = checkpoints.load("kill")
    assert len(set(state["weight"].flatten().tolist()) | set(state["bias"].tolist())) == 1


def test_what_was_saved_a_moment_ago_is_not_read_again_unless_its_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, module = Checkpoints(tmp_path), nn.Linear(3, 4)
    sha256 = checkpoints.save("f", module)
    read: list[Path] = []
    plain = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self) or plain(self))
    assert torch.equal(checkpoints.load("f", sha256)["weight"], module.weight) and read == []
    with pytest.raises(CheckpointLost, match="is not the file that was stored"):
        checkpoints.load("f", "0" * 64)
    read.clear()
    content = bytearray(plain(checkpoints.path("f")))
    content[-1] ^= 1
    checkpoints.path("f").write_bytes(content)
    with pytest.raises(CheckpointLost, match="is not the file that was stored"):
        checkpoints.load("f", sha256)
    checkpoints.remove("f")
    with pytest.raises(CheckpointLost, match="cannot be read"):
        checkpoints.load("f", sha256)
