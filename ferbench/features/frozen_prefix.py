"""The part of a backbone that a stage leaves as it is, cut off so that it need be computed once.

Two ways to cut. Where all that is trained lies below one module, the input of that module is caught on its way. Where
it does not, the forward pass is traced (torch.fx, Reed et al. 2022, MLSys 4) and its graph divided into what depends
on no trained module and what does. Either way both parts are put together again on an example and must answer as the
whole does; where they do not there is no prefix, and the stage trains through the whole network, slower.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn

from ferbench.trainable import trained_modules

#: Largest difference of logits, as a part of the largest logit, that counts as rounding.
_ROUNDING = 1e-4

#: Branches on shapes that tracing follows.
_MOST_BRANCHES = 50


class FeatureSource(Protocol):
    """What computes features."""

    @property
    def state_sha256(self) -> str:
        """SHA-256 of everything that the features depend on, the images left aside."""

    def features(self, images: Tensor) -> Tensor:
        """Images float32 [n, 3, S, S] to features [n, ...], without gradients."""


@dataclass(frozen=True, slots=True)
class FrozenPrefix:
    """A backbone in two parts.

    rest : maps features [n, ...] to logits float32 [n, C]; its parameters are the backbone's own, so that training it
        trains the backbone, and all of them are trained (`trained_part(rest, classifier, "all")`)
    classifier : dotted name of the head within `rest`, "" where `rest` is the head
    bytes_an_image : of features, as float32
    """

    source: FeatureSource
    rest: nn.Module
    classifier: str
    bytes_an_image: int

    @property
    def state_sha256(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes of every frozen parameter and buffer, and over the modules."""
        return self.source.state_sha256

    def features(self, images: Tensor) -> Tensor:
        """Images float32 [n, 3, S, S] to features [n, ...], without gradients and with the prefix in eval mode."""
        return self.source.features(images)


def frozen_prefix(module: nn.Module, classifier: str, trainable: str, example: Tensor) -> FrozenPrefix | None:
    """Cut a backbone in front of what is trained; None where it cannot be cut.

    Parameters
    ----------
    classifier : dotted name of the head
    trainable : `head` or a module's name, as in a recipe
    example : float32 [n, 3, S, S] with n >= 2 on the module's device, tried once through both ways

    Raises
    ------
    RecipeError : no module of that name
    """
    trained = trained_modules(module, classifier, trainable)
    if "" in trained or _shares_parameters(module, set(trained)):
        return None
    modes = [(part, part.training) for part in module.modules()]
    try:
        for cut in (_caught, _traced):
            parts = cut(module, classifier, trained, example)
            if parts is None:
                continue
            source, rest, head = parts
            found = _features_where_equal(module, source, rest, example)
            if found is not None:
                return FrozenPrefix(source, rest, head, 4 * found[0].numel())
    finally:
        for part, training in modes:
            part.training = training
    return None


#: Features' source, the rest, and the name of the head in it.
_Parts = tuple[FeatureSource, nn.Module, str]


class NotCaught(ValueError):
    """A module that is not called once a forward pass, with one tensor that has a row an image."""


