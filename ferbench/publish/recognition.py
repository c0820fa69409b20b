"""What `ferbench predict` says, as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ferbench.data.given_pictures import STANDARD_INPUT
from ferbench.pages.recognition import Answerer, Cutting, FaceAnswer, PictureAnswer, PictureFault
from ferbench.publish.boards_csv import defused
from ferbench.publish.layout import GAP, PLAIN, Paint, wrapped, wrapped_facts
from ferbench.quantities import counted, percent, ranges

#: Expressions that are shown of each face, unless more or fewer are asked for.
TOP = 3

#: Columns that a bar of 100 % takes, on a line that is wide enough.
_BAR = 30

#: Annotated pictures under other names that are listed.
_RENAMED = 12

#: Columns of a picture's name in a list, at least.
_NAME = 16

#: A character for each eighth of a column.
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def row_facts(answerer: Answerer, why: str = "") -> list[str]:
    """Which row answers, in facts.

    why : in words, why it is this row; empty where it was named
    """
    board = answerer.board
    if answerer.members:
        runs = f"ensemble of {counted(answerer.members, 'network')}"
    elif len(answerer.seeds) > 1:
        runs = f"mean of seeds {ranges(answerer.seeds)}"
    else:
        runs = f"seed {answerer.seeds[0]}"
    facts = [
        f"row {answerer.row}",
        answerer.backbone,
        answerer.strategy,
        why or f"of {board.target} {board.split}",
        runs,
    ]
    facts.append("probabilities not calibrated" if answerer.temperature is None else "calibrated probabilities")
    return facts


def head_lines(answerer: Answerer, why: str = "", *, width: int, paint: Paint) -> list[str]:
    """Which row answers; `why` as `row_facts` has it."""
    lines = wrapped_facts(row_facts(answerer, why), width)
    return [paint.dim(line) for line in lines]


def picture_lines(
    answer: PictureAnswer, answerer: Answerer, cutting: Cutting, top: int = TOP, *, width: int, paint: Paint
) -> list[str]:
    """One picture at length: each face with bars."""
    called = shown_name(answer.name)
    lines = [*wrapped(f"{called}{GAP}{answer.width} x {answer.height}, {_found(answer, cutting)}", width)]
    lines[0] = lines[0].replace(called, paint.bold(called), 1)
    for number, face in enumerate(answer.faces, 1):
        if face.box is not None:
            lines.append(f"{GAP}face {number} at {_place(face)}, score {face.score or 0:.2f}")
        shown = top_expressions(face, answerer.classes, top)
        name_width = max(len(name) for name, _ in shown)
        bar = max(8, min(_BAR, width - name_width - len("100.0 %") - 4 * len(GAP)))
        for place, (name, probability) in enumerate(shown):
            text = f"{2 * GAP}{name.ljust(name_width)}{GAP}{percent(probability):>5} %{GAP}{_bar(probability, bar)}"
            lines.append((paint.bold(text) if place == 0 else text).rstrip())
    return lines


def listed_lines(
    answer: PictureAnswer, answerer: Answerer, cutting: Cutting, top: int = TOP, *, width: int, paint: Paint
) -> list[str]:
    """One picture of many: a line a face."""
    said = [_in_a_row(face, answerer.classes, top) for face in answer.faces]
    room = max(_NAME, width - len(GAP) - max(map(len, said)))
    name = _ending(shown_name(answer.name), room)
    if len(said) == 1:
        mark = " (whole)" if answer.whole and cutting.mode != "none" else ""
        name = _ending(shown_name(answer.name), max(_NAME, room - len(mark)))
        return _beside(name + mark, said[0], width, paint)
    lines = [f"{paint.bold(name)}{GAP}{counted(len(said), 'face')}"]
    for number, (face, text) in enumerate(zip(answer.faces, said, strict=True), 1):
        lines += _beside(f"{GAP}face {number} at {_place(face)}", text, width, PLAIN)
    return lines


@dataclass(slots=True)
class Tally:
    """What was answered, counted; pictures themselves need not be kept for it.

    faults : pictures that could not be read
    undrawn : pictures that were answered and whose annotated copy could not be written
    shown, shown_whole : how often each expression was the top one, of faces and of pictures taken whole
    """

    pictures: int = 0
    faces: int = 0
    whole: int = 0
    faults: int = 0
    undrawn: int = 0
    shown: Counter[str] = field(default_factory=Counter)
    shown_whole: Counter[str] = field(default_factory=Counter)

    def add(self, answer: PictureAnswer | PictureFault, answerer: Answerer) -> None:
        """Count one picture."""
        if isinstance(answer, PictureFault):
            self.faults += 1
            return
        self.pictures += 1
        self.whole += answer.whole
        self.faces += sum(face.box is not None for face in answer.faces)
        for face in answer.faces:
            (top, _) = top_expressions(face, answerer.classes, 1)[0]
            (self.shown_whole if face.box is None else self.shown)[top] += 1


def summary_lines(tally: Tally, answerer: Answerer, cutting: Cutting, *, width: int) -> list[str]:
    """How many pictures and faces there were, and how often each expression was the top one."""
    if cutting.mode == "none":
        facts = [_told(counted(tally.pictures, "picture"), tally.shown_whole, answerer)]
    else:
        facts = [counted(tally.pictures, "picture"), _told(counted(tally.faces, "face"), tally.shown, answerer)]
        if tally.whole:
            facts.append(_told(f"{tally.whole} without a face, taken whole", tally.shown_whole, answerer))
    if tally.faults:
        facts.append(f"{tally.faults} not readable")
    return wrapped_facts(facts, width)


def _told(what: str, shown: Counter[str], answerer: Answerer) -> str:
    """Something with how often each expression was its top one."""
    order = sorted(answerer.classes, key=lambda name: (-shown[name], answerer.classes.index(name)))
    parts = ", ".join(f"{name} {shown[name]}" for name in order if shown[name])
    return f"{what}: {parts}" if parts else what


def shown_name(name: str) -> str:
    """A picture's name for people."""
    return "standard input" if name == STANDARD_INPUT else printable(name)


