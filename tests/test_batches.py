"""Network input: against Pillow, torchvision and one picture at a time by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from ferbench.data import augmentation as augmentation_module
from ferbench.data import batches as batches_module
from ferbench.data.augmentation import AUGMENTATIONS, Augmentation
from ferbench.data.batches import Normalisation, TrainingBatches, evaluation_batches
from ferbench.data.order import BatchOrder
from ferbench.data.placement import DeviceImages, place

PLAIN = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def noise(count: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels)).astype(np.uint8)


def smooth(count: int, size: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    coarse = torch.from_numpy(noise(count, 6, 6, channels, seed)).permute(0, 3, 1, 2).float()
    fine = functional.interpolate(coarse, size=(size, size), mode="bilinear").round().to(torch.uint8)
    return fine.permute(0, 2, 3, 1).numpy()


def batches(
    parts: Sequence[np.ndarray | list[np.ndarray]],
    size: int,
    augment: str,
    *,
    batch_size: int = 8,
    normalisation: Normalisation = PLAIN,
    mixing: str = "raw",
) -> TrainingBatches:
    """Labels count through all parts, so that a batch's labels tell which pictures it should hold."""
    placed = [place(images, size, "cpu") for images in parts]
    starts = np.cumsum([0, *(images.count for images in placed)])
    labelled = [
        (images, torch.arange(start, start + images.count)) for images, start in zip(placed, starts, strict=False)
    ]
    order = BatchOrder([images.count for images in placed], mixing, batch_size, seed=0, stage_index=0)
    return TrainingBatches(labelled, normalisation, size, augment, order, seed=0, stage_index=0, device="cpu")


@pytest.fixture
def augment(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    def with_(**values: float) -> str:
        monkeypatch.setitem(AUGMENTATIONS, "probe", Augmentation(**values))
        return "probe"

    return with_


# --- placing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width", "size"), [(64, 64, 20), (143, 181, 64), (30, 90, 48)])
def test_larger_pictures_are_reduced_as_pillow_does(height: int, width: int, size: int, channels: int) -> None:
    images = noise(5, height, width, channels)
    placed = place(images, size, "cpu").images
    assert placed.shape == (5, channels, size, size) and placed.dtype == torch.uint8
    for row, image in zip(placed, images, strict=True):
        plain = image[:, :, 0] if channels == 1 else image
        expected = np.asarray(Image.fromarray(plain).resize((size, size), Image.Resampling.BILINEAR))
        found = row.permute(1, 2, 0).numpy().reshape(expected.shape)
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_smaller_pictures_stay_as_they_are() -> None:
    images = noise(3, 12, 10, 1)
    np.testing.assert_array_equal(place(images, 24, "cpu").images.permute(0, 2, 3, 1).numpy(), images)


def test_pictures_of_many_sizes_become_one_size_and_keep_their_order() -> None:
    images = [np.full((side, side + 3, 1), 10 * side, np.uint8) for side in (5, 9, 20, 7)]
    placed = place(images, 12, "cpu").images
    assert placed.shape == (4, 1, 12, 12)
    assert placed[:, 0, 3, 3].tolist() == [50, 90, 200, 70]


def test_blocks_of_reducing_do_not_show() -> None:
    images = noise(600, 16, 16, 1)
    whole = place(images, 8, "cpu").images
    for index in (0, 255, 256, 511, 512, 599):
        assert torch.equal(whole[index], place(images[index : index + 1], 8, "cpu").images[0])


def test_grey_is_pillows_luma() -> None:
    images = noise(4, 16, 16, 3)
    placed = place(images, 16, "cpu", grey=True).images
    assert placed.shape == (4, 1, 16, 16)
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    assert np.abs(placed[:, 0].numpy().astype(int) - expected.astype(int)).max() <= 1
    grey = noise(2, 16, 16, 1)
    assert torch.equal(place(grey, 16, "cpu", grey=True).images, place(grey, 16, "cpu").images)


def test_what_is_in_colour_is_told_by_the_pixels() -> None:
    grey = np.repeat(noise(1, 8, 8, 1), 3, axis=3)[0]
    colour = noise(1, 8, 8, 3)[0]
    mixed = place([grey, colour, grey[:, :, :1]], 8, "cpu")
    coloured = mixed.coloured(torch.tensor([1, 0, 2, 1]))
    assert coloured is not None and coloured.shape == (4, 1, 1, 1)
    assert coloured.flatten().tolist() == [True, False, False, True]
    assert place(colour[None], 8, "cpu").coloured(torch.tensor([0])) is None
    assert place(grey[None, :, :, :1], 8, "cpu").coloured(torch.tensor([0])) is None


# --- training batches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [9, 24])
def test_without_augmentation_each_picture_is_enlarged_and_normalised_by_itself(source: int) -> None:
    images = noise(11, source, source, 3)
    made = batches([images], 24, "none", normalisation=IMAGENET)
    for step in range(3):
        pixels, labels = made.batch(step)
        assert pixels.shape == (8, 3, 24, 24) and pixels.dtype == torch.float32 and labels.dtype == torch.int64
        assert pixels.is_contiguous(memory_format=torch.channels_last)
        for row, label in zip(pixels, labels.tolist(), strict=True):
            image = torch.from_numpy(images[label]).permute(2, 0, 1)[None].float() / 255
            enlarged = functional.interpolate(image, size=(24, 24), mode="bilinear", align_corners=False)[0]
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET.mean, IMAGENET.std))
            torch.testing.assert_close(row, (enlarged - mean) / std, atol=1e-5, rtol=1e-5)


