"""SFEW 2.0: frames of films, seven expressions, a third split without labels. Read from copies on this machine only.

Layouts, each unpacked or as the zips that were downloaded; what is unpacked goes first:

- class folders below a folder whose name tells the split: `Train/Train_Aligned_Faces/Angry/…`, `Train_Aligned_Faces`,
  `Val/Angry`, `Final_SFEW_2_Train/Angry/Angry`, `Train_SFEW_2_0/Angry`; the nearest such folder decides
- the pictures of Test, right below `Final_SFEW_2_Test` or `Test_Aligned_Faces`
- `sfew_2.0_labels.csv` with `sfew2.0_images/`

Files are named `<Movie>_<time>_<frame>.png`: the movie is the group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ferbench import Dataset, Samples, hookimpl
from ferbench.data.trees import TreeFile
from ferbench.errors import DatasetError, SplitMissing
from ferbench_plugins.sfew.copies import (
    candidates,
    has_classes,
    is_named,
    is_surely_sfew,
    listing,
    places,
    refuse_nested_zips,
)
from ferbench_plugins.sfew.labels_file import labels_files
from ferbench_plugins.sfew.published import CLASSES, COUNTS, SPLITS, TEST, TRAIN, VAL
from ferbench_plugins.sfew.samples import split_samples

STEPS = (
    "ask the authors for it (Abhinav Dhall; a signed agreement is needed) and put its zips into DATA/sfew/, or unpack "
    "it so that DATA/sfew/Train/Train_Aligned_Faces/Angry and DATA/sfew/Val/Val_Aligned_Faces/Angry are there, DATA "
    "being the data folder"
)
STEPS_FOR_TEST = (
    "it has no labels and is there for a submission alone: put Test_Aligned_Faces.zip, which the authors give out with "
    "the others, beside them"
)


def locate(data_folder: Path) -> Path | None:
    """A copy's folder or zip: one in the data folder whose name starts with sfew, or the data folder itself.

    Raises
    ------
    DatasetError : for a zip of that name which is damaged or protected
    """
    return next((each for each in candidates(data_folder) if _is_copy(each)), None)


def load(split: str, root: Path) -> Samples:
    """One split, Train, Val or Test: image files (colour, 143x181 if aligned), with films as groups.

    Test has no labels. Of several places with the same split the aligned faces are taken, and a warning says so.

    Raises
    ------
    DatasetError : names the file, row or folder that does not fit
    SplitMissing : for a copy without this split
    """
    for files in _listings(root):
        if samples := split_samples(split, files):
            return samples
    for place in places(files).get(split, ()):
        raise DatasetError(
            f"{root}: {place.images[0].path} and the other images of {split} lie in no class folder such as Angry: "
            "get the copy again"
        )
    refuse_nested_zips(files)
    for table in labels_files(files) if split != TEST else ():
        raise DatasetError(f"{table} lists no image of {split} that is there: put its folder sfew2.0_images beside it")
    raise SplitMissing(f"{root} has no {split} of sfew: {STEPS_FOR_TEST if split == TEST else STEPS}")


@hookimpl
def ferbench_register_datasets() -> Iterable[Dataset]:
    return [
        Dataset(
            name="sfew",
            version=1,
            classes=CLASSES,
            splits=SPLITS,
            # No select: published work selects on Val, which ferbench reports on; films of Train are held out instead.
            roles={"train": TRAIN, "report": VAL},
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


def _listings(root: Path) -> Iterator[list[TreeFile]]:
    yield listing(root, into_zips=False)
    if not root.is_file():
        yield listing(root, into_zips=True)


def _is_copy(root: Path) -> bool:
    for files in _listings(root):
        found = places(files)
        labelled = [place for split in (TRAIN, VAL) for place in found.get(split, ()) if has_classes(place)]
        if labels_files(files) or any(root.is_file() or is_named(root) or is_surely_sfew(each) for each in labelled):
            return True
    return False
