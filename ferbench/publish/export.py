"""An export for people: what was written, what the files say of themselves, and how to use them."""

from __future__ import annotations

import dataclasses

from ferbench.pages.exported import Exported
from ferbench.publish.layout import PLAIN, Paint, aligned, wrapped
from ferbench.quantities import joined, size
from ferbench.references import CUT
from ferbench.version import VERSION

#: What a file is, in its line and in the card.
_ABOUT = {
    "model.safetensors": "the weights, under the names of the state dict",
    "config.json": "labels, preprocessing, recipe and board",
    "README.md": "the model card, with an example for each file",
}

_ONNX = """\
import json
import numpy as np, onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("model.onnx")
labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
face = np.asarray(Image.open("face.png").convert("RGB"))
probabilities, logits = session.run(None, {"images": face[None]})
print(labels[probabilities[0].argmax()], probabilities[0].max())
"""

#: What makes face.png of the others, as evaluation cuts it.
_CUTTING = """\
import numpy as np
from PIL import Image
from ferbench.catalog import Catalog
from ferbench.faces import cut, found_faces, main_face

picture = np.asarray(Image.open("picture.jpg").convert("RGB"))
found = found_faces(picture, Catalog.load().face_detector("DETECTOR"))
if face := main_face(found, picture.shape):
    picture = cut(picture, face, "MODE", min(SIDE, max(picture.shape)))
Image.fromarray(picture).save("face.png")
"""

_SAFETENSORS = """\
import numpy as np
from PIL import Image
from ferbench.export.reading import load_exported

network = load_exported(LOADED)
face = np.asarray(Image.open("face.png").convert("RGB"))
probabilities, logits = network(face[None])
print(network.labels[probabilities[0].argmax()], probabilities[0].max())
"""


