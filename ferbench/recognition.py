"""What a row says of pictures that are no dataset's: read, cut to their faces, shown to the row's networks."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
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
from ferbench.data.split_cache import LARGEST_SIDE
from ferbench.ensembles import mean_temperature
from ferbench.environment import chosen_device
from ferbench.errors import DatasetError, FerbenchError, StoreError, UnknownName, UsageError
from ferbench.faces import cut, found_faces
from ferbench.pages.recognition import Answerer, Box, Cutting, FaceAnswer, PictureAnswer, PictureFault
from ferbench.portions import AT_ONCE
from ferbench.quantities import joined
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

#: What is said of a picture that is not there, or no more.
_ABSENT = "it was removed, or is a link to nothing"

#: What is left to do with a row whose faces cannot be found here.
_WHOLE = "take pictures whole, as the row never saw them, with --faces none"

#: The longer side of what is kept of a picture: far more than any network sees of a face that fills it.
_LARGEST = 4096

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
    """A picture as one region, as large as datasets are kept."""
    return [Region(None, None, reduced(image, LARGEST_SIDE))]


#: What cuts a picture to what is answered of it, at least one part.
Cutter = Callable[["NDArray[np.uint8]"], Sequence[Region]]


@dataclass(frozen=True, slots=True)
class Faces:
    """Cuts pictures to all of their faces; a picture without one is one region.

    mode : as faces.cut takes it
    side : pixels a side of what the network is shown, at most
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
        # A small picture stays small, as in training.
        side = min(self.side, max(image.shape[:2]))
        for face in faces:
            left, top, width, height = face.box
            box = Box(round(left), round(top), max(1, round(width)), max(1, round(height)))
            pixels = reduced(image, LARGEST_SIDE) if uncut else cut(image, face, self.mode, side)
            found.append(Region(box, face.score, pixels))
        return found or whole(image)


def _fills(face: Face, shape: Sequence[int]) -> bool:
    """Whether a picture is one of a face, as those of datasets of faces are."""
    shorter, longer = sorted(shape[:2])
    return shorter >= _SQUARE * longer and max(face.box[2:]) >= _FILLED * longer


