"""Which column of a table of faces holds what: told by what `datasets` wrote into it, else by name and type."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ferbench.data.arrow_files import Array, Source
from ferbench.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

#: Names of columns in the order in which they are preferred, lower case.
IMAGE_COLUMNS = ("image", "images", "img", "face", "picture", "photo", "image_bytes", "bytes", "pixels", "pixel")
LABEL_COLUMNS = ("label", "labels", "expression", "emotion", "emotions", "class", "target", "category")
NAME_COLUMNS = ("label_name", "label_text", "emotion_name", "class_name")
SPLIT_COLUMNS = ("split", "usage")
GROUP_COLUMNS = ("group", "subject", "film", "movie")
ID_COLUMNS = ("id", "image_id", "path", "file_name", "filename", "image_path")

_LARGEST_CARD = 1 << 20


class Columns:
    """The columns of one file by what they hold; label, split, group and id are None where there is no such column.

    kind : how pictures are held: "struct" (bytes and path), "binary" or "pixels" (numbers)
    names : those of a ClassLabel, by number; empty where the column is none

    Raises DatasetError for columns that cannot be told, naming those that are there; `unlabelled` allows for no label.
    """

    def __init__(self, source: Source, unlabelled: bool) -> None:
        self.file = source.file
        self.fields: dict[str, Array] = {field.name: field.type for field in source.schema}
        features = _features(source.schema)
        self.image, self.kind = self._image(features)
        kind = self.fields[self.image]
        self.has_paths = self.kind == "struct" and "path" in [kind.field(i).name for i in range(kind.num_fields)]
        self.label = self._label(features)
        if self.label is None and not unlabelled:
            raise self._untold("labels", (*LABEL_COLUMNS, *NAME_COLUMNS), "a column of words or of numbers with names")
        feature = features.get(self.label or "", {})
        names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
        self.names = tuple(map(str, names)) if isinstance(names, list) else ()
        self.split = self._first(SPLIT_COLUMNS, _is_text)
        self.group = self._first(GROUP_COLUMNS, lambda kind: _is_text(kind) or _is_whole(kind))
        self.id = self._first(ID_COLUMNS, lambda kind: _is_text(kind) or _is_whole(kind))

    def _image(self, features: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
        kinds = {name: kind for name, type_ in self.fields.items() if (kind := _picture_kind(name, type_))}
        declared = [name for name in kinds if features.get(name, {}).get("_type") == "Image"]
        for candidates in (declared, [name for name in kinds if kinds[name] != "pixels"], list(kinds)):
            known = sorted((n for n in candidates if n.casefold() in IMAGE_COLUMNS), key=_rank(IMAGE_COLUMNS))
            if known or len(candidates) == 1:
                chosen = known[0] if known else candidates[0]
                return chosen, kinds[chosen]
        raise self._untold("pictures", IMAGE_COLUMNS, "one column of encoded pictures or of 2,304 pixels")

    def _label(self, features: Mapping[str, Mapping[str, Any]]) -> str | None:
        declared = [name for name in self.fields if features.get(name, {}).get("_type") == "ClassLabel"]
        words = self._first((*LABEL_COLUMNS, *NAME_COLUMNS), _is_text)
        known = sorted((name for name in declared if name.casefold() in LABEL_COLUMNS), key=_rank(LABEL_COLUMNS))
        if known or len(declared) == 1:
            return known[0] if known else declared[0]
        # A float column is what pandas makes of numbers where some are missing.
        return words or self._first(LABEL_COLUMNS, lambda kind: _is_whole(kind) or _is_float(kind))

    def _first(self, names: Sequence[str], fits: Callable[[Array], bool]) -> str | None:
        fitting = [name for name, kind in self.fields.items() if name.strip().casefold() in names and fits(kind)]
        return min(fitting, key=_rank(names), default=None)

    def _untold(self, what: str, names: Sequence[str], form: str) -> DatasetError:
        there = ", ".join(f"{name} ({str(kind)[:40]})" for name, kind in list(self.fields.items())[:20]) or "none"
        return DatasetError(
            f"{self.file}: which column holds the {what} cannot be told: looked for {form}, best named "
            f"{', '.join(names[:5])}; there are {there}"
        )


def _rank(names: Sequence[str]) -> Callable[[str], int]:
    return lambda name: names.index(name.strip().casefold())


def _picture_kind(name: str, kind: Array) -> str | None:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        binary = "bytes" in fields and _is_binary(fields["bytes"])
        path = "path" in fields and _is_text(fields["path"])
        return "struct" if binary or (path and "bytes" not in fields) else None
    if _is_binary(kind):
        return "binary"
    if name.strip().casefold() not in IMAGE_COLUMNS:
        return None
    inner, lists = kind, 0
    while pa.types.is_list(inner) or pa.types.is_large_list(inner) or pa.types.is_fixed_size_list(inner):
        inner, lists = inner.value_type, lists + 1
    if lists:
        return "pixels" if _is_whole(inner) else None
    return "pixels" if _is_text(kind) and name.strip().casefold().startswith("pixel") else None


def _is_text(kind: Array) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: Array) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_whole(kind: Array) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind))


def _is_float(kind: Array) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind))


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What `datasets` wrote into a table's metadata: a mapping for each column; empty where it wrote nothing."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def card_names(card: str) -> dict[str, tuple[str, ...]]:
    """Names of classes by column from the YAML head of a hub's README.md, where all of its configurations agree."""
    import yaml

    head = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(\n|$)", card[:_LARGEST_CARD], re.DOTALL)
    try:
        info = yaml.safe_load(head[1])["dataset_info"] if head else None
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError):
        info = None
    found: dict[str, set[tuple[str, ...]]] = {}
    for each in info if isinstance(info, list) else [info]:
        features = each.get("features") if isinstance(each, dict) else None
        for feature in features if isinstance(features, list) else ():
            try:
                names = feature["dtype"]["class_label"]["names"]
                # Numbers are written as texts, and in order.
                ordered = names if isinstance(names, list) else [names[k] for k in sorted(names, key=int)]
                if isinstance(names, dict) and sorted(map(int, names)) != list(range(len(names))):
                    continue
                found.setdefault(str(feature["name"]), set()).add(tuple(map(str, ordered)))
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
                continue
    return {column: next(iter(names)) for column, names in found.items() if len(names) == 1}