def export_lines(exported: Exported, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """What was written where, and how far it can be trusted."""
    title = f"{exported.row} · {exported.backbone} · {exported.strategy} · seed {exported.seed} → {exported.folder}"
    about = {"model.onnx": f"uint8 {_input(exported)}, opset {exported.opset}", **_ABOUT}
    rows = [[file.name, size(file.size_bytes), about[file.name]] for file in exported.files]
    lines = [paint.bold(line) for line in wrapped(title, width)]
    lines += [f"  {line}" for line in aligned(rows, ["left", "right", "left"])]
    for sentence in (*_checked(exported), *_limits(exported)):
        lines += wrapped(sentence, width)
    return lines


def warning_lines(exported: Exported) -> list[str]:
    """What the user must know, a line each."""
    left_out = [] if exported.left_out is None else [f"no ONNX file: {exported.left_out}"]
    passing_on = passing_on_line(exported)
    return [*left_out, *([passing_on] if passing_on else [])]


def passing_on_line(exported: Exported) -> str | None:
    """Whether the files may be passed on; None where no licence withholds that."""
    if not exported.withheld_by:
        return None
    named = joined(exported.withheld_by)
    whose = f"the licence of {named}" if len(exported.withheld_by) == 1 else f"the licences of {named}"
    permits = "permits" if len(exported.withheld_by) == 1 else "permit"
    if exported.passed_on:
        return (
            f"passed on at your word: as far as ferbench knows, nothing in {whose} {permits} passing on weights that "
            "were trained on it"
        )
    return (
        f"for your own use: nothing in {whose} {permits} passing on weights that were trained on it; if you have leave "
        "to, --with weights says so on the card"
    )


def export_json(exported: Exported) -> dict[str, object]:
    """`export --json`. Scripts rely on it: fields may be added, never changed."""
    return dataclasses.asdict(exported) | {"files": {file.name: file.size_bytes for file in exported.files}}


def description(exported: Exported) -> str:
    """What a file says of itself, in sentences."""
    licences = "; ".join(f"{name}: {text or 'not told'}" for name, text in exported.licences.items())
    sentences = [
        f"Facial expressions ({', '.join(exported.labels)}) by {exported.backbone}, row {exported.row} seed "
        f"{exported.seed} of a board of {exported.target}, exported by ferbench {VERSION}.",
        *_interface(exported),
        f"Licences: {licences}.",
        *_passing_on(exported),
    ]
    return " ".join(sentences)


def card_section(exported: Exported) -> list[str]:
    """What a model card says of the files and how they are used, as lines of Markdown."""
    names = {file.name for file in exported.files}
    lines = ["## Files", ""]
    about = {"model.onnx": f"the whole way from pictures to probabilities, opset {exported.opset}", **_ABOUT}
    lines += [f"- `{name}`: {about[name]}" for name in about if name in names]
    said = [*_interface(exported), *_checked(exported), *_limits(exported), *_passing_on(exported)]
    if exported.library and "model.safetensors" in names:
        said.append(f"Weights have the names of the backbone's module, which is built with {exported.library}.")
    lines += ["", *said]
    if exported.faces != "none":
        cutting = _CUTTING.replace("DETECTOR", exported.face_detector)
        cutting = cutting.replace("MODE", exported.faces).replace("SIDE", str(exported.image_size))
        lines += ["", "## Cut to the face", "", "```python", *cutting.splitlines(), "```"]
    if "model.onnx" in names:
        lines += ["", "## With onnxruntime", "", "```python", *_ONNX.splitlines(), "```"]
    if "model.safetensors" in names:
        lines += [
            "",
            "## With torch",
            "",
            "```python",
            *_SAFETENSORS.replace("LOADED", _loaded(exported)).splitlines(),
            "```",
        ]
    return lines


def _loaded(exported: Exported) -> str:
    """What `load_exported` is called with."""
    named = [f'backbone="{exported.backbone.replace(CUT, "FOLDER/")}"'] if CUT in exported.backbone else []
    files = ", ".join(f'"{name}"' for name in exported.plugins)
    return ", ".join(['"."', *named, *([f"plugins=[{files}]"] if files else [])])


def _input(exported: Exported) -> str:
    return f"[{'n' if exported.batches else '1'}, height, width, 3]"


def _interface(exported: Exported) -> list[str]:
    """What goes in and comes out."""
    side = exported.image_size
    grey = "turned to grey, " if exported.grey else ""
    cut = "Pictures are shown whole, as the dataset has them."
    if exported.faces != "none":
        cut = (
            f"Pictures are faces that {exported.found_by} finds, cut as ferbench does with faces={exported.faces}, at "
            f"most {side} pixels a side; one without a face is shown whole. Cutting is not part of the file."
        )
    scaled = (
        "No temperature was fitted: probabilities are not calibrated."
        if exported.temperature is None
        else f"Probabilities are calibrated, with a temperature of {exported.temperature:.4g}."
    )
    outputs = f"float32 [{'n' if exported.batches else '1'}, {len(exported.labels)}]"
    return [
        f"Input `images`: uint8 {_input(exported)}, RGB, of any height and width.",
        f"Inside, each picture is {grey}stretched to {side} x {side} (antialiased where it is reduced) and normalised.",
        cut,
        f"Outputs `probabilities` and `logits`: {outputs}, in the order of the labels.",
        scaled,
    ]


def _checked(exported: Exported) -> list[str]:
    found = exported.agreement
    if found is None:
        return []
    lines = [
        f"onnxruntime {found.runtime} answers as torch does on {found.samples} pictures ({found.source}): a "
        f"probability differs by {found.difference:.1g} at most (limit {found.limit:g}), and the same expression is "
        f"named in {found.same_top} of {found.samples}."
    ]
    if found.rounded_otherwise:
        lines.append(
            f"In {found.rounded_otherwise} of them a half of a grey level is rounded to the other side when the "
            f"picture is reduced, which changes a probability by {found.overall:.1g} at most."
        )
    return lines


def _limits(exported: Exported) -> list[str]:
    lines = []
    if exported.batches is False:
        lines.append("This network can be written for one picture at a time only.")
    if exported.precision != "fp32":
        lines.append(
            f"The row was computed in {exported.precision}; the files compute in fp32, which may differ a little."
        )
    return lines


def _passing_on(exported: Exported) -> list[str]:
    line = passing_on_line(exported)
    return [] if line is None else [f"{line[0].upper()}{line[1:]}."]
