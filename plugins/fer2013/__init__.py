"""FER2013: 35,887 grey faces of 48x48, seven expressions. Read from copies on this machine, never downloaded.

Layouts, the first that is there, unpacked or in a zip as it was downloaded:

- `fer2013.csv` or `icml_face_data.csv` as published: a code 0 to 6, 2,304 numbers row by row, the split's name
- Kaggle's folders, `train|test/<class>/<Split>_<number>.jpg`, often with a third folder `validation`
- Parquet files of a Hugging Face dataset
- `fer2013.tar.gz`, the download of 2013, with `fer2013.csv` in it
- the challenge's `train.csv`, which holds Training alone
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ferbench import Dataset, Samples, hookimpl
from ferbench.components import Permit, Role
from ferbench_plugins.fer2013.layouts import read_split, splits_there
from ferbench_plugins.fer2013.places import locate, splits_shown
from ferbench_plugins.fer2013.published import CLASSES, COUNTS, SPLITS, TOGETHER

ROLES: Mapping[Role, str] = {"train": "Training", "select": "PublicTest", "report": "PrivateTest"}

STEPS = (
    "get fer2013.csv from Kaggle (challenges-in-representation-learning-facial-expression-recognition-challenge, terms "
    "to accept) or its folders (msambare/fer2013), and put the zip as downloaded into DATA/fer2013/, DATA being the "
    "data folder. Unpacked it may be there too: fer2013.csv, icml_face_data.csv, the folders train and test with one "
    "folder a class, Parquet files of the Hugging Face hub, fer2013.tar.gz, or train.csv for Training alone"
)


def load(split: str, root: Path) -> Samples:
    """One split, Training, PublicTest, PrivateTest or, of a copy that does not tell the latter two apart, test.

    Raises
    ------
    DatasetError : names file, row and value that do not fit, or what was found where the split is missing
    """
    return read_split(split, root)


def roles_at(root: Path) -> Mapping[Role, str]:
    """The roles of a copy: what is called test is reported on where it may be both splits, none is played by nothing.

    Raises
    ------
    DatasetError : a copy that cannot be read
    """
    if splits_shown(root) >= set(SPLITS):
        return ROLES
    there = splits_there(root)
    roles = {role: split for role, split in ROLES.items() if split in there}
    return {**roles, "report": TOGETHER} if TOGETHER in there else roles


#: Ids count a file's rows, and are published with FER+'s labels.
PERMITTED: tuple[Permit, ...] = ("ids",)


@hookimpl
def ferbench_register_datasets() -> Iterable[Dataset]:
    return [
        Dataset(
            name="fer2013",
            version=1,
            classes=CLASSES,
            splits=(*SPLITS, TOGETHER),
            roles=ROLES,
            roles_at=roles_at,
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
            licence_permits=PERMITTED,
        )
    ]
