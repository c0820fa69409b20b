"""VGG-CNN-M-2048 and its conversion, held against Caffe's own definitions in NumPy and an encoder of the test's own."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors import safe_open
from torch.nn import functional

from ferbench.components import Backbone, WeightsFile
from ferbench.errors import RecipeError, WeightsError
from ferbench.testing import check_backbone
from ferbench_plugins import vgg_cnn_m
from ferbench_plugins.vgg_cnn_m import convert
from ferbench_plugins.vgg_cnn_m.architecture import VggCnnM, Widths
from ferbench_plugins.vgg_cnn_m.caffemodel import looks_like_caffemodel, read_blob, read_layers
from ferbench_plugins.vgg_cnn_m.released import IMAGE_SIZE, SMALLEST_IMAGE_SIZE

Array = NDArray[np.float32]
Layers = Mapping[str, tuple[Array, Array]]

SMALL = Widths((6, 8, 10, 10, 9), (12, 11))
CLASSES = 5


def backbone() -> Backbone:
    (found,) = vgg_cnn_m.ferbench_register_backbones()
    return found


# --- an encoder of protocol buffers, written from the format's description --------------------------------------------


def varint(value: int) -> bytes:
    low, high = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(high) if high else bytes([low])


def of_bytes(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def of_int(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def blob_2014(array: Array) -> bytes:
    sides = (1,) * (4 - array.ndim) + array.shape
    dims = b"".join(of_int(number, side) for number, side in enumerate(sides, 1))
    return dims + of_bytes(5, array.astype("<f4").tobytes())


def blob_with_shape(array: Array) -> bytes:
    values = array.astype("<f4").tobytes()
    half = len(values) // 8 * 4  # packed arrays may come in parts
    shape = of_bytes(1, b"".join(map(varint, array.shape)))
    return of_bytes(5, values[:half]) + of_bytes(7, shape) + of_bytes(5, values[half:])


def blob_one_by_one(array: Array) -> bytes:
    dims = b"".join(of_int(1, side) for side in array.shape)
    return of_bytes(7, dims) + b"".join(varint(5 << 3 | 5) + struct.pack("<f", value) for value in array.flat)


def network(layers: Layers, blob: Callable[[Array], bytes] = blob_2014, form: int = 2014) -> bytes:
    """A NetParameter with the fields that a real one has besides: inputs, layers without weights, rates, types."""
    layer_number, name_number, blobs_number = (2, 4, 6) if form == 2014 else (100, 1, 7)
    content = of_bytes(1, b"VGG_CNN_M_2048") + of_bytes(3, b"data") + b"".join(of_int(4, n) for n in (10, 3, 224, 224))
    for name, arrays in layers.items():
        fields = of_bytes(2, b"bottom") + of_bytes(3, b"top") + of_bytes(name_number, name.encode())
        fields += b"".join(of_bytes(blobs_number, blob(array)) for array in arrays)
        fields += varint(8 << 3 | 5) + struct.pack("<f", 1.0) + varint(8 << 3 | 5) + struct.pack("<f", 2.0)
        content += of_bytes(layer_number, fields)
        content += of_bytes(layer_number, of_bytes(name_number, b"relu") + of_int(5, 18))
    return content + varint(99 << 3 | 1) + bytes(8)


# --- Caffe's layers, from their definitions ---------------------------------------------------------------------------


def convolution(maps: Array, weight: Array, bias: Array, stride: int = 1, pad: int = 0) -> Array:
    padded = np.pad(maps, ((0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(padded, weight.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("cyxij,ocij->oyx", windows, weight, optimize=True) + bias[:, None, None]


def normalisation(maps: Array) -> Array:
    squares = np.pad(maps**2, ((2, 2), (0, 0), (0, 0)))
    sums = sum(squares[shift : shift + len(maps)] for shift in range(5))
    return maps / (2 + 0.0005 / 5 * sums) ** 0.75


def pooling(maps: Array) -> Array:
    side = -(-(maps.shape[1] - 3) // 2) + 1  # rounded up
    starts = range(0, 2 * side, 2)
    return np.stack([[maps[:, y : y + 3, x : x + 3].max(axis=(1, 2)) for x in starts] for y in starts]).transpose(
        2, 0, 1
    )


def caffe(layers: Layers, bgr: Array, mean: Array) -> Array:
    """Logits of a picture BGR [3, 224, 224] in 0..255."""
    maps = bgr.astype(np.float64) - mean
    maps = pooling(normalisation(np.maximum(convolution(maps, *layers["conv1"], stride=2), 0)))
    maps = pooling(normalisation(np.maximum(convolution(maps, *layers["conv2"], stride=2, pad=1), 0)))
    for name in ("conv3", "conv4", "conv5"):
        maps = np.maximum(convolution(maps, *layers[name], pad=1), 0)
    values = pooling(maps).ravel()
    for name in ("fc6", "fc7"):
        values = np.maximum(layers[name][0] @ values + layers[name][1], 0)
    return layers["fc8"][0] @ values + layers["fc8"][1]


@cache
def released() -> tuple[Layers, Array]:
    """Random layers in the released files' order and shapes, narrow, and a mean image BGR."""
    rng = np.random.default_rng(4)
    one, two, three, four, five = SMALL.convolutions
    six, seven = SMALL.fully_connected
    shapes = {
        "conv1": (one, 3, 7, 7),
        "conv2": (two, one, 5, 5),
        "conv3": (three, two, 3, 3),
        "conv4": (four, three, 3, 3),
        "conv5": (five, four, 3, 3),
        "fc6": (six, five * 36),
        "fc7": (seven, six),
        "fc8": (CLASSES, seven),
    }
    layers = {}
    for name, shape in shapes.items():
        scale = np.sqrt(2 / np.prod(shape[1:]))
        weight = (rng.normal(size=shape) * scale).astype(np.float32)
        layers[name] = (weight, rng.normal(size=shape[0]).astype(np.float32))
    return layers, rng.uniform(60, 180, (3, 224, 224)).astype(np.float32)


