"""Conformance checks for plugin authors, to be called from their own tests.

Each check raises Nonconforming, an AssertionError that lists every fault it found, one a line. ferbench runs the same
checks over each of its own plugins.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ferbench.components import Backbone, Dataset, FaceDetector, Samples, Strategy
from ferbench.contract import component_faults, stage_faults
from ferbench.errors import FerbenchError, UsageError
from ferbench.expressions import BASIC8, expression
from ferbench.faces import found_faces
from ferbench.recipes import Recipe
from ferbench.stages import StageSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

_CLASSES = 7
_OTHER_CLASSES = 3


class Nonconforming(AssertionError):
    """What a component gets wrong; `faults` has one line each."""

    def __init__(self, name: str, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{name}: {fault}" for fault in faults))


def check_backbone(backbone: Backbone, *, prefix: str | None = None, values: bool = True) -> None:
    """Hold a backbone to what `Backbone` promises; weights are not looked for.

    Fields; `build` draws from torch's generator alone and gives the same module for the same seed; float32 logits
    [n, C] at the smallest image size, finite, an image's own whatever else is in the batch; `classifier` gives the
    logits and is all that depends on the number of classes; gradients reach every trainable parameter.

    Parameters
    ----------
    prefix : of the family that the backbone was resolved from
    values : False leaves out what needs real numbers and checks shapes alone, on torch's meta device: for networks
        that take seconds to build

    Raises
    ------
    Nonconforming : with every fault
    """
    _raise(backbone.name, component_faults(backbone, prefix))
    _raise(backbone.name, list(_shape_faults(backbone)))
    if values:
        _raise(backbone.name, list(_value_faults(backbone)))


def check_dataset(
    dataset: Dataset, data_folder: Path | None = None, *, prefix: str | None = None, load: bool = True
) -> None:
    """Hold a dataset to what `Dataset` promises.

    Fields; classes that are expressions by name; `locate` finds nothing in an empty folder, unless the dataset is
    embedded, and then `steps` say what to do. If there is data, each split that plays a role: types, shapes and lengths
    of `Samples`, labels within the classes, unique ids, and the same again when loaded a second time.

    Parameters
    ----------
    data_folder : where `locate` finds a copy, a small one made up by the test will do; None for embedded datasets, and
        where only the fields are to be checked
    prefix : of the family that the dataset was resolved from
    load : False leaves samples out, for embedded datasets that take long to render

    Raises
    ------
    Nonconforming : with every fault
    """
    _raise(dataset.name, component_faults(dataset, prefix))
    faults = [
        f"class {name!r} is no known expression; there are {', '.join(BASIC8)} and synonyms of them"
        for name in dataset.classes
        if expression(name) is None
    ]
    with tempfile.TemporaryDirectory() as empty:
        nowhere = dataset.locate(Path(empty))
        if not dataset.embedded:
            # Behind a prefix may be a path, which is where it is whatever the data folder.
            if nowhere is not None and prefix is None:
                faults.append(f"locate finds {nowhere} in an empty folder")
            if not dataset.steps:
                faults.append("steps is empty: say how to get the data and where to put it")
        elif nowhere is None:
            faults.append("locate gives None, but an embedded dataset is always there")
        root = dataset.locate(data_folder) if data_folder is not None else nowhere
        if root is None and data_folder is not None:
            faults.append(f"locate finds nothing in {data_folder}")
        elif root is not None and load:
            for split in dict.fromkeys(dataset.roles.values()):
                faults += [f"split {split!r}: {fault}" for fault in _split_faults(dataset, split, root)]
    _raise(dataset.name, faults)


def check_strategy(strategy: Strategy) -> None:
    """Hold a strategy to what `Strategy` promises.

    For none to three auxiliaries and several target shares it gives valid stages or refuses with a UsageError; it does
    not refuse them all; the same call gives the same stages, and what datasets are called changes nothing but names.

    Raises
    ------
    Nonconforming : with every fault
    """
    _raise(strategy.name, component_faults(strategy))
    faults: list[str] = []
    accepted = 0
    for names, share in itertools.product(((), ("a",), ("a", "b"), ("c", "a", "b")), (0.1, 0.5, 0.9)):
        where = f"with {len(names)} auxiliaries and target_share={share}"
        recipe = Recipe(target_share=share)
        try:
            specs = strategy.stages("t", names, recipe)
            again = strategy.stages("t", names, recipe)
            renamed = strategy.stages("T", tuple(map(str.upper, names)), recipe)
        except UsageError as error:
            if not str(error):
                faults.append(f"{where}: it refuses without a word")
            continue
        except Exception as error:
            faults.append(f"{where}: it fails with {type(error).__name__}: {error}; to refuse, raise UsageError")
            continue
        accepted += 1
        if found := stage_faults(specs, "t", names):
            faults += [f"{where}: {fault}" for fault in found]
        elif again != specs:
            faults.append(f"{where}: a second call gives other stages")
        elif renamed != tuple(_renamed(spec) for spec in specs):
            faults.append(f"{where}: the stages depend on what the datasets are called")
    if not accepted and not faults:
        faults.append("it refuses every number of auxiliaries")
    _raise(strategy.name, faults)


def check_face_detector(detector: FaceDetector, pictures: Sequence[NDArray[np.uint8]] = ()) -> None:
    """Hold a face detector to what `FaceDetector` promises.

    Fields; pictures of several sizes, without a face and with noise in them, give faces as `Face` has them, the same
    ones each time, and stay as they are.

    Parameters
    ----------
    pictures : more of them, uint8 [H, W, 1 or 3], each of which shows a face that is to be found

    Raises
    ------
    Nonconforming : with every fault
    """
    _raise(detector.name, component_faults(detector))
    faults: list[str] = []
    random_state = np.random.default_rng(0)
    shapes = ((48, 48, 3), (7, 130, 3), (300, 200, 3))
    made = [random_state.integers(0, 256, shape).astype(np.uint8) for shape in shapes]
    made += [np.zeros((1, 1, 3), np.uint8)]
    for number, picture in enumerate((*made, *pictures)):
        shown = f"picture {' x '.join(map(str, picture.shape))}"
        before = picture.copy()
        try:
            found, again = found_faces(picture, detector), found_faces(picture, detector)
            detector.detect(colour := np.array(np.broadcast_to(picture, (*picture.shape[:2], 3))))
        except FerbenchError as error:
            faults.append(f"{shown}: {error.line}")
            continue
        if found != again:
            faults.append(f"{shown}: looked at a second time it shows other faces")
        if not (np.array_equal(picture, before) and np.array_equal(colour, np.broadcast_to(before, colour.shape))):
            faults.append(f"{shown}: the picture is changed")
        if number >= len(made) and not found:
            faults.append(f"{shown}: no face is found in it")
    _raise(detector.name, faults)


def _raise(name: str, faults: list[str]) -> None:
    if faults:
        raise Nonconforming(name, faults)


def _renamed(spec: StageSpec) -> StageSpec:
    return StageSpec(tuple(map(str.upper, spec.datasets)), spec.share, spec.changes)


def _shape_faults(backbone: Backbone) -> Iterator[str]:
    import torch

    size = backbone.smallest_image_size
    with torch.device("meta"):
        module, other = (backbone.build(classes, size) for classes in (_CLASSES, _OTHER_CLASSES))
        images = torch.empty(2, 3, size, size)
    if module.state_dict().keys() != other.state_dict().keys():
        yield "the parameters' names depend on the number of classes"
        return
    shapes, others = ({k: tuple(v.shape) for k, v in m.state_dict().items()} for m in (module, other))
    stray = [key for key in shapes if shapes[key] != others[key] and not key.startswith(f"{backbone.classifier}.")]
    if stray:
        yield f"{stray[0]} depends on the number of classes, but is not in the classifier {backbone.classifier!r}"
    wrong = [key for key, value in module.named_parameters() if value.dtype != torch.float32]
    if wrong:
        yield f"parameter {wrong[0]} is not float32"
    try:
        head = module.get_submodule(backbone.classifier)
    except AttributeError:
        yield f"classifier={backbone.classifier!r} names no module of it"
        return
    seen: list[tuple[int, ...]] = []
    handle = head.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape)))
    logits = module.eval()(images)
    handle.remove()
    if not isinstance(logits, torch.Tensor):
        yield f"it gives a {type(logits).__name__}, not a tensor of logits"
        return
    if logits.dtype != torch.float32 or tuple(logits.shape) != (2, _CLASSES):
        yield f"logits are {logits.dtype} {list(logits.shape)}, not torch.float32 [2, {_CLASSES}]"
    if [shape[:2] for shape in seen] != [(2, _CLASSES)]:
        yield f"classifier {backbone.classifier!r} gives {[list(s) for s in seen]}, not once [2, {_CLASSES}, ...]"


def _value_faults(backbone: Backbone) -> Iterator[str]:
    import torch

    size = backbone.smallest_image_size
    states = random.getstate(), _numpy_state()
    with torch.random.fork_rng(devices=[]):
        first = _built(backbone, size)
        second = _built(backbone, size)
        if (random.getstate(), _numpy_state()) != states:
            yield "build draws from Python's or numpy's generator; torch's alone is seeded"
        if not _same(first.state_dict(), second.state_dict()):
            yield "build gives other weights for the same torch.manual_seed"
        torch.manual_seed(1)
        images = torch.randn(3, 3, size, size)
        first.eval()
        with torch.no_grad():
            logits, alone = first(images), first(images[:1])
        if not bool(torch.isfinite(logits).all()):
            yield "logits are not finite for normal noise"
        elif not torch.allclose(logits[:1], alone, rtol=1e-3, atol=1e-4):
            yield "in eval mode an image's logits depend on what else is in the batch"
        first.train()
        torch.autograd.backward(torch.nn.functional.cross_entropy(first(images), torch.arange(3)))
        cut = [name for name, value in first.named_parameters() if value.requires_grad and value.grad is None]
        if cut:
            yield f"no gradient reaches {cut[0]}"


def _built(backbone: Backbone, size: int) -> nn.Module:
    import torch

    torch.manual_seed(0)
    return backbone.build(_CLASSES, size)


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def _numpy_state() -> tuple[object, ...]:
    return tuple(part.tobytes() if isinstance(part, np.ndarray) else part for part in np.random.get_state(legacy=True))


def _split_faults(dataset: Dataset, split: str, root: Path) -> Iterator[str]:
    try:
        samples, again = dataset.load(split, root), dataset.load(split, root)
    except FerbenchError as error:
        yield f"load refuses it: {error.line}"
        return
    if not isinstance(samples, Samples):
        yield f"load gives a {type(samples).__name__}, not Samples"
        return
    n = len(samples.ids)
    if n == 0:
        yield "it is empty"
    if not isinstance(samples.ids, tuple) or not all(isinstance(each, str) for each in samples.ids):
        yield "ids are not a tuple of texts"
    elif len(set(samples.ids)) < n:
        yield f"id {Counter(samples.ids).most_common(1)[0][0]!r} occurs twice"
    yield from _image_faults(samples, n)
    yield from _label_faults(samples, n, dataset.classes)
    if samples.labels is None and dataset.roles.get("train") == split:
        yield "it plays train, but has no labels"
    if samples.groups is not None and len(samples.groups) != n:
        yield f"{len(samples.groups)} groups for {n} ids"
    if any("\n" in warning for warning in samples.warnings):
        yield "a warning has more than one line"
    if not _equal(samples, again):
        yield "loading it a second time gives something else"


def _image_faults(samples: Samples, n: int) -> Iterator[str]:
    images = samples.images
    if len(images) != n:
        yield f"{len(images)} images for {n} ids"
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            yield f"images are {images.dtype} {list(images.shape)}, not uint8 [n, H, W, 1 or 3]"
    elif lost := [image for image in images if not callable(getattr(image, "read_bytes", None))]:
        yield f"image {lost[0]!r} is no file: it has no read_bytes"
    elif lost := [image for image in images if isinstance(image, Path) and not image.is_file()]:
        yield f"image {lost[0]} is no file"


def _label_faults(samples: Samples, n: int, classes: tuple[str, ...]) -> Iterator[str]:
    labels = samples.labels
    if labels is None:
        return
    if not isinstance(labels, np.ndarray) or len(labels) != n:
        yield f"labels are not an array of {n}"
    elif labels.dtype != np.int64 or labels.ndim != 1:
        yield f"labels are {labels.dtype} {list(labels.shape)}, not int64 [n]"
    elif n and not 0 <= labels.min() <= labels.max() < len(classes):
        yield f"labels run from {labels.min()} to {labels.max()}, but there are {len(classes)} classes from 0"


def _equal(one: Samples, other: Samples) -> bool:
    if isinstance(one.images, np.ndarray) != isinstance(other.images, np.ndarray):
        return False
    images = (
        np.array_equal(one.images, other.images)
        if isinstance(one.images, np.ndarray) and isinstance(other.images, np.ndarray)
        else list(map(str, one.images)) == list(map(str, other.images))
    )
    if (one.labels is None) != (other.labels is None):
        return False
    labels = one.labels is None or other.labels is None or np.array_equal(one.labels, other.labels)
    return images and labels and (one.ids, one.groups) == (other.ids, other.groups)
