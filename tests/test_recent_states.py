"""States at hand: bounded by bytes, the least recently used go first."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.recent_states import RecentStates


def state(numbers: int) -> dict[str, torch.Tensor]:
    return {"w": torch.zeros(numbers)}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans(), st.integers(1, 5)), max_size=30))
def test_it_is_a_bounded_queue_by_last_use(steps: list[tuple[str, bool, int]]) -> None:
    recent, by_hand = RecentStates(40), list[tuple[str, int]]()
    for key, puts, numbers in steps:
        found = [entry for entry in by_hand if entry[0] == key]
        by_hand = [entry for entry in by_hand if entry[0] != key]
        if puts:
            recent.put(key, state(numbers))
            by_hand.append((key, numbers))
            while sum(4 * size for _, size in by_hand) > 40:
                by_hand.pop(0)
        else:
            got = recent.get(key)
            assert (got is not None) == bool(found)
            assert got is None or len(got["w"]) == found[0][1]
            by_hand += found


def test_one_that_is_too_large_is_not_kept_and_dropped_ones_are_gone() -> None:
    recent = RecentStates(40)
    recent.put("large", state(11))
    assert recent.get("large") is None
    recent.put("small", state(1))
    recent.drop("small")
    recent.drop("never there")
    assert recent.get("small") is None
