"""Nodes and constants that are put before and behind a model, in standard ONNX that is the same from opset 11 on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import helper, numpy_helper


class Ends:
    """Collects nodes in the order in which they run; their values have names that no model's values have."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of what it gives."""
        name = output or f"{self._prefix}/{len(self.nodes)}_{operator}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], f"{self._prefix}/{name}", **attributes))
        return name

    def constant(self, value: ArrayLike, dtype: DTypeLike) -> str:
        """Add a constant and return its name."""
        name = f"{self._prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def sides(self, value: str, *, last: bool = False) -> str:
        """Return int64 [2]: height and width of [1, C, H, W], or, with ``last``, of [1, H, W, C]."""
        first = 1 if last else 2
        ends = (self.constant([each], np.int64) for each in (first, first + 2))
        return self.node("Slice", [self.node("Shape", [value]), *ends])

    def at_least(self, value: str, least: int) -> str:
        """Return whole numbers, those below ``least`` made so; Max took none before opset 12."""
        smallest = self.constant([least], np.int64)
        return self.node("Where", [self.node("Less", [value, smallest]), smallest, value])

    def resize(self, value: str, size: str, *, channels: int, mode: str = "linear", **attributes: Any) -> str:
        """Return [1, C, H, W] at ``size``, int64 [2], with half-pixel centres."""
        nothing = self.constant([], np.float32)
        target = self.node("Concat", [self.constant([1, channels], np.int64), size], axis=0)
        return self.node(
            "Resize",
            [value, nothing, nothing, target],
            mode=mode,
            coordinate_transformation_mode="half_pixel",
            **attributes,
        )
