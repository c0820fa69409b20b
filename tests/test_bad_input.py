"""Bad input from end to end: one line that names file, row, value and what to do; the exit code; nothing lost.

Each case starts from a store with one finished row, which must be there unchanged afterwards.
"""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from ferbench.cli import root
from ferbench.store import codec

PLUGIN = """
import dataclasses
from ferbench import hookimpl
from tiny import bar_dataset, tiny_backbone

# With a head of a megabyte.
def wide(num_classes, image_size):
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 1024, 3), nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(36_864, num_classes))

@hookimpl
def ferbench_register_datasets():
    return [bar_dataset("small", 2)]

@hookimpl
def ferbench_register_backbones():
    return [tiny_backbone(), dataclasses.replace(tiny_backbone("wide"), build=wide, classifier="3")]
"""

#: A process that cannot write a file of more than so many bytes; the write that goes beyond fails in its middle.
LIMITED = """
import resource, signal, sys
limit = int(sys.argv.pop(1))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
from ferbench.cli import root
from ferbench.store import codec
root.main(prog_name="ferbench")
"""

RUN = ("run", "-b", "tiny", "-s", "target-only", "--weights", "random", "--set", "images_seen=16")
SMALL = (*RUN, "-t", "small")
#: Words of a programmer that no user should have to read.
JARGON = re.compile(r"Traceback|Errno|unexpected|[A-Z]\w*(?:Error|Exception|Warning)\b|NoneType|<class|0x[0-9a-f]{6}")

Call = Callable[..., Result]


