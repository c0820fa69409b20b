"""Random geometry and colour: ranges, coordinates, and what an affine map means, against torchvision's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from ferbench.data.augmentation import AUGMENTATIONS, ERASED_AREA, ERASED_ASPECT, Augmentation, draw
from ferbench.recipes import FINITE_VIEWS, RECIPE_CHOICES

STANDARD = AUGMENTATIONS["standard"]
STRONG = AUGMENTATIONS["strong"]

#: Of three samples with seed 3, stage 1, step 7; `flip` of eight.
WRITTEN_DOWN: dict[str, list] = {  # type: ignore[type-arg]
    "affine": [
        [[-0.9394119, -0.0950593, -0.095732], [-0.0950593, 0.9394119, -0.1502786]],
        [[0.9035193, 0.1046839, 0.0363445], [-0.1046839, 0.9035193, -0.1552592]],
        [[-0.9332695, 0.1297877, 0.0725727], [0.1297877, 0.9332695, 0.1117375]],
    ],
    "brightness": [0.8122609, 1.1993605, 0.9278942],
    "contrast": [0.8108267, 0.8668797, 1.1002527],
    "flip": [1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, 1.0],
}


def parts(affine: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mirror (-1 or 1), angle in degrees and zoom of maps float32 [n, 2, 3], by hand."""
    linear = affine[:, :, :2].double()
    determinant = torch.linalg.det(linear)
    zoom = 1 / determinant.abs().sqrt()
    angle = torch.rad2deg(torch.atan2(-linear[:, 0, 1], linear[:, 1, 1]))
    return determinant.sign(), angle, zoom


def test_every_word_of_the_recipe_has_an_augmentation() -> None:
    assert set(AUGMENTATIONS) == set(RECIPE_CHOICES["augment"])


@given(
    augmentation=st.builds(
        Augmentation,
        rotation=st.floats(0, 45),
        scale=st.floats(0, 0.5),
        shift=st.floats(0, 0.3),
        flip=st.sampled_from([0.0, 0.5, 1.0]),
        brightness=st.floats(0, 0.5),
        contrast=st.floats(0, 0.5),
    ),
    step=st.integers(0, 1000),
)
@settings(max_examples=50, deadline=None)
def test_draws_stay_within_their_half_widths(augmentation: Augmentation, step: int) -> None:
    values = draw(augmentation, 64, seed=1, stage_index=0, step=step)
    mirror, angle, zoom = parts(values.affine)
    assert (angle.abs() <= augmentation.rotation + 1e-3).all()
    assert ((zoom - 1).abs() <= augmentation.scale + 1e-5).all()
    assert (values.affine[:, :, 2].abs() <= 2 * augmentation.shift + 1e-6).all()
    assert ((values.brightness - 1).abs() <= augmentation.brightness + 1e-6).all()
    assert ((values.contrast - 1).abs() <= augmentation.contrast + 1e-6).all()
    if augmentation.flip != 0.5:
        assert (mirror == (-1.0 if augmentation.flip else 1.0)).all()


def test_draws_are_spread_evenly_over_their_ranges() -> None:
    values = draw(STANDARD, 20_000, seed=0, stage_index=0, step=0)
    mirror, angle, zoom = parts(values.affine)
    assert (mirror < 0).double().mean().item() == pytest.approx(0.5, abs=0.02)
    shifts = values.affine[:, :, 2].double() / 2
    for found, half in ((angle, 10.0), (zoom - 1, 0.1), (shifts[:, 0], 0.08), (shifts[:, 1], 0.08)):
        # Of a uniform distribution: mean 0, standard deviation half width / sqrt(3).
        assert found.mean().item() == pytest.approx(0, abs=0.02 * half)
        assert found.std().item() == pytest.approx(half / math.sqrt(3), rel=0.02)
    assert values.brightness.double().std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.02)
    # Different uses of randomness do not move together.
    together = torch.stack([angle, zoom, shifts[:, 0], shifts[:, 1], values.brightness.flatten().double(), mirror])
    assert (torch.corrcoef(together) - torch.eye(6)).abs().max() < 0.03