class CaughtInput:
    """Features as the input of one module, caught while the whole forward pass runs."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self._module = module
        self._name = name
        self._part = module.get_submodule(name)

    @cached_property
    def state_sha256(self) -> str:
        """SHA-256 of the state of all modules but that one."""
        below = self._name + "."
        kept = [
            (name, part)
            for name, part in self._module.named_modules(remove_duplicate=False)
            if name != self._name and not name.startswith(below)
        ]
        return _state_sha256(kept, f"input of {self._name}")

    def features(self, images: Tensor) -> Tensor:
        """The input of the module for each image, [n, ...].

        Raises
        ------
        NotCaught : see there
        """
        caught: list[Tensor] = []

        def catch(part: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
            if len(inputs) != 1 or named or not isinstance(inputs[0], Tensor) or len(inputs[0]) != len(images):
                raise NotCaught(f"{self._name} gets something else than one tensor with a row an image")
            caught.append(inputs[0])
            # What comes behind runs on one image, for its answer is not used. Copied, since it may write there.
            return (inputs[0][:1].clone(),), named

        modes = [(part, part.training) for part in self._part.modules()]
        self._module.eval()
        hook = self._part.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            with torch.no_grad():
                self._module(images)
        finally:
            hook.remove()
            for part, training in modes:
                part.training = training
        if len(caught) != 1:
            raise NotCaught(f"{self._name} is called {len(caught)} times a forward pass")
        return caught[0].detach()


def _caught(module: nn.Module, classifier: str, trained: tuple[str, ...], example: Tensor) -> _Parts | None:
    """The cut in front of the first trained module, where nothing is trained but what is below it."""
    first = trained[0]
    others = [name for name in trained if name != first and not name.startswith(first + ".")]
    if not all(isinstance(module.get_submodule(name), (nn.Identity, nn.Flatten)) for name in others):
        return None
    part = module.get_submodule(first)
    return CaughtInput(module, first), part, classifier.removeprefix(first).removeprefix(".")


class _Traced:
    """Features as what the frozen part of a graph gives."""

    def __init__(self, prefix: fx.GraphModule) -> None:
        self._prefix = prefix

    @cached_property
    def state_sha256(self) -> str:
        return _state_sha256(self._prefix.named_modules(remove_duplicate=False), str(self._prefix.graph))

    def features(self, images: Tensor) -> Tensor:
        self._prefix.eval()
        with torch.no_grad():
            found: Tensor = self._prefix(images)
        return found


class _Still(nn.Module):
    """A frozen module without parameters behind the cut; a hidden copy, so that no one puts it into training mode."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self._forward = copy.deepcopy(part).eval().forward

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self._forward(*inputs, **named)


class _Branch(Exception):
    """Tracing has come to a branch on shapes, and must be told how it goes."""

    def __init__(self, node: fx.Node) -> None:
        super().__init__()
        self.node = node


class _Tracer(fx.Tracer):
    """Looks only into modules that have both trained and frozen ones in them; all others stay what they are.

    So whatever a module does by its mode is done at each call, and need not be traceable.

    branches : how the branches on shapes go that are known already, in their order
    """

    def __init__(self, mixed: set[nn.Module], branches: list[bool]) -> None:
        super().__init__()
        self._mixed = mixed
        self._branches = iter(branches)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m not in self._mixed

    def to_bool(self, obj: fx.Proxy) -> bool:
        if not _is_of_shapes(obj.node):
            return super().to_bool(obj)
        for goes in self._branches:
            return goes
        raise _Branch(obj.node)


def _graph(module: nn.Module, mixed: set[nn.Module], example: Tensor) -> fx.Graph | None:
    """The traced forward pass with images alone as input, and branches on shapes as they go for the example."""
    own = list(inspect.signature(module.forward).parameters.values())[1:]
    defaults = {each.name: each.default for each in own if each.default is not each.empty}
    branches: list[bool] = []
    while len(branches) < _MOST_BRANCHES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _Tracer(mixed, branches).trace(module, defaults)
        except _Branch as branch:
            with torch.no_grad():
                asked = fx.GraphModule(module, _up_to(branch.node.graph, branch.node))
                branches.append(bool(asked(example)))
        except Exception:  # tracing runs foreign code with proxies, and may fail in any way
            return None
    return None


def _is_of_shapes(node: fx.Node) -> bool:
    """Whether a value hangs on tensors' shapes alone."""
    if node.op == "call_method" and node.target in {"size", "dim"}:
        return True
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in {"shape", "ndim"}
    inputs = node.all_input_nodes
    return node.op.startswith("call_f") and bool(inputs) and all(map(_is_of_shapes, inputs))


def _traced(module: nn.Module, classifier: str, trained: tuple[str, ...], example: Tensor) -> _Parts | None:
    """The cut through the traced graph, where one tensor crosses it."""
    live = {module.get_submodule(name) for name in trained}
    mixed = {part for part in module.modules() if part not in live and not live.isdisjoint(part.modules())}
    module.eval()
    graph = _graph(module, mixed, example)
    if graph is None:
        return None
    behind = _depending(graph, module, live)
    crossing = {
        source
        for node in graph.nodes
        if node in behind or node.op == "output"
        for source in node.all_input_nodes
        if source not in behind
    }
    constants = {node for node in crossing if node.op == "get_attr"}
    # A frozen parameter behind the cut would be trained with the others.
    if any(isinstance(_attribute(module, str(node.target)), nn.Parameter) for node in constants):
        return None
    if len(crossing - constants) != 1:
        return None
    (boundary,) = crossing - constants
    if boundary.op == "placeholder":
        # Nothing is computed before the cut.
        return None
    prefix = fx.GraphModule(module, _up_to(graph, boundary), "Prefix")
    rest = fx.GraphModule(module, _from(graph, boundary, behind | constants), "Rest")
    for node in list(rest.graph.nodes):
        if node.op == "call_module" and (part := module.get_submodule(node.target)) not in live:
            if any(True for _ in part.parameters()):
                return None
            rest.set_submodule(node.target, _Still(part))
    return _Traced(prefix), rest, classifier


