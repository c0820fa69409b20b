"""SFEW 2.0: frames of films, seven expressions. Read from copies on this machine, never downloaded.

Layout: the distributed aligned faces, `Train_Aligned_Faces/<Class>/<Movie>_<time>_<frame>.png` and
`Val_Aligned_Faces/…`, side by side or each below `Train/` and `Val/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ferbench import Dataset, Samples, hookimpl
from ferbench.data.folders import class_folders, count_difference, is_image, passed_over, subfolders
from ferbench.errors import DatasetError, DatasetMissing

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
SPLITS = ("Train", "Val")

#: Of the distributed aligned faces; the paper's 958 and 436 count the frames that they were cut from.
COUNTS = {
    "Train": {"Angry": 178, "Disgust": 52, "Fear": 78, "Sad": 161, "Happy": 184, "Neutral": 144, "Surprise": 94},
    "Val": {"Angry": 77, "Disgust": 23, "Fear": 46, "Sad": 73, "Happy": 72, "Neutral": 84, "Surprise": 56},
}
FRAMES = {"Train": 958, "Val": 436}

STEPS = (
    "ask the authors for it (Abhinav Dhall; a signed agreement is needed) and unpack it so that "
    "DATA/sfew/Train/Train_Aligned_Faces/Angry and DATA/sfew/Val/Val_Aligned_Faces/Angry are there, "
    "DATA being the data folder"
)


def locate(data_folder: Path) -> Path | None:
    """The folder of a copy: `data_folder`, one below it whose name starts with sfew, or one below that."""
    named = [each for each in subfolders(data_folder) if each.name.casefold().startswith("sfew")]
    below = [deeper for each in named for deeper in subfolders(each)]
    return next((each for each in (data_folder, *named, *below) if any(_aligned(each, s) for s in SPLITS)), None)


def load(split: str, root: Path) -> Samples:
    """One split, Train or Val: image files (colour, 143x181 as distributed), with films as groups.

    Raises
    ------
    DatasetError : for a class folder of another name
    DatasetMissing : for a copy without this split
    """
    folder = _aligned(root, split)
    if folder is None:
        raise DatasetMissing(f"sfew ({split})", str(root), STEPS)
    return _class_folder_samples(split, folder)


def movie(file: Path) -> str | None:
    """The film of `<Movie>_<time>_<frame>`, whose name may hold underscores itself; None for another kind of name."""
    parts = file.stem.rsplit("_", 2)
    return parts[0] if len(parts) == 3 and parts[0] else None


@hookimpl
def ferbench_register_datasets() -> Iterable[Dataset]:
    return [
        Dataset(
            name="sfew",
            version=1,
            classes=CLASSES,
            splits=SPLITS,
            # No select: published work selects on Val, which ferbench reports on; films of Train are held out instead.
            roles={"train": "Train", "report": "Val"},
            counts=COUNTS,
            locate=locate,
            load=load,
            steps=STEPS,
            default_for="target",
            citation=(
                "Dhall, Goecke, Lucey, Gedeon, Static facial expression analysis in tough conditions: data, evaluation "
                "protocol and benchmark, ICCV Workshops 2011; SFEW 2.0 in Dhall, Ramana Murthy, Goecke, Joshi, Gedeon, "
                "Video and image based emotion recognition challenges in the wild: EmotiW 2015, ICMI 2015"
            ),
            licence="agreement needed: for research, by a signed form from the authors; not to be passed on",
        )
    ]


def _aligned(root: Path, split: str) -> Path | None:
    places = (root / split / f"{split}_Aligned_Faces", root / f"{split}_Aligned_Faces")
    return next((each for each in places if each.is_dir()), None)


def _class_folder_samples(split: str, folder: Path) -> Samples:
    import numpy as np

    found = class_folders(folder, CLASSES, "sfew")
    files = [(file, name) for name in CLASSES for file in found.get(name, ())]
    images = [(file, name) for file, name in files if is_image(file)]
    if not images:
        raise DatasetError(f"{folder} holds no images in class folders such as {folder / 'Angry'}: unpack it again")
    warnings = []
    if others := [file for file, _ in files if not is_image(file)]:
        warnings.append(passed_over(others, folder, "not images by their names"))
    if nameless := [file for file, _ in images if movie(file) is None]:
        first = nameless[0].relative_to(folder).as_posix()
        warnings.append(f"{len(nameless)} images of {split} do not name their film, each counts as its own: {first}")
    if difference := count_difference([name for _, name in images], COUNTS[split], split):
        warnings.append(
            f"{difference}: published numbers mix the aligned faces ({sum(COUNTS[split].values())}) with all frames "
            f"({FRAMES[split]}), compare scores only at the same n"
        )
    return Samples(
        images=[file for file, _ in images],
        labels=np.array([CLASSES.index(name) for _, name in images], dtype=np.int64),
        # The class is part of the id: two faces of one frame may lie in two class folders under one file name.
        ids=tuple(f"{name}/{file.name}" for file, name in images),
        groups=tuple(movie(file) or file.stem for file, _ in images),
        warnings=tuple(warnings),
    )
