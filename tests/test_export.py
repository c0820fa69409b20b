"""Exported networks against the row's own evaluation, by onnxruntime and read again; what is refused; the command."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from skimage import data
from tiny import Bench, bars, matrix, tiny_catalog
from torch import nn
from torch.nn import functional

from ferbench import Face, FaceDetector, hookimpl
from ferbench.catalog import Catalog
from ferbench.cli import root
from ferbench.data.batches import Normalisation
from ferbench.data.placement import place
from ferbench.ensembles import Method, make_ensemble
from ferbench.errors import ExportError, UsageError
from ferbench.export import exporting, onnx_file
from ferbench.export.agreement import agreement
from ferbench.export.exporting import Wanted, chosen_run, export
from ferbench.export.folder import check_folder, new_files
from ferbench.export.reading import load_exported, read_exported
from ferbench.export.trial import random_pictures
from ferbench.export.whole_network import WholeNetwork
from ferbench.faces import cut, found_faces
from ferbench.matrix import parse_axis
from ferbench.pages.exported import Exported
from ferbench.plugin_source import Plugin
from ferbench.publish.export import card_section
from ferbench.records import Run
from ferbench.reliability import scaled
from ferbench.settings import Settings
from ferbench.trained import load_trained
from ferbench.whole_files import HIDDEN

PLUGIN = """
from dataclasses import replace
from tiny import TinyPlugin, bar_dataset, tiny_backbone

free = replace(bar_dataset("free", 3), licence_permits=("weights",))
hooks = TinyPlugin([bar_dataset("small", 2), free], [tiny_backbone()])
ferbench_register_datasets = hooks.ferbench_register_datasets
ferbench_register_backbones = hooks.ferbench_register_backbones
"""

ONLY_WEIGHTS = Wanted(("safetensors",), exactly=True)


def call(folder: Path, *arguments: str, code: int = 0) -> Result:
    """The command line in this process; `code` is the exit code that is expected."""
    environment = {"STORE": str(folder / "board.sqlite"), "CACHE": str(folder / "cache"), "DEVICE": "cpu"}
    runner = CliRunner(env={"COLUMNS": "80", **{f"FERBENCH_{name}": value for name, value in environment.items()}})
    plugin = ["--plugin", str(folder / "tiny_plugin.py")]
    result = runner.invoke(root, [*plugin, *arguments], prog_name="ferbench")
    assert result.exit_code == code, result.output
    return result


def row_of(folder: Path, target: str) -> str:
    boards = json.loads(call(folder, "leaderboard", "-t", target, "--json").stdout)["boards"]
    return str(boards[0]["entries"][0]["row"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A row that reduces its pictures (12 to 9 pixels, where halves abound), exported, and a row of other data."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "tiny_plugin.py").write_text(PLUGIN, "utf-8")
    trained = ("run", "-b", "tiny", "-s", "target-only", "--weights", "random", "--set", "images_seen=128")
    call(folder, *trained, "-t", "small", "--set", "image_size=9", "--set", "grey=true", "--seed", "3", "--seed", "1")
    call(folder, *trained, "-t", "free", "--seed", "0")
    result = call(folder, "export", row_of(folder, "small"), str(folder / "out"))
    (folder / "stdout").write_text(result.stdout)
    (folder / "stderr").write_text(result.stderr)
    return folder


def stored(folder: Path, seed: int) -> np.ndarray:
    """What the row has said of its report split, calibrated, float32 [n, 7]."""
    csv = call(folder, "predictions", row_of(folder, "small"), "--csv", "--calibrated").stdout.splitlines()
    return np.array([line.split(",")[5:] for line in csv[1:] if line.startswith(f"{seed},")], np.float32)


def report() -> np.ndarray:
    """The report split's pictures in the stored order, uint8 [35, 12, 12, 3]."""
    return bars(35, 22)[0].repeat(3, axis=3)


def in_stored_order(folder: Path) -> np.ndarray:
    csv = call(folder, "predictions", row_of(folder, "small"), "--csv").stdout.splitlines()[1:36]
    return report()[[int(line.split(",")[1].removeprefix("te-")) for line in csv]]


