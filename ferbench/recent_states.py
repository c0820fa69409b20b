"""States of modules that were at hand a moment ago and are likely to be asked for again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: The largest backbone here is half of it.
_BYTES = 2**30


class RecentStates:
    """The states that were used last, up to a number of bytes; nobody may write into them.

    limit_bytes : a state that is larger by itself is not kept
    """

    def __init__(self, limit_bytes: int = _BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._states: dict[Hashable, Mapping[str, Tensor]] = {}

    def get(self, key: Hashable) -> Mapping[str, Tensor] | None:
        """A state, or None where it is not kept any more."""
        state = self._states.pop(key, None)
        if state is not None:
            self._states[key] = state
        return state

    def put(self, key: Hashable, state: Mapping[str, Tensor]) -> None:
        """Keep a state, in place of those that were not used for longest."""
        self._states.pop(key, None)
        self._states[key] = state
        while self._states and sum(map(_bytes, self._states.values())) > self._limit_bytes:
            del self._states[next(iter(self._states))]

    def drop(self, key: Hashable) -> None:
        """Forget a state."""
        self._states.pop(key, None)


def _bytes(state: Mapping[str, Tensor]) -> int:
    return sum(value.nbytes for value in state.values())