def test_an_augmentation_that_moves_nothing_equals_none(augment) -> None:  # type: ignore[no-untyped-def]
    images = noise(8, 10, 10, 3)
    # A flip that is never drawn keeps the sampling but moves nothing.
    moved, _ = batches([images], 24, augment(flip=1e-9)).batch(0)
    still, _ = batches([images], 24, "none").batch(0)
    torch.testing.assert_close(moved, still, atol=1e-4, rtol=0)


def test_a_flip_is_a_mirrored_picture(augment) -> None:  # type: ignore[no-untyped-def]
    images = noise(8, 16, 16, 1)
    flipped, labels = batches([images], 16, augment(flip=1.0)).batch(0)
    still, same = batches([images], 16, "none").batch(0)
    assert torch.equal(labels, same)
    torch.testing.assert_close(flipped, still.flip(3), atol=1e-4, rtol=0)


def test_rotation_and_enlargement_in_one_step_come_close_to_torchvisions_two(augment) -> None:  # type: ignore[no-untyped-def]
    from torchvision.transforms.functional import InterpolationMode, affine

    images = smooth(8, 32)
    name = augment(rotation=15.0)
    pixels, labels = batches([images], 64, name).batch(0)
    map_ = augmentation_module.draw(AUGMENTATIONS[name], 8, 0, 0, 0).affine
    angles = torch.rad2deg(torch.atan2(map_[:, 0, 1], map_[:, 0, 0])).tolist()
    for row, label, angle in zip(pixels, labels.tolist(), angles, strict=True):
        image = torch.from_numpy(images[label]).permute(2, 0, 1)[None].float() / 255
        large = functional.interpolate(image, size=(64, 64), mode="bilinear", align_corners=False)
        expected = affine(large, angle, [0, 0], 1.0, [0.0], InterpolationMode.BILINEAR)[0]
        inner = (slice(None), slice(14, 50), slice(14, 50))
        torch.testing.assert_close(row[inner], expected.expand(3, -1, -1)[inner], atol=0.04, rtol=0)
        assert (row[inner] - expected[inner]).abs().mean() < 0.005