def test_onnxruntime_says_what_the_row_has_stored(folder: Path) -> None:
    session = onnxruntime.InferenceSession(str(folder / "out" / "model.onnx"))
    found, logits = session.run(["probabilities", "logits"], {"images": in_stored_order(folder)})
    # The smallest seed is exported, and probabilities are at its temperature.
    np.testing.assert_allclose(found, stored(folder, 1), rtol=0, atol=2e-6)
    temperature = json.loads((folder / "out" / "config.json").read_text())["temperature"]
    np.testing.assert_allclose(torch.from_numpy(logits / temperature).softmax(1), found, atol=1e-6)
    assert temperature != 1 and logits.shape == (35, 7)
    one = session.run(["probabilities"], {"images": report()[:1, :5, :7]})[0]
    assert one.shape == (1, 7) and abs(one.sum() - 1) < 1e-6


def test_the_file_tells_what_it_is(folder: Path) -> None:
    proto = onnx.load(folder / "out" / "model.onnx")
    about = {each.key: each.value for each in proto.metadata_props}
    known = json.loads((folder / "out" / "config.json").read_text())
    assert {key: value if isinstance(known[key], str) else json.loads(value) for key, value in about.items()} == known
    assert (known["row"], known["seed"], known["image_size"], known["grey"]) == (row_of(folder, "small"), 1, 9, True)
    assert known["labels"][0] == "angry" and known["mean"] == [0.5] * 3 and known["board"]["n"] == 35
    assert proto.producer_name == "ferbench" and proto.opset_import[0].version == 18
    assert "[n, height, width, 3]" in proto.doc_string and "small: not told" in proto.doc_string
    shape = proto.graph.input[0].type.tensor_type.shape.dim
    assert [each.dim_param or each.dim_value for each in shape] == ["n", "height", "width", 3]
    # Nothing of this machine's folders: the exporter notes where each operation was traced.
    content = (folder / "out" / "model.onnx").read_bytes()
    assert str(Path(__file__).parents[1]).encode() not in content and b"site-packages" not in content
    with safe_open(folder / "out" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", **about}


def test_weights_are_the_checkpoint_s_and_are_read_again(folder: Path) -> None:
    known = json.loads((folder / "out" / "config.json").read_text())
    (checkpoint,) = (folder / "cache" / "checkpoints").glob(f"{known['stage']}*")
    ours, theirs = load_file(folder / "out" / "model.safetensors"), load_file(checkpoint)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    network = load_exported(folder / "out", plugins=[folder / "tiny_plugin.py"])
    probabilities, logits = network(in_stored_order(folder))
    np.testing.assert_allclose(probabilities, stored(folder, 1), rtol=0, atol=1e-6)
    assert network.labels[0] == "angry" and logits.dtype == np.float32


def test_the_examples_of_the_card_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = (folder / "out" / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(examples) == 2 and all(len(each.splitlines()) <= 10 for each in examples)
    at = folder / "tried"
    shutil.copytree(folder / "out", at)
    shutil.copy(folder / "tiny_plugin.py", at)
    Image.fromarray(report()[0]).save(at / "face.png")
    monkeypatch.chdir(at)
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    label, value = first.split()
    assert label == second.split()[0] and float(value) == pytest.approx(float(second.split()[1]), abs=1e-5)
    assert "weights beside this card are those of seed 1" in card and "35 of small te" in card


def test_what_is_printed(folder: Path) -> None:
    out, said = (folder / "stdout").read_text(), (folder / "stderr").read_text()
    assert all(len(line) <= 80 for line in out.splitlines() if str(folder) not in line)
    assert "uint8 [n, height, width, 3], opset 18" in out
    words = " ".join(out.split())
    assert "38 pictures (35 of small te, 3 drawn at random)" in words and "is named in 38 of 38" in words
    assert said.count("warning:") == 1 and "for your own use: nothing in the licence of small permits" in said


def test_what_a_licence_permits_needs_no_word_and_what_is_asked_for_is_said(folder: Path) -> None:
    free = call(folder, "export", row_of(folder, "free"), str(folder / "free"), "--format", "safetensors", "--json")
    found = json.loads(free.stdout)
    assert free.stderr == "" and found["withheld_by"] == [] and found["agreement"] is None
    written = {path.name: path.stat().st_size for path in (folder / "free").iterdir()}
    assert found["files"] == written and written.keys() == {"model.safetensors", "config.json", "README.md"}
    small = (row_of(folder, "small"), str(folder / "asked"), "--format", "safetensors", "--with", "weights")
    assert "passed on at your word" in call(folder, "export", *small).stderr
    assert "passed on at the word of whoever exported them" in (folder / "asked" / "README.md").read_text()
    # What lay there before and is no more is gone.
    shutil.copytree(folder / "out", folder / "again")
    (folder / "again" / "notes.txt").write_text("mine")
    call(folder, "export", small[0], str(folder / "again"), "--format", "safetensors", "--seed", "3")
    assert {path.name for path in (folder / "again").iterdir()} == {*written, "notes.txt"}
    assert json.loads((folder / "again" / "config.json").read_text())["seed"] == 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--seed", "7"], "no finished run of seed 7: there are 1, 3"),
        (["--format", "tflite"], "--format tflite: it is onnx or safetensors"),
        (["--format", ","], "it is onnx or safetensors"),
        (["--opset", "9"], "9 is not in the range 18<=x<=23"),
    ],
)
def test_calls_that_are_refused(folder: Path, arguments: list[str], line: str) -> None:
    result = call(folder, "export", row_of(folder, "small"), str(folder / "refused"), *arguments, code=2)
    assert line in result.stderr and not (folder / "refused").exists()


