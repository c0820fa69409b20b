"""What plugins provide: backbones, datasets, strategies, families of them behind a prefix, and face detectors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from ferbench.recipes import Recipe, RecipeValue
from ferbench.stages import StageSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

#: What of a dataset others may have: ids of its samples, names of its films or people, its pictures, and weights that
#: were trained on it.
Permit = Literal["ids", "groups", "pictures", "weights"]
PERMITS: tuple[Permit, ...] = ("ids", "groups", "pictures", "weights")

Role = Literal["train", "select", "report"]
ROLES: tuple[Role, ...] = ("train", "select", "report")


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of initial weights on this machine.

    sha256 : of the file's bytes
    source : in words, for the row, such as "torchvision AlexNet_Weights.IMAGENET1K_V1"
    """

    path: Path
    sha256: str
    source: str


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that can be fine-tuned.

    name : what users type after `--backbone`
    version : raised by the plugin's author whenever `build` or `load_weights` change what they compute
    build : `build(num_classes, image_size)` gives a module with random weights, and does nothing else. It maps float32
        [n, 3, S, S], normalised with `mean` and `std`, to logits [n, num_classes]
    resolve_weights : `resolve_weights(policy)` with policy "auto" or "pretrained" gives the pretrained file if it is on
        this machine or can be downloaded now, else None. Called once a command, before planning
    load_weights : `load_weights(module, file)` puts a file's weights into a fresh module, all but the head; raises
        WeightsError where something other than the head does not fit
    image_size : pixels a side that the pretrained weights were made for; the default recipe's value
    smallest_image_size : smaller ones are refused
    mean, std : per channel RGB, of images scaled to 0..1
    classifier : dotted name of the head within the module, such as "classifier.6"
    recipe : recipe values that suit this backbone better than the general default
    weightless : nothing in it but the head has weights, so that there is nothing to pretrain
    citation, licence : of the architecture and of the pretrained weights
    library : name and version of the library that defines the network, part of the fingerprint
    """

    name: str
    version: int
    build: Callable[[int, int], nn.Module]
    resolve_weights: Callable[[str], WeightsFile | None]
    load_weights: Callable[[nn.Module, WeightsFile], None]
    image_size: int
    smallest_image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classifier: str
    recipe: Mapping[str, RecipeValue] = field(default_factory=dict)
    weightless: bool = False
    citation: str = ""
    licence: str = ""
    library: str = ""


class ImageFile(Protocol):
    """An encoded picture, wherever it lies: a `pathlib.Path` is one. Its `str` is what messages call it."""

    def read_bytes(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Samples:
    """One split as a dataset gives it.

    images : uint8 [n, H, W, C] with C 1 or 3, or one image file per sample, decoded by the core
    labels : int64 [n] into the dataset's own `classes`; None where the truth is withheld
    ids : unique within the split, stable over copies of the data
    groups : film or subject per sample, or None where there are none
    warnings : one line each for what the reader passed over or had to assume
    """

    images: NDArray[np.uint8] | Sequence[ImageFile]
    labels: NDArray[np.int64] | None
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled faces, in splits as published.

    name : what users type after `--target` and `--auxiliary`
    version : raised whenever `load` changes what it returns for the same files
    classes : the dataset's own class names in its own label order; the core maps them by name
    splits : names that `load` takes
    roles : which split plays train, select and report; a missing select is held out of train by the core
    roles_at : `roles_at(root)` gives the roles of one copy, where copies differ in the splits that they have
    counts : published number of samples per split and class, or empty; shown by `datasets check`
    locate : `locate(data_folder)` gives the root of a copy found below it, or None
    load : `load(split, root)` reads one split; raises DatasetError in one line. Never downloads
    steps : what a user does to have the data found: where to ask for it, where to put it
    default_for : whether `run` without dataset names takes it as auxiliary or as target
    embedded : made by the package itself, without any file of the user's; rows say that it is synthetic
    identity : for embedded data, `identity(split)` names the content without rendering it; hashed in place of pixels
    files : `files(split, root)` names all files that a split is read from, where they are not simply all below the
        root; a decoded split is kept until one of them changes
    recipe : recipe values that suit this target better than the backbone's (its size, its budget)
    licence_permits : what its licence lets anybody publish; whatever is not named is withheld from snapshots and sites
        unless it is asked for
    """

    name: str
    version: int
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    roles: Mapping[Role, str]
    locate: Callable[[Path], Path | None]
    load: Callable[[str, Path], Samples]
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    steps: str = ""
    default_for: Literal["auxiliary", "target"] | None = None
    embedded: bool = False
    identity: Callable[[str], str] | None = None
    roles_at: Callable[[Path], Mapping[Role, str]] | None = None
    files: Callable[[str, Path], Iterable[Path]] | None = None
    recipe: Mapping[str, RecipeValue] = field(default_factory=dict)
    citation: str = ""
    licence: str = ""
    licence_permits: Collection[Permit] = ()


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way from pretrained weights to a target.

    stages : `stages(target, auxiliaries, recipe)`, a pure function without torch, gives the stages in order; their
        shares of the budget sum to at most 1
    summary : one line for `ferbench plugins`
    """

    name: str
    stages: Callable[[str, tuple[str, ...], Recipe], tuple[StageSpec, ...]]
    summary: str = ""
    citation: str = ""


#: A place in a picture, (x, y) in pixels from its upper left corner: the first pixel's middle is (0.5, 0.5).
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture.

    box : left, top, width and height in pixels, as `Point` counts them; it may reach beyond the picture, but not lie
        outside it
    score : how sure the detector is, 0 to 1
    landmarks : right eye (the person's own, left in the picture), left eye, tip of the nose, right and left corner of
        the mouth; None where the detector finds none
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: tuple[Point, Point, Point, Point, Point] | None = None

    @property
    def area(self) -> float:
        """Of the box, in square pixels."""
        return self.box[2] * self.box[3]


@dataclass(frozen=True, slots=True)
class FaceDetector:
    """Finds faces in pictures.

    name : what users give as the recipe value `face_detector`
    version : raised by the plugin's author whenever `detect` finds other faces in the same picture
    detect : `detect(image)` of uint8 [H, W, 3], RGB, any size, gives all faces in it, in any order; the same ones every
        time; none reaches further beyond the picture than 10 of its longer sides. Raises PluginError in one line where
        a library that it needs is not installed
    default : taken where no detector is named
    citation, licence : of the method and of its weights
    library : name and version of the library that computes, part of the fingerprint
    """

    name: str
    version: int
    detect: Callable[[NDArray[np.uint8]], Sequence[Face]]
    default: bool = False
    citation: str = ""
    licence: str = ""
    library: str = ""

    @property
    def identity(self) -> str:
        """What faces it finds hang on: its name, version and library."""
        return " ".join(filter(None, (self.name, str(self.version), self.library)))


@dataclass(frozen=True, slots=True)
class BackboneFamily:
    """Backbones behind a prefix, such as every network of a library.

    prefix : the names' common start, such as "timm/"
    resolve : full name, prefix included, to a Backbone; raises UnknownName
    names : full names for listing and suggestions; may be long, may be empty where they cannot be listed
    """

    prefix: str
    resolve: Callable[[str], Backbone]
    names: Callable[[], Sequence[str]]
    summary: str = ""


@dataclass(frozen=True, slots=True)
class DatasetFamily:
    """Datasets behind a prefix, such as other sizes of a rendered one; fields as in BackboneFamily."""

    prefix: str
    resolve: Callable[[str], Dataset]
    names: Callable[[], Sequence[str]]
    summary: str = ""
