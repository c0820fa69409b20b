"""`ferbench predict IMAGE…`: what faces in pictures of one's own show."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options, where_option
from ferbench.cli.session import catalog_of, reading_store, settings_of, warn, warn_of_failures
from ferbench.errors import UsageError

if TYPE_CHECKING:
    from ferbench.data.given_pictures import GivenPicture, NotGiven
    from ferbench.pages.recognition import Cutting, PictureAnswer, PictureFault
    from ferbench.recognition import Cutter, Recogniser


@click.command()
@click.argument("images", metavar="[IMAGE]...", nargs=-1)
@click.option("--row", metavar="ROW", help="Which row answers; the best one whose checkpoints are here otherwise.")
@click.option("-t", "--target", metavar="DATASET", help="The best row of this dataset's board.")
@where_option("The best of the rows that fit, as `ferbench leaderboard --where` shows them")
@click.option("--seed", metavar="N", type=int, help="The run of this seed alone; the mean over all seeds otherwise.")
@click.option(
    "--faces",
    "how",
    type=click.Choice(["auto", "none", "crop", "align"]),
    default="auto",
    show_default=True,
    help="How pictures are cut: none takes them whole, crop cuts to each face, align turns it upright too (from "
    "tilts of up to some 75 degrees); auto does as the row was trained, else crops pictures that are more than a face.",
)
@click.option(
    "--top",
    metavar="K",
    type=click.IntRange(min=1),
    help="Show so many expressions of each face; by default 3, and all in JSON.",
)
@click.option(
    "--files-from",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Take the pictures that a file lists, one a line or parted by NUL; - lists them on standard input.",
)
@click.option(
    "--annotated",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write copies of the pictures with boxes and top expressions there; no other file is replaced.",
)
@click.option("--explain", is_flag=True, help="With --annotated: show where the networks looked, by Grad-CAM.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one line a face.")
@common_options
@click.pass_context
def predict(
    context: click.Context,
    images: tuple[str, ...],
    row: str | None,
    target: str | None,
    where: tuple[str, ...],
    seed: int | None,
    how: str,
    top: int | None,
    files_from: Path | None,
    annotated: Path | None,
    explain: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Say what the faces in pictures show, by a trained row.

    IMAGE is a picture, a folder (all pictures below it), a pattern in quotes, or - for one picture on standard input.
    Every face that is found is answered; a picture without one is taken whole, and that is said. Probabilities are the
    mean of the row's seeds, at a temperature that is fitted on what this mean says of select, where there is one. A
    picture that cannot be read is one line on standard error, and exit code 1 once the others are answered.

    \b
    ferbench predict photo.jpg
    ferbench predict 'holiday/**/*.jpg' --annotated seen --top 1
    ferbench predict - --row 4f1c20 --json < photo.jpg
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv are two ways to print the same: give one of them")
    if explain and annotated is None:
        raise UsageError("--explain shows on annotated pictures what a row goes by: give --annotated DIR")
    from ferbench.cli.predict_output import Output
    from ferbench.data.given_pictures import GivenPicture, given_pictures

    names = _names(images, files_from)
    found = list(given_pictures(names, _input, annotated))
    answering = _answering(context, row, seed, target, where, how, explained=explain)
    output = Output(
        answering.recogniser.answerer,
        answering.cutting,
        [each for each in found if isinstance(each, GivenPicture)],
        "json" if as_json else "csv" if as_csv else "text",
        answering.why,
        top,
        annotated,
    )
    output.begin()
    for answer in _answers(found, answering, drawn=annotated is not None, explained=explain):
        output.add(answer)
    output.end()
    if output.tally.faults or output.tally.undrawn:
        context.exit(1)


def _names(images: Sequence[str], files_from: Path | None) -> list[str]:
    """What is named, on the command line and then in a list."""
    if files_from is None:
        names = list(images)
    elif str(files_from) == "-":
        both = UsageError("standard input is either a picture or a list of them: leave out - or --files-from -")
        if "-" in images:
            raise both
        names = [*images, *_listed(_input())]
        if "-" in names:
            raise both
    else:
        try:
            names = [*images, *_listed(files_from.expanduser().read_bytes())]
        except OSError as error:
            raise UsageError(f"--files-from {files_from} cannot be read: {error.strerror or error}") from error
    if names.count("-") > 1:
        raise UsageError("standard input is one picture: name - once")
    if not names:
        raise UsageError("name a picture, a folder, a pattern in quotes, or - for a picture on standard input")
    return names


def _input() -> bytes:
    """All of standard input; raises UsageError where there is none."""
    # Python has none where it was closed before it began.
    if sys.stdin is None:
        raise UsageError("standard input is closed: pipe a picture, or name a file")
    return sys.stdin.buffer.read()


def _listed(content: bytes) -> list[str]:
    """The names in a list, as `find -print` and `find -print0` write them."""
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    return [os.fsdecode(line) for line in lines if line.strip()]


@dataclass(frozen=True, slots=True)
class _Answering:
    """The networks that answer, what cuts pictures for them, and why it is that row, where none was named."""

    recogniser: Recogniser
    cutter: Cutter
    cutting: Cutting
    why: str


def _answering(
    context: click.Context,
    row: str | None,
    seed: int | None,
    target: str | None,
    where: Sequence[str],
    how: str,
    *,
    explained: bool,
) -> _Answering:
    from ferbench.cli.predict_rows import chosen_runs
    from ferbench.recognition import Recogniser, cutting_for

    if explained:
        from ferbench.saliency import check_installed

        check_installed()
    settings = settings_of(context)
    catalog = catalog_of(context)
    warn_of_failures(catalog)
    with reading_store(settings) as store:
        chosen = chosen_runs(
            *(store, settings, catalog), row=row, seed=seed, target=target, where=where, with_faces=how != "none"
        )
        for line in chosen.warnings:
            warn(line)
        recogniser = Recogniser(chosen.runs, store, catalog, settings)
    cutter, cutting = cutting_for(how, recogniser.stages, catalog, recogniser.image_size, recogniser.lacking)
    return _Answering(recogniser, cutter, cutting, chosen.why)


def _answers(
    found: Sequence[GivenPicture | NotGiven], answering: _Answering, *, drawn: bool, explained: bool
) -> Iterator[PictureAnswer | PictureFault]:
    """Of all that was named, in its order."""
    from ferbench.data.given_pictures import GivenPicture
    from ferbench.pages.recognition import PictureFault

    given = (each for each in found if isinstance(each, GivenPicture))
    answers = answering.recogniser.answers(given, answering.cutter, drawn=drawn, explained=explained)
    for each in found:
        yield next(answers) if isinstance(each, GivenPicture) else PictureFault(each.name, each.line)