class Recogniser:
    """Answers with the runs of one row, their networks loaded once: the mean over the runs of their probabilities, at
    a temperature that was fitted on what this mean says of select, where there is one.

    Parameters
    ----------
    runs : finished ones of one row

    Attributes
    ----------
    answerer : who answers
    stages : the last ones of its networks
    lacking : plugins that the runs' parts come from and that are not here
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
        networks: dict[str, Trained] = {}
        # A network may be a member of several runs of an ensemble.
        weights: dict[str, float] = defaultdict(float)
        for run in runs:
            named = zip(members_of(run, store), run.members, strict=True)
            for each, weight in [(each, member.weight) for each, member in named] or [(run, 1.0)]:
                if each.key not in networks:
                    networks[each.key] = load_trained(each, store, catalog, settings, bench)
                weights[each.key] += weight / len(runs)
        self._votes = tuple((each, weights[key]) for key, each in networks.items())
        first = runs[0]
        assert first.board is not None
        if len(runs) > 1:
            # A mean is less sure of itself than what it is of, whose own temperatures would make it less so still.
            temperature = mean_temperature(runs, store)
        else:
            temperature = None if first.calibration is None else first.calibration.temperature
        self.answerer = Answerer(
            row=first.row,
            backbone=first.cell.backbone,
            strategy=first.cell.strategy,
            seeds=tuple(run.cell.seed for run in runs),
            board=first.board,
            label_set=first.cell.recipe.label_set,
            classes=self._votes[0][0].classes,
            temperature=temperature,
            members=len(networks) if first.members else 0,
            synthetic=_synthetic(runs, store),
        )
        self.stages = tuple(each.stage for each in networks.values())
        here = {plugin.name for plugin in catalog.plugins()}
        self.lacking = tuple(sorted({name for run in runs for name, _ in run.sources} - here))
        self.image_size = max(stage.recipe.image_size for stage in self.stages)

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """float32 [n, C], rows sum to 1, of uint8 [H, W, C] each, of any sizes."""
        parts = [weight * each.probabilities(images).astype(np.float64) for each, weight in self._votes]
        mean: NDArray[np.float32] = np.sum(parts, axis=0).astype(np.float32)
        temperature = self.answerer.temperature
        return mean if temperature is None else scaled(mean, temperature)

    def activations(self, images: Sequence[NDArray[np.uint8]], classes: Sequence[int]) -> list[NDArray[np.float32]]:
        """Of each picture, how much each place speaks for a class: the mean map of all networks, float32 [S, S] with
        1 as its most; S is that of the network that sees most.

        Raises
        ------
        UsageError, PluginError : as saliency.class_activation
        """
        size = self.image_size
        total = torch.zeros(len(images), 1, size, size)
        for each, weight in self._votes:
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
        decoded = decoded_or_fault((each.file for each in theirs), _THREADS, absent=_ABSENT)
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
                    shown = overlaid(region.pixels, maps[place])
                    face = replace(face, view=region.pixels, overlay=shown, speaks=bool(maps[place].any()))
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
    found = _as_read(regions(smaller))
    turned = tuple(
        region if region.box is None else replace(region, box=_enlarged(region.box, across, down)) for region in found
    )
    held = sum(region.pixels.nbytes for region in turned) + (smaller.nbytes if drawn else 0)
    return _Waiting(PictureAnswer(name, width, height, (), smaller if drawn else None), turned, held)


def cutting_for(
    how: str, stages: Sequence[Stage], catalog: Catalog, side: int, lacking: tuple[str, ...] = ()
) -> tuple[Cutter, Cutting]:
    """What cuts pictures, and how it is called.

    Parameters
    ----------
    how : `none`, `crop` or `align`; `auto` as a row was trained. One that was shown pictures as they are, of which
        most datasets of faces are cut to them already, is shown others cropped where a face detector works here, and
        pictures that are one face as they are: cut again, they answer it less well
    stages : the last ones of the row's networks
    side : pixels a side of what the networks are shown
    lacking : plugins that the row's parts come from and that are not here

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
    except UnknownName as error:
        plugin = f" ({joined(lacking)} {'is' if len(lacking) == 1 else 'are'} not loaded)" if lacking else ""
        raise UsageError(
            f"the row was trained on faces that detector {name!r} finds, which no plugin here provides{plugin}: load "
            f"its file with --plugin, or {_WHOLE}"
        ) from error
    except FerbenchError as error:
        if mode != "none" and how == "auto":
            raise UsageError(f"{error.line}; or {_WHOLE}") from error
        if how != "auto":
            raise
        return whole, Cutting(why=f"pictures are taken whole, since no faces can be looked for: {error.line}")
    wanted: Literal["crop", "align"] = "align" if (mode if how == "auto" else how) == "align" else "crop"
    why = []
    if len(trained) > 1:
        ways = " and ".join(dict.fromkeys(way for way, _, _ in trained))
        why.append(f"the row's networks were trained with faces {ways}; all of them are shown faces={wanted} here")
    elif identity not in ("", detector.identity):
        why.append(f"the row was trained on faces found by {identity}, and {detector.identity} finds them here")
    sides = sorted({stage.recipe.image_size for stage in stages if stage.recipe.faces != "none"})
    if len(sides) > 1:
        own = " or ".join(map(str, sides))
        why.append(f"the row's networks were trained on faces cut at {own} pixels; all of them are shown {side} here")
    uncut = how == "auto" and mode == "none"
    return Faces(detector, wanted, side, as_they_are=uncut), Cutting(wanted, detector.name, "; ".join(why))


def _as_read(regions: Sequence[Region]) -> list[Region]:
    """As people count faces: row by row, each from left to right. Where tops lie within half a face it is one row."""
    boxed = sorted(((each.box, each) for each in regions if each.box is not None), key=lambda pair: pair[0].top)
    found = [each for each in regions if each.box is None]
    if not boxed:
        return found
    half = float(np.median([box.height for box, _ in boxed])) / 2
    rows: list[list[tuple[Box, Region]]] = []
    for box, region in boxed:
        if not rows or box.top - rows[-1][0][0].top > half:
            rows.append([])
        rows[-1].append((box, region))
    return found + [each for row in rows for _, each in sorted(row, key=lambda pair: pair[0].left)]


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
