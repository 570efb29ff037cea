"""One-operator models around the native library, and how a test runs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from arseg_edge.operators import DOMAIN, VERSION
from arseg_edge.runtime.native import library_path

LEVELS = ("baseline", "avx2", "avx512")
Array = NDArray[Any]


def require_library() -> Path:
    """The native library; these tests make no sense without."""
    path = library_path()
    assert path is not None, "the native library is not built, or turned off by ARSEG_EDGE_NATIVE=0"
    return path


def operator_session(
    name: str,
    inputs: dict[str, int],
    output: int = TensorProto.FLOAT,
    threads: int = 2,
    shape: tuple[str | int, ...] | None = None,
    outputs: Sequence[str] = ("output",),
    **attributes: object,
) -> ort.InferenceSession:
    """A session of one node; ``inputs`` gives the element type of each, ``shape`` the first one's declared shape."""
    node = helper.make_node(name, list(inputs), list(outputs), domain=DOMAIN, **attributes)
    graph = helper.make_graph(
        [node],
        name,
        [
            helper.make_tensor_value_info(key, element, None if i else shape)
            for i, (key, element) in enumerate(inputs.items())
        ],
        [helper.make_tensor_value_info(each, output, None) for each in outputs],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, VERSION)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(require_library()))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


_ELEMENTS = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.int64): TensorProto.INT64,
}


def run_operator(name: str, inputs: dict[str, Array], output: int = TensorProto.FLOAT, **attributes: object) -> Array:
    """Run one operator once on these inputs."""
    (result,) = run_outputs(name, inputs, ("output",), output, **attributes)
    return result


def run_outputs(
    name: str,
    inputs: dict[str, Array],
    outputs: Sequence[str],
    output: int = TensorProto.FLOAT,
    **attributes: object,
) -> list[Array]:
    """Run an operator with several outputs once on these inputs."""
    elements = {key: _ELEMENTS[array.dtype] for key, array in inputs.items()}
    session = operator_session(name, elements, output, outputs=outputs, **attributes)
    return [np.asarray(each) for each in session.run(None, inputs)]