class Home:
    """A folder to work in, with a plugin file, a cache, and a store that holds one finished row."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def call(self, *arguments: object) -> Result:
        texts = [str(each) for each in arguments]
        return CliRunner().invoke(root, ["--plugin", "plugin.py", *texts], prog_name="ferbench")

    def board(self) -> list[object]:
        shown = self.call("leaderboard", "--json")
        assert shown.exit_code == 0, shown.output
        return list(json.loads(shown.stdout)["boards"])

    def process(self, *arguments: object, limit: int | None = None) -> subprocess.CompletedProcess[str]:
        start = ["-m", "ferbench"] if limit is None else ["-c", LIMITED, str(limit)]
        command = [sys.executable, *start, "--plugin", "plugin.py", *map(str, arguments)]
        paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=100, check=False
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a first command leaves it, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "plugin.py").write_text(PLUGIN, "utf-8")
    home = ["--plugin", str(folder / "plugin.py"), "--store", str(folder / "board.sqlite")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERBENCH_CACHE", str(folder / "cache"))
        patch.setenv("FERBENCH_DEVICE", "cpu")
        done = CliRunner().invoke(root, [*home, *SMALL])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def home(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    folder = tmp_path / "work"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    for name, value in {"STORE": "board.sqlite", "CACHE": "cache", "DATA": "data"}.items():
        monkeypatch.setenv(f"FERBENCH_{name}", str(folder / value))
    monkeypatch.setenv("FERBENCH_DEVICE", "cpu")
    monkeypatch.setenv("COLUMNS", "2000")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Home(folder)


@pytest.fixture
def kept(home: Home) -> Iterator[Home]:
    """The same, and in the end the store holds what it held."""
    before = home.board()
    assert len(before) == 1
    yield home
    assert home.board() == before


def refused(result: Result | subprocess.CompletedProcess[str], code: int, parts: Sequence[str]) -> str:
    """The one line on stderr of a command that was refused, all parts in it in this order."""
    code_given = result.exit_code if isinstance(result, Result) else result.returncode
    lines = result.stderr.splitlines()
    assert code_given == code, (code_given, result.stdout, result.stderr)
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    holds(lines[0], parts)
    # The first line says which data and store; no other word about what cannot be done.
    assert not [line for line in result.stdout.splitlines() if line.startswith(("error", "failed", "fault"))]
    return lines[0]


def holds(line: str, parts: Sequence[str]) -> None:
    assert not JARGON.search(line), line
    # However deep the folder of the tests lies.
    assert len(line.replace(str(Path.cwd()), "")) < 450, line
    place = 0
    for part in parts:
        assert part in line[place:], f"{part!r} is not in {line[place:]!r}"
        place = line.index(part, place) + len(part)


# --- data ---------------------------------------------------------------------------------------------------------


def picture(number: int, size: int = 12) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (size, size)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def tree(names: Sequence[str] = ("happy", "sad"), splits: Sequence[str] = ("train", "val", "test")) -> dict[str, bytes]:
    """Files of class folders by path, two a class."""
    paths = [f"{split}/{name}/{number}.png" for split in splits for name in names for number in range(2)]
    return {path: picture(number) for number, path in enumerate(paths)}


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def packed(file: Path, files: dict[str, bytes]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return file


def truncated(file: Path) -> Path:
    file.write_bytes(file.read_bytes()[:-100])
    return file


def protected(file: Path) -> Path:
    """The flag that says that an entry is encrypted, set at each entry and in the directory."""
    content = bytearray(file.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(mark), bytes(content)):
            content[found.start() + flags] |= 1
    file.write_bytes(content)
    return file


def fer_rows() -> list[str]:
    """The lines of a small fer2013.csv: a face of each class in each split."""
    draw = np.random.default_rng(0)
    faces = [
        f"{code},{' '.join(map(str, draw.integers(0, 256, 2304)))},{usage}"
        for usage in ("Training", "PublicTest", "PrivateTest")
        for code in range(7)
    ]
    return ["emotion,pixels,Usage", *faces]


def fer2013(home: Home, change: Callable[[list[str]], object]) -> tuple[str, str]:
    lines = fer_rows()
    change(lines)
    file = home / "data/fer2013/fer2013.csv"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return "fer2013", str(file)


def with_pixels(change: Callable[[list[str]], object]) -> Callable[[list[str]], None]:
    """Change the numbers of row 5."""

    def changed(lines: list[str]) -> None:
        code, numbers, usage = lines[4].split(",")
        words = numbers.split()
        change(words)
        lines[4] = f"{code},{' '.join(words)},{usage}"

    return changed


def in_row_5(old: str, new: str) -> Callable[[list[str]], None]:
    def changed(lines: list[str]) -> None:
        assert old in lines[4]
        lines[4] = lines[4].replace(old, new, 1)

    return changed


def manifest(home: Home, change: Callable[[list[str]], object]) -> tuple[str, str]:
    files = tree()
    unpacked(home / "own", files)
    lines = ["path,label,split", *(f"{path},{path.split('/')[1]},{path.split('/')[0]}" for path in files)]
    change(lines)
    (home / "own/list.csv").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return "manifest:own/list.csv", str(home / "own/list.csv")


def folder(home: Home, files: dict[str, bytes]) -> tuple[str, str]:
    return "folder:own", str(unpacked(home / "own", files))


def zipped(home: Home, files: dict[str, bytes], spoil: Callable[[Path], object] = str) -> tuple[str, str]:
    file = packed(home / "own.zip", files)
    spoil(file)
    return "folder:own.zip", str(file)


def sfew(home: Home, spoil: Callable[[Path], object]) -> tuple[str, str]:
    place = home / "data/sfew"
    packed(place / "Val_Aligned_Faces.zip", tree(("Angry", "Happy"), ("Val_Aligned_Faces",)))
    file = packed(place / "Train_Aligned_Faces.zip", tree(("Angry", "Happy"), ("Train_Aligned_Faces",)))
    spoil(file)
    return "sfew", str(file)


def fer_zip(home: Home, spoil: Callable[[Path], object]) -> tuple[str, str]:
    file = packed(home / "data/fer2013/archive.zip", {"fer2013.csv": "\n".join(fer_rows()).encode()})
    spoil(file)
    return "fer2013", str(file)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def huge_png(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def folder_with_link(home: Home) -> tuple[str, str]:
    (home / "elsewhere.png").write_bytes(picture(99))
    name, place = folder(home, tree())
    (Path(place) / "train/sad/link.png").symlink_to(home / "elsewhere.png")
    return name, place


def manifest_with_link(home: Home) -> tuple[str, str]:
    (home / "elsewhere.png").write_bytes(picture(99))
    found = manifest(home, lambda lines: lines.insert(3, "link.png,sad,train"))
    (home / "own/link.png").symlink_to(home / "elsewhere.png")
    return found


def kaggle_folders(home: Home) -> tuple[str, str]:
    """With a folder that is no class; the name is one that FER2013's own files have."""
    files = tree(("angry", "happy"), ("train", "test"))
    unpacked(home / "data/fer2013", {**files, "train/joyfull/Training_1.jpg": picture(1)})
    return "fer2013", str(home / "data/fer2013/train/joyfull/Training_1.jpg")