def write(folder: Path, content: bytes | None = None, mean: bytes | None = None) -> tuple[Path, Path]:
    layers, image = released()
    model_file, mean_file = folder / "small.caffemodel", folder / "small.binaryproto"
    model_file.write_bytes(network(layers) if content is None else content)
    mean_file.write_bytes(blob_2014(image) if mean is None else mean)
    return model_file, mean_file


def unhashed(path: Path) -> WeightsFile:
    return WeightsFile(path, "0" * 64, "test")


# --- conversion -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blob", "form"), [(blob_2014, 2014), (blob_with_shape, 2015), (blob_one_by_one, 2015), (blob_with_shape, 2014)]
)
def test_a_converted_file_computes_what_caffe_computes(
    tmp_path: Path, blob: Callable[[Array], bytes], form: int
) -> None:
    layers, mean = released()
    out = tmp_path / "new" / "out.safetensors"
    convert.convert(*write(tmp_path, network(layers, blob, form), blob(mean)), out, SMALL)
    module = VggCnnM(CLASSES, SMALL).eval()
    backbone().load_weights(module, unhashed(out))
    module.fc8.load_state_dict({"weight": torch.tensor(layers["fc8"][0]), "bias": torch.tensor(layers["fc8"][1])})
    rgb = np.random.default_rng(5).integers(0, 256, (2, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        ours = module(torch.tensor(rgb) / 255).numpy()
    expected = np.stack([caffe(layers, picture[::-1], mean) for picture in rgb])
    assert np.abs(expected).max() > 10
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    # The same picture with red and blue exchanged is another one: the order of channels is not lost on the network.
    assert np.abs(caffe(layers, rgb[0], mean) - expected[0]).max() > 0.01 * np.abs(expected).max()


def test_the_command_puts_the_file_where_the_backbone_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(convert, "RELEASED", SMALL)
    assert backbone().resolve_weights("auto") is None
    assert backbone().resolve_weights("random") is None
    with pytest.raises(WeightsError, match=r"never downloaded.*`python -m ferbench_plugins\.vgg_cnn_m\.convert "):
        backbone().resolve_weights("pretrained")
    model_file, mean_file = write(tmp_path)
    assert convert.main([str(model_file), str(mean_file)]) == 0
    assert "non-commercial" in capsys.readouterr().out
    found = backbone().resolve_weights("pretrained")
    assert found is not None and found == backbone().resolve_weights("auto")
    assert found.path == tmp_path / "torch" / "hub" / "checkpoints" / "vgg_cnn_m_2048.safetensors"
    assert [path.name for path in found.path.parent.iterdir()] == [found.path.name]
    # written again from files of other names: the same bytes, as the hash is on the row
    again = [str(path.rename(tmp_path / f"again{path.suffix}")) for path in (model_file, mean_file)]
    assert convert.main([*again, str(tmp_path / "again.safetensors")]) == 0
    assert (tmp_path / "again.safetensors").read_bytes() == found.path.read_bytes()
    with safe_open(found.path, "np") as file:
        about = json.loads(file.metadata()["ferbench"])
    sums = {path.suffix[1:]: hashlib.sha256(path.read_bytes()).hexdigest() for path in map(Path, again)}
    assert about["sha256"] == sums and "non-commercial" in about["licence"]
    # and everything but the head comes out of it
    module = VggCnnM(7, SMALL)
    head = module.fc8.weight.clone()
    backbone().load_weights(module, found)
    assert torch.equal(module.fc8.weight, head)
    layers, mean = released()
    np.testing.assert_array_equal(module.conv1.weight.detach().numpy(), layers["conv1"][0][:, ::-1])
    np.testing.assert_array_equal(module.mean_image.numpy(), mean[::-1])


def changed(**replaced: tuple[Array, ...] | None) -> bytes:
    layers = {**released()[0], **replaced}
    return network({name: arrays for name, arrays in layers.items() if arrays is not None})  # type: ignore[misc]


def refusals() -> dict[str, tuple[bytes | None, bytes | None, str]]:
    layers, mean = released()
    weight, bias = layers["fc7"]
    broken = weight.copy()
    broken[0, 0] = np.nan
    whole = network(layers)
    return {
        "another width": (
            changed(fc7=(weight[:-1], bias[:-1])),
            None,
            r"fc7\.weight is 1x1x10x12, .* 11x12: give that one",
        ),
        "no such layer": (changed(fc7=None), None, "has no layer fc7: it is cut off or no VGG_CNN_M_2048"),
        "one layer more": (changed(fc9=(weight, bias)), None, "has a layer fc9"),
        "no bias": (changed(fc7=(weight,)), None, "layer fc7 has 1 arrays, not a weight and a bias"),
        "not finite": (changed(fc7=(broken, bias)), None, r"fc7\.weight holds values that are not finite"),
        "twice": (whole + whole, None, "two layers named 'conv1' have weights"),
        "cut off": (whole[:-5000], None, "bytes left|bytes has .* left"),
        "empty": (b"", None, "holds no layer with weights"),
        "a mean for a network": (blob_2014(mean), None, "cannot be read as a .caffemodel|no layer with weights"),
        "a zip": (b"PK\x03\x04" + bytes(100), None, "cannot be read as a .caffemodel"),
        "zeros": (bytes(100), None, "a field of a kind that does not exist"),
        "fields without end": (of_int(4, 1) * 100_001, None, "more than 100,000 fields"),
        "a network for a mean": (None, whole, "cannot be read as a .binaryproto"),
        "a mean of another size": (None, blob_2014(mean[:, 1:]), "is 1x3x223x224, not a mean image of 3x224x224"),
        "a mean in 0..1 less itself": (None, blob_2014(mean - 128), "no colours of 0 to 255"),
        "a shape that lies": (None, of_int(1, 7) + blob_2014(mean)[2:], "7x3x224x224 and has 150,528 values"),
        "dimensions without end": (
            None,
            of_bytes(7, of_bytes(1, b"\1" * 99)) + of_bytes(5, bytes(4)),
            "more than 32 dimensions",
        ),
        "half a float": (None, of_bytes(5, bytes(6)), "6 bytes of values, which are no whole number of floats"),
    }


@pytest.mark.parametrize("case", refusals())
def test_files_that_do_not_serve_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    content, mean, message = refusals()[case]
    with pytest.raises(WeightsError, match=message) as caught:
        convert.convert(*write(tmp_path, content, mean), tmp_path / "out.safetensors", SMALL)
    assert "small." in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not (tmp_path / "out.safetensors").exists()


def test_the_command_says_what_is_wrong_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model_file, mean_file = write(tmp_path)
    # a narrow network is not the released one
    assert convert.main([str(model_file), str(mean_file), str(tmp_path / "out")]) == 1
    assert "conv1.weight is 6x3x7x7, in VGG_CNN_M_2048 it is 96x3x7x7" in capsys.readouterr().err
    assert convert.main([str(tmp_path / "none"), str(mean_file), str(tmp_path / "out")]) == 1
    assert "none cannot be read: No such file" in capsys.readouterr().err
    with model_file.open("r+b") as stream:
        stream.truncate(1 << 31)  # sparse: no disk is filled
    assert convert.main([str(model_file), str(mean_file), str(tmp_path / "out")]) == 1
    assert "2,147,483,648 bytes" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"file/out\.safetensors cannot be written: "):
        convert.convert(*write(tmp_path), tmp_path / "file" / "out.safetensors", SMALL)


def test_a_caffemodel_in_place_of_weights_is_told_how_to_convert(tmp_path: Path) -> None:
    model_file, _ = write(tmp_path)
    renamed = model_file.rename(tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"file of Caffe's: .*`python -m ferbench_plugins\.vgg_cnn_m\.convert VGG"):
        backbone().load_weights(VggCnnM(7, SMALL), unhashed(renamed))
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "header").write_bytes((10).to_bytes(8, "little") + b'{"a": 1}  ')
    assert not any(looks_like_caffemodel(tmp_path / name) for name in ("a.pth", "empty", "header", "none", "."))
    with pytest.raises(WeightsError, match="do not fit"):
        backbone().load_weights(VggCnnM(7, SMALL), unhashed(tmp_path / "a.pth"))


