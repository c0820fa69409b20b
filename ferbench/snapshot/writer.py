"""Writing a snapshot; its format is told by the package."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ferbench.errors import StoreError, one_line
from ferbench.expressions import label_set
from ferbench.fingerprints import canonical_json
from ferbench.records import Board, Predictions, Run
from ferbench.snapshot.derived import derived
from ferbench.snapshot.layout import FORMAT, NAME_DIGITS, PREDICTIONS_FILE, RUNS_FILE, header, plain
from ferbench.snapshot.licence import Names, Permits, names_of, nothing, withheld_of
from ferbench.snapshot.redaction import published, withheld
from ferbench.snapshot.rounding import rounded_figures, shared, six_digits, spelled
from ferbench.store import KeptRun
from ferbench.whole_files import sweep, whole_file


@dataclass(frozen=True, slots=True)
class Written:
    """What a snapshot holds.

    rows, failed_rows : all of them, and those among them without a finished run
    samples : lines of predictions
    size_bytes : of both files
    withheld : names of samples that are numbers in it
    """

    rows: int
    runs: int
    samples: int
    size_bytes: int
    withheld: tuple[Names, ...] = ()
    failed_rows: int = 0


@dataclass(frozen=True, slots=True)
class _Block:
    """Predictions that stand together."""

    run: Run
    stage: int
    content: str
    predictions: Predictions


def write_snapshot(folder: Path, runs: Iterable[KeptRun], permits: Permits = nothing) -> Written:
    """Write runs, in the place of what the folder's two files held; other files in it stay.

    Parameters
    ----------
    runs : that were checked (`read_store` does so), in any order
    permits : what may be published of the names of a dataset's samples; unless it is given, nothing

    Raises
    ------
    StoreError : a folder that cannot be written, or two entries of the same 10 digits
    """
    six = shared(six_digits)
    ordered = sorted(runs, key=lambda each: (each.run.entry, each.run.cell.seed))
    kept = [_six_digits(withheld(published(each), permits), six) for each in ordered]
    _check_names([each.run for each in kept])
    blocks = list(_blocks(kept))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        with whole_file(folder / RUNS_FILE, for_people=True) as file:
            for line in _lines([rounded_figures(each) for each in kept], blocks):
                file.write(f"{canonical_json(line)}\n".encode())
        with whole_file(folder / PREDICTIONS_FILE, for_people=True) as file:
            _write_predictions(file, kept, blocks)
        size_bytes = sum((folder / name).stat().st_size for name in (RUNS_FILE, PREDICTIONS_FILE))
    except OSError as error:
        raise StoreError(f"no snapshot can be written to {folder} ({one_line(error)}): name another folder") from error
    return Written(
        rows=len({each.run.entry for each in kept}),
        runs=len(kept),
        samples=sum(len(block.predictions.ids) for block in blocks),
        size_bytes=size_bytes,
        withheld=names_of(kept, withheld_of),
        failed_rows=len(
            {each.run.entry for each in kept} - {each.run.entry for each in kept if each.run.status == "finished"}
        ),
    )


def _six_digits(kept: KeptRun, six: Callable[[Predictions], Predictions]) -> KeptRun:
    """A run whose figures follow from the digits that are published."""
    rounded = {name: six(each) for name, each in kept.predictions.items()}
    return derived(dataclasses.replace(kept, predictions=rounded))


def _check_names(runs: Sequence[Run]) -> None:
    named: dict[str, str] = {}
    for run in runs:
        if named.setdefault(run.row, run.entry) != run.entry:
            raise StoreError(f"two entries begin with {run.row}: take one of them out, they would be one row")


def _blocks(kept: Sequence[KeptRun]) -> Iterator[_Block]:
    written: set[tuple[str, str]] = set()
    for each in kept:
        names = dict.fromkeys(each.run.stages)
        order = {name: number for number, name in enumerate(names, 1)}
        for name, content in sorted(each.predictions, key=lambda place: (order[place[0]], place[1])):
            if name == each.run.stages[-1] or (name, content) not in written:
                written.add((name, content))
                yield _Block(each.run, order[name], content, each.predictions[name, content])


def _lines(kept: Sequence[KeptRun], blocks: Sequence[_Block]) -> Iterator[dict[str, Any]]:
    yield {"kind": "snapshot", "format": FORMAT} | _withheld(blocks)
    boards = _boards(kept)
    for _, board in sorted(boards.items()):
        yield {"kind": "board", "board": plain(board)}
    stages = {stage.fingerprint: (stage, result) for each in kept for stage, result in each.stages}
    for _, (stage, result) in sorted(stages.items()):
        yield {"kind": "stage", "stage": plain(stage), "result": plain(result)}
    for each in kept:
        named = None if each.run.board is None else each.run.board.fingerprint
        yield {"kind": "run", "run": plain(each.run) | {"board": named}}
    further = {(name, own.dataset, own.split, own.content): own for each in kept for name, own in each.further}
    for (name, *_), own in sorted(further.items()):
        yield {"kind": "further", "stage": name, "further": plain(own)}
    for block in blocks:
        yield {
            "kind": "predictions",
            "row": block.run.row,
            "seed": block.run.cell.seed,
            "stage": block.stage,
            "dataset": block.predictions.dataset,
            "split": block.predictions.split,
            "content": block.content,
            "n": len(block.predictions.ids),
            "labels": block.predictions.labels is not None,
            "groups": block.predictions.groups is not None,
        }


def _withheld(blocks: Iterable[_Block]) -> dict[str, Any]:
    """Whose names are numbers; the field is left out where there is none."""
    found = {(block.content, what) for block in blocks if (what := withheld_of(block.predictions))}
    said = [{"content": content, "names": list(what)} for content, what in sorted(found)]
    return {"withheld": said} if said else {}


def _boards(kept: Iterable[KeptRun]) -> dict[str, Board]:
    """Each board once; of several names that it was asked for under, the first in the alphabet."""
    found: dict[str, Board] = {}
    for each in kept:
        board = each.run.board
        if board is None:
            continue
        known = found.setdefault(board.fingerprint, board)
        found[board.fingerprint] = min(known, board, key=lambda board: (board.target, board.split))
    return found


def _write_predictions(file: IO[bytes], kept: Sequence[KeptRun], blocks: Sequence[_Block]) -> None:
    columns = header(name for each in kept for name in _classes(each.run))
    # No name and no time: they would be other bytes each time.
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as packed,
        io.TextIOWrapper(packed, "utf-8", newline="") as text,
    ):
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for block in blocks:
            writer.writerows(_rows(block, columns))


def _rows(block: _Block, columns: Sequence[str]) -> Iterator[list[str]]:
    predictions, classes = block.predictions, _classes(block.run)
    named = [block.run.row, str(block.run.cell.seed), str(block.stage), predictions.dataset, predictions.split]
    named.append(block.content[:NAME_DIGITS])
    places = [columns.index(f"p_{name}") for name in classes]
    width = len(columns)
    labels = None if predictions.labels is None else predictions.labels.tolist()
    answers = predictions.probabilities.argmax(axis=1).tolist()
    for index, texts in enumerate(spelled(predictions.probabilities)):
        line = [
            *named,
            predictions.ids[index],
            "" if predictions.groups is None else predictions.groups[index],
            "" if labels is None else classes[labels[index]],
            classes[answers[index]],
        ]
        line += [""] * (width - len(line))
        for place, probability in zip(places, texts, strict=True):
            line[place] = probability
        yield line


def _classes(run: Run) -> tuple[str, ...]:
    return label_set(run.cell.recipe.label_set).classes
