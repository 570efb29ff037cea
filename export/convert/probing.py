"""A model in a session of its own, run to see what it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from arseg_edge.errors import ModelError, UsageError, reason_of
from arseg_edge.export.convert.given_model import GivenModel
from arseg_edge.export.convert.image_input import ImageInput

Size = tuple[int, int]
"""(height, width)."""

EASY: Final[Size] = (256, 320)
"""Multiples of 64: nearly every network takes them."""
_MULTIPLES: Final = (1, 2, 4, 8, 16, 32)


class BareSession:
    """ONNX Runtime on the CPU, with nothing set."""

    def __init__(self, model: GivenModel, picture: ImageInput, inner: Sequence[str] = ()) -> None:
        """``inner``: values inside the graph to be given, too.

        Raises:
            ModelError: ONNX Runtime does not load the model.
        """
        self._model, self._picture = model, picture
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                _with_outputs(model.proto, inner) if inner else str(model.path), options, ["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(
                f"{model.name}: ONNX Runtime {onnxruntime.__version__} does not load it ({reason_of(error)}): export "
                "it again, or update onnxruntime"
            ) from None
        self.names = [each.name for each in self._session.get_outputs()]

    def run(self, picture: NDArray[Any], wanted: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return outputs by name, for a picture of the form that the model takes.

        Raises:
            ModelError: it does not run.
        """
        names = self.names if wanted is None else list(wanted)
        try:
            return dict(zip(names, self._session.run(names, {self._picture.name: picture}), strict=True))
        except Exception as error:
            raise ModelError(
                f"{self._model.name}: does not run on {picture.dtype} {list(picture.shape)} ({reason_of(error)}): "
                "export it again, or give --size HxW, a size that it takes"
            ) from None

    def runs(self, picture: NDArray[Any]) -> bool:
        """Whether the model runs on it."""
        try:
            self.run(picture)
        except ModelError:
            return False
        return True


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> bytes:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    given = {each.name for each in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    return bytes(copy.SerializeToString())


def blank(picture: ImageInput, channels: int, size: Size) -> NDArray[Any]:
    """Return a picture of noise, of the form that the model takes."""
    shape = (1, channels, *size) if picture.layout == "nchw" else (1, *size, channels)
    rng = np.random.default_rng([*size, channels])
    values = rng.integers(0, 256, shape, dtype=np.uint8)
    return values if picture.bytes else (values / 255).astype(picture.dtype)


def find_channels(session: BareSession, picture: ImageInput, size: Size) -> int:
    """Return how many channels the model takes, where its input does not say it.

    Raises:
        UsageError: none of 3, 1, 4 and 2.
    """
    if picture.channels is not None:
        return picture.channels
    for channels in (3, 1, 4, 2):
        if session.runs(blank(picture, channels, size)):
            return channels
    raise UsageError(
        f"input {picture.name} leaves its channels open, and the model runs on none of 1 to 4 at {size[0]}x{size[1]}: "
        "give --size HxW, a size that it takes, or the other --layout"
    )


def find_multiple(session: BareSession, picture: ImageInput, channels: int) -> int:
    """Return the smallest power of two of which both sides must be multiples."""
    height, width = EASY
    for multiple in _MULTIPLES:
        if session.runs(blank(picture, channels, (height + multiple, width + 3 * multiple))):
            return multiple
    return 2 * _MULTIPLES[-1]


def shapes_of(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return names, types and shapes for messages."""
    return ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in arrays.items())
