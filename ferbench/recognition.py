"""What a row says of pictures that are no dataset's: read, cut to their faces, shown to the row's networks."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional

from ferbench.accelerator import prepare_device
from ferbench.catalog import Catalog
from ferbench.components import Face, FaceDetector
from ferbench.contract import AUTO
from ferbench.data.decoding import decoded_or_fault, reduced
from ferbench.data.given_pictures import GivenPicture
from ferbench.environment import chosen_device
from ferbench.errors import DatasetError, FerbenchError, StoreError, UsageError
from ferbench.faces import cut, found_faces
from ferbench.pages.recognition import Answerer, Box, Cutting, FaceAnswer, PictureAnswer, PictureFault
from ferbench.portions import AT_ONCE
from ferbench.records import Run
from ferbench.reliability import scaled
from ferbench.saliency import class_activation, overlaid
from ferbench.settings import Settings
from ferbench.stages import Stage
from ferbench.store import Store
from ferbench.store.last_stage import members_of
from ferbench.trained import Trained, bench_of, load_trained

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The longer side of what is kept of a picture: far more than any network sees of a face that fills it.
_LARGEST = 4096

#: The longer side of a picture that is shown with its explanation.
_EXPLAINED = 512

#: A picture is one of a face where the face is so much of its longer side, and it is so near to a square. YuNet's boxes
#: are that large in 98 % of FER2013.
_FILLED, _SQUARE = 0.65, 0.8

#: Pixels a side of an empty picture that tells whether a detector works.
_PROBE = 64

#: Pictures decoded at once, each of which may have 89 million pixels, and pixels that wait to be answered together.
_THREADS = min(4, os.cpu_count() or 1)
_WAITING_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture that is answered.

    box : where it is; None for all of it
    score : the detector's; None for all of it
    pixels : uint8 [H, W, C], what the network is shown
    """

    box: Box | None
    score: float | None
    pixels: NDArray[np.uint8]


def whole(image: NDArray[np.uint8]) -> list[Region]:
    """A picture as one region."""
    return [Region(None, None, image)]


#: What cuts a picture to what is answered of it, at least one part.
Cutter = Callable[["NDArray[np.uint8]"], Sequence[Region]]


@dataclass(frozen=True, slots=True)
class Faces:
    """Cuts pictures to all of their faces; a picture without one is one region.

    mode : as faces.cut takes it
    side : pixels a side of what the network is shown
    as_they_are : do not cut a picture that is one face already; its box is told all the same
    """

    detector: FaceDetector
    mode: str
    side: int
    as_they_are: bool = False

    def __call__(self, image: NDArray[np.uint8]) -> list[Region]:
        """Raises PluginError as faces.found_faces does."""
        found = []
        faces = found_faces(image, self.detector)
        uncut = self.as_they_are and len(faces) == 1 and _fills(faces[0], image.shape)
        for face in faces:
            left, top, width, height = face.box
            box = Box(round(left), round(top), max(1, round(width)), max(1, round(height)))
            found.append(Region(box, face.score, image if uncut else cut(image, face, self.mode, self.side)))
        return found or whole(image)


def _fills(face: Face, shape: Sequence[int]) -> bool:
    """Whether a picture is one of a face, as those of datasets of faces are."""
    shorter, longer = sorted(shape[:2])
    return shorter >= _SQUARE * longer and max(face.box[2:]) >= _FILLED * longer


@dataclass(frozen=True, slots=True)
class _Voter:
    """A run's networks with their weights, which sum to 1, and the temperature of what they say together."""

    networks: tuple[tuple[Trained, float], ...]
    temperature: float | None

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        parts = [weight * each.probabilities(images).astype(np.float64) for each, weight in self.networks]
        mean = np.sum(parts, axis=0).astype(np.float32)
        return mean if self.temperature is None else scaled(mean, self.temperature)


