"""The next step's work on a thread: which steps are worked out, where, and what becomes of errors."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.data.ahead import Ahead


@given(steps=st.lists(st.integers(0, 6), max_size=20))
@settings(max_examples=25, deadline=None)
def test_values_are_the_functions_whatever_is_asked_for(steps: list[int]) -> None:
    ahead = Ahead(lambda step: step * step)
    assert [ahead(step) for step in steps] == [step * step for step in steps]


def test_the_next_step_is_done_elsewhere_before_it_is_asked_for() -> None:
    done: dict[int, str] = {}
    second = threading.Event()

    def function(step: int) -> int:
        done[step] = threading.current_thread().name
        if step == 1:
            second.set()
        return step

    ahead = Ahead(function)
    assert ahead(0) == 0
    assert second.wait(10)
    assert ahead(1) == 1
    assert done[0] == threading.main_thread().name and done[1].startswith("ahead")


def test_the_function_never_runs_twice_at_once() -> None:
    inside, most = 0, 0

    def function(step: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.002)
        inside -= 1
        return step

    ahead = Ahead(function)
    for step in (0, 1, 5, 6, 2, 9, 10):
        assert ahead(step) == step
    assert most == 1


def test_an_error_comes_up_where_its_step_is_asked_for_and_nowhere_else() -> None:
    def function(step: int) -> int:
        if step == 1:
            raise OSError("the disk is gone")
        return step

    ahead = Ahead(function)
    assert ahead(0) == 0
    assert ahead(7) == 7
    assert ahead(0) == 0
    with pytest.raises(OSError, match="the disk is gone"):
        ahead(1)
    assert ahead(2) == 2


def test_the_thread_ends_with_the_object() -> None:
    before = set(threading.enumerate())
    ahead = Ahead(lambda step: step)
    ahead(0)
    (thread,) = set(threading.enumerate()) - before
    del ahead
    thread.join(10)
    assert not thread.is_alive()