def sfew_folders(home: Home) -> tuple[str, str]:
    files = tree(("Angry", "Happy"), ("Train", "Val"))
    unpacked(home / "data/sfew", {**files, "Train/Joyfull/1.png": picture(1)})
    return "sfew", str(home / "data/sfew/Train/Joyfull/1.png")


Make = Callable[[Home], tuple[str, str]]
CORRECT = "correct the row or get the file again"

#: What is bad: how it is made, which gives the dataset's name and the file, and what the line says behind the file.
DATA: dict[str, tuple[Make, tuple[str, ...]]] = {
    "a row with 2,303 pixels": (
        lambda home: fer2013(home, with_pixels(lambda words: words.pop())),
        (", row 5: 2303 pixels instead of 2304", CORRECT),
    ),
    "a pixel 256": (
        lambda home: fer2013(home, with_pixels(lambda words: words.__setitem__(9, "256"))),
        (", row 5: pixel 10 is '256'", "0 to 255", CORRECT),
    ),
    "a pixel x": (
        lambda home: fer2013(home, with_pixels(lambda words: words.__setitem__(9, "x"))),
        (", row 5: pixel 10 is 'x'", "0 to 255", CORRECT),
    ),
    "a label 7": (lambda home: fer2013(home, in_row_5("3,", "7,")), (", row 5: emotion '7'", "0 to 6", CORRECT)),
    "a misspelt Usage": (
        lambda home: fer2013(home, in_row_5("Training", "Trainig")),
        (", row 5: Usage 'Trainig'", "did you mean Training?"),
    ),
    "a missing column": (
        lambda home: fer2013(home, lambda lines: lines.__setitem__(0, "emotion,Usage")),
        (", row 1: no column pixels", "use a whole fer2013.csv"),
    ),
    "a missing column of a manifest": (
        lambda home: manifest(home, lambda lines: lines.__setitem__(0, "path,expression,split")),
        (", row 1: there is no column label, only 'path', 'expression'", "name it in the header"),
    ),
    "an empty CSV": (lambda home: fer2013(home, lambda lines: lines.clear()), (" is empty", "get the file again")),
    "an empty manifest": (lambda home: manifest(home, lambda lines: lines.clear()), (" is empty", "name the columns")),
    "an empty image": (
        lambda home: folder(home, {**tree(), "val/sad/1.png": b""}),
        ("/val/sad/1.png is not an image", "replace or remove it"),
    ),
    "a truncated zip": (lambda home: zipped(home, tree(), truncated), (" is no whole zip", "get it again")),
    "a truncated zip of SFEW": (lambda home: sfew(home, truncated), (" is no whole zip", "get it again")),
    "a truncated zip of FER2013": (lambda home: fer_zip(home, truncated), (" is no whole zip", "get it again")),
    "a protected zip": (
        lambda home: zipped(home, tree(), protected),
        (" is protected by a password (entry 'train/happy/0.png')", "unpack it and name the folder"),
    ),
    "a protected zip of SFEW": (
        lambda home: sfew(home, protected),
        (" is protected by a password (entry 'Train_Aligned_Faces/Angry/0.png')", "unpack it"),
    ),
    "a protected zip of FER2013": (
        lambda home: fer_zip(home, protected),
        (" is protected by a password (entry 'fer2013.csv')", "unpack it"),
    ),
    "an entry that climbs out": (
        lambda home: zipped(home, {**tree(), "train/../../evil.png": picture(1)}),
        (": entry 'train/../../evil.png' leads out of the zip", "get it from its publisher"),
    ),
    "an absolute entry": (
        lambda home: zipped(home, {**tree(), "/etc/evil.png": picture(1)}),
        (": entry '/etc/evil.png' leads out of the zip", "get it from its publisher"),
    ),
    "a zip bomb": (
        lambda home: zipped(home, {**tree(), "train/sad/bomb.png": bytes(65 << 20)}),
        (": entry 'train/sad/bomb.png' of ", "would unpack to 65 MB, as a zip bomb does", "from its publisher"),
    ),
    "an image that is none": (
        lambda home: folder(home, {**tree(), "train/sad/1.png": b"<html>404</html>"}),
        ("/train/sad/1.png is not an image", "replace or remove it"),
    ),
    "an image that ends early": (
        lambda home: folder(home, {**tree(), "train/sad/1.png": picture(1, 64)[:-2000]}),
        ("/train/sad/1.png is broken", "replace or remove it"),
    ),
    "an image of 50,000 x 50,000": (
        lambda home: folder(home, {**tree(), "test/sad/1.png": huge_png(50_000)}),
        ("/test/sad/1.png has more than ", "pixels", "reduce or remove it"),
    ),
    "an unknown class": (
        lambda home: folder(home, {**tree(), "train/joyfull/1.png": picture(1)}),
        (": folder train/joyfull (with 1.png) is named after no expression", "rename or remove it"),
    ),
    "an unknown class of FER2013": (kaggle_folders, (" is no class of fer2013", "rename or remove it")),
    "an unknown class of SFEW": (sfew_folders, (" is no class of sfew", "rename or remove it")),
    "an unknown label": (
        lambda home: manifest(home, lambda lines: lines.__setitem__(3, "train/sad/0.png,sadd,train")),
        (", row 4: label 'sadd' is no expression", "there are angry"),
    ),
    "one class": (
        lambda home: folder(home, tree(("happy",))),
        (" has one class alone (happy)", "add pictures of another"),
    ),
    "one class in a manifest": (
        lambda home: manifest(home, lambda lines: lines.__setitem__(slice(3, None), [])),
        (" has one class alone (happy)", "add pictures of another"),
    ),
    "a manifest with a missing file": (
        lambda home: manifest(home, lambda lines: lines.__setitem__(3, "train/sad/99.png,sad,train")),
        (", row 4: picture ", "/train/sad/99.png does not exist", "correct the path or remove the row"),
    ),
    "a sample in two splits": (
        lambda home: manifest(home, lambda lines: lines.append("./train/sad/0.png,sad,test")),
        (", row 14: 'train/sad/0.png' is in row 4 already", "split train and here in test", "leave one of them out"),
    ),
    "a link out of the folder": (
        folder_with_link,
        ("/train/sad/link.png is a link that leads out of ", "put a copy there"),
    ),
    "a link out of a manifest's folder": (
        manifest_with_link,
        (", row 4: ", "/link.png is a link that leads out of ", "put a copy there"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", DATA)
def test_bad_data_is_one_line_of_run_and_of_check(kept: Home, bad: str) -> None:
    make, says = DATA[bad]
    name, file = make(kept)
    parts = (file, *says)
    line = refused(kept.call(*RUN, "-t", name), 1, parts)
    assert "--debug" not in line
    checked = kept.call("datasets", "check", name)
    assert checked.exit_code == 1
    # A dataset that cannot be opened at all is an error, a split that cannot be read one of the check's faults.
    told = [
        text.strip()
        for text in checked.output.splitlines()
        if file in text and text.strip().startswith(("error: ", "fault: ", "warning: "))
    ]
    assert len(told) == 1, checked.output
    holds(told[0], parts)


def test_what_is_bad_in_an_auxiliary_stops_a_cascade_too(kept: Home) -> None:
    name, file = fer2013(kept, in_row_5("3,", "7,"))
    cascade = ("run", "-b", "tiny", "-s", "cascade", "-t", "small", "-a", name, "--weights", "random")
    refused(kept.call(*cascade), 1, (file, ", row 5: emotion '7'", CORRECT))


def test_an_empty_class_is_a_warning_and_a_note_on_the_row(kept: Home) -> None:
    files = {path: content for path, content in tree(("happy", "sad", "fear")).items() if "train/fear" not in path}
    name, _ = folder(kept, files)
    (kept / "own/train/fear").mkdir()
    checked = kept.call("datasets", "check", name)
    assert checked.exit_code == 0
    warned = [line.strip() for line in checked.stdout.splitlines() if "warning: " in line]
    assert warned == ["warning: class folder train/fear holds no image"]
    done = kept.call(*RUN, "-t", name, "--store", "other.sqlite")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == ["warning: folder:own: class folder train/fear holds no image"]
    assert re.search("never trained on .*fear", done.stdout)


def test_a_train_split_of_one_class_is_a_warning_and_a_note_on_the_row(kept: Home) -> None:
    name, _ = folder(kept, {path: content for path, content in tree().items() if not path.startswith("train/sad")})
    checked = kept.call("datasets", "check", name)
    assert checked.exit_code == 0
    (line,) = [line.strip() for line in checked.stdout.splitlines() if "warning: " in line]
    holds(line, ("warning: train holds one class alone (happy)", "add pictures of another"))
    done = kept.call(*RUN, "-t", name, "--store", "other.sqlite")
    assert done.exit_code == 0 and re.search("never trained on .*sad", done.stdout), done.output


def test_scripts_get_no_half_of_json(kept: Home) -> None:
    name, file = fer2013(kept, in_row_5("3,", "7,"))
    result = kept.call(*RUN, "-t", name, "--json")
    assert result.exit_code == 1 and not result.stdout
    holds(result.stderr.splitlines()[-1], ("error: ", file, ", row 5: emotion '7'"))
    checked = kept.call("datasets", "check", name, "--json")
    assert checked.exit_code == 1 and not checked.stderr
    (report,) = json.loads(checked.stdout)["datasets"]
    assert not report["ok"]
    holds(report["splits"][0]["fault"], ("Training: ", file, ", row 5: emotion '7'", CORRECT))


def test_debug_shows_where_an_error_comes_from_and_then_the_line(kept: Home) -> None:
    name, file = fer2013(kept, in_row_5("3,", "7,"))
    result = kept.call("--debug", *RUN, "-t", name)
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback")
    holds(result.stderr.splitlines()[-1], ("error: ", file, ", row 5: emotion '7'"))


# --- recipes and losses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("lr=fast", ("recipe value lr=fast", "a number is needed")),
        ("lr=nan", ("recipe value lr=nan", "a number is needed")),
        ("batch_size=3.5", ("recipe value batch_size=3.5", "a whole number is needed")),
        ("batch_size=-3", ("recipe value batch_size=-3", "between 1 and 65536")),
        ("grey=perhaps", ("recipe value grey=perhaps",)),
        ("lrate=0.1", ("no recipe value named 'lrate'", "there are: ", "lr, ")),
        ("stage2.lr=0.1", ("stage2 is set, but target-only has 1 stage(s)", "set one that it has")),
        ("lr", ("--set lr", "write key=value")),
    ],
)
def test_a_wrong_recipe_is_wrong_usage(kept: Home, setting: str, parts: tuple[str, ...]) -> None:
    refused(kept.call(*SMALL, "--set", setting), 2, parts)
    if "=" in setting and not setting.startswith("stage"):
        key, value = setting.split("=")
        value = value if re.fullmatch(r"[-0-9.]+|nan", value) else f'"{value}"'
        (kept / "matrix.toml").write_text(f"[recipe]\n{key} = {value}\n", "utf-8")
        refused(kept.call(*SMALL, "--matrix", "matrix.toml"), 2, ("matrix file matrix.toml", *parts))


def test_a_loss_that_is_not_finite_fails_its_own_cell_alone(home: Home) -> None:
    (before,) = home.board()
    cells = ("--set", "lr=1000,0.01", "--set", "images_seen=400", "--set", "momentum=0.99")
    result = home.call("run", "-b", "tiny", "-s", "target-only", "-t", "small", "--weights", "random", *cells)
    assert result.exit_code == 1 and not result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("failed ") and " on small " in line]
    holds(line, ("tiny · target-only · on small · seed 0: the loss is ", "try a smaller --set lr"))
    assert "1 finished · 1 failed" in result.stdout
    (after,) = home.board()
    (row,) = entries(before)
    assert len(entries(after)) == 2 and row["row"] in [entry["row"] for entry in entries(after)]
    with sqlite3.connect(home / "board.sqlite") as raw:
        found = raw.execute("SELECT status, count(*) FROM runs GROUP BY status ORDER BY status").fetchall()
    raw.close()
    assert found == [("failed", 1), ("finished", 2)]