def printable(text: str) -> str:
    """A text without what a terminal cannot print or would take for a command, as names of files may hold it."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _valid(name: str) -> str:
    """A name as UTF-8 can have it, which bytes of a file's name need not be."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def top_expressions(face: FaceAnswer, classes: Sequence[str], top: int | None = None) -> list[tuple[str, float]]:
    """The most probable expressions with their probabilities, most first; all of them for None."""
    order = np.argsort(-face.probabilities, kind="stable")[:top]
    return [(classes[index], float(face.probabilities[index])) for index in order.tolist()]


def album_lines(folder: Path, count: int, renamed: Mapping[str, Path], *, width: int) -> list[str]:
    """Where annotated pictures are.

    renamed : those that could not have their own name, by the picture's
    """
    if not count:
        return []
    lines = wrapped(f"{counted(count, 'annotated picture')} in {folder}", width)
    for name, place in list(renamed.items())[:_RENAMED]:
        lines += wrapped(f"{GAP}{printable(str(place.relative_to(folder)))} is of {shown_name(name)}", width)
    if len(renamed) > _RENAMED:
        lines.append(f"{GAP}and {len(renamed) - _RENAMED} more under other names; --json names all")
    return lines


def notes(answerer: Answerer, cutting: Cutting) -> list[str]:
    """What must be said once of all answers, a line each."""
    found = [cutting.why] if cutting.why else []
    if answerer.synthetic != "none":
        if answerer.synthetic == "alone":
            what = "synthetic faces: on real ones it errs more often than its board says"
        else:
            what = "synthetic faces too"
        found.append(f"row {answerer.row} was trained on {what}")
    if answerer.temperature is None:
        which = f"row {answerer.row}"
        since = "it had no select split to fit one on"
        if len(answerer.seeds) > 1:
            which = f"the mean of seeds {ranges(answerer.seeds)} of {which}"
            since = "they have no select split in common to fit one on"
        found.append(f"these probabilities are not calibrated: {which} has no temperature, since {since}")
    return found


