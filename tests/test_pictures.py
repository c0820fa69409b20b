"""Pictures gathered when they are asked for: against the pictures themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.data.pictures import Pictures


def split(shapes: list[tuple[int, int, int]], seed: int) -> tuple[list[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    images = [random.integers(0, 256, shape).astype(np.uint8) for shape in shapes]
    return images, (np.concatenate([image.reshape(-1) for image in images]), np.array(shapes, dtype=np.int64))


def shown(images: list[np.ndarray]) -> list[np.ndarray]:
    """As the docstring says: in a split whose pictures differ in channels alone, all have three."""
    if len({image.shape[:2] for image in images}) == 1 and len({image.shape for image in images}) > 1:
        return [np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image for image in images]
    return images


SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 3]))


@given(splits=st.lists(st.lists(SIZES, min_size=1, max_size=5), min_size=1, max_size=3), data=st.data())
@settings(max_examples=60, deadline=None)
def test_each_picture_is_the_one_that_was_asked_for(
    splits: list[list[tuple[int, int, int]]], data: st.DataObject
) -> None:
    made = [split(shapes, seed) for seed, shapes in enumerate(splits)]
    places = [(number, index) for number, shapes in enumerate(splits) for index in range(len(shapes))]
    asked = data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=8))
    expected = [shown(made[number][0])[index] for number, index in asked]
    images = Pictures(
        [stored for _, stored in made], np.array([n for n, _ in asked]), np.array([index for _, index in asked])
    )
    assert len(images) == len(asked) and images.shapes.tolist() == [list(image.shape) for image in expected]
    for found, picture in zip(images, expected, strict=True):
        np.testing.assert_array_equal(found, picture)
    assert images.uniform == (len({image.shape for image in expected}) == 1)
    assert [asked[place] for place in images.stored_order.tolist()] == sorted(asked)
    part = data.draw(st.slices(len(asked)))
    assert [image.tobytes() for image in images[part]] == [image.tobytes() for image in expected[part]]
    if images.uniform:
        np.testing.assert_array_equal(np.asarray(images), np.stack(expected))
        some = np.array(data.draw(st.lists(st.integers(0, len(asked) - 1), min_size=1, max_size=5)))
        np.testing.assert_array_equal(images.gathered(some), np.stack(expected)[some])
    else:
        with pytest.raises(ValueError, match="different shapes"):
            np.asarray(images)


def test_an_array_of_them_is_a_copy_of_the_wanted_kind() -> None:
    images, stored = split([(2, 2, 1)] * 3, 0)
    pictures = Pictures([stored], np.zeros(3, dtype=np.int64), np.array([2, 0, 1]))
    floats = np.asarray(pictures, dtype=np.float32)
    assert floats.dtype == np.float32 and floats[0].tolist() == images[2].tolist()
    whole = np.array(pictures)
    whole[:] = 0
    np.testing.assert_array_equal(pictures[0], images[2])
    with pytest.raises(ValueError, match="always a copy"):
        np.asarray(pictures, copy=False)
    with pytest.raises(IndexError):
        pictures[3]