def test_a_folder_with_other_things_is_left_alone(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "config.json").write_text('{"mine": 1}')
    result = call(folder, "export", row_of(folder, "small"), str(folder / "mine"), code=2)
    assert "is not empty and holds no export of ferbench" in result.stderr
    assert [path.name for path in (folder / "mine").iterdir()] == ["config.json"]


def test_without_the_extra_weights_are_written_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str) -> object:
        return None if name in ("onnx", "onnxscript") else name

    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", found)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    arguments = ("export", row_of(folder, "free"), str(folder / "bare"))
    line = (
        "ONNX needs onnx and onnxscript, which are not installed and onnxruntime, which cannot be imported (import of "
        "onnxruntime halted; None in sys.modules): pip install 'ferbench[export]'"
    )
    assert line in call(folder, *arguments, "--format", "onnx", code=2).stderr
    assert f"warning: no ONNX file: {line}" in call(folder, *arguments).stderr
    assert not (folder / "bare" / "model.onnx").exists() and (folder / "bare" / "model.safetensors").exists()


def whole(module: nn.Module, size: int = 8, *, grey: bool = False) -> WholeNetwork:
    return WholeNetwork(module, Normalisation((0.0,) * 3, (1 / 255,) * 3), size, grey, None).eval()


@pytest.mark.parametrize("shape", [(12, 12), (96, 72), (48, 30), (64, 64), (41, 150), (1, 1)])
def test_pictures_are_stretched_as_evaluation_does(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *shape, 3)).astype(np.uint8)
    stretched = whole(nn.Flatten(), 64)(torch.from_numpy(images))[2].numpy()
    placed = place(images, 64, "cpu").images.float()
    theirs = functional.interpolate(placed, (64, 64), mode="bilinear", align_corners=False).numpy()
    differences = np.abs(stretched - theirs)
    # Sums that are half of a grey level may be rounded to either side.
    assert differences.max() <= 1.001 and (differences > 0.01).mean() < 5e-3


def test_grey_is_the_luma_that_pillow_has() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    stretched = whole(nn.Flatten(), grey=True)(torch.from_numpy(images))[2].numpy()
    pillow = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])[:, None]
    assert np.abs(stretched - pillow).max() <= 1 and (stretched != pillow).mean() < 0.01


