"""Image files to pixels, one by one and in order, so that more of them can be read than fit into memory."""

from __future__ import annotations

import os
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ferbench.components import ImageFile
from ferbench.errors import DatasetError

if TYPE_CHECKING:
    from PIL import Image

#: What faces are stored as. Named, since Pillow would otherwise hand an EPS file to Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")

#: File suffixes of these formats, lower case.
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".pnm", ".tif", ".tiff", ".webp", ".jp2")
)

_ORIENTATION = 0x0112
_INCOMPLETE = "the copy of the data is incomplete"
_TRIES = 5


def decode_each(images: Iterable[ImageFile], threads: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """All images as pixels, in their order; no more than two for each thread and two more are held at once.

    Parameters
    ----------
    images : of any size and mode
    threads : how many are decoded at once; by default the processor's cores, at most 8

    Yields
    ------
    uint8 [H, W, 1] for a grey one, [H, W, 3] for a coloured one. What a file holds decides, not how it is stored: a
    picture whose three channels agree everywhere is grey

    Raises
    ------
    DatasetError : names the first that is missing, no image, truncated or too large
    """
    for result in _each(images, threads):
        if isinstance(result, DatasetError):
            raise result
        yield result


def decoded_or_fault(
    images: Iterable[ImageFile], threads: int | None = None, *, absent: str = _INCOMPLETE
) -> Iterator[NDArray[np.uint8] | DatasetError]:
    """As `decode_each`, with the error in the place of a picture that cannot be read, and on with the next.

    absent : what is said of one that is not there
    """
    return _each(images, threads, absent)


def image_faults(images: Iterable[ImageFile], threads: int | None = None) -> Iterator[str]:
    """One line for every image that `decode_each` would stop at."""
    return (result.line for result in _each(images, threads) if isinstance(result, DatasetError))


def reduced(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A picture whose longer side is at most `side` pixels, in its own proportions.

    Reducing averages over what falls into a pixel (Pillow's bilinear filter, antialiased).
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= side:
        return image
    from PIL import Image

    plain = image[:, :, 0] if image.shape[2] == 1 else image
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    resized = Image.fromarray(plain).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized).reshape(size[1], size[0], -1)


def _each(
    images: Iterable[ImageFile], threads: int | None, absent: str = _INCOMPLETE
) -> Iterator[NDArray[np.uint8] | DatasetError]:
    threads = threads or min(8, os.cpu_count() or 1)
    most = 2 * threads + 2
    waiting: deque[Future[NDArray[np.uint8] | DatasetError]] = deque()
    with ThreadPoolExecutor(threads, initializer=_silence_thread) as pool:
        try:
            for image in images:
                if len(waiting) == most:
                    # Half at once, since a thread that is woken for each small picture costs more than the picture.
                    while len(waiting) > most // 2:
                        yield waiting.popleft().result()
                waiting.append(pool.submit(_outcome, image, absent))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class _Unusable(Exception):
    """A picture of a kind that cannot be taken; says why and what to do."""


class _OfDecoders:
    """Stands in a warning filter for the message's pattern: any message matches, but in our threads alone."""

    def match(self, _message: str) -> bool:
        return getattr(_thread, "decodes", False)


# Pillow warns of odd metadata, which says nothing of the pixels, and of large pictures, which are refused below.
# Filters belong to the whole process and threads decode while the consumer works, so that `catch_warnings` would
# silence the consumer too. This filter touches no thread but ours and may stay.
_thread = threading.local()
_filter_lock = threading.Lock()
_FILTER = ("ignore", _OfDecoders(), Warning, None, 0)


def _silence_thread() -> None:
    _thread.decodes = True


def _keep_filter() -> None:
    """Put the filter before all others: what else runs in the process may have taken it away or overruled it."""
    filters = cast(list[object], warnings.filters)
    if filters and filters[0] is _FILTER:
        return
    with _filter_lock:
        if _FILTER in filters:
            filters.remove(_FILTER)
        filters.insert(0, _FILTER)


def _outcome(image: ImageFile, absent: str) -> NDArray[np.uint8] | DatasetError:
    reason = ""
    for _ in range(_TRIES):
        _keep_filter()
        try:
            return _decoded(image, absent)
        except DatasetError as error:
            return error
        except Warning as warning:
            # Filters that make errors of warnings were put before ours in the meantime.
            reason = str(warning)
    return DatasetError(f"image {image} is broken ({reason}): replace or remove it")


def _decoded(image: ImageFile, absent: str) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(image if isinstance(image, Path) else BytesIO(image.read_bytes()), formats=FORMATS) as picture:
            _refuse_huge(picture, image)
            return _pixels(picture)
    except (DatasetError, Warning):
        raise
    except FileNotFoundError:
        raise DatasetError(f"image {image} does not exist: {absent}") from None
    except UnidentifiedImageError:
        raise DatasetError(f"image {image} is not an image that can be read: replace or remove it") from None
    except _Unusable as unusable:
        raise DatasetError(f"image {image} cannot be used: {unusable}") from None
    except Image.DecompressionBombError:
        raise _too_large(image) from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them into
        reason = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.errno is not None:
            raise DatasetError(
                f"image {image} cannot be read ({error.strerror}): check the disk and its rights"
            ) from error
        raise DatasetError(f"image {image} is broken ({reason}): replace or remove it") from error


def _refuse_huge(picture: Image.Image, image: ImageFile) -> None:
    # Pillow only warns of what is less than twice too large.
    from PIL import Image

    most = Image.MAX_IMAGE_PIXELS
    if most is not None and picture.width * picture.height > most:
        raise _too_large(image)


def _too_large(image: ImageFile) -> DatasetError:
    from PIL import Image

    return DatasetError(f"image {image} has more than {Image.MAX_IMAGE_PIXELS} pixels: reduce or remove it")


def _pixels(picture: Image.Image) -> NDArray[np.uint8]:
    """uint8 [H, W, 1] or [H, W, 3] of any of Pillow's modes; of several frames the first."""
    from PIL import Image, ImageOps

    if picture.getexif().get(_ORIENTATION, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        return _high_bytes(picture)
    if picture.mode == "F":
        raise _Unusable("its pixels are fractions of unknown range; store it with 8 bits")
    if picture.has_transparency_data:
        # What lies under full transparency is arbitrary; black is what augmentation puts around a picture too.
        opaque = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(opaque, picture.convert("RGBA"))
    if picture.mode in ("L", "1"):
        return np.array(picture.convert("L"), np.uint8)[:, :, None]
    pixels = np.array(picture.convert("RGB"), np.uint8)
    first = pixels[:, :, 0]
    grey = (pixels[:, :, 1] == first).all() and (pixels[:, :, 2] == first).all()
    return first[:, :, None].copy() if grey else pixels


def _high_bytes(picture: Image.Image) -> NDArray[np.uint8]:
    """16-bit grey to 8 bits by its high byte, as Pillow does for 16-bit colour."""
    values = np.array(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise _Unusable("its pixels do not fit into 16 bits; store it with 8 bits")
    return (values >> 8).astype(np.uint8)[:, :, None]
