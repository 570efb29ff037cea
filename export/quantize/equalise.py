"""Channels of one tensor brought to equal ranges, so that one scale of bytes suits them all.

Between two convolutions a channel may be divided by a number, if the layer after multiplies by it: ReLU, sums, pooling
and resizing let it through (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
ICCV 2019). In float nothing changes but roundings. Weights have a scale for each output channel anyway, so that the
layer before loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_LET_THROUGH: Final = frozenset(
    {"AveragePool", "GlobalAveragePool", "Identity", "LeakyRelu", "MaxPool", "Relu", "Resize"}
)
"""Operators of one picture for which f(s·x) = s·f(x), s > 0, channel by channel."""

_SMALLEST: Final = 1 / 256
"""Of the largest channel's range: below, a channel is left smaller than the others."""

Peaks = Mapping[str, NDArray[np.float32]]
"""The largest magnitude in each channel, by the value's name."""


@dataclass
class _Group:
    """Values whose channels must have the same factors, and the convolutions before and behind them."""

    values: set[str] = field(default_factory=set)
    before: list[onnx.NodeProto] = field(default_factory=list)
    behind: list[onnx.NodeProto] = field(default_factory=list)
    blocked: bool = False


def equalise(model: onnx.ModelProto, peaks: Peaks) -> int:
    """Change the weights of ``model``; return how many groups of values were brought to equal ranges."""
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    done = 0
    for group in _groups(model.graph, constants):
        factors = _factors(group, constants, peaks)
        if factors is None:
            continue
        for node in group.before:
            for name in node.input[1:3]:
                shape = (-1,) + (1,) * (constants[name].ndim - 1)
                constants[name] = constants[name] / factors.reshape(shape)
        for node in group.behind:
            constants[node.input[1]] = constants[node.input[1]] * factors.reshape(1, -1, 1, 1)
        done += 1
    for each in model.graph.initializer:
        if constants[each.name].dtype == np.float32:
            each.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(constants[each.name]), each.name))
    return done


def _factors(group: _Group, constants: Mapping[str, NDArray[np.generic]], peaks: Peaks) -> NDArray[np.float32] | None:
    """Return by what each channel is divided; None where nothing can be done."""
    if group.blocked or not group.before or not group.behind:
        return None
    counts = {constants[node.input[1]].shape[0] for node in group.before}
    counts |= {constants[node.input[1]].shape[1] for node in group.behind}
    known = [peaks[value] for value in sorted(group.values) if value in peaks]
    if len(counts) != 1 or not known or any(each.shape != (min(counts),) for each in known):
        return None
    largest = np.max(known, axis=0)
    if not largest.max() > 0:
        return None
    factors: NDArray[np.float32] = np.maximum(largest / largest.max(), _SMALLEST).astype(np.float32)
    return factors


def _groups(graph: onnx.GraphProto, constants: Mapping[str, NDArray[np.generic]]) -> list[_Group]:
    owner: dict[str, _Group] = {}

    def group_of(value: str) -> _Group:
        return owner.setdefault(value, _Group({value}))

    def joined(*values: str) -> None:
        first = group_of(values[0])
        for value in values[1:]:
            other = group_of(value)
            if other is first:
                continue
            first.values |= other.values
            first.before += other.before
            first.behind += other.behind
            first.blocked |= other.blocked
            owner.update(dict.fromkeys(other.values, first))

    uses: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    for node in graph.node:
        alone = all(uses[name] == 1 for name in node.input[1:3] if name)
        if node.op_type == "Conv" and node.domain == "" and _is_plain(node, constants) and alone:
            group_of(node.output[0]).before.append(node)
            group_of(node.input[0]).behind.append(node)
        elif node.op_type in _LET_THROUGH and node.domain == "":
            joined(node.input[0], node.output[0])
        elif node.op_type == "Add" and not any(name in constants for name in node.input):
            joined(*node.input, node.output[0])
        elif node.op_type != "Shape":
            for name in (*node.input, *node.output):
                group_of(name).blocked = True
    for value in (*graph.input, *graph.output):
        group_of(value.name).blocked = True
    return list({id(group): group for group in owner.values()}.values())


def _is_plain(node: onnx.NodeProto, constants: Mapping[str, NDArray[np.generic]]) -> bool:
    groups = next((helper.get_attribute_value(each) for each in node.attribute if each.name == "group"), 1)
    return groups == 1 and all(name in constants for name in node.input[1:3]) and constants[node.input[1]].ndim == 4