# --- places that cannot be written ------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["file/board.sqlite", "file/deeper/board.sqlite"])
def test_a_store_below_a_file(kept: Home, below: str) -> None:
    (kept / "file").write_text("a file")
    line = refused(kept.call(*SMALL, "--store", below), 1, (str(kept / below), "choose another path"))
    assert f"{kept / 'file'} is a file and no folder" in line
    assert (kept / "file").read_text() == "a file"


@pytest.mark.parametrize("target", ["small", "folder:own"])
def test_a_cache_below_a_file(kept: Home, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked(kept / "own", tree())
    (kept / "file").write_text("a file")
    monkeypatch.setenv("FERBENCH_CACHE", str(kept / "file/cache"))
    parts = (f"cache folder {kept / 'file/cache'}", "cannot be written: Not a directory", "FERBENCH_CACHE")
    refused(kept.call(*RUN, "-t", target, "--seed", "1"), 1, parts)


@pytest.fixture
def ordinary_folder(home: Home) -> Iterator[Path]:
    """A folder with a copy of the store, for one whom file modes bind: root steps down for the test."""
    place = Path(tempfile.mkdtemp(prefix="ferbench-bad-"))
    shutil.copy(home / "board.sqlite", place)
    shutil.copytree(home / "cache", place / "cache")
    (place / "plugin.py").write_text(PLUGIN, "utf-8")
    is_root = os.geteuid() == 0
    for each in [place, *place.rglob("*")]:
        if is_root:
            os.chown(each, 65534, -1)
    if is_root:
        os.seteuid(65534)
    try:
        yield place
    finally:
        if is_root:
            os.seteuid(0)
        place.chmod(0o777)
        shutil.rmtree(place)


def test_a_read_only_results_folder(home: Home, ordinary_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERBENCH_STORE", str(ordinary_folder / "board.sqlite"))
    monkeypatch.setenv("FERBENCH_CACHE", str(ordinary_folder / "cache"))
    monkeypatch.chdir(ordinary_folder)
    before = home.board()
    (ordinary_folder / "board.sqlite").chmod(0o444)
    advice = "make the file and its folder writable, or choose another store with --store"
    other = (*SMALL, "--seed", "1")
    refused(home.call(*other), 1, (str(ordinary_folder / "board.sqlite"), advice))
    ordinary_folder.chmod(0o555)
    refused(home.call(*other), 1, (str(ordinary_folder / "board.sqlite"), advice))
    new = ordinary_folder / "new.sqlite"
    refused(home.call(*other, "--store", new), 1, (str(new), "make the file and its folder writable"))
    deeper = ordinary_folder / "results/new.sqlite"
    refused(home.call(*other, "--store", deeper), 1, (f"{deeper} cannot be made (Permission denied)", "--store"))
    assert home.board() == before


# --- a disk that fills ------------------------------------------------------------------------------------------------


def checkpoints(home: Home) -> set[str]:
    return {file.name for file in (home / "cache/checkpoints").iterdir()}


def entries(board: object) -> list[dict[str, object]]:
    assert isinstance(board, dict)
    return list(board["entries"])


def test_a_disk_that_is_full_when_a_checkpoint_is_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (before,), files = home.board(), checkpoints(home)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        result = home.call(*SMALL, "--set", "lr=0.02")
    assert result.exit_code == 1 and not result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("failed ") and " on small " in line]
    parts = ("checkpoint of ", f"to {home / 'cache/checkpoints'}", "No space left on device", "FERBENCH_CACHE")
    holds(line, parts)
    assert checkpoints(home) == files
    (after,) = home.board()
    assert entries(after) == entries(before)


def test_a_disk_that_fills_while_a_checkpoint_is_written(home: Home) -> None:
    """A real process whose files may not grow beyond half a checkpoint, which is more than the store takes."""
    (before,), files = home.board(), checkpoints(home)
    asked = ("run", "-b", "wide", "-b", "tiny", "-s", "target-only", "-t", "small", "--weights", "random")
    asked = (*asked, "--set", "images_seen=16", "--seed", "1")
    result = home.process(*asked, limit=500_000)
    assert result.returncode == 1 and not result.stderr, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("failed ") and " on small " in line]
    parts = ("wide", "checkpoint of 1 MB", f"to {home / 'cache/checkpoints'}", "File too large", "FERBENCH_CACHE")
    holds(line, parts)
    assert "1 finished · 1 failed" in result.stdout
    # That of the tiny backbone's second seed, and no half of the other.
    assert len(checkpoints(home) - files) == 1 and not [name for name in checkpoints(home) if name.startswith("new-")]
    again = home.call(*asked)
    assert again.exit_code == 0, again.output
    assert "1 finished · 1 there already" in again.stdout
    (after,) = home.board()
    (row,) = entries(before)
    assert len(entries(after)) == 2 and row["row"] in [entry["row"] for entry in entries(after)]