def test_brightness_and_contrast_are_those_of_the_draw(augment) -> None:  # type: ignore[no-untyped-def]
    # Far from black and white, so that nothing is cut off.
    images = (noise(8, 12, 12, 3) // 4 + 96).astype(np.uint8)
    name = augment(brightness=0.1, contrast=0.3)
    pixels, labels = batches([images], 12, name).batch(0)
    values = augmentation_module.draw(AUGMENTATIONS[name], 8, 0, 0, 0)
    for place_, (row, label) in enumerate(zip(pixels.double(), labels.tolist(), strict=True)):
        original = torch.from_numpy(images[label]).permute(2, 0, 1).double() / 255
        assert row.mean().item() == pytest.approx(original.mean().item() * values.brightness[place_].item(), rel=1e-5)
        assert row.std().item() == pytest.approx(original.std().item() * values.contrast[place_].item(), rel=1e-4)
    bright, _ = batches([np.full((8, 4, 4, 3), 255, np.uint8)], 4, name).batch(0)
    assert bright.max() <= 1.0


@pytest.mark.parametrize("mixing", ["raw", "balanced"])
def test_mixed_data_is_put_together_in_drawn_order(mixing: str) -> None:
    grey, colour, large = noise(9, 10, 10, 1, 1), noise(5, 16, 16, 3, 2), noise(6, 40, 30, 3, 3)
    made = batches([grey, colour, large], 16, "none", mixing=mixing)
    alone = [next(evaluation_batches(place(images, 16, "cpu"), PLAIN, 16, "cpu")) for images in (grey, colour, large)]
    everything = torch.cat(alone)
    for step in range(4):
        pixels, labels = made.batch(step)
        torch.testing.assert_close(pixels, everything[labels], atol=0, rtol=0)


def test_colour_augmentation_never_touches_grey_samples(augment) -> None:  # type: ignore[no-untyped-def]
    name = augment(brightness=0.5, contrast=0.5)
    grey, colour = noise(16, 12, 12, 1, 1), noise(16, 12, 12, 3, 2)
    # Grey as a dataset of its own, and grey pictures stored with three channels among coloured ones.
    spread = np.repeat(grey[:4], 3, axis=3)
    made = batches([grey, np.concatenate([colour[:12], spread])], 12, name, batch_size=32)
    plain = batches([grey, np.concatenate([colour[:12], spread])], 12, "none", batch_size=32)
    pixels, labels = made.batch(0)
    untouched, same = plain.batch(0)
    assert torch.equal(labels, same) and sorted(labels.tolist()) == list(range(32))
    for row, other, label in zip(pixels, untouched, labels.tolist(), strict=True):
        assert torch.allclose(row, other, atol=1e-4) == (not 16 <= label < 28)


def test_a_sample_is_augmented_alike_whether_its_batch_is_mixed_or_not() -> None:
    # One dataset cut in two: the same concatenation, hence the same order and the same draws.
    images = noise(20, 12, 12, 3)
    whole, _ = batches([images], 16, "standard").batch(3)
    parted, _ = batches([images[:7], images[7:]], 16, "standard").batch(3)
    torch.testing.assert_close(whole, parted, atol=1e-5, rtol=0)


@given(step=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_a_batch_is_a_pure_function_of_the_step(step: int) -> None:
    images = noise(13, 8, 8, 3)
    one, other = batches([images], 12, "standard"), batches([images], 12, "standard")
    for earlier in range(0, step, 7):
        one.batch(earlier)
    for mine, same in zip(one.batch(step), other.batch(step), strict=True):
        assert torch.equal(mine, same)


@pytest.mark.parametrize("size", [31, 48, 64, 112])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("word", ["none", "flip", "standard"])
def test_batches_are_those_of_torchs_functions_one_after_the_other_bit_for_bit(
    size: int, channels: int, word: str
) -> None:
    images = noise(40, 48, 40, channels)
    placed = place(images, size, "cpu")
    pixels, labels = batches([images], size, word, batch_size=32, normalisation=IMAGENET).batch(1)
    plain = placed.images[labels].float()
    values = augmentation_module.draw(AUGMENTATIONS[word], 32, 0, 0, 1)
    if word == "none":
        plain = functional.interpolate(plain, size=(size, size), mode="bilinear", align_corners=False)
    else:
        grid = functional.affine_grid(values.affine, [32, 1, size, size], align_corners=False)
        plain = functional.grid_sample(plain, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if word == "standard" and channels == 3:
        mean = plain.mean(dim=(1, 2, 3), keepdim=True)
        plain = ((plain - mean) * values.contrast + mean * values.brightness).clamp(0, 255)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET.mean, IMAGENET.std))
    assert torch.equal(pixels, torch.addcmul(-mean / std, plain, 1 / (255 * std)))


def test_a_gpus_way_to_sampling_points_agrees_with_torchs() -> None:
    affine = augmentation_module.draw(AUGMENTATIONS["strong"], 8, 0, 0, 0).affine
    for size in (7, 48, 224):
        expected = functional.affine_grid(affine, [8, 1, size, size], align_corners=False)
        torch.testing.assert_close(batches_module._Grid(size, "cpu").by_elements(affine), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_erased_is_the_mean_and_the_rest_is_untouched(augment, channels: int) -> None:  # type: ignore[no-untyped-def]
    images = [noise(9, 20, 20, channels, 1), noise(9, 20, 20, 1, 2)]
    name = augment(erase=0.6)
    made = batches(images, 40, name, batch_size=16, normalisation=IMAGENET)
    pixels, labels = made.batch(0)
    plain, same = batches(images, 40, augment(flip=1e-9), batch_size=16, normalisation=IMAGENET).batch(0)
    assert torch.equal(labels, same)
    boxes = augmentation_module.draw(Augmentation(erase=0.6), 16, 0, 0, 0).erased
    assert boxes is not None and 3 < int(boxes.any(dim=1).sum()) < 16
    for row, other, box in zip(pixels, plain, boxes.tolist(), strict=True):
        top, left, bottom, right = (side * 40 for side in box)
        expected = other.clone()
        for y in range(40):
            for x in range(40):
                if top <= y + 0.5 < bottom and left <= x + 0.5 < right:
                    expected[:, y, x] = 0
        assert torch.equal(row, expected)


# --- evaluation -------------------------------------------------------------------------------------------------------


@given(count=st.integers(1, 40), batch_size=st.integers(1, 17))
@settings(max_examples=30, deadline=None)
def test_evaluation_covers_every_image_once_in_order(count: int, batch_size: int) -> None:
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(4, axis=1).repeat(4, axis=2)
    rows = list(evaluation_batches(place(images, 8, "cpu"), PLAIN, 8, "cpu", batch_size))
    joined = torch.cat(rows)
    assert joined.shape == (count, 3, 8, 8) and all(len(row) <= batch_size for row in rows)
    torch.testing.assert_close(joined[:, 0, 0, 0] * 255, torch.arange(count).float())


def test_evaluation_sees_what_training_without_augmentation_sees() -> None:
    images = noise(8, 10, 14, 3)
    pixels, labels = batches([images], 20, "none", normalisation=IMAGENET).batch(0)
    rows = torch.cat(list(evaluation_batches(place(images, 20, "cpu"), IMAGENET, 20, "cpu", 3)))
    assert torch.equal(pixels, rows[labels])


def test_device_images_count_their_rows() -> None:
    assert DeviceImages(torch.zeros(7, 1, 2, 2, dtype=torch.uint8)).count == 7
