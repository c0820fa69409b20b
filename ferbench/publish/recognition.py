"""What `ferbench predict` says, as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ferbench.pages.recognition import Answerer, Cutting, FaceAnswer, PictureAnswer, PictureFault
from ferbench.publish.boards_csv import defused
from ferbench.publish.layout import GAP, PLAIN, Paint, wrapped, wrapped_facts
from ferbench.quantities import counted, percent, ranges

#: Expressions that are shown of each face, unless more or fewer are asked for.
TOP = 3

#: Columns that a bar of 100 % takes, on a line that is wide enough.
_BAR = 30

#: Columns of a picture's name in a list, at least.
_NAME = 16

#: A character for each eighth of a column.
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def row_facts(answerer: Answerer) -> list[str]:
    """Which row answers, in facts."""
    board = answerer.board
    if answerer.members:
        runs = f"ensemble of {counted(answerer.members, 'network')}"
    elif len(answerer.seeds) > 1:
        runs = f"mean of seeds {ranges(answerer.seeds)}"
    else:
        runs = f"seed {answerer.seeds[0]}"
    facts = [f"row {answerer.row}", answerer.backbone, answerer.strategy, f"of {board.target} {board.split}", runs]
    if answerer.calibrated == len(answerer.seeds):
        facts.append("calibrated probabilities")
    elif answerer.calibrated:
        facts.append(f"probabilities calibrated for {answerer.calibrated} of {len(answerer.seeds)} seeds")
    else:
        facts.append("probabilities not calibrated")
    return facts


def head_lines(answerer: Answerer, *, width: int, paint: Paint) -> list[str]:
    """Which row answers."""
    lines = wrapped_facts(row_facts(answerer), width)
    return [paint.dim(line) for line in lines]


def picture_lines(
    answer: PictureAnswer, answerer: Answerer, top: int = TOP, *, width: int, paint: Paint
) -> list[str]:
    """One picture at length: each face with bars."""
    lines = [*wrapped(f"{answer.name}{GAP}{answer.width} x {answer.height}, {_found(answer, answerer)}", width)]
    lines[0] = lines[0].replace(answer.name, paint.bold(answer.name), 1)
    for number, face in enumerate(answer.faces, 1):
        if face.box is not None:
            lines.append(f"{GAP}face {number}, {_place(face)}, score {face.score or 0:.2f}")
        shown = top_expressions(face, answerer.classes, top)
        name_width = max(len(name) for name, _ in shown)
        bar = max(8, min(_BAR, width - name_width - len("100.0 %") - 4 * len(GAP)))
        for place, (name, probability) in enumerate(shown):
            text = f"{2 * GAP}{name.ljust(name_width)}{GAP}{percent(probability):>5} %{GAP}{_bar(probability, bar)}"
            lines.append((paint.bold(text) if place == 0 else text).rstrip())
    return lines


def listed_lines(answer: PictureAnswer, answerer: Answerer, top: int = TOP, *, width: int, paint: Paint) -> list[str]:
    """One picture of many: a line a face."""
    said = [_in_a_row(face, answerer.classes, top) for face in answer.faces]
    room = max(_NAME, width - len(GAP) - max(map(len, said)))
    name = _ending(answer.name, room)
    if len(said) == 1:
        mark = " (whole)" if answer.whole and cutting.mode != "none" else ""
        name = _ending(answer.name, max(_NAME, room - len(mark)))
        return _beside(name + mark, said[0], width, paint)
    lines = [f"{paint.bold(name)}{GAP}{counted(len(said), 'face')}"]
    for number, (face, text) in enumerate(zip(answer.faces, said, strict=True), 1):
        lines += _beside(f"{GAP}{number} at {_place(face)}", text, width, PLAIN)
    return lines


def summary_lines(
    answers: Sequence[tuple[str, int, bool]], answerer: Answerer, faults: int, *, width: int
) -> list[str]:
    """How often each expression was the top one.

    Parameters
    ----------
    answers : of each face, the top expression, the number of its picture, and whether the picture was taken whole
    faults : pictures that could not be read
    """
    counted_names = Counter(name for name, _, _ in answers)
    pictures = len({number for _, number, _ in answers})
    whole = sum(taken for _, _, taken in answers)
    facts = [counted(pictures, "picture")]
    if cutting.mode != "none":
        facts.append(counted(len(answers) - whole, "face"))
        if whole:
            facts.append(f"{whole} without a face, taken whole")
    if faults:
        facts.append(f"{faults} not readable")
    order = sorted(answerer.classes, key=lambda name: (-counted_names[name], answerer.classes.index(name)))
    facts.append(", ".join(f"{name} {counted_names[name]}" for name in order if counted_names[name]))
    return wrapped_facts([fact for fact in facts if fact], width)


def top_expressions(face: FaceAnswer, classes: Sequence[str], top: int | None = None) -> list[tuple[str, float]]:
    """The most probable expressions with their probabilities, most first; all of them for None."""
    order = np.argsort(-face.probabilities, kind="stable")[:top]
    return [(classes[index], float(face.probabilities[index])) for index in order.tolist()]


def notes(answerer: Answerer) -> list[str]:
    """What must be said once of all answers, a line each."""
    found = []
    if answerer.synthetic != "none":
        if answerer.synthetic == "alone":
            what = "synthetic faces: on real ones it errs more often than its board says"
        else:
            what = "synthetic faces too"
        found.append(f"row {answerer.row} was trained on {what}")
    absent = len(answerer.seeds) - answerer.calibrated
    if absent:
        which = "these probabilities are" if absent == len(answerer.seeds) else f"those of {counted(absent, 'seed')} are"
        found.append(
            f"{which} not calibrated: row {answerer.row} has no temperature, since it had no select split to fit one on"
        )
    return found


def as_json(
    answers: Sequence[PictureAnswer | PictureFault],
    answerer: Answerer,
    top: int | None,
    said: Sequence[str],
    drawn: dict[str, str],
) -> dict[str, Any]:
    """The documented shape.

    Parameters
    ----------
    said : notes, one line each
    drawn : by picture's name, where its annotated copy lies
    """
    board = answerer.board
    images: list[dict[str, Any]] = []
    for answer in answers:
        if isinstance(answer, PictureFault):
            continue
        image: dict[str, Any] = {
            "path": answer.name,
            "width": answer.width,
            "height": answer.height,
            "whole": answer.whole,
            "faces": [_face_json(face, answerer.classes, top) for face in answer.faces],
        }
        if drawn:
            image["annotated"] = drawn.get(answer.name)
        images.append(image)
    return {
        "row": answerer.row,
        "backbone": answerer.backbone,
        "strategy": answerer.strategy,
        "seeds": list(answerer.seeds),
        "members": answerer.members,
        "board": {"target": board.target, "split": board.split, "fingerprint": board.fingerprint},
        "label_set": answerer.label_set,
        "calibrated": answerer.calibrated == len(answerer.seeds),
        "calibrated_seeds": answerer.calibrated,
        "synthetic": answerer.synthetic,
        "faces": answerer.faces,
        "face_detector": answerer.detector,
        "notes": list(said),
        "images": images,
        "errors": [{"path": each.name, "error": each.line} for each in answers if isinstance(each, PictureFault)],
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
            row = [defused(answer.name), number, *place, score, expression]
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


def _found(answer: PictureAnswer, answerer: Answerer) -> str:
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
