"""Where a network's scores come from: its last layer and what enlarges the scores, read off its traced graph.

``torch.export`` writes down what ``forward`` computes. From the scores back, whatever leaves a pixel's order of classes
as it is (softmax, sigmoid, dropout that is off, a copy) is passed over and resizing is noted, up to a convolution, or
to a sum of 1×1 convolutions, as torchvision's LRASPP has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Node

from arseg_edge.errors import UsageError, reason_of

REMEDY = (
    "let forward end in an nn.Conv2d to the classes, with nothing but bilinear resizing after it, or write a Family "
    "of a network with feature and final_conv (export/models/protocol.py)"
)
_ATEN = torch.ops.aten
_PASSING = {
    _ATEN.dropout.default, _ATEN.dropout_.default, _ATEN.feature_dropout.default, _ATEN.feature_dropout_.default,
    _ATEN.alias.default, _ATEN.clone.default, _ATEN.contiguous.default, _ATEN.detach.default,
    _ATEN.to.dtype, _ATEN.to.dtype_layout, _ATEN._to_copy.default,
}  # fmt: skip
"""What changes nothing once a network is trained."""
_MONOTONE = {
    _ATEN.softmax.int, _ATEN.log_softmax.int, _ATEN._softmax.default, _ATEN._log_softmax.default,
    _ATEN.sigmoid.default, _ATEN.sigmoid_.default,
}  # fmt: skip
_CONVOLUTIONS = {_ATEN.conv2d.default, _ATEN.conv2d.padding, _ATEN.convolution.default}
_SUMS = {_ATEN.add.Tensor, _ATEN.add_.Tensor}
_DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)


@dataclass(frozen=True)
class Resizing:
    """One step that resizes scores."""

    mode: str
    """``bilinear``, ``nearest``, …"""
    align_corners: bool
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True)
class LastLayer:
    """What makes the scores of a network."""

    convolutions: tuple[str, ...]
    """Names of modules, in the order in which ``forward`` calls them; of several, the outputs are added up."""
    resizings: tuple[Resizing, ...]
    """What the scores go through afterwards, in that order."""
    outputs: int
    stride: int
    """Pixels of the image for one of the last layer's input."""
    dropouts: tuple[str, ...] = ()
    """Names of modules between the last layer and what is before it."""
    sigmoid: bool = False
    """Whether the scores that ``forward`` returns are probabilities, one by one."""


@dataclass
class _Found:
    convolutions: list[Node] = field(default_factory=list)
    resizings: list[Resizing] = field(default_factory=list)
    dropouts: list[str] = field(default_factory=list)
    sigmoid: bool = False