def test_a_draw_depends_on_its_coordinates_alone() -> None:
    first = draw(STRONG, 8, seed=3, stage_index=1, step=7)
    torch.manual_seed(99)
    torch.rand(5)
    again = draw(STRONG, 8, seed=3, stage_index=1, step=7)
    for name in ("affine", "brightness", "contrast", "erased"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert first.erased is not None
    for other in ((4, 1, 7), (3, 0, 7), (3, 1, 8)):
        values = draw(STRONG, 8, *other)
        assert not torch.equal(first.affine, values.affine)
        assert values.erased is not None and not torch.equal(first.erased, values.erased)


def test_drawing_leaves_torchs_own_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draw(STRONG, 8, seed=0, stage_index=0, step=0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("word", AUGMENTATIONS)
def test_views_that_can_be_counted_are_as_many_as_recipes_say(word: str) -> None:
    augmentation = AUGMENTATIONS[word]
    values = [draw(augmentation, 64, seed=0, stage_index=0, step=step) for step in range(4)]
    shown = {
        (*map_.flatten().tolist(), bright, contrast, *(() if each.erased is None else each.erased[row].tolist()))
        for each in values
        for row, (map_, bright, contrast) in enumerate(
            zip(each.affine, each.brightness.flatten().tolist(), each.contrast.flatten().tolist(), strict=True)
        )
    }
    # Of what cannot be counted no sample looks like another.
    assert len(shown) == FINITE_VIEWS.get(word, 4 * 64)


def test_words_of_before_are_drawn_as_they_were() -> None:
    # Rows that lie in stores were trained with these: written down before `strong` came, to be never changed.
    values = draw(STANDARD, 3, seed=3, stage_index=1, step=7)
    assert values.erased is None
    expected = torch.tensor(WRITTEN_DOWN["affine"])
    torch.testing.assert_close(values.affine, expected, atol=1e-6, rtol=0)
    for name in ("brightness", "contrast"):
        torch.testing.assert_close(getattr(values, name).flatten(), torch.tensor(WRITTEN_DOWN[name]), atol=1e-6, rtol=0)
    flipped = draw(AUGMENTATIONS["flip"], 8, seed=3, stage_index=1, step=7).affine[:, 0, 0]
    assert flipped.tolist() == WRITTEN_DOWN["flip"]


# --- crops and erasing ------------------------------------------------------------------------------------------------


def test_strong_is_standard_with_a_crop() -> None:
    strong, standard = (draw(each, 500, seed=2, stage_index=0, step=5) for each in (STRONG, STANDARD))
    assert torch.equal(strong.brightness, standard.brightness) and torch.equal(strong.contrast, standard.contrast)
    # A crop of a picture is one within it: what the standard map makes of a smaller square.
    side = (torch.linalg.det(strong.affine[:, :, :2]) / torch.linalg.det(standard.affine[:, :, :2])).sqrt()
    linear = standard.affine[:, :, :2] * side[:, None, None]
    torch.testing.assert_close(strong.affine[:, :, :2], linear, atol=1e-5, rtol=0)
    between = torch.linalg.solve(standard.affine[:, :, :2], strong.affine[:, :, 2:] - standard.affine[:, :, 2:])
    assert (between.flatten(1).abs() <= (1 - side)[:, None] + 1e-5).all()
    area = side.double() ** 2
    assert area.min() >= 0.6 - 1e-5 and area.max() <= 1 + 1e-5
    # Uniform: quartiles where they should be.
    quartiles = torch.quantile(area, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    assert quartiles.tolist() == pytest.approx([0.7, 0.8, 0.9], abs=0.02)
    where = between.flatten(1) / (1 - side)[:, None]
    assert where.mean(dim=0).abs().max() < 0.1 and (where.std(dim=0) - 3**-0.5).abs().max() < 0.05


@given(step=st.integers(0, 1000), erase=st.sampled_from([0.3, 1.0]))
@settings(max_examples=30, deadline=None)
def test_erased_rectangles_lie_within_the_picture_and_within_their_bounds(step: int, erase: float) -> None:
    erased = draw(Augmentation(erase=erase), 256, seed=1, stage_index=0, step=step).erased
    assert erased is not None and erased.shape == (256, 4) and erased.dtype == torch.float32
    boxes = erased[erased.any(dim=1)].double()
    assert len(boxes) == 256 if erase == 1.0 else 0.15 < len(boxes) / 256 < 0.45
    top, left, bottom, right = boxes.unbind(1)
    assert min(top.min(), left.min()) >= 0 and max(bottom.max(), right.max()) <= 1 + 1e-6
    height, width = bottom - top, right - left
    area, aspect = height * width, height / width
    assert ERASED_AREA[0] - 1e-5 <= area.min() and area.max() <= ERASED_AREA[1] + 1e-5
    assert ERASED_ASPECT[0] - 1e-3 <= aspect.min() and aspect.max() <= ERASED_ASPECT[1] + 1e-2


def test_erased_areas_are_uniform_and_aspects_favour_neither_side() -> None:
    erased = draw(Augmentation(erase=1.0), 20_000, seed=0, stage_index=0, step=0).erased
    assert erased is not None
    top, left, bottom, right = erased.double().unbind(1)
    height, width = bottom - top, right - left
    area, aspect = height * width, torch.log(height / width)
    low, high = ERASED_AREA
    assert area.mean().item() == pytest.approx((low + high) / 2, rel=0.02)
    assert area.std().item() == pytest.approx((high - low) / 12**0.5, rel=0.02)
    small = aspect[area < ERASED_ASPECT[0]]
    assert small.mean().abs() < 0.02 and small.std().item() == pytest.approx(2 * math.log(1 / 0.3) / 12**0.5, rel=0.02)
    assert (top / (1 - height)).mean().item() == pytest.approx(0.5, abs=0.01)
    # Independent of where the picture is moved to.
    moved = draw(Augmentation(erase=1.0, shift=0.1), 20_000, seed=0, stage_index=0, step=0).affine[:, 0, 2].double()
    assert torch.corrcoef(torch.stack([top, left, area, moved]))[:3, 3].abs().max() < 0.03


def test_none_is_the_identity() -> None:
    values = draw(AUGMENTATIONS["none"], 4, seed=0, stage_index=0, step=0)
    assert torch.equal(values.affine, torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(4, 2, 3))
    assert torch.equal(values.brightness, torch.ones(4, 1, 1, 1)) and torch.equal(values.contrast, values.brightness)


def sampled(image: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    grid = functional.affine_grid(affine, list(image.shape), align_corners=False)
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


@pytest.mark.parametrize("step", range(6))
def test_an_affine_map_moves_a_picture_as_scipy_does(step: int) -> None:
    from scipy.ndimage import affine_transform

    size, centre = 40, 19.5
    image = np.random.default_rng(step).random((size, size))
    affine = draw(STANDARD, 1, seed=0, stage_index=0, step=step).affine
    # scipy counts rows before columns, in pixels from the first one's centre.
    matrix = affine[0, :, :2].double().numpy()[::-1, ::-1]
    shift = affine[0, :, 2].double().numpy()[::-1] * size / 2
    offset = centre + shift - matrix @ np.full(2, centre)
    expected = affine_transform(image, matrix, offset, order=1, mode="nearest")
    found = sampled(torch.from_numpy(image).float()[None, None], affine)
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-4)


def test_turning_and_zooming_are_torchvisions_to_the_degree() -> None:
    from torchvision.transforms.functional import InterpolationMode, affine

    torch.manual_seed(0)
    image = functional.interpolate(torch.rand(1, 1, 8, 8), size=(64, 64), mode="bicubic")
    values = draw(Augmentation(rotation=30.0, scale=0.2), 8, seed=0, stage_index=0, step=0)
    _, angles, zooms = parts(values.affine)
    assert angles.abs().max() > 15
    for map_, angle, zoom in zip(values.affine, angles.tolist(), zooms.tolist(), strict=True):
        # torchvision turns the other way round, and fills with black what we fill with the border.
        expected = affine(image, -angle, [0, 0], zoom, [0.0], InterpolationMode.BILINEAR)
        inner = (..., slice(16, 48), slice(16, 48))
        torch.testing.assert_close(sampled(image, map_[None])[inner], expected[inner], atol=1e-3, rtol=0)


def test_samples_of_a_batch_are_taken_by_index() -> None:
    values = draw(STRONG, 6, seed=0, stage_index=0, step=0)
    some = values.of(torch.tensor([4, 1]))
    assert torch.equal(some.affine, values.affine[[4, 1]]) and torch.equal(some.contrast, values.contrast[[4, 1]])
    assert torch.equal(some.brightness, values.brightness[[4, 1]])
    assert values.erased is not None and some.erased is not None and torch.equal(some.erased, values.erased[[4, 1]])
