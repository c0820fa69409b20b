"""How many images go through a module at once where nothing is trained: as many as there is room for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ferbench.memory import is_out_of_memory, release_memory

#: Where memory allows it.
AT_ONCE = 256

T = TypeVar("T")


def as_many_as_fit(work: Callable[[int], T], device: str) -> T:
    """What some work gives that is told how many images to take at once.

    Where the device has no room for as many, it is done anew from its beginning with half of them; where there is none
    for a single one, that error is raised, as any other is.
    """
    at_once = AT_ONCE
    while True:
        try:
            return work(at_once)
        except Exception as error:
            if at_once == 1 or not is_out_of_memory(error):
                raise
        # Only here, where the exception no longer holds the tensors, can memory be given back.
        release_memory(device)
        at_once //= 2
