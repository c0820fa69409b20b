"""A finished run's network as files for use elsewhere: ONNX, safetensors, what they are, and a card for people."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ferbench.catalog import Catalog
from ferbench.errors import ExportError, FerbenchError, UsageError
from ferbench.export.about import about, as_texts
from ferbench.export.folder import check_folder, new_files
from ferbench.export.onnx_file import OLDEST_OPSET, onnx_file
from ferbench.export.reading import CONFIG, WEIGHTS, read_exported
from ferbench.export.trial import LIMIT, random_pictures
from ferbench.export.whole_network import WholeNetwork
from ferbench.pages.exported import Exported, ExportedFile
from ferbench.publish.export import description
from ferbench.records import Run
from ferbench.reliability import scaled
from ferbench.settings import Settings
from ferbench.store import Store
from ferbench.store.last_stage import named
from ferbench.trained import Trained, bench_of, load_trained
from ferbench.workbench import Workbench
from ferbench.worker import Evaluation, evaluated

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

ONNX = "model.onnx"
CARD = "README.md"

#: Random pictures on which the weights, read again, are compared.
_READ_BACK = 6

#: What can be written.
FORMATS = ("onnx", "safetensors")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be written.

    formats : of FORMATS
    exactly : a format that cannot be written is an error; else it is left out, and that is said
    passed_on : the user says that the weights may be
    """

    formats: tuple[str, ...] = FORMATS
    exactly: bool = False
    opset: int = OLDEST_OPSET
    passed_on: bool = False


def chosen_run(runs: Sequence[Run], seed: int | None) -> Run:
    """The run of that seed, or of the smallest: never the best, which would be chosen on what is reported.

    Raises
    ------
    UsageError : no run of that seed, or an ensemble
    """
    of_seed = {run.cell.seed: run for run in runs}
    if seed is not None and seed not in of_seed:
        known = ", ".join(map(str, sorted(of_seed)))
        raise UsageError(f"row {runs[0].row} has no finished run of seed {seed}: there are {known}")
    run = of_seed[min(of_seed) if seed is None else seed]
    if run.members:
        members = ", ".join(f"`{each.row} --seed {each.seed}`" for each in run.members[:4])
        more = f" and {len(run.members) - 4} more" if len(run.members) > 4 else ""
        raise UsageError(
            f"{named(run)} is an ensemble, the mean of {len(run.members)} networks: export its members, "
            f"{members}{more}, or name one of their rows"
        )
    return run


