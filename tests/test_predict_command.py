"""`ferbench predict` as users meet it: what may be named, which row answers, what is printed and written."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from skimage import data

import ferbench_plugins.yunet as yunet
from ferbench.cli import root
from ferbench.cli.predict import _input, _names
from ferbench.data.given_pictures import given_pictures
from ferbench.errors import UsageError
from ferbench.store import open_store

PLUGIN = """
from tiny import TinyPlugin, bar_dataset, tiny_backbone

hooks = TinyPlugin([bar_dataset("small", 2), bar_dataset("other", 3)], [tiny_backbone(), tiny_backbone("twin")])
ferbench_register_datasets = hooks.ferbench_register_datasets
ferbench_register_backbones = hooks.ferbench_register_backbones
"""

DETECTOR = """
from ferbench import Face, FaceDetector, hookimpl

@hookimpl
def ferbench_register_face_detectors():
    return [FaceDetector("middle", 1, lambda image: [Face((2, 2, 8, 8), 0.9)])]
"""

Call = Callable[..., Result]

TRAINED = ("run", "-s", "target-only", "--weights", "random", "--set", "images_seen=64", "--seed", "0", "--seed", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two rows on one board, checkpoints, and pictures."""
    folder = tmp_path_factory.mktemp("predict")
    (folder / "tiny_plugin.py").write_text(PLUGIN, "utf-8")
    call(folder, *TRAINED, "-t", "small", "-b", "tiny", "-b", "twin")
    pictures = folder / "pictures"
    (pictures / "more").mkdir(parents=True)
    Image.fromarray(data.astronaut()).save(pictures / "astronaut.png")
    small = (255 * data.lfw_subset()).round().astype(np.uint8)
    Image.fromarray(small[0]).save(pictures / "more" / "face.png")
    Image.fromarray(data.astronaut()).rotate(90, expand=True).save(pictures / "more" / "turned.jpg", exif=_turned())
    (pictures / "notes.txt").write_text("no picture")
    return folder


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def call(folder: Path, *arguments: str, code: int = 0, stdin: bytes | None = None, **changed: str) -> Result:
    """The command line in this process; `code` is the exit code that is expected."""
    environment = {"STORE": str(folder / "board.sqlite"), "CACHE": str(folder / "cache"), "DEVICE": "cpu", **changed}
    runner = CliRunner(env={"COLUMNS": "80", **{f"FERBENCH_{name}": value for name, value in environment.items()}})
    command = ["--plugin", str(folder / "tiny_plugin.py"), *arguments]
    result = runner.invoke(root, command, prog_name="ferbench", input=stdin)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def predict(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(folder)

    def called(*arguments: str, **changed: object) -> Result:
        return call(folder, "predict", *arguments, **changed)  # type: ignore[arg-type]

    return called


def rows(folder: Path) -> list[str]:
    """By rank."""
    boards = json.loads(call(folder, "leaderboard", "--json").stdout)["boards"]
    return [str(entry["row"]) for board in boards for entry in board["entries"]]


def test_one_picture_in_text(predict: Call, folder: Path) -> None:
    result = predict("pictures/astronaut.png")
    first = " ".join(result.stdout.split("\n\n")[0].split())
    assert first.startswith(f"row {rows(folder)[0]} · t") and "the best of 2 rows of small te, rank 1" in first
    assert first.endswith("· mean of seeds 0-1 · calibrated probabilities")
    lines = result.stdout.split("\n\n")[1].splitlines()
    assert lines[0] == "pictures/astronaut.png  512 x 512, 1 face"
    assert re.fullmatch(r"  face 1 at \d+,\d+ \(\d+ x \d+\), score 0\.\d\d", lines[1])
    shown = [re.fullmatch(r"    (\w+) +(\d+\.\d) %(?:  [▏▎▍▌▋▊▉█]+)?", line) for line in lines[2:]]
    assert len(shown) == 3 and all(shown)
    percentages = [float(each[2]) for each in shown if each]
    assert percentages == sorted(percentages, reverse=True) and 0 < sum(percentages) <= 100.1
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    note = f"warning: row {rows(folder)[0]} was trained on synthetic faces: on real ones it errs more often than its"
    assert result.stderr.count("\n") == 1 and result.stderr.startswith(note)


def test_many_pictures_in_text_and_a_broken_one(predict: Call, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes((folder / "pictures/astronaut.png").read_bytes()[:900])
    result = predict("pictures", str(tmp_path / "broken.png"), "nothing.jpg", "--top", "2", code=1)
    head, listed, summary = result.stdout.split("\n\n")
    names = [line.split("  ")[0] for line in listed.splitlines()]
    assert head and names == ["pictures/astronaut.png", "pictures/more/face.png", "pictures/more/turned.jpg"]
    assert all(len(line) == 80 and line.count(" %") == 2 for line in listed.splitlines())
    assert summary.startswith("3 pictures · 3 faces: ")
    (folder / "lost.png").symlink_to("nowhere")
    lost = predict("lost.png", "-", stdin=b"", code=1)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and "broken.png is broken" in errors[0]
    assert "error: image lost.png does not exist: it was removed, or is a link to nothing" in lost.stderr
    assert "error: image on standard input is not an image that can be read" in lost.stderr
    assert errors[1] == "error: nothing.jpg does not exist: name a picture, a folder, or a pattern in quotes"


def test_json_says_the_same_of_files_patterns_and_standard_input(predict: Call, folder: Path) -> None:
    content = (folder / "pictures/astronaut.png").read_bytes()
    found = json.loads(predict("pictures/*.png", "pictures/more/*.jpg", "-", "--json", stdin=content).stdout)
    assert {"row", "board", "label_set", "calibrated", "images", "errors", "notes", "seeds", "synthetic"} <= set(found)
    assert (found["label_set"], found["calibrated"], found["seeds"]) == ("basic7", True, [0, 1])
    assert 0.05 <= found["temperature"] <= 20
    assert (found["faces"], found["face_detector"], found["errors"]) == ("crop", "yunet", [])
    assert (found["board"]["target"], found["board"]["split"]) == ("small", "te")
    first, turned, piped = found["images"]
    assert [each["path"] for each in found["images"]] == ["pictures/astronaut.png", "pictures/more/turned.jpg", "-"]
    assert (first["width"], first["height"], first["whole"]) == (512, 512, False)
    (face,) = first["faces"]
    assert len(face["box"]) == 4 and len(face["expressions"]) == 7
    assert sum(each["probability"] for each in face["expressions"]) == pytest.approx(1, abs=1e-6)
    assert piped["faces"] == first["faces"]
    # The turned one is upright again: the same place, but for what JPEG changes.
    np.testing.assert_allclose(turned["faces"][0]["box"], face["box"], atol=4)
    listed = json.loads(
        predict("--files-from", "-", "--json", "--top", "1", stdin=b"pictures/astronaut.png\0gone.png\0", code=1).stdout
    )
    assert [len(each["expressions"]) for each in listed["images"][0]["faces"]] == [1]
    assert [each["path"] for each in listed["errors"]] == ["gone.png"]


def test_a_closed_standard_input_matters_to_nobody_who_does_not_read_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    found = list(given_pictures(_names(("a.png",), None), _input))
    assert [each.name for each in found] == ["a.png"]
    for names, listed in ((("-",), None), ((), Path("-"))):
        with pytest.raises(UsageError, match=r"^standard input is closed"):
            list(given_pictures(_names(names, listed), _input))


def test_csv_has_a_line_a_face(predict: Call, folder: Path) -> None:
    (line,) = csv.DictReader(io.StringIO(predict("pictures/more/face.png", "--faces", "none", "--csv").stdout))
    assert (line["path"], line["face"], line["left"], line["score"]) == ("pictures/more/face.png", "1", "", "")
    said = {name.removeprefix("p_"): float(value) for name, value in line.items() if name.startswith("p_")}
    assert len(said) == 7 and max(said, key=said.__getitem__) == line["expression"]
    assert sum(said.values()) == pytest.approx(1, abs=1e-6)


def test_which_row_answers(predict: Call, folder: Path, tmp_path: Path) -> None:
    best, second = rows(folder)
    picture = ("pictures/more/face.png", "--json")
    assert json.loads(predict(*picture, "--row", second[:6]).stdout)["row"] == second
    alone = json.loads(predict(*picture, "--seed", "1").stdout)
    assert (alone["row"], alone["seeds"]) == (best, [1])
    backbone = json.loads(predict(*picture, "--row", second).stdout)["backbone"]
    assert json.loads(predict(*picture, "--where", f"backbone={backbone}").stdout)["row"] == second
    for arguments, said in (
        (("--seed", "9", "--row", best), f"row {best} has no finished seed 9: there are 0-1"),
        (("--target", "far"), "no board of target 'far': there are small"),
        (("--where", "backbone=none"), "no row fits backbone=none"),
        (("--row", best, "--target", "small"), "--row names the row that answers"),
        (("--explain",), "give --annotated DIR"),
        (("--csv",), "give one of them"),
        (("-", "-"), "error: standard input is one picture: name - once\n"),
        (("--seed", "9"), "no row of small te that is asked for has a run of seed 9: there are 0-1\n"),
    ):
        assert said in predict(*picture, *arguments, code=2).stderr
    assert "name a picture" in predict(code=2).stderr
    # Checkpoints that are not here: of a seed, of the best row, of all.
    cache = tmp_path / "cache"
    (cache / "checkpoints").mkdir(parents=True)
    entries = json.loads(call(folder, "leaderboard", "--json").stdout)["boards"][0]["entries"]
    assert [entry["row"] for entry in entries] == [best, second]
    nothing = predict(*picture, CACHE=str(cache), code=1)
    assert "no row of small te that is asked for has its checkpoints in" in nothing.stderr
    with open_store(str(folder / "board.sqlite"), read_only=True) as store:
        stages = {row: [run.stages[-1] for run in store.runs(row=row)] for row in (best, second)}
    for name in (*stages[second], stages[best][0]):
        content = (folder / "cache/checkpoints" / f"{name}.safetensors").read_bytes()
        (cache / "checkpoints" / f"{name}.safetensors").write_bytes(content)
    passed = predict(*picture, CACHE=str(cache))
    assert json.loads(passed.stdout)["row"] == second
    assert f"warning: row {best} ranked above, without" in passed.stderr
    # Of one seed, its checkpoint is all that is needed.
    seed = json.loads(predict(*picture, "--row", best, CACHE=str(cache)).stdout)["seeds"][0]
    alone = json.loads(predict(*picture, "--seed", str(seed), CACHE=str(cache)).stdout)
    assert (alone["row"], alone["seeds"]) == (best, [seed])
    partly = predict(*picture, "--row", best, CACHE=str(cache))
    assert len(json.loads(partly.stdout)["seeds"]) == 1 and "left out, without a checkpoint in" in partly.stderr


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_annotated_and_explained_pictures(
    predict: Call, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    result = predict("pictures", "--annotated", str(seen), "--explain", "--json")
    written = [path.relative_to(seen).as_posix() for path in sorted(seen.rglob("*.*"))]
    assert written == ["astronaut.png", "more/face.png", "more/turned.jpg"]
    assert [each["annotated"] for each in json.loads(result.stdout)["images"]] == [str(seen / name) for name in written]
    # A box and a plate in the picture, and what speaks for the answer below it.
    with Image.open(seen / "astronaut.png") as drawn:
        assert drawn.width >= 512 and drawn.height > drawn.width + 200
    # Once more, and what was drawn is no picture to answer; a copy that cannot be written takes no answer away.
    (tmp_path / "few/seen").mkdir(parents=True)
    (tmp_path / "few/a.png").write_bytes((folder / "pictures/more/face.png").read_bytes())
    few = (str(tmp_path / "few"), "--annotated", str(tmp_path / "few/seen"), "--json")
    for _ in range(2):
        assert [each["annotated"] for each in json.loads(predict(*few).stdout)["images"]] == [
            str(tmp_path / "few/seen/a.png")
        ]
    monkeypatch.setattr("ferbench.publish.annotated.whole_file", full_disk)
    lost = predict(*few, code=1)
    (image,), (error,) = (json.loads(lost.stdout)[key] for key in ("images", "errors"))
    assert image["annotated"] is None and len(image["faces"]) == 1 and "No space left on device" in error["error"]
    assert sum(line.startswith("error: --annotated") for line in lost.stderr.splitlines()) == 1
    refused = predict("pictures/astronaut.png", "--annotated", "pictures", code=2)
    assert "would overwrite pictures/astronaut.png" in refused.stderr


def test_without_the_extras(predict: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    # One that was loaded by an earlier call would do without.
    monkeypatch.delattr(yunet._of_thread, "network", raising=False)
    whole = predict("pictures/astronaut.png")
    assert "512 x 512, taken whole" in whole.stdout
    assert whole.stderr.count("pictures are taken whole, since no faces can be looked for") == 1
    assert "pip install 'ferbench[faces]'" in whole.stderr
    assert "pip install 'ferbench[faces]'" in predict("pictures/astronaut.png", "--faces", "crop", code=1).stderr
    monkeypatch.setitem(sys.modules, "captum", None)
    refused = predict("pictures/astronaut.png", "--annotated", "seen", "--explain", code=2)
    assert refused.stderr.endswith("pip install 'ferbench[explain]'\n")


def test_a_row_whose_detector_is_missing_is_told_and_passed_over(folder: Path, tmp_path: Path) -> None:
    for name in ("tiny_plugin.py", "pictures/more/face.png"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "det.py").write_text(DETECTOR, "utf-8")
    run = (*TRAINED[:-2], "-t", "small", "-b", "tiny")
    call(tmp_path, *run)
    call(tmp_path, *run, "--set", "faces=crop", "--set", "face_detector=middle", "--plugin", str(tmp_path / "det.py"))
    entries = json.loads(call(tmp_path, "leaderboard", "--json").stdout)["boards"][0]["entries"]
    rows = [str(entry["row"]) for entry in entries]
    with open_store(str(tmp_path / "board.sqlite"), read_only=True) as store:
        faces = next(row for row in rows for run in store.runs(row=row) if "det" in dict(run.sources))
    found = call(tmp_path, "predict", str(tmp_path / "face.png"), "--json")
    assert json.loads(found.stdout)["row"] == next(row for row in rows if row != faces)
    line = f"row {faces} ranked above, trained on faces of a detector that no plugin here provides: load its file with"
    assert (line in found.stderr) == (rows[0] == faces)
    alone = call(tmp_path, "predict", str(tmp_path / "face.png"), "--where", "faces=crop", code=2).stderr
    assert alone == (
        f"error: no row of small te that is asked for can answer: row {faces}, trained on faces of a detector that no "
        "plugin here provides: load its file with --plugin\n"
    )
    named = call(tmp_path, "predict", str(tmp_path / "face.png"), "--row", faces, code=2).stderr
    assert "on faces that detector 'middle' finds, which no plugin here provides (det is not loaded): load" in named
    assert call(tmp_path, "predict", str(tmp_path / "face.png"), "--row", faces, "--faces", "none").stdout
    exported = call(tmp_path, "export", faces, str(tmp_path / "out"), "--format", "safetensors")
    assert "config.json" in exported.stdout


def test_several_boards_are_told_apart(predict: Call, folder: Path) -> None:
    """Last, since it adds a board to the store of all."""
    call(folder, *TRAINED[:-2], "-t", "other", "-b", "tiny")
    told = predict("pictures/astronaut.png", code=2).stderr
    assert told.startswith("error: there are 2 boards to take a row from: choose with --target or --where, or name the")
    assert re.search(r"--row [0-9a-f]{10} is the first of other te \(n 35, basic7\); --row [0-9a-f]{10} is", told)
    assert predict("pictures/astronaut.png", "--target", "other").stdout.startswith("row ")
