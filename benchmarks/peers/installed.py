"""Peers that packages bring which need not be there: whoever is absent is named, lest a best of few passes for more."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from peers.lightning_fit import lightning_loop
from peers.transformers_trainer import trainer_loop
from peers.work import Run

#: A peer's loop by its name, and the package without which it cannot run.
LOOPS: dict[str, tuple[Callable[..., Run], str]] = {
    "Trainer": (trainer_loop, "accelerate"),
    "Lightning": (lightning_loop, "lightning"),
}


def installed() -> dict[str, Callable[..., Run]]:
    """The loops that can run here."""
    return {name: loop for name, (loop, package) in LOOPS.items() if importlib.util.find_spec(package) is not None}


def absent_peers() -> str:
    """A sentence that names those that cannot, or nothing."""
    missing = {name: package for name, (_, package) in LOOPS.items() if name not in installed()}
    if not missing:
        return ""
    named = ", ".join(f"{name} (needs {package})" for name, package in missing.items())
    return f"Peers absent because they are not installed: {named}; `pip install ferbench[bench]` brings them."
