"""What is wrong with a component, in words: the fields' types, names and ranges that plugins promise.

Each function gives a list of faults, one short clause each, empty where all is well. Nothing here calls into a plugin.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ferbench.components import ROLES, Backbone, BackboneFamily, Dataset, DatasetFamily, FaceDetector, Strategy
from ferbench.errors import RecipeError
from ferbench.recipes import typed
from ferbench.records import ReportedResult
from ferbench.stages import StageSpec

Component = Backbone | BackboneFamily | Dataset | DatasetFamily | FaceDetector | Strategy

#: What belongs to the whole chain; a stage says its part of the budget by its share.
_CHAIN_WIDE = ("images_seen", "target_share", "label_set")

_SHARE_SLACK = 1e-9

#: The recipe's word for the face detector that is taken where none is named.
AUTO = "auto"


def component_faults(component: object, prefix: str | None = None) -> list[str]:
    """Faults of a component's fields, of whatever kind it is; `prefix` is that of the family that it came from."""
    try:
        return _component(component, prefix)
    except (TypeError, AttributeError, ValueError) as error:
        return [f"a field is of the wrong type: {error}"]


def _component(component: object, prefix: str | None) -> list[str]:
    match component:
        case Backbone():
            return [*_full_name(component.name, prefix), *_backbone(component)]
        case Dataset():
            return [*_full_name(component.name, prefix), *_dataset(component)]
        case Strategy():
            return [*name_faults(component.name, forbidden="+"), *_callables(component, "stages")]
        case FaceDetector():
            return [*name_faults(component.name), *_face_detector(component)]
        case BackboneFamily() | DatasetFamily():
            return [*_prefix(component.prefix), *_callables(component, "resolve", "names")]
    return [f"{component!r} is a {type(component).__name__}, not a component"]


def name_faults(name: object, forbidden: str = "") -> list[str]:
    """Faults of a name that is typed on a command line, where commas, colons and equals signs separate things."""
    if not isinstance(name, str) or not name:
        return [f"its name is {name!r}, not a text"]
    if bad := re.findall(rf"[\s,:={re.escape(forbidden)}]", name):
        return [f"its name {name!r} holds {bad[0]!r}"]
    return []


def recipe_faults(values: Mapping[str, object] | Iterable[tuple[str, object]]) -> list[str]:
    """Faults of recipe values: keys that do not exist, wrong types, values out of range."""
    pairs = values.items() if isinstance(values, Mapping) else values
    return [fault for key, value in pairs for fault in _recipe_value(key, value)]


def stage_faults(specs: object, target: str, auxiliaries: Sequence[str]) -> list[str]:
    """Faults of what a strategy's `stages` gave for these datasets."""
    if not isinstance(specs, tuple) or not specs or not all(isinstance(spec, StageSpec) for spec in specs):
        return [f"stages() gave {specs!r}, not a tuple of at least one StageSpec"]
    given = {target, *auxiliaries}
    try:
        faults = [fault for place, spec in enumerate(specs, 1) for fault in _stage(place, spec, given)]
    except (TypeError, ValueError) as error:
        return [f"a stage's field is of the wrong type: {error}"]
    if not faults and (total := math.fsum(spec.share for spec in specs)) > 1 + _SHARE_SLACK:
        faults.append(f"the stages' shares sum to {total:.6g}, more than 1")
    return faults


def reported_result_faults(result: object) -> list[str]:
    """Faults of a figure from the literature, each beginning with the field and its value."""
    if not isinstance(result, ReportedResult):
        return [f"{result!r} is a {type(result).__name__}, not a ReportedResult"]
    return list(_reported_result(result))


def _reported_result(result: ReportedResult) -> Iterator[str]:
    texts = {"method": result.method, "dataset": result.dataset, "source": result.source}
    if result.split is not None:
        texts["split"] = result.split
    for field, value in texts.items():
        if not isinstance(value, str) or not value.strip():
            yield f"{field}={value!r} is not a text"
    for field, value in (*texts.items(), ("remark", result.remark)):
        # A line end would tear a table's row in two, an escape code would colour or move what follows.
        if not isinstance(value, str) or not value.isprintable():
            yield f"{field}={value!r} is not one line of characters that can be printed"
    if not _is_number(result.accuracy) or not 0 <= result.accuracy <= 1:
        yield f"accuracy={result.accuracy!r} is not a fraction from 0 to 1"
    if result.n is not None and (type(result.n) is not int or result.n < 1):
        yield f"n={result.n!r} is not a whole number from 1"


def _stage(place: int, spec: StageSpec, given: set[str]) -> Iterator[str]:
    if not isinstance(spec.datasets, tuple) or not spec.datasets:
        yield f"stage {place} trains on {spec.datasets!r}, not on a tuple of dataset names"
    else:
        if strangers := [name for name in spec.datasets if name not in given]:
            yield f"stage {place} trains on {strangers[0]!r}, which is not among the datasets given"
        if len(set(spec.datasets)) < len(spec.datasets):
            yield f"stage {place} names a dataset twice"
    if not _is_number(spec.share) or not 0 < spec.share <= 1 + _SHARE_SLACK:
        yield f"stage {place} has share {spec.share!r}, which is not above 0 and at most 1"
    if not isinstance(spec.changes, tuple) or not all(isinstance(pair, tuple) for pair in spec.changes):
        yield f"stage {place} has changes {spec.changes!r}, not a tuple of pairs of key and value"
        return
    for key, value in spec.changes:
        if key in _CHAIN_WIDE:
            yield f"stage {place} changes {key}, which belongs to the whole chain"
        for fault in _recipe_value(key, value):
            yield f"stage {place}: {fault}"


