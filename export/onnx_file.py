"""From a PyTorch module to an ONNX model with the custom operators' bodies inside."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from arseg_edge.errors import OperatorError
from arseg_edge.export.models.pooling import ExportablePooling
from arseg_edge.export.operators.bodies import attach_bodies
from arseg_edge.export.operators.function import OPSET

IR_VERSION = 9
"""The file format's version: the newest that :data:`OLDEST_ONNXRUNTIME` reads."""

OLDEST_ONNXRUNTIME = "1.17"


def to_onnx(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    *,
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, Any]] | None = None,
    metadata: Mapping[str, str],
    ends: Callable[[onnx.GraphProto], None] | None = None,
) -> onnx.ModelProto:
    """Export ``module(*inputs)`` through ``torch.export``.

    Args:
        module: returns the tensors ``outputs``.
        inputs: example tensors by the name that the graph's input gets.
        outputs: the names of the graph's outputs.
        dynamic: for each input its dynamic axes (``torch.export.Dim``); None for a fixed size.
        metadata: the model's ``metadata_props``.
        ends: changes the graph before the operators' bodies are put in.

    Raises:
        OperatorError: PyTorch cannot export the module.
    """
    shapes = None if dynamic is None else tuple(dynamic.get(name, {}) for name in inputs)
    try:
        with torch.no_grad(), _quiet(), ExportablePooling(module):
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                optimize=True,
                verbose=False,
            )
    except Exception as error:
        # The exporter wraps whatever went wrong in pages of advice; its root says what it was.
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        if isinstance(root, OperatorError):
            raise root from error
        reason = str(root).strip().splitlines()[0] if str(root).strip() else type(root).__name__
        raise OperatorError(
            f"{type(module).__name__}: PyTorch cannot export it ({reason[:300]}): "
            "use operations that torch.export takes at any size"
        ) from error
    assert program is not None
    model = program.model_proto
    model.ir_version = IR_VERSION
    if ends is not None:
        ends(model.graph)
    attach_bodies(model)
    _drop_traces(model)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    return model


def _drop_traces(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes of its own: stack traces with the paths of the machine it ran on."""
    for message in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        message.ClearField("metadata_props")
        message.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its advice off the user's terminal; errors come as exceptions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