# --- the wire reader --------------------------------------------------------------------------------------------------

SMALLEST_NETWORK = network({"a": (np.ones((2, 3), np.float32), np.arange(2, dtype=np.float32))}, blob_with_shape, 2015)
SMALLEST_ONE_BY_ONE = network({"a": (np.ones((2, 3), np.float32), np.ones(2, np.float32))}, blob_one_by_one)


def read_both(path: Path) -> None:
    """Whatever the bytes, an answer or a WeightsError in one line."""
    for read in (read_layers, read_blob):
        try:
            read(path)
        except WeightsError as error:
            assert "\n" not in str(error)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wire") / "file"


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(scratch: Path, content: bytes) -> None:
    scratch.write_bytes(content)
    read_both(scratch)
    looks_like_caffemodel(scratch)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([SMALLEST_NETWORK, SMALLEST_ONE_BY_ONE]))
def test_a_damaged_network_is_read_or_refused(scratch: Path, data: st.DataObject, whole: bytes) -> None:
    place = data.draw(st.integers(0, len(whole) - 1))
    scratch.write_bytes(whole[:place] + data.draw(st.binary(min_size=1, max_size=3)) + whole[place + 1 :])
    read_both(scratch)


@pytest.mark.parametrize("whole", [SMALLEST_NETWORK, SMALLEST_ONE_BY_ONE])
def test_a_network_cut_off_anywhere_is_read_or_refused(scratch: Path, whole: bytes) -> None:
    scratch.write_bytes(whole)
    assert read_layers(scratch)["a"][0].tolist() == [[1, 1, 1], [1, 1, 1]]
    end = whole.rindex(b"relu")
    for length in range(len(whole)):
        scratch.write_bytes(whole[:length])
        read_both(scratch)
        if length < end - 10:
            with pytest.raises(WeightsError):
                read_layers(scratch)


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5), min_size=1, max_size=4))
def test_arrays_come_back_as_they_were_written(scratch: Path, rows: list[list[float]]) -> None:
    arrays = [np.array(row, np.float32) for row in rows]
    for blob in (blob_2014, blob_with_shape, blob_one_by_one):
        scratch.write_bytes(network({"x": tuple(arrays)}, blob))  # type: ignore[dict-item]
        read = read_layers(scratch)["x"]
        assert [array.ravel().tolist() for array in read] == [array.tolist() for array in arrays]
        assert all(array.dtype == np.float32 for array in read)


