"""As many at once as memory allows."""

from __future__ import annotations

import pytest
import torch

from ferbench.portions import AT_ONCE, as_many_as_fit


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
@pytest.mark.parametrize(("room", "expected"), [(256, [256]), (255, [256, 128]), (1, [256 >> n for n in range(9)])])
def test_they_are_halved_until_they_fit(error: Exception, room: int, expected: list[int]) -> None:
    asked: list[int] = []

    def work(at_once: int) -> str:
        asked.append(at_once)
        if at_once > room:
            raise error
        return f"{at_once} at once"

    assert as_many_as_fit(work, "cpu") == f"{expected[-1]} at once"
    assert asked == expected and expected[0] == AT_ONCE


def test_where_there_is_no_room_for_one_that_is_the_error() -> None:
    asked: list[int] = []

    def work(at_once: int) -> None:
        asked.append(at_once)
        raise MemoryError("for none")

    with pytest.raises(MemoryError, match="for none"):
        as_many_as_fit(work, "cpu")
    assert asked[-1] == 1 and len(asked) == 9


def test_other_errors_are_not_tried_again() -> None:
    asked: list[int] = []

    def work(at_once: int) -> None:
        asked.append(at_once)
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        as_many_as_fit(work, "cpu")
    assert asked == [256]
