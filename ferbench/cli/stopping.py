"""What Ctrl-C and a batch system's SIGTERM mean: the first one asks training to stop, a second one ends it at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

#: Where nobody has looked for a stop for so long, nothing is trained that could be kept: it ends at once.
_UNHEARD_SECONDS = 60.0

_STOPPING = "stopping after this step, to keep what is trained; once more stops at once"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether the user has asked for an end, while this is entered.

    Parameters
    ----------
    tell : given one line when training is asked to stop
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._asked = self._untold = False
        self._looked = float("-inf")
        self._before: dict[signal.Signals, Any] = {}

    def asked(self) -> bool:
        """What the training loop looks at after every step."""
        self._looked = time.monotonic()
        if self._untold:
            self._untold = False
            self._tell(_STOPPING)
        return self._asked

    def __enter__(self) -> Self:
        # Only the main thread may: elsewhere Ctrl-C keeps its usual meaning.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked or time.monotonic() - self._looked > _UNHEARD_SECONDS:
            raise KeyboardInterrupt
        self._asked = True
        try:
            self._tell(_STOPPING)
        except RuntimeError:
            # The signal came while another line was being written: no stream takes two at once.
            self._untold = True
