"""The next step's work, done on a thread while this step runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """A pure function of the step that works out step + 1 as soon as a step is asked for.

    A step that was not foreseen is worked out when it is asked for; the function never runs twice at once.
    """

    def __init__(self, function: Callable[[int], T]) -> None:
        self._function = function
        # An idle thread ends with the object or with the process, whichever is first.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._next: tuple[int, Future[T]] | None = None

    def __call__(self, step: int) -> T:
        """The function's value; raises what it raises."""
        foreseen, self._next = self._next, None
        if foreseen is not None and foreseen[0] == step:
            value = foreseen[1].result()
        else:
            if foreseen is not None:
                foreseen[1].exception()
            value = self._function(step)
        self._next = (step + 1, self._thread.submit(self._function, step + 1))
        return value
