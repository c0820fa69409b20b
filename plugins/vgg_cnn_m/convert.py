"""The released Caffe weights of VGG_CNN_M_2048 as a safetensors file that `--backbone vgg-cnn-m-2048` takes.

    python -m ferbench_plugins.vgg_cnn_m.convert VGG_CNN_M_2048.caffemodel VGG_mean.binaryproto [OUT.safetensors]

Nothing is downloaded: both files are the Visual Geometry Group's, for non-commercial use, and its pages (the Caffe
model zoo's gist 78047f3591446d1d7b91) say where they are. Without OUT the file is written where the backbone looks for
pretrained weights. Caffe's files are BGR; conv1's input channels and the mean image are turned to RGB.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ferbench.errors import FerbenchError, WeightsError
from ferbench.state_dicts import file_sha256
from ferbench_plugins.vgg_cnn_m.architecture import RELEASED, VggCnnM, Widths
from ferbench_plugins.vgg_cnn_m.caffemodel import Blobs, in_words, read_blob, read_layers
from ferbench_plugins.vgg_cnn_m.released import (
    CLASSIFIER,
    COMMAND,
    IMAGE_SIZE,
    RELEASED_NAME,
    WEIGHTS_LICENCE,
    WEIGHTS_SOURCE,
    converted_path,
)

Arrays = dict[str, NDArray[np.float32]]


def convert(model: Path, mean: Path, out: Path, widths: Widths = RELEASED) -> None:
    """Write a `.caffemodel` and a mean's `.binaryproto` as one safetensors file: the same bytes for the same files.

    widths : of the network in `model`; its number of classes is taken from its last layer

    Raises
    ------
    WeightsError : a file that cannot be read or written, is of another kind or cut off, or of another architecture
    """
    from safetensors.numpy import save

    arrays = as_state(read_layers(model), model.name, widths)
    arrays["mean_image"] = mean_image(read_blob(mean), mean.name)
    # Rows bear the hash of this file, so that it holds nothing but what the two files determine: not their names, and
    # one entry, since safetensors writes several in no fixed order.
    about = {
        "sha256": {"caffemodel": file_sha256(model), "binaryproto": file_sha256(mean)},
        "source": WEIGHTS_SOURCE,
        "licence": WEIGHTS_LICENCE,
    }
    _write(out, save(arrays, metadata={"ferbench": json.dumps(about, sort_keys=True)}))


def as_state(layers: Mapping[str, Blobs], name: str, widths: Widths = RELEASED) -> Arrays:
    """Caffe's layers as VggCnnM's state dict without the mean image, RGB.

    name : of the file, for messages

    Raises
    ------
    WeightsError : layers that are missing, left over, or of another shape; values that are not finite
    """
    shapes = _shapes(layers, widths)
    wanted = dict.fromkeys(key.partition(".")[0] for key in shapes)
    missing = [layer for layer in wanted if layer not in layers]
    strange = [layer for layer in layers if layer not in wanted]
    if missing or strange:
        faults = [
            *(f"has no layer {layer}" for layer in missing[:1]),
            *(f"has a layer {layer}" for layer in strange[:1]),
        ]
        raise WeightsError(f"{name} {' and '.join(faults)}: it is cut off or no {RELEASED_NAME}")
    state: Arrays = {}
    for key, shape in shapes.items():
        layer, _, kind = key.partition(".")
        if len(layers[layer]) != 2:
            raise WeightsError(f"{name}: layer {layer} has {len(layers[layer])} arrays, not a weight and a bias")
        array = layers[layer][kind == "bias"]
        # In the form of 2014 every array has four dimensions: a bias is 1x1x1xN, a fully connected weight 1x1xNxM.
        if _trimmed(array.shape) != _trimmed(shape):
            raise WeightsError(
                f"{name}: {key} is {in_words(array.shape)}, in {RELEASED_NAME} it is {in_words(shape)}: give that one"
            )
        if not np.isfinite(array).all():
            raise WeightsError(f"{name}: {key} holds values that are not finite; copy the file again")
        state[key] = array.reshape(shape)
    state["conv1.weight"] = np.ascontiguousarray(state["conv1.weight"][:, ::-1])
    return state


def mean_image(blob: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """A mean image as the file has it, BGR and 0 to 255, as the module's buffer: RGB [3, 224, 224].

    Raises
    ------
    WeightsError : another size or other values
    """
    shape = (3, IMAGE_SIZE, IMAGE_SIZE)
    if _trimmed(blob.shape) != shape:
        raise WeightsError(
            f"{name} is {in_words(blob.shape)}, not a mean image of {in_words(shape)}: give VGG_mean.binaryproto"
        )
    if not (np.isfinite(blob).all() and blob.min() >= 0 and blob.max() <= 255):
        raise WeightsError(f"{name} holds values that are no colours of 0 to 255: give VGG_mean.binaryproto")
    return np.ascontiguousarray(blob.reshape(shape)[::-1])


def _shapes(layers: Mapping[str, Blobs], widths: Widths) -> dict[str, tuple[int, ...]]:
    import torch

    head = layers.get(CLASSIFIER, ())
    classes = head[1].size if len(head) == 2 else 1
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in VggCnnM(classes, widths).named_parameters()}


def _trimmed(shape: Sequence[int]) -> tuple[int, ...]:
    trimmed = tuple(shape)
    while trimmed[:1] == (1,):
        trimmed = trimmed[1:]
    return trimmed


def _write(out: Path, content: bytes) -> None:
    # Beside its place and then moved: a run that is broken off leaves no half file where weights are looked for.
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(f"{out} cannot be written: {error.strerror or error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 1 and one line on stderr where the files do not serve."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Convert the released Caffe weights; without OUT to where ferbench looks for them."
    )
    parser.add_argument("model", type=Path, metavar="VGG_CNN_M_2048.caffemodel")
    parser.add_argument("mean", type=Path, metavar="VGG_mean.binaryproto")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT.safetensors")
    given = parser.parse_args(arguments)
    out = given.out or converted_path()
    try:
        convert(given.model, given.mean, out, RELEASED)
    except FerbenchError as error:
        print(f"error: {error.line}", file=sys.stderr)
        return error.exit_code
    print(f"{out} written, SHA-256 {file_sha256(out)}: {WEIGHTS_LICENCE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
