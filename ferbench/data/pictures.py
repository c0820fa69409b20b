"""Pictures of decoded splits, gathered from disk when they are asked for, so that a role may be larger than memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Pictures(Sequence["NDArray[np.uint8]"]):
    """Chosen pictures of some splits, in a given order.

    One of them is uint8 [H, W, C], read where it lies. All of them as one array, uint8 [n, H, W, C], are what
    `np.asarray` gives: a copy in memory, where they agree in shape.

    Parameters
    ----------
    splits : of each, all its pixels one picture after the other, uint8, and the shapes int64 [k, 3]
    split, index : int64 [n] both: the split that a picture is of, and its number there
    """

    def __init__(
        self,
        splits: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64]]],
        split: NDArray[np.int64],
        index: NDArray[np.int64],
    ) -> None:
        self._splits = splits
        self._split = split
        self._index = index
        self._shapes = np.empty((len(index), 3), dtype=np.int64)
        self._starts = np.empty(len(index), dtype=np.int64)
        for number, (_, shapes) in enumerate(splits):
            rows = split == number
            self._shapes[rows] = shown_shapes(shapes)[index[rows]]
            self._starts[rows] = (np.cumsum(shapes.prod(axis=1)) - shapes.prod(axis=1))[index[rows]]

    @property
    def shapes(self) -> NDArray[np.int64]:
        """int64 [n, 3]: height, width, channels; of a split whose pictures differ in channels alone, all have three."""
        return self._shapes

    @property
    def uniform(self) -> bool:
        """Whether all agree in shape."""
        return alike(self._shapes)

    @property
    def stored_order(self) -> NDArray[np.int64]:
        """int64 [n]: all indices, in the order in which the pictures lie on disk."""
        return np.lexsort((self._starts, self._split))

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, place: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, place: slice) -> Pictures: ...
    def __getitem__(self, place: int | slice) -> NDArray[np.uint8] | Pictures:
        if isinstance(place, slice):
            return Pictures(self._splits, self._split[place], self._index[place])
        pixels, shapes = self._splits[self._split[place]]
        shape, start = shapes[self._index[place]], self._starts[place]
        picture = np.asarray(pixels[start : start + shape.prod()]).reshape(shape)
        return np.broadcast_to(picture, tuple(self._shapes[place]))

    def gathered(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 [b, H, W, C], a copy of the pictures at those places; they agree in shape."""
        out = np.empty((len(places), *self._shapes[places[0]]) if len(places) else (0, 0, 0, 0), dtype=np.uint8)
        for number, (pixels, shapes) in enumerate(self._splits):
            rows = np.flatnonzero(self._split[places] == number)
            if len(rows) and alike(shapes):
                out[rows] = pixels.reshape(len(shapes), *shapes[0])[self._index[places[rows]]]
            else:
                for row in rows.tolist():
                    out[row] = self[int(places[row])]
        return out

    def __array__(self, dtype: np.dtype[np.generic] | None = None, copy: bool | None = None) -> NDArray[np.generic]:
        if not self.uniform:
            raise ValueError("pictures of different shapes are no array")
        if copy is False:
            raise ValueError("an array of them is always a copy")
        whole = self.gathered(np.arange(len(self)))
        return whole if dtype is None else whole.astype(dtype, copy=False)


def alike(shapes: NDArray[np.int64]) -> bool:
    """Whether there are any, and all are the same."""
    return len(shapes) > 0 and bool((shapes == shapes[0]).all())


def shown_shapes(shapes: NDArray[np.int64]) -> NDArray[np.int64]:
    """A split's shapes int64 [k, 3] as its pictures are shown: where only channels differ, grey has three as well."""
    if not alike(shapes) and alike(shapes[:, :2]):
        return np.concatenate([shapes[:, :2], np.full((len(shapes), 1), 3, dtype=np.int64)], axis=1)
    return shapes
