"""A graph in ONNX Runtime, with the settings that this runtime wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arseg_edge.errors import ArsegError, OperatorError, reason_of
from arseg_edge.runtime.inference.providers import Provider

CONFIDENCE_SIZE: Final = "confidence_size"
"""The graphs' input of that name, int64 [2]: the labels' size, or (0, 0) where nobody asks for the confidence."""


def open_session(
    model: bytes,
    provider: Provider,
    threads: int,
    name: str,
    library: object | None,
    options: onnxruntime.SessionOptions | None = None,
) -> onnxruntime.InferenceSession:
    """Return a session for ``model``, with the native ``library`` and further ``options`` if they are given.

    ``library`` is what ``native_operators`` gave for this provider, which ONNX Runtime is known to take.

    Raises:
        ProviderError: the provider does not load.
        OperatorError: ONNX Runtime does not take the graph.
    """
    options = options or onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # The decoder shares the cores: threads that spin between operators would take its time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Of later runs ONNX Runtime would plan the memory as one block, and take it beside what the first, which had no
    # plan yet, keeps: twice the memory.
    options.enable_mem_pattern = False
    if library is not None:
        options.register_custom_ops_library(str(library))
    try:
        return provider.session(model, options)
    except ArsegError:
        raise
    except Exception as error:
        raise OperatorError(
            f"{name}: ONNX Runtime {onnxruntime.__version__} does not load it ({reason_of(error)}): "
            "update onnxruntime, or export the bundle again"
        ) from error


def feeds_of(session: onnxruntime.InferenceSession, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return those of ``values`` that the graph takes: one of format 1 takes no sizes.

    Where they do not say so, nobody asks for the confidence.
    """
    values = {CONFIDENCE_SIZE: np.zeros(2, np.int64), **values}
    return {each.name: values[each.name] for each in session.get_inputs() if each.name in values}