class Recogniser:
    """Answers with the runs of one row, their networks loaded once: the mean over the runs of their probabilities,
    each at its own temperature where it has one.

    Parameters
    ----------
    runs : finished ones of one row

    Attributes
    ----------
    answerer : who answers
    stages : the last ones of its networks
    image_size : pixels a side of what its networks see; the most, where members of an ensemble differ

    Raises
    ------
    UnknownName : no plugin here provides the backbone
    StoreError : a stage, a member or a checkpoint is not here
    UsageError : a device that is not there
    """

    def __init__(
        self,
        runs: Sequence[Run],
        store: Store,
        catalog: Catalog,
        settings: Settings,
    ) -> None:
        if not runs:
            raise UsageError("there is no run to answer with: name a row that has finished")
        prepare_device(chosen_device(settings.device), deterministic=settings.deterministic)
        bench = bench_of(catalog, settings)
        known: dict[str, Trained] = {}

        def network(run: Run) -> Trained:
            # A network may be a member of several runs of an ensemble.
            if run.key not in known:
                known[run.key] = load_trained(run, store, catalog, settings, bench)
            return known[run.key]

        self._voters: list[_Voter] = []
        for run in runs:
            named = zip(members_of(run, store), run.members, strict=True)
            networks = [(network(each), member.weight) for each, member in named] or [(network(run), 1.0)]
            temperature = None if run.calibration is None else run.calibration.temperature
            self._voters.append(_Voter(tuple(networks), temperature))
        first = runs[0]
        assert first.board is not None
        self.answerer = Answerer(
            row=first.row,
            backbone=first.cell.backbone,
            strategy=first.cell.strategy,
            seeds=tuple(run.cell.seed for run in runs),
            board=first.board,
            label_set=first.cell.recipe.label_set,
            classes=self._voters[0].networks[0][0].classes,
            calibrated=sum(voter.temperature is not None for voter in self._voters),
            members=len(known) if first.members else 0,
            synthetic=_synthetic(runs, store),
        )
        self.stages = tuple(each.stage for each in known.values())
        self.image_size = max(stage.recipe.image_size for stage in self.stages)

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """float32 [n, C], rows sum to 1, of uint8 [H, W, C] each, of any sizes."""
        parts = [voter.probabilities(images).astype(np.float64) for voter in self._voters]
        mean: NDArray[np.float32] = np.mean(parts, axis=0).astype(np.float32)
        return mean

    def activations(self, images: Sequence[NDArray[np.uint8]], classes: Sequence[int]) -> list[NDArray[np.float32]]:
        """Of each picture, how much each place speaks for a class: the mean map of all networks, float32 [S, S] with
        1 as its most; S is that of the network that sees most.

        Raises
        ------
        UsageError, PluginError : as saliency.class_activation
        """
        votes = [(each, weight / len(self._voters)) for voter in self._voters for each, weight in voter.networks]
        size = self.image_size
        total = torch.zeros(len(images), 1, size, size)
        for each, weight in votes:
            maps = torch.from_numpy(class_activation(each, images, classes))[:, None]
            total += weight * functional.interpolate(maps, (size, size), mode="bilinear", align_corners=False)
        most = total.amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(total.dtype).tiny)
        return list((total / most)[:, 0].clamp(0, 1).numpy())

    def answers(
        self,
        pictures: Iterable[GivenPicture],
        regions: Cutter = whole,
        *,
        drawn: bool = False,
        explained: bool = False,
    ) -> Iterator[PictureAnswer | PictureFault]:
        """What each picture shows, in their order; one that cannot be read does not hold up the others.

        Parameters
        ----------
        regions : cuts a picture, uint8 [H, W, C], to what is answered of it; at least one part
        drawn : keep the pixels of answers, for `publish.annotated`
        explained : add what in each region speaks for its top expression
        """
        mine, theirs = itertools.tee(pictures)
        decoded = decoded_or_fault((each.file for each in theirs), _THREADS)
        waiting: list[_Waiting | PictureFault] = []
        for picture, pixels in zip(mine, decoded, strict=True):
            if isinstance(pixels, DatasetError):
                waiting.append(PictureFault(picture.name, pixels.line))
            else:
                waiting.append(_waiting(picture.name, pixels, regions, drawn=drawn))
            cut = [each for each in waiting if isinstance(each, _Waiting)]
            if sum(len(each.regions) for each in cut) >= AT_ONCE or sum(each.held for each in cut) >= _WAITING_BYTES:
                yield from self._answered(waiting, explained=explained)
                waiting = []
        yield from self._answered(waiting, explained=explained)

    def _answered(
        self, waiting: Sequence[_Waiting | PictureFault], *, explained: bool
    ) -> Iterator[PictureAnswer | PictureFault]:
        cut = [region for each in waiting if isinstance(each, _Waiting) for region in each.regions]
        images = [region.pixels for region in cut]
        said = self.probabilities(images) if images else np.empty((0, len(self.answerer.classes)), np.float32)
        maps: list[NDArray[np.float32]] = []
        if explained and images:
            maps = self.activations(images, said.argmax(axis=1).tolist())
        place = 0
        for each in waiting:
            if isinstance(each, PictureFault):
                yield each
                continue
            faces = []
            for region in each.regions:
                face = FaceAnswer(region.box, region.score, said[place])
                if explained:
                    view = reduced(region.pixels, _EXPLAINED)
                    face = replace(face, view=view, overlay=overlaid(view, maps[place]))
                faces.append(face)
                place += 1
            yield replace(each.answer, faces=tuple(faces))


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A picture that is read and cut, and is not answered yet."""

    answer: PictureAnswer
    regions: tuple[Region, ...]
    held: int


def _waiting(
    name: str,
    pixels: NDArray[np.uint8],
    regions: Cutter,
    *,
    drawn: bool,
) -> _Waiting:
    height, width = pixels.shape[:2]
    smaller = reduced(pixels, _LARGEST)
    across, down = width / smaller.shape[1], height / smaller.shape[0]
    found = sorted(regions(smaller), key=lambda each: (0, 0) if each.box is None else (each.box.left, each.box.top))
    turned = tuple(
        region if region.box is None else replace(region, box=_enlarged(region.box, across, down)) for region in found
    )
    held = sum(region.pixels.nbytes for region in turned) + (smaller.nbytes if drawn else 0)
    return _Waiting(PictureAnswer(name, width, height, (), smaller if drawn else None), turned, held)


def cutting_for(how: str, stages: Sequence[Stage], catalog: Catalog, side: int) -> tuple[Cutter, Cutting]:
    """What cuts pictures, and how it is called.

    Parameters
    ----------
    how : `none`, `crop` or `align`; `auto` as a row was trained. One that was shown pictures as they are, of which
        most datasets of faces are cut to them already, is shown others cropped where a face detector works here, and
        pictures that are one face as they are: cut again, they answer it less well
    stages : the last ones of the row's networks
    side : pixels a side of what the networks are shown

    Raises
    ------
    UsageError, PluginError : faces are asked for, or were when the row was trained, and there is no detector here
    """
    if how == "none":
        return whole, Cutting()
    trained = list(dict.fromkeys((stage.recipe.faces, stage.recipe.face_detector, stage.detector) for stage in stages))
    mode, name, identity = next((each for each in trained if each[0] != "none"), trained[0])
    try:
        detector = catalog.face_detector(name if mode != "none" else AUTO)
        # What a detector lacks it tells when it is asked to look.
        found_faces(np.zeros((_PROBE, _PROBE, 3), np.uint8), detector)
    except FerbenchError as error:
        if how != "auto" or mode != "none":
            raise
        return whole, Cutting(why=f"pictures are taken whole, since no faces can be looked for: {error.line}")
    wanted: Literal["crop", "align"] = "align" if (mode if how == "auto" else how) == "align" else "crop"
    why = ""
    if len(trained) > 1:
        ways = " and ".join(dict.fromkeys(way for way, _, _ in trained))
        why = f"the row's networks were trained with faces {ways}; all of them are shown faces={wanted} here"
    elif identity not in ("", detector.identity):
        why = f"the row was trained on faces found by {identity}, and {detector.identity} finds them here"
    uncut = how == "auto" and mode == "none"
    return Faces(detector, wanted, side, as_they_are=uncut), Cutting(wanted, detector.name, why)


def _enlarged(box: Box, across: float, down: float) -> Box:
    """In the pixels of the picture as its file has it."""
    return Box(round(box.left * across), round(box.top * down), round(box.width * across), round(box.height * down))


def _synthetic(runs: Sequence[Run], store: Store) -> Literal["none", "partly", "alone"]:
    """What of real faces the runs were trained on."""
    told: set[bool] = set()
    for fingerprint in dict.fromkeys(name for run in runs for name in run.stages):
        stage = store.stage(fingerprint)
        if stage is None:
            raise StoreError(
                f"{store.location} lacks stage {fingerprint[:10]} of row {runs[0].row}: run that row again with --force"
            )
        told.update(part.synthetic for part in stage.parts)
    return "none" if True not in told else "partly" if False in told else "alone"
