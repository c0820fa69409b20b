"""Modules without the random numbers that a state is put over at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def uninitialised() -> Iterator[None]:
    """Within it, torch's initialisers leave memory as they find it.

    Drawing a large backbone's weights takes as long as some training steps. Only for modules whose whole state is
    loaded next: what is drawn in other ways is drawn as ever.
    """
    from torch.nn import init

    def leave(tensor: object, *given: object, **named: object) -> object:
        return tensor

    names = [name for name in vars(init) if name.endswith("_") and not name.startswith("_")]
    usual = {name: getattr(init, name) for name in names}
    for name in names:
        setattr(init, name, leave)
    try:
        yield
    finally:
        for name, function in usual.items():
            setattr(init, name, function)
