"""FER2013: 35,887 grey faces of 48x48, seven expressions. Read from copies on this machine, never downloaded.

Layouts, the first that is there:

- `fer2013.csv` as published, header `emotion,pixels,Usage`: a code 0 to 6, 2,304 numbers row by row, the split's name
- Kaggle's folders, `train|test/<class>/<Split>_<number>.jpg`, often with a third folder `validation`
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ferbench import Dataset, Samples, hookimpl
from ferbench.data.folders import subfolders
from ferbench_plugins.fer2013.csv_file import CSV_NAME, csv_samples
from ferbench_plugins.fer2013.kaggle_folders import bears_official_names, folder_samples, split_folders
from ferbench_plugins.fer2013.published import CLASSES, COUNTS, SPLITS

STEPS = (
    "get fer2013.csv from Kaggle (challenges-in-representation-learning-facial-expression-recognition-challenge, terms "
    "to accept) or its folders (msambare/fer2013), and put the file or the folders train and test into DATA/fer2013/, "
    "DATA being the data folder"
)


def locate(data_folder: Path) -> Path | None:
    """The folder of a copy: `data_folder`, one named after FER2013 in it or a level deeper, or one right below such."""
    children = subfolders(data_folder)
    named = [each for each in (data_folder, *children) if _is_named(each)]
    named += [each / name for each in children for name in ("fer2013", "FER2013") if (each / name).is_dir()]
    below = [deeper for folder in named for deeper in subfolders(folder)]
    for each in (*named, *below):
        if (each / CSV_NAME).is_file() or split_folders(each):
            return each
    # A tree of train and test could be anybody's, unless its files bear FER2013's names.
    if (data_folder / CSV_NAME).is_file() or bears_official_names(data_folder):
        return data_folder
    return None


def load(split: str, root: Path) -> Samples:
    """One split, Training, PublicTest or PrivateTest, from the first layout that `root` has.

    Raises
    ------
    DatasetError : names file, row and value that do not fit, or what was found where the split is missing
    """
    csv = root / CSV_NAME
    return csv_samples(split, csv) if csv.is_file() else folder_samples(split, root)


def _is_named(folder: Path) -> bool:
    return re.sub(r"[^a-z0-9]", "", folder.name.casefold()).startswith("fer2013")


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
