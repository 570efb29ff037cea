"""Weights stored in half precision: a bundle of half the size, computing in single precision as before.

Each large constant becomes a float16 one and a ``Cast``, which ONNX Runtime evaluates once, while it loads the
graph. Every weight is then off by at most 1/2048 of itself, which moves results by about a thousandth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALLEST = 1024
"""Elements; a smaller constant stays as it is, since the ``Cast`` would cost what it saves."""


def store_half(model: onnx.ModelProto) -> None:
    """Change a model in place."""
    put_first(model.graph, [cast for each in model.graph.initializer if (cast := halved(each)) is not None])


def halved(constant: TensorProto) -> onnx.NodeProto | None:
    """Change a constant in place, and return the node that makes of it what it was; None where it stays as it is."""
    if constant.data_type != TensorProto.FLOAT or np.prod(constant.dims) < SMALLEST:
        return None
    name = constant.name
    constant.CopyFrom(numpy_helper.from_array(_half(numpy_helper.to_array(constant)), f"{name}.half"))
    return helper.make_node("Cast", [constant.name], [name], to=TensorProto.FLOAT)


def put_first(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Put nodes before all others of a graph."""
    everything = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(everything)


def _half(values: np.ndarray) -> np.ndarray:
    limit = float(np.finfo(np.float16).max)
    half: np.ndarray = np.clip(values, -limit, limit).astype(np.float16)
    return half
