import io
import re
import zipfile
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ferbench.errors import DatasetError
from ferbench_plugins.fer2013.csv_file import CsvFile, csv_samples, has_usage, header_of
from ferbench_plugins.fer2013.digits import PlainNumbers
from ferbench_plugins.fer2013.published import SPLITS

HEADERS = {
    "fer2013.csv": "emotion,pixels,Usage",
    "icml_face_data.csv": "emotion, Usage, pixels",
    "train.csv": "emotion,pixels",
}
RANDOM = np.random.default_rng(0)


def faces(number: int) -> NDArray[np.uint8]:
    """uint8 [number, 2304] with every value from 0 to 255, hence one, two and three digits."""
    return RANDOM.integers(0, 256, (number, 2304), dtype=np.uint8)


FACES = faces(20)
PIXELS = [" ".join(map(str, face.tolist())) for face in FACES]
PLAIN = [f"{place % 7},{pixels},Training" for place, pixels in enumerate(PIXELS)]


def as_file(*lines: str, end: str = "\n", name: str = "fer2013.csv") -> CsvFile:
    return as_bytes("".join(line + end for line in lines).encode(), name)


def as_bytes(content: bytes, name: str = "fer2013.csv") -> CsvFile:
    return CsvFile(name, lambda: io.BytesIO(content))


def fault(file: CsvFile, split: str = "Training") -> str:
    with pytest.raises(DatasetError) as caught:
        csv_samples(split, file)
    assert "\n" not in caught.value.line
    return caught.value.line