def _depending(graph: fx.Graph, module: nn.Module, live: set[nn.Module]) -> set[fx.Node]:
    """All nodes but the output that depend on a trained module."""
    behind: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "output":
            continue
        own = False
        if node.op == "call_module":
            own = module.get_submodule(node.target) in live
        elif node.op == "get_attr":
            own = module.get_submodule(node.target.rpartition(".")[0]) in live
        if own or not behind.isdisjoint(node.all_input_nodes):
            behind.add(node)
    return behind


def _up_to(graph: fx.Graph, boundary: fx.Node) -> fx.Graph:
    """The graph of one node's value."""
    needed, open_nodes = {boundary}, [boundary]
    while open_nodes:
        for source in open_nodes.pop().all_input_nodes:
            if source not in needed:
                needed.add(source)
                open_nodes.append(source)
    found, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in graph.nodes:
        if node in needed:
            copies[node] = found.node_copy(node, copies.__getitem__)
    found.output(copies[boundary])
    return found


def _from(graph: fx.Graph, boundary: fx.Node, kept: set[fx.Node]) -> fx.Graph:
    """The graph from one node's value to the output."""
    found = fx.Graph()
    copies = {boundary: found.placeholder("features")}
    for node in graph.nodes:
        if node in kept or node.op == "output":
            copies[node] = found.node_copy(node, copies.__getitem__)
    return found


def _attribute(module: nn.Module, target: str) -> Any:
    owner, _, name = target.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def _shares_parameters(module: nn.Module, trained: set[str]) -> bool:
    """Whether a trained and a frozen module have a parameter in common."""
    owners: dict[bool, set[int]] = {True: set(), False: set()}
    for name, part in module.named_modules():
        owners[name in trained].update(id(parameter) for parameter in part.parameters(recurse=False))
    return not owners[True].isdisjoint(owners[False])


def _features_where_equal(module: nn.Module, source: FeatureSource, rest: nn.Module, example: Tensor) -> Tensor | None:
    """The features of one image, where both parts answer as the whole does: for the example, and for that image."""
    module.eval()
    rest.eval()
    features = None
    try:
        for images in (example, example[:1]):
            features = source.features(images)
            with torch.no_grad():
                # Copied, since the first module behind may write where it reads.
                expected, found = module(images), rest(features.clone())
            if len(features) != len(images) or not _close(expected, found):
                return None
    except Exception:  # features that do not fit the rest, in whatever way a foreign module says so
        return None
    finally:
        rest.train()
    return features


def _close(expected: object, found: object) -> bool:
    if not isinstance(expected, Tensor) or not isinstance(found, Tensor) or expected.shape != found.shape:
        return False
    return bool((expected - found).abs().max() <= _ROUNDING * expected.abs().max())


def _state_sha256(modules: Iterable[tuple[str, nn.Module]], cut: str) -> str:
    """SHA-256 of what some modules are and hold, in the order of their names."""
    digest = hashlib.sha256(cut.encode())
    for name, part in sorted(modules, key=lambda each: each[0]):
        kind = type(part)
        digest.update(f"\n{name} {kind.__module__}.{kind.__qualname__} {part.extra_repr()}".encode())
        for own, value in _tensors(part):
            values = value.detach().cpu().contiguous()
            digest.update(f"\n{own} {values.dtype} {list(values.shape)} ".encode())
            digest.update(values.reshape(-1).view(torch.uint8).numpy().data if values.numel() else b"")
    return digest.hexdigest()


def _tensors(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from part.named_parameters(recurse=False, remove_duplicate=False)
    yield from part.named_buffers(recurse=False, remove_duplicate=False)
