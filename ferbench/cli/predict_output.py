"""How `ferbench predict` tells its answers: text as they come, JSON and CSV at the end; annotated copies beside."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ferbench.cli.session import paint, print_json, print_lines, warn, width
from ferbench.errors import UsageError
from ferbench.pages.recognition import Answerer, Cutting, PictureAnswer, PictureFault, without_pixels
from ferbench.publish.recognition import (
    TOP,
    Tally,
    album_lines,
    as_csv,
    as_json,
    head_lines,
    listed_lines,
    notes,
    picture_lines,
    printable,
    summary_lines,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ferbench.data.given_pictures import GivenPicture
    from ferbench.publish.annotated import Album


@dataclass(slots=True)
class Output:
    """What is told of pictures, one after the other.

    given : the pictures that are to be answered
    why : why it is this row; empty where it was named
    top : expressions of each face; None for what the form has by itself
    folder : where annotated pictures go; None for none
    """

    answerer: Answerer
    cutting: Cutting
    given: Sequence[GivenPicture]
    form: Literal["text", "json", "csv"]
    why: str = ""
    top: int | None = None
    folder: Path | None = None
    tally: Tally = field(default_factory=Tally)
    _kept: list[PictureAnswer | PictureFault] = field(default_factory=list)
    _album: Album | None = None

    def begin(self) -> None:
        """Say who answers, and what must be known of it.

        Raises
        ------
        UsageError : an annotated picture would take the place of one that is read
        """
        if self.folder is not None:
            from ferbench.publish.annotated import Album

            self._album = Album(self.folder, self.answerer.classes, self.cutting, self.top or TOP)
            self._album.plan(
                (each.name, each.below, each.file if isinstance(each.file, Path) else None) for each in self.given
            )
        for line in notes(self.answerer, self.cutting):
            warn(line)
        if self.form == "text" and self.given:
            print_lines([*head_lines(self.answerer, self.why, width=width(), paint=paint()), ""])

    def add(self, answer: PictureAnswer | PictureFault) -> None:
        """Tell of one picture."""
        self.tally.add(answer, self.answerer)
        if isinstance(answer, PictureFault):
            click.echo(f"error: {printable(answer.line)}", err=True)
        if self.form != "text":
            self._kept.append(without_pixels(answer))
        elif isinstance(answer, PictureAnswer):
            lines_of = picture_lines if len(self.given) == 1 else listed_lines
            top = self.top or TOP
            print_lines(lines_of(answer, self.answerer, self.cutting, top, width=width(), paint=paint()))
        if isinstance(answer, PictureAnswer) and self._album is not None:
            self._draw(answer, self._album)

    def _draw(self, answer: PictureAnswer, album: Album) -> None:
        """Write the annotated copy; what cannot be written takes no answer away."""
        try:
            album.write(answer)
        except UsageError as error:
            self.tally.undrawn += 1
            self._kept.append(PictureFault(answer.name, error.line))
            click.echo(f"error: {printable(error.line)}", err=True)

    def end(self) -> None:
        """Tell what is told of all of them."""
        written = {} if self._album is None else self._album.written
        if self.form == "json":
            drawn = None if self._album is None else {name: str(path) for name, path in written.items()}
            print_json(as_json(self._kept, self.answerer, self.cutting, self.top, drawn))
        elif self.form == "csv":
            click.echo(as_csv(self._kept, self.answerer), nl=False)
        elif self.given:
            several = len(self.given) > 1
            lines = summary_lines(self.tally, self.answerer, self.cutting, width=width()) if several else []
            if self.folder is not None and self._album is not None:
                lines += album_lines(self.folder, len(written), self._album.renamed, width=width())
            if lines:
                print_lines(["", *lines])
