"""The order of samples: permutations, equal parts, and nothing but coordinates that decides."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.data.order import BatchOrder


def drawn(order: BatchOrder, steps: int) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    for step in range(steps):
        datasets, samples = order.batch(step)
        pairs.extend(zip(datasets.tolist(), samples.tolist(), strict=True))
    return pairs


@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=4), batch_size=st.integers(1, 40), seed=st.integers(0))
@settings(max_examples=60, deadline=None)
def test_each_pass_over_mixed_data_holds_every_sample_once(counts: list[int], batch_size: int, seed: int) -> None:
    total = sum(counts)
    everything = {(dataset, sample) for dataset, count in enumerate(counts) for sample in range(count)}
    pairs = drawn(BatchOrder(counts, "raw", batch_size, seed, 0), -(-3 * total // batch_size))
    for number in range(3):
        one_pass = pairs[number * total : (number + 1) * total]
        assert len(one_pass) == total and set(one_pass) == everything


@given(counts=st.lists(st.integers(1, 30), min_size=2, max_size=4), batch_size=st.integers(1, 40), seed=st.integers(0))
@settings(max_examples=60, deadline=None)
def test_balanced_gives_each_dataset_an_equal_part_and_its_own_permutations(
    counts: list[int], batch_size: int, seed: int
) -> None:
    pairs = drawn(BatchOrder(counts, "balanced", batch_size, seed, 1), 20)
    shares = Counter(dataset for dataset, _ in pairs)
    assert max(shares.values()) - min(shares[d] for d in range(len(counts))) <= 1
    for dataset, count in enumerate(counts):
        own = [sample for d, sample in pairs if d == dataset]
        for start in range(0, len(own) - count + 1, count):
            assert sorted(own[start : start + count]) == list(range(count))


def test_balanced_batches_are_as_even_as_they_can_be() -> None:
    order = BatchOrder([500, 20, 3], "balanced", 32, seed=5, stage_index=0)
    for step in range(12):
        shares = np.bincount(order.batch(step)[0], minlength=3)
        assert shares.sum() == 32 and set(shares.tolist()) == {10, 11}


def test_two_datasets_of_one_size_are_not_permuted_alike() -> None:
    pairs = drawn(BatchOrder([40, 40], "balanced", 80, seed=0, stage_index=0), 1)
    first, second = ([sample for d, sample in pairs if d == dataset] for dataset in (0, 1))
    assert sorted(first) == sorted(second) and first != second


@given(steps=st.permutations(range(12)), mixing=st.sampled_from(["raw", "balanced"]))
@settings(max_examples=30, deadline=None)
def test_a_step_is_the_same_in_whatever_order_steps_are_asked_for(steps: list[int], mixing: str) -> None:
    forward, shuffled = (BatchOrder([17, 5], mixing, 8, seed=3, stage_index=2) for _ in range(2))
    expected = [forward.batch(step) for step in range(12)]
    for step in steps:
        for mine, other in zip(shuffled.batch(step), expected[step], strict=True):
            np.testing.assert_array_equal(mine, other)


def test_another_process_draws_the_same() -> None:
    code = (
        "import json; from ferbench.data.order import BatchOrder\n"
        "print(json.dumps([BatchOrder([40, 9], 'raw', 16, 7, 1).batch(s)[1].tolist() for s in (5, 0, 9)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    order = BatchOrder([40, 9], "raw", 16, 7, 1)
    assert json.loads(done.stdout) == [order.batch(step)[1].tolist() for step in (5, 0, 9)]


def test_seed_and_stage_change_the_order_and_nothing_else_does() -> None:
    def first(seed: int, stage_index: int, batch_size: int = 50) -> list[tuple[int, int]]:
        return drawn(BatchOrder([30, 20], "raw", batch_size, seed, stage_index), 50 // batch_size)

    assert first(0, 0) != first(1, 0) and first(0, 0) != first(0, 1)
    # The batch size only cuts the same sequence elsewhere.
    assert first(0, 0) == first(0, 0, batch_size=10) == first(0, 0, batch_size=25)


def test_a_large_dataset_is_not_permuted_anew_for_each_pass_of_a_small_one(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    made: list[int] = []
    generator = np.random.default_rng

    class Counting:
        def __init__(self, seed: int) -> None:
            self._generator = generator(seed)

        def permutation(self, count: int) -> np.ndarray:
            made.append(count)
            return self._generator.permutation(count)

    monkeypatch.setattr(np.random, "default_rng", Counting)
    order = BatchOrder([1000, 4], "balanced", 8, seed=0, stage_index=0)
    for step in range(100):
        order.batch(step)
    assert Counter(made) == {1000: 1, 4: 100}
