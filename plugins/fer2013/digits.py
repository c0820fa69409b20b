"""Text of numbers from 0 to 255, many rows at once, to uint8: three times as fast as `numpy.fromstring`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

#: Two places as one number, the first of them in the low byte.
_TWO = np.dtype("<u2")

#: Bytes at whose multiples the processor reads and writes fastest.
_ALIGNED = 64


class PlainNumbers:
    """Parses rows that are spelled plainly: `per_row` numbers of one to three digits, parted by single spaces.

    It keeps its work space from call to call: fresh memory for every block would cost as much as the sums.
    """

    def __init__(self, per_row: int) -> None:
        self._per_row = per_row
        self._space = np.empty((5, 0), np.uint8)

    def parse(self, texts: Sequence[bytes], out: NDArray[np.uint8]) -> bool:
        """Numbers of n texts without blanks around them into uint8 [n, per_row]; False where one is anything else.

        For each place of the text the number that would end there is made from it and the two places before it, all
        within uint8; those right before a space are the real ones.
        """
        past_rows = list(accumulate(len(text) + 1 for text in texts))
        lead = 3 - past_rows[-1] % 2  # blanks before the first number, so that the places can be halved below
        places = np.frombuffer(b" ".join([b" " * (lead - 1), *texts, b""]), np.uint8)
        size, count = len(places), len(texts) * self._per_row
        if size + _ALIGNED > self._space.shape[1]:
            self._space = _aligned(5, size + _ALIGNED)
        is_space = self._space[0, _ALIGNED - 3 : _ALIGNED - 3 + size].view(np.bool_)
        digit = self._space[1, :size]
        three, low, high = self._space[2:, : size - 2]  # for the numbers that end at the third place and after it
        flags = high.view(np.bool_)  # until the hundreds need the room

        np.equal(places, ord(" "), out=is_space)
        is_digit = np.greater_equal(places, ord("0"), out=digit.view(np.bool_))
        third_in_a_row = np.logical_and(is_digit[:-2], is_digit[1:-1], out=three.view(np.bool_))
        third_in_a_row &= is_digit[2:]
        if (
            places.max() > ord("9")
            or np.count_nonzero(is_digit) != size - lead - count  # as many others as there must be spaces
            or np.logical_and(is_space[lead:], is_space[lead - 1 : -1], out=flags[: size - lead]).any()
            or np.logical_and(third_in_a_row[1:], third_in_a_row[:-1], out=flags[:-1]).any()
        ):
            return False

        digits = np.bitwise_and(places, 15, out=digit)  # a space has none of these bits and counts as 0
        hundreds = np.multiply(digits[:-2], three, out=high)
        below_hundred = np.multiply(digits[1:-1], 10, out=low)
        below_hundred += digits[2:]
        beyond = hundreds.max() > 2
        hundreds *= 100
        numbers = np.add(hundreds, below_hundred, out=hundreds)
        if beyond or np.less(numbers, below_hundred, out=three.view(np.bool_)).any():  # it has wrapped round
            return False

        # To pick costs most. No two numbers end at neighbouring places, so that halves of the places are enough.
        before_space = is_space[3:].view(_TWO)
        (ends,) = np.not_equal(before_space, 0, out=three[: len(before_space)].view(np.bool_)).nonzero()
        row_ends = [(lead + past - 4) // 2 for past in past_rows]
        if len(ends) != count or ends[self._per_row - 1 :: self._per_row].tolist() != row_ends:
            return False
        before_space >>= 5  # 8 where the number ends at the second of two places, else 0
        twos = numbers[:-1].view(_TWO)
        twos >>= before_space
        twos.astype(np.uint8).take(ends, mode="clip", out=out.reshape(-1))
        return True


def _aligned(rows: int, width: int) -> NDArray[np.uint8]:
    """Rows that start at multiples of 64 bytes, each at least `width` long."""
    width += -width % _ALIGNED
    room = np.empty(rows * width + _ALIGNED, np.uint8)
    start = -room.ctypes.data % _ALIGNED
    return room[start : start + rows * width].reshape(rows, width)
