"""FER2013: 35,887 grey faces of 48x48, seven expressions. Read from copies on this machine, never downloaded.

Layouts, the first that is there:

- `fer2013.csv` as published, header `emotion,pixels,Usage`: a code 0 to 6, 2,304 numbers row by row, the split's name
- Kaggle's folders, `train|test/<class>/<Split>_<number>.jpg`, often with a third folder `validation`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ferbench import Dataset, Samples, hookimpl
from ferbench.data.folders import class_folders, count_difference, is_image, passed_over, subfolders
from ferbench.errors import DatasetError
from ferbench.expressions import expression

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: In the order of the codes 0 to 6.
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = ("Training", "PublicTest", "PrivateTest")
COUNTS = {
    "Training": dict(zip(CLASSES, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True)),
    "PublicTest": dict(zip(CLASSES, (467, 56, 496, 895, 653, 415, 607), strict=True)),
    "PrivateTest": dict(zip(CLASSES, (491, 55, 528, 879, 594, 416, 626), strict=True)),
}

STEPS = (
    "get fer2013.csv from Kaggle (challenges-in-representation-learning-facial-expression-recognition-challenge, terms "
    "to accept) or its folders (msambare/fer2013), and put the file or the folders train and test into DATA/fer2013/, "
    "DATA being the data folder"
)

CSV_NAME = "fer2013.csv"
SIDE = 48
PIXELS = SIDE * SIDE

_COLUMNS = [b"emotion", b"pixels", b"usage"]
_CODES = {str(code).encode(): code for code in range(len(CLASSES))}
_USAGES = {name.encode(): name for name in SPLITS}
_PADDING = b' \t\r\n"'
_READ_BYTES = 1 << 18
#: More would outgrow what malloc keeps between two calls; giving memory back each time costs more than it saves.
_ROWS_AT_ONCE = 4

_OFFICIAL_NAME = re.compile(r"((Training|PublicTest|PrivateTest)_\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)
_OFFICIAL_PREFIX = re.compile(r"(Training|PublicTest|PrivateTest)_", re.IGNORECASE)
_FOLDERS = {
    "train": "Training",
    "training": "Training",
    "valid": "PublicTest",
    "val": "PublicTest",
    "validation": "PublicTest",
    "publictest": "PublicTest",
    "test": "PrivateTest",
    "privatetest": "PrivateTest",
}
_BY_FOLDED = {name.casefold(): name for name in SPLITS}


def locate(data_folder: Path) -> Path | None:
    """The folder of a copy: `data_folder`, one named after FER2013 in it or a level deeper, or one right below such."""
    children = subfolders(data_folder)
    named = [each for each in (data_folder, *children) if _is_named(each)]
    named += [each / name for each in children for name in ("fer2013", "FER2013") if (each / name).is_dir()]
    below = [deeper for folder in named for deeper in subfolders(folder)]
    for each in (*named, *below):
        if (each / CSV_NAME).is_file() or _split_folders(each):
            return each
    # A tree of train and test could be anybody's, unless its files bear FER2013's names.
    if (data_folder / CSV_NAME).is_file() or _bears_official_names(data_folder):
        return data_folder
    return None


def load(split: str, root: Path) -> Samples:
    """One split, Training, PublicTest or PrivateTest, from the first layout that `root` has.

    Raises
    ------
    DatasetError : names file, row and value that do not fit, or what was found where the split is missing
    """
    csv = root / CSV_NAME
    return _csv_samples(split, csv) if csv.is_file() else _folder_samples(split, root)


@hookimpl
def ferbench_register_datasets() -> Iterable[Dataset]:
    return [
        Dataset(
            name="fer2013",
            version=1,
            classes=CLASSES,
            splits=SPLITS,
            roles={"train": "Training", "select": "PublicTest", "report": "PrivateTest"},
            counts=COUNTS,
            locate=locate,
            load=load,
            steps=STEPS,
            default_for="auxiliary",
            citation=(
                "Goodfellow et al., Challenges in representation learning: a report on three machine learning "
                "contests, ICONIP 2013, arXiv 1307.0414"
            ),
            licence="Kaggle's competition terms: not redistributable, never bundled",
        )
    ]


# The CSV. Rows are named as an editor counts them: the header is row 1.


class _Row(NamedTuple):
    """A row of the wanted split: `row` as an editor counts, `number` from 0 without the header, `pixels` still text."""

    row: int
    number: int
    code: int
    pixels: bytes


def _csv_samples(split: str, path: Path) -> Samples:
    import numpy as np

    codes: list[int] = []
    ids: list[str] = []
    images: list[NDArray[np.uint8]] = []
    rows = _csv_rows(split, path)
    while batch := list(islice(rows, _ROWS_AT_ONCE)):
        images.append(_parsed(batch, path))
        codes.extend(each.code for each in batch)
        ids.extend(f"{split}_{each.number:08d}" for each in batch)
    if not codes:
        raise _missing(split, path, {name: sum(1 for _ in _csv_rows(name, path)) for name in SPLITS})
    return Samples(
        images=np.concatenate(images).reshape(-1, SIDE, SIDE, 1),
        labels=np.array(codes, dtype=np.int64),
        ids=tuple(ids),
        warnings=_count_warning((CLASSES[code] for code in codes), split),
    )


def _csv_rows(split: str, path: Path) -> Iterator[_Row]:
    """Rows of one split; of the others only the Usage is looked at."""
    with path.open("rb", buffering=_READ_BYTES) as file:
        header = file.readline().removeprefix(b"\xef\xbb\xbf")
        if [name.strip(_PADDING).lower() for name in header.split(b",")] != _COLUMNS:
            raise DatasetError(
                f"{path}, row 1: {_shown(header)} is not the header emotion,pixels,Usage: get the file again"
            )
        number = -1
        for row, line in enumerate(file, start=2):
            usage = line[line.rfind(b",") + 1 :].strip(_PADDING)
            if usage not in _USAGES:
                if not line.strip():
                    continue
                raise DatasetError(
                    f"{path}, row {row}: Usage {_shown(usage)} is none of {', '.join(SPLITS)}: is the copy cut off?"
                )
            number += 1
            if _USAGES[usage] == split:
                yield _row(row, number, line, path)


def _row(row: int, number: int, line: bytes, path: Path) -> _Row:
    fields = line.split(b",")
    if len(fields) != len(_COLUMNS):
        raise DatasetError(f"{path}, row {row}: {len(fields)} columns instead of 3 in {_shown(line)}")
    emotion = fields[0].strip(_PADDING)
    if emotion not in _CODES:
        raise DatasetError(f"{path}, row {row}: emotion {_shown(emotion)} is no code from 0 to 6")
    return _Row(row, number, _CODES[emotion], fields[1].strip(_PADDING))


def _parsed(batch: Sequence[_Row], path: Path) -> NDArray[np.uint8]:
    """Pixels of a few rows, uint8 [n, 2304]; all at once if they are spelled plainly, else number by number."""
    import numpy as np

    pixels = _parsed_at_once([each.pixels for each in batch])
    return pixels if pixels is not None else np.stack([_parsed_carefully(each, path) for each in batch])


def _parsed_at_once(texts: Sequence[bytes]) -> NDArray[np.uint8] | None:
    """uint8 [n, 2304], or None unless each row is 2,304 numbers 0-255 of one to three digits parted by single spaces.

    For each place of the text the number that would end there is made from it and the two places before it, all within
    uint8; those right before a space are the real ones.
    """
    import numpy as np

    places = np.frombuffer(b" ".join([b" ", *texts, b""]), np.uint8)
    is_space = places == ord(" ")
    is_digit = places - np.uint8(ord("0")) < 10
    if not (is_space ^ is_digit).all():
        return None
    third_in_a_row = is_digit[:-2] & is_digit[1:-1] & is_digit[2:]
    if (third_in_a_row[1:] & third_in_a_row[:-1]).any() or (is_space[2:] & is_space[1:-1]).any():
        return None
    start = 2
    for each in texts:
        end = start + len(each) + 1
        if np.count_nonzero(is_space[start:end]) != PIXELS:
            return None
        start = end
    digits = places & 15  # a space has none of these bits and counts as 0
    hundreds = digits[:-2] * third_in_a_row
    below_hundred = digits[2:] + digits[1:-1] * np.uint8(10)
    numbers = below_hundred + hundreds * np.uint8(100)
    if hundreds.max() > 2 or (numbers < below_hundred).any():  # beyond 255 the sum has wrapped round
        return None
    return np.compress(is_space[3:], numbers[:-1]).reshape(len(texts), PIXELS)


def _parsed_carefully(row: _Row, path: Path) -> NDArray[np.uint8]:
    """uint8 [2304] of one row, whatever blanks part its numbers."""
    import numpy as np

    words = row.pixels.split()
    for place, word in enumerate(words, start=1):
        if not word.isdigit() or int(word) > 255:
            raise DatasetError(f"{path}, row {row.row}: pixel {place} is {_shown(word)}, not a number from 0 to 255")
    if len(words) != PIXELS:
        raise DatasetError(f"{path}, row {row.row}: {len(words)} pixels instead of {PIXELS} (48x48)")
    return np.array([int(word) for word in words], dtype=np.uint8)


# Kaggle's folders.


class _File(NamedTuple):
    """An image of a tree: the split that its folder stands for, its class, and its path."""

    folder_split: str
    name: str
    path: Path


def _folder_samples(split: str, root: Path) -> Samples:
    import numpy as np

    files: list[_File] = []
    others: list[Path] = []
    for folder in _split_folders(root):
        for name, paths in class_folders(folder, CLASSES, "fer2013").items():
            files += [_File(_FOLDERS[folder.name.casefold()], name, path) for path in paths if is_image(path)]
            others += [path for path in paths if not is_image(path)]
    named = any(_OFFICIAL_NAME.fullmatch(file.path.name) for file in files)
    samples, warnings = _by_name(split, files, root) if named else _by_folder(split, files, root)
    if not samples:
        raise _missing(
            split, root, {name: len((_by_name if named else _by_folder)(name, files, root)[0]) for name in SPLITS}
        )
    if others:
        warnings.append(passed_over(others, root, "not images by their names"))
    ids = sorted(samples)
    return Samples(
        images=[samples[each].path for each in ids],
        labels=np.array([CLASSES.index(samples[each].name) for each in ids], dtype=np.int64),
        ids=tuple(ids),
        warnings=(*warnings, *_count_warning((file.name for file in samples.values()), split)),
    )


def _by_name(split: str, files: Sequence[_File], root: Path) -> tuple[dict[str, _File], list[str]]:
    """Samples by id where the files bear the official names: these say the split, wherever the file lies."""
    samples: dict[str, _File] = {}
    odd: list[Path] = []
    again: list[Path] = []
    for file in files:
        prefix = _OFFICIAL_PREFIX.match(file.path.name)
        if prefix and _BY_FOLDED[prefix[1].casefold()] != split:
            continue
        official = _OFFICIAL_NAME.fullmatch(file.path.name)
        if not official:
            odd.append(file.path)
            continue
        # Two different images of two classes may bear one number: Training_8475486 is angry and surprise.
        if samples.setdefault(f"{file.name}/{official[1]}", file) is not file:
            again.append(file.path)
    warnings = []
    if odd:
        warnings.append(passed_over(odd, root, "their names are not the official ones (augmented copies?)"))
    if again:
        warnings.append(passed_over(again, root, "second copies of images that are there under the same name"))
    return samples, warnings


def _by_folder(split: str, files: Sequence[_File], root: Path) -> tuple[dict[str, _File], list[str]]:
    """Samples by id where no file says its split: the folder decides, and the warning says so."""
    samples = {file.path.relative_to(root).as_posix(): file for file in files if file.folder_split == split}
    folders = " and ".join(sorted({each.partition("/")[0] for each in samples}))
    warning = f"{split} is what lies in {folders}: the file names do not say which official split they are of"
    if split == "PrivateTest" and not any(file.folder_split == "PublicTest" for file in files):
        warning += "; without a validation folder a test folder usually is PublicTest and PrivateTest together"
    return samples, [f"{warning} (n = {len(samples)})"]


def _split_folders(root: Path) -> list[Path]:
    """The folders of `root` that stand for a split and hold a class folder."""
    return [
        each
        for each in subfolders(root)
        if each.name.casefold() in _FOLDERS and any(expression(below.name) for below in subfolders(each))
    ]


def _bears_official_names(root: Path) -> bool:
    """Whether one of the first files of each class folder is named as FER2013's are."""
    return any(
        _OFFICIAL_NAME.fullmatch(file.name)
        for folder in _split_folders(root)
        for class_folder in subfolders(folder)
        for file in islice(class_folder.iterdir(), 20)
    )


def _is_named(folder: Path) -> bool:
    return re.sub(r"[^a-z0-9]", "", folder.name.casefold()).startswith("fer2013")


# Both.


def _count_warning(found: Iterable[str], split: str) -> tuple[str, ...]:
    difference = count_difference(found, COUNTS[split], split)
    return (difference,) if difference else ()


def _missing(split: str, place: Path, found: dict[str, int]) -> DatasetError:
    there = ", ".join(f"{name} {count}" for name, count in found.items() if count) or "no image at all"
    return DatasetError(
        f"{place} holds no {split} images of fer2013, only: {there}; use a whole copy, such as fer2013.csv"
    )


def _shown(value: bytes) -> str:
    """A value as it stands in the file, cut where it is long."""
    text = value.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