# Layouts


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, str]]:
    number = draw(st.integers(1, 20))
    highest = draw(st.sampled_from([1, 10, 11, 100, 101, 256]))
    pixels = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(0, highest, (number, 2304))
    codes = draw(st.lists(st.integers(0, 6), min_size=number, max_size=number))
    usages = draw(st.lists(st.sampled_from(SPLITS), min_size=number, max_size=number))
    return [
        {"emotion": str(code), "pixels": " ".join(map(str, face.tolist())), "usage": usage}
        for code, face, usage in zip(codes, pixels, usages, strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(
    tables(),
    st.permutations(["emotion", "pixels", "usage", "id"]),
    st.sampled_from(["emotion", "pixels", "usage", "id"]),
    st.sampled_from([str.lower, str.title, str.upper, " {}".format, '"{}"'.format]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_what_is_written_is_read(table, order, dropped, spelling, end, quoted, blank_lines, marked, ended) -> None:
    columns = [name for name in order if name != dropped or name in ("emotion", "pixels")]
    lines = [",".join(spelling(name) for name in columns)]
    for number, row in enumerate(table):
        fields = [row.get(name, str(number)) for name in columns]
        lines.append(",".join(f'"{field}"' if quoted else field for field in fields))
    text = end.join(lines) + (end * (blank_lines + 1) if ended else "")
    file = as_bytes(("\ufeff" * marked + text).encode())

    assert header_of(file) == tuple(columns)
    independent = [
        (
            int(row["emotion"]),
            bytes(map(int, row["pixels"].split())),
            row["usage"] if "usage" in columns else "Training",
        )
        for row in table
    ]
    for split in SPLITS:
        places = [place for place, (*_, usage) in enumerate(independent) if usage == split]
        if not places:
            expected = (
                "holds Training alone" if "usage" not in columns else f"holds no {split} images of fer2013, only: "
            )
            assert expected in fault(file, split)
            continue
        samples = csv_samples(split, file)
        assert isinstance(samples.images, np.ndarray)
        assert samples.labels is not None
        assert (samples.images.dtype, samples.labels.dtype) == (np.uint8, np.int64)
        assert samples.images.shape == (len(places), 48, 48, 1)
        assert [image.tobytes() for image in samples.images] == [independent[place][1] for place in places]
        assert samples.labels.tolist() == [independent[place][0] for place in places]
        assert samples.ids == tuple(f"{split}_{place:08d}" for place in places)


def test_layouts_as_torchvision_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    monkeypatch.setattr("torchvision.datasets.fer2013.check_integrity", lambda *_, **__: True)
    usages = ["Training"] * 11 + ["PublicTest"] * 5 + ["PrivateTest"] * 4
    rows = [{"emotion": i % 7, "pixels": PIXELS[i], "Usage": usage} for i, usage in enumerate(usages)]
    for name, header in HEADERS.items():
        folder = tmp_path / name / "fer2013"
        folder.mkdir(parents=True)
        lines = [header, *(",".join(str(r[key.strip()]) for key in header.split(",")) for r in rows)]
        path = folder / name
        path.write_text("\n".join(lines[:12] if name == "train.csv" else lines) + "\n")
        file = CsvFile(str(path), partial(path.open, "rb"))
        assert has_usage(header_of(file) or ()) == (name != "train.csv")
        for theirs_split, own in (("train", ["Training"]), ("test", ["PublicTest", "PrivateTest"])):
            if name == "train.csv" and theirs_split == "test":
                continue
            theirs = torchvision.datasets.FER2013(tmp_path / name, theirs_split)
            read = [
                (image.tobytes(), label)
                for samples in (csv_samples(split, file) for split in own)
                for image, label in zip(samples.images, samples.labels, strict=True)
            ]
            assert read == [(np.asarray(image).tobytes(), label) for image, label in theirs]


def test_ids_agree_over_the_layouts() -> None:
    usages = ["Training", "Training", "PublicTest", "PrivateTest"]
    whole = as_file(HEADERS["fer2013.csv"], *(f"3,{PIXELS[i]},{usage}" for i, usage in enumerate(usages)))
    icml = as_file(HEADERS["icml_face_data.csv"], *(f"3,{usage},{PIXELS[i]}" for i, usage in enumerate(usages)))
    train = as_file(HEADERS["train.csv"], *(f"3,{PIXELS[i]}" for i in range(2)))
    assert [csv_samples(split, whole).ids for split in SPLITS] == [csv_samples(split, icml).ids for split in SPLITS]
    assert (
        csv_samples("Training", train).ids
        == csv_samples("Training", whole).ids
        == (
            "Training_00000000",
            "Training_00000001",
        )
    )
    assert csv_samples("PrivateTest", whole).ids == ("PrivateTest_00000003",)


def test_an_entry_of_a_zip_is_read_as_the_file(tmp_path: Path) -> None:
    content = "\n".join([HEADERS["fer2013.csv"], *PLAIN]) + "\n"
    with zipfile.ZipFile(tmp_path / "fer2013.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("fer2013/fer2013.csv", content)
    with zipfile.ZipFile(tmp_path / "fer2013.zip") as packed:
        samples = csv_samples("Training", CsvFile("fer2013.zip", lambda: packed.open("fer2013/fer2013.csv")))
    assert (samples.images == FACES.reshape(-1, 48, 48, 1)).all()


def test_a_file_on_the_disk_is_read_alike_in_any_order_and_after_a_change(tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    usages = ["PublicTest", "Training", "", "Training", "PrivateTest", "PublicTest", "Training", "Trainin"]
    lines = [
        HEADERS["fer2013.csv"],
        *(f"{i % 7},{PIXELS[i]},{usage}" if usage else "" for i, usage in enumerate(usages)),
    ]
    path.write_text("\n".join(lines[:-1]) + "\n")
    file, fresh = CsvFile(str(path), partial(path.open, "rb")), as_bytes(path.read_bytes())
    for split in ("Training", "PrivateTest", "PublicTest", "Training"):
        samples, expected = csv_samples(split, file), csv_samples(split, fresh)
        assert (samples.ids, samples.warnings) == (expected.ids, expected.warnings)
        assert (samples.images == expected.images).all()
        assert (samples.labels == expected.labels).all()
    path.write_text("\n".join([lines[0], "", *lines[1:]]) + "\n")
    assert "row 10: Usage 'Trainin' is none of" in fault(file, "PublicTest")
    path.write_text("\n".join(lines[:3]) + "\n")
    assert "only: PublicTest 1, Training 1; use" in fault(file, "PrivateTest")
    assert "only: PublicTest 1, Training 1; use" in fault(file, "PrivateTest")


class Dripping(io.RawIOBase):
    """A stream that cannot seek and gives a few bytes a call."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        return self._rest.readinto(buffer[:1000])


def test_streams_need_not_seek_nor_give_much_at_once() -> None:
    content = ("\n".join([HEADERS["fer2013.csv"], *PLAIN]) + "\n").encode()
    samples = csv_samples("Training", CsvFile("x", lambda: Dripping(content)))
    assert (samples.images == FACES.reshape(-1, 48, 48, 1)).all()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("emotion,pixels,Usage", ("emotion", "pixels", "usage")),
        ("emotion, Usage, pixels", ("emotion", "usage", "pixels")),
        ('\ufeff"Pixels"', ("pixels",)),
        ("Usage,Image name,neutral,happiness", None),
        ("version https://git-lfs.github.com/spec/v1", None),
        ("", None),
    ],
)
def test_headers_are_told_from_others(header: str, expected: tuple[str, ...] | None) -> None:
    assert header_of(as_file(header)) == expected


def test_other_blanks_and_zeros_change_nothing() -> None:
    rows = list(PLAIN)
    rows[1] = rows[1].replace(" ", "  ", 5).replace(",Training", "  ,Training")
    rows[2] = rows[2].replace(" ", "\t")
    rows[3] = rows[3].replace(f" {FACES[3, 7]} ", f" 000{FACES[3, 7]} ")
    rows[4] = " " + rows[4].replace(",", " , ")
    samples = csv_samples("Training", as_file(HEADERS["fer2013.csv"], *rows))
    assert (samples.images == FACES.reshape(-1, 48, 48, 1)).all()


def test_a_blank_line_is_no_row_but_counts_for_an_editor() -> None:
    rows = [PLAIN[0], "", PLAIN[1], "7" + PLAIN[2]]
    assert "row 5: emotion '72' " in fault(as_file(HEADERS["fer2013.csv"], *rows))
    assert csv_samples("Training", as_file(HEADERS["fer2013.csv"], *rows[:3])).ids[1] == "Training_00000001"


# Faults


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(list(HEADERS)),
    st.integers(0, 19),
    st.integers(0, 2303),
    st.sampled_from(["256", "300", "999", "1000", "-1", "+1", "1.5", "x", "1_0", "0x1", "²", "NaN", "1\0", "9" * 5000]),
)
@example("fer2013.csv", 0, 0, "256").via("first of a block")
@example("fer2013.csv", 15, 2303, "1256").via("last of a block")
def test_a_bad_pixel_is_named(layout: str, place: int, pixel: int, bad: str) -> None:
    words = PIXELS[place].split()
    words[pixel] = bad
    fields = {"emotion": "3", "Usage": "Training"}
    lines = [
        ",".join(
            fields.get(key.strip(), " ".join(words) if number == place else pixels)
            for key in HEADERS[layout].split(",")
        )
        for number, pixels in enumerate(PIXELS)
    ]
    shown = bad if len(bad) <= 60 else bad[:60] + "…"
    assert fault(as_file(HEADERS[layout], *lines, name=layout)) == (
        f"{layout}, row {place + 2}: pixel {pixel + 1} is {shown!r}, not a number from 0 to 255: "
        "correct the row or get the file again"
    )


@pytest.mark.parametrize("pixels", [0, 1, 2303, 2305, 4608])
@pytest.mark.parametrize("place", [0, 7, 15, 16, 19])
def test_a_wrong_number_of_pixels_is_named(place: int, pixels: int) -> None:
    rows = list(PLAIN)
    rows[place] = f"0,{' '.join(map(str, np.resize(FACES[place], pixels).tolist()))},Training"
    assert fault(as_file(HEADERS["fer2013.csv"], *rows)).startswith(
        f"fer2013.csv, row {place + 2}: {pixels} pixels instead of 2304 (48x48): "
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 18), st.integers(1, 2303))
def test_pixels_that_moved_to_the_next_row_are_noticed(place: int, moved: int) -> None:
    rows = list(PLAIN)
    first, second = PIXELS[place].split(), PIXELS[place + 1].split()
    rows[place] = f"0,{' '.join(first[:-moved])},Training"
    rows[place + 1] = f"0,{' '.join(first[-moved:] + second)},Training"
    assert f"row {place + 2}: {2304 - moved} pixels" in fault(as_file(HEADERS["fer2013.csv"], *rows))


@pytest.mark.parametrize("code", ["7", "-1", "", "a", "3.0", "happy"])
def test_a_bad_code_is_named(code: str) -> None:
    file = as_file(HEADERS["fer2013.csv"], PLAIN[0], f"{code},{PIXELS[1]},Training")
    assert fault(file) == (
        f"fer2013.csv, row 3: emotion {code!r} is no code from 0 to 6: correct the row or get the file again"
    )


@pytest.mark.parametrize("layout", ["fer2013.csv", "icml_face_data.csv"])
@pytest.mark.parametrize(
    ("usage", "meant"),
    [("Trainig", "Training"), ("training", "Training"), ("Privatetest", "PrivateTest"), ("Public", "PublicTest"),
     ("x", None), ("", None)],
)  # fmt: skip
def test_an_unknown_usage_is_named_whatever_split_is_read(layout: str, usage: str, meant: str | None) -> None:
    lines = [
        ",".join(
            {"emotion": "1", "pixels": PIXELS[0], "Usage": name}[key.strip()] for key in HEADERS[layout].split(",")
        )
        for name in ("Training", usage)
    ]
    hint = f", did you mean {meant}?" if meant else ""
    for split in SPLITS:
        assert fault(as_file(HEADERS[layout], *lines), split) == (
            f"fer2013.csv, row 3: Usage {usage!r} is none of Training, PublicTest, PrivateTest{hint}: "
            "correct the row or get the file again"
        )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(HEADERS)), st.integers(1, 5000))
def test_a_file_that_was_cut_off_is_noticed(layout: str, missing: int) -> None:
    fields = {"emotion": "3", "Usage": "Training"}
    lines = [",".join(fields.get(key.strip(), pixels) for key in HEADERS[layout].split(",")) for pixels in PIXELS[:3]]
    content = "".join(f"{line}\n" for line in [HEADERS[layout], *lines]).encode()[:-1]
    last_number = 3 if layout != "fer2013.csv" else 0
    if missing < last_number and content[-missing - 1 : -missing] != b" ":
        return  # the last number has become another, which nobody can tell
    line = fault(as_bytes(content[:-missing]))
    assert "row 4: " in line
    assert line.endswith("is the file cut off here? Get it again")


def test_a_row_with_another_number_of_columns_is_named() -> None:
    line = fault(as_file(HEADERS["fer2013.csv"], PLAIN[0], "0," + PLAIN[1]))
    assert line.startswith("fer2013.csv, row 3: 4 columns instead of 3 in '0,1,")


@pytest.mark.parametrize("header", ["version https://git-lfs.github.com/spec/v1", "a,b,c", "\0e\0m\0o", ""])
def test_another_header_is_named(header: str) -> None:
    assert f"row 1: {header!r} is not the header emotion,pixels,Usage" in fault(as_file(header, PLAIN[0]))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("emotion,Usage", "row 1: no column pixels, only emotion, usage: use a whole fer2013.csv"),
        ("pixels,Usage", "row 1: no column emotion, only pixels, usage: use a whole fer2013.csv"),
        ("pixels", "row 1: no column emotion, only pixels (test.csv has no labels): use a whole fer2013.csv"),
        ("emotion,pixels,Pixels", "row 1: column pixels stands twice in emotion, pixels, pixels: remove one of them"),
    ],
)
def test_a_missing_column_is_named_with_those_there(header: str, expected: str) -> None:
    assert fault(as_file(header, PLAIN[0])) == f"fer2013.csv, {expected}"


def test_an_empty_file_and_a_header_alone() -> None:
    assert fault(as_bytes(b"")) == "fer2013.csv is empty: get the file again"
    assert "holds no Training images of fer2013, only: no image at all" in fault(as_file(HEADERS["fer2013.csv"]))
    assert "holds no Training images" in fault(as_file(HEADERS["train.csv"]))


def test_a_missing_split_says_what_there_is() -> None:
    file = as_file(HEADERS["fer2013.csv"], *PLAIN[:3], f"0,{PIXELS[4]},PrivateTest")
    assert "holds no PublicTest images of fer2013, only: Training 3, PrivateTest 1; use a" in fault(file, "PublicTest")
    train = as_file(HEADERS["train.csv"], f"0,{PIXELS[0]}", name="train.csv")
    assert fault(train, "PublicTest") == (
        "train.csv has no column Usage: it holds Training alone; use a whole fer2013.csv for PublicTest"
    )


def test_counts_that_differ_are_a_warning() -> None:
    file = as_file(HEADERS["fer2013.csv"], *(f"1,{PIXELS[i % 20]},PublicTest" for i in range(56)))
    (warning,) = csv_samples("PublicTest", file).warnings
    assert warning.startswith("PublicTest has 56 images here and 3589 as published (angry 0 for 467, fear 0 for 496,")


class Endless(io.RawIOBase):
    """A line that never ends."""

    def __init__(self, start: bytes) -> None:
        self._start = start
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        part = self._start[: len(buffer)] or b"1 " * (len(buffer) // 2)
        self._start = self._start[len(part) :]
        buffer[: len(part)] = part
        self.given += len(part)
        assert self.given < 10_000_000
        return len(part)


@pytest.mark.parametrize("start", ["", "emotion,pixels,Usage\n", "emotion,pixels,Usage\n" + PLAIN[0] + "\n0,"])
def test_a_line_without_end_is_refused(start: str) -> None:
    stream = Endless(start.encode())
    line = fault(CsvFile("fer2013.csv", lambda: stream))
    assert f"row {start.count(chr(10)) + 1}: " in line
    assert ("does not end after 65536 bytes" if start else "is not the header") in line


def test_a_read_error_is_one_line(tmp_path: Path) -> None:
    def broken() -> IO[bytes]:
        raise PermissionError(13, "Permission denied")

    assert fault(CsvFile("a.csv", broken)) == "a.csv cannot be read (Permission denied): check the disk and its rights"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("fer2013.csv", "\n".join([HEADERS["fer2013.csv"], *PLAIN]))
    content = (tmp_path / "a.zip").read_bytes().replace(b" 1", b" 2", 1)
    (tmp_path / "a.zip").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        line = fault(CsvFile("a.zip: fer2013.csv", lambda: packed.open("fer2013.csv")))
    assert re.match(r"a\.zip: fer2013\.csv is damaged inside its zip \(Bad CRC-32 .*\): get the zip again", line)


# Blocks of numbers


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("0129 ", min_size=1, max_size=12), min_size=1, max_size=4), st.integers(1, 4))
def test_blocks_are_parsed_as_plain_numbers_or_not_at_all(texts: list[str], per_row: int) -> None:
    rows = [text.strip() for text in texts]
    plain = all(re.fullmatch(r"\d{1,3}( \d{1,3})*", row) and row.count(" ") == per_row - 1 for row in rows)
    values = [[int(word) for word in row.split()] for row in rows]
    out = np.zeros((len(rows), per_row), np.uint8)
    parsed = PlainNumbers(per_row).parse([row.encode() for row in rows], out)
    assert parsed == (plain and all(value <= 255 for row in values for value in row))
    assert not parsed or out.tolist() == values


def test_every_number_is_parsed_beside_every_width() -> None:
    parser = PlainNumbers(3)
    for number in range(1100):
        for before in ("0", "99", "255"):
            for after in ("0", "99", "255"):
                out = np.zeros((2, 3), np.uint8)
                parsed = parser.parse([f"{before} {number} {after}".encode()] * 2, out)
                assert parsed == (number <= 255)
                assert not parsed or out.tolist() == [[int(before), number, int(after)]] * 2