class ScoresOf(nn.Module):
    """A network's scores alone, whatever else its ``forward`` returns."""

    def __init__(self, model: nn.Module, output: str | int | None = None) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores [N, n, h, w] for an image [N, 3, H, W].

        Raises ``UsageError`` where it is not clear which of the results they are, or that they are scores.
        """
        name = type(self.model).__name__
        result: Any = self.model(image)
        if self.output is not None:
            found = _entry(result, self.output)
            if found is None:
                raise UsageError(f"{name}: forward has no output {self.output!r}, it returns {_kind(result)}: name one")
            result = found
        elif isinstance(result, Mapping):
            # As torchvision and transformers have it; what else there is comes from auxiliary heads.
            keys = [key for key in ("out", "logits") if key in result] or list(result)
            if len(keys) != 1:
                raise UsageError(f"{name}: forward returns {_kind(result)}: say which are the scores by output=")
            result = result[keys[0]]
        elif isinstance(result, list | tuple) and result:
            result = result[0]
        if not isinstance(result, Tensor) or result.ndim != 4:
            raise UsageError(
                f"{name}: forward returns {_kind(result)}, not scores [N, classes, height, width]: {REMEDY}"
            )
        if not result.is_floating_point():
            raise UsageError(
                f"{name}: forward returns labels ({_kind(result)}): let it return the scores before argmax"
            )
        return result


def _entry(result: Any, output: str | int) -> Any:
    try:
        return result[output]
    except (KeyError, IndexError, TypeError):
        return None


def _kind(result: Any) -> str:
    if isinstance(result, Mapping):
        return f"a dict of {', '.join(map(str, result))}"
    if isinstance(result, Tensor):
        return f"a tensor {list(result.shape)} of {str(result.dtype).removeprefix('torch.')}"
    return f"{len(result)} values" if isinstance(result, list | tuple) else f"a {type(result).__name__}"


@torch.no_grad()
def find_last_layer(model: nn.Module, output: str | int | None, image: Tensor) -> LastLayer:
    """Trace ``model(image)`` and return its last layer; only the shape of the image [1, 3, H, W] matters.

    Raises:
        UsageError: the model cannot be traced, or has no such last layer: with what comes last instead.
    """
    name = type(model).__name__
    try:
        program = torch.export.export(ScoresOf(model, output), (image,), strict=False)
    except Exception as error:  # whatever a network of somebody's own raises
        root: BaseException = error
        while not isinstance(root, UsageError) and (root.__cause__ or root.__context__) is not None:
            root = root.__cause__ or root.__context__ or root
        if isinstance(root, UsageError):
            raise root from error
        raise UsageError(
            f"{name}: forward cannot be traced ({reason_of(error)}): it must take the same way for every image; "
            "write a Family of a network with feature and final_conv (export/models/protocol.py)"
        ) from error
    (outputs,) = (node for node in program.graph.nodes if node.op == "output")
    found = _Found()
    _walk_back(name, outputs.args[0][0], found)
    order = {node: index for index, node in enumerate(program.graph.nodes)}
    convolutions = sorted(found.convolutions, key=lambda node: order[node])
    paths = tuple(_module_of(name, model, program, node) for node in convolutions)
    sizes = {_size(_input(node)) for node in convolutions}
    if len(convolutions) > 1:
        layers = [model.get_submodule(path) for path in paths]
        if len(sizes) > 1 or any(getattr(layer, "kernel_size", None) != (1, 1) for layer in layers):
            raise UsageError(
                f"{name}: its scores are the sum of {', '.join(paths)}, which are not 1×1 convolutions on one grid: "
                f"{REMEDY}"
            )
    grid = sizes.pop()
    stride = stride_of((image.shape[2], image.shape[3]), grid)
    if stride is None:
        raise UsageError(
            f"{name}: the input of its last layer, {paths[0]}, is {grid[0]}x{grid[1]} for an image of "
            f"{image.shape[2]}x{image.shape[3]}, which is no whole fraction of it: {REMEDY}"
        )
    return LastLayer(
        paths,
        tuple(reversed(found.resizings)),
        outputs=int(_value(convolutions[0]).shape[1]),
        stride=stride,
        dropouts=tuple(dict.fromkeys(found.dropouts)),
        sigmoid=found.sigmoid,
    )


def stride_of(image: tuple[int, int], grid: tuple[int, int]) -> int | None:
    """Return how many pixels of an image are one of the grid's, None where that is no whole number; it is rounded up.

    >>> stride_of((257, 321), (17, 21)), stride_of((256, 320), (31, 40))
    (16, None)
    """
    fitting = [s for s in range(1, max(image) + 1) if grid == (-(-image[0] // s), -(-image[1] // s))]
    # Of several, as for small images: networks halve.
    return next((s for s in fitting if s & (s - 1) == 0), fitting[0] if fitting else None)


def _walk_back(name: str, node: Node, found: _Found) -> None:
    """Go from the scores to the convolutions that make them."""
    while node.op == "call_function" and node.target not in _CONVOLUTIONS:
        operation = str(node.target).removeprefix("aten.").split(".")[0].rstrip("_")
        if node.target in _SUMS and not node.kwargs and all(isinstance(each, Node) for each in node.args[:2]):
            for each in node.args[:2]:
                branch = _Found()
                assert isinstance(each, Node)
                _walk_back(name, each, branch)
                if branch.resizings:
                    raise UsageError(
                        f"{name}: its scores are a sum of scores that are resized before they are added "
                        f"({_where(each)}): {REMEDY}"
                    )
                found.convolutions += branch.convolutions
                found.dropouts += branch.dropouts
            return
        if operation.startswith(("upsample_", "_upsample_")):
            found.resizings.append(_resizing(node, operation))
        elif node.target in _MONOTONE:
            # Before a resizing it changes between which pixels' classes the labels change.
            if any(each.before != each.after for each in found.resizings):
                raise UsageError(
                    f"{name}: its scores go through {operation} ({_where(node)}) and are resized after that: resize "
                    "them first"
                )
            found.sigmoid |= operation == "sigmoid"
        elif node.target not in _PASSING:
            raise UsageError(f"{name}: its scores come out of {operation} ({_where(node)}), no convolution: {REMEDY}")
        node = _input(node)
    if node.op != "call_function":
        raise UsageError(f"{name}: its scores come out of no layer but its {node.op}: {REMEDY}")
    found.convolutions.append(node)
    found.dropouts += _dropouts_before(node)


def _resizing(node: Node, operation: str) -> Resizing:
    mode = operation.lstrip("_").removeprefix("upsample_").removesuffix("2d_aa").removesuffix("2d")
    aligned = mode in ("bilinear", "bicubic") and bool(node.args[2])
    return Resizing(
        "antialiased " + mode if operation.endswith("_aa") else mode, aligned, _size(_input(node)), _size(node)
    )


def _dropouts_before(convolution: Node) -> Iterator[str]:
    node = _input(convolution)
    while node.op == "call_function" and node.target in _PASSING:
        if "dropout" in str(node.target):
            yield _where(node)
        node = _input(node)


def _module_of(name: str, model: nn.Module, program: Any, node: Node) -> str:
    """Return the name of the convolution that a node is, having checked that it can stand for itself."""
    weight = node.args[1]
    parameters: Mapping[str, str] = program.graph_signature.inputs_to_parameters
    if not isinstance(weight, Node) or weight.name not in parameters:
        raise UsageError(f"{name}: the weight of its last layer ({_where(node)}) is computed in forward: {REMEDY}")
    path = parameters[weight.name].removeprefix("model.").rpartition(".")[0]
    layer = model.get_submodule(path)
    if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros" and layer.kernel_size != (1, 1):
        raise UsageError(f"{name}: its last layer, {path}, pads with {layer.padding_mode}: {REMEDY}")
    plain = isinstance(layer, nn.Conv2d) and type(layer).forward is nn.Conv2d.forward and layer.groups == 1
    if not plain or cast(nn.Conv2d, layer).stride != (1, 1) or _size(node) != _size(_input(node)):
        raise UsageError(
            f"{name}: its last layer, {path}, is {layer}: it must be an nn.Conv2d that keeps the size, of one group: "
            f"{REMEDY}"
        )
    uses = sum(each.target in _CONVOLUTIONS and each.args[1] is weight for each in program.graph.nodes)
    if uses > 1:
        raise UsageError(f"{name}: forward calls its last layer, {path}, {uses} times: {REMEDY}")
    return path


def _input(node: Node) -> Node:
    first = node.args[0]
    assert isinstance(first, Node)
    return first


def _value(node: Node) -> Tensor:
    value: Tensor = node.meta["val"]
    return value


def _size(node: Node) -> tuple[int, int]:
    shape = _value(node).shape
    return int(shape[2]), int(shape[3])


def _where(node: Node) -> str:
    """Return the name of the module that a node belongs to."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = str(stack[-1][0]) if stack else ""
    return path.removeprefix("model").removeprefix(".") or "forward"