def _recipe_value(key: str, value: object) -> Iterator[str]:
    try:
        typed(key, value)
    except RecipeError as error:
        yield error.line


def _backbone(backbone: Backbone) -> Iterator[str]:
    yield from _version(backbone.version)
    yield from _callables(backbone, "build", "resolve_weights", "load_weights")
    sizes = (backbone.smallest_image_size, backbone.image_size)
    if not all(type(size) is int for size in sizes) or not 1 <= sizes[0] <= sizes[1]:
        yield f"smallest_image_size={sizes[0]!r} and image_size={sizes[1]!r} are not pixels in rising order"
    for field, values in (("mean", backbone.mean), ("std", backbone.std)):
        if not isinstance(values, tuple) or len(values) != 3 or not all(map(_is_number, values)):
            yield f"{field}={values!r} is not three numbers, one a channel"
        elif field == "std" and min(values) <= 0:
            yield f"std={values!r} is not above 0"
    if not isinstance(backbone.classifier, str) or not backbone.classifier:
        yield f"classifier={backbone.classifier!r} is not the dotted name of the head"
    yield from recipe_faults(backbone.recipe)


def _dataset(dataset: Dataset) -> Iterator[str]:
    yield from _version(dataset.version)
    yield from _callables(dataset, "locate", "load")
    for field, names in (("classes", dataset.classes), ("splits", dataset.splits)):
        if not isinstance(names, tuple) or not all(isinstance(name, str) and name for name in names):
            yield f"{field}={names!r} is not a tuple of texts"
            return
        if len(set(names)) < len(names):
            yield f"{field} names {next(name for name in names if names.count(name) > 1)!r} twice"
    if len(dataset.classes) < 2:
        yield f"classes={dataset.classes!r} are fewer than two"
    for split in dataset.splits:
        yield from (f"split: {fault}" for fault in name_faults(split, forbidden="+"))
    yield from _roles(dataset)
    for split, counts in dataset.counts.items():
        if split not in dataset.splits:
            yield f"counts names split {split!r}, which is not one of {', '.join(dataset.splits)}"
        if strangers := [name for name in counts if name not in dataset.classes]:
            yield f"counts of {split!r} name class {strangers[0]!r}, which is not one of {', '.join(dataset.classes)}"
    if dataset.default_for not in (None, "auxiliary", "target"):
        yield f"default_for={dataset.default_for!r} is neither 'auxiliary' nor 'target' nor None"
    optional = ("identity", "files", "roles_at")
    yield from _callables(dataset, *(field for field in optional if getattr(dataset, field) is not None))
    # Else a dataset of files could keep its name in the fingerprint while its files change.
    if dataset.identity is not None and not dataset.embedded:
        yield "identity is for embedded datasets; others are identified by their content"
    yield from recipe_faults(dataset.recipe)


def _face_detector(detector: FaceDetector) -> Iterator[str]:
    yield from _version(detector.version)
    yield from _callables(detector, "detect")
    if detector.name == AUTO:
        yield f"its name is {AUTO!r}, the word for whichever is the default"
    if not isinstance(detector.default, bool):
        yield f"default={detector.default!r} is neither True nor False"


def _roles(dataset: Dataset) -> Iterator[str]:
    if not dataset.roles:
        yield "roles is empty: say which split is train, select or report"
    for role, split in dataset.roles.items():
        if role not in ROLES:
            yield f"roles names {role!r}, which is not one of {', '.join(ROLES)}"
        if split not in dataset.splits:
            yield f"role {role} names split {split!r}, which is not one of {', '.join(dataset.splits)}"
    played = list(dataset.roles.values())
    if len(set(played)) < len(played):
        yield "roles give one split two roles; that is for the user to ask for by name"


def _prefix(prefix: object) -> list[str]:
    if not isinstance(prefix, str) or not re.fullmatch(r"[^\s,+=]+[/:@]", prefix):
        return [f"its prefix {prefix!r} does not end in '/', ':' or '@' or holds a blank, ',', '+' or '='"]
    return []


def _full_name(name: object, prefix: str | None) -> list[str]:
    if prefix is None:
        return name_faults(name)
    # Behind a prefix may be a path, so only its start is held.
    if not isinstance(name, str) or not name.startswith(prefix):
        return [f"its name {name!r} does not start with its family's prefix {prefix!r}"]
    return []


def _version(version: object) -> Iterator[str]:
    if type(version) is not int or version < 1:
        yield f"version={version!r} is not a whole number from 1"


def _callables(component: Component, *fields: str) -> Iterator[str]:
    for field in fields:
        if not callable(getattr(component, field)):
            yield f"{field} is not callable"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