def export(
    run: Run,
    folder: Path,
    store: Store,
    catalog: Catalog,
    settings: Settings,
    wanted: Wanted,
    card: Callable[[Exported], str],
) -> Exported:
    """Write a finished run's network into a folder; everything is checked before it is put there.

    Parameters
    ----------
    card : writes README.md, of all that is known of the other files

    Raises
    ------
    UsageError : an ensemble, a folder with other things in it, or a format whose packages are missing
    StoreError : the stage or its checkpoint is gone
    ExportError : what cannot be written, or does not answer as torch does
    """
    check_folder(folder)
    # What the files are compared with is computed where anybody can compute it again.
    settings = dataclasses.replace(settings, device="cpu")
    bench = bench_of(catalog, settings)
    trained = load_trained(run, store, catalog, settings, bench)
    known = about(trained, store, catalog, passed_on=wanted.passed_on)
    exported = _named(trained, known, folder)
    trained = _in_fp32(trained)
    files: dict[str, bytes] = {}
    if "onnx" in wanted.formats:
        try:
            files[ONNX], exported = _onnx(trained, bench, wanted.opset, as_texts(known), exported)
        except _LeftOut as left_out:
            if wanted.exactly:
                raise left_out.reason from left_out
            exported = dataclasses.replace(exported, left_out=left_out.reason.line)
    if "safetensors" in wanted.formats:
        files[WEIGHTS] = _safetensors(trained.module, as_texts(known))
    files[CONFIG] = (json.dumps(known, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    sizes = [ExportedFile(name, len(content)) for name, content in files.items()]
    exported = dataclasses.replace(exported, files=tuple(sizes))
    files[CARD] = card(exported).encode()
    exported = dataclasses.replace(exported, files=(*sizes, ExportedFile(CARD, len(files[CARD]))))
    with new_files(folder, files) as beside:
        if WEIGHTS in files:
            _check_read_back(beside, trained)
    return exported


def _named(trained: Trained, known: Mapping[str, object], folder: Path) -> Exported:
    run = trained.run
    return Exported(
        row=run.row,
        seed=run.cell.seed,
        backbone=str(known["backbone"]),
        library=trained.backbone.library,
        strategy=run.cell.strategy,
        target=str(known["target"]),
        labels=trained.classes,
        image_size=trained.image_size,
        grey=trained.stage.recipe.grey,
        temperature=trained.temperature,
        faces=str(known["faces"]),
        plugins=tuple(known["plugins"]),  # type: ignore[arg-type]
        licences=dict(known["licences"]),  # type: ignore[call-overload]
        folder=str(folder),
        files=(),
        face_detector=str(known["face_detector"]),
        found_by=trained.stage.detector,
        precision=trained.stage.recipe.precision,
        withheld_by=tuple(known["withheld_by"]),  # type: ignore[arg-type]
        passed_on=bool(known["passed_on"]),
    )


class _LeftOut(Exception):
    """There is no ONNX file, and what else is wanted can be had without it."""

    def __init__(self, reason: FerbenchError) -> None:
        super().__init__(reason.line)
        self.reason = reason


def _onnx(
    trained: Trained, bench: Workbench, opset: int, metadata: Mapping[str, str], exported: Exported
) -> tuple[bytes, Exported]:
    """The file, once it was seen to answer as torch does, and what is to be said of it.

    Raises
    ------
    _LeftOut : it cannot be written
    ExportError : it answers otherwise
    """

    def describe(batches: bool) -> str:
        return description(dataclasses.replace(exported, batches=batches))

    began = time.perf_counter()
    try:
        written = onnx_file(_whole(trained), opset, metadata, describe)
    except (UsageError, ExportError) as error:
        raise _LeftOut(error) from error
    # Imported here, since it stands on the extra's packages.
    from ferbench.export.agreement import agreement

    split = f"{exported.target} {trained.run.board.split if trained.run.board else ''}".strip()
    agreed = agreement(written, trained, lambda: _report(trained, bench), split)
    seconds = time.perf_counter() - began
    return written.content, dataclasses.replace(
        exported, opset=opset, batches=written.batches, agreement=agreed, seconds=seconds
    )


def _in_fp32(trained: Trained) -> Trained:
    recipe = dataclasses.replace(trained.stage.recipe, precision="fp32")
    return dataclasses.replace(trained, stage=dataclasses.replace(trained.stage, recipe=recipe))


def _whole(trained: Trained) -> WholeNetwork:
    grey = trained.stage.recipe.grey
    return WholeNetwork(trained.module, trained.normalisation, trained.image_size, grey, trained.temperature).eval()


def _report(trained: Trained, bench: Workbench) -> Sequence[NDArray[np.uint8]]:
    """What the row is reported on, as the network is shown it: whole, or cut to faces."""
    cell, stage = trained.run.cell, trained.stage
    bench.cuts.check(stage.recipe, stage.detector)
    samples = evaluated(bench.roles, Evaluation(cell.target, "report"), cell.recipe.label_set)
    return bench.cuts.shown(samples, stage.recipe).images


def _safetensors(module: nn.Module, metadata: Mapping[str, str]) -> bytes:
    from safetensors.torch import save

    # Cloned one by one: safetensors refuses tensors that share memory, as tied weights do.
    state = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    return save(state, metadata={"format": "pt", **metadata})


def _check_read_back(folder: Path, trained: Trained) -> None:
    """What was written, read as others will read it, answers as the network does."""
    pictures = random_pictures(trained.image_size, _READ_BACK)
    expected = trained.probabilities(pictures)
    if trained.temperature is not None:
        expected = scaled(expected, trained.temperature)
    network = read_exported(folder, trained.backbone)
    found = np.concatenate([network(picture[None])[0] for picture in pictures])
    difference = float(np.abs(found - expected).max())
    if not difference <= LIMIT:
        raise ExportError(
            f"{WEIGHTS}, read again, answers otherwise than the network: a probability differs by {difference:.2g}, "
            f"and {LIMIT:g} is the limit; nothing was written. Does backbone {trained.backbone.name} keep what it "
            "computes with in its state dict?"
        )
