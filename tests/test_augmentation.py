"""Random geometry and colour: ranges, coordinates, and what an affine map means, against torchvision's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from ferbench.data.augmentation import AUGMENTATIONS, Augmentation, draw
from ferbench.recipes import RECIPE_CHOICES

STANDARD = AUGMENTATIONS["standard"]


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
    first = draw(STANDARD, 8, seed=3, stage_index=1, step=7)
    torch.manual_seed(99)
    torch.rand(5)
    again = draw(STANDARD, 8, seed=3, stage_index=1, step=7)
    for name in ("affine", "brightness", "contrast"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    for other in ((4, 1, 7), (3, 0, 7), (3, 1, 8)):
        assert not torch.equal(first.affine, draw(STANDARD, 8, *other).affine)


def test_drawing_leaves_torchs_own_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draw(STANDARD, 8, seed=0, stage_index=0, step=0)
    assert torch.equal(torch.rand(3), expected)


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
    values = draw(STANDARD, 6, seed=0, stage_index=0, step=0)
    some = values.of(torch.tensor([4, 1]))
    assert torch.equal(some.affine, values.affine[[4, 1]]) and torch.equal(some.contrast, values.contrast[[4, 1]])
    assert torch.equal(some.brightness, values.brightness[[4, 1]])
