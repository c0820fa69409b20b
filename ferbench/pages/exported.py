"""The frozen records of what `ferbench export` has written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far onnxruntime and torch answered alike.

    samples : pictures that both were shown
    source : what they are, in words
    real : they are the row's own report split; else drawn at random
    difference : the largest of a probability, of the same pixels; calibrated where the row is
    limit : what it may be at most
    overall : the largest from picture to probability, stretching included
    same_top : pictures of which both named the same expression
    rounded_otherwise : pictures in which stretching rounded some half of a grey level to the other side
    runtime : onnxruntime's version
    """

    samples: int
    source: str
    real: bool
    difference: float
    limit: float
    overall: float
    same_top: int
    rounded_otherwise: int
    runtime: str


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One written file, in the folder."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Exported:
    """One run's network as it was written.

    backbone : without folders of this machine
    library : name and version of what defines the network; may be empty
    plugins : names of the user's own files that the backbone comes from
    licences : in words, by backbone and dataset of the chain; empty where none is told
    temperature : what logits are divided by; None where the run has none
    faces : how evaluation cuts pictures to faces before they are shown; `none` shows them whole
    face_detector, found_by : the name of what finds them, and its identity; empty where none are looked for
    opset, batches, seconds : of the ONNX file: its operators' version, whether it takes several pictures at once, and
        what writing and checking it took; None without one
    left_out : why there is no ONNX file where one was wanted
    withheld_by : datasets of the chain whose licence does not permit that weights are passed on
    passed_on : the user says that they may be
    precision : what the row was computed in; the files compute in fp32
    """

    row: str
    seed: int
    backbone: str
    library: str
    strategy: str
    target: str
    labels: tuple[str, ...]
    image_size: int
    grey: bool
    temperature: float | None
    faces: str
    plugins: tuple[str, ...]
    licences: Mapping[str, str]
    folder: str
    files: tuple[ExportedFile, ...]
    precision: str
    opset: int | None = None
    batches: bool | None = None
    seconds: float | None = None
    agreement: Agreement | None = None
    face_detector: str = ""
    found_by: str = ""
    left_out: str | None = None
    withheld_by: tuple[str, ...] = ()
    passed_on: bool = False
