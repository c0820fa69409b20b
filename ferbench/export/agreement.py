"""Whether onnxruntime answers as torch does, on the pictures that the row is reported on.

Two things are compared: how pictures are stretched, and what is answered to stretched ones. A picture that is reduced
is kept in whole grey levels, and sums are often exactly half of one (in 96 pixels made 64). Which side these fall to
hangs on the order of additions, and a network may answer to a single grey level by a thousandth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch

from ferbench.errors import DatasetError, ExportError, PluginError, UnknownName, UsageError, one_line
from ferbench.export.onnx_file import IMAGES, PROBABILITIES, STRETCHED, OnnxFile
from ferbench.export.trial import LIMIT, random_pictures
from ferbench.pages.exported import Agreement
from ferbench.prediction import answers
from ferbench.reliability import scaled
from ferbench.trained import Trained

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Picture = NDArray[np.uint8]

#: In what part of all values a sum that is half of a grey level may be rounded to the other side, and by how much
#: values may differ where nothing is rounded, in grey levels.
_ROUNDED_OTHERWISE = 5e-3
_UNROUNDED = 0.01

#: Pictures that are compared, evenly spaced over the split.
_SAMPLES = 64


def agreement(file: OnnxFile, trained: Trained, report: Callable[[], Sequence[Picture]], split: str) -> Agreement:
    """Compare, on samples of the report split and on one picture of another shape; of random ones where it is not here.

    Parameters
    ----------
    trained : on the CPU, computing in fp32
    report : gives the pictures, uint8 [H, W, C] each
    split : what they are, in words

    Raises
    ------
    ExportError : of the same pixels, a probability differs by more than LIMIT or another expression is named; pictures
        are stretched otherwise; or onnxruntime cannot run the file
    """
    try:
        of_split = report()
        places = np.unique(np.linspace(0, len(of_split) - 1, min(_SAMPLES, len(of_split))).round().astype(int))
        samples = [np.asarray(of_split[place]) for place in places.tolist()]
        source, real = f"{len(samples)} of {split}", True
    except (DatasetError, PluginError, UnknownName, UsageError) as error:
        samples = random_pictures(trained.image_size, _SAMPLES)
        cannot = "be cut to faces" if isinstance(error, PluginError) else "be read"
        source, real = f"drawn at random, for {split} cannot {cannot} here", False
    # Other sides than the split's: the file says that it takes any.
    tried = [*samples, *random_pictures(trained.image_size, 6)[3:]]
    source += f", {len(tried) - len(samples)} drawn at random" if real else ""
    stretched = _answers(file.stretching, STRETCHED, tried, batches=file.batches)
    rounded = _rounded_otherwise(stretched, [_fed(trained, picture) for picture in tried])
    found = np.stack(_answers(file.content, PROBABILITIES, tried, batches=file.batches))
    of_same_pixels = _scaled(trained, _of_stretched(trained, stretched))
    difference, same = _compared(found, of_same_pixels)
    if not difference <= LIMIT or same < len(tried):
        raise ExportError(
            f"onnxruntime {onnxruntime.__version__} answers otherwise than torch: a probability differs by "
            f"{difference:.2g}, and {LIMIT:g} is the limit; {same} of {len(tried)} pictures are named alike. Nothing "
            "was written: take --format safetensors"
        )
    overall, named_alike = _compared(found, _scaled(trained, trained.probabilities(tried)))
    return Agreement(
        samples=len(tried),
        source=source,
        real=real,
        difference=difference,
        limit=LIMIT,
        overall=overall,
        same_top=named_alike,
        rounded_otherwise=rounded,
        runtime=onnxruntime.__version__,
    )


def _scaled(trained: Trained, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    return probabilities if trained.temperature is None else scaled(probabilities, trained.temperature)


def _compared(found: NDArray[np.float32], expected: NDArray[np.float32]) -> tuple[float, int]:
    """The largest difference, nan where something is no number, and how many pictures are named alike."""
    same = int((found.argmax(axis=1) == expected.argmax(axis=1)).sum())
    return float(np.abs(found - expected).max()), same


def _fed(trained: Trained, picture: Picture) -> NDArray[np.float32]:
    """A stretched picture as evaluation has it before it is normalised, float32 [3, S, S] of 0..255."""
    mean, std = (np.array(each, np.float32)[:, None, None] for each in dataclasses.astuple(trained.normalisation))
    fed: NDArray[np.float32] = (trained.prepared([picture])[0].numpy() * std + mean) * 255
    return fed


def _rounded_otherwise(found: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]) -> int:
    """In how many pictures a value lies on the other side of a half.

    Raises
    ------
    ExportError : the pictures differ by more than rounding does
    """
    differences = np.stack([np.abs(one - other) for one, other in zip(found, expected, strict=True)])
    otherwise = differences > _UNROUNDED
    if not differences.max() <= 1 + _UNROUNDED or otherwise.mean() > _ROUNDED_OTHERWISE:
        raise ExportError(
            f"onnxruntime {onnxruntime.__version__} stretches pictures otherwise than torch: {otherwise.mean():.1%} of "
            f"values differ, by {differences.max():.2g} grey levels at most. Nothing was written: take --format "
            "safetensors"
        )
    return int(otherwise.any(axis=(1, 2, 3)).sum())


def _of_stretched(trained: Trained, stretched: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Probabilities float32 [n, C] of pictures that are stretched already."""

    def batches(at_once: int) -> Iterator[Tensor]:
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in dataclasses.astuple(trained.normalisation))
        for start in range(0, len(stretched), at_once):
            pixels = torch.from_numpy(np.stack(stretched[start : start + at_once]))
            yield ((pixels / 255 - mean) / std).contiguous(memory_format=torch.channels_last)

    return answers(trained.module, batches, "cpu", "fp32").numpy()


def _answers(content: bytes, output: str, pictures: Sequence[Picture], *, batches: bool) -> list[NDArray[np.float32]]:
    """One of a file's outputs, picture by picture."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        alike.setdefault(picture.shape if batches else (place,), []).append(place)
    rows: dict[int, NDArray[np.float32]] = {}
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        for places in alike.values():
            batch = np.stack([np.broadcast_to(pictures[place], (*pictures[place].shape[:2], 3)) for place in places])
            rows.update(zip(places, session.run([output], {IMAGES: batch})[0], strict=True))
    except Exception as error:  # onnxruntime raises exceptions of its C++ part, without a common base
        raise ExportError(f"onnxruntime {onnxruntime.__version__} cannot run the file: {one_line(error)}") from error
    return [rows[place] for place in range(len(pictures))]
