"""PHOG against scikit-image, LPQ against its definition in plain loops, and the backbone made of both."""

from __future__ import annotations

import cmath
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from skimage.feature import hog
from sklearn.svm import LinearSVC
from torch import Tensor

from ferbench.components import Backbone, WeightsFile
from ferbench.errors import RecipeError, WeightsError
from ferbench.testing import check_backbone
from ferbench_plugins import phog_lpq
from ferbench_plugins.phog_lpq.lpq import CODES, decorrelation, lpq, lpq_codes
from ferbench_plugins.phog_lpq.module import PhogLpq, eight_bit_luma
from ferbench_plugins.phog_lpq.phog import oriented_gradients, phog

Pixels = NDArray[np.uint8]


def backbone() -> Backbone:
    return phog_lpq.ferbench_register_backbones()[0]


def noise(side: int, count: int = 3, top: int = 256) -> Pixels:
    return np.random.default_rng(side).integers(0, top, (count, side, side), np.uint8)


def ramps(side: int) -> Pixels:
    """Pictures whose gradients lie on the bins' borders, at 0, 45, 90 and 135 degrees, and one without any."""
    y, x = np.mgrid[:side, :side]
    return np.stack([x, y, x + y, x - y + side, y - x + side, 0 * x + 7]).astype(np.uint8)


def planes(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32))


