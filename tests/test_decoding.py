import struct
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferbench.components import ImageFile
from ferbench.data import decoding
from ferbench.data.decoding import decode_each, image_faults, reduced
from ferbench.errors import DatasetError

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def decode(images: Iterable[ImageFile], threads: int | None = None) -> list[np.ndarray]:
    return list(decode_each(images, threads))


def saved(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)
    return path


def test_grey_files_have_one_channel(tmp_path: Path) -> None:
    (image,) = decode([saved(Image.fromarray(GREY), tmp_path / "a.png")])
    assert image.dtype == np.uint8
    assert image.shape == (5, 7, 1)
    assert (image[:, :, 0] == GREY).all()


def test_a_grey_picture_stored_as_colour_is_grey(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY).convert("RGB")
    (image,) = decode([saved(picture, tmp_path / "a.png")])
    assert (image == GREY[:, :, None]).all()


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_sixteen_bits_keep_their_high_byte(tmp_path: Path, byte_order: str) -> None:
    values = np.array([[0, 255, 256], [32_768, 65_279, 65_535]], dtype=f"{byte_order}u2")
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 3 2 65535\n" + values.astype(">u2").tobytes())
    png = saved(Image.fromarray(values.astype("<u2")), tmp_path / "b.png")
    for image in decode([path, png]):
        assert image[:, :, 0].tolist() == [[0, 0, 1], [128, 254, 255]]


def test_palettes_give_their_colours(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 0])
    picture.putdata([1, 0])
    (image,) = decode([saved(picture, tmp_path / "a.png")])
    assert image.tolist() == [[[200, 100, 0], [10, 20, 30]]]


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_a_transparent_palette_entry_is_black(tmp_path: Path, transparency: int | bytes) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 0])
    picture.putdata([1, 0])
    (image,) = decode([saved(picture, tmp_path / "a.png", transparency=transparency)])
    assert image.tolist() == [[[200, 100, 0], [0, 0, 0]]]


def test_alpha_is_laid_over_black(tmp_path: Path) -> None:
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], np.uint8)
    (image,) = decode([saved(Image.fromarray(pixels), tmp_path / "a.png")])
    assert image.tolist() == [[[200, 100, 50], [0, 0, 0], [40, 20, 10]]]


def test_grey_with_alpha_stays_grey(tmp_path: Path) -> None:
    pixels = np.stack([GREY, np.full_like(GREY, 255)], axis=2)
    (image,) = decode([saved(Image.fromarray(pixels), tmp_path / "a.png")])
    assert (image == GREY[:, :, None]).all()


def test_cmyk_is_turned_into_light(tmp_path: Path) -> None:
    picture = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    (image,) = decode([saved(picture, tmp_path / "a.jpg", quality=100)])
    assert np.abs(image.astype(int) - [255, 0, 0]).max() <= 3


def test_bilevel_is_black_and_white(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY > 127)
    assert picture.mode == "1"
    (image,) = decode([saved(picture, tmp_path / "a.png")])
    assert (image[:, :, 0] == np.where(GREY > 127, 255, 0)).all()


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(2, np.fliplr(COLOUR)), (3, np.rot90(COLOUR, 2)), (6, np.rot90(COLOUR, -1)), (8, np.rot90(COLOUR))],
)
def test_pictures_are_turned_as_their_metadata_says(
    tmp_path: Path, suffix: str, orientation: int, upright: np.ndarray
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    (image,) = decode([saved(Image.fromarray(COLOUR), tmp_path / f"a.{suffix}", exif=exif, **options)])
    assert image.shape == upright.shape
    assert (image == upright).all()


def test_of_several_frames_the_first_counts(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200)]
    path = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (image,) = decode([path])
    assert (image == 10).all()


def test_a_phones_jpeg_with_a_second_picture_gives_the_first(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((200, 40, 40), (0, 0, 255))]
    path = tmp_path / "a.jpg"
    frames[0].save(path, "MPO", save_all=True, append_images=frames[1:], quality=100)
    with Image.open(path) as picture:
        assert picture.format == "MPO"
    (image,) = decode([path])
    assert np.abs(image.astype(int) - [200, 40, 40]).max() <= 3


def test_order_is_kept_over_many_files_and_threads(tmp_path: Path) -> None:
    paths = [saved(Image.new("L", (4, 4), value), tmp_path / f"{value}.png") for value in range(150)]
    for threads in (1, 3):
        assert [int(image[0, 0, 0]) for image in decode(reversed(paths), threads)] == list(range(149, -1, -1))


def test_nothing_gives_nothing() -> None:
    assert decode([]) == []


def test_no_image_is_named(tmp_path: Path) -> None:
    good = saved(Image.fromarray(GREY), tmp_path / "good.png")
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=r"bad\.jpg is not an image that can be read: replace or remove it"):
        decode([good, bad])
    bad.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"bad\.jpg is not an image"):
        decode([bad])


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp"])
def test_truncated_files_are_named(tmp_path: Path, suffix: str) -> None:
    whole = saved(Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)), tmp_path / f"a.{suffix}")
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DatasetError) as caught:
        decode([cut])
    assert str(cut) in caught.value.line
    assert "replace or remove it" in caught.value.line


