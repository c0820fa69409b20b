"""Which datasets a command means that names none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ferbench.components import Dataset
from ferbench.errors import UsageError


@dataclass(frozen=True, slots=True)
class DataChoice:
    """Targets and chains of auxiliaries, and the sentence that says how they came about."""

    targets: tuple[str, ...]
    auxiliaries: tuple[tuple[str, ...], ...]
    reason: str


def choose_data(
    datasets: Sequence[Dataset],
    data_folder: Path,
    targets: Sequence[str] = (),
    auxiliaries: Sequence[tuple[str, ...]] = (),
) -> DataChoice:
    """Fill in what a user did not name.

    The real datasets that are `default_for` a part are taken if those for both parts are found in the data folder,
    otherwise the embedded ones. A target that is named without auxiliaries has no chain: which data to pass through is
    then for the user to say.

    Parameters
    ----------
    datasets : all that the catalog lists by name
    """
    chains = tuple(tuple(chain) for chain in auxiliaries)
    if targets:
        return DataChoice(tuple(targets), chains or ((),), f"{_joined(targets)} as named")
    real = {part: _first(datasets, part, embedded=False) for part in ("auxiliary", "target")}
    missing = [d.name for d in real.values() if d is not None and d.locate(data_folder) is None]
    if not missing and all(real.values()):
        reason = f"found in {data_folder}"
        chosen = real
    else:
        chosen = {part: _first(datasets, part, embedded=True) for part in ("auxiliary", "target")}
        reason = (
            f"embedded synthetic faces, since {_joined(missing) or 'no real dataset'} was not found in {data_folder}"
        )
    target, auxiliary = chosen["target"], chosen["auxiliary"]
    if target is None or (auxiliary is None and not chains):
        raise UsageError("name a dataset with --target: no plugin offers one by default")
    if not chains and auxiliary is not None:
        chains = ((auxiliary.name,),)
    names = [" then ".join((*chain, target.name)) for chain in chains]
    return DataChoice((target.name,), chains, f"{_joined(names)} ({reason})")


def _first(datasets: Sequence[Dataset], part: str, *, embedded: bool) -> Dataset | None:
    wanted: Literal["auxiliary", "target"] = "target" if part == "target" else "auxiliary"
    found = [d for d in datasets if d.default_for == wanted and d.embedded == embedded]
    return min(found, key=lambda dataset: dataset.name, default=None)


def _joined(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