def test_many_single_floats_are_read_at_once(scratch: Path) -> None:
    count = 300_000  # more than the fields that one file may have
    values = np.arange(count, dtype="<f4")
    tagged = np.zeros((count, 5), np.uint8)
    tagged[:, 0] = 5 << 3 | 5
    tagged[:, 1:] = values.view(np.uint8).reshape(count, 4)
    scratch.write_bytes(of_int(4, count) + b"".join(of_int(n, 1) for n in (1, 2, 3)) + tagged.tobytes())
    assert np.array_equal(read_blob(scratch).ravel(), values)


# --- the network ------------------------------------------------------------------------------------------------------


def test_the_full_network_has_the_released_shapes() -> None:
    check_backbone(backbone(), values=False)
    with torch.device("meta"):
        module = backbone().build(1000, 224)
    shapes = {key: tuple(value.shape) for key, value in module.named_parameters() if key.endswith("weight")}
    assert shapes == {
        "conv1.weight": (96, 3, 7, 7),
        "conv2.weight": (256, 96, 5, 5),
        "conv3.weight": (512, 256, 3, 3),
        "conv4.weight": (512, 512, 3, 3),
        "conv5.weight": (512, 512, 3, 3),
        "fc6.weight": (4096, 512 * 6 * 6),
        "fc7.weight": (2048, 4096),
        "fc8.weight": (1000, 2048),
    }
    # 92,469,864 floats are 369.9 MB, and the released file has 370 MB.
    assert sum(value.numel() for value in module.parameters()) == 92_469_864
    assert [part.p for part in module.modules() if isinstance(part, torch.nn.Dropout)] == [0.5, 0.5]


