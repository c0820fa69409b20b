"""Image files to pixels.

`decode(paths)` gives one array a file, sizes as they are; `stack(images, size)` makes one array of them. For more
pictures than fit into memory, `decode_each(paths)` gives them one by one, in order.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ferbench.errors import DatasetError

if TYPE_CHECKING:
    from PIL import Image

#: What faces are stored as. Named, since Pillow would otherwise hand an EPS file to Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")

#: File suffixes of these formats, lower case.
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".pnm", ".tif", ".tiff", ".webp", ".jp2")
)

_BLOCK = 64
_ORIENTATION = 0x0112


def decode(paths: Iterable[Path], threads: int | None = None) -> list[NDArray[np.uint8]]:
    """All files as pixels, in the order of `paths`.

    Parameters
    ----------
    paths : image files of any size and mode
    threads : how many decode at once; by default the processor's cores, at most 8

    Returns
    -------
    one uint8 [H, W, C] a file; C is 1 if every one of them is grey, else 3 for all. Use `stack` for one array

    Raises
    ------
    DatasetError : names the first file that is missing, no image, truncated or too large
    """
    images = list(decode_each(paths, threads))
    if all(image.shape[2] == 1 for image in images):
        return images
    return [_coloured(image) for image in images]


def decode_each(paths: Iterable[Path], threads: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """As `decode`, one picture at a time: uint8 [H, W, 1] for a grey one, [H, W, 3] for a coloured one.

    No more than 64 pictures are held at once. What a file holds decides, not how it is stored: a picture whose three
    channels agree everywhere is grey.
    """
    files = list(paths)
    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), _BLOCK):
            yield from _block(pool, files[start : start + _BLOCK])


def stack(images: Sequence[NDArray[np.uint8]], size: int | None = None) -> NDArray[np.uint8]:
    """Pictures as one array uint8 [n, H, W, C].

    Parameters
    ----------
    images : uint8 [H, W, C] each, as `decode` gives them; C is 3 for all if it is for one
    size : pixels a side beyond which no picture is kept; None keeps them as they are

    All of one size stay so, unless a side is longer than `size`: that side is reduced to it. Otherwise every picture is
    brought to the largest height and width among them, again at most `size`. Reducing averages over what falls into a
    pixel (Pillow's bilinear filter, antialiased); proportions are not kept, as the network's input is square.

    Raises
    ------
    ValueError : for no pictures, and for different sizes without a `size`
    """
    if not images:
        raise ValueError("no pictures to stack")
    shapes = {image.shape[:2] for image in images}
    if size is None and len(shapes) > 1:
        raise ValueError(f"pictures of {len(shapes)} sizes need a common one")
    height, width = (max(sides) if size is None else min(size, max(sides)) for sides in zip(*shapes, strict=True))
    channels = max(image.shape[2] for image in images)
    stacked = np.empty((len(images), height, width, channels), np.uint8)
    for place, image in zip(stacked, images, strict=True):
        place[...] = _resized(image, height, width)
    return stacked


def _block(pool: ThreadPoolExecutor, paths: Sequence[Path]) -> list[NDArray[np.uint8]]:
    from PIL import Image

    # Pillow warns of odd metadata, which says nothing of the pixels, and of large pictures, which are refused.
    # Set here and not in the threads, since filters belong to the whole process.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return list(pool.map(_decoded, paths))


def _decoded(path: Path) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=FORMATS) as picture:
            return _pixels(picture)
    except FileNotFoundError:
        raise DatasetError(f"image {path} does not exist: the copy of the data is incomplete") from None
    except UnidentifiedImageError:
        raise DatasetError(f"{path} is not an image that can be read: replace or remove it") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DatasetError(f"image {path} has more than {Image.MAX_IMAGE_PIXELS} pixels: reduce or remove it") from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them into
        reason = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.errno is not None:
            raise DatasetError(
                f"image {path} cannot be read ({error.strerror}): check the disk and its rights"
            ) from error
        raise DatasetError(f"image {path} is broken ({reason}): replace or remove it") from error


def _pixels(picture: Image.Image) -> NDArray[np.uint8]:
    """uint8 [H, W, 1] or [H, W, 3] of any of Pillow's modes; of several frames the first."""
    from PIL import Image, ImageOps

    if picture.getexif().get(_ORIENTATION, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        return _high_bytes(picture)
    if picture.mode == "F":
        raise ValueError("its pixels are fractions of unknown range, store it with 8 bits")
    if picture.has_transparency_data:
        # What lies under full transparency is arbitrary; black is what augmentation puts around a picture too.
        opaque = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(opaque, picture.convert("RGBA"))
    if picture.mode in ("L", "1"):
        return np.array(picture.convert("L"), np.uint8)[:, :, None]
    pixels = np.array(picture.convert("RGB"), np.uint8)
    first = pixels[:, :, :1]
    return first.copy() if (pixels == first).all() else pixels


def _high_bytes(picture: Image.Image) -> NDArray[np.uint8]:
    """16-bit grey to 8 bits by its high byte, as Pillow does for 16-bit colour."""
    values = np.array(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("its pixels do not fit into 16 bits, store it with 8 bits")
    return (values >> 8).astype(np.uint8)[:, :, None]


def _coloured(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def _resized(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """uint8 [height, width, C] of the same C."""
    if image.shape[:2] == (height, width):
        return image
    from PIL import Image

    plain = image[:, :, 0] if image.shape[2] == 1 else image
    resized = Image.fromarray(plain).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized).reshape(height, width, -1)