def test_a_disk_that_fills_while_the_store_is_written(kept: Home) -> None:
    before = kept.board()
    store = kept / "board.sqlite"
    asked = (*SMALL, "--set", "lr=0.02")
    result = kept.process(*asked, limit=store.stat().st_size // 2)
    refused(result, 1, (str(store), "the disk is full", "free some space"))
    assert kept.board() == before
    copy = kept / "copy.sqlite"
    for end in ("", "-wal"):
        if store.with_name(store.name + end).exists():
            shutil.copy(store.with_name(store.name + end), copy.with_name(copy.name + end))
    again = kept.call(*asked, "--store", copy)
    assert again.exit_code == 0, again.output
    assert "1 finished" in again.stdout


# --- weights ----------------------------------------------------------------------------------------------------------


class Planted:
    """What creates a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.place), "w")


def other_architecture(home: Home) -> Path:
    save_file({"fc.weight": torch.zeros(7, 9), "fc.bias": torch.zeros(7)}, home / "w.safetensors")
    return home / "w.safetensors"


def other_shape(home: Home) -> Path:
    from tiny import tiny_backbone

    state = {name: torch.zeros(3, *value.shape) for name, value in tiny_backbone().build(7, 12).state_dict().items()}
    save_file(state, home / "w.safetensors")
    return home / "w.safetensors"


def pickled(home: Home) -> Path:
    (home / "w.pt").write_bytes(pickle.dumps({"0.weight": Planted(home / "planted")}))
    return home / "w.pt"


def pickled_by_torch(home: Home) -> Path:
    torch.save({"state_dict": {"0.weight": Planted(home / "planted")}}, home / "w.pth")
    return home / "w.pth"


def pickled_as_safetensors(home: Home) -> Path:
    return pickled(home).rename(home / "w.safetensors")


def cut_off(home: Home) -> Path:
    return truncated(other_shape(home))


def empty(home: Home) -> Path:
    (home / "w.pth").write_bytes(b"")
    return home / "w.pth"


def folder_of_weights(home: Home) -> Path:
    return home / "cache"


def nowhere(home: Home) -> Path:
    return home / "nowhere.pth"


NOT_UNPICKLED = ("code that a pickle names would have to run", "ferbench never does that", "save_file")


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (other_architecture, ("do not fit", "missing", "fc.bias", "give weights of the same architecture")),
        (other_shape, ("do not fit", "of another shape", "give weights of the same architecture")),
        (pickled, NOT_UNPICKLED),
        (pickled_by_torch, NOT_UNPICKLED),
        (pickled_as_safetensors, NOT_UNPICKLED),
        (cut_off, ("is broken as a safetensors file", "fetch it anew")),
        (empty, ("neither safetensors nor a state dict", "fetch it anew")),
        (folder_of_weights, ("cannot be read: Is a directory", "name another")),
        (nowhere, ("no such file", "auto, pretrained, random, or a file of weights")),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_weights_that_cannot_be_used(kept: Home, make: Callable[[Home], Path], parts: tuple[str, ...]) -> None:
    file = make(kept)
    asked = ("run", "-b", "tiny", "-s", "target-only", "-t", "small", "--weights", file)
    refused(kept.call(*asked), 1, (str(file), *parts))
    assert not (kept / "planted").exists()


# --- stores of other versions -----------------------------------------------------------------------------------------


def altered(home: Home, name: str, *statements: str) -> Path:
    """A copy of the store after some SQL."""
    shutil.copy(home / "board.sqlite", home / name)
    with sqlite3.connect(home / name) as raw:
        for statement in statements:
            raw.execute(statement)
    raw.close()
    return home / name


@pytest.mark.parametrize("command", [SMALL, ("plan", *SMALL[1:]), ("leaderboard",), ("leaderboard", "--json")])
def test_a_store_of_a_newer_version_is_refused_and_left_alone(kept: Home, command: tuple[str, ...]) -> None:
    store = altered(kept, "newer.sqlite", "UPDATE schema_version SET version = 99")
    parts = (str(store), "was written by a newer ferbench (schema 99", "upgrade ferbench or choose another store")
    refused(kept.call(*command, "--store", store), 1, parts)
    with sqlite3.connect(store) as raw:
        assert raw.execute("SELECT (SELECT version FROM schema_version), (SELECT count(*) FROM runs)").fetchall() == [
            (99, 1)
        ]
    raw.close()


#: Columns that came after version 1.
NEW_IN_RUNS = (
    *("train_fraction", "spent_seconds", "peak_memory_bytes", "parameters", "processor", "threads", "precision"),
    *("interval", *codec.EVIDENCE_COLUMNS),
)


def told_by_an_older_one(boards: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Boards without what rows of an older ferbench lack."""
    for entry in (entry for board in boards for entry in board["entries"]):
        for name in ("select_accuracy", "forgotten", "temperature", "calibrated_nll", "calibrated_ece"):
            entry[name] = None
        for metric in ("uar", "macro_f1"):
            entry[metric]["interval"] = "wilson"
    return boards


@pytest.mark.parametrize("by", ["leaderboard", "run"])
def test_a_store_of_an_older_version_is_migrated_with_its_rows(kept: Home, by: str) -> None:
    cut = ',"train_fraction":1.0', ',"head_fit":"sgd"'
    store = altered(
        kept,
        "older.sqlite",
        *("DROP TABLE further_scores", "DROP TABLE trainings", "DROP TABLE speed_measurements"),
        *("DROP INDEX stages_by_kind", "DROP INDEX stages_by_pruned"),
        *(f"ALTER TABLE stages DROP COLUMN {column}" for column in ("features_per_second", "pruned", "merged")),
        *(f"ALTER TABLE runs DROP COLUMN {column}" for column in NEW_IN_RUNS),
        "UPDATE schema_version SET version = 1",
        f"UPDATE runs SET record = replace(replace(record, '{cut[0]}', ''), '{cut[1]}', '')",
        f"UPDATE runs SET recipe = replace(recipe, '{cut[1]}', '')",
    )
    if by == "run":
        done = kept.call(*SMALL, "--store", store)
        assert done.exit_code == 0, done.output
        assert "1 there already" in done.stdout
    shown = kept.call("leaderboard", "--json", "--store", store)
    assert shown.exit_code == 0 and not shown.stderr
    assert json.loads(shown.stdout)["boards"] == told_by_an_older_one(kept.board())


@pytest.mark.parametrize("command", [SMALL, ("leaderboard",)])
def test_a_file_that_is_no_store(kept: Home, command: tuple[str, ...]) -> None:
    (kept / "notes.sqlite").write_text("no database" * 100)
    parts = (str(kept / "notes.sqlite"), "is not an SQLite database", "choose another file")
    refused(kept.call(*command, "--store", kept / "notes.sqlite"), 1, parts)
    assert (kept / "notes.sqlite").read_text() == "no database" * 100


# --- anything ---------------------------------------------------------------------------------------------------------


def flipped(content: bytes, places: Sequence[tuple[float, int]]) -> bytes:
    changed = bytearray(content)
    for place, value in places:
        if changed:
            changed[int(place * len(changed))] ^= value
    return bytes(changed)


def swapped(content: bytes, a: float, b: float) -> bytes:
    lines = content.split(b"\n")
    one, other = int(a * len(lines)), int(b * len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


SHARE = st.floats(0, 1, exclude_max=True)
SPOILT: st.SearchStrategy[Callable[[bytes], bytes]] = st.one_of(
    st.lists(st.tuples(SHARE, st.integers(1, 255)), min_size=1, max_size=8).map(lambda p: lambda c: flipped(c, p)),
    SHARE.map(lambda share: lambda content: content[: int(share * len(content))]),
    st.tuples(SHARE, SHARE).map(lambda pair: lambda content: swapped(content, *pair)),
    st.tuples(SHARE, st.binary(max_size=20)).map(
        lambda pair: lambda c: c[: int(pair[0] * len(c))] + pair[1] + c[int(pair[0] * len(c)) :]
    ),
)
EXAMPLES = int(os.environ.get("FERBENCH_TEST_EXAMPLES", "12"))
MUTATED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def spoil_one(home: Home, kind: str) -> tuple[str, Path]:
    """A dataset's name and the file of it that is to be spoilt."""
    if kind == "manifest":
        name, file = manifest(home, len)
    elif kind == "fer2013":
        name, file = fer2013(home, len)
    elif kind == "fer2013 zip":
        name, file = fer_zip(home, str)
    elif kind == "zip":
        name, file = zipped(home, tree())
    else:
        name, place = folder(home, tree())
        file = f"{place}/train/sad/0.png"
    return name, Path(file)


@pytest.mark.parametrize("kind", ["manifest", "fer2013", "fer2013 zip", "zip", "image"])
def test_what_is_spoilt_at_random_is_told_in_plain_lines(kept: Home, kind: str) -> None:
    name, file = spoil_one(kept, kind)
    whole = file.read_bytes()

    @MUTATED
    @given(SPOILT)
    def check(spoil: Callable[[bytes], bytes]) -> None:
        file.write_bytes(spoil(whole))
        result = kept.call("datasets", "check", name)
        assert result.exit_code in (0, 1), result.output
        assert not JARGON.search(result.output), result.output
        assert len([line for line in result.stderr.splitlines() if line.startswith("error: ")]) <= 1

    check()