def as_json(
    answers: Sequence[PictureAnswer | PictureFault],
    answerer: Answerer,
    cutting: Cutting,
    top: int | None,
    drawn: Mapping[str, str] | None,
) -> dict[str, Any]:
    """`{"row", "backbone", "strategy", "seeds", "members", "board": {"target", "split", "fingerprint"}, "label_set",
    "calibrated", "temperature", "synthetic", "faces", "face_detector", "notes", "images": [{"path", "width",
    "height", "whole", "faces": [{"box": [left, top, width, height], "score", "expressions": [{"name",
    "probability"}]}], "annotated"}], "errors": [{"path", "error"}]}`.

    Pixels are those of the picture turned upright; `box` and `score` are null where it was taken whole. `calibrated` is
    whether there is a temperature, at which the mean of the seeds is told; `synthetic` is none, partly or alone,
    `faces` is none, crop or align, `members` counts an ensemble's networks. `annotated` is there where pictures are
    drawn, null for one that could not be. Expressions come most probable first.

    Parameters
    ----------
    top : expressions of each face; None for all
    drawn : by picture's name, where its annotated copy lies; None where none are drawn
    """
    board = answerer.board
    images: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []
    for answer in answers:
        if isinstance(answer, PictureFault):
            errors.append({"path": _valid(answer.name), "error": _valid(answer.line)})
            continue
        image: dict[str, Any] = {
            "path": _valid(answer.name),
            "width": answer.width,
            "height": answer.height,
            "whole": answer.whole,
            "faces": [_face_json(face, answerer.classes, top) for face in answer.faces],
        }
        if drawn is not None:
            image["annotated"] = _valid(drawn[answer.name]) if answer.name in drawn else None
        images.append(image)
    return {
        "row": answerer.row,
        "backbone": answerer.backbone,
        "strategy": answerer.strategy,
        "seeds": list(answerer.seeds),
        "members": answerer.members,
        "board": {"target": board.target, "split": board.split, "fingerprint": board.fingerprint},
        "label_set": answerer.label_set,
        "calibrated": answerer.temperature is not None,
        "temperature": answerer.temperature,
        "synthetic": answerer.synthetic,
        "faces": cutting.mode,
        "face_detector": cutting.detector,
        "notes": notes(answerer, cutting),
        "images": images,
        "errors": errors,
    }


def as_csv(answers: Sequence[PictureAnswer | PictureFault], answerer: Answerer) -> str:
    """A line a face (RFC 4180), every probability with all its digits; the box is empty for a picture taken whole."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    names = ("path", "face", "left", "top", "width", "height", "score", "expression")
    writer.writerow([*names, *(f"p_{name}" for name in answerer.classes)])
    for answer in answers:
        if isinstance(answer, PictureFault):
            continue
        for number, face in enumerate(answer.faces, 1):
            box = face.box
            place = ("", "", "", "") if box is None else (box.left, box.top, box.width, box.height)
            score = "" if face.score is None else face.score
            ((expression, _),) = top_expressions(face, answerer.classes, 1)
            row = [defused(_valid(answer.name)), number, *place, score, expression]
            writer.writerow([*row, *(repr(float(value)) for value in face.probabilities)])
    return stream.getvalue()


def _face_json(face: FaceAnswer, classes: Sequence[str], top: int | None) -> dict[str, Any]:
    box = face.box
    return {
        "box": None if box is None else [box.left, box.top, box.width, box.height],
        "score": face.score,
        "expressions": [
            {"name": name, "probability": probability} for name, probability in top_expressions(face, classes, top)
        ],
    }


def _found(answer: PictureAnswer, cutting: Cutting) -> str:
    if cutting.mode == "none":
        return "taken whole"
    return "no face found, taken whole" if answer.whole else counted(len(answer.faces), "face")


def _place(face: FaceAnswer) -> str:
    box = face.box
    return "" if box is None else f"{box.left},{box.top} ({box.width} x {box.height})"


def _in_a_row(face: FaceAnswer, classes: Sequence[str], top: int) -> str:
    longest = max(map(len, classes))
    parts = [
        f"{name.ljust(longest)} {percent(probability, 0):>3} %"
        for name, probability in top_expressions(face, classes, top)
    ]
    return GAP.join(parts)


def _beside(name: str, text: str, width: int, paint: Paint) -> list[str]:
    """A name with an answer at the right edge; below it where there is no room."""
    if len(name) + len(GAP) + len(text) <= width:
        return [f"{paint.bold(name)}{' ' * (width - len(name) - len(text))}{text}"]
    return [paint.bold(name), f"{' ' * max(len(GAP), width - len(text))}{text}"]


def _ending(name: str, room: int) -> str:
    """A path that fits; of a longer one the end is kept."""
    return name if len(name) <= room else f"…{name[len(name) - room + 1 :]}"


def _bar(fraction: float, columns: int) -> str:
    """A bar of block characters, to an eighth of a column."""
    eighths = round(fraction * columns * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