@pytest.mark.parametrize(("size", "sides"), [(224, [109, 54, 26, 13, 6]), (41, [18, 9, 4, 2, 1])])
def test_sides_of_the_feature_maps(size: int, sides: list[int]) -> None:
    seen: list[int] = []
    with torch.device("meta"):
        module = backbone().build(7, size)
        for name in ("conv1", "pool1", "conv2", "pool2", "pool5"):
            module.get_submodule(name).register_forward_hook(lambda part, given, out: seen.append(out.shape[-1]))
        assert module(torch.zeros(1, 3, size, size)).shape == (1, 7)
    assert seen == sides


def test_nothing_smaller_works() -> None:
    with pytest.raises(RecipeError, match="vgg-cnn-m-2048 needs images of 41 pixels or more, image_size is 40"):
        backbone().build(7, SMALLEST_IMAGE_SIZE - 1)
    with torch.device("meta"):
        module = VggCnnM(7, SMALL)
        module(torch.zeros(1, 3, SMALLEST_IMAGE_SIZE, SMALLEST_IMAGE_SIZE))
        with pytest.raises(RuntimeError, match="too small"):
            module(torch.zeros(1, 3, SMALLEST_IMAGE_SIZE - 1, SMALLEST_IMAGE_SIZE - 1))


def test_the_grid_changes_nothing_at_224() -> None:
    maps = torch.randn(2, 4, 6, 6)
    assert torch.equal(VggCnnM(7, SMALL).grid(maps), maps)


@pytest.mark.parametrize("size", [224, 48])
def test_the_mean_image_is_subtracted_from_values_of_0_to_255(size: int) -> None:
    module = VggCnnM(7, SMALL).eval()
    seen: list[torch.Tensor] = []
    module.conv1.register_forward_pre_hook(lambda part, given: seen.append(given[0]))
    ramp = torch.linspace(0, 255, IMAGE_SIZE).expand(3, IMAGE_SIZE, IMAGE_SIZE)
    module.mean_image.copy_(ramp * torch.tensor([1.0, 0.5, 0.1])[:, None, None])
    images = torch.rand(2, 3, size, size)
    module(images)
    # Centres of S pixels on a ramp of 224: pixel x of the small picture lies at (x + 1/2) * 224 / S - 1/2.
    places = (torch.arange(size) + 0.5) * IMAGE_SIZE / size - 0.5
    mean = places / (IMAGE_SIZE - 1) * 255 * torch.tensor([1.0, 0.5, 0.1])[:, None]
    torch.testing.assert_close(seen[0], images * 255 - mean[:, None, :], rtol=1e-5, atol=1e-3)


def test_random_weights_have_imagenet_s_mean_colour() -> None:
    module = VggCnnM(7, SMALL)
    assert "mean_image" in module.state_dict() and not module.mean_image.requires_grad
    expected = torch.tensor([0.485, 0.456, 0.406]) * 255
    torch.testing.assert_close(module.mean_image, expected[:, None, None].expand(3, 224, 224))


def stripes(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy stripes in one of four directions, which is the label."""
    labels = torch.randint(0, 4, (count,))
    angles, phases = (labels * torch.pi / 4)[:, None, None], 6.28 * torch.rand(count, 1, 1)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    waves = torch.sin(0.6 * (x * angles.cos() + y * angles.sin()) + phases)
    images = 0.5 + 0.2 * waves + 0.1 * torch.randn(count, size, size)
    return images.clamp(0, 1)[:, None].repeat(1, 3, 1, 1), labels


def test_it_learns_from_random_weights_at_its_own_rate() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = VggCnnM(4, Widths((16, 32, 48, 48, 48), (128, 64)))
        images, labels = stripes(256, SMALLEST_IMAGE_SIZE)
        first = functional.relu(module.conv1(images * 255 - 117))
        assert 0.2 < float(first.detach().std()) < 5
        rate = float(backbone().recipe["lr"])
        optimizer = torch.optim.SGD(module.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
        losses = []
        for step in range(60):
            optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / 15)
            batch = torch.randint(0, len(images), (16,))
            loss = functional.cross_entropy(module(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert sum(losses[:5]) / 5 > 1.0
    assert sum(losses[-10:]) / 10 < 0.5


def test_loading_the_plugin_imports_no_torch() -> None:
    code = "import sys, ferbench_plugins.vgg_cnn_m as p; p.ferbench_register_backbones(); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert answer.stdout == "False\n"
