"""A whole network as the bytes of one ONNX file.

The format is that of onnx.ai; torch's exporter traces the network (torch.export) and translates what it did.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ferbench.errors import ExportError, UsageError, one_line
from ferbench.export.whole_network import WholeNetwork
from ferbench.quantities import joined
from ferbench.version import VERSION

if TYPE_CHECKING:
    from onnx import ModelProto

#: The oldest that torch's exporter writes, so that the most readers take it, and the newest that was tried.
OLDEST_OPSET, NEWEST_OPSET = 18, 23

#: What the packages of the extra are imported as.
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
INSTALL = "pip install 'ferbench[export]'"

#: The file's input and outputs; what is stretched is an output of its part alone.
IMAGES, PROBABILITIES, LOGITS, STRETCHED = "images", "probabilities", "logits", "stretched"

#: Protocol buffers end at 2 GiB; what is no weight of the network takes little.
_LARGEST_BYTES = 2**31 - 2**24

#: An example with sides of its own, so that neither is taken for the other or for the network's.
_EXAMPLE = (2, 50, 70, 3)


#: What torch says of an operation that it cannot translate.
_NO_FUNCTION = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'")


class _Untranslated(ExportError):
    """An operation without a translation, however many pictures are taken at once."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """One written file.

    stretching : the part of it that gives STRETCHED, as a file of its own
    batches : takes any number of pictures at once; else one
    seconds : that writing it took
    """

    content: bytes
    stretching: bytes
    opset: int
    batches: bool
    seconds: float


def missing_packages() -> list[str]:
    """What is wrong with packages of the extra, in words: some are not installed, others cannot be imported."""
    absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    faults = [f"{joined(absent)}, which {'is' if len(absent) == 1 else 'are'} not installed"] if absent else []
    for name in _PACKAGES:
        if name not in absent:
            try:
                importlib.import_module(name)
            except Exception as error:  # whatever a package that does not fit the others raises
                faults.append(f"{name}, which cannot be imported ({one_line(error)})")
    return faults


def onnx_file(whole: WholeNetwork, opset: int, about: Mapping[str, str], describe: Callable[[bool], str]) -> OnnxFile:
    """Write a network that lies on the CPU, in eval mode.

    Parameters
    ----------
    opset : version of ONNX's operators, OLDEST_OPSET to NEWEST_OPSET
    about : the file's metadata, by key
    describe : gives the file's doc_string, told whether it takes several pictures at once

    Raises
    ------
    UsageError : a package of the extra is missing or cannot be imported
    ExportError : an operation of the network has no translation, or the file would be larger than ONNX allows
    """
    if missing := missing_packages():
        raise UsageError(f"ONNX needs {' and '.join(missing)}: {INSTALL}")
    size = sum(value.nbytes for value in whole.state_dict().values())
    if size > _LARGEST_BYTES:
        raise ExportError(f"{size / 1e9:.1f} GB of weights do not fit into one ONNX file, which ends at 2 GB")
    began = time.perf_counter()
    batches = True
    try:
        proto = _exported(whole, opset, any_number=True)
    except _Untranslated:
        raise
    except ExportError:
        # Some networks are traced for one number of pictures only.
        proto = _exported(whole, opset, any_number=False)
        batches = False
    import onnx

    _strip(proto)
    stretching = _part(proto, STRETCHED)
    del proto.graph.output[2:]
    _describe(proto, about, describe(batches))
    content: bytes = proto.SerializeToString()
    try:
        onnx.checker.check_model(content, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"what torch's exporter wrote is no valid ONNX file: {one_line(error)}") from error
    return OnnxFile(content, stretching, opset, batches, time.perf_counter() - began)


def _exported(whole: WholeNetwork, opset: int, *, any_number: bool) -> ModelProto:
    import torch

    dim: Any = torch.export.Dim
    example = torch.zeros(_EXAMPLE if any_number else (1, *_EXAMPLE[1:]), dtype=torch.uint8)
    sides = {1: dim("height"), 2: dim("width")}
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                whole,
                (example,),
                dynamo=True,
                input_names=[IMAGES],
                output_names=[PROBABILITIES, LOGITS, STRETCHED],
                dynamic_shapes={IMAGES: {0: dim("n"), **sides} if any_number else sides},
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # torch has no list of what tracing raises
        reason = _reason(error)
        if found := _NO_FUNCTION.match(reason):
            raise _Untranslated(f"the network computes {found[1]}, which torch cannot write as ONNX") from error
        raise ExportError(f"torch cannot write the network as ONNX: {reason}") from error
    if program is None:
        raise ExportError("torch's exporter has written nothing")
    proto: ModelProto = program.model_proto
    # Where the network computes with a size itself, torch writes the example's size into the file and says nothing.
    shape = proto.graph.input[0].type.tensor_type.shape.dim
    free = ("n", "height", "width") if any_number else ("height", "width")
    if fixed := [name for name, each in zip(free, shape[3 - len(free) :], strict=False) if not each.dim_param]:
        raise ExportError(f"torch cannot write the network as ONNX for any {' and '.join(fixed)}")
    return proto


def _reason(error: BaseException) -> str:
    """The innermost cause, which names the operation; those around it tell how to report a bug to torch."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error)


def _strip(proto: ModelProto) -> None:
    """Take out where in whose folders each operation was traced."""
    for holder in (proto.graph, *proto.functions):
        del holder.metadata_props[:]
        for node in holder.node:
            del node.metadata_props[:]
            node.doc_string = ""
        for value in holder.value_info:
            del value.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""


def _part(proto: ModelProto, output: str) -> bytes:
    """The operations and values that one output takes, with the same input."""
    import onnx

    wanted, nodes = {output}, []
    for node in reversed(proto.graph.node):
        if wanted & set(node.output):
            nodes.append(node)
            wanted.update(node.input)
    part = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions)
    part.graph.name = output
    part.graph.node.extend(reversed(nodes))
    part.graph.input.extend(proto.graph.input)
    part.graph.output.extend(value for value in proto.graph.output if value.name == output)
    part.graph.initializer.extend(value for value in proto.graph.initializer if value.name in wanted)
    content: bytes = part.SerializeToString()
    return content


def _describe(proto: ModelProto, about: Mapping[str, str], description: str) -> None:
    import onnx

    proto.producer_name = "ferbench"
    proto.producer_version = VERSION
    proto.doc_string = description
    proto.graph.name = "expressions"
    onnx.helper.set_model_props(proto, dict(about))