def test_a_broken_png_chunk_is_named(tmp_path: Path) -> None:
    path = saved(Image.fromarray(GREY), tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 8] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=r"a\.png"):
        decode([path])


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.png does not exist"):
        decode([tmp_path / "gone.png"])
    with pytest.raises(DatasetError, match="cannot be read"):
        decode([tmp_path])


@pytest.mark.parametrize("limit", [20, 10])
def test_too_large_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    # 35 pixels: beyond 20 Pillow warns, beyond twice 10 it raises; both are refused.
    path = saved(Image.fromarray(GREY), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DatasetError, match=rf"a\.png has more than {limit} pixels"):
        decode([path])


def test_a_small_file_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    path = saved(Image.fromarray(GREY), tmp_path / "a.bmp")
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<ii", 30_000, 30_000)
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=r"a\.bmp has more than \d+ pixels"):
        decode([path])


def odd(path: Path) -> Path:
    """A whole picture with metadata that Pillow warns of."""
    return saved(Image.fromarray(COLOUR), path, exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01", quality=100)


def test_odd_metadata_is_passed_over_and_the_consumers_own_warnings_are_not(tmp_path: Path) -> None:
    files = [odd(tmp_path / f"{number}.jpg") for number in range(60)]
    with pytest.warns(UserWarning, match="EXIF"), Image.open(files[0]) as picture:
        picture.getexif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = decode_each(files, threads=4)
        for count in range(len(files)):
            assert next(decoded).shape == (5, 7, 3)
            with pytest.raises(UserWarning, match="mine"):
                warnings.warn("mine", stacklevel=1)
            if count == 20:
                # Another part of the program sets its own filters meanwhile.
                warnings.resetwarnings()
                warnings.simplefilter("error")


def test_too_large_is_refused_where_warnings_are_silent_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.fromarray(GREY), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 34)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DatasetError, match=r"a\.png has more than 34 pixels"):
            decode([path])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 35)
    assert len(decode([path])) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_only_a_few_are_read_ahead_and_none_after_the_consumer_stops(tmp_path: Path, threads: int) -> None:
    content = saved(Image.fromarray(GREY), tmp_path / "a.png").read_bytes()
    read: list[int] = []

    class Counted(Packed):
        def read_bytes(self) -> bytes:
            read.append(1)
            return self.content

    decoded = decode_each([Counted(content)] * 100, threads)
    for consumed in range(1, 51):
        next(decoded)
        assert consumed <= len(read) <= consumed + 2 * threads + 2
    decoded.close()
    assert len(read) <= 50 + 2 * threads + 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_formats_that_run_programs_are_no_images(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(DatasetError, match="is not an image that can be read"):
        decode([path])


def test_fractions_without_a_range_are_refused(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.ones((4, 4), np.float32)), tmp_path / "a.tif")
    with pytest.raises(DatasetError, match=r"cannot be used: its pixels are fractions of unknown range; store"):
        decode([path])


def test_faults_are_collected_and_the_rest_passed(tmp_path: Path) -> None:
    good = saved(Image.fromarray(GREY), tmp_path / "good.png")
    bad = [tmp_path / "bad.png", tmp_path / "gone.png"]
    bad[0].write_bytes(b"no")
    assert [line.split(" ")[-1] for line in image_faults([good, *bad, good])] == ["it", "incomplete"]
    assert list(image_faults([good])) == []


class Packed:
    """An image file that lies in no folder."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read_bytes(self) -> bytes:
        return self.content

    def __str__(self) -> str:
        return "row 7"


def test_images_that_are_no_files_are_read_and_named(tmp_path: Path) -> None:
    path = saved(Image.fromarray(COLOUR), tmp_path / "a.png")
    (image,) = decode([Packed(path.read_bytes())])
    assert (image == COLOUR).all()
    with pytest.raises(DatasetError, match=r"^image row 7 is not an image"):
        decode([Packed(b"")])


def test_reducing_antialiases_as_torch_does_and_keeps_proportions() -> None:
    import torch

    large = RANDOM.integers(0, 256, (62, 40, 3), dtype=np.uint8)
    found = reduced(large, 31)
    pixels = torch.from_numpy(large).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(pixels, (31, 20), mode="bilinear", antialias=True)
    assert found.shape == (31, 20, 3)
    assert np.abs(found.astype(float) - expected[0].permute(1, 2, 0).numpy()).max() <= 1.0
    assert reduced(large, 62) is large
    assert reduced(np.zeros((2000, 1, 1), np.uint8), 100).shape == (100, 1, 1)


def test_every_suffix_belongs_to_a_format_that_is_read() -> None:
    Image.init()
    for suffix in decoding.SUFFIXES:
        assert Image.registered_extensions()[suffix] in decoding.FORMATS