class OneByOne(nn.Module):
    """Takes its pictures apart, so that their number is part of what it computes."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([each.mean(dim=(2, 3)) for each in images.split(1)])


class Hypotenuse(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.hypot(images, images).mean(dim=(2, 3))


def test_networks_that_cannot_be_written_for_any_number_of_pictures_or_at_all() -> None:
    written = onnx_file.onnx_file(whole(OneByOne()), 18, {}, lambda batches: f"batches {batches}")
    assert not written.batches and onnx.load_from_string(written.content).doc_string == "batches False"
    session = onnxruntime.InferenceSession(written.content)
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(session.run(["logits"], {"images": image})[0], image.mean(axis=(1, 2)), rtol=1e-5)
    with pytest.raises(ExportError, match=r"^the network computes prims.hypot, which torch cannot write as ONNX$"):
        onnx_file.onnx_file(whole(Hypotenuse()), 18, {}, str)


def settings_of(bench: Bench) -> Settings:
    return Settings(bench.store.location, bench.folder / "data", bench.folder / "cache", "cpu")


def exported(bench: Bench, run: Run, folder: Path, wanted: Wanted = ONLY_WEIGHTS) -> Exported:
    return export(run, folder, bench.store, bench.catalog, settings_of(bench), wanted, lambda files: "card")


def test_a_file_that_answers_otherwise_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = bench.run("target-only", recipe={"image_size": 9}).finished
    trained = load_trained(run, bench.store, bench.catalog, settings_of(bench))
    network = WholeNetwork(trained.module, trained.normalisation, 9, False, trained.temperature).eval()
    file = onnx_file.onnx_file(network, 20, {}, str)
    assert onnx.load_from_string(file.content).opset_import[0].version == 20

    def unreadable() -> list[np.ndarray]:
        raise UsageError("gone")

    told = agreement(file, trained, unreadable, "small te")
    assert not told.real and told.source == "drawn at random, for small te cannot be read here"
    assert told.difference < 1e-5 and told.same_top == told.samples
    nearest = dataclasses.replace(file, stretching=nearest_neighbour(9), batches=False)
    with pytest.raises(ExportError, match=r"stretches pictures otherwise than torch: \d+\.\d% of values differ"):
        agreement(nearest, trained, unreadable, "small te")
    with torch.no_grad():
        trained.module[6].bias[0] += 0.01
    with pytest.raises(ExportError, match=r"answers otherwise than torch: a probability differs by 0\.0"):
        agreement(file, trained, unreadable, "small te")
    with pytest.raises(ExportError, match="cannot run the file"):
        agreement(dataclasses.replace(file, stretching=b"no file"), trained, unreadable, "small te")


def nearest_neighbour(size: int) -> bytes:
    """A file that stretches by repeating pixels, or by leaving them out."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Resize", ["planes", "", "", "sizes"], ["stretched"], mode="nearest"),
    ]
    graph = helper.make_graph(
        nodes,
        "nearest",
        [helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("stretched", onnx.TensorProto.FLOAT, None)],
        [helper.make_tensor("sizes", onnx.TensorProto.INT64, [4], [1, 3, size, size])],
    )
    imports = [helper.make_opsetid("", 18)]
    content: bytes = helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()
    return content


