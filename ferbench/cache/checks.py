"""Whether what the cache folder holds is whole: each entry against what was written down when it was made."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ferbench.cache.folder import CacheEntry
from ferbench.data.split_cache import LARGEST_SIDE

_READ_BYTES = 1 << 20

#: What to do about something that is made again from what there is.
_MADE_AGAIN = "remove it with `ferbench cache prune --kind"


@dataclass(frozen=True, slots=True)
class Checked:
    """An entry that was checked; `fault` is one line, or None where it is whole."""

    entry: CacheEntry
    fault: str | None = None


def checked(entries: Iterable[CacheEntry], sha256s: Mapping[str, str]) -> Iterator[Checked]:
    """Check entries one by one; those that vanish meanwhile, and leftovers, are passed over.

    Parameters
    ----------
    sha256s : of the checkpoints that the store knows, by their stage's fingerprint
    """
    for entry in entries:
        if entry.kind == "leftovers":
            continue
        try:
            fault = _fault(entry, sha256s.get(entry.name))
        except FileNotFoundError as error:
            fault = f"lacks {Path(error.filename).name}; {_MADE_AGAIN} {entry.kind}`"
        except OSError as error:
            fault = f"cannot be read: {error.strerror or error}"
        if fault is None or any(path.exists() for path in entry.paths):
            yield Checked(entry, fault)


def _fault(entry: CacheEntry, sha256: str | None) -> str | None:
    path = entry.paths[0]
    if entry.kind == "checkpoints":
        if sha256 is not None and _sha256(path) != sha256:
            return "is not the file that was stored; train its stage again with `ferbench run --force`"
        reason = _safetensors_reason(path)
        return reason and f"{reason}; train its stage again with `ferbench run --force`"
    if entry.kind == "partials":
        reason = _safetensors_reason(path)
    elif entry.kind == "splits":
        reason = _split_reason(path)
    elif entry.kind == "faces":
        reason = _array_reason(path)
    else:
        reason = _table_reason(entry)
    return reason and f"{reason}; {_MADE_AGAIN} {entry.kind}`"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _safetensors_reason(path: Path) -> str | None:
    """By its header, which gives the place of every tensor and must cover the file to its last byte."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            return None
    except SafetensorError as error:
        return f"is no whole safetensors file ({error})"


def _split_reason(folder: Path) -> str | None:
    """Each picture against its hash; of one that was reduced, the hash is of what it was before."""
    try:
        table = json.loads((folder / "samples.json").read_text("utf-8"))
        shapes = [tuple(map(int, shape)) for shape in table["shapes"]]
        pictures = table["pictures"]
        count = len(table["ids"])
    except (ValueError, KeyError, TypeError) as error:
        return f"has a samples.json that is damaged ({error})"
    pixels = folder / "pixels.bin"
    if not len(shapes) == len(pictures) == count or pixels.stat().st_size != sum(map(math.prod, shapes)):
        return "is not as long as its samples.json says"
    with pixels.open("rb") as file:
        for number, (shape, picture) in enumerate(zip(shapes, pictures, strict=True)):
            content = file.read(math.prod(shape))
            whole = max(shape[:2]) < LARGEST_SIDE
            if whole and hashlib.sha256(f"{shape}/".encode() + content).hexdigest() != picture:
                return f"has a picture that changed, sample {number}"
    return None


def _array_reason(path: Path) -> str | None:
    """A numpy file, by its header, which says how long it is."""
    import numpy as np

    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        return f"is no whole numpy file ({error})"
    return None


def _table_reason(entry: CacheEntry) -> str | None:
    """Two files of one name, a JSON table and what it describes: by length, and by hash where the table has one."""
    table_path = next((path for path in entry.paths if path.suffix == ".json"), None)
    others = [path for path in entry.paths if path != table_path]
    if table_path is None or len(others) != 1:
        return f"is {len(entry.paths)} of its two files"
    try:
        table = json.loads(table_path.read_text("utf-8"))
        size = _reduced_bytes(table["shape"]) if entry.kind == "reduced" else int(table["bytes"])
        sha256 = table.get("sha256")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        return f"has a table that is damaged ({error})"
    if others[0].stat().st_size != size:
        return "is not as long as its table says"
    if sha256 is not None and _sha256(others[0]) != sha256:
        return "is not what was written"
    return None


def _reduced_bytes(shape: Sequence[int]) -> int:
    """Of uint8 pictures [n, C, H, W], with each one's place (int64) and whether it is in colour (bool) behind them."""
    return math.prod(shape) + 9 * shape[0]