def colours(pixels: Pixels) -> Tensor:
    """float32 [n, 3, H, W] in 0..1 of grey pictures, as the core makes network input."""
    return (planes(pixels) / 255)[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


# --- PHOG -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pixels", [noise(32), noise(64), noise(64, top=4), ramps(64)], ids=["32", "64", "few", "ramps"]
)
@pytest.mark.parametrize("level", range(4))
def test_phog_is_that_of_scikit_image(pixels: Pixels, level: int) -> None:
    side, cells = pixels.shape[1], 2**level
    before = 8 * sum(4**lower for lower in range(level))
    ours = phog(planes(pixels))[:, before : before + 8 * cells * cells].numpy().reshape(-1, cells, cells, 8)
    for picture, descriptor in zip(pixels, ours, strict=True):
        sides = {"orientations": 8, "pixels_per_cell": (side // cells, side // cells), "block_norm": "L1"}
        # One block of all cells is the level with sum 1; blocks of one cell are each cell with sum 1.
        whole = hog(picture.astype(float), cells_per_block=(cells, cells), **sides).reshape(cells, cells, 8)
        np.testing.assert_allclose(descriptor, whole, atol=2e-5)
        single = hog(picture.astype(float), cells_per_block=(1, 1), **sides).reshape(cells, cells, 8)
        sums = descriptor.sum(axis=2, keepdims=True)
        np.testing.assert_allclose(descriptor / np.maximum(sums, 1e-12), single, atol=1e-4)


def test_orientation_bins_by_the_arc_tangent() -> None:
    pixels = np.concatenate([noise(40), noise(40, top=6), ramps(40)])
    magnitude, bins = oriented_gradients(planes(pixels))
    down, right = np.zeros(pixels.shape), np.zeros(pixels.shape)
    down[:, 1:-1] = pixels[:, 2:].astype(float) - pixels[:, :-2]
    right[:, :, 1:-1] = pixels[:, :, 2:].astype(float) - pixels[:, :, :-2]
    np.testing.assert_allclose(magnitude.numpy(), np.hypot(down, right), rtol=1e-6)
    expected = np.rad2deg(np.arctan2(down, right)) % 180 // 22.5
    there = magnitude.numpy() > 0
    np.testing.assert_array_equal(bins.numpy()[there], expected[there])


def test_levels_of_sides_that_eight_does_not_divide() -> None:
    # A side of 50 in 8 cells: borders at 0, 7, 13, 19, 25, 32, 38, 44, 50; one gradient falls into the fourth.
    pixels = np.zeros((1, 50, 50), np.uint8)
    pixels[0, :, 24:] = 100
    finest = phog(planes(pixels))[0, 168:].reshape(8, 8, 8)
    columns = finest.sum(dim=(0, 2))
    # Columns 23 and 24 see the step; both lie in 19..25.
    np.testing.assert_allclose(columns, [0, 0, 0, 1, 0, 0, 0, 0], atol=1e-6)
    halves = phog(planes(pixels))[0, 8:40].reshape(2, 2, 8)
    np.testing.assert_allclose(halves.sum(dim=(0, 2)), [1, 0], atol=1e-6)


# --- LPQ --------------------------------------------------------------------------------------------------------------


def defined_parts(picture: Pixels, row: int, column: int, window: int) -> list[float]:
    """Real and imaginary part of F(u, x) at a pixel, u in the paper's order, by its sums."""
    reach, a = window // 2, 1 / window
    parts = []
    for u, v in ((a, 0.0), (0.0, a), (a, a), (a, -a)):
        total = 0j
        for y, x in itertools.product(range(-reach, reach + 1), repeat=2):
            total += float(picture[row - y, column - x]) * cmath.exp(-2j * math.pi * (u * x + v * y))
        parts += [total.real, total.imag]
    return parts


def defined_covariance(window: int) -> NDArray[np.float64]:
    """D = M C M^T, an element at a time."""
    reach = window // 2
    places = list(itertools.product(range(-reach, reach + 1), repeat=2))
    rows = []
    for u, v in ((1, 0), (0, 1), (1, 1), (1, -1)):
        angles = [2 * math.pi * (u * x + v * y) / window for y, x in places]
        rows += [[math.cos(angle) for angle in angles], [-math.sin(angle) for angle in angles]]
    correlation = [[0.9 ** math.dist(one, other) for other in places] for one in places]
    matrix = np.array(rows)
    return matrix @ np.array(correlation) @ matrix.T


def defined_whitening(window: int) -> NDArray[np.float64]:
    """V as in the authors' lpq.m, by eigenvectors instead of singular vectors; a column a bit."""
    scale = np.diag([1.000007, 1.000006, 1.000005, 1.000004, 1.000003, 1.000002, 1.000001, 1.0])
    values, vectors = np.linalg.eigh(scale @ defined_covariance(window) @ scale)
    vectors = vectors[:, np.argsort(-values)]
    for bit in range(8):
        if vectors[np.abs(vectors[:, bit]).argmax(), bit] < 0:
            vectors[:, bit] *= -1
    return vectors


@pytest.mark.parametrize("window", [3, 7, 9])
def test_codes_by_the_definition(window: int) -> None:
    whitening = defined_whitening(window)
    smooth = np.cumsum(noise(17, count=1, top=9).astype(int), axis=2).astype(np.uint8)
    pixels = np.concatenate([noise(17, count=1), smooth])
    codes = lpq_codes(planes(pixels), window).numpy()
    assert codes.shape == (2, 18 - window, 18 - window)
    reach, compared = window // 2, 0
    for number, picture in enumerate(pixels):
        for row, column in itertools.product(range(18 - window), repeat=2):
            values = np.array(defined_parts(picture, row + reach, column + reach, window)) @ whitening
            for bit, value in enumerate(values):
                # In units of 0..1 a part below 1e-5 has no sign to speak of.
                if abs(value) >= 255 * 1e-5:
                    assert codes[number, row, column] >> bit & 1 == (value > 0), (number, row, column, bit, value)
                    compared += 1
    assert compared > 0.99 * 8 * codes.size


@pytest.mark.parametrize("window", [7, 9])
def test_decorrelation_decorrelates(window: int) -> None:
    rows = decorrelation(window)
    np.testing.assert_allclose(rows, defined_whitening(window).T, atol=1e-8)
    np.testing.assert_allclose(rows @ rows.T, np.eye(8), atol=1e-12)
    covariance = rows @ defined_covariance(window) @ rows.T
    # The authors' factors next to 1 leave a correlation of a few millionths.
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=2e-5 * covariance.max())


def test_histograms_count_the_codes_of_each_cell() -> None:
    pixels = noise(33, count=2)
    codes = lpq_codes(planes(pixels)).numpy()
    side = codes.shape[1]
    expected = np.zeros((2, 4, 4, CODES))
    for number, row, column in itertools.product(range(2), range(side), range(side)):
        expected[number, row * 4 // side, column * 4 // side, codes[number, row, column]] += 1
    expected /= expected.sum(axis=3, keepdims=True)
    np.testing.assert_allclose(lpq(planes(pixels)).numpy(), expected.reshape(2, -1), atol=1e-7)


def test_no_structure_is_code_0() -> None:
    for value in (0, 1, 77, 255):
        assert not lpq_codes(torch.full((1, 16, 16), float(value))).any()


# --- both ------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    pixels=arrays(np.uint8, (1, 32, 32), elements=st.integers(0, 200)),
    brighter=st.integers(1, 55),
)
def test_brightness_changes_nothing(pixels: Pixels, brighter: int) -> None:
    luma = planes(pixels)
    assert torch.equal(phog(luma), phog(luma + brighter))
    assert torch.equal(lpq(luma), lpq(luma + brighter))


@settings(max_examples=25, deadline=None)
@given(pixels=arrays(np.uint8, (1, 24, 40), elements=st.integers(0, 255)), shift=st.integers(1, 8))
def test_codes_and_gradients_move_with_the_picture(pixels: Pixels, shift: int) -> None:
    whole, moved = planes(pixels), planes(pixels[:, :, shift:])
    assert torch.equal(lpq_codes(moved), lpq_codes(whole)[:, :, shift:])
    for one, other in zip(oriented_gradients(moved), oriented_gradients(whole), strict=True):
        assert torch.equal(one[:, :, 1:-1], other[:, :, shift + 1 : -1])


@settings(max_examples=25, deadline=None)
@given(pixels=arrays(np.uint8, (2, 32, 32), elements=st.sampled_from([0, 3, 120, 255])))
def test_features_have_two_halves_of_length_one(pixels: Pixels) -> None:
    features = PhogLpq()(colours(pixels)).numpy()
    assert features.shape == (2, 680 + 4096)
    assert (features >= 0).all()
    # Without any gradient there is no PHOG; a histogram of codes there always is.
    down, right = pixels[:, 2:] != pixels[:, :-2], pixels[:, :, 2:] != pixels[:, :, :-2]
    steep = down.any(axis=(1, 2)) | right.any(axis=(1, 2))
    np.testing.assert_allclose(np.linalg.norm(features[:, :680], axis=1), steep, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features[:, 680:], axis=1), 1, atol=1e-5)