def test_what_is_not_whole_is_not_written(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = bench.run("target-only linear-probe", recipe={"head_fit": "sgd"}).finished
    folder = tmp_path / "deep" / "out"
    found = exported(bench, run, folder)
    assert [file.name for file in found.files] == ["model.safetensors", "config.json", "README.md"]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    # Weights that are not all in the state dict would answer otherwise once they are read.
    monkeypatch.setattr(
        exporting, "read_exported", lambda *_: lambda images: (np.full((1, 7), 0.2, np.float32), images)
    )
    with pytest.raises(ExportError, match="read again, answers otherwise than the network"):
        exported(bench, other, folder)
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ExportError, match=r"cannot be written \(No space left on device\): free room or name another"):
        exported(bench, other, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    monkeypatch.undo()
    row = make_ensemble(bench.store, [run.row, other.row], Method()).row
    with pytest.raises(
        UsageError, match=rf"an ensemble, the mean of 2 networks: export its members, .*{run.row} --seed"
    ):
        chosen_run(bench.store.runs(row=row), None)


def full_disk(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_svm_head_is_read_again(bench: Bench, tmp_path: Path) -> None:
    (run,) = bench.run("linear-probe", recipe={"head_fit": "svm"}).finished
    found = exported(bench, run, tmp_path / "out")
    network = read_exported(tmp_path / "out", bench.catalog.backbone("tiny"))
    trained = load_trained(run, bench.store, bench.catalog, settings_of(bench))
    pictures = random_pictures(12, 6)
    probabilities = np.concatenate([network(picture[None])[0] for picture in pictures])
    expected = trained.probabilities(pictures)
    if trained.temperature is not None:
        expected = scaled(expected, trained.temperature)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    # What else a card has to say.
    other = {"backbone": "own/…/net", "precision": "bf16", "batches": False, "temperature": None, "faces": "align"}
    told = "\n".join(card_section(dataclasses.replace(found, **other)))
    assert 'load_exported(".", backbone="own/FOLDER/net")' in told and "uint8 [1, height, width, 3]" in told
    assert "computed in bf16; the files compute in fp32" in told
    assert "one picture at a time only" in told and "No temperature was fitted" in told and "onnxruntime" not in told
    assert [part.shape for part in network(np.empty((0, 9, 9, 3), np.uint8))] == [(0, 7), (0, 7)]


def test_a_network_of_faces(make_bench: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of faces in the last stage alone; its detector is missing where it is exported."""
    catalog = tiny_catalog()
    detector = FaceDetector("middle", 1, lambda image: [Face((2, 2, 8, 8), 0.9)])
    catalog.add(
        Plugin("middle", "tests", SimpleNamespace(ferbench_register_face_detectors=hookimpl(lambda: [detector])))
    )
    bench = make_bench("faces", catalog)
    axes = (parse_axis("stage2.faces=crop"), parse_axis("face_detector=middle"))
    cells = dataclasses.replace(matrix("cascade"), axes=axes)
    (run,) = bench.engine.run(bench.engine.prepare(cells, calibrate=False)).finished
    bench = dataclasses.replace(bench, catalog=tiny_catalog())
    found = exported(bench, run, tmp_path / "out", Wanted())
    assert found.agreement is not None and not found.agreement.real
    assert found.agreement.source == "drawn at random, for small te cannot be cut to faces here"
    known = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (known["faces"], known["face_detector"], known["faces_found_by"]) == ("crop", "middle", "middle 1")
    # The card's example cuts as evaluation does.
    named = dataclasses.replace(found, face_detector="yunet", faces="align", image_size=48)
    card = "\n".join(card_section(named))
    assert "faces that middle 1 finds, cut as ferbench does with faces=align, at most 48 pixels a side" in card
    (code,) = re.findall(r"## Cut to the face\n\n```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(data.astronaut()).save("picture.jpg")
    exec(compile(code, "README.md", "exec"), {})
    photo = np.asarray(Image.open("picture.jpg"))
    (face,) = found_faces(photo, Catalog.load().face_detector("yunet"))
    np.testing.assert_array_equal(np.asarray(Image.open("face.png")), cut(photo, face, "align", 48))


def test_an_export_is_replaced_without_a_file_that_tells_of_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    made: list[Path] = []
    mkdtemp = tempfile.mkdtemp

    def noted(**asked: Any) -> str:
        made.append(Path(asked["dir"]))
        return mkdtemp(**asked)

    monkeypatch.setattr(tempfile, "mkdtemp", noted)
    first = {"model.onnx": b"1", "model.safetensors": b"1", "config.json": b'{"ferbench_export": 1}'}
    with new_files(folder, first):
        pass
    # What is there may be a disk of its own, so that nothing is moved into it from beside.
    assert made == [folder]
    order: list[str] = []
    replace = Path.replace

    def stopping(self: Path, target: Path) -> Path:
        assert not (folder / "config.json").exists()
        if order:
            raise KeyboardInterrupt
        order.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stopping)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as for a process that is killed
    with pytest.raises(KeyboardInterrupt), new_files(folder, {**first, "model.onnx": b"2"}):
        pass
    monkeypatch.undo()
    assert order == ["model.onnx"] and not (folder / "config.json").exists()
    check_folder(folder)
    with new_files(folder, first):
        pass
    assert {name: (folder / name).read_bytes() for name in first} == first
    # What a killed process leaves beside a new folder, or in one of other things, makes no export of it.
    for left, mine in ((f"{HIDDEN}x", "model.onnx"), (".replacing-x", "thesis.tex")):
        other = tmp_path / f"other{left}"
        (other / left).mkdir(parents=True)
        (other / left / "config.json").write_bytes(first["config.json"])
        (other / mine).write_text("mine")
        with pytest.raises(UsageError, match=r"is not empty and holds no export of ferbench"):
            check_folder(other)
    # Nor is a folder of the user's own swept away because of how it is called.
    thesis = tmp_path / f"{HIDDEN}mine" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    os.utime(thesis.parent, (0, 0))
    with new_files(tmp_path / "beside", first):
        pass
    assert thesis.exists() and (tmp_path / "beside" / "config.json").exists()


def test_a_folder_that_is_no_export_or_of_another_backbone(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be read"):
        load_exported(tmp_path)
    shutil.copytree(folder / "out", tmp_path / "out")
    config = tmp_path / "out" / "config.json"
    known = json.loads(config.read_text())
    config.write_text(json.dumps({**known, "labels": known["labels"][:5]}))
    with pytest.raises(ExportError, match="does not fit tiny, version 1"):
        load_exported(tmp_path / "out", plugins=[folder / "tiny_plugin.py"])
    for text, line in (("{", "is no JSON"), ('{"ferbench_export": 2}', "is of format 2 and format 1")):
        config.write_text(text)
        with pytest.raises(ExportError, match=line):
            load_exported(tmp_path / "out")