def test_a_picture_is_described_alike_in_any_batch() -> None:
    pixels = colours(noise(48, count=9))
    together = PhogLpq()(pixels)
    with torch.inference_mode():
        alone = torch.cat([PhogLpq()(pixels[place : place + 1]) for place in range(9)])
    assert torch.equal(together, alone)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(together, PhogLpq()(pixels))


def test_luma_is_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    luma = eight_bit_luma(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)[0].numpy()
    pillow = np.asarray(Image.fromarray(pixels).convert("L")).astype(float)
    # Pillow's weights are whole 65,536ths, so that a half may fall to the other side.
    assert np.abs(luma - pillow).max() <= 1
    assert (luma == pillow).mean() > 0.99
    grey = noise(32)
    assert torch.equal(eight_bit_luma(colours(grey)), planes(grey))


# --- the backbone -----------------------------------------------------------------------------------------------------


def test_backbone_conforms() -> None:
    check_backbone(backbone())


def test_only_the_head_has_weights() -> None:
    module = backbone().build(7, 64)
    assert list(module.state_dict()) == ["head.weight", "head.bias"]
    assert [name for name, _ in module.named_parameters()] == ["head.weight", "head.bias"]
    assert backbone().weightless


@pytest.mark.parametrize("size", [32, 50, 64, 143])
def test_it_takes_any_size_from_the_smallest(size: int) -> None:
    logits = backbone().build(5, size)(colours(noise(size, count=2)))
    assert logits.shape == (2, 5)
    assert bool(torch.isfinite(logits).all())


def test_smaller_pictures_are_refused() -> None:
    with pytest.raises(RecipeError, match="phog-lpq needs images of 32 pixels or more, image_size is 31"):
        backbone().build(7, 31)


def test_there_are_no_weights_to_load() -> None:
    assert backbone().resolve_weights("auto") is None
    assert backbone().resolve_weights("pretrained") is None
    with pytest.raises(WeightsError, match=r"phog-lpq has no weights, so some\.pt cannot be loaded"):
        backbone().load_weights(backbone().build(7, 64), WeightsFile(Path("some.pt"), "0" * 64, "test"))


def test_a_linear_head_tells_stripes_apart() -> None:
    """Upright, lying and slanted stripes of any width, place and strength, learnt from 20 each."""
    draw = np.random.default_rng(1)
    y, x = np.mgrid[:32, :32]
    labels = np.arange(180) % 3
    pictures = []
    for label in labels:
        along = (x, y, (x + y) / math.sqrt(2))[label]
        wave = np.sin(2 * math.pi * along / draw.uniform(5, 12) + draw.uniform(0, 7))
        pictures.append(128 + draw.uniform(20, 90) * wave + draw.normal(0, 6, x.shape))
    pixels = np.clip(pictures, 0, 255).astype(np.uint8)
    features = PhogLpq()(colours(pixels)).numpy()
    machine = LinearSVC().fit(features[:60], labels[:60])
    assert machine.score(features[60:], labels[60:]) == 1.0
